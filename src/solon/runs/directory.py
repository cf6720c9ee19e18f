"""A run directory: everything that one run was made with and made, and all that is needed to go on with it.

    runs/demo/
        run.json             this folder is a run, and of which format
        recipe.yaml          every setting, resolved
        constitution.yaml    the constitution, copied
        lock                 who works here
        01-prompts/          a finished stage: rows.parquet, manifest.json, perhaps model/
        02-responses/        an unfinished one: begun.json, journal.jsonl, perhaps checkpoints/

A stage folder remembers the key under which it was begun, settings and input hashes, and is refused under any other,
naming what changed; results of different settings are never mixed (promise P4).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import solon
from solon.constitution import Constitution, load_constitution
from solon.errors import RunError, SolonError
from solon.recipe import Recipe, differences, dump_recipe, load_recipe
from solon.recipe_file import differences_between
from solon.runs.artefact import Artefact
from solon.runs.files import sweep, sync, telling_of, write_atomically
from solon.runs.interrupt import StopRequest, catching_signals
from solon.runs.journal import Journal
from solon.runs.lock import LOCK, locked
from solon.runs.manifest import MANIFEST, plain
from solon.runs.stage import JOURNAL, Report, StageFolder, clear_work, ignore

FORMAT = 1
RUN, RECIPE, CONSTITUTION, BEGUN = "run.json", "recipe.yaml", "constitution.yaml", "begun.json"
STAGE = re.compile(r"(\d\d)-([a-z0-9]+(?:-[a-z0-9]+)*)")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A run; use `create` or `open`."""

    path: Path
    recipe: Recipe
    constitution: Constitution
    stop: StopRequest = field(default_factory=StopRequest, compare=False, repr=False)

    @classmethod
    def create(cls, path: Path | str, recipe: Recipe, constitution_file: Path | str) -> RunDirectory:
        """Start a run, or open it again when it is there with the same recipe and constitution.

        Raises RunError when the folder holds something else, or a run with other settings (naming old and new).
        """
        path, constitution = Path(path), load_constitution(constitution_file)
        if (path / RUN).exists():
            run = cls.open(path)
            run._refuse_changes(recipe, constitution)
            return run
        # A start that was killed half-way leaves these, and no run.json; it is simply begun again.
        ours = {RECIPE, CONSTITUTION, LOCK, *(f".{name}.partial" for name in (RECIPE, CONSTITUTION, RUN))}
        if path.exists() and (not path.is_dir() or any(entry.name not in ours for entry in path.iterdir())):
            raise RunError(
                "the folder is not empty and is no run", place=str(path), remedy="Name a new folder for the run"
            )
        with telling_of(path):
            path.mkdir(parents=True, exist_ok=True)
            sync(path.parent)
        write_atomically(path / RECIPE, dump_recipe(recipe))
        write_atomically(path / CONSTITUTION, Path(constitution_file).read_text(encoding="utf-8-sig"))
        about = {"format": FORMAT, "name": recipe.name, "solon": solon.__version__}
        write_atomically(path / RUN, json.dumps(about, indent=1) + "\n")
        return cls(path, recipe, constitution)

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """The run in a folder; raises RunError when there is none, or one of a newer format."""
        path = Path(path)
        start = f"Start one with: solon run {path} --recipe testbed"
        if not path.is_dir():
            raise RunError("no such run", place=str(path), remedy=start)
        try:
            about = json.loads((path / RUN).read_text(encoding="utf-8"))
            number = int(about["format"])
        except FileNotFoundError:
            raise RunError("the folder is no run: it lacks run.json", place=str(path), remedy=start) from None
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError("run.json is damaged", place=str(path / RUN), remedy="Restore it from a copy") from None
        if number > FORMAT:
            made_by = about.get("solon", "a newer version")
            raise RunError(f"the run was made by solon {made_by}", place=str(path), remedy="Install that version")
        return cls(path, load_recipe(path / RECIPE), load_constitution(path / CONSTITUTION))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Work here alone: raises RunError naming the owner when another process does; signals ask the run to stop."""
        with locked(self.path), catching_signals(self.stop):
            self._tidy()
            yield

    def finished(self, name: str, key: Mapping[str, object] | None = None) -> Artefact | None:
        """The artefact of a stage, by its name without the number; None when it is not finished.

        Raises RunError when it is damaged, or when a `key` is given and the stage was made under another one.
        """
        for folder in self._folders():
            if folder.name[3:] == name and (artefact := Artefact.open(folder)) is not None:
                if key is not None:
                    refuse_other_key(folder, artefact.manifest.key, plain(key, str(folder)))
                return artefact
        return None

    def artefacts(self) -> list[Artefact]:
        """All finished stages in order."""
        opened = (Artefact.open(folder) for folder in self._folders())
        return [artefact for artefact in opened if artefact is not None]

    def begin(self, number: int, name: str, key: Mapping[str, object], report: Report = ignore) -> StageFolder:
        """Begin a stage or go on with it.

        `key` holds all that can change the stage's rows: its resolved settings and the hashes of its inputs. Raises
        RunError when the stage is finished, or was begun under another key (naming what changed, old and new).
        """
        folder = self.path / f"{number:02d}-{name}"
        if not STAGE.fullmatch(folder.name):
            raise ValueError(f"'{folder.name}' is no name for a stage folder")
        return begin_stage(folder, (number, name), key, report, self.stop)

    def _refuse_changes(self, recipe: Recipe, constitution: Constitution) -> None:
        changes = [f"{key}: {old!r} -> {new!r}" for key, old, new in differences(self.recipe, recipe)]
        if not changes and constitution.hash != self.constitution.hash:
            changes = [f"the constitution's text: {self.constitution.hash[:8]} -> {constitution.hash[:8]}"]
        if changes:
            raise _other_settings(self.path, changes)

    def _folders(self) -> list[Path]:
        return sorted(entry for entry in self.path.iterdir() if STAGE.fullmatch(entry.name) and entry.is_dir())

    def _tidy(self) -> None:
        """Remove what a kill left behind: half-written files, and the journal of a stage that is finished."""
        for folder in (self.path, *self._folders()):
            sweep(folder)
            if folder != self.path and (folder / MANIFEST).exists():
                clear_work(folder)


def begin_stage(
    folder: Path, name: tuple[int, str], key: Mapping[str, object], report: Report, stop: StopRequest
) -> StageFolder:
    """Begin the stage of that number and name in a folder, or go on with it; see `RunDirectory.begin`."""
    now = plain(key, str(folder))
    if (artefact := Artefact.open(folder)) is not None:
        refuse_other_key(folder, artefact.manifest.key, now)
        raise RunError("the stage is finished", place=str(folder), remedy=f"To do it again, delete {folder}")
    with telling_of(folder):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
    if (folder / BEGUN).exists():
        refuse_other_key(folder, _begun_key(folder), now)
    else:
        write_atomically(folder / BEGUN, json.dumps({"key": now}, indent=1) + "\n")
    return StageFolder(folder, *name, now, Journal.open(folder / JOURNAL), report, stop)


def _begun_key(folder: Path) -> Mapping[str, object]:
    try:
        key = json.loads((folder / BEGUN).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        key = None
    if not isinstance(key, dict):
        raise RunError(
            "the file is damaged", place=str(folder / BEGUN), remedy=f"Delete {folder} to do the stage again"
        )
    return key


def refuse_other_key(folder: Path, old: Mapping[str, object], new: Mapping[str, object]) -> None:
    """Raise RunError naming every part of a key that differs, old and new."""
    changes = [f"{key}: {before!r} -> {after!r}" for key, before, after in differences_between(old, new)]
    if changes:
        raise _other_settings(folder, changes)


def _other_settings(place: Path, changes: list[str]) -> SolonError:
    return RunError(
        f"made with other settings ({'; '.join(changes)})",
        place=str(place),
        remedy="Put the old values back, or start a new run in another folder",
    )
