"""The registry, the tasks that it makes, and all of `make bench` at small sizes with the environment's own peer."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from benchmarks.bench import asking_tasks, learning_tasks
from benchmarks.bench.__main__ import chosen, main
from benchmarks.bench.planned_texts import PlannedTexts
from benchmarks.bench.results import Result, read_results
from benchmarks.bench.sizes import BUNDLED, Scale, Setting
from benchmarks.bench.works import HF, OWN, TRL_PPO, VLLM, works
from benchmarks.peers.tasks import AskingTask, CourseTask, LearningTask, read_task, write_task
from solon.config.builtin import model_path
from solon.conversation import Prompt, Role
from solon.errors import InputError

ROOT = Path(__file__).parents[2]
QUICK = Setting(Scale.QUICK, 1, 2)
MODULES = {peer.module for work in works() for peer in work.peers if peer.figure is None} | {
    work.module for work in works()
}


def test_every_work_and_comparison_has_a_name_of_its_own() -> None:
    names = [work.name for work in works()]
    assert len(set(names)) == len(names) > 20
    assert all(len({peer.name for peer in work.peers}) == len(work.peers) > 0 for work in works())


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_contestant_is_a_program_here(module: str) -> None:
    assert ROOT.joinpath(*module.split(".")).with_suffix(".py").is_file()


@pytest.mark.parametrize("name", [HF, TRL_PPO, VLLM])
def test_every_environment_has_exact_versions(name: str) -> None:
    """And all works' environments are among these."""
    assert {peer.environment for work in works() for peer in work.peers} == {HF, TRL_PPO, VLLM, OWN}
    lines = ROOT.joinpath("benchmarks", "peers", f"{name}.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in packages)
    assert any(line.startswith("torch==") for line in packages)


def test_the_environment_of_transformers_is_of_the_versions_of_this_project() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    lines = (ROOT / "benchmarks" / "peers" / "hf.txt").read_text().splitlines()
    peers = dict(line.split("==") for line in lines if not line.startswith("#"))
    for name in ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers"):
        assert peers[name] == pinned[name], name


def test_patterns_choose_works() -> None:
    assert [work.name for work in chosen(["edit-*", "sft-testbed-float32"])] == ["sft-testbed-float32", "edit-testbed"]
    assert len(chosen([])) == len(works())
    with pytest.raises(InputError, match="no work is named 'labels'"):
        chosen(["labels"])


def test_texts_have_exactly_as_many_tokens_as_planned() -> None:
    planned = PlannedTexts(model_path(BUNDLED))
    for tokens in (20, 33, 90):
        prompt = planned.sized(lambda words: Prompt((planned.turn(Role.HUMAN, words),)), tokens)
        assert planned.tokens.count_tokens(prompt) == tokens


def test_labels_begin_alike_and_their_own_parts_are_of_one_length() -> None:
    task = asking_tasks.labels(BUNDLED, QUICK)
    (phase,) = task.phases
    assert len(phase.shared) >= 55 and {len(each) for each in phase.own} == {90 - len(phase.shared)}
    assert len(task.options) == 2 and phase.limits == []
    full = Setting(Scale.FULL, 1, 5)
    (phase,) = asking_tasks.labels(BUNDLED, full).phases
    assert abs(len(phase.shared) - 1650) <= 3 and {len(phase.shared) + len(each) for each in phase.own} == {1840}


def test_a_revision_is_asked_after_its_planned_critique() -> None:
    critique, revision = asking_tasks.revision(BUNDLED, QUICK).phases
    assert critique.shared == revision.shared
    for asked, after in zip(critique.own_turns, revision.own_turns, strict=True):
        assert list(after[: len(asked)]) == list(asked) and after[len(asked)][0] == "critique"


def test_lengths_of_texts_follow_their_plan() -> None:
    full = Setting(Scale.FULL, 1, 5)
    for lengths, least, most in (
        (asking_tasks.fixed(64), 64, 64),
        (asking_tasks.even(8, 128), 8, 128),
        (asking_tasks.exponential(32, 192), 1, 192),
    ):  # fmt: skip
        limits = asking_tasks.texts(BUNDLED, full, 64, lengths).phases[0].limits
        assert len(limits) == 64 and least <= min(limits) and max(limits) <= most
        assert (len(set(limits)) == 1) == (least == most)


def test_pairs_share_their_prompts_and_nothing_is_padding(tmp_path: Path) -> None:
    task = learning_tasks.preferring(BUNDLED, QUICK, 0, tmp_path)
    for one, other in zip(task.chosen, task.rejected, strict=True):
        assert one[:2] == other[:2] and one[-1] == other[-1] and task.pad not in [*one, *other]
    assert task.tokens == sum(map(len, [*task.chosen, *task.rejected]))


def test_a_task_is_read_as_it_was_written(tmp_path: Path) -> None:
    task = asking_tasks.revision(BUNDLED, QUICK)
    read = read_task(AskingTask, write_task(task, tmp_path / "task.json"))
    assert read.new_tokens == task.new_tokens and read.phases[1].whole == [list(each) for each in task.phases[1].whole]
    write_task(CourseTask(3, 1), tmp_path / "other.json")
    with pytest.raises(TypeError, match="holds no LearningTask"):
        read_task(LearningTask, tmp_path / "other.json")


def test_the_command_line_names_what_builds_a_missing_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sft-testbed-float32", "--quick", "--threads", "1", "--out", str(tmp_path), "--peers", "hf"]
    assert main([*words, "--python", f"hf={tmp_path / 'hf' / 'bin' / 'python'}"]) == 1
    assert "Type: make peers PEERS=hf" in capsys.readouterr().err
    assert main(["no-such-work", "--quick", "--out", str(tmp_path)]) == 1
    assert "no work is named" in capsys.readouterr().err


def test_quick_figures_are_never_written_beside_real_ones() -> None:
    with pytest.raises(SystemExit):
        main(["--quick", "edit-testbed"])


@pytest.mark.slow
def test_asking_is_measured_from_end_to_end(tmp_path: Path) -> None:
    """Labels in two dtypes, whose log-odds must agree, and texts of ragged lengths, whose numbers of tokens must."""
    words = ["labels-smollm2-bfloat16", "rollout-testbed-exponential-float32", "revision-smollm2-float32"]
    found = quick(tmp_path, *words)
    assert {each.name.partition(".")[2] for each in found} == {
        "hf-forward", "hf-prefix", "solon-float32", "hf-generate", "hf-single"
    }  # fmt: skip
    assert all(each.ratio > 0 and each.low <= each.ratio <= each.high and (each.of_limit or 0) > 0 for each in found)


@pytest.mark.slow
def test_training_is_measured_from_end_to_end(tmp_path: Path) -> None:
    found = quick(tmp_path, "sft-smollm2-lora-bfloat16", "pm-testbed-float32", "rloo-testbed-full-4-float32")
    assert [each.unit for each in found] == ["tokens/s", "episodes/s", "tokens/s"]
    assert all(each.solon_mb > 100 and each.peer_mb > 100 for each in found)


@pytest.mark.slow
def test_stages_are_measured_from_end_to_end(tmp_path: Path) -> None:
    found = quick(tmp_path, "stage-*", "memory-labels")
    assert [each.name for each in found] == ["memory-labels.a-tenth", "stage-labels.asked", "stage-revision.asked"]
    assert found[0].solon > 50 and all(each.peer == 5000 for each in found[1:])


def quick(out: Path, *names: str) -> list[Result]:
    """The results of works at small sizes; the project's own environment serves as that of transformers and TRL."""
    words = [*names, "--quick", "--threads", "1", "--repeats", "2", "--out", str(out)]
    assert main([*words, "--peers", "hf", "--python", f"hf={sys.executable}"]) == 0
    return read_results(out)
