"""The manifest of a finished stage: the file that is written last. A stage that has one is finished.

It lists every file with size and SHA-256, the stage's key, row counts by outcome, the stage's facts, and the seconds of
work in all sessions. `hash` covers only the files, so the same rows give the same hash however long they took. A
manifest may come from somebody else: the names in it are checked before they are used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from solon.digest import digest, digest_file
from solon.errors import RunError, StageError
from solon.runs.files import PARTIAL, refuse_special_file, write_atomically

MANIFEST = "manifest.json"
ROWS = "rows.parquet"
BEGUN, JOURNAL, CHECKPOINTS = "begun.json", "journal.jsonl", "checkpoints"
"""Files and folders of an unfinished stage."""
_OWN = frozenset({MANIFEST, BEGUN, JOURNAL, "progress.json"})
_STAGE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class FileFacts(BaseModel):
    """Size and hash of a file of an artefact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """The content of manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    number: int
    solon: str
    """The version of Solon that made the artefact."""
    hash: str
    """A digest of `files`."""
    rows: int
    outcomes: dict[str, int] = {}
    """Rows by outcome, when the table has that column."""
    seconds: float
    """Seconds of work in all sessions."""
    key: dict[str, Any]
    """The resolved settings and the hashes of the inputs."""
    facts: dict[str, Any] = {}
    files: dict[str, FileFacts]
    """By path in the stage's folder, with forward slashes."""
    made_with: list[dict[str, Any]] = []
    """For each session what changes rows by rounding only, such as the device; not part of the key."""
    adopted_from: str | None = None
    """The run that made the stage, when this run reuses it."""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder; None when the stage is unfinished, RunError when the manifest is damaged.

    A manifest that no stage writes is damaged too: with names outside the folder, a hash that does not match its files,
    or no table.
    """
    path = folder / MANIFEST
    refuse_special_file(path)
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError, RecursionError) as error:
        raise _damaged(folder, str(error).splitlines()[0]) from None
    if not _STAGE.fullmatch(manifest.stage):
        raise _damaged(folder, f"{manifest.stage!r} is not a valid name of a stage")
    for name in manifest.files:
        if not may_be_published(name):
            raise _damaged(folder, f"it lists {name!r}, which no stage can publish")
    if ROWS not in manifest.files:
        raise _damaged(folder, f"it does not list {ROWS}")
    if manifest.hash != files_hash(manifest.files):
        raise _damaged(folder, "its hash does not match the files that it lists")
    return manifest


def may_be_published(name: str) -> bool:
    """Whether a stage can publish a file of that name: a plain path in its folder, not one of its own files."""
    parts = name.split("/")
    plain = all(part not in ("", ".", "..") and part.isprintable() and "\\" not in part for part in parts)
    own = parts[0] == CHECKPOINTS or (len(parts) == 1 and parts[0].lower() in _OWN)
    return plain and not own and not any(part.endswith(PARTIAL) for part in parts)


def _damaged(folder: Path, how: str) -> RunError:
    return RunError(
        f"the manifest is damaged: {how}",
        place=str(folder / MANIFEST),
        remedy=f"Restore it from a copy, or delete {folder} to do the stage again",
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes the stage finished."""
    text = manifest.model_dump_json(indent=1, exclude=None if manifest.adopted_from else {"adopted_from"})
    write_atomically(folder / MANIFEST, text + "\n")


def files_hash(files: Mapping[str, FileFacts]) -> str:
    """The hash of an artefact: a digest of its files' names and contents."""
    return digest({name: facts.sha256 for name, facts in files.items()})


def describe_files(folder: Path, names: list[str]) -> dict[str, FileFacts]:
    """Size and hash of every named file and of all files in the named folders, sorted by name.

    Raises StageError for a name that does not exist or leads out of the folder, and for a link.
    """
    found: dict[str, FileFacts] = {}
    for name in names:
        if not may_be_published(name) or not (folder / name).exists():
            raise StageError(f"no such file to publish: '{name}'", place=str(folder))
        for path in sorted((folder / name).rglob("*")) if (folder / name).is_dir() else [folder / name]:
            if path.is_symlink():
                raise StageError("an artefact may not contain links", place=str(path))
            if path.is_file():
                facts = FileFacts(bytes=path.stat().st_size, sha256=digest_file(path))
                found[path.relative_to(folder).as_posix()] = facts
    return dict(sorted(found.items()))


def plain(value: object, place: str) -> Any:
    """`value` as JSON reads it back, with settings, enums and paths as plain values; StageError for other objects."""

    def default(inner: object) -> object:
        if isinstance(inner, BaseModel):
            return inner.model_dump(mode="json")
        if isinstance(inner, Enum):
            return inner.value
        if isinstance(inner, Path):
            return inner.as_posix()
        if isinstance(inner, Mapping):
            return dict(inner)
        raise TypeError(f"{type(inner).__name__} is not a JSON value")

    try:
        return json.loads(json.dumps(value, default=default))
    except (TypeError, ValueError) as error:
        raise StageError(f"cannot write as JSON: {error}", place=place) from error
