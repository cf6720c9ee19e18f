"""The reward function of reinforcement learning from AI feedback, for a trainer that is not Solon.

TRL calls `reward`; another trainer's function can call `rewards`. The reward is the preference model's score of the
conversation, minus its centre, minus a penalty when the reply reached its token limit, clipped if the recipe clips.
`reward.json` in the same folder names the source of scores: the folder `preference-model/`, read with torch and
transformers, or a server that was started with `solon serve-pm`. The file does not import Solon. It raises an error
when there is no score, and never makes one up.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
SETTINGS: dict[str, Any] = json.loads((HERE / "reward.json").read_text(encoding="utf-8"))
BATCH = 16
"""Conversations in one forward pass."""
TRIES = 6
"""Maximum requests to a server that is busy, unreachable or broken, with pauses of 1, 2, 4 ... seconds."""
AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
"""HTTP statuses after which another request may succeed."""
SECONDS, MOST = 600.0, 1 << 20
"""Maximum time of one request, and maximum bytes of an answer."""
ONE_AT_A_TIME = threading.Lock()
"""Trainers call from several threads, and a model and its tokenizer are not thread-safe."""

Messages = Sequence[dict[str, str]]


class RewardScorer(Protocol):
    """Gives centred scores of conversations that end on a reply."""

    def scores(self, conversations: Sequence[Messages]) -> list[float]:
        """One for each conversation, in order."""
        ...


def rewards(prompts: Sequence[Messages], replies: Sequence[str], finished: Sequence[bool]) -> list[float]:
    """The rewards of replies to prompts (messages that end on a user turn), in order.

    A reply is cut where it begins to write another speaker's turn, and counts as finished there. Raises RuntimeError or
    ValueError when there is no score.
    """
    cuts = [cut(reply) for reply in replies]
    conversations = [
        [*prompt, {"role": "assistant", "content": text}] for prompt, (text, _) in zip(prompts, cuts, strict=True)
    ]
    with ONE_AT_A_TIME:
        scores = scorer().scores(conversations)
    penalty = float(SETTINGS["missing_eos_penalty"])
    penalised = [
        score if ended or stopped else score - penalty
        for score, ended, (_, stopped) in zip(scores, finished, cuts, strict=True)
    ]
    return [clipped(each) for each in penalised]


def clipped(score: float) -> float:
    """A score clipped to the limit of `reward.json`, if it has one."""
    limit = SETTINGS["limit"]
    return score if limit is None else max(-float(limit), min(float(limit), score))


def reward(
    prompts: Sequence[Messages],
    completions: Sequence[Messages],
    completion_ids: Sequence[Sequence[int]],
    **columns: object,
) -> list[float]:
    """The reward function that TRL calls; a completion without an end token at its end was cut at its limit."""
    ends = set(SETTINGS["end_ids"])
    finished = [bool(ids) and ids[-1] in ends for ids in completion_ids]
    return rewards(prompts, [completion[-1]["content"] for completion in completions], finished)


def cut(reply: str) -> tuple[str, bool]:
    """The reply up to the first stop string, without the white space around it, and whether it has a stop string."""
    places = [place for stop in SETTINGS["stops"] if (place := reply.find(stop)) >= 0]
    return reply[: min(places, default=len(reply))].strip(), bool(places)


def escaped(content: str) -> str:
    """A text with a space in each special token that it contains."""
    for mark in SETTINGS["marks"]:
        if len(mark) > 1:
            content = content.replace(mark, f"{mark[0]} {mark[1:]}")
    return content


@cache
def scorer() -> RewardScorer:
    """The scorer that `reward.json` names."""
    return ServerScorer(SETTINGS["url"]) if SETTINGS["mode"] == "server" else FolderScorer(HERE / "preference-model")


class FolderScorer:
    """The preference model in this process, in float32; the score is read at the end token."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.eval().to(self.device)

    def scores(self, conversations: Sequence[Messages]) -> list[float]:
        """See `RewardScorer`; raises ValueError for a conversation that is longer than the model's window."""
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
        """The conversation through the folder's own chat template, tokenized as in training.

        A special token in the text of a message gets a space inside, as in training.
        """
        messages = [{**each, "content": escaped(each["content"])} for each in conversation]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


class ServerScorer:
    """A preference model behind `solon serve-pm`.

    An answer counts when it is complete, in time, and of the right types. Redirects are not followed. The token of
    `SOLON_PM_TOKEN`, if set, is sent to the server and never appears in an error message.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if "@" in urlsplit(url).netloc:
            raise RuntimeError("the address in reward.json contains a password. Set SOLON_PM_TOKEN instead")
        self.token = os.environ.get("SOLON_PM_TOKEN", "").strip()
        health = self.ask("/health")
        centre, zero = health.get("centre"), health.get("zero")
        if not is_number(centre) or zero not in ("centre", "raw"):
            raise RuntimeError(
                f"{self.url}/health is not the answer of `solon serve-pm`. Check the address in reward.json"
            )
        if abs(centre - SETTINGS["centre"]) > 1e-6:
            raise RuntimeError(
                f"{self.url} serves another preference model than this folder's: its centre is {centre}, "
                f"not {SETTINGS['centre']}. Start it with: solon serve-pm preference-model"
            )
        self.offset = 0.0 if zero == "centre" else float(SETTINGS["centre"])

    def scores(self, conversations: Sequence[Messages]) -> list[float]:
        """See `RewardScorer`; raises RuntimeError when the server refuses or does not answer."""
        found: list[float] = []
        for part in parts(conversations):
            body = {"messages": [list(each) for each in part]}

            def are_scores(answer: dict[str, Any], count: int = len(part)) -> bool:
                scores = answer.get("scores")
                return isinstance(scores, list) and len(scores) == count and all(map(is_number, scores))

            found += self.ask("/score", body, are_scores)["scores"]
        return [float(score) - self.offset for score in found]

    def ask(
        self, path: str, body: dict[str, Any] | None = None, right: Callable[[dict[str, Any]], bool] = bool
    ) -> dict[str, Any]:
        """The server's answer, an object that passes `right`; asks again when the server is busy or unreachable."""
        content = None if body is None else json.dumps(body).encode()
        why, wait = "", 0.0
        for number in range(TRIES):
            if number:
                time.sleep(max(2.0 ** (number - 1), wait))
            try:
                status, received, wait = self.answer(path, content)
            except (OSError, http.client.HTTPException) as error:
                why, wait = self.shown(str(error)), 0.0
                continue
            why = f"{status}: {self.shown(received)}"
            answer = object_in(received) if status == 200 else None
            if answer is not None and right(answer):
                return answer
            if status != 200 and status not in AGAIN:
                raise RuntimeError(f"{self.url}{path} refuses the request: {why}")
        raise RuntimeError(f"{self.url}{path} gave no answer in {TRIES} tries: {why}")

    def answer(self, path: str, content: bytes | None) -> tuple[int, bytes, float]:
        """One try: the status, the whole body, and the seconds that the server asks for; OSError when it fails."""
        address = urlsplit(self.url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.hostname or "", address.port, timeout=10)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        late = threading.Event()

        def cut() -> None:
            late.set()
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(SECONDS, cut)  # for all bytes together: a socket's own limit is for each
        timer.daemon = True
        try:
            connection.connect()
            connected = connection.sock
            connected.settimeout(SECONDS)
            timer.start()
            connection.request("GET" if content is None else "POST", address.path + path, content, headers)
            answer = connection.getresponse()
            received = answer.read(MOST + 1)
        except (OSError, http.client.HTTPException):
            if late.is_set():
                raise TimeoutError(f"no whole answer within {SECONDS:g} s") from None
            raise
        finally:
            timer.cancel()
            connection.close()
        if late.is_set():
            raise TimeoutError(f"no whole answer within {SECONDS:g} s")
        if answer.length or len(received) > MOST:
            raise ConnectionError("the answer is incomplete or too long")
        return answer.status, received, pause_in(answer.headers.get("Retry-After") or "")

    def shown(self, received: bytes | str) -> str:
        """The beginning of the server's answer on one line, without control characters and the token."""
        text = received[:2000].decode("utf-8", "replace") if isinstance(received, bytes) else received
        text = text.replace(self.token, "***") if self.token else text
        return "".join(each for each in " ".join(text.split()) if each.isprintable())[:500]


def parts(conversations: Sequence[Messages]) -> Iterator[list[Messages]]:
    """The conversations in order, in groups that fit one request."""
    part: list[Messages] = []
    characters = 0
    for each in conversations:
        size = sum(len(message["content"]) for message in each)
        if part and (len(part) >= 256 or characters + size > 1 << 20):
            yield part
            part, characters = [], 0
        part.append(each)
        characters += size
    if part:
        yield part


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number; True and texts are not."""
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False


def object_in(body: bytes) -> dict[str, Any] | None:
    """An answer as a JSON object; None when it is something else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def pause_in(given: str) -> float:
    """The seconds of a `Retry-After`, a number or a date, at most 60; 0 for anything else."""
    if given.strip().isascii() and given.strip().isdecimal():
        return min(float(given.strip()[:9]), 60.0)
    try:
        moment = email.utils.parsedate_to_datetime(given).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(moment - time.time(), 0.0), 60.0)
