"""A run directory: everything that a run reads and makes, and all that is needed to continue it.

    runs/demo/
        run.json             marks the folder as a run, and says its format
        recipe.yaml          every setting, resolved
        constitution.yaml    the constitution, copied
        lock, session.json   locked while a session works here; its process, or how the last session ended
        answers.sqlite       the models' answers, for reuse
        01-prompts/          a finished stage: rows.parquet, manifest.json, perhaps model/
        02-responses/        an unfinished one: begun.json, journal.jsonl, perhaps checkpoints/

A stage folder stores the key that the stage began with: its settings and the hashes of its inputs. Another key is
refused, with the names of the settings that differ, so results of different settings are never mixed (promise P4). A
recipe or constitution that was edited in the folder is refused too, and nothing is written through a link. A run that
reuses earlier runs gets their finished stages with the same key, and their answers to the same questions.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from solon.config.loading import differences, differences_between, dump_recipe, load_recipe
from solon.config.recipe import Recipe, WeakJudge
from solon.config.version import __version__
from solon.constitution.constitution import Constitution, revision_principles
from solon.constitution.reader import load_constitution
from solon.errors import OtherSettingsError, RunError, listed
from solon.runs.artefact import Artefact
from solon.runs.edit_check import DECIDABLE, edited_constitution, edited_settings
from solon.runs.files import (
    link_or_copy,
    made_by_writing,
    read_object,
    refuse_special_file,
    refuse_special_files,
    reporting_write_errors,
    sweep,
    sync,
    write_atomically,
)
from solon.runs.interrupt import StopRequest, catching_signals
from solon.runs.journal import Journal
from solon.runs.lock import LOCK, SESSION, holding, locked
from solon.runs.manifest import BEGUN, JOURNAL, MANIFEST, ROWS, plain, write_manifest
from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.runs.response_cache import ANSWERS, ResponseCache, response_cache_in
from solon.runs.stage_folder import Report, StageFolder, clear_work, ignore

FORMAT = 2
RUN, RECIPE, CONSTITUTION = "run.json", "recipe.yaml", "constitution.yaml"
OWN = frozenset({RUN, RECIPE, CONSTITUTION, LOCK, SESSION})
ADOPTING = ".adopting"
"""The folder in which a stage of another run is copied before it becomes a stage of this run."""
STAGE = re.compile(r"(\d\d)-([a-z0-9]+(?:-[a-z0-9]+)*)")
MOST_STAGES = 98
"""Stages of a run at most: folders have two digits, and the last number is for stages that commands add."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A run; use `create` or `open`."""

    path: Path
    recipe: Recipe
    constitution: Constitution
    reuses: tuple[Path, ...] = ()
    """The folders of earlier runs; this run reuses their stages and answers where the keys are the same."""
    changed: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Settings that were edited in recipe.yaml since the run was created, old and new."""
    original_constitution: str | None = field(default=None, compare=False, repr=False)
    """The hash of the constitution that the run was created with."""
    newly_decided: bool = field(default=False, compare=False, repr=False)
    """Whether the recipe differs from the stored one in settings that may change."""
    stop: StopRequest = field(default_factory=StopRequest, compare=False, repr=False)

    @classmethod
    def create(
        cls, path: Path | str, recipe: Recipe, constitution_file: Path | str, reuse: Sequence[Path] = ()
    ) -> RunDirectory:
        """Start a run, or open an existing one with the same recipe and constitution.

        `reuse` names earlier runs to reuse; for an existing run it must name the same ones. A recipe that
        differs in settings of `DECIDABLE` alone counts as the same: a weak judge that is accepted stays accepted, and
        servers are asked as the newer recipe says.

        Raises RunError when the folder has other content, or a run with other settings (naming old and new), and
        RecipeError when the constitution is missing a principle that the recipe names.
        """
        path, constitution = Path(path), load_constitution(constitution_file)
        revision_principles(recipe.revision, constitution)
        if not (path / RUN).exists():
            earlier = tuple(cls.open(each).path.resolve() for each in reuse)
            _refuse_other_content(path)
            with reporting_write_errors(path):
                path.mkdir(parents=True, exist_ok=True)
                sync(path.parent)
            with holding(path):
                if not (path / RUN).exists():  # another process may have made the run in the meantime
                    _write_settings(path, recipe, Path(constitution_file), constitution.hash, earlier)
                    return cls(path, recipe, constitution, earlier, original_constitution=constitution.hash)
        run = cls.open(path)
        run._refuse_changes(recipe, constitution, reuse)
        return run._deciding(recipe)

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """The run in a folder; raises RunError when there is none, or one of a newer format."""
        path = Path(path)
        start = f"Start one with: solon run {path} --recipe testbed"
        if not path.is_dir():
            raise RunError("no such run", place=str(path), remedy=start)
        restore = "Restore it from a copy"
        for name in (RUN, RECIPE, CONSTITUTION):
            refuse_special_file(path / name)
        try:
            about = read_object(path / RUN, restore)
            number, reuses, original = about["format"], about.get("reuses", []), about.get("constitution")
            if type(number) is not int or not isinstance(reuses, list):
                raise TypeError
            earlier = tuple(Path(each) for each in reuses)
        except FileNotFoundError:
            raise RunError("not a run directory: run.json is missing", place=str(path), remedy=start) from None
        except (KeyError, TypeError):
            raise RunError("the file is damaged", place=str(path / RUN), remedy=restore) from None
        if number > FORMAT:
            by = about.get("solon", "a newer version")
            raise RunError(f"the run was made by solon {by}", place=str(path), remedy="Install that version")
        recipe, constitution = load_recipe(path / RECIPE), load_constitution(path / CONSTITUTION)
        changed = tuple(edited_settings(about, recipe, path / RUN))
        return cls(path, recipe, constitution, earlier, changed, original if isinstance(original, str) else None)

    def edits(self) -> list[str]:
        """Messages about the recipe and the constitution, where they were edited since the run was created."""
        messages = []
        if self.changed:
            messages.append(f"{RECIPE} was edited since the run was made ({'; '.join(self.changed)})")
        if change := edited_constitution(self.original_constitution, self.constitution, self.artefacts()):
            messages.append(f"{CONSTITUTION} was edited since the run was made (its hash: {change})")
        return messages

    def refuse_edits(self) -> None:
        """Raise RunError when recipe or constitution were edited since the run was created."""
        if edits := self.edits():
            setting = "" if self.changed else f" --set constitution={self.path / CONSTITUTION}"
            raise RunError(
                " and ".join(edits),
                place=str(self.path),
                remedy=f"Put the old text back, or start a new run: solon run NEW --reuse {self.path}{setting}",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run for this process; signals ask the run to stop.

        Raises RunError when another process works here (naming it), when a file or folder of the run is a link, and
        when recipe or constitution were edited.
        """
        self._refuse_special_files()
        with locked(self.path), catching_signals(self.stop):
            self.refuse_edits()
            self._tidy()
            if self.newly_decided:
                write_atomically(self.path / RECIPE, dump_recipe(self.recipe))
            yield

    @contextmanager
    def following(self) -> Iterator[None]:
        """Help another process of this launch, which has the lock; signals ask the run to stop."""
        with catching_signals(self.stop):
            yield

    def finished(self, name: str, key: Mapping[str, object] | None = None) -> Artefact | None:
        """The artefact of a stage, by its name without the number; None when it is not finished.

        Raises RunError when it is damaged, or was made with another key than `key`.
        """
        for folder in self._folders():
            if folder.name[3:] == name and (artefact := _opened(folder)) is not None:
                if key is not None:
                    _refuse_other_key(folder, artefact.manifest.key, plain(key, str(folder)))
                return artefact
        return None

    def adopt(self, number: int, name: str, key: Mapping[str, object]) -> Artefact | None:
        """Copy a stage that a reused run finished with the same key into this run; None when there is none.

        Its files are linked where the file system allows it, or else copied, and appear all at once. A stage that this
        run has begun is not replaced. Raises RunError when a file is damaged.
        """
        folder = self.path / f"{number:02d}-{name}"
        wanted = plain(key, str(folder))
        for earlier in self.reuses if not folder.exists() else ():
            # The other run may have this stage under another number.
            found = next((_opened(each) for each in sorted(earlier.glob(f"[0-9][0-9]-{name}"))), None)
            if found is None or found.manifest.key != wanted:
                continue
            found.verify()
            with reporting_write_errors(folder):
                shutil.rmtree(self.path / ADOPTING, ignore_errors=True)
                (self.path / ADOPTING).mkdir()
                for file in found.manifest.files:
                    link_or_copy(found.path / file, self.path / ADOPTING / file)
                adopted = found.manifest.model_copy(update={"adopted_from": str(earlier), "number": number})
                write_manifest(self.path / ADOPTING, adopted)
                (self.path / ADOPTING).rename(folder)
                sync(self.path)
            return Artefact.open(folder)
        return None

    def answers(self) -> AbstractContextManager[ResponseCache]:
        """The models' answers in this run and in the runs that it reuses."""
        return response_cache_in(self.path, self.reuses)

    def artefacts(self, *, verified: bool = False) -> list[Artefact]:
        """All finished stages in order, without the damaged ones, which `damaged` names.

        With `verified` the tables' hashes are checked as well.
        """
        return [found for _, found in self._surveyed(verified=verified) if isinstance(found, Artefact)]

    def damaged(self) -> dict[str, RunError]:
        """The errors of the damaged stages, by stage name."""
        return {name: found for name, found in self._surveyed(verified=True) if isinstance(found, RunError)}

    def remarks(self) -> list[str]:
        """Warnings to show with the run: what was edited, and which stages are damaged."""
        damaged = [f"Stage '{name}' is damaged and left out: {error}" for name, error in self.damaged().items()]
        return [*(f"{edit}; what is shown is not what was used" for edit in self.edits()), *damaged]

    def _surveyed(self, *, verified: bool) -> Iterator[tuple[str, Artefact | RunError]]:
        for folder in self._folders():
            try:
                if (artefact := _opened(folder)) is not None:
                    if verified:
                        artefact.verify(ROWS)
                    yield folder.name[3:], artefact
            except RunError as error:
                yield folder.name[3:], error

    def help(self, number: int, name: str, key: Mapping[str, object], processes: Processes) -> StageFolder:
        """A stage that the main process has begun, for a process that helps; it writes nothing."""
        folder = self.path / f"{number:02d}-{name}"
        journal = Journal(folder / JOURNAL)
        return StageFolder(folder, number, name, key, journal, ignore, self.stop, processes)

    def begin(
        self,
        number: int,
        name: str,
        key: Mapping[str, object],
        report: Report = ignore,
        processes: Processes = SINGLE_PROCESS,
        made_with: Mapping[str, object] | None = None,
    ) -> StageFolder:
        """Begin a stage or continue it.

        `key` has everything that can change the stage's rows: its resolved settings and the hashes of its inputs.
        `made_with` has what changes them by rounding only, and is recorded. Raises RunError when the stage is finished,
        or was begun with another key (naming what changed, old and new).
        """
        folder = self.path / f"{number:02d}-{name}"
        if not STAGE.fullmatch(folder.name):
            raise ValueError(f"'{folder.name}' is not a valid name of a stage folder")
        begun = begin_folder(folder, (number, name), key, report, self.stop, made_with)
        begun.processes = processes
        return begun

    def _deciding(self, recipe: Recipe) -> RunDirectory:
        """This run with what `recipe` decides, stored when the run is locked.

        A weak judge that is accepted is never revoked.
        """
        judge_check, engine = self.recipe.judge_check, self.recipe.engine
        if recipe.judge_check.weak_judge is WeakJudge.ACCEPT:
            judge_check = judge_check.model_copy(update={"weak_judge": WeakJudge.ACCEPT})
        decided = {"judge_check": judge_check, "engine": engine.model_copy(update={"server": recipe.engine.server})}
        now = self.recipe.model_copy(update=decided)
        return self if now == self.recipe else replace(self, recipe=now, newly_decided=True)

    def _refuse_changes(self, recipe: Recipe, constitution: Constitution, reuse: Sequence[Path]) -> None:
        changes = [
            f"{key}: {old!r} -> {new!r}" for key, old, new in differences(self.recipe, recipe) if key not in DECIDABLE
        ]
        if not changes and constitution.hash != self.constitution.hash:
            changes = [f"the constitution's text: {self.constitution.hash[:8]} -> {constitution.hash[:8]}"]
        if reuse and tuple(each.resolve() for each in reuse) != self.reuses:
            before = " and ".join(map(str, self.reuses)) or "no other run"
            changes.append(f"the runs to reuse: {before} -> {' and '.join(map(str, reuse))}")
        if changes:
            raise _other_settings(self.path, changes)

    def _folders(self) -> list[Path]:
        return sorted(entry for entry in self.path.iterdir() if STAGE.fullmatch(entry.name) and entry.is_dir())

    def _refuse_special_files(self) -> None:
        """Raise RunError for a link among the run's files and folders, or anywhere in a stage's folder."""
        for entry in self.path.iterdir():
            if STAGE.fullmatch(entry.name) or entry.name == ADOPTING:
                refuse_special_file(entry)
                refuse_special_files(entry)
            elif entry.name in OWN or entry.name.startswith(ANSWERS):
                refuse_special_file(entry)

    def _tidy(self) -> None:
        """Remove what a killed session left: half-written files, and the journal of a finished stage."""
        shutil.rmtree(self.path / ADOPTING, ignore_errors=True)
        for folder in (self.path, *self._folders()):
            sweep(folder)
            if folder != self.path and (folder / MANIFEST).exists():
                clear_work(folder)


def _refuse_other_content(path: Path) -> None:
    """Raise RunError for what is no folder, and for one with anything in it but a start that was killed half-way."""
    if not path.exists():
        return
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else None
    ours = (RECIPE, CONSTITUTION, RUN, LOCK, SESSION)
    if names is None or (RUN not in names and any((made_by_writing(name) or name) not in ours for name in names)):
        raise RunError(
            "the folder is not empty and is not a run directory",
            place=str(path),
            remedy="Name a new folder for the run",
        )


def _write_settings(
    path: Path, recipe: Recipe, constitution_file: Path, constitution: str, earlier: Sequence[Path]
) -> None:
    """Write all that a run is made with, `run.json` last; `constitution` is its hash."""
    write_atomically(path / RECIPE, dump_recipe(recipe))
    write_atomically(path / CONSTITUTION, constitution_file.read_text(encoding="utf-8-sig"))
    about: dict[str, object] = {"format": FORMAT, "name": recipe.name, "solon": __version__}
    if earlier:
        about["reuses"] = [str(each) for each in earlier]
    about |= {"constitution": constitution, "recipe": recipe.model_dump(mode="json")}
    write_atomically(path / RUN, json.dumps(about, indent=1) + "\n")


def finished_folder(folder: Path, key: Mapping[str, object]) -> Artefact | None:
    """The artefact in a folder; None when it is not finished, RunError when it was made with another `key`."""
    artefact = Artefact.open(folder)
    if artefact is not None:
        _refuse_other_key(folder, artefact.manifest.key, plain(key, str(folder)))
    return artefact


def _opened(folder: Path) -> Artefact | None:
    """The artefact in a stage's folder of a run; raises RunError when it is damaged or of another stage."""
    artefact = Artefact.open(folder)
    if artefact is not None and artefact.name != folder.name[3:]:
        raise RunError(
            f"the folder has another stage in it: '{artefact.name}'",
            place=str(folder),
            remedy=f"Put that stage's own folder back, or delete {folder} to do the stage again",
        )
    return artefact


def begin_folder(
    folder: Path,
    stage: tuple[int, str],
    key: Mapping[str, object],
    report: Report,
    stop: StopRequest,
    made_with: Mapping[str, object] | None = None,
) -> StageFolder:
    """Begin or continue the stage of that number and name in a folder, in a run or not; see `RunDirectory.begin`."""
    now = plain(key, str(folder))
    if (artefact := Artefact.open(folder)) is not None:
        _refuse_other_key(folder, artefact.manifest.key, now)
        raise RunError("the stage is finished", place=str(folder), remedy=f"To do it again, delete {folder}")
    refuse_special_files(folder)
    with reporting_write_errors(folder):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
    sessions = [] if made_with is None else [plain(made_with, str(folder))]
    stored: dict[str, Any] = {}
    if (folder / BEGUN).exists():
        stored = _begun(folder)
        _refuse_other_key(folder, stored["key"], now)
        before = [each for each in stored.get("made_with", ()) if isinstance(each, dict)]
        sessions = before + [each for each in sessions if each not in before]
    begun = {"key": now, "made_with": sessions}
    if stored != begun:
        write_atomically(folder / BEGUN, json.dumps(begun, indent=1) + "\n")
    return StageFolder(folder, *stage, now, Journal.open(folder / JOURNAL), report, stop, made_with=sessions)


def _begun(folder: Path) -> dict[str, Any]:
    remedy = f"Delete {folder} to do the stage again"
    begun = read_object(folder / BEGUN, remedy)
    if not isinstance(begun.get("key"), dict) or not isinstance(begun.get("made_with", []), list):
        raise RunError("the file is damaged", place=str(folder / BEGUN), remedy=remedy)
    return begun


def _refuse_other_key(folder: Path, old: Mapping[str, object], new: Mapping[str, object]) -> None:
    """Raise RunError naming every part of a key that differs, old and new."""
    changes = [f"{key}: {before!r} -> {after!r}" for key, before, after in differences_between(old, new)]
    if changes:
        raise _other_settings(folder, changes)


def _other_settings(place: Path, changes: list[str]) -> OtherSettingsError:
    return OtherSettingsError(
        f"made with other settings ({listed(changes)})",
        place=str(place),
        remedy="Put the old values back, or name a new folder",
    )
