"""One session's work on a run: doing a stage or finding it done, with one model in memory at a time.

A stage is begun under a key made of its settings, the engine's (all but those that `solon.engines.rounding` names), the
hashes of all that it reads and the versions of its code; it is never done twice under one key and never mixed under
two. What a session reads must stay as it is: a model folder that is edited under way is refused. A run that reuses
another takes over what the other did under the same key, and every question goes through the store of answers, so that
none is asked twice. Of several processes the main one does a stage while the rest wait, or, where it trains, help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solon.config.builtin import model_path
from solon.config.model_spec import ModelSpec, folder_of, located
from solon.config.recipe import Recipe, Settings
from solon.conversation import Conversation
from solon.digest import digest_source, model_files
from solon.engines import rounding
from solon.engines.base import Engine
from solon.engines.cached import CachedEngine
from solon.engines.registry import identity_of, open_engine
from solon.engines.rounding import keyed, made_with, rounding_summary
from solon.errors import RunError
from solon.evals.results import TRAINING, out_of_round, stages_of
from solon.reward.scorer import open_scorer
from solon.runs import Artefact, Progress, ResponseCache, RunDirectory, StageFolder
from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.runs.progress import Display
from solon.training import loop as training

Stamp = tuple[tuple[str, int, int], ...]
"""Names, sizes and times of change of the files that a hash was taken of."""
_BEGUN, _FINISHED = "begun", "finished"
"""What the main process tells of a stage."""


@dataclass(slots=True)
class Session:
    """One session's work on a run; holds the one model that was asked last."""

    run: RunDirectory
    display: Display
    answers: ResponseCache | None = None
    """What models answered before; without it every question is asked."""
    processes: Processes = SINGLE_PROCESS
    _stage: str = ""
    """The stage that asks now."""
    _loaded: tuple[ModelSpec, Engine] | None = None
    _hashes: dict[Path, tuple[Stamp, str]] = field(default_factory=dict)
    _identities: dict[ModelSpec, str] = field(default_factory=dict)
    """Of models that are no folders here."""
    _told: set[str] = field(default_factory=set)

    @property
    def recipe(self) -> Recipe:
        """The run's settings."""
        return self.run.recipe

    @property
    def assistant(self) -> ModelSpec:
        """The model that answers."""
        return self.model(None)

    @property
    def pretrained(self) -> Path:
        """The folder of the model that SL-CAI starts from."""
        return model_path(self.recipe.models.pretrained)

    @property
    def start(self) -> Path:
        """The folder of the model that RLHF starts from."""
        return model_path(self.recipe.models.policy or self.recipe.models.pretrained)

    def stage(
        self,
        name: str,
        settings: Settings,
        read: Mapping[str, object],
        work: Callable[[StageFolder], Artefact],
        told: Callable[[Mapping[str, Any]], Sequence[str]] = lambda facts: (),
        *,
        code: int,
    ) -> Artefact:
        """The artefact of a stage: the finished one when its key is unchanged, else the stage is done now.

        `code` is the version of the stage's own code, which its author raises with every change to what it makes.
        `told` puts into words what a person should hear of a stage's facts when it is done.
        """
        stages = stages_of(self.recipe)
        number = stages.index(name) + 1 if name in stages else len(stages) + 1
        total = max(number, len(stages))
        key = {
            "settings": settings.model_dump(mode="json"),
            "seed": self.recipe.seed,
            "engine": keyed(self.recipe.engine),
            "code": self._code(name, code),
            **read,
        }
        self._stage = name
        if self.processes.rank:
            return self._help(number, name, key, work)
        finished = self.run.finished(name, key) or self.run.adopt(number, name, key)
        if finished is not None:
            self.display.stage_kept(number, name, total, finished.manifest.rows)
            self._tell_rounding(finished)
            self.processes.broadcast(_FINISHED)
            return finished
        self.display.stage_started(number, name, total)
        out = self.run.begin(number, name, key, self._report, made_with=self._made_with())
        out.before_publishing = self._refuse_edited
        if out_of_round(name) in TRAINING:
            out.processes = self.processes
            self.processes.broadcast(_BEGUN)
            artefact = work(out)
        else:
            artefact = work(out)
            self.processes.broadcast(_FINISHED)
        manifest = artefact.manifest
        self.display.stage_finished(name, manifest.rows, manifest.outcomes, manifest.seconds)
        for line in told(artefact.facts):
            self.display.remark(line)
        return artefact

    def _help(
        self, number: int, name: str, key: Mapping[str, object], work: Callable[[StageFolder], Artefact]
    ) -> Artefact:
        """The artefact of a stage that the main process does, with this one's help where it trains."""
        self._loaded = None  # only the main process asks models
        if self.processes.broadcast("") == _BEGUN:
            return work(self.run.help(number, name, key, self.processes))
        artefact = self.run.finished(name)
        if artefact is None:
            raise RunError(
                f"this process does not see the stage '{name}' that the main process finished",
                place=str(self.run.path),
                remedy="Put the run's folder where every machine sees it",
            )
        return artefact

    def engine(self, model: ModelSpec | Path) -> Engine:
        """A model, asked only what no run at hand knows; the last one stays loaded, others are let go."""
        spec = model if isinstance(model, ModelSpec) else ModelSpec.parse(model)
        if self._loaded is None or self._loaded[0] != spec:
            self._loaded = None
            engine = open_engine(spec, self.recipe.engine)
            self._loaded = (spec, engine)
            self.hash(spec)  # what was loaded is what the stage's key tells of
            for line in engine.remarks:
                self.display.remark(line)
        return self.cached(*self._loaded)

    def cached(self, model: ModelSpec, engine: Engine) -> Engine:
        """The engine of a model, asked only what no run at hand knows."""
        if self.answers is None:
            return engine
        return CachedEngine(engine, self.hash(model), self._stage, self.answers, self.recipe.engine)

    def read(self, *artefacts: Artefact, **paths: Path | ModelSpec) -> dict[str, object]:
        """The part of a key that tells what a stage reads: hashes of artefacts, models and files by name."""
        hashes: dict[str, object] = {artefact.name: artefact.hash for artefact in artefacts}
        return hashes | {name: self.hash(path) for name, path in paths.items()}

    def hash(self, source: Path | ModelSpec) -> str:
        """The hash of a file, or of all that can change a model; computed once a session.

        Raises RunError when the file or folder was edited since.
        """
        if isinstance(source, ModelSpec):
            folder = folder_of(source)
            if folder is None:
                if source not in self._identities:
                    self._identities[source] = identity_of(source)
                return self._identities[source]
            source = folder
        return self._file_hash(source)

    def _file_hash(self, path: Path) -> str:
        if path not in self._hashes:
            stamp = _stamp(path)
            self._hashes[path] = stamp, digest_source(path)
        self._refuse_edited(path)
        return self._hashes[path][1]

    def _refuse_edited(self, *paths: Path) -> None:
        """Raise RunError when something that this session read has other content now."""
        for path in paths or tuple(self._hashes):
            stamp, hashed = self._hashes[path]
            if (now := _stamp(path)) == stamp:
                continue
            if digest_source(path) != hashed:
                raise RunError(
                    "what the run reads was edited while it was at work",
                    place=str(path),
                    remedy="Put the old content back, or start a new run with the new one: "
                    f"solon run NEW --reuse {self.run.path}",
                )
            self._hashes[path] = now, hashed

    def _code(self, name: str, stage: int) -> dict[str, int]:
        """The versions of the code that makes a stage: its own, and how models are asked and trained where it does."""
        if out_of_round(name) in TRAINING:
            return {"stage": stage, "asking": rounding.CODE, "training": training.CODE}
        return {"stage": stage, "asking": rounding.CODE}

    def _made_with(self) -> dict[str, object]:
        return made_with(self.recipe.engine, self.processes)

    def _tell_rounding(self, finished: Artefact) -> None:
        """Say once in a session how finished rows were made otherwise than they would be now, by rounding alone."""
        line = rounding_summary(finished.manifest.made_with, self._made_with())
        if line is not None and line not in self._told:
            self._told.add(line)
            self.display.remark(line)

    def scorer(self, folder: Path, *, centred: bool = False) -> Callable[[Sequence[Conversation]], list[float]]:
        """The preference model of a folder: a number for each conversation, higher is better, 0 at its centre if so."""
        scorer = open_scorer(folder, self.recipe.engine).model
        zero = scorer.centre if centred else 0.0
        return lambda conversations: [float(score) - zero for score in scorer.score(conversations)]

    def model(self, name: str | None) -> ModelSpec:
        """The model of a part; the assistant when none is named. Raises ModelError for a folder that holds no model."""
        return located(ModelSpec.parse(name or self.recipe.models.assistant))

    def _report(self, progress: Progress) -> None:
        note = ": ".join(part for part in (progress.phase, progress.note) if part)
        self.display.progress(progress.done, progress.total, note)


def _stamp(path: Path) -> Stamp:
    """What changes with a file's content, or a folder's, and takes no reading."""
    files = model_files(path) if path.is_dir() else {"": path}
    found = []
    for name, file in files.items():
        if file.exists():
            about = file.stat()
            found.append((name, about.st_size, about.st_mtime_ns))
    return tuple(found)
