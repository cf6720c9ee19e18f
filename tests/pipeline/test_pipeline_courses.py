"""The other courses that a run can take, small: online rounds, and the baselines that people teach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.pipeline.test_run_stages import SMALL

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.constitution.reader import load_constitution
from solon.errors import RecipeError, RunError
from solon.export.model_folder import ExportedWeights, export_model
from solon.export.trainers.trainer_folder import export_for_trl
from solon.pipeline.impact import impact_of
from solon.pipeline.run_stages import run_stages
from solon.reporting import write
from solon.reporting.results import results
from solon.runs import Artefact, RunDirectory
from solon.runs.progress import Silent
from solon.stages.plan import names_of, policies_of


def done(
    folder: Path, settings: Sequence[str], overlays: Sequence[str] = (), reuse: Sequence[Path] = ()
) -> RunDirectory:
    recipe = load_recipe("testbed", overlays, [*SMALL, *settings])
    run = RunDirectory.create(folder, recipe, constitution_path(recipe.constitution), reuse)
    with run.lock():
        run_stages(run, Silent())
    return run


def named(run: RunDirectory) -> dict[str, Artefact]:
    return {artefact.name: artefact for artefact in run.artefacts()}


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return done(tmp_path_factory.mktemp("rounds") / "run", ["rounds=2", "pairs.per_prompt=2"], ["online"])


def test_each_round_draws_new_pairs_from_the_policy_before_and_learns_from_all_labels(two_rounds: RunDirectory) -> None:
    assert [artefact.path.name for artefact in two_rounds.artefacts()][4:] == [
        "05-response-pairs", "06-ai-feedback", "07-preference-model", "08-rl-cai",
        "09-response-pairs-2", "10-ai-feedback-2", "11-preference-model-2", "12-rl-cai-2", "13-measure",
    ]  # fmt: skip
    stages = named(two_rounds)
    first, second = stages["response-pairs"].table().to_pylist(), stages["response-pairs-2"].table().to_pylist()
    assert {row["pair"] for row in first} == {1, 2} and {row["pair"] for row in second} == {3, 4}
    assert {row["row_id"] for row in first} == {row["row_id"] for row in second}
    assert stages["response-pairs-2"].manifest.key["rl-cai"] == stages["rl-cai"].hash
    ok = [
        sum(row["outcome"] == "ok" for row in stages[name].table().to_pylist())
        for name in ("ai-feedback", "ai-feedback-2")
    ]
    for name, labels in (("preference-model", ok[0]), ("preference-model-2", sum(ok))):
        facts = stages[name].facts
        learned = facts["examples"].get("ai", 0) + facts["held_out_examples"].get("ai", 0)
        assert learned + facts["near_even"] == labels
    # Every round's policy starts from SL-CAI, and is held near it.
    assert stages["rl-cai-2"].manifest.key["sl-cai"] == stages["sl-cai"].hash
    assert stages["rl-cai-2"].manifest.key["preference-model-2"] == stages["preference-model-2"].hash


def test_rounds_are_measured_reported_and_exported(two_rounds: RunDirectory, tmp_path: Path) -> None:
    figures = results(two_rounds)
    assert list(figures["models"]) == ["pretrained", "assistant", "sl-cai", "rl-cai", "rl-cai-2"]
    assert figures["unfinished"] == [] and [facts["round"] for facts in figures["rounds"]] == [1, 2]
    assert figures["rounds"][1]["score"] == named(two_rounds)["rl-cai-2"].facts["score"]
    page = write(two_rounds).read_text(encoding="utf-8")
    assert "Reinforcement learning, round 2" in page and "Round 2: " in page
    card = (export_model(two_rounds, "rl-cai-2", ExportedWeights.MERGED, tmp_path / "model") / "README.md").read_text()
    assert "preference-model-2" in card and "| rl-cai-2 |" in card
    exported = export_for_trl(two_rounds, tmp_path / "trl")
    assert named(two_rounds)["preference-model-2"].hash in (exported.folder / "README.md").read_text()


def test_a_run_of_one_round_lends_its_stages_to_one_of_two(two_rounds: RunDirectory, tmp_path: Path) -> None:
    one = done(tmp_path / "one", ["pairs.per_prompt=2"], reuse=[two_rounds.path])
    for name in names_of(one.recipe)[:-1]:
        assert named(one)[name].manifest.adopted_from and named(one)[name].hash == named(two_rounds)[name].hash


def test_an_edited_principle_of_labels_touches_all_later_rounds(two_rounds: RunDirectory, tmp_path: Path) -> None:
    file = tmp_path / "edited.yaml"
    text = constitution_path("testbed").read_text(encoding="utf-8")
    drawn = {row["principle_id"] for row in named(two_rounds)["ai-feedback"].table().to_pylist()}
    instruction = next(each for each in load_constitution(constitution_path("testbed")).preference if each.id in drawn)
    assert text.count(instruction.instruction) == 1
    file.write_text(text.replace(instruction.instruction, "Choose the kinder response."), encoding="utf-8")
    foreseen = impact_of(two_rounds, load_constitution(file))
    again = {(each.stage, each.what): (each.asked, each.again) for each in foreseen.questions}
    assert again["response-pairs", "reply"][1] == 0
    asked, anew = again["ai-feedback", "letter"]
    assert 0 < anew < asked
    # The first policy changes, and with it every pair and label of the second round.
    assert again["response-pairs-2", "reply"] == (2 * 24, 2 * 24)
    assert again["ai-feedback-2", "letter"][0] == again["ai-feedback-2", "letter"][1] > 0
    assert list(foreseen.trained) == ["preference-model", "rl-cai", "preference-model-2", "rl-cai-2"]


def test_people_alone_teach_the_baseline(tmp_path: Path) -> None:
    run = done(tmp_path / "hh", [], ["hh-rlhf"])
    assert [artefact.path.name for artefact in run.artefacts()] == [
        "01-prompts", "02-preference-model", "03-rlhf", "04-measure",
    ]  # fmt: skip
    learnt = named(run)["preference-model"].facts
    seen = {
        source: learnt["examples"].get(source, 0) + learnt["held_out_examples"].get(source, 0)
        for source in ("ai", "human", "human-harmlessness")
    }
    assert seen == {"ai": 0, "human": 12, "human-harmlessness": 12}
    figures = results(run)
    assert list(figures["models"]) == ["pretrained", "assistant", "rlhf"]
    assert figures["reinforcement"]["steps"] == 3 and "revisions" not in figures
    page = write(run).read_text(encoding="utf-8")
    assert "without a constitution" in page and 'id="constitution"' not in page
    card = (export_model(run, "rlhf", ExportedWeights.MERGED, tmp_path / "model") / "README.md").read_text(
        encoding="utf-8"
    )
    assert "human comparisons (RLHF" in card and "constitutional-ai" not in card
    with pytest.raises(RunError, match="trains no model 'sl-cai'"):
        export_model(run, "sl-cai", ExportedWeights.MERGED, tmp_path / "other")
    with pytest.raises(RunError, match="the export starts from SL-CAI"):
        export_for_trl(run, tmp_path / "trl")
    with pytest.raises(RunError, match="learns from human comparisons"):
        impact_of(run, run.constitution)


def test_helpful_only_learns_from_helpfulness_alone() -> None:
    recipe = load_recipe("testbed", ["helpful-rlhf"])
    assert recipe.rl.red_team_share == 0 and recipe.preference.human_harmlessness is None
    assert policies_of(recipe) == ("rlhf",) and names_of(recipe)[-1] == "measure"


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        (["preference.human_helpfulness=null"], "preference.human_helpfulness"),
        (["preference.human_weight=0"], "preference.human_helpfulness"),
        (["rl.algorithm=dpo"], "rl.algorithm"),
        (["rl.networks=shared"], "rl.networks"),
        (["rounds=2"], "rounds"),
    ],
)
def test_what_people_cannot_teach_is_refused_before_anything_is_spent(
    settings: list[str], place: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        done(tmp_path / "run", settings, ["helpful-rlhf"])
    assert caught.value.place == place and caught.value.remedy
    assert not list((tmp_path / "run").glob("0*"))
