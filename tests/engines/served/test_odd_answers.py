"""Answers that servers really give and that follow the format loosely: what is kept of them, and what is said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings, ResponseSettings, ServerSettings
from solon.engines.base import Completion, Finish
from solon.engines.registry import open_engine
from solon.engines.served.message_rendering import ReplyStart
from solon.engines.served.model_names import ModelNames
from solon.engines.served.remedies import engine_error
from solon.engines.served.served_engine import ServedEngine
from solon.errors import EngineError, ModelError
from solon.http.request_flow import RequestFlow
from solon.http.retry_policy import FailureKind, RequestFailure
from solon.pipeline.served_flow import send_through
from solon.runs import Artefact
from solon.runs.outcome import Outcome
from solon.runs.rows import ReplyRow
from solon.stages import s02_responses
from solon.stages.s02_responses import ResponseInputs
from tests.engines.served.test_served_engine import LETTER, SAMPLING, TEXT, TRIES, chat, engine_at, tops, written
from tests.engines.tiny import question, questions
from tests.http.local_server import Answer, Received, serving
from tests.stages.workbench import Bench

HALF = "\ud83d"


def test_half_a_character_in_a_reply_or_a_thought_is_replaced() -> None:
    answer = chat(f"hi {HALF} and bye")
    answer["choices"][0]["message"]["reasoning_content"] = f"so {HALF}"
    found, tries = written(answer)
    assert tries == 1
    assert found == Completion("hi \ufffd and bye", Finish.END, thinking="so \ufffd", tokens_written=3)
    text = {"choices": [{"index": 0, "text": f"hi {HALF}", "finish_reason": "length"}]}
    with engine_at(text, TEXT) as (engine, _):
        assert engine.generate([question("How?")], [1], SAMPLING) == [Completion("hi \ufffd", Finish.LENGTH)]


def test_half_a_character_among_the_most_probable_tokens_is_one_more_token() -> None:
    with engine_at(tops(**{"A": -1.0, "B": -2.0, HALF: -3.0})) as (engine, _):
        assert engine.choose([LETTER], ["A", "B"]) == [(-1.0, -2.0)]


# Errors with status 200 ----------------------------------------------------------------------------------------------


def test_an_error_with_status_200_is_tried_again_as_its_code_would_be() -> None:
    busy = {"error": {"message": "Rate limit exceeded", "code": 429}}
    assert written([busy, chat("right")])[0].text == "right"
    with engine_at(busy) as (engine, server), pytest.raises(EngineError) as caught:
        engine.generate(questions(3), [1, 2, 3], SAMPLING)
    assert "Rate limit exceeded" in caught.value.cause and "concurrency" in caught.value.remedy
    assert len(server.received) == TRIES and engine.client.ledger.tokens.total == 0


def test_an_error_with_status_200_about_the_key_stops_at_once_and_one_about_the_request_is_a_failure() -> None:
    with engine_at({"error": {"message": "No credits", "code": 402}}) as (engine, server):
        with pytest.raises(EngineError, match="No credits"):
            engine.generate(questions(3), [1, 2, 3], SAMPLING)
        assert len(server.received) == 1
    assert written({"error": {"message": "bad value", "code": 400}}) == (Completion("", Finish.ERROR), 1)


def test_an_error_in_a_choice_counts_as_well() -> None:
    broken = chat("half of", "error", error={"message": "Provider disconnected", "code": 502})
    assert written([broken, chat("right")]) == (written(chat("right"))[0], 2)


def test_a_stage_without_any_answer_ends_with_the_reason_and_the_next_session_asks_again(tmp_path: Path) -> None:
    says: list[Any] = [{"error": {"message": "The model is asleep", "code": 7}}]
    bench, flow = Bench(tmp_path), RequestFlow()
    inputs = ResponseInputs(7, bench.prompts("one", "two", "three"), chunk=2)
    with engine_at(lambda body: says[0]) as (engine, server):
        engine.join(flow)

        def stage() -> Artefact:
            out = bench.out("responses", 2)
            send_through(flow, out, ())
            return s02_responses.run(ResponseSettings(), inputs, engine, out)

        with pytest.raises(EngineError, match="none of 3 rows") as caught:
            stage()
        assert "The model is asleep" in caught.value.cause and len(server.received) == 3 * TRIES
        says[0] = chat("awake")
        assert {row.outcome for row in stage().rows(ReplyRow)} == {Outcome.OK}


def test_a_stage_with_one_answer_keeps_its_rows(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    inputs = ResponseInputs(7, bench.prompts("one", "two"), chunk=2)
    with engine_at([chat("right"), (400, {"error": "no"})]) as (engine, _):
        made = s02_responses.run(ResponseSettings(), inputs, engine, bench.out("responses", 2))
    assert made.manifest.outcomes == {"ok": 1, "provider_error": 1}


# Reasoning models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"reasoning_content": ""}, {"reasoning_content": None}, {"reasoning": ""}])
def test_no_text_at_the_token_limit_is_a_text_that_is_cut_off(more: dict[str, Any]) -> None:
    answer = chat(None, "length")
    answer["choices"][0]["message"] |= more
    assert written(answer) == (Completion("", Finish.LENGTH, tokens_written=3), 1)
    assert written([chat(None), chat("right")])[1] == 2, "no text at the end is no answer"


def test_a_model_that_thinks_at_first_without_a_text_can_be_opened() -> None:
    async def respond(received: Received) -> Answer:
        if received.method == "GET":
            return 200, {"data": [{"id": "m", "max_model_len": 4096}]}
        if received.body["max_tokens"] > 1:
            return 200, chat("yes")
        answer = chat(None, "length")
        answer["choices"][0]["message"]["reasoning_content"] = ""
        return 200, answer

    with serving(respond) as server:
        engine = open_engine(ModelSpec.parse(f"openai:m@{server.url}"))
        assert isinstance(engine, ServedEngine)
        assert engine.generate([question("How?")], [1], SAMPLING)[0].text == "yes"
        engine.close()


# Continuing a message ------------------------------------------------------------------------------------------------


@dataclass
class Counting:
    """A server that reports as many prompt tokens as `tokens` says of the messages, and lists one model."""

    tokens: Callable[[list[dict[str, str]]], int]
    name: str = "m"

    async def __call__(self, received: Received) -> Answer:
        if received.method == "GET":
            return 200, {"data": [{"id": "m", "max_model_len": 4096}]}
        if "messages" not in received.body:
            return 404, {"error": "not here"}
        answer = chat(f"I am {self.name}")
        return 200, {
            **answer,
            "model": self.name,
            "usage": {"prompt_tokens": self.tokens(received.body["messages"]), "completion_tokens": 3},
        }


def opened(*addresses: str) -> ServedEngine:
    engine = open_engine(ModelSpec.parse(f"openai:m@{','.join(addresses)}"))
    assert isinstance(engine, ServedEngine)
    engine.close()
    return engine


def words_in(messages: list[dict[str, str]]) -> int:
    return sum(len(each["content"].replace("(", "( ").split()) for each in messages)


@pytest.mark.parametrize(
    ("tokens", "start"),
    [
        (lambda messages: 7, ReplyStart.ASKED_FOR),
        (lambda messages: words_in([each for each in messages if each["role"] == "user"]), ReplyStart.ASKED_FOR),
        (lambda messages: words_in(messages) + 4 * len(messages), ReplyStart.ASKED_FOR),
        (words_in, ReplyStart.CONTINUED),
    ],
)
def test_a_server_continues_a_message_when_its_count_grows_with_the_words(tokens: Any, start: ReplyStart) -> None:
    with serving(Counting(tokens)) as server:
        assert opened(server.url).able.start is start


# Several models behind one name --------------------------------------------------------------------------------------


def test_addresses_that_answer_as_different_models_are_remarked_when_the_model_is_opened() -> None:
    with serving(Counting(words_in, "m1")) as one, serving(Counting(words_in, "m2")) as other:
        engine = opened(one.url, other.url)
        (remark,) = engine.remarks
        assert f"'m1' at {one.url}" in remark and f"'m2' at {other.url}" in remark
        same = opened(one.url, one.url.replace("127.0.0.1", "localhost"))
        assert list(same.remarks) == []


def test_names_are_remembered_for_each_address(caplog: pytest.LogCaptureFixture) -> None:
    names = ModelNames()
    for address in ("a", "b", "a", "b"):
        names.note(address, {"model": "m1"})
    names.note("a", {})
    assert names.known == {"a": "m1", "b": "m1"} and names.difference == "" and caplog.text == ""
    with pytest.raises(RequestFailure, match="'m2', and before as 'm1'"):
        names.note("b", {"model": "m2"})
    names.note("c", {"model": "m2"})
    names.note("c", {"model": "m2"})
    assert len(caplog.records) == 1 and "'m2' at c" in caplog.text


# Prompts that are too long -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.",
        {"message": "Please reduce the length of the messages.", "code": "context_length_exceeded"},
        "The decoder prompt (length 9) is longer than the maximum model length of 8.",
        {"code": 400, "message": "the request is too large", "type": "exceed_context_size_error"},
        "the request exceeds the available context size. try increasing the context size",
        "Requested tokens (5000) exceed context window of 2048",
        "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "the input length exceeds the context length",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ],
)
def test_what_servers_say_of_a_prompt_that_is_too_long_is_understood(said: Any) -> None:
    assert written((400, {"error": said})) == (Completion("", Finish.LENGTH), 1)


@pytest.mark.parametrize(
    "said",
    [
        "maximum value for 'temperature' is 1",
        "'n' exceeds the limit of 1",
        "unknown field in this context: top_k",
        "the stop string is too long",
        "n_ctx is no field of a request",
    ],
)
def test_another_refusal_is_a_failure(said: str) -> None:
    assert written((400, {"error": {"message": said}})) == (Completion("", Finish.ERROR), 1)


# What errors say -----------------------------------------------------------------------------------------------------


def answering(status: int) -> Callable[[Received], Awaitable[Answer]]:
    async def respond(received: Received) -> Answer:
        return status, {"error": "no"}

    return respond


def test_an_error_names_the_address_that_failed_and_no_other() -> None:
    with serving(Counting(words_in)) as good, serving(answering(401)) as bad:
        with pytest.raises(EngineError) as caught:
            opened(good.url, bad.url)
        assert caught.value.place == f"{bad.url}/v1"


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_a_list_of_models_is_opened_when_the_window_is_given(status: int) -> None:
    counting = Counting(words_in)

    async def respond(received: Received) -> Answer:
        return (status, {"error": "no"}) if received.method == "GET" else await counting(received)

    with serving(respond) as server:
        spec = ModelSpec.parse(f"openai:m@{server.url}")
        with pytest.raises(ModelError, match="does not say how many tokens"):
            open_engine(spec)
        engine = open_engine(spec, EngineSettings(window=1000))
        assert isinstance(engine, ServedEngine) and engine.window == 1000
        engine.close()


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        (RequestFailure(FailureKind.DENIED, "answered 308", status=308), "Use the address that it redirects to"),
        (RequestFailure(FailureKind.DENIED, "answered 402", status=402), "account"),
        (RequestFailure(FailureKind.DENIED, "answered 404", status=404), "/v1"),
        (RequestFailure(FailureKind.BROKEN, "answered 500", status=500), "logs"),
        (RequestFailure(FailureKind.AWAY, "does not answer"), "Start the server"),
    ],
)
def test_a_remedy_is_one_for_every_command(failure: RequestFailure, remedy: str) -> None:
    said = engine_error(failure, ["http://a/v1", "http://b/v1"], ServerSettings()).remedy
    assert remedy in said and "engines check" not in said
    assert "rows" not in said or "a run keeps finished rows" in said, "other commands keep none"
