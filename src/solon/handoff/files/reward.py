"""The reward of reinforcement learning from AI feedback, for trainers that are not Solon.

OpenRLHF calls `reward_func`, verl calls `compute_score`, TRL calls `reward`; all three come to `rewards`. The reward is
the preference model's score of the conversation, less its centre, less a penalty when the reply ran into its token
limit, clipped if the recipe clips. `reward.json` beside this file says where scores are from: the folder `preference-
model/`, read with torch and transformers, or a server that was started with `solon serve-pm`. Nothing of Solon is
imported. A score that cannot be had is an error: none is ever made up.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

HERE = Path(__file__).resolve().parent
SETTINGS: dict[str, Any] = json.loads((HERE / "reward.json").read_text(encoding="utf-8"))
BATCH = 16
"""Conversations in one forward pass."""
TRIES = 6
"""How often a server that is busy or away is asked, with pauses of 1, 2, 4 ... seconds between."""
ONE_AT_A_TIME = threading.Lock()
"""Trainers call from several threads, and neither a model nor its tokenizer may be shared."""

Messages = Sequence[dict[str, str]]


class Scorer(Protocol):
    """Gives centred scores of conversations that end on a reply."""

    def scores(self, conversations: Sequence[Messages]) -> list[float]:
        """One for each conversation, in order."""
        ...


def rewards(prompts: Sequence[Messages], replies: Sequence[str], finished: Sequence[bool]) -> list[float]:
    """The rewards of replies to prompts (messages that end on a user turn), in order.

    A reply is cut where it begins to speak for somebody else, and counts as finished there. Raises RuntimeError or
    ValueError when a score cannot be had.
    """
    cuts = [cut(reply) for reply in replies]
    conversations = [
        [*prompt, {"role": "assistant", "content": text}] for prompt, (text, _) in zip(prompts, cuts, strict=True)
    ]
    with ONE_AT_A_TIME:
        scores = scorer().scores(conversations)
    penalty = float(SETTINGS["unfinished_penalty"])
    given = [
        score if ended or stopped else score - penalty
        for score, ended, (_, stopped) in zip(scores, finished, cuts, strict=True)
    ]
    return [clipped(each) for each in given]


def clipped(score: float) -> float:
    """A score within the limit of `reward.json`; any, where that names none."""
    limit = SETTINGS["limit"]
    return score if limit is None else max(-float(limit), min(float(limit), score))


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """What OpenRLHF asks: whole texts with special tokens, rendered prompts, and our labels: the prompts as JSON."""
    import torch

    ended = [closed(query[behind(query, prompt) :]) for query, prompt in zip(queries, prompts, strict=True)]
    given = rewards([json.loads(label) for label in labels], [text for text, _ in ended], [end for _, end in ended])
    values = torch.tensor(given)
    unfinished = torch.tensor([float(not end) for _, end in ended])
    return {"rewards": values, "scores": values, "extra_logs": {"unfinished": unfinished}}


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any], **more: object
) -> dict[str, float]:
    """What verl asks about one reply; `reward_manager.py` beside this file adds `finished` to `extra_info`.

    verl's own managers do not tell. Then the reply is tokenized again, and one that fills its limit counts as cut.
    """
    finished = extra_info.get("finished")
    if finished is None:
        finished = len(policy_tokenizer()(solution_str, add_special_tokens=False)["input_ids"]) < SETTINGS["max_tokens"]
    given = rewards([json.loads(extra_info["prompt"])], [solution_str], [bool(finished)])
    return {"score": given[0], "unfinished": float(not finished)}


def reward(
    prompts: Sequence[Messages],
    completions: Sequence[Messages],
    completion_ids: Sequence[Sequence[int]],
    **columns: object,
) -> list[float]:
    """What TRL asks; a completion without an end token at its end was cut at its limit."""
    ends = set(SETTINGS["end_ids"])
    finished = [bool(ids) and ids[-1] in ends for ids in completion_ids]
    return rewards(prompts, [completion[-1]["content"] for completion in completions], finished)


def cut(reply: str) -> tuple[str, bool]:
    """The reply up to the first words that end a turn, without the white space around it; and whether there are any."""
    places = [place for stop in SETTINGS["stops"] if (place := reply.find(stop)) >= 0]
    return reply[: min(places, default=len(reply))].strip(), bool(places)


def closed(text: str) -> tuple[str, bool]:
    """A text without the end token at its end, and whether it had one."""
    for end in SETTINGS["ends"]:
        if text.endswith(end):
            return text[: -len(end)], True
    return text, False


def behind(query: str, prompt: str) -> int:
    """Where the reply begins in a text that opens with a prompt; raises ValueError when it does not."""
    if query.startswith(prompt):
        return len(prompt)
    # Some tokenizers give a text back with another white space than they were given.
    tokenizer = policy_tokenizer()
    shown = str(tokenizer.decode(tokenizer(prompt, add_special_tokens=False)["input_ids"]))
    if query.startswith(shown):
        return len(shown)
    raise ValueError("the text does not open with its prompt: was the prompt cut? Raise the trainer's longest length")


@cache
def scorer() -> Scorer:
    """Where scores are from."""
    return Server(SETTINGS["url"]) if SETTINGS["mode"] == "server" else Folder(HERE / "preference-model")


@cache
def policy_tokenizer() -> Any:
    """The policy's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(HERE / "policy", local_files_only=True, trust_remote_code=False)


class Folder:
    """The preference model in this process, in float32; its score is read at the end token."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
        self.device = "cuda" if SETTINGS["device"] == "auto" and torch.cuda.is_available() else "cpu"
        self.model = model.eval().to(self.device)

    def scores(self, conversations: Sequence[Messages]) -> list[float]:
        """See `Scorer`; raises ValueError for a conversation that is longer than the model's window."""
        tokens = [self.tokens(each) for each in conversations]
        return [score - SETTINGS["centre"] for score in self.raw(tokens)]

    def raw(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """The classifier's own scores of token ids."""
        import torch

        longest = max(map(len, sequences), default=0)
        if longest > SETTINGS["window"]:
            raise ValueError(f"a conversation of {longest} tokens is longer than the window of {SETTINGS['window']}")
        found: list[float] = []
        for start in range(0, len(sequences), BATCH):
            part = [{"input_ids": list(ids)} for ids in sequences[start : start + BATCH]]
            inputs = self.tokenizer.pad(part, padding_side="right", return_tensors="pt").to(self.device)
            with torch.no_grad():
                found += self.model(**inputs).logits.squeeze(-1).tolist()
        return found

    def tokens(self, conversation: Messages) -> list[int]:
        """Prompt and reply tokenized apart, as a policy meets them, then the end token.

        A special token that is spelled out in a reply is plain text.
        """
        prompt = self.tokenizer.apply_chat_template(conversation[:-1], add_generation_prompt=True, tokenize=False)
        opening = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        reply = self.tokenizer(
            SETTINGS["lead"] + conversation[-1]["content"], add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        return [*opening, *reply, self.tokenizer.eos_token_id]


class Server:
    """A preference model behind `solon serve-pm`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        health = self.ask("/health")
        if abs(health["centre"] - SETTINGS["centre"]) > 1e-6:
            raise RuntimeError(
                f"{self.url} serves another preference model than this folder's: its centre is {health['centre']}, "
                f"not {SETTINGS['centre']}. Start it with: solon serve-pm preference-model"
            )
        self.taken_off = 0.0 if health["zero"] == "centre" else float(SETTINGS["centre"])

    def scores(self, conversations: Sequence[Messages]) -> list[float]:
        """See `Scorer`; raises RuntimeError when the server refuses or stays away."""
        answer = self.ask("/score", {"messages": [list(each) for each in conversations]})
        return [float(score) - self.taken_off for score in answer["scores"]]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The server's answer; one that is busy or away is asked again."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, {"Content-Type": "application/json"})
        why = ""
        for number in range(TRIES):
            if number:
                time.sleep(2 ** (number - 1))
            try:
                with urllib.request.urlopen(request, timeout=600) as answer:
                    return dict(json.load(answer))
            except urllib.error.HTTPError as error:
                with error:
                    why = error.read().decode(errors="replace")
                if error.code != 503:
                    raise RuntimeError(f"{self.url}{path} refuses: {why}") from None
            except OSError as error:
                why = str(error)
        raise RuntimeError(f"{self.url}{path} gave no answer in {TRIES} tries: {why}")
