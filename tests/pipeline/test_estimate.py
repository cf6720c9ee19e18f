"""A rehearsal against the run that it foretells, on the bundled model."""

import gc
import shutil
import weakref

import pytest

from solon import prompts
from solon.config.builtin import constitution_path, model_path
from solon.config.loading import load_recipe
from solon.config.recipe import SamplingParams
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.recording import RecordingEngine
from solon.engines.registry import open_engine
from solon.engines.scripted import ScriptedEngine
from solon.pipeline.cost import Calls
from solon.pipeline.estimate import PATIENCE, TRIED, estimate_run, speed_of
from solon.pipeline.session import Session
from solon.runs import RunDirectory
from solon.runs.outcome import Outcome
from solon.runs.progress import Silent
from solon.runs.rows import PromptKind, PromptRow
from solon.stages.plan import built_in

SETTINGS = [
    "prompts.limit_red_team=10",
    "prompts.limit_helpful=6",
    "revision.steps=2",
    "engine.batch_size=8",
    "engine.threads=1",
    "preference.limit_human=5",
    "measure.limit=4",
]


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("testbed", settings=SETTINGS)


@pytest.fixture(scope="module")
def rehearsal(recipe):
    return estimate_run(recipe, constitution_path("testbed"))


def call(calls: tuple[Calls, ...], what: str) -> Calls:
    return next(each for each in calls if each.what == what)


def test_three_questions_of_every_kind_are_shown_as_the_run_asks_them(rehearsal, recipe, tmp_path):
    assert {kind: len(asked) for kind, asked in rehearsal.shown.items()} == dict.fromkeys(
        ("reply", "critique", "revision", "reasoning", "comparison"), 3
    )
    work = Session(RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed")), Silent())
    rows = work.do(built_in("prompts")).table().to_pylist()
    asked = [each.own for each in rehearsal.shown["reply"]]
    first = [row["prompt"][-1]["content"] for row in rows if row["kind"] == "red_team"][:3]
    assert all(text in own for text, own in zip(first, asked, strict=True))
    assert all(own.endswith("Critique:") for own in (each.own for each in rehearsal.shown["critique"]))


def test_numbers_of_calls_are_the_runs_and_its_tokens_lie_within_the_bounds(rehearsal, recipe, tmp_path):
    work = Session(RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed")), Silent())
    engine = RecordingEngine(work.engine(work.assistant))
    work._loaded = (work.assistant, engine)
    for name in ("prompts", "responses", "critique-revision"):
        work.do(built_in(name))
    by_role: dict[Role, list] = {}
    for asked in engine.asked:
        by_role.setdefault(asked.role, []).append(asked)
    for role, what in ((Role.CRITIQUE, "critiques"), (Role.REVISION, "revisions")):
        told, asked = call(rehearsal.calls, what), by_role[role]
        assert len(asked) <= told.calls == 20
        prompt, completion = sum(a.prompt_tokens for a in asked), sum(a.completion_tokens for a in asked)
        assert prompt <= told.prompt.bound and completion <= told.completion.bound
        assert told.prompt.estimate == pytest.approx(prompt, rel=0.15)
        assert told.completion.estimate == pytest.approx(completion, rel=0.3)
    replies = [call(rehearsal.calls, f"replies to {kind} prompts") for kind in ("red-team", "helpful")]
    assert [each.calls for each in replies] == [10, 12]
    assert sum(each.prompt.estimate for each in replies) == sum(a.prompt_tokens for a in by_role[Role.ASSISTANT])


def test_time_and_speed_are_positive_and_finished_stages_are_left_out(rehearsal, recipe):
    assert rehearsal.times and all(seconds is not None and seconds > 0 for seconds in rehearsal.times)
    assert all(speed.reading > 0 and speed.writing > 0 for speed in rehearsal.speeds.values())
    later = estimate_run(recipe, constitution_path("testbed"), ("responses", "sl-cai"))
    assert "responses" not in {each.stage for each in later.calls}
    assert "sl-cai" not in {each.stage for each in later.learning}


def test_models_are_loaded_one_at_a_time_and_only_the_assistant_twice(monkeypatch, tmp_path):
    """As in the run: assistant, critic, then the assistant in place of SL-CAI, then the judge."""
    for name in ("critic", "judge"):
        shutil.copytree(model_path("testbed:assistant"), tmp_path / name)
    named = [f"models.critic={tmp_path / 'critic'}", f"models.feedback={tmp_path / 'judge'}"]
    chosen = load_recipe("testbed", settings=[*SETTINGS, *named])
    loaded, alive = list[str](), list[int]()
    engines: list[weakref.ref] = []

    def opened(spec, *more):
        gc.collect()
        alive.append(sum(each() is not None for each in engines))
        loaded.append(spec.name.rsplit("/")[-1])
        engine = open_engine(spec, *more)
        engines.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr("solon.engines.engine_place.open_engine", opened)
    found = estimate_run(chosen, constitution_path("testbed"))
    assert loaded == ["assistant", "critic", "assistant", "judge"] and alive == [0, 0, 0, 0]
    assert [name.split("@")[0].rsplit("/")[-1] for name in found.speeds] == ["assistant", "critic", "judge"]
    assert found.unknown == frozenset()


def test_models_that_take_turns_are_loaded_together(monkeypatch, tmp_path):
    for name in ("critic", "reviser"):
        shutil.copytree(model_path("testbed:assistant"), tmp_path / name)
    named = [f"models.critic={tmp_path / 'critic'}", f"models.reviser={tmp_path / 'reviser'}"]
    loaded = list[str]()

    def opened(spec, *more):
        loaded.append(spec.name.rsplit("/")[-1])
        return open_engine(spec, *more)

    monkeypatch.setattr("solon.engines.engine_place.open_engine", opened)
    found = estimate_run(load_recipe("testbed", settings=[*SETTINGS, *named]), constitution_path("testbed"))
    assert loaded == ["assistant", "critic", "reviser", "assistant"]
    assert len(found.speeds) == 3 and {"critique", "revision"} <= set(found.shown)


@pytest.mark.parametrize(("seconds_each", "asked"), [(0.01, 100), (0.5, int(PATIENCE / 0.5)), (5.0, TRIED)])
def test_a_slow_model_is_timed_on_fewer_prompts(monkeypatch, seconds_each, asked):
    now = 0.0

    def answer(prompt: Prompt, seed: int) -> str:
        nonlocal now
        now += seconds_each
        return "one two three"

    monkeypatch.setattr("solon.pipeline.estimate.time.perf_counter", lambda: now)
    engine = ScriptedEngine(answer, lambda prompt, option: -1.0)
    question = Conversation((Turn(Role.HUMAN, "how are you"),))
    row = PromptRow(row_id="a", kind=PromptKind.RED_TEAM, prompt=question, source="file", outcome=Outcome.OK)
    found = speed_of(engine, [row] * 100)
    assert len(engine.prompts) == 1 + TRIED + 2 * asked
    assert found.reading == pytest.approx(engine.count_tokens(prompts.reply(question)) / seconds_each)


def test_a_recorder_tells_shared_tokens_apart():
    engine = RecordingEngine(ScriptedEngine(lambda prompt, seed: "two words", lambda prompt, option: -1.0))
    turns = (Turn(Role.HUMAN, "one two three"), Turn(Role.ASSISTANT, "four"), Turn(Role.HUMAN, "five"))
    engine.generate([Prompt(turns, shared=2)], [0], SamplingParams(max_tokens=8))
    engine.choose([Prompt(turns, Role.ANSWER)], ["A", "B"])
    first, second = engine.asked
    assert (first.prompt_tokens, first.shared_tokens, first.completion_tokens) == (9, 6, 2)
    assert (second.role, second.shared_tokens, second.completion_tokens) == (Role.ANSWER, 0, 0)
    assert first.shared + first.own == "\n\nHuman: one two three\n\nAssistant: four\n\nHuman: five\n\nAssistant:"
