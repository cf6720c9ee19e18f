"""How many tokens a prompt has, for a model behind a server.

With the model's tokenizer in a folder this is exact. Without it, the server's answer to the same prompt says it, or the
server counts where it has such a request (vLLM, llama.cpp, llama-cpp-python), but only for prompts that could fill half
of the window: a token has at least one byte, so that shorter prompts fit anyway, and are estimated.

Some servers cut a long prompt off in silence and answer what is left. The number of tokens that they report shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from solon.digest import digest
from solon.http.json_client import JsonClient, JsonRequest
from solon.http.retry_policy import FailureKind, RequestFailure, malformed

BYTES = 3
"""Bytes of a token in estimates, which is rather little: estimates are rather too large."""
DENSER = 1.3
"""No text has so many times the characters of a token that plain prose has, but for long repetitions of a sign."""
_SHORT = 2000
"""Characters of texts that may be such a repetition, and that no server cuts off."""
_OVERHEAD = 64
"""Tokens that a chat template may add."""
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class CountRequest:
    """A request that counts tokens: the path, the body for a text, and where the number is in the answer."""

    name: str
    path: str
    body: Callable[[str, str], Mapping[str, Any]]
    """Of the model's name and the text."""

    def read(self, answer: Any) -> int:
        """The number of tokens in an answer."""
        found = answer.get("count", answer.get("tokens")) if isinstance(answer, dict) else None
        count = len(found) if isinstance(found, list) else found
        if type(count) is not int or count < 0:
            raise malformed("does not count tokens")
        return count


COUNT_REQUESTS = (
    CountRequest("vLLM", "//tokenize", lambda model, text: {"model": model, "prompt": text}),
    CountRequest("llama.cpp", "//tokenize", lambda model, text: {"content": text, "add_special": True}),
    CountRequest("llama-cpp-python", "//extras/tokenize/count", lambda model, text: {"model": model, "input": text}),
)


@dataclass(slots=True)
class TokenCounter:
    """Counts tokens of rendered prompts."""

    client: JsonClient
    model: str
    window: int
    request: CountRequest | None = None
    exact: Callable[[str], int] | None = None
    """Counts by the model's own tokenizer."""
    density: float | None = None
    """Characters of a token in plain prose, as the server counts; None where it is not known, or not needed."""
    _known: dict[str, int] = field(default_factory=dict)
    """By digest of the text."""

    def note(self, text: str, count: int) -> None:
        """Remember what the server reported for a prompt."""
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[digest(text)] = count

    def refuse_cut(self, text: str, read: int) -> None:
        """Raise RequestFailure when the server read fewer tokens of a prompt than it has: it cut the prompt off."""
        if self.exact is not None:
            whole, about = self.exact(text), ""
        elif self.density is not None and len(text) > _SHORT:
            whole, about = math.ceil(len(" ".join(text.split())) / (DENSER * self.density)), "more than "
        else:
            return
        if read < whole:
            tokens = f"{read} of {about}{whole} tokens of a prompt"
            why = f"reads {tokens}: its context is smaller than {self.window} tokens"
            raise RequestFailure(FailureKind.REFUSED, why)

    def count(self, text: str) -> int:
        """Tokens of a rendered prompt; raises RequestFailure when the server is away."""
        if self.exact is not None:
            return self.exact(text)
        if (known := self._known.get(digest(text))) is not None:
            return known
        if (asked := self._question(text)) is None:
            return math.ceil(_size(text) / BYTES)
        count = self.client.ask_one(asked)
        self.note(text, count)
        return count

    def ask_together(self, texts: Iterable[str]) -> None:
        """Have the server count at once what it has to count; raises RequestFailure when it is away."""
        if self.exact is not None:
            return
        unknown = [text for text in dict.fromkeys(texts) if digest(text) not in self._known]
        asked = {text: question for text in unknown if (question := self._question(text)) is not None}
        counts = self.client.ask(list(asked.values()))
        for text, count in zip(asked, counts, strict=True):
            if not isinstance(count, RequestFailure):
                self.note(text, count)

    def _question(self, text: str) -> JsonRequest[int] | None:
        """The request that counts a text; None where an estimate does."""
        if self.request is None or _size(text) + _OVERHEAD <= self.window // 2:
            return None
        return JsonRequest(self.request.path, self.request.body(self.model, text), self.request.read)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def find_count_request(client: JsonClient, model: str) -> CountRequest | None:
    """The first request by which every server counts tokens."""
    for each in COUNT_REQUESTS:
        body = each.body(model, "one two three four")
        try:
            counts = [
                client.ask_one(JsonRequest(each.path, body, each.read, address=address, tries=1))
                for address in client.addresses
            ]
        except RequestFailure:
            continue
        if min(counts) > 0:
            return each
    return None
