"""A server that speaks the OpenAI wire format over a tiny model, with what real servers differ in as options."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.engines.tiny import WINDOW
from tests.http.local_server import Answer, Received

Ids = list[int]


@dataclass
class StandIn:
    """Answers for `model`; `takes` names the fields that it knows besides the standard ones, others are refused."""

    model: Any
    tokenizer: Any
    name: str = "tiny"
    takes: frozenset[str] = frozenset({"top_k", "min_p", "repeat_penalty", "repetition_penalty", "logprobs", "echo",
                                       "top_logprobs", "chat_template_kwargs", "continue_final_message",
                                       "add_generation_prompt"})  # fmt: skip
    window: int | None = WINDOW
    says: int | None = None
    """The window that it claims in place of its own."""
    counts: bool = True
    """Whether it has a request that counts tokens."""
    most_top: int = 20
    answered: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, request: Received) -> Answer:
        if request.method == "GET":
            if request.path == "/v1/models":
                return 200, {"data": [{"id": self.name, "max_model_len": self.says or self.window}]}
            return 404, {"error": "not here"}
        body = request.body
        if request.path == "/tokenize" and self.counts:
            return 200, {"count": len(self._ids(body["prompt"])), "max_model_len": self.window}
        if request.path not in ("/v1/completions", "/v1/chat/completions"):
            return 404, {"error": "not here"}
        standard = {"model", "prompt", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "n"}
        if unknown := set(body) - standard - self.takes:
            return 400, {"error": {"message": f"unrecognized fields {sorted(unknown)}"}}
        if body["model"] != self.name:
            return 404, {"error": {"message": "no such model"}}
        ids = self._prompt(body)
        if self.window is not None and len(ids) + 1 > self.window:
            return 400, {"error": {"message": f"maximum context length is {self.window} tokens"}}
        self.answered.append(body)
        return self._answer(ids, body, chat="messages" in body)

    def _prompt(self, body: dict[str, Any]) -> Ids:
        if "messages" not in body:
            prompt = body["prompt"]
            return prompt if isinstance(prompt, list) else self._ids(prompt)
        continues = bool(body.get("continue_final_message"))
        text = self.tokenizer.apply_chat_template(
            body["messages"], tokenize=False, add_generation_prompt=not continues, continue_final_message=continues
        )
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ids(self, text: str) -> Ids:
        return list(self.tokenizer(text)["input_ids"])

    def _answer(self, ids: Ids, body: dict[str, Any], *, chat: bool) -> Answer:
        asked = body.get("top_logprobs", 0) if chat else body.get("logprobs", 0)
        if asked > self.most_top:
            return 400, {"error": {"message": f"at most {self.most_top} logprobs"}}
        choices = []
        written = 0
        for number in range(body.get("n", 1)):
            out, values, finish = self._generate(ids, body, random.Random(body["seed"] + number))
            written += len(out)
            text = self._text(out)
            places = [text.find(stop) for stop in body.get("stop", []) if stop in text]
            choice: dict[str, Any] = {"index": number, "finish_reason": "stop" if places else finish}
            text = text[: min(places, default=len(text))]
            if body.get("echo"):
                text = self._text(ids) + text
            choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            if asked:
                choice["logprobs"] = self._logprobs(ids, out, values, asked, chat=chat, echo=body.get("echo", False))
            choices.append(choice)
        usage = {"prompt_tokens": len(ids), "completion_tokens": written}
        return 200, {"model": self.name, "choices": choices, "usage": usage}

    def _generate(self, ids: Ids, body: dict[str, Any], draw: random.Random) -> tuple[Ids, list[torch.Tensor], str]:
        out: Ids = []
        values: list[torch.Tensor] = []
        while len(out) < body["max_tokens"]:
            logprobs = self._next(ids + out)[-1]
            values.append(logprobs)
            if body["temperature"] == 0:
                token = int(logprobs.argmax())
            else:
                shares = (logprobs / body["temperature"]).softmax(-1).tolist()
                token = draw.choices(range(len(shares)), shares)[0]
            if token == self.tokenizer.eos_token_id or self._text([token]) == "<|im_end|>":
                return out, values, "stop"
            out.append(token)
        return out, values, "length"

    def _next(self, ids: Ids) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.model(input_ids=torch.tensor([ids])).logits[0]
        return logits.log_softmax(-1)

    def _text(self, ids: Ids) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _logprobs(
        self, ids: Ids, out: Ids, values: list[torch.Tensor], top: int, *, chat: bool, echo: bool
    ) -> dict[str, Any]:
        listed = [
            [(self._text([int(token)]), float(value)) for value, token in zip(*each.topk(top), strict=True)]
            for each in values[:1]
        ]
        if chat:
            entries = [{"token": token, "logprob": value} for token, value in listed[0]]
            return {"content": [{"token": entries[0]["token"], "logprob": 0.0, "top_logprobs": entries}]}
        shown = [*ids, *out] if echo else out
        after = self._next([*ids, *out])
        whole = [None, *(float(after[place - 1, token]) for place, token in enumerate([*ids, *out]) if place)]
        start = 0 if echo else len(ids)
        return {
            "tokens": [self._text([token]) for token in shown],
            "token_logprobs": whole[start : start + len(shown)],
            "top_logprobs": [None] * len(ids) * echo + [dict(each) for each in listed],
        }
