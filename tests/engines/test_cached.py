"""A cached engine answers like its engine, and asks nothing twice."""

import math
import sqlite3
from pathlib import Path

import pytest

from solon.config.recipe import EngineSettings, Matmul, SamplingParams
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.base import Completion, Finish
from solon.engines.cached import CachedEngine
from solon.engines.scripted import ScriptedEngine
from solon.errors import EngineError, RunError
from solon.runs.response_cache import CachedAnswer, Usage, response_cache_in

SAMPLING = SamplingParams(max_tokens=16)
STOP = ("\n\nHuman:",)


def prompt(text: str) -> Prompt:
    return Prompt(Conversation((Turn(Role.HUMAN, text),)).turns)


def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda p, seed: f"{p.turns[-1].content} {seed}", lambda p, o: -float(len(o)), window=64)


def test_known_questions_are_not_asked_again(tmp_path: Path) -> None:
    inner = engine()
    prompts, seeds = [prompt("one"), prompt("two"), prompt("one")], [1, 2, 3]
    uncached = engine().generate(prompts, seeds, SAMPLING, STOP)
    with response_cache_in(tmp_path) as answers:
        cached = CachedEngine(inner, "weights", "stage", answers)
        assert cached.generate(prompts[:2], seeds[:2], SAMPLING, STOP) == uncached[:2]
        assert cached.generate(prompts, seeds, SAMPLING, STOP) == uncached
        assert len(inner.prompts) == 3
        assert cached.choose(prompts[:2], ["A", "BB"]) == [(-1.0, -2.0)] * 2
        assert cached.choose(prompts[:2], ["A", "BB"]) == [(-1.0, -2.0)] * 2
        assert inner.choose_calls == 1
        assert answers.usage()["stage", "assistant"].answers == 5
    with response_cache_in(tmp_path) as answers:
        again = engine()
        assert CachedEngine(again, "weights", "stage", answers).generate(prompts, seeds, SAMPLING, STOP) == uncached
        assert again.prompts == []


@pytest.mark.parametrize(
    "change", ["weights", "window", "dtype", "text", "seed", "max_tokens", "temperature", "top_p", "stop", "question"]
)
def test_whatever_can_change_an_answer_makes_another_question(tmp_path: Path, change: str) -> None:
    other = {"max_tokens": 17, "temperature": 0.5, "top_p": 0.9}
    with response_cache_in(tmp_path) as answers:
        CachedEngine(engine(), "weights", "s", answers).generate([prompt("one")], [1], SAMPLING, STOP)
        inner = engine()
        if change == "window":
            inner.window = 65
        if change == "dtype":
            inner.dtype = "bfloat16"
        second = CachedEngine(inner, "other" if change == "weights" else "weights", "s", answers)
        sampling = SAMPLING.model_copy(update={change: other[change]}) if change in other else SAMPLING
        stop = (*STOP, "x") if change == "stop" else STOP
        asked = prompt("another" if change == "text" else "one")
        if change == "question":
            second.choose([asked], ["A", "B"])
        else:
            second.generate([asked], [2 if change == "seed" else 1], sampling, stop)
        assert len(inner.prompts) == 1


def test_a_failed_call_is_no_answer(tmp_path: Path) -> None:
    failing = ScriptedEngine(lambda p, seed: Completion("", Finish.ERROR) if seed == 1 else "fine", window=64)
    with response_cache_in(tmp_path) as answers:
        first = CachedEngine(failing, "weights", "s", answers).generate([prompt("a")] * 2, [1, 2], SAMPLING, STOP)
        assert [each.finish for each in first] == [Finish.ERROR, Finish.END]
        inner = engine()
        second = CachedEngine(inner, "weights", "s", answers).generate([prompt("a")] * 2, [1, 2], SAMPLING, STOP)
        assert [each.text for each in second] == ["a 1", "fine"]
        assert len(inner.prompts) == 1


def test_what_the_inner_engine_raises_reaches_the_stage_and_nothing_is_kept(tmp_path: Path) -> None:
    with response_cache_in(tmp_path) as answers:
        cached = CachedEngine(engine(), "weights", "s", answers)
        with pytest.raises(EngineError, match="window of 64"):
            cached.generate([prompt("word " * 70)], [1], SAMPLING, STOP)
        assert answers.usage() == {}


def test_tokens_are_counted_for_the_estimate_and_not_returned(tmp_path: Path) -> None:
    whole = ScriptedEngine(lambda p, seed: Completion("two words", Finish.END, (5, 6, 7), (-0.1, -0.2, -0.3)))
    with response_cache_in(tmp_path) as answers:
        (given,) = CachedEngine(whole, "weights", "s", answers).generate([prompt("hello there")], [1], SAMPLING, STOP)
        assert given == Completion("two words", Finish.END)
        assert answers.usage()["s", "assistant"] == Usage(1, 0, whole.count_tokens(prompt("hello there")), 3)


SHAPES = ["text", ["text"], ["text", "no finish"], ["text", "error"], [1, "end"], {"text": "end"}, None, [0.5, 0.5]]


@pytest.mark.parametrize("value", SHAPES)
def test_a_cached_value_that_is_not_a_completion_is_reported(tmp_path: Path, value: object) -> None:
    """Whole by its checksum and of another shape, as only another program writes it."""
    with response_cache_in(tmp_path) as answers:
        cached = CachedEngine(engine(), "weights", "s", answers)
        right = cached.generate([prompt("a")], [1], SAMPLING, STOP)
        replace_all(tmp_path, value)
        with pytest.raises(RunError, match=r"answers\.sqlite: the cached answer .* is damaged"):
            cached.generate([prompt("a")], [1], SAMPLING, STOP)
        assert cached.generate([prompt("a")], [1], SAMPLING, STOP) == right


@pytest.mark.parametrize("value", [[-1.0], [-1.0, -2.0, -3.0], [-1.0, "x"], [-1.0, math.nan], [-1.0, True], "ab", None])
def test_a_cached_value_that_is_not_a_choice_is_reported(tmp_path: Path, value: object) -> None:
    with response_cache_in(tmp_path) as answers:
        cached = CachedEngine(engine(), "weights", "s", answers)
        cached.choose([prompt("a")], ["A", "B"])
        replace_all(tmp_path, value)
        with pytest.raises(RunError, match="is damaged"):
            cached.choose([prompt("a")], ["A", "B"])


@pytest.mark.parametrize("settings", [EngineSettings(matmul=Matmul.MEDIUM), EngineSettings(window=32)])
def test_answers_under_other_settings_are_not_taken(tmp_path: Path, settings: EngineSettings) -> None:
    inner = engine()
    with response_cache_in(tmp_path) as answers:
        for each in (EngineSettings(), EngineSettings(batch_size=3), settings):
            CachedEngine(inner, "weights", "s", answers, each).generate([prompt("a")], [1], SAMPLING, STOP)
    assert len(inner.prompts) == 2


def replace_all(folder: Path, value: object) -> None:
    """Every kept value by another, with the checksum that its row then has."""
    with response_cache_in(folder) as answers:
        connection = sqlite3.connect(answers.path)
        rows = connection.execute(
            "SELECT key, stage, reply_as, prompt_tokens, completion_tokens FROM answers"
        ).fetchall()
        with connection:
            connection.execute("DELETE FROM answers")
        connection.close()
        answers.keep(CachedAnswer(key, value, *rest) for key, *rest in rows)
