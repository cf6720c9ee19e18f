"""The scripted engine counts, cuts and fails as its functions say."""

from __future__ import annotations

import math

import pytest

from solon.config.settings import SamplingParams
from solon.conversation import Prompt
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.errors import EngineError
from tests.engines.tiny import question, questions


def test_texts_are_cut_as_a_models_would_be() -> None:
    engine = ScriptedEngine(lambda prompt, seed: " one two three\n\nHuman: four")
    (stopped,) = engine.generate([question("a")], [0], SamplingParams(max_tokens=9), ("\n\nHuman:",))
    assert (stopped.text, stopped.finish) == ("one two three", Finish.STOP)
    (cut,) = engine.generate([question("a")], [0], SamplingParams(max_tokens=3), ("\n\nHuman:",))
    assert (cut.text, cut.finish) == ("one two", Finish.LENGTH)


def test_whole_completions_pass_as_they_are() -> None:
    failed = Completion("", Finish.ERROR)
    assert ScriptedEngine(lambda prompt, seed: failed).generate([question("a")], [0], SamplingParams(max_tokens=1)) == [
        failed
    ]


def test_what_a_function_raises_reaches_the_caller() -> None:
    def fail(prompt: Prompt, seed: int) -> str:
        raise EngineError("the line is cut", remedy="Try again")

    with pytest.raises(EngineError, match="the line is cut"):
        ScriptedEngine(fail).generate([question("a")], [0], SamplingParams(max_tokens=1))


def test_calls_and_words_are_counted() -> None:
    engine = ScriptedEngine(lambda prompt, seed: "one two", lambda prompt, option: math.nan if option == "B" else -1.0)
    prompts = questions(3)
    engine.generate(prompts, range(3), SamplingParams(max_tokens=4))
    ((a, b),) = engine.choose(prompts[:1], ["A", "B"])
    assert a == -1.0 and math.isnan(b)
    assert (engine.generate_calls, engine.choose_calls, engine.completion_tokens) == (1, 1, 6)
    assert engine.prompts == [*prompts, prompts[0]]
    assert engine.prompt_tokens == sum(map(engine.count_tokens, [*prompts, prompts[0]]))


def test_a_face_that_was_not_given_is_named() -> None:
    with pytest.raises(EngineError, match="no texts"):
        ScriptedEngine().generate([question("a")], [0], SamplingParams(max_tokens=1))
    with pytest.raises(EngineError, match="no choices"):
        ScriptedEngine().choose([question("a")], ["A"])
