"""The engine of a model behind one or several servers.

A prompt goes out as its rendering writes it: as tokens or text where this program knows the model's tokenizer, or the
prompt is a transcript, else as messages, which the server writes by its own template. Every row has its own request
with its own seed, unless several samples of a prompt are asked together (`engine.server.samples`). A request that fails
is a completion without text, or options without probabilities; a server that is away stops the work with an
EngineError.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from solon.config.served_model import OPENAI, ServedModel
from solon.config.server_settings import ServerSettings
from solon.config.settings import SamplingParams
from solon.conversation import Prompt, Rendering
from solon.engines.base import Choosing, Completion, Continuation, Finish, window_filled
from solon.engines.served.lacks import Lack, lacks
from solon.engines.served.message_rendering import MessageRendering
from solon.engines.served.model_names import ModelNames
from solon.engines.served.option_logprobs import EchoedPrompt, TopRead, echoed_in, read_echoes, read_top, top_of
from solon.engines.served.remedies import engine_error
from solon.engines.served.token_counts import TokenCounter
from solon.engines.served.wire_format import (
    Interface,
    LetterReading,
    PromptForm,
    ServerAbilities,
    choices_in,
    completion_of,
    finds_too_long,
    generation_body,
    top_fields,
)
from solon.engines.thinking import THINK, without_thoughts
from solon.engines.tokens import PromptTokenizer
from solon.errors import EngineError
from solon.http.json_client import JsonClient, JsonRequest
from solon.http.request_flow import RequestFlow
from solon.http.retry_policy import RequestFailure
from solon.http.spending import MOST_TOKENS, Ledger, TokenCount

_log = logging.getLogger(__name__)
_ONE_TOKEN = SamplingParams(max_tokens=1)
T = TypeVar("T")


class EchoedOptions(NamedTuple):
    """How options continue a prompt, as a server echoed them."""

    start: int
    """The token from which on they differ from the bare prompt."""
    logprobs: tuple[float, ...]
    prompts: tuple[EchoedPrompt, ...]
    """The bare prompt, and the prompt with each option."""


class ServedEngine:
    """See `solon.engines.base.Engine`; `able` says what its servers can do."""

    def __init__(
        self,
        client: JsonClient,
        served: ServedModel,
        able: ServerAbilities,
        *,
        rendering: Rendering,
        counter: TokenCounter,
        tokens: PromptTokenizer | None = None,
        settings: ServerSettings | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        """`tokens` is the model's tokenizer with the rendering, where it is known here."""
        self.name = f"{OPENAI}:{served.model}@{','.join(served.addresses)}"
        self.window = counter.window
        self.dtype = ""
        self.rendering = rendering
        self.choosing = Choosing.LOGPROBS if able.readings else Choosing.VOTES
        self.remarks = remarks
        self.client = client
        self.able = able
        self._served = served
        self._settings = settings or ServerSettings()
        self._counter = counter
        self._tokens = tokens
        self.names = ModelNames()
        """What the servers called the model so far."""

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """The completions have no tokens, but their number."""
        return _in_order(self.generated(prompts, seeds, sampling, stop))

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Options outside the list of the most probable tokens get the most that they can have (`option_logprobs`)."""
        return _in_order(self.chosen(prompts, options))

    def generated(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> Iterator[list[tuple[int, Completion]]]:
        """See `solon.engines.base.Remote`."""
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        self._count_together(prompts)
        groups = list(self._groups(prompts))
        requests = []
        for rows in groups:
            limit = self._refuse_too_long(rows[0], prompts[rows[0]], 1)
            allowed = sampling.model_copy(update={"max_tokens": min(sampling.max_tokens, limit)})
            requests.append(self._generation(prompts[rows[0]], seeds[rows[0]], allowed, stop, len(rows)))
        for arrived in self._answers(requests):
            found: list[tuple[int, Completion]] = []
            for number, answer in arrived:
                rows = groups[number]
                if isinstance(answer, RequestFailure):
                    found += [(row, self._failed(rows[0], answer)) for row in rows]
                else:
                    found += zip(rows, answer, strict=True)
            yield [(row, self._without_thoughts(prompts[row], completion)) for row, completion in found]

    def chosen(
        self, prompts: Sequence[Prompt], options: Sequence[str]
    ) -> Iterator[list[tuple[int, tuple[float, ...]]]]:
        """See `solon.engines.base.Remote`."""
        self._refuse_votes()
        self._count_together(prompts)
        for number, prompt in enumerate(prompts):
            self._refuse_too_long(number, prompt, 0)
        echoing, count = LetterReading.ECHO in self.able.readings, len(options)
        unread = {row: TopRead((math.nan,) * count, 0) for row in range(len(prompts))}
        if LetterReading.TOP in self.able.readings:
            for arrived in self._answers([self._top(prompt, options) for prompt in prompts]):
                tops = {row: unread[row] if self._is_failure(row, top) else top for row, top in arrived}
                whole = [row for row, top in tops.items() if top.listed == count or not echoing]
                unread |= tops
                if whole:
                    yield [(row, unread.pop(row).logprobs) for row in whole]
        if not echoing:
            yield [(row, top.logprobs) for row, top in unread.items()]
            return
        rows = sorted(unread)
        for echoes in self._echoes([prompts[row] for row in rows], options):
            yield [(rows[at], echo[1] if echo else unread[rows[at]].logprobs) for at, echo in echoes]

    def count_tokens(self, prompt: Prompt) -> int:
        """Exact where the model's tokenizer is known or the server counts; see `solon.engines.served.token_counts`."""
        try:
            return self._counter.count("".join(self.rendering.render(prompt)))
        except RequestFailure as failure:
            raise self._error(failure) from None

    def count_many(self, prompts: Sequence[Prompt]) -> list[int]:
        """See `solon.engines.base.CountsTogether`; requests that count go out as many at once as others do."""
        self._count_together(prompts)
        return [self.count_tokens(prompt) for prompt in prompts]

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        """Without the model's tokenizer the server is asked, and an option in its list of tokens is one token."""
        self._refuse_votes()
        if self._tokens is not None:
            return self._tokens.continuation(prompt, options)
        if LetterReading.TOP in self.able.readings:
            ((_, top),) = next(self._answers([self._top(prompt, options)]))
            if not self._is_failure(0, top) and top.listed:
                return Continuation(clean=True, options=tuple((place,) for place, _ in enumerate(options)))
        if LetterReading.ECHO in self.able.readings and (echoed := self._echo_tokens(prompt, options)):
            return echoed
        return Continuation(clean=True, options=((),) * len(options))

    def spend_from(self, ledger: Ledger) -> None:
        """See `solon.engines.base.Metered`."""
        ledger.add(self.client.ledger)
        self.client.ledger = ledger

    def join(self, flow: RequestFlow) -> None:
        """See `solon.engines.base.Remote`."""
        self.client.join(flow)

    def lacks(self) -> tuple[Lack, ...]:
        """What the servers do not give, with what to do about it."""
        return lacks(self.able, self._counter)

    def close(self) -> None:
        """Close all connections."""
        self.client.close()

    def fields(self, prompt: Prompt, option: str = "") -> dict[str, Any]:
        """The fields of a request that hold a prompt, followed by an option."""
        if isinstance(self.rendering, MessageRendering):
            return self.rendering.body(prompt)
        text = "".join(self.rendering.render(prompt)) + option
        if self._tokens is None or self.able.form is PromptForm.WITHOUT_OPENING:
            return {"prompt": text}
        if self.able.form is PromptForm.TOKENS:
            return {"prompt": list(self._tokens.encode([text])[0])}
        return {"prompt": self._tokens.shown(text)}

    def _generation(
        self, prompt: Prompt, seed: int, sampling: SamplingParams, stop: Sequence[str], samples: int
    ) -> JsonRequest[list[Completion]]:
        text = "".join(self.rendering.render(prompt))

        def read(answer: Any) -> list[Completion]:
            self._note(answer, text)
            written = _used(answer, "completion_tokens")
            each = None if written is None else math.ceil(written / samples)
            return [completion_of(choice, stop, each) for choice in choices_in(answer, samples)]

        body = generation_body(
            self._served.model, self.fields(prompt), sampling, self.able, seed=seed, stop=stop, samples=samples
        )
        need = TokenCount(self._counter.count(text), sampling.max_tokens * samples)
        return self._request(body, read, need)

    def _request(self, body: Mapping[str, Any], read: Callable[[Any], T], need: TokenCount) -> JsonRequest[T]:
        return JsonRequest(self.able.interface.path, body, read, need, check=self.names.note)

    def _top(self, prompt: Prompt, options: Sequence[str]) -> JsonRequest[TopRead]:
        text = "".join(self.rendering.render(prompt))
        chat = self.able.interface is Interface.CHAT

        def read(answer: Any) -> TopRead:
            self._note(answer, text)
            return read_top(top_of(choices_in(answer)[0].raw), options, self.able.top, loose=chat)

        body = generation_body(self._served.model, self.fields(prompt), _ONE_TOKEN, self.able, seed=0)
        body |= top_fields(self.able.interface, self.able.top)
        return self._request(body, read, TokenCount(self._counter.count(text), 1))

    def _echo(self, prompt: Prompt, option: str) -> JsonRequest[EchoedPrompt]:
        def read(answer: Any) -> EchoedPrompt:
            return echoed_in(choices_in(answer)[0].raw, _used(answer, "completion_tokens"))

        fields = self.fields(prompt, option)
        body = generation_body(self._served.model, fields, _ONE_TOKEN, self.able, seed=0) | {
            "echo": True,
            "logprobs": 1,
        }
        return self._request(body, read, TokenCount(self.count_tokens(prompt), 1))

    def _echoes(
        self, prompts: Sequence[Prompt], options: Sequence[str]
    ) -> Iterator[list[tuple[int, EchoedOptions | None]]]:
        """The options behind each prompt, as the answers arrive; None where a request failed."""
        each = ("", *options)
        parts: dict[int, dict[int, EchoedPrompt | RequestFailure]] = {row: {} for row in range(len(prompts))}
        for arrived in self._answers([self._echo(prompt, option) for prompt in prompts for option in each]):
            for number, answer in arrived:
                row, place = divmod(number, len(each))
                self._is_failure(row, answer)
                parts[row][place] = answer
            whole = [row for row, found in parts.items() if len(found) == len(each)]
            if whole:
                yield [(row, _echoed(parts.pop(row))) for row in whole]

    def _echo_tokens(self, prompt: Prompt, options: Sequence[str]) -> Continuation | None:
        ((_, echo),) = next(self._echoes([prompt], options))
        if echo is None:
            return None
        start, _, (bare, *continued) = echo
        numbers = {token: number for number, token in enumerate(sorted({t for each in continued for t in each.tokens}))}
        ends = tuple(tuple(numbers[token] for token in each.tokens[start:]) for each in continued)
        return Continuation(start == len(bare.tokens), ends)

    def _groups(self, prompts: Sequence[Prompt]) -> Iterator[list[int]]:
        """The rows of each request: neighbours with the same prompt, at most `samples` of them."""
        for _, same in itertools.groupby(range(len(prompts)), key=lambda row: prompts[row]):
            rows = list(same)
            for start in range(0, len(rows), self._settings.samples):
                yield rows[start : start + self._settings.samples]

    def _note(self, answer: Any, text: str) -> None:
        """Check that the whole prompt was read; remember how many tokens it had."""
        if count := _used(answer, "prompt_tokens"):
            self._counter.refuse_cut(text, count)
            self._counter.note(text, count)

    def _answers(self, requests: Sequence[JsonRequest[Any]]) -> Iterator[list[tuple[int, Any]]]:
        try:
            yield from self.client.answers(requests)
        except RequestFailure as failure:
            raise self._error(failure) from None

    def _is_failure(self, row: int, answer: object) -> bool:
        if isinstance(answer, RequestFailure):
            self._failed(row, answer)
        return isinstance(answer, RequestFailure)

    def _failed(self, row: int, failure: RequestFailure) -> Completion:
        """The completion of a row whose request failed; a prompt that the server finds too long is cut off."""
        _log.warning("%s, row %d: the server %s", self.name, row, failure.why)
        return Completion("", Finish.LENGTH if finds_too_long(failure) else Finish.ERROR)

    def _without_thoughts(self, prompt: Prompt, completion: Completion) -> Completion:
        if self._tokens is None:
            return without_thoughts(completion, (THINK,))
        return without_thoughts(completion, self._tokens.tags, self._tokens.opened_by(prompt))

    def _refuse_too_long(self, number: int, prompt: Prompt, needed: int) -> int:
        """The tokens that are left in the window."""
        size = self.count_tokens(prompt)
        if size + needed > self.window:
            raise window_filled(size, self.window, f"{self.name}, row {number}")
        return self.window - size

    def _count_together(self, prompts: Sequence[Prompt]) -> None:
        try:
            self._counter.ask_together("".join(self.rendering.render(prompt)) for prompt in prompts)
        except RequestFailure as failure:
            raise self._error(failure) from None

    def _refuse_votes(self) -> None:
        if self.choosing is Choosing.VOTES:
            raise EngineError(
                "the server gives no log-probabilities",
                place=self.name,
                remedy="Count its votes, as stages do by themselves",
            )

    def _error(self, failure: RequestFailure) -> EngineError:
        return engine_error(failure, self._served.addresses, self._settings)


def _in_order(arriving: Iterator[Sequence[tuple[int, T]]]) -> list[T]:
    """What arrived, in the order of the numbers."""
    found = dict(each for arrived in arriving for each in arrived)
    return [found[row] for row in sorted(found)]


def _echoed(parts: Mapping[int, EchoedPrompt | RequestFailure]) -> EchoedOptions | None:
    """What the echoes of one prompt say, by the place of the option; None where one of them failed."""
    echoes = [each for _, each in sorted(parts.items()) if not isinstance(each, RequestFailure)]
    if len(echoes) < len(parts):
        return None
    return EchoedOptions(*read_echoes(echoes[0], echoes[1:]), tuple(echoes))


def _used(answer: Any, name: str) -> int | None:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count <= MOST_TOKENS else None
