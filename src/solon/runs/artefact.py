"""A finished stage, read-only.

Nothing is handed out unchecked: sizes are compared when the artefact is opened, and the hash of a file before it is
first read, so a damaged or half-copied table or model is met here with its name and not later as nonsense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from solon.digest import digest_file, model_files
from solon.errors import RunError
from solon.runs.files import refuse_special_file
from solon.runs.lazy_sequence import LazySequence
from solon.runs.manifest import ROWS, Manifest, read_manifest
from solon.runs.table import read_table, rows_of

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

        Raises RunError when a file is missing or cut short, when the manifest is none that a stage here can have
        written, and when a link lies where the stage's own folders and files should.
        """
        refuse_special_file(folder)
        manifest = read_manifest(folder)
        if manifest is None:
            return None
        for place in {place for name in manifest.files for place in (name, *_above(name))}:
            refuse_special_file(folder / place)
        for name, facts in manifest.files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != facts.bytes:
                raise _damaged(
                    path, folder, "is missing" if not path.exists() else "has another size than when published"
                )
        return cls(folder, manifest)

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.manifest.stage

    @property
    def hash(self) -> str:
        """A digest over rows and files, and over nothing that depends on when or how fast they were made."""
        return self.manifest.hash

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the stage noted beside its rows."""
        return self.manifest.facts

    def table(self) -> pa.Table:
        """All rows as an Arrow table; raises RunError when the file is not what was published."""
        import pyarrow.parquet as pq

        self.verify(ROWS)
        return pq.read_table((self.path / ROWS).absolute())

    def rows(self, row: type[R], *, file: str = ROWS) -> list[R]:
        """All rows of the stage's table, or of another table of its files, in order.

        Raises RunError when the file is not what was published, when there is no such file, or when its columns are not
        those of `row`.
        """
        self._verify_table(file)
        return read_table(self.path / file, row)

    def stream(self, row: type[R], numbers: Sequence[int] | None = None) -> LazySequence[R]:
        """The rows with the given ascending numbers (from 0), or all, read when they are looked at.

        For tables larger than memory. Raises RunError as `rows` does.
        """
        self.verify(ROWS)
        return rows_of(self.path / ROWS, row, numbers)

    def _verify_table(self, file: str) -> None:
        if file not in self.manifest.files:
            raise RunError(
                f"stage '{self.name}' published no {file}",
                place=str(self.path),
                remedy="An earlier version of Solon made it: do the stage again in a new run",
            )
        self.verify(file)

    @property
    def model(self) -> Path:
        """The folder of the stage's model, hashes checked; raises RunError when the stage made none.

        A file that was put there since is refused as well: it could change what the model does.
        """
        if not any(name.startswith("model/") for name in self.manifest.files):
            raise RunError(f"stage '{self.name}' made no model", place=str(self.path))
        self.verify("model/")
        for name in model_files(self.path / "model"):
            if f"model/{name}" not in self.manifest.files:
                raise RunError(
                    "the file was put into the model's folder after it was published",
                    place=str(self.path / "model" / name),
                    remedy="Remove it, or copy the model elsewhere and change it there",
                )
        return self.path / "model"

    def verify(self, prefix: str | None = "") -> None:
        """Compare the hashes of all files whose name starts with `prefix`, of none when None.

        Raises RunError at the first mismatch.
        """
        for name, facts in self.manifest.files.items() if prefix is not None else ():
            if name.startswith(prefix or "") and name not in self._verified:
                if digest_file(self.path / name) != facts.sha256:
                    raise _damaged(self.path / name, self.path, "has other content than when published")
                self._verified.add(name)


def _above(name: str) -> list[str]:
    """The folders that a file lies in, by their names."""
    parts = name.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def _damaged(path: Path, folder: Path, how: str) -> RunError:
    return RunError(
        f"the file {how}",
        place=str(path),
        remedy=f"Restore it from a copy, or delete {folder} and what follows it to do those stages again",
    )
