"""Checkpoints that are either complete or ignored, without pickle.

A checkpoint is a folder `step_000123` with safetensors files, `state.json` and, written last, `manifest.json` with the
hash of each. It is written under the name `step_000123.partial` and renamed when everything is on the disk, so a
process killed at any instant leaves the previous one untouched. Loading takes the newest folder with a valid manifest
and warns about damaged ones. The order of data, random draws and learning rates are functions of the step, so a
checkpoint holds only weights, optimiser state, step and metrics.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from solon.digest import digest_file
from solon.errors import RunError
from solon.runs.files import reporting_write_errors, sync

_log = logging.getLogger(__name__)

KEPT = 2
MANIFEST, STATE, PARTIAL = "manifest.json", "state.json", ".partial"
_NAME = re.compile(r"step_(\d{6,})")
_FILE = re.compile(r"state\.json|[a-z_]+\.safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved after `step` steps: groups of tensors by name, and JSON-able state."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


class Damaged(Exception):
    """A checkpoint that is not what was written."""


@contextmanager
def writing(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn an error of the disk, or the tensor library's error for it, into one RunError line.

    `needed` is the number of bytes to write, if known.
    """
    with reporting_write_errors(path, needed):
        try:
            yield
        except SafetensorError as error:
            raise OSError(f"{error}") from error


@contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """Turn errors over an undamaged checkpoint with missing or other content into one RunError line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise RunError(
            f"the newest checkpoint does not hold what training resumes from ({type(error).__name__}: {error})",
            place=str(folder),
            remedy=f"Delete {folder} to train this stage again",
        ) from error


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one training run, in one folder."""

    folder: Path

    def save(self, checkpoint: Checkpoint) -> Path:
        """Save a checkpoint, then remove all but the newest two; RunError when the disk refuses."""
        final = self.folder / f"step_{checkpoint.step:06d}"
        partial = final.with_name(final.name + PARTIAL)
        needed = sum(tensor.nbytes for tensors in checkpoint.tensors.values() for tensor in tensors.values())
        with writing(final, needed):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(f"*{PARTIAL}"):
                shutil.rmtree(leftover)
            partial.mkdir()
            for group, tensors in checkpoint.tensors.items():
                held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
                save_file(held, partial / f"{group}.safetensors")
            state = {"step": checkpoint.step, "state": checkpoint.state}
            (partial / STATE).write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
            self._seal(partial)
            if final.exists():  # only a damaged one is ever written again
                shutil.rmtree(final)
            os.replace(partial, final)
            sync(self.folder)
            for old in self._found()[KEPT:]:
                shutil.rmtree(old)
        return final

    def newest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint, or None; a warning names damaged ones."""
        for folder in self._found():
            try:
                return _read(folder)
            except Damaged as damage:
                _log.warning("Skipping the damaged checkpoint %s: %s", folder, damage)
        return None

    def _found(self) -> list[Path]:
        """Finished checkpoint folders, newest first."""
        if not self.folder.is_dir():
            return []
        found = [entry for entry in self.folder.iterdir() if _NAME.fullmatch(entry.name)]
        return sorted(found, key=lambda entry: int(entry.name[5:]), reverse=True)

    @staticmethod
    def _seal(folder: Path) -> None:
        names = sorted(entry.name for entry in folder.iterdir())
        files = {name: digest_file(folder / name) for name in names}
        (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
        for name in (*names, MANIFEST):
            sync(folder / name)
        sync(folder)


@dataclass(frozen=True, slots=True)
class ReadCheckpoints(Checkpoints):
    """Checkpoints that another process writes."""

    def save(self, checkpoint: Checkpoint) -> Path:
        """Leave it to the other process."""
        return self.folder


def _read(folder: Path) -> Checkpoint:
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, sha256 in files.items():
            if not _FILE.fullmatch(name):
                raise Damaged(f"it names {name!r}, which is not a file of a checkpoint")
            if digest_file(folder / name) != sha256:
                raise Damaged(f"{name} has changed since it was written")
        written = json.loads((folder / STATE).read_text(encoding="utf-8"))
        tensors = {
            name.removesuffix(".safetensors"): load_file(folder / name)
            for name in files
            if name.endswith(".safetensors")
        }
        if type(written["step"]) is not int or not isinstance(written["state"], dict):
            raise Damaged(f"{STATE} has no step or no state")
        return Checkpoint(written["step"], tensors, written["state"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
