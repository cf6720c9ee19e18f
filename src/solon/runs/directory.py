"""A run directory: everything that one run was made with and made, and all that is needed to go on with it.

    runs/demo/
        run.json             this folder is a run, and of which format
        recipe.yaml          every setting, resolved
        constitution.yaml    the constitution, copied
        lock                 who works here
        answers.sqlite       what models answered, to be used again
        01-prompts/          a finished stage: rows.parquet, manifest.json, perhaps model/
        02-responses/        an unfinished one: begun.json, journal.jsonl, perhaps checkpoints/

A stage folder remembers the key under which it was begun, settings and input hashes, and is refused under any other,
naming what changed; results of different settings are never mixed (promise P4). A run that was made to reuse others
takes over their finished stages whose key is its own, and their answers to questions that it would ask again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import solon
from solon.constitution import Constitution, load_constitution, revision_principles
from solon.errors import RunError, SolonError
from solon.recipe import Recipe, WeakJudge, differences, dump_recipe, load_recipe
from solon.recipe_file import differences_between
from solon.runs.answers import Answers, answers_in
from solon.runs.artefact import Artefact
from solon.runs.files import link_or_copy, sweep, sync, telling_of, write_atomically
from solon.runs.interrupt import StopRequest, catching_signals
from solon.runs.journal import Journal
from solon.runs.lock import LOCK, locked
from solon.runs.manifest import MANIFEST, plain, write_manifest
from solon.runs.processes import ALONE, Processes
from solon.runs.stage import JOURNAL, Report, StageFolder, clear_work, ignore

FORMAT = 1
RUN, RECIPE, CONSTITUTION, BEGUN = "run.json", "recipe.yaml", "constitution.yaml", "begun.json"
ADOPTING = ".adopting"
"""Where the files of a stage of another run are gathered before it becomes this run's."""
DECIDABLE = frozenset({"fitness.weak_judge"})
"""Settings that say whether a run goes on and change no row of it, so that they may be decided under way."""
STAGE = re.compile(r"(\d\d)-([a-z0-9]+(?:-[a-z0-9]+)*)")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A run; use `create` or `open`."""

    path: Path
    recipe: Recipe
    constitution: Constitution
    reuses: tuple[Path, ...] = ()
    """The folders of earlier runs whose stages and answers this one takes over where they are the same."""
    newly_decided: bool = field(default=False, compare=False, repr=False)
    """Whether the recipe accepts what the stored one does not."""
    stop: StopRequest = field(default_factory=StopRequest, compare=False, repr=False)

    @classmethod
    def create(
        cls, path: Path | str, recipe: Recipe, constitution_file: Path | str, reuse: Sequence[Path] = ()
    ) -> RunDirectory:
        """Start a run, or open it again when it is there with the same recipe and constitution.

        `reuse` names earlier runs to take over from; for a run that exists it may only repeat what was said first. A
        recipe that accepts a weak judge is no other one: the acceptance is kept, and need not be repeated.

        Raises RunError when the folder holds something else, or a run with other settings (naming old and new), and
        RecipeError when the recipe names principles that the constitution lacks.
        """
        path, constitution = Path(path), load_constitution(constitution_file)
        revision_principles(recipe.revision, constitution)
        if (path / RUN).exists():
            run = cls.open(path)
            run._refuse_changes(recipe, constitution, reuse)
            return run._decide(recipe)
        earlier = tuple(cls.open(each).path.resolve() for each in reuse)
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
        about: dict[str, object] = {"format": FORMAT, "name": recipe.name, "solon": solon.__version__}
        if earlier:
            about["reuses"] = [str(each) for each in earlier]
        write_atomically(path / RUN, json.dumps(about, indent=1) + "\n")
        return cls(path, recipe, constitution, earlier)

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
            reuses = tuple(Path(str(each)) for each in about.get("reuses", ()))
        except FileNotFoundError:
            raise RunError("the folder is no run: it lacks run.json", place=str(path), remedy=start) from None
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError("run.json is damaged", place=str(path / RUN), remedy="Restore it from a copy") from None
        if number > FORMAT:
            made_by = about.get("solon", "a newer version")
            raise RunError(f"the run was made by solon {made_by}", place=str(path), remedy="Install that version")
        return cls(path, load_recipe(path / RECIPE), load_constitution(path / CONSTITUTION), reuses)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Work here alone: raises RunError naming the owner when another process does; signals ask the run to stop."""
        with locked(self.path), catching_signals(self.stop):
            self._tidy()
            if self.newly_decided:
                write_atomically(self.path / RECIPE, dump_recipe(self.recipe))
            yield

    @contextmanager
    def following(self) -> Iterator[None]:
        """Help another process of this launch, which holds the lock; signals ask the run to stop."""
        with catching_signals(self.stop):
            yield

    def finished(self, name: str, key: Mapping[str, object] | None = None) -> Artefact | None:
        """The artefact of a stage, by its name without the number; None when it is not finished.

        Raises RunError when it is damaged, or when a `key` is given and the stage was made under another one.
        """
        for folder in self._folders():
            if folder.name[3:] == name and (artefact := finished_folder(folder, key)) is not None:
                return artefact
        return None

    def adopt(self, number: int, name: str, key: Mapping[str, object]) -> Artefact | None:
        """The stage as one of the reused runs finished it under the same key, made this run's own; None if none did.

        Its files are linked where the file system allows it, else copied, and appear all at once: an artefact is never
        written again. A stage that was begun here is this run's to finish. Raises RunError when a file is damaged.
        """
        folder = self.path / f"{number:02d}-{name}"
        wanted = plain(key, str(folder))
        for earlier in self.reuses if not folder.exists() else ():
            found = Artefact.open(earlier / folder.name)
            if found is None or found.manifest.key != wanted:
                continue
            found.verify()
            with telling_of(folder):
                shutil.rmtree(self.path / ADOPTING, ignore_errors=True)
                (self.path / ADOPTING).mkdir()
                for file in found.manifest.files:
                    link_or_copy(found.path / file, self.path / ADOPTING / file)
                adopted = found.manifest.model_copy(update={"adopted_from": str(earlier)})
                write_manifest(self.path / ADOPTING, adopted)
                (self.path / ADOPTING).rename(folder)
                sync(self.path)
            return Artefact.open(folder)
        return None

    def answers(self) -> AbstractContextManager[Answers]:
        """The answers that models gave in this run, and behind them those of the runs that it reuses."""
        return answers_in(self.path, self.reuses)

    def artefacts(self) -> list[Artefact]:
        """All finished stages in order."""
        opened = (Artefact.open(folder) for folder in self._folders())
        return [artefact for artefact in opened if artefact is not None]

    def help(self, number: int, name: str, key: Mapping[str, object], processes: Processes) -> StageFolder:
        """A stage that the main process has begun, for one that helps: nothing is written through it."""
        folder = self.path / f"{number:02d}-{name}"
        journal = Journal(folder / JOURNAL)
        return StageFolder(folder, number, name, key, journal, ignore, self.stop, processes)

    def begin(
        self,
        number: int,
        name: str,
        key: Mapping[str, object],
        report: Report = ignore,
        processes: Processes = ALONE,
    ) -> StageFolder:
        """Begin a stage or go on with it.

        `key` holds all that can change the stage's rows: its resolved settings and the hashes of its inputs. Raises
        RunError when the stage is finished, or was begun under another key (naming what changed, old and new).
        """
        folder = self.path / f"{number:02d}-{name}"
        if not STAGE.fullmatch(folder.name):
            raise ValueError(f"'{folder.name}' is no name for a stage folder")
        begun = begin_folder(folder, (number, name), key, report, self.stop)
        begun.processes = processes
        return begun

    def _decide(self, recipe: Recipe) -> RunDirectory:
        """This run with what `recipe` accepts and it did not yet, stored when it is locked; nothing is taken back."""
        if recipe.fitness.weak_judge is not WeakJudge.ACCEPT or recipe.fitness == self.recipe.fitness:
            return self
        fitness = self.recipe.fitness.model_copy(update={"weak_judge": WeakJudge.ACCEPT})
        return replace(self, recipe=self.recipe.model_copy(update={"fitness": fitness}), newly_decided=True)

    def _refuse_changes(self, recipe: Recipe, constitution: Constitution, reuse: Sequence[Path]) -> None:
        changes = [
            f"{key}: {old!r} -> {new!r}" for key, old, new in differences(self.recipe, recipe) if key not in DECIDABLE
        ]
        if not changes and constitution.hash != self.constitution.hash:
            changes = [f"the constitution's text: {self.constitution.hash[:8]} -> {constitution.hash[:8]}"]
        if reuse and tuple(each.resolve() for each in reuse) != self.reuses:
            told = " and ".join(map(str, self.reuses)) or "no other run"
            changes.append(f"the runs to reuse: {told} -> {' and '.join(map(str, reuse))}")
        if changes:
            raise _other_settings(self.path, changes)

    def _folders(self) -> list[Path]:
        return sorted(entry for entry in self.path.iterdir() if STAGE.fullmatch(entry.name) and entry.is_dir())

    def _tidy(self) -> None:
        """Remove what a kill left behind: half-written files, and the journal of a stage that is finished."""
        shutil.rmtree(self.path / ADOPTING, ignore_errors=True)
        for folder in (self.path, *self._folders()):
            sweep(folder)
            if folder != self.path and (folder / MANIFEST).exists():
                clear_work(folder)


def finished_folder(folder: Path, key: Mapping[str, object] | None = None) -> Artefact | None:
    """The artefact in a folder; None when it is not finished, RunError when it was made under another `key`."""
    artefact = Artefact.open(folder)
    if artefact is not None and key is not None:
        _refuse_other_key(folder, artefact.manifest.key, plain(key, str(folder)))
    return artefact


def begin_folder(
    folder: Path, stage: tuple[int, str], key: Mapping[str, object], report: Report, stop: StopRequest
) -> StageFolder:
    """Begin the stage of that number and name in a folder, of a run or not, or go on; see `RunDirectory.begin`."""
    now = plain(key, str(folder))
    if (artefact := Artefact.open(folder)) is not None:
        _refuse_other_key(folder, artefact.manifest.key, now)
        raise RunError("the stage is finished", place=str(folder), remedy=f"To do it again, delete {folder}")
    with telling_of(folder):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
    if (folder / BEGUN).exists():
        _refuse_other_key(folder, _begun_key(folder), now)
    else:
        write_atomically(folder / BEGUN, json.dumps({"key": now}, indent=1) + "\n")
    return StageFolder(folder, *stage, now, Journal.open(folder / JOURNAL), report, stop)


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


def _refuse_other_key(folder: Path, old: Mapping[str, object], new: Mapping[str, object]) -> None:
    """Raise RunError naming every part of a key that differs, old and new."""
    changes = [f"{key}: {before!r} -> {after!r}" for key, before, after in differences_between(old, new)]
    if changes:
        raise _other_settings(folder, changes)


def _other_settings(place: Path, changes: list[str]) -> SolonError:
    return RunError(
        f"made with other settings ({'; '.join(changes)})",
        place=str(place),
        remedy="Put the old values back, or name a new folder",
    )
