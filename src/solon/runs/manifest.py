"""What a finished stage says of itself: the file that is written last, and whose presence means "finished".

It lists every file with size and SHA-256, the key that the stage was made under, row counts by outcome, the stage's
own facts, and the seconds worked over all sessions. `hash` covers the files alone, so the same rows give the same hash
however long they took. A manifest may have been written by somebody else: what it names is checked before it is used.
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
"""What an unfinished stage keeps in its folder."""
_OWN = frozenset({MANIFEST, BEGUN, JOURNAL})
_STAGE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class FileFacts(BaseModel):
    """A file of an artefact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """The content of manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    number: int
    solon: str
    """The version that made the artefact."""
    hash: str
    """Digest over `files`."""
    rows: int
    outcomes: dict[str, int] = {}
    """Rows by outcome, when the table has such a column."""
    seconds: float
    """Worked over all sessions."""
    key: dict[str, Any]
    """Resolved settings and input hashes under which the stage was made."""
    facts: dict[str, Any] = {}
    files: dict[str, FileFacts]
    """By path relative to the stage's folder, with forward slashes."""
    made_with: list[dict[str, Any]] = []
    """What moves rows by rounding alone, as it was in the sessions that worked on the stage; no part of the key."""
    adopted_from: str | None = None
    """The run that made the stage, when this one only took it over."""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder; None when the stage is unfinished, RunError when the file is damaged.

    Damaged is also what could not have been published: names that lead out of the folder, a hash other than that of the
    files it lists, no table.
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
        raise _damaged(folder, f"{manifest.stage!r} is no name of a stage")
    for name in manifest.files:
        if not may_be_published(name):
            raise _damaged(folder, f"it names {name!r}, which no stage can have published")
    if ROWS not in manifest.files:
        raise _damaged(folder, f"it lists no {ROWS}")
    if manifest.hash != files_hash(manifest.files):
        raise _damaged(folder, "its hash is not that of the files it lists")
    return manifest


def may_be_published(name: str) -> bool:
    """Whether a stage can publish a file of that name: plain, relative, below its folder, and none of its own files."""
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
    """Say that a stage is finished; the last thing written to its folder."""
    text = manifest.model_dump_json(indent=1, exclude=None if manifest.adopted_from else {"adopted_from"})
    write_atomically(folder / MANIFEST, text + "\n")


def files_hash(files: Mapping[str, FileFacts]) -> str:
    """The hash of an artefact: a digest over its files' names and contents."""
    return digest({name: facts.sha256 for name, facts in files.items()})


def describe_files(folder: Path, names: list[str]) -> dict[str, FileFacts]:
    """Size and hash of every named file, folders being walked, in sorted order.

    Raises StageError for a name that is missing, leads out of the folder, or is a link.
    """
    found: dict[str, FileFacts] = {}
    for name in names:
        if not may_be_published(name) or not (folder / name).exists():
            raise StageError(f"no such file to publish: '{name}'", place=str(folder))
        for path in sorted((folder / name).rglob("*")) if (folder / name).is_dir() else [folder / name]:
            if path.is_symlink():
                raise StageError("an artefact may not hold links", place=str(path))
            if path.is_file():
                facts = FileFacts(bytes=path.stat().st_size, sha256=digest_file(path))
                found[path.relative_to(folder).as_posix()] = facts
    return dict(sorted(found.items()))


def plain(value: object, place: str) -> Any:
    """`value` as JSON gives it back, settings groups, enums and paths included; StageError for anything else."""

    def default(inner: object) -> object:
        if isinstance(inner, BaseModel):
            return inner.model_dump(mode="json")
        if isinstance(inner, Enum):
            return inner.value
        if isinstance(inner, Path):
            return inner.as_posix()
        if isinstance(inner, Mapping):
            return dict(inner)
        raise TypeError(f"{type(inner).__name__} is no JSON value")

    try:
        return json.loads(json.dumps(value, default=default))
    except (TypeError, ValueError) as error:
        raise StageError(f"cannot be written as JSON: {error}", place=place) from error
