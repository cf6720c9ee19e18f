"""Models of runs by name."""

from pathlib import Path

import pytest
from tests.synthetic import Plan, build

from solon.config.builtin import model_path
from solon.errors import ModelError, RunError
from solon.pipeline.run_models import folder_of_run, named_model
from solon.runs import RunDirectory
from solon.runs.training_rows import RlStepRow


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run up to stage 7, and a policy with two snapshots."""
    made = build(tmp_path / "run", Plan(red=2, held_out=2, stages=7))
    out = made.begin(8, "rl-cai", {})
    for folder in ("model", "snapshots/step-00010", "snapshots/step-00020"):
        (out.path / folder).mkdir(parents=True)
        (out.path / folder / "config.json").write_text("{}")
    out.publish([], RlStepRow, files=["model", "snapshots"])
    return made


def test_a_stage_and_its_snapshots_are_named_by_run_and_step(run: RunDirectory) -> None:
    found = named_model(f"{run.path}:rl-cai")
    assert Path(found.spec.name) == run.path / "08-rl-cai" / "model"
    assert found.run is not None and found.run.path == run.path
    for step in ("20", "step-00020"):
        assert Path(named_model(f"{run.path}:rl-cai/{step}").spec.name) == run.path / "08-rl-cai/snapshots/step-00020"


def test_only_a_name_of_a_run_has_a_folder_of_a_run(run: RunDirectory, tmp_path: Path) -> None:
    assert folder_of_run(f"{run.path}:rl-cai/20") == str(run.path / "08-rl-cai/snapshots/step-00020")
    for name in ("testbed:assistant", str(run.path / "08-rl-cai"), f"{tmp_path}:rl-cai", "openai:x@http://127.0.0.1:1"):
        assert folder_of_run(name) is None, name
    with pytest.raises(RunError, match="a model of it is wanted"):
        folder_of_run(str(run.path))


def test_what_a_run_was_given_has_a_name_too(run: RunDirectory) -> None:
    name = named_model(f"{run.path}:assistant").spec.name
    assert Path(name) == model_path(run.recipe.models.assistant)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Name one of .*:pretrained, .*:rl-cai"),
        (":rl-cay", "no model 'rl-cay' yet.*Did you mean 'rl-cai'"),
        (":rl-cai/15", "no snapshot '15'.*those of steps 10, 20"),
        (":measure", "no model 'measure' yet"),
        (":assistant/3", "no model 'assistant' yet"),
    ],
)
def test_a_wrong_name_says_which_there_are(run: RunDirectory, name: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        named_model(f"{run.path}{name}")


def test_a_changed_snapshot_is_refused(run: RunDirectory) -> None:
    (run.path / "08-rl-cai/snapshots/step-00020/config.json").write_text("[]")
    with pytest.raises(RunError, match="changed"):
        named_model(f"{run.path}:rl-cai/20")


def test_other_names_are_those_of_every_command(tmp_path: Path) -> None:
    assert named_model("testbed:assistant").run is None
    with pytest.raises(ModelError):
        named_model(str(tmp_path / "none"))
