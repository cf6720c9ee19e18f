"""Several processes train what one trains: real launches, two processes on CPUs, compared with one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training import exchange
from tests.training import launched as cases

from solon.config.launch import launched
from solon.errors import RunError
from solon.rl.policy_snapshots import SNAPSHOTS
from solon.runs import Artefact
from solon.runs.processes import SINGLE_PROCESS
from solon.training.distributed.launched import joined

ROOT = Path(__file__).parents[3]
CURVES = (
    "loss", "held_out_loss", "gradient_norm", "accuracy", "score", "reward", "kl", "kl_k3", "entropy", "policy_loss",
    "value_loss", "clip_fraction", "policy_gradient_norm", "value_gradient_norm", "explained_variance",
    "held_out_score",
)  # fmt: skip


REPLICATED = ("--multi_gpu",)
SHARDED = ("--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP")


def a_port() -> int:
    """A free port below those that systems give out by themselves, so that no connection takes it in the meantime."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("", port))
            return port
    raise AssertionError("no port is free")


def launching(processes: int, *words: str, options: tuple[str, ...] = REPLICATED) -> subprocess.Popen[str]:
    """`accelerate launch` of a module of ours, on CPUs."""
    command = [
        sys.executable, "-m", "accelerate.commands.launch", *options, "--num_processes", str(processes),
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", str(a_port()), "-m", *words,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def launch(
    processes: int, *words: str, quiet: bool = True, options: tuple[str, ...] = REPLICATED
) -> tuple[int, str, str]:
    """The same, to its end: exit code, standard output and standard error."""
    started = launching(processes, *words, options=options)
    out, err = started.communicate(timeout=900)
    assert not quiet or started.returncode == 0, err[-4000:]
    return started.returncode, out, err


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    cases.prepare(folder)
    return folder


def both(given: Path, tmp_path: Path, *names: str, options: tuple[str, ...] = REPLICATED) -> None:
    cases.run(given, tmp_path / "one", list(names), SINGLE_PROCESS)
    launch(2, "tests.training.launched", str(given), str(tmp_path / "two"), *names, options=options)
    for name in names:
        assert_alike(cases.opened(tmp_path / "one" / name), cases.opened(tmp_path / "two" / name))


def assert_alike(one: Artefact, two: Artefact) -> None:
    """The same curves within 1e-4, and the same weights nearly."""
    assert len(one.table().to_pylist()) == len(two.table().to_pylist()) > 1
    compared = 0
    for expected, found in zip(one.table().to_pylist(), two.table().to_pylist(), strict=True):
        for name in CURVES:
            # In the first step of DPO the policy is its reference, and rounding orders the replies.
            undecided = name == "accuracy" and "margin" in expected and expected["step"] == 1
            if expected.get(name) is not None and not undecided:
                compared += 1
                assert found[name] == pytest.approx(expected[name], abs=1e-4, rel=1e-4), (
                    one.path,
                    name,
                    expected["step"],
                )
    assert compared >= 2 * len(one.table().to_pylist())
    for folder in ("model", *(f"{SNAPSHOTS}/step-{step:05d}" for step in one.facts.get("snapshots", ()))):
        expected_weights, found_weights = (load_file(each.path / folder / "model.safetensors") for each in (one, two))
        assert expected_weights.keys() == found_weights.keys()
        for name, weight in expected_weights.items():
            torch.testing.assert_close(found_weights[name], weight, atol=2e-4, rtol=1e-3)
    assert one.facts.keys() == two.facts.keys()


@pytest.mark.slow
def test_two_processes_train_what_one_trains(given: Path, tmp_path: Path) -> None:
    both(given, tmp_path, "sft", "pm", "ppo", "rloo", "dpo", "sft-decay", "ppo-one-prompt")


@pytest.mark.slow
def test_two_processes_train_the_adapters_that_one_trains(given: Path, tmp_path: Path) -> None:
    both(given, tmp_path, "sft-lora", "pm-lora", "pm-pairs", "ppo-lora", "ppo-shared", "rloo-lora", "dpo-lora")


@pytest.mark.slow
def test_shards_train_what_whole_weights_train(given: Path, tmp_path: Path) -> None:
    both(
        given, tmp_path, "sft", "pm", "dpo", "sft-lora", "pm-lora", "pm-pairs", "dpo-lora", "sft-decay", options=SHARDED
    )


@pytest.mark.slow
def test_shards_train_in_bfloat16_with_recomputed_activations(given: Path, tmp_path: Path) -> None:
    """Rounding is coarser than in float32, and each process rounds what it adds up."""
    names = ["sft-half", "pm-lora-half", "dpo-lora-half", "ppo-lora-half", "ppo-head-half"]
    cases.run(given, tmp_path / "one", names, SINGLE_PROCESS)
    launch(2, "tests.training.launched", str(given), str(tmp_path / "two"), *names, options=SHARDED)
    for name in names:
        one, two = (cases.opened(tmp_path / folder / name) for folder in ("one", "two"))
        for column in ("loss", "score", "entropy"):
            rows = zip(one.table().to_pylist(), two.table().to_pylist(), strict=True)
            expected, found = next(rows)
            if expected.get(column) is not None:
                assert found[column] == pytest.approx(expected[column], rel=1e-2, abs=1e-2), (name, column)
        assert {each.dtype for each in load_file(two.model / "model.safetensors").values()} == {torch.float32}


@pytest.mark.slow
def test_a_policy_in_shards_learns_what_a_whole_one_learns(given: Path, tmp_path: Path) -> None:
    both(given, tmp_path, "ppo", "ppo-lora", "rloo", "ppo-best", "ppo-one-prompt", options=SHARDED)


@pytest.mark.slow
def test_a_value_head_learns_the_same_in_two_processes(given: Path, tmp_path: Path) -> None:
    both(given, tmp_path, "ppo-head", "ppo-head-lora", "ppo-head-shared")


@pytest.mark.slow
def test_a_value_head_in_shards_learns_what_a_whole_one_learns(given: Path, tmp_path: Path) -> None:
    both(given, tmp_path, "ppo-head", "ppo-head-lora", options=SHARDED)


@pytest.mark.slow
def test_a_run_begun_in_shards_goes_on_in_one_process_and_back(given: Path, tmp_path: Path) -> None:
    names = ["sft", "pm-lora", "ppo", "ppo-head"]
    killed = [f"kill-{name}" for name in names]
    cases.run(given, tmp_path / "whole", names, SINGLE_PROCESS)
    launch(2, "tests.training.launched", str(given), str(tmp_path / "fewer"), *killed, options=SHARDED)
    cases.run(given, tmp_path / "more", killed, SINGLE_PROCESS)
    cases.run(given, tmp_path / "fewer", names, SINGLE_PROCESS)
    launch(2, "tests.training.launched", str(given), str(tmp_path / "more"), *names, options=SHARDED)
    for folder in ("fewer", "more"):
        for name in names:
            assert_alike(cases.opened(tmp_path / "whole" / name), cases.opened(tmp_path / folder / name))


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(given: Path, tmp_path: Path) -> None:
    names = ["sft", "pm", "ppo", "dpo-lora"]
    killed = [f"kill-{name}" for name in names]
    cases.run(given, tmp_path / "whole", names, SINGLE_PROCESS)
    launch(2, "tests.training.launched", str(given), str(tmp_path / "fewer"), *killed)
    cases.run(given, tmp_path / "more", killed, SINGLE_PROCESS)
    for folder in ("fewer", "more"):
        for name in names:
            assert (tmp_path / folder / name / "checkpoints" / "step_000002" / "manifest.json").exists()
            assert Artefact.open(tmp_path / folder / name) is None
    cases.run(given, tmp_path / "fewer", names, SINGLE_PROCESS)
    launch(2, "tests.training.launched", str(given), str(tmp_path / "more"), *names)
    for folder in ("fewer", "more"):
        for name in names:
            assert_alike(cases.opened(tmp_path / "whole" / name), cases.opened(tmp_path / folder / name))


@pytest.mark.slow
def test_processes_exchange_tensors_and_json(tmp_path: Path) -> None:
    launch(3, "tests.training.exchange", str(tmp_path), "exchange")
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert [each.pop("rank") for each in results] == [0, 1, 2]
    assert [each.pop("share") for each in results] == [[0, 3], [1, 4], [2]]
    assert results[0] == results[1] == results[2], "apart from their share all see the same, to the bit"
    one = exchange.exchange(SINGLE_PROCESS)
    for name in ("gathered", "loss", "points", "size", "gradient", "norm", "weight", "unused", "diverged"):
        assert results[0][name] == one[name], name
    assert results[0]["unequal"] == ["x"] and results[0]["broadcast"] == {"a": 1} and results[0]["any"] == [True, False]
    assert results[0]["own"] == [[6.0] * 3] * 2
    assert results[0]["sum"] == [3] and results[0]["count"] == 3
    assert (
        results[0]["gradient"] == [2.0] * 3 and results[0]["loss"] == pytest.approx(6.0) and results[0]["points"] == 5
    )
    assert results[0]["unused"] == [1.0, 1.0], "what nobody used has not even decayed"
    line, forgotten = results[0]["diverged"]
    assert "the loss is inf" in line and "Rows: bad" in line and forgotten


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("fail", "process 1 failed: a place: the cause. A remedy"),
        ("die", "accelerate launch: another process ended without a message."),
    ],
)
def test_when_one_process_ends_all_end_and_one_says_why(tmp_path: Path, what: str, line: str) -> None:
    code, _, err = launch(2, "tests.training.exchange", str(tmp_path), what, quiet=False)
    assert code != 0
    assert f"StageError: {line}" in err
    assert float((tmp_path / "0.seconds").read_text()) < 60


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, (0, 1)),
        ({"WORLD_SIZE": "1", "RANK": "0"}, (0, 1)),
        ({"WORLD_SIZE": "4", "RANK": "3"}, (3, 4)),
        ({"WORLD_SIZE": "", "RANK": "x"}, (0, 1)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, (1, 2)),
        ({"RANK": "5"}, (0, 1)),
    ],
)
def test_a_launcher_is_known_by_its_environment(environment: dict[str, str], found: tuple[int, int]) -> None:
    assert launched(environment) == found


def test_a_single_process_returns_what_it_is_given() -> None:
    tensor = torch.ones(2)
    SINGLE_PROCESS.add([tensor])
    assert tensor.tolist() == [1.0, 1.0]
    assert list(SINGLE_PROCESS.share([1, 2])) == SINGLE_PROCESS.gather([1, 2]) == [1, 2]
    assert SINGLE_PROCESS.broadcast("a") == "a" and SINGLE_PROCESS.any(True) and not SINGLE_PROCESS.any(False)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed cannot be used"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "the recipe decides about the precision of training, not the launcher"),
    ],
)
def test_unsupported_settings_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=words), joined():
        raise AssertionError("nothing is joined")
