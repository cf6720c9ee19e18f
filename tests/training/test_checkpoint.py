"""Checkpoints under damage: whole ones are found, others named and passed over."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from solon.errors import RunError
from solon.training import checkpoint
from solon.training.checkpoint import Checkpoint, Checkpoints


def after(step: int) -> Checkpoint:
    tensors = {"weights": {"a.b": torch.full((2, 3), float(step)), "c": torch.tensor(1.5)}}
    return Checkpoint(step, tensors, {"metrics": [{"loss": 0.1 + 0.2}], "seconds": 1.0})


def test_what_is_saved_comes_back_exactly(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.newest() is None
    folder = checkpoints.save(after(7))
    assert folder.name == "step_000007"
    found = checkpoints.newest()
    assert found is not None and found.step == 7
    assert torch.equal(found.tensors["weights"]["a.b"], torch.full((2, 3), 7.0))
    assert found.state == {"metrics": [{"loss": 0.1 + 0.2}], "seconds": 1.0}


def test_two_are_kept_and_no_pickle_is_among_their_files(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(after(step))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step_000002", "step_000003"]
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".json", ".safetensors"}


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_checkpoint_is_passed_over_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(after(1))
    file = checkpoints.save(after(2)) / name
    content = file.read_bytes()
    if damage == "delete":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    with caplog.at_level(logging.WARNING):
        found = checkpoints.newest()
    assert found is not None and found.step == 1
    assert "step_000002" in caplog.text


def test_an_unfinished_checkpoint_is_never_read_and_is_swept_away(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    whole = checkpoints.save(after(1))
    unfinished = tmp_path / "step_000002.partial"
    unfinished.mkdir()
    (unfinished / "state.json").write_bytes((whole / "state.json").read_bytes())
    found = checkpoints.newest()
    assert found is not None and found.step == 1
    checkpoints.save(after(3))
    assert not unfinished.exists()


def test_a_damaged_checkpoint_can_be_written_again(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    (checkpoints.save(after(1)) / "manifest.json").write_text(json.dumps({"files": 3}))
    assert checkpoints.newest() is None
    checkpoints.save(after(1))
    found = checkpoints.newest()
    assert found is not None and found.step == 1


def test_a_refusing_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot write"):
        Checkpoints(tmp_path / "file" / "checkpoints").save(after(1))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_one_line_and_leaves_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise error

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(after(1))
    with monkeypatch.context() as patched, pytest.raises(RunError, match="cannot write: No space left"):
        patched.setattr(checkpoint, "save_file", full)
        checkpoints.save(after(2))
    found = checkpoints.newest()
    assert found is not None and found.step == 1
    assert checkpoints.save(after(2)).is_dir()
