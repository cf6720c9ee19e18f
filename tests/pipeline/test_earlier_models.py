"""An edited run that goes on from the models of the run before it, small, on the bundled model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.pipeline.test_run_stages import SMALL

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.constitution.reader import load_constitution
from solon.errors import RecipeError, RunError, SolonError
from solon.pipeline.earlier_models import with_earlier_models
from solon.pipeline.open_run import asked_recipe, carry_out, open_or_create
from solon.pipeline.settled import SETTLED, is_settled
from solon.reporting.effect.edit_effect import effect_of
from solon.reporting.tracing.find_trace import trace_of
from solon.reporting.tracing.trace_parts import RowTrace, TraceFact
from solon.runs import Artefact, RunDirectory
from solon.runs.progress import Silent


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("warm") / "first"
    return carry_out(folder, "testbed", Silent(), settings=[*SMALL, "rl.steps=6", "preference.training.epochs=6"])


def edited(folder: Path, run: RunDirectory, instruction: str) -> Path:
    """The run's constitution with another text of a preference principle that was drawn."""
    drawn = {row["principle_id"] for row in named(run)["ai-feedback"].table().to_pylist()}
    old = next(each for each in run.constitution.preference if each.id in drawn).instruction
    text = (run.path / "constitution.yaml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{run.path.name}-edited.yaml"
    file.write_text(text.replace(old, instruction), encoding="utf-8")
    return file


def named(run: RunDirectory) -> dict[str, Artefact]:
    return {artefact.name: artefact for artefact in run.artefacts()}


def gone_on(folder: Path, run: RunDirectory, constitution: Path) -> RunDirectory:
    settings = [f"warm_start.run={run.path}", f"constitution={constitution}"]
    return carry_out(folder, None, Silent(), settings=settings, reuse=[run.path])


def test_stages_that_the_edit_changes_go_on_and_the_others_are_taken_over(first: RunDirectory, tmp_path: Path) -> None:
    constitution = edited(tmp_path, first, "Choose the kinder response.")
    second = gone_on(tmp_path / "second", first, constitution)
    before, after = named(first), named(second)
    recorded = second.recipe.warm_start
    assert recorded.run is None
    assert {name: (model.folder, model.hash) for name, model in recorded.models.items()} == {
        name: (str(before[name].model.resolve()), before[name].hash) for name in ("preference-model", "rl-cai")
    }
    assert after["sl-cai"].manifest.adopted_from and after["sl-cai"].hash == before["sl-cai"].hash
    assert (before["rl-cai"].facts["steps"], after["rl-cai"].facts["steps"]) == (6, 2)
    assert after["preference-model"].facts["steps"] < before["preference-model"].facts["steps"]
    for name in recorded.models:
        key = after[name].manifest.key["warm_start"]
        assert key == {"hash": before[name].hash, "share": 0.34} and "warm_start" not in before[name].manifest.key

    # The same command goes on with the run, and it does not need the earlier one when it is done.
    again = gone_on(second.path, first, constitution)
    assert again.recipe == second.recipe
    moved = first.path.rename(first.path.with_name("moved"))
    try:
        (second.path / SETTLED).unlink()
        kept = carry_out(second.path, None, Silent())
        assert {name: each.hash for name, each in named(kept).items()} == {n: each.hash for n, each in after.items()}
    finally:
        moved.rename(first.path)

    # A third run goes on from the second, and takes over what the second had from the first.
    third = asked_recipe(
        tmp_path / "third",
        None,
        settings=[f"warm_start.run={second.path}", f"constitution={edited(tmp_path, second, 'Choose the safer one.')}"],
        reuse=[second.path],
    )
    assert {name: model.hash for name, model in third.warm_start.models.items()} == {
        name: after[name].hash for name in ("preference-model", "rl-cai")
    }


def test_the_effect_compares_them_and_says_what_the_models_learned_from(first: RunDirectory, tmp_path: Path) -> None:
    second = gone_on(tmp_path / "second", first, edited(tmp_path, first, "Choose the kinder response."))
    effect = effect_of(first, second)
    assert any("Training went on from earlier models in preference-model, rl-cai" in line for line in effect.remarks)
    measured = next(row for row in named(second)["measure"].table().to_pylist() if row["model"] == "rl-cai")
    found = trace_of(second, f"measure/{measured['row_id']}/rl-cai")
    assert isinstance(found, RowTrace)
    (policy,) = (part for part in found.parts if part.title == "Model rl-cai")
    assert TraceFact("goes on from", str(named(first)["rl-cai"].model)) in policy.facts


def test_nothing_goes_on_where_nothing_changes(first: RunDirectory, tmp_path: Path) -> None:
    assert is_settled(first)
    recipe = asked_recipe(tmp_path / "second", None, settings=[f"warm_start.run={first.path}"], reuse=[first.path])
    assert recipe.warm_start.models == {} and recipe.warm_start.run is None


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        (["models.pretrained=testbed:assistant"], RunError, "models.pretrained: 'testbed:pretrained'"),
        (["rl.algorithm=dpo"], RecipeError, "DPO compares"),
        (["rl.networks=shared"], RecipeError, "share a frozen backbone"),
    ],
)
def test_training_that_cannot_go_on_is_refused_before_a_folder_is_made(
    settings: list[str], error: type[SolonError], says: str, first: RunDirectory, tmp_path: Path
) -> None:
    asked = [f"warm_start.run={first.path}", f"constitution={edited(tmp_path, first, 'Choose one.')}", *settings]
    with pytest.raises(error, match=says):
        open_or_create(tmp_path / "second", None, (), asked, [first.path])
    assert not (tmp_path / "second").exists()


def test_an_earlier_run_that_is_none_is_named(tmp_path: Path) -> None:
    recipe = load_recipe("testbed", (), [f"warm_start.run={tmp_path / 'nowhere'}"])
    with pytest.raises(RunError, match="nowhere"):
        with_earlier_models(recipe, load_constitution(constitution_path("testbed")))


def test_a_broken_model_of_the_earlier_run_is_found_before_training(first: RunDirectory, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(first.path, copy)
    weights = next((copy / named(first)["rl-cai"].path.name / "model").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    recipe = load_recipe(str(copy / "recipe.yaml"), (), [f"warm_start.run={copy}"])
    with pytest.raises(RunError, match="rl-cai"):
        with_earlier_models(recipe, load_constitution(edited(tmp_path, first, "Choose one.")))
