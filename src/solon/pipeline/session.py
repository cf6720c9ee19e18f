"""One session's work on a run: doing a stage or finding it done, with one model in memory at a time.

A session is the `Work` that a stage is given (`solon.stages.stage`). A stage is begun under a key made of its settings,
the engine's (all but those that `solon.engines.rounding` names), the hashes of all that it reads and the versions of
its code; it is never done twice under one key and never mixed under two. What a session reads must stay as it is: a
model folder that is edited under way is refused. A run that reuses another gets what the other did under the
same key, and every question goes through the store of answers, so that none is asked twice. Of several processes the
main one does a stage while the rest wait, or, where it trains, help. The testbed comes in here: its oracle is the
grader, and the judge check gets its questions.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from solon.config.builtin import model_path
from solon.config.model_spec import ModelSpec, folder_of, located
from solon.config.recipe import JUDGE_GRADER, NO_GRADER, Recipe
from solon.constitution.constitution import Constitution
from solon.conversation import Conversation
from solon.digest import Stamp, digest_source, stamp_of
from solon.engines import rounding
from solon.engines.base import Engine, TokenBudget
from solon.engines.cached import CachedEngine
from solon.engines.engine_place import EnginePlace, ThisProcess
from solon.engines.registry import folder_budget, identity_of, joined
from solon.engines.rounding import keyed, made_with, rounding_summary
from solon.errors import RunError
from solon.evals import judge_check
from solon.evals.grading import Grader
from solon.evals.judge_check.critic import CheckCritic
from solon.evals.judge_check.judge import CheckJudge
from solon.evals.judge_check.known_answers import JudgeQuestions
from solon.http.request_flow import RequestFlow
from solon.http.spending import Ledger
from solon.pipeline.graders import grader_of
from solon.pipeline.served_flow import send_through
from solon.pipeline.token_budget import reserved_tokens
from solon.reward.scorer import open_scorer
from solon.runs import Artefact, ResponseCache, RunDirectory
from solon.runs.edit_check import DECIDABLE
from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.runs.progress import Display
from solon.runs.rows import PromptKind
from solon.sources.datasets_library import dataset_hash
from solon.sources.entries import located as source_of
from solon.stages.plan import names_of, unit_of
from solon.stages.stage import Kind, Stage
from solon.testbed.judge_questions import critic_faults, judge_checker, judge_questions, questions_asked
from solon.training import loop as training

_BEGUN, _FINISHED = "begun", "finished"
"""What the main process broadcasts about a stage."""


@dataclass(slots=True)
class Session:
    """One session's work on a run; holds the one model that was asked last."""

    run: RunDirectory
    display: Display
    answers: ResponseCache | None = None
    """What models answered before; without it every question is asked."""
    processes: Processes = SINGLE_PROCESS
    place: EnginePlace = field(default_factory=ThisProcess)
    """Where models are asked."""
    _stage: str = ""
    """The stage that asks now."""
    _loaded: tuple[ModelSpec, Engine] | None = None
    _hashes: dict[Path, tuple[Stamp, str]] = field(default_factory=dict)
    _identities: dict[ModelSpec, str] = field(default_factory=dict)
    """Of models that are not folders."""
    _datasets: bool = False
    """Whether a source of prompts is a dataset of a hub."""
    _remarked: set[str] = field(default_factory=set)
    _artefacts: dict[str, Artefact] = field(default_factory=dict)
    """Of the stages that this session did or found finished."""
    _reserved: Mapping[PromptKind, int] | None = None
    _ledger: Ledger = field(default_factory=Ledger)
    """What models behind servers cost in this session."""
    _flow: RequestFlow = field(default_factory=RequestFlow)
    """What models behind servers are asked now."""

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
    def constitution(self) -> Constitution:
        """The run's constitution."""
        return self.run.constitution

    @property
    def grader(self) -> Grader | None:
        """The grader of replies, if there is one."""
        return grader_of(self.recipe)

    def do(self, stage: Stage) -> Artefact:
        """The artefact of a stage: the finished one when its key is unchanged, else the stage is done now."""
        artefact = self._artefacts[stage.name] = self._done(stage)
        return artefact

    def artefact(self, name: str) -> Artefact:
        """What a stage of this run made; raises RunError when it is not finished."""
        if (found := self._artefacts.get(name)) is None:
            found = self._artefacts[name] = finished(self.run, name)
        return found

    def trained(self, name: str) -> Path:
        """The folder of the model that a stage of this run trained; raises RunError when it is not finished."""
        return self.artefact(name).model

    def policy(self, name: str) -> ModelSpec:
        """The language model that a stage of this run trained, to be asked; raises RunError as `trained` does."""
        return ModelSpec.parse(self.trained(name))

    def key(self, stage: Stage) -> dict[str, object]:
        """All that the rows of a stage depend on."""
        reads = stage.reads(self)
        return {
            "settings": stage.settings(self.recipe).model_dump(mode="json"),
            "seed": self.recipe.seed,
            "engine": keyed(self.recipe.engine),
            "code": _code(stage),
            **{name: self.artefact(name).hash for name in stage.inputs(self.recipe)},
            **{name: self.hash(path) for name, path in reads.paths.items()},
            **reads.more,
            **({"constitution": self.constitution.hash} if stage.by_constitution else {}),
        }

    def _done(self, stage: Stage) -> Artefact:
        name, stages = stage.name, names_of(self.recipe)
        number = stages.index(name) + 1 if name in stages else len(stages) + 1
        total = max(number, len(stages))
        self._stage = name
        if self.processes.rank:
            return self._help(number, stage)
        key = self.key(stage)
        finished = self.run.finished(name, key) or self.run.adopt(number, name, key)
        if finished is not None:
            self.display.stage_kept(number, name, total, finished.manifest.rows, unit_of(name, stage.kind))
            self._remark_rounding(finished, stage)
            self.processes.broadcast(_FINISHED)
            return finished
        self.display.stage_started(number, name, total)
        out = self.run.begin(number, name, key, self.display.progress, made_with=self._made_with(stage))
        out.before_publishing = self._refuse_edited
        out.executor = self.place.executor
        send_through(self._flow, out, stage.reads(self).paths.values())
        with closing(out.journal):
            if stage.kind is Kind.TRAINS:
                self._loaded = None  # its memory is for the networks in training
                out.processes = self.processes
                self.processes.broadcast(_BEGUN)
                artefact = stage.run(self, out)
            else:
                artefact = stage.run(self, out)
                self.processes.broadcast(_FINISHED)
        manifest = artefact.manifest
        unit = unit_of(name, stage.kind)
        self.display.stage_finished(name, manifest.rows, manifest.outcomes, manifest.seconds, unit)
        for line in stage.summary(artefact.facts):
            self.display.remark(line)
        return artefact

    def _help(self, number: int, stage: Stage) -> Artefact:
        """The artefact of a stage that the main process does, with this one's help where it trains.

        Only the main process needs the stage's key, for which it hashes models and counts tokens.
        """
        self._loaded = None  # only the main process asks models
        if self.processes.broadcast("") == _BEGUN:
            return stage.run(self, self.run.help(number, stage.name, {}, self.processes))
        artefact = self.run.finished(stage.name)
        if artefact is None:
            raise RunError(
                f"this process does not see the stage '{stage.name}' that the main process finished",
                place=str(self.run.path),
                remedy="Put the run's folder where every machine sees it",
            )
        return artefact

    def engine(self, model: ModelSpec | Path) -> Engine:
        """A model, with the answers of earlier questions cached; the last one stays loaded, others are unloaded."""
        spec = model if isinstance(model, ModelSpec) else ModelSpec.parse(model)
        if self._loaded is None or self._loaded[0] != spec:
            self._loaded = None
            engine = joined(self.place.open(spec, self.recipe.engine, self._ledger), self._flow)
            self._loaded = (spec, engine)
            self.hash(spec)  # what was loaded is what the stage's key names
            for line in engine.remarks:
                self.display.remark(line)
        return self.cached(*self._loaded)

    def cached(self, model: ModelSpec, engine: Engine) -> Engine:
        """The engine of a model, with the answers of earlier questions cached."""
        if self.answers is None:
            return engine
        return CachedEngine(engine, self.hash(model), self._stage, self.answers, self.recipe.engine)

    def second_engine(self, model: ModelSpec | Path) -> Engine:
        """A model, opened as well as the one that `engine` gave."""
        spec = model if isinstance(model, ModelSpec) else ModelSpec.parse(model)
        return self.cached(spec, joined(self.place.open(spec, self.recipe.engine, self._ledger), self._flow))

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

    def files_read(self) -> Mapping[Path, Stamp] | None:
        """The files and folders that this session took hashes of, as they were then.

        None when it also read a dataset of a hub, or named a model that is no folder.
        """
        if self._identities or self._datasets:
            return None
        return {path: stamp for path, (stamp, _) in self._hashes.items()}

    def _file_hash(self, path: Path) -> str:
        if path not in self._hashes:
            stamp = stamp_of(path)
            self._hashes[path] = stamp, digest_source(path)
        self._refuse_edited(path)
        return self._hashes[path][1]

    def _refuse_edited(self, *paths: Path) -> None:
        """Raise RunError when something that this session read has other content now."""
        for path in paths or tuple(self._hashes):
            stamp, hashed = self._hashes[path]
            if (now := stamp_of(path)) == stamp:
                continue
            if digest_source(path) != hashed:
                raise RunError(
                    "an input of the run was edited during the run",
                    place=str(path),
                    remedy="Put the old content back, or start a new run with the new one: "
                    f"solon run NEW --reuse {self.run.path}",
                )
            self._hashes[path] = now, hashed

    def _made_with(self, stage: Stage) -> dict[str, object]:
        here = made_with(self.recipe.engine, self.processes)
        return here if stage.kind is Kind.TRAINS else {**here, **self.place.made_with}

    def _remark_rounding(self, finished: Artefact, stage: Stage) -> None:
        """Remark once in a session that finished rows were made with other rounding than now."""
        line = rounding_summary(finished.manifest.made_with, self._made_with(stage))
        if line is not None and line not in self._remarked:
            self._remarked.add(line)
            self.display.remark(line)

    def scorer(self, folder: Path, *, centred: bool = False) -> Callable[[Sequence[Conversation]], list[float]]:
        """Scores by the preference model in `folder`; higher is better. With `centred` an average reply scores 0."""
        scorer = open_scorer(folder, self.recipe.engine).model
        zero = scorer.centre if centred else 0.0
        return lambda conversations: [float(score) - zero for score in scorer.score(conversations)]

    def model(self, name: str | None) -> ModelSpec:
        """The model of a part; the assistant when none is named. Raises ModelError for a folder that holds no model."""
        return located(ModelSpec.parse(name or self.recipe.models.assistant))

    def source_hash(self, name: str) -> str:
        """The hash of a source of prompts: of its file, or of a dataset's rows."""
        source = source_of(name)
        if isinstance(source, Path):
            return self.hash(source)
        self._datasets = True
        return dataset_hash(source, self.recipe.prompts.columns)

    def reserved_tokens(self) -> Mapping[PromptKind, int]:
        """Tokens of the assistant's window that each kind of prompt has to leave free."""
        if self._reserved is None:
            file = self.run.path / "constitution.yaml"
            self._reserved = reserved_tokens(self.recipe, self.constitution, self.token_budget(self.assistant), file)
        return self._reserved

    def token_budget(self, model: ModelSpec) -> TokenBudget:
        """What counts tokens as a model does; the model itself only where it is loaded or nothing else can."""
        loaded = self._loaded is not None and self._loaded[0] == model
        found = None if loaded else folder_budget(model, self.recipe.engine)
        return found or self.engine(model)

    def critic_check(self) -> CheckCritic | None:
        """What measures critic and reviser; None where a grader will know what revisions did."""
        if self.recipe.measure.grader not in (NO_GRADER, JUDGE_GRADER):
            return None
        recipe, constitution = self.recipe, self.constitution

        def check(critic: Engine, reviser: Engine) -> Mapping[str, object]:
            faults = critic_faults(recipe, constitution)
            return judge_check.check_critic(recipe.revision, constitution, recipe.seed, faults)(critic, reviser)

        return check

    def judge_check(self) -> CheckJudge | None:
        """What measures a judge before its labels are asked."""
        go_on = f"solon run {shlex.quote(str(self.run.path))} --accept-weak-judge"
        return judge_checker(self.recipe, self.constitution, go_on)

    def critic_questions(self) -> int:
        """How many replies with known faults the critic is asked about."""
        return len(critic_faults(self.recipe, self.constitution))

    def judge_questions(self, constitution: Constitution) -> JudgeQuestions:
        """The questions with known answers that the judge is asked."""
        return judge_questions(self.recipe, constitution)

    def judge_check_key(self) -> Mapping[str, object]:
        """What critic and judge are measured on: their questions are kept in the same stage as what they wrote."""
        given = self.recipe.judge_check.model_dump(mode="json")
        asked = {name: value for name, value in given.items() if f"judge_check.{name}" not in DECIDABLE}
        return {"judge_check": {**asked, "grader": questions_asked(self.recipe)}}


def finished(run: RunDirectory, name: str) -> Artefact:
    """A stage's artefact; raises RunError when it is not finished."""
    artefact = run.finished(name)
    if artefact is None:
        remedy = f"Go on with: solon run {run.path} --until {name}"
        raise RunError(f"stage '{name}' is not finished", place=str(run.path), remedy=remedy)
    return artefact


def _code(stage: Stage) -> dict[str, int]:
    """The versions of the code that makes a stage: its own, and how models are asked and trained where it does."""
    if stage.kind is Kind.TRAINS:
        return {"stage": stage.code, "asking": rounding.CODE, "training": training.CODE}
    return {"stage": stage.code, "asking": rounding.CODE}
