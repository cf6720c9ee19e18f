"""The method from end to end: which stage runs when, on which inputs, with which model.

`advance` goes through the stages in the paper's order and does what is not yet done, so that a new run, a resumed one
and a finished one take the same road. A stage is begun under a key made of its settings and of the hashes of all that
it reads; it is never done twice under one key and never mixed under two. A run that reuses another takes over what the
other did under the same key, and every question goes through the store of answers, so that none is asked twice. This is
also the one place where the testbed meets a run: its oracle is handed to the measure stage and to no other, and its
world writes the questions with known answers that a judge is measured on.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from solon.builtin import model_path, source_path
from solon.conversation import Conversation
from solon.digest import digest_source
from solon.engines.base import Engine
from solon.engines.local import LocalEngine
from solon.engines.remembering import RememberingEngine
from solon.errors import RecipeError, RunError
from solon.evals import fitness, measure
from solon.evals.rating import Rater as Rates
from solon.evals.results import (
    AI_FEEDBACK,
    CRITIQUE_REVISION,
    MEASURE,
    PREFERENCE_MODEL,
    PROMPTS,
    RESPONSE_PAIRS,
    RESPONSES,
    RL_CAI,
    SL_CAI,
    STAGES,
)
from solon.progress import Display
from solon.recipe import Algorithm, Memory, Rater, Recipe, Settings
from solon.runs import Answers, Artefact, Progress, RunDirectory, StageFolder
from solon.runs.processes import ALONE, Processes, Sharding
from solon.sources.datasets_library import dataset_hash
from solon.sources.entries import located
from solon.stages import (
    ai_feedback,
    critique_revision,
    direct_preference,
    finetune,
    label_quality,
    preference_model,
    prompts,
    reinforcement,
    response_pairs,
    responses,
)
from solon.stages.cast import refuse_unshareable
from solon.stages.comparison_questions import Questionnaire
from solon.stages.prompt_sources import sources
from solon.stages.room import reserved_tokens
from solon.testbed.fitness_questions import assess_judge_of, critic_faults
from solon.testbed.oracle import Oracle

SHARED = frozenset({SL_CAI, PREFERENCE_MODEL, RL_CAI})
"""The stages that train, which several processes do together; the main process does the others while the rest wait."""
_BEGUN, _FINISHED = "begun", "finished"
"""What the main process tells of a stage."""


@dataclass(frozen=True, slots=True)
class Planted:
    """Labels from elsewhere than a feedback model, for ablations that ask what other labels would do."""

    name: str
    label: Callable[[Questionnaire, ai_feedback.FeedbackInputs, StageFolder], Artefact]


def advance(
    run: RunDirectory,
    display: Display,
    until: str = MEASURE,
    planted: Planted | None = None,
    processes: Processes = ALONE,
) -> None:
    """Do every stage of the run, up to the one named `until`, that is not finished; the caller holds the run's lock.

    Raises the kinds of SolonError that stages raise, and Interrupted when the run was asked to stop. Of several
    processes all call this, the main one holding the lock.
    """
    finetune.refuse_missing_steps(run.recipe.finetune, run.recipe.revision.steps)
    reinforcement.refuse_unusable(run.recipe.rl)
    refuse_unshareable(run.recipe)
    if until in (RL_CAI, MEASURE):
        _refuse_sharded(run, processes)
    with run.answers() as answers:
        for artefact in _in_order(Pipeline(run, display, answers, planted, processes)):
            if artefact.name == until:
                return


def _refuse_sharded(run: RunDirectory, processes: Processes) -> None:
    """Raise RecipeError where FSDP is to shard a policy that has to sample, before anything is spent."""
    if processes.sharding is Sharding.SHARDED and run.recipe.rl.algorithm is not Algorithm.DPO:
        raise RecipeError(
            f"with FSDP a policy cannot be trained by {run.recipe.rl.algorithm.value}: it samples between two updates",
            place="rl.algorithm",
            remedy="Add --until preference-model and go on without FSDP (--multi_gpu), or use --set rl.algorithm=dpo",
        )


def _in_order(work: Pipeline) -> Iterator[Artefact]:
    """The stages, each done when the next artefact is asked for."""
    yield (asked := work.prompts())
    yield (replies := work.responses(asked))
    yield (revisions := work.critique_revision(replies))
    yield (supervised := work.sl_cai(replies, revisions))
    yield (pairs := work.response_pairs(asked, supervised))
    yield (labels := work.ai_feedback(pairs))
    yield (preferences := work.preference_model(labels))
    yield (reinforced := work.rl_cai(asked, supervised, labels, preferences))
    trained = {SL_CAI: supervised.model, RL_CAI: reinforced.model}
    yield work.measure(asked, replies, revisions, labels, preferences, trained)


def rater_of(recipe: Recipe) -> Rates | None:
    """Who rates the replies of a run, if anybody does."""
    return Oracle() if recipe.measure.rater is Rater.TESTBED else None


@dataclass(slots=True)
class Pipeline:
    """One session's way through a run; holds the one model that was asked last."""

    run: RunDirectory
    display: Display
    answers: Answers | None = None
    """What models answered before; without it every question is asked."""
    planted: Planted | None = None
    processes: Processes = ALONE
    _stage: str = ""
    """The stage that asks now."""
    _loaded: tuple[Path, LocalEngine] | None = None
    _hashes: dict[Path, str] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The run's settings."""
        return self.run.recipe

    @property
    def assistant(self) -> Path:
        """The folder of the model that answers."""
        return model_path(self.recipe.models.assistant)

    @property
    def _rated(self) -> bool:
        """Whether a rater will know what revisions did; where none does, plain faults tell of the critic."""
        return self.recipe.measure.rater is not Rater.NONE

    @property
    def pretrained(self) -> Path:
        """The folder of the model that SL-CAI starts from."""
        return model_path(self.recipe.models.pretrained)

    def prompts(self) -> Artefact:
        """Stage 01."""
        settings, measured, constitution = self.recipe.prompts, self.recipe.measure, self.run.constitution
        names = dict.fromkeys(name for source in sources(settings, measured) for name in source.names)
        read = {name: self._source_hash(name) for name in names}
        engine = self.engine(self.assistant)
        inputs = prompts.PromptInputs(measured, reserved_tokens(self.recipe, constitution, engine))
        held_out = {"harmful": measured.harmful, "benign": measured.benign, "limit": measured.limit}
        key = {"files": read, "held_out": held_out, "reserved": {k.value: n for k, n in inputs.reserved.items()}}
        return self.stage(PROMPTS, settings, key, lambda out: prompts.run(settings, inputs, engine, out), prompts.told)

    def responses(self, asked: Artefact) -> Artefact:
        """Stage 02."""
        settings = self.recipe.responses
        inputs = responses.ResponseInputs(self.recipe.seed, asked, self.recipe.engine.batch)
        return self.stage(
            RESPONSES,
            settings,
            self.read(asked, assistant=self.assistant),
            lambda out: responses.run(settings, inputs, self.engine(self.assistant), out),
        )

    def critique_revision(self, replies: Artefact) -> Artefact:
        """Stage 03."""
        settings, critic = self.recipe.revision, self.model(self.recipe.models.critic)
        reviser = self.model(self.recipe.models.reviser or self.recipe.models.critic)
        inputs = critique_revision.RevisionInputs(
            self.recipe.seed,
            self.run.constitution,
            replies,
            self.recipe.engine.batch,
            None if self._rated else self._assess_critic,
        )
        another = {"reviser": reviser} if reviser != critic else {}

        def work(out: StageFolder) -> Artefact:
            # Critic and reviser take turns, so both stay loaded for the time of the stage.
            second = self._through_answers(reviser, LocalEngine.load(reviser, self.recipe.engine)) if another else None
            return critique_revision.run(settings, inputs, self.engine(critic), out, second)

        read = self.read(replies, critic=critic, **another) | self._constitution()
        return self.stage(CRITIQUE_REVISION, settings, read, work)

    def _assess_critic(self, critic: Engine, reviser: Engine) -> Mapping[str, Any]:
        faults = critic_faults(self.recipe, self.run.constitution)
        return fitness.assess_critic(self.recipe.revision, self.run.constitution, self.recipe.seed, faults)(
            critic, reviser
        )

    def sl_cai(self, replies: Artefact, revisions: Artefact) -> Artefact:
        """Stage 04."""
        settings = self.recipe.finetune
        inputs = finetune.FinetuneInputs(self.recipe.seed, self.pretrained, self.recipe.engine, revisions, replies)
        read = self.read(replies, revisions, pretrained=self.pretrained)
        return self.stage(SL_CAI, settings, read, lambda out: finetune.run(settings, inputs, out))

    def response_pairs(self, asked: Artefact, supervised: Artefact) -> Artefact:
        """Stage 05."""
        settings = self.recipe.pairs
        inputs = response_pairs.PairInputs(self.recipe.seed, asked, self.recipe.engine.batch)
        return self.stage(
            RESPONSE_PAIRS,
            settings,
            self.read(asked, supervised),
            lambda out: response_pairs.run(settings, inputs, self.engine(supervised.model), out),
        )

    def ai_feedback(self, pairs: Artefact) -> Artefact:
        """Stage 06."""
        settings, judges = self.recipe.feedback, [self.model(name) for name in self.recipe.models.judges]
        inputs = ai_feedback.FeedbackInputs(
            self.recipe.seed,
            self.run.constitution,
            pairs,
            self.recipe.engine.batch,
            assess_judge_of(
                self.recipe,
                self.run.constitution,
                f"solon run {shlex.quote(str(self.run.path))} --accept-weak-judge",
            ),
        )
        if planted := self.planted:
            questionnaire = Questionnaire.of(settings, self.run.constitution, self.recipe.seed)
            read = self.read(pairs) | self._constitution() | {"labels": planted.name}
            return self.stage(AI_FEEDBACK, settings, read, lambda out: planted.label(questionnaire, inputs, out))
        named = {f"judge {n}" if n > 1 else "judge": judge for n, judge in enumerate(judges, start=1)}
        return self.stage(
            AI_FEEDBACK,
            settings,
            self.read(pairs, **named) | self._constitution(),
            lambda out: ai_feedback.run(settings, inputs, [partial(self.engine, judge) for judge in judges], out),
            label_quality.told,
        )

    def preference_model(self, labels: Artefact) -> Artefact:
        """Stage 07."""
        settings = self.recipe.preference
        backbone = model_path(self.recipe.models.preference or self.recipe.models.pretrained)
        human = source_path(settings.human) if settings.human else None
        inputs = preference_model.PreferenceInputs(self.recipe.seed, backbone, self.recipe.engine, labels, human)
        read = self.read(labels, backbone=backbone, **({"human": human} if human else {}))
        return self.stage(PREFERENCE_MODEL, settings, read, lambda out: preference_model.run(settings, inputs, out))

    def rl_cai(self, asked: Artefact, supervised: Artefact, labels: Artefact, preferences: Artefact) -> Artefact:
        """Stage 08: rollouts scored by the preference model, or the labelled pairs themselves."""
        settings, seed, engine = self.recipe.rl, self.recipe.seed, self.recipe.engine
        if settings.algorithm is Algorithm.DPO:
            people = self.recipe.preference
            human = source_path(people.human) if people.human and settings.direct.human_weight else None
            direct = direct_preference.DirectInputs(seed, supervised.model, engine, labels, human, people.limit_human)
            read = self.read(supervised, labels, **({"human": human} if human else {}))
            read["limit_human"] = people.limit_human
            return self.stage(RL_CAI, settings, read, lambda out: direct_preference.run(settings, direct, out))
        held_out = model_path(settings.held_out_scorer) if settings.held_out_scorer else None
        backbone = self.pretrained if settings.memory is Memory.SHARED else None
        inputs = reinforcement.ReinforcementInputs(
            seed, supervised.model, preferences.model, engine, asked, held_out, backbone
        )
        also = {"held_out": held_out, "backbone": backbone}
        read = self.read(asked, supervised, preferences, **{name: path for name, path in also.items() if path})
        return self.stage(
            RL_CAI, settings, read, lambda out: reinforcement.run(settings, inputs, out), reinforcement.told
        )

    def measure(
        self,
        asked: Artefact,
        replies: Artefact,
        revisions: Artefact,
        labels: Artefact,
        preferences: Artefact,
        trained: Mapping[str, Path],
    ) -> Artefact:
        """Stage 09."""
        settings = self.recipe.measure
        models = {"pretrained": self.pretrained, "assistant": self.assistant, **trained}
        rater = rater_of(self.recipe)

        def work(out: StageFolder) -> Artefact:
            inputs = measure.MeasureInputs(
                self.recipe.seed,
                tuple(models),
                asked,
                replies,
                revisions,
                labels,
                self.scorer(preferences.model),
                self.recipe.engine.batch,
            )
            return measure.run(settings, inputs, lambda name: self.engine(models[name]), out, rater)

        read = self.read(asked, replies, revisions, labels, preferences, **models)
        return self.stage(MEASURE, settings, read, work)

    def stage(
        self,
        name: str,
        settings: Settings,
        read: Mapping[str, object],
        work: Callable[[StageFolder], Artefact],
        told: Callable[[Mapping[str, Any]], Sequence[str]] = lambda facts: (),
    ) -> Artefact:
        """The artefact of a stage: the finished one when its key is unchanged, else the stage is done now.

        `told` puts into words what a person should hear of a stage's facts when it is done.
        """
        number = STAGES.index(name) + 1 if name in STAGES else len(STAGES) + 1
        total = max(number, len(STAGES))
        key = {"settings": settings.model_dump(mode="json"), "seed": self.recipe.seed, **read}
        self._stage = name
        if self.processes.rank:
            return self._help(number, name, key, work)
        finished = self.run.finished(name, key) or self.run.adopt(number, name, key)
        if finished is not None:
            self.display.stage_kept(number, name, total, finished.manifest.rows)
            self.processes.tell(_FINISHED)
            return finished
        self.display.stage_started(number, name, total)
        if name in SHARED:
            out = self.run.begin(number, name, key, self._report, self.processes)
            self.processes.tell(_BEGUN)
            artefact = work(out)
        else:
            artefact = work(self.run.begin(number, name, key, self._report))
            self.processes.tell(_FINISHED)
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
        if self.processes.tell("") == _BEGUN:
            return work(self.run.help(number, name, key, self.processes))
        artefact = self.run.finished(name)
        if artefact is None:
            raise RunError(
                f"this process does not see the stage '{name}' that the main process finished",
                place=str(self.run.path),
                remedy="Put the run's folder where every machine sees it",
            )
        return artefact

    def engine(self, folder: Path) -> Engine:
        """The model of a folder, asked only what no run at hand knows; the last one stays loaded, others are let go."""
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = None
            self._loaded = (folder, LocalEngine.load(folder, self.recipe.engine))
        return self._through_answers(*self._loaded)

    def _through_answers(self, folder: Path, engine: Engine) -> Engine:
        if self.answers is None:
            return engine
        return RememberingEngine(engine, self.hash(folder), self._stage, self.answers)

    def read(self, *artefacts: Artefact, **paths: Path) -> dict[str, object]:
        """The part of a key that tells what a stage reads: hashes of artefacts, models and files by name."""
        hashes: dict[str, object] = {artefact.name: artefact.hash for artefact in artefacts}
        return hashes | {name: self.hash(path) for name, path in paths.items()}

    def hash(self, path: Path) -> str:
        """The hash of a file, or of a model folder's configuration, tokenizer and weights; computed once a session."""
        if path not in self._hashes:
            self._hashes[path] = digest_source(path)
        return self._hashes[path]

    def _source_hash(self, name: str) -> str:
        """The hash of a source of prompts: of its file, or of a dataset's rows."""
        source = located(name)
        return self.hash(source) if isinstance(source, Path) else dataset_hash(source)

    def scorer(self, folder: Path) -> Callable[[Sequence[Conversation]], list[float]]:
        """The preference model of a folder: a number for each conversation, higher is better."""
        scorer = preference_model.load(folder, self.recipe.engine)
        return lambda conversations: [float(score) for score in scorer.score(conversations)]

    def model(self, name: str | None) -> Path:
        """The folder of the model that plays a part; the assistant's when none is named."""
        return model_path(name) if name else self.assistant

    def _constitution(self) -> dict[str, object]:
        return {"constitution": self.run.constitution.hash}

    def _report(self, progress: Progress) -> None:
        note = ": ".join(part for part in (progress.phase, progress.note) if part)
        self.display.progress(progress.done, progress.total, note)
