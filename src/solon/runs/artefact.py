"""A finished stage, read-only.

Everything is checked before it is used: file sizes when the artefact is opened, and the hash of a file before its first
read. A damaged or half-copied table or model is an error that names the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from solon.digest import digest_file, model_files
from solon.errors import RunError
from solon.runs.files import refuse_special_file
from solon.runs.lazy_sequence import LazySequence
from solon.runs.manifest import ROWS, Manifest, read_manifest
from solon.runs.table import read_table, rows_of, whole_table

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Artefact:
    """The rows, files and manifest of a finished stage."""

    path: Path
    manifest: Manifest
    _verified: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def open(cls, folder: Path) -> Artefact | None:
        """The artefact in a stage's folder; None when unfinished.

        Raises RunError when a file is missing or cut short, when no stage can have written the manifest, and when one
        of the stage's folders or files is a link.
        """
        refuse_special_file(folder)
        manifest = read_manifest(folder)
        if manifest is None:
            return None
        for name in manifest.files:
            for part in (PurePosixPath(name), *PurePosixPath(name).parents):
                refuse_special_file(folder / part)
        for name, facts in manifest.files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != facts.bytes:
                raise _damaged(
                    path, folder, "is missing" if not path.exists() else "has changed its size since it was published"
                )
        return cls(folder, manifest)

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.manifest.stage

    @property
    def hash(self) -> str:
        """A digest of the rows and files only: it does not depend on when or how fast they were made."""
        return self.manifest.hash

    @property
    def facts(self) -> Mapping[str, Any]:
        """The figures that the stage recorded besides its rows."""
        return self.manifest.facts

    def table(self) -> pa.Table:
        """All rows as an Arrow table; raises RunError when the file has changed since it was published."""
        self.verify(ROWS)
        return whole_table(self.path / ROWS)

    def rows(self, row: type[R], *, file: str = ROWS) -> list[R]:
        """All rows of the stage's table, or of another table among its files, in order.

        Raises RunError when there is no such file, when it has changed since it was published, or when its columns are
        not those of `row`.
        """
        if file not in self.manifest.files:
            raise RunError(
                f"stage '{self.name}' published no {file}",
                place=str(self.path),
                remedy="An earlier version of Solon made it: do the stage again in a new run",
            )
        self.verify(file)
        return read_table(self.path / file, row)

    def stream(self, row: type[R], numbers: Sequence[int] | None = None) -> LazySequence[R]:
        """The rows with the given ascending numbers (from 0), or all; each is read when it is used.

        This is for tables larger than memory. Raises RunError as `rows` does.
        """
        self.verify(ROWS)
        return rows_of(self.path / ROWS, row, numbers)

    @property
    def model(self) -> Path:
        """The folder of the stage's model, hashes checked; raises RunError when the stage made none.

        A file that was added later is refused as well: it could change what the model does.
        """
        if not any(name.startswith("model/") for name in self.manifest.files):
            raise RunError(f"stage '{self.name}' made no model", place=str(self.path))
        self.verify("model/")
        for name in model_files(self.path / "model"):
            if f"model/{name}" not in self.manifest.files:
                raise RunError(
                    "the file was added to the model's folder after the model was published",
                    place=str(self.path / "model" / name),
                    remedy="Remove it, or copy the model elsewhere and change it there",
                )
        return self.path / "model"

    def verify(self, prefix: str = "") -> None:
        """Check the hashes of all files with names that start with `prefix`; raises RunError at the first mismatch."""
        for name, facts in self.manifest.files.items():
            if name.startswith(prefix) and name not in self._verified:
                if digest_file(self.path / name) != facts.sha256:
                    raise _damaged(self.path / name, self.path, "has changed since it was published")
                self._verified.add(name)


def _damaged(path: Path, folder: Path, how: str) -> RunError:
    return RunError(
        f"the file {how}",
        place=str(path),
        remedy=f"Restore it from a copy, or delete {folder} and what follows it to do those stages again",
    )
