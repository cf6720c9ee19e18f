"""`solon attack`: options become settings, and what cannot be done is one line that says what to do."""

from pathlib import Path

import pytest

from solon.cli.attack import AttackOptions, _print_next, print_attack
from solon.config.attack_settings import AttackSettings, ScoredBy
from solon.errors import RunError
from solon.pipeline.extra_stages import AttackOrder
from solon.pipeline.session import Session
from solon.runs import RunDirectory
from solon.stages.extra_attack import Attack
from solon.stages.stage import Stage
from tests.cli.test_cli import run as command
from tests.reporting.test_attack_section import attacked, topical
from tests.synthetic import Plan, build


def test_options_become_settings() -> None:
    order = AttackOptions("sl-cai", 3, 20, 5, 60, 0.5, "judge", 2, 0.7, "second").order()
    assert order.settings == AttackSettings(
        rounds=3, prompts=20, seeds=5, requests=60, explore=0.5, scored_by=ScoredBy.JUDGE, references=2, threshold=0.7
    )
    assert (order.model, order.name) == ("sl-cai", "second")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return build(tmp_path / "run", Plan(red=4, held_out=4))


def test_a_folder_is_named_after_the_model_or_as_asked(run: RunDirectory) -> None:
    assert AttackOrder(AttackSettings()).stage(run).name == "attack-rl-cai"
    assert AttackOrder(AttackSettings(), "assistant").stage(run).name == "attack-assistant"
    assert AttackOrder(AttackSettings(), "testbed:assistant").stage(run).name == "attack-testbed-assistant"
    assert AttackOrder(AttackSettings(), None, "second").stage(run).name == "attack-second"
    for bad in ("../up", "Second", "a b", "", "-"):
        with pytest.raises(RunError, match="cannot be a part of a folder's name"):
            AttackOrder(AttackSettings(), None, bad).stage(run)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model", "nothing"], "nothing"),
        (["--model", "sl-cai/20"], "it has no model 'sl-cai' yet"),
        (["--name", "../up"], "cannot be a part"),
    ],
)
def test_what_cannot_be_attacked_is_one_line(run: RunDirectory, options, told, capsys) -> None:
    before = sorted(path.name for path in run.path.iterdir())
    code, out, err = command(capsys, "attack", run.path, *options, "--quiet")
    assert (code, out) == (1, "") and err.startswith("Error: ") and err.count("\n") == 1 and told in err
    assert {path.name for path in run.path.iterdir()} - set(before) <= {"lock", "session.json", "answers.sqlite"}


def test_an_attack_with_other_settings_is_told_how_to_get_a_folder_of_its_own(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompts are taken for finished; the attack was begun by a key that holds its settings alone."""
    run.begin(10, "attack-assistant", {"settings": {"rounds": 2}})

    def do(session: Session, stage: Stage) -> None:
        if isinstance(stage, Attack):
            run.begin(10, stage.name, {"settings": {"rounds": stage.given.rounds}})

    monkeypatch.setattr(Session, "do", do)
    code, _, err = command(capsys, "attack", run.path, "--model", "assistant", "--rounds", "3", "--quiet")
    assert code == 1 and "made with other settings (settings.rounds: 2 -> 3). Put the old values back" in err
    assert "give this attack a folder of its own: --name NAME" in err and "new folder" not in err


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, capsys) -> None:
    code, _, err = command(capsys, "attack", tmp_path / "none")
    assert code == 1 and "no such run" in err


def test_the_kept_prompts_and_the_command_that_trains_on_them_are_printed(tmp_path: Path, capsys) -> None:
    made, artefact = attacked(tmp_path / "run", topical)
    print_attack(artefact, 2)
    _print_next(made, artefact)
    out = capsys.readouterr().out
    assert out.count(" in round ") == out.count("reply:") == 2
    assert f"Prompts: {artefact.path / 'prompts.jsonl'}" in out
    assert f"--reuse {made.path} --set rounds=2 --set online.red_team={artefact.path / 'prompts.jsonl'}" in out


def test_a_policy_that_fails_nothing_says_so(tmp_path: Path, capsys) -> None:
    made, artefact = attacked(tmp_path / "run", topical, lambda prompt, seed: "No, that would hurt people.")
    print_attack(artefact, 5)
    _print_next(made, artefact)
    assert "No prompt is kept" in capsys.readouterr().out
