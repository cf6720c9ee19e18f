"""The judge of replies as a recipe names it: contradictions, its questions as counted, its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from solon.config.builtin import constitution_path, measure_questions_path, model_path
from solon.config.loading import load_recipe
from solon.constitution.reader import load_constitution
from solon.conversation import Role
from solon.digest import digest_source
from solon.engines.scripted import ScriptedEngine
from solon.errors import RecipeError
from solon.pipeline.judge_settings import refuse_unusable_judge
from solon.pipeline.preflight import preflight
from solon.pipeline.session import Session
from solon.runs import RunDirectory
from solon.runs.progress import Silent
from solon.runs.rows import PromptKind
from solon.stages.plan import built_in
from solon.stages.questions import Size
from solon.stages.reply_judging import read_by_judge

JUDGED = ("measure.grader=judge", "measure.baseline=assistant")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["measure.judge=testbed:assistant"], r"measure\.judge: 'testbed:assistant' is set for a judge .*grader=judge"),
        (["measure.baseline=assistant", "measure.grader=none"], r"measure\.baseline: 'assistant' is set .* 'none'"),
        (["measure.questions=own.yaml"], r"measure\.questions: .*--set measure\.questions=replies"),
        (["measure.grader=judge", "measure.baseline=asistant"], r"no model 'asistant' is measured.*assistant"),
        (["measure.grader=judge", "measure.baseline=sl-cai", "method=rlhf"], r"no model 'sl-cai' is measured"),
        (["measure.grader=judge", "measure.questions=own.yaml"], r"own\.yaml: no such file of questions"),
    ],
)
def test_settings_that_contradict_are_refused_by_name(settings: list[str], message: str) -> None:
    recipe = load_recipe("testbed", settings=settings)
    with pytest.raises(RecipeError, match=message):
        refuse_unusable_judge(recipe)
    with pytest.raises(RecipeError, match=message):
        preflight(recipe, constitution_path("testbed"))


def test_a_judge_that_is_no_model_is_refused_before_the_run() -> None:
    recipe = load_recipe("testbed", settings=[*JUDGED, "measure.judge=testbed:nobody"])
    with pytest.raises(Exception, match=r"measure\.judge: testbed:nobody"):
        preflight(recipe, constitution_path("testbed"))


def test_the_built_in_recipes_fit() -> None:
    for settings in ((), JUDGED, ("measure.grader=judge", "measure.judge=testbed:pretrained")):
        refuse_unusable_judge(load_recipe("testbed", settings=settings))


def test_every_question_to_the_judge_is_counted_and_fits_its_overhead() -> None:
    stage = built_in("measure")
    plain = stage.questions(load_recipe("testbed"))
    assert [each.name for each in plain] == ["reply", "reply"]
    recipe = load_recipe(
        "testbed", settings=[*JUDGED, "measure.sampling.max_tokens=50", "models.feedback=testbed:pretrained"]
    )
    sizes = dict.fromkeys(PromptKind, Size(10, 100, 12))
    counts = {each.what: each.asked(sizes).questions for each in stage.questions(recipe)}
    assert counts == {
        "replies to held-out harmful prompts": 40,
        "replies to held-out benign prompts": 40,
        "yes or no about replies to held-out harmful prompts": 2 * 4 * 2 * 10,
        "comparisons of replies to held-out harmful prompts": 2 * 3 * 10,
        "yes or no about replies to held-out benign prompts": 2 * 4 * 1 * 10,
        "comparisons of replies to held-out benign prompts": 2 * 3 * 10,
    }
    asked = [each for each in stage.questions(recipe) if each.role is Role.ANSWER]
    assert {each.model for each in asked} == {"testbed:pretrained"}
    engine = ScriptedEngine(choose=lambda prompt, option: 0.0)
    constitution = load_constitution(constitution_path("testbed"))
    one, two = (next(each for each in asked if each.name == name) for name in ("yes-or-no", "against-baseline"))
    assert one.overhead is not None and two.overhead is not None
    assert 50 < one.overhead(constitution, engine) < 150
    assert 100 < two.overhead(constitution, engine) < 200


def test_judge_and_questions_belong_to_the_key(tmp_path: Path) -> None:
    def reads(name: str, *settings: str) -> dict[str, object]:
        recipe = load_recipe("testbed", settings=settings)
        run = RunDirectory.create(tmp_path / name, recipe, constitution_path("testbed"))
        work = Session(run, Silent())
        return {what: work.hash(path) for what, path in read_by_judge(work).items()}

    assert reads("plain") == {}
    found = reads("judged", *JUDGED)
    assert found["questions about replies"] == digest_source(measure_questions_path("replies"))
    own = tmp_path / "own.yaml"
    own.write_text(measure_questions_path("replies").read_text() + "\n# Mine.\n")
    other = reads("other", *JUDGED, f"measure.questions={own}", "measure.judge=testbed:pretrained")
    assert other["judge of replies"] != found["judge of replies"]
    assert other["questions about replies"] != found["questions about replies"]
    assert model_path("testbed:pretrained").is_dir()
