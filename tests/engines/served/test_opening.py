"""What opening a served model finds out about its servers, and what it refuses."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.cli.main import main
from solon.config.loading import load_recipe
from solon.config.model_spec import ModelSpec, folder_of, located
from solon.config.recipe import EngineSettings, ModelSettings, RenderingKind, SamplingParams, ServerSettings
from solon.config.served_model import ServedModel
from solon.engines.base import Choosing, Finish
from solon.engines.registry import identity_of, open_engine
from solon.engines.served.message_rendering import ReplyStart
from solon.engines.served.served_engine import ServedEngine
from solon.engines.served.wire_format import Interface, LetterReading, PromptForm
from solon.errors import EngineError, InputError, ModelError, RecipeError
from tests.engines.served.openai_stand_in import Ids, StandIn
from tests.engines.tiny import byte_tokenizer, chat_tokenizer, model_of, question
from tests.http.local_server import Answer, LocalServer, Received, serving

CANARY = "canary-2342-secret"
TRANSCRIPT = EngineSettings(rendering=RenderingKind.TRANSCRIPT)


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    return StandIn(model_of("llama"), chat_tokenizer())


@pytest.fixture(scope="module")
def server(stand_in: StandIn) -> Iterator[LocalServer]:
    with serving(stand_in) as server:
        yield server


def opened(server: LocalServer, settings: EngineSettings | None = None, model: str = "tiny") -> ServedEngine:
    engine = open_engine(ModelSpec.parse(f"openai:{model}@{server.url}"), settings)
    assert isinstance(engine, ServedEngine)
    engine.close()
    return engine


def test_everything_that_a_server_can_do_is_found(server: LocalServer) -> None:
    engine = opened(server)
    assert engine.window == 160 and engine.rendering.name == "messages"
    able = engine.able
    assert able.interface is Interface.CHAT and able.start is ReplyStart.CONTINUED and able.top == 20
    assert able.readings == {LetterReading.TOP} and able.extras["top_k"] == -1
    assert able.extras["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}
    text = opened(server, TRANSCRIPT)
    assert text.able.interface is Interface.COMPLETIONS and text.rendering.name == "transcript"
    assert text.able.readings == {LetterReading.TOP, LetterReading.ECHO} and text.lacks() == ()


def test_a_server_that_takes_little_gets_little(stand_in: StandIn) -> None:
    with serving(replace(stand_in, takes=frozenset(), counts=False, answered=[])) as server:
        engine = opened(server)
        assert engine.able.extras == {} and engine.able.start is ReplyStart.ASKED_FOR
        assert engine.choosing is Choosing.VOTES
        lacking = [each.what.partition(":")[0] for each in engine.lacks()]
        assert lacking == ["log-probabilities", "continuing an assistant's message", "counting tokens",
                           "settings such as top_k"]  # fmt: skip
        assert engine.count_tokens(question("bread " * 100)) > 150


def test_a_server_that_ignores_what_it_does_not_know_is_not_believed(stand_in: StandIn) -> None:
    class Ignoring(StandIn):
        async def __call__(self, request: Received) -> Answer:
            if request.body:
                request.body.pop("continue_final_message", None)
                request.body.pop("add_generation_prompt", None)
            return await super().__call__(request)

    with serving(Ignoring(stand_in.model, stand_in.tokenizer)) as server:
        assert opened(server).able.start is ReplyStart.ASKED_FOR


class EchoesOnePlaceOff(StandIn):
    """Gives each token of an echo the value that it would have one place later, and leaves the last one out."""

    def _logprobs(
        self, ids: Ids, out: Ids, values: list[torch.Tensor], top: int, *, chat: bool, echo: bool
    ) -> dict[str, Any]:
        found = super()._logprobs(ids, out, values, top, chat=chat, echo=echo)
        if echo:
            after = self._next(ids)
            found["tokens"] = found["tokens"][: len(ids)]
            found["token_logprobs"] = [float(after[place, token]) for place, token in enumerate(ids)]
        return found


class EchoesWithoutOpening(StandIn):
    """Counts the token that opens every text, and does not echo it."""

    def _logprobs(
        self, ids: Ids, out: Ids, values: list[torch.Tensor], top: int, *, chat: bool, echo: bool
    ) -> dict[str, Any]:
        found = super()._logprobs(ids, out, values, top, chat=chat, echo=echo)
        return {name: each[1:] if echo else each for name, each in found.items()}


def test_an_echo_is_believed_where_its_values_are_those_of_the_next_tokens(stand_in: StandIn) -> None:
    with serving(EchoesOnePlaceOff(stand_in.model, byte_tokenizer())) as server:
        assert opened(server, TRANSCRIPT).able.readings == {LetterReading.TOP}


def test_an_echo_may_leave_out_the_opening_token(stand_in: StandIn) -> None:
    options, chosen = [" the bread", " the letters"], []
    for kind in (StandIn, EchoesWithoutOpening):
        with serving(kind(stand_in.model, byte_tokenizer())) as server:
            engine = open_engine(ModelSpec.parse(f"openai:tiny@{server.url}"), TRANSCRIPT)
            assert isinstance(engine, ServedEngine) and LetterReading.ECHO in engine.able.readings
            chosen.append(engine.choose([question("bread")], options)[0])
            engine.close()
    assert chosen[0] == pytest.approx(chosen[1], abs=1e-6)


def test_lists_of_five_tokens_are_asked_for_where_twenty_are_refused(stand_in: StandIn) -> None:
    with serving(replace(stand_in, most_top=5)) as server:
        assert opened(server).able.top == 5


def test_the_tokenizer_must_be_the_server_s(server: LocalServer, tmp_path: Path) -> None:
    for name, tokenizer in (("right", chat_tokenizer()), ("wrong", byte_tokenizer())):
        tokenizer.save_pretrained(tmp_path / name)
        model_of("llama").config.save_pretrained(tmp_path / name)
    engine = opened(server, EngineSettings(server=ServerSettings(tokenizer=str(tmp_path / "right"))))
    assert engine.able.form is PromptForm.TOKENS and engine.rendering.name == "chat"

    class OfWords(StandIn):
        def _ids(self, text: str) -> list[int]:
            return list(range(len(text.split())))

        async def __call__(self, request: Received) -> Answer:
            if request.body and isinstance(request.body.get("prompt"), list):
                return 422, {"detail": "a text, please"}
            return await super().__call__(request)

    with serving(OfWords(model_of("llama"), byte_tokenizer())) as other:
        settings = EngineSettings(server=ServerSettings(tokenizer=str(tmp_path / "wrong")))
        with pytest.raises(ModelError, match=r"engine\.server\.tokenizer: the tokenizer makes \d+ tokens"):
            opened(other, settings)
    with pytest.raises(ModelError, match="no such folder"):
        opened(server, EngineSettings(server=ServerSettings(tokenizer=str(tmp_path / "none"))))


def test_a_prompt_that_a_server_cuts_off_is_no_answer(stand_in: StandIn, tmp_path: Path) -> None:
    class Cutting(StandIn):
        def _prompt(self, body: dict[str, Any]) -> Ids:
            return super()._prompt(body)[-64:]

    folder = tmp_path / "tokenizer"
    stand_in.model.config.save_pretrained(folder)
    stand_in.tokenizer.save_pretrained(folder)
    settings = EngineSettings(server=ServerSettings(tokenizer=str(folder)))
    with serving(Cutting(stand_in.model, stand_in.tokenizer)) as server:
        engine = open_engine(ModelSpec.parse(f"openai:tiny@{server.url}"), settings)
        short, long = question("Hi"), question("bread " * 50)
        found = engine.generate([short, long], [1, 1], SamplingParams(max_tokens=2))
        assert [each.finish for each in found] == [Finish.LENGTH] * 2 and found[0].text and not found[1].text
        assert all(map(math.isnan, engine.choose([long], ["A", "B"])[0]))


def test_a_server_that_gives_one_text_for_several_samples_is_refused(stand_in: StandIn) -> None:
    class Lone(StandIn):
        def _answer(self, ids: Ids, body: dict[str, Any], *, chat: bool) -> Answer:
            return super()._answer(ids, {**body, "n": 1}, chat=chat)

    settings = EngineSettings(server=ServerSettings(samples=4))
    with serving(stand_in) as server:
        assert opened(server, settings).able.readings
    with (
        serving(Lone(stand_in.model, stand_in.tokenizer)) as lone,
        pytest.raises(ModelError, match=r"1 choices in place of 2.*engine\.server\.samples=1"),
    ):
        opened(lone, settings)


def test_what_is_wrong_is_said_with_what_to_do(server: LocalServer, stand_in: StandIn) -> None:
    with pytest.raises(ModelError, match=r"does not have this model\. It has: tiny"):
        opened(server, model="huge")
    with pytest.raises(ModelError, match=r"engine\.window is 999, but the server reads 160"):
        opened(server, EngineSettings(window=999))
    with serving(replace(stand_in, window=None)) as silent:
        with pytest.raises(ModelError, match=r"--set engine\.window=8192"):
            opened(silent)
        assert opened(silent, EngineSettings(window=100)).window == 100


def test_one_of_two_servers_may_be_away_and_not_both(server: LocalServer) -> None:
    engine = open_engine(ModelSpec.parse(f"openai:tiny@{server.url},http://127.0.0.1:9"))
    assert isinstance(engine, ServedEngine)
    assert engine.remarks == ["http://127.0.0.1:9/v1 does not answer; the other servers are asked"]
    assert engine.generate([question("How?")] * 4, range(4), load_recipe("testbed").responses.sampling)
    engine.close()
    with pytest.raises(EngineError, match="does not answer") as caught:
        open_engine(ModelSpec.parse("openai:tiny@http://127.0.0.1:9"))
    assert "own-server.md" in caught.value.remedy


def test_a_wrong_key_names_its_variable_and_is_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys: list[str] = []

    async def respond(received: Received) -> Answer:
        keys.append(received.headers.get("authorization", ""))
        return 401, {"error": f"wrong key {keys[-1]}"}

    monkeypatch.setenv("MY_KEY", CANARY)
    monkeypatch.setenv("OPENAI_API_KEY", "another-key")
    with serving(respond) as server:
        with pytest.raises(EngineError, match="environment variable MY_KEY") as caught:
            opened(server, EngineSettings(server=ServerSettings(key_variable="MY_KEY")))
        with pytest.raises(EngineError, match="environment variable SOLON_API_KEY"):
            opened(server)
        monkeypatch.setenv("MY_KEY", "two words")
        with pytest.raises(InputError, match=r"\$MY_KEY: a key must be one word"):
            opened(server, EngineSettings(server=ServerSettings(key_variable="MY_KEY")))
    assert keys == [f"Bearer {CANARY}", ""], "no other variable's key is sent, and a refusal is not repeated"
    assert CANARY not in f"{caught.value}{caplog.text}" and "***" in str(caught.value)


def test_a_spec_names_a_model_and_its_addresses() -> None:
    spec = ModelSpec.parse("openai:org/model:7b@https://h:1/v1/,http://other")
    assert ServedModel.parse(spec.name) == ServedModel("org/model:7b", ("https://h:1/v1", "http://other/v1"))
    assert str(spec) == "openai:org/model:7b@https://h:1/v1/,http://other"
    assert folder_of(spec) is None and located(spec) == spec
    assert identity_of(spec) != identity_of(ModelSpec.parse("openai:org/model:7b@https://h:1/v1"))


@pytest.mark.parametrize(
    "spec",
    [
        "openai:m",
        "openai:@http://h",
        "openai:m@ftp://h",
        "openai:m@http://",
        "openai:m n@http://h",
        "openai:m@http://h,http://h/v1",
        f"openai:m@http://user:{CANARY}@h",
        f"openai:m@http://h?key={CANARY}",
        f"openai:m@http://h,http://{CANARY}@g",
    ],
)
def test_a_spec_that_is_not_valid_or_has_a_secret_is_refused_without_it(spec: str) -> None:
    found: list[str] = []
    for ask in (
        lambda: open_engine(ModelSpec.parse(spec)),
        lambda: load_recipe("testbed", (), [f"models.assistant={spec}"]),
        lambda: load_recipe("testbed", (), [f"models.feedback=[testbed:assistant, '{spec}']"]),
        lambda: load_recipe("testbed", (), [f"measure.judge={spec}"]),
    ):
        with pytest.raises((RecipeError, ModelError)) as caught:
            ask()
        found.append(str(caught.value))
    with pytest.raises(ValueError) as refused:
        ModelSettings(critic=spec)
    assert not any(CANARY in each for each in (*found, str(refused.value)))


def test_a_served_model_is_checked_from_the_command_line(
    server: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["engines", "check", *arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    rare = ("--set", "feedback.min_letter_mass=0")  # a random model gives all of its tokens about the same probability
    code, out, err = check(f"openai:tiny@{server.url}", "--set", "engine.rendering=transcript", *rare)
    assert (code, err) == (0, "") and "A run can use this model." in out and "Missing" not in out
    assert "160 tokens" in out and "prompt log-probs and top log-probs" in out and "followed" in out
    code, out, _ = check(f"openai:tiny@{server.url}", "--json")
    assert code == 1 and '"usable": false' in out, "the letters of a random model are not among its 20 best tokens"
    code, out, err = check("openai:tiny@http://127.0.0.1:9")
    assert code == 1 and out == "" and err.count("\n") == 1 and "does not answer" in err


@dataclass
class Cutting:
    """A server that says nothing of its context of 600 words, and reads the end of what is longer."""

    reports: bool = True

    async def __call__(self, request: Received) -> Answer:
        if request.method == "GET":
            return 200, {"data": [{"id": "tiny", "max_model_len": 8192}]}
        if "messages" not in (request.body or {}):
            return 404, {"error": "not here"}
        words = " ".join(each["content"] for each in request.body["messages"]).split()
        usage = {"prompt_tokens": min(len(words), 600), "completion_tokens": 1}
        choice = {"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
        return 200, {"model": "tiny", "choices": [choice], **({"usage": usage} if self.reports else {})}


@pytest.mark.parametrize(("reports", "long"), [(True, Finish.LENGTH), (False, Finish.END)])
def test_a_prompt_that_the_server_cuts_off_in_silence_counts_as_too_long(reports: bool, long: Finish) -> None:
    """Without the model's tokenizer this is seen from how many characters the server reads in a token of prose."""
    prose = "The old baker weighs some flour before the first trains leave the station. "
    asked = [question(prose * times) for times in (1, 40, 120)]
    with serving(Cutting(reports)) as server:
        engine = open_engine(ModelSpec.parse(f"openai:tiny@{server.url}"))
        answers = engine.generate(asked, [0, 1, 2], SamplingParams(max_tokens=4))
        engine.close()
    assert [each.finish for each in answers] == [Finish.END, Finish.END, long]
    assert answers[2].text == ("" if reports else "Yes.")
