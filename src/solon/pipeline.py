"""The method from end to end: which stage runs when, on which inputs, with which model.

`advance` goes through the stages in the paper's order and does what is not yet done, so that a new run, a resumed one
and a finished one take the same road. A stage is begun under a key made of its settings and of the hashes of all that
it reads; it is never done twice under one key and never mixed under two. This is also the one place where the testbed's
oracle meets a run: it is handed to the measure stage, and to no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from solon.builtin import model_path, source_path
from solon.conversation import Conversation
from solon.digest import digest_source
from solon.engines.local import LocalEngine
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
from solon.recipe import Rater, Recipe, Settings
from solon.runs import Artefact, Progress, RunDirectory, StageFolder
from solon.stages import (
    ai_feedback,
    critique_revision,
    finetune,
    preference_model,
    prompts,
    reinforcement,
    response_pairs,
    responses,
)
from solon.stages.room import reserved_tokens
from solon.testbed.oracle import Oracle


def advance(run: RunDirectory, display: Display) -> None:
    """Do every stage of the run that is not finished; the caller holds the run's lock.

    Raises the kinds of SolonError that stages raise, and Interrupted when the run was asked to stop.
    """
    work = _Pipeline(run, display)
    asked = work.prompts()
    replies = work.responses(asked)
    revisions = work.critique_revision(replies)
    supervised = work.sl_cai(replies, revisions)
    pairs = work.response_pairs(asked, supervised)
    labels = work.ai_feedback(pairs)
    preferences = work.preference_model(labels)
    reinforced = work.rl_cai(asked, supervised, preferences)
    work.measure(asked, replies, revisions, labels, preferences, {SL_CAI: supervised.model, RL_CAI: reinforced.model})


@dataclass(slots=True)
class _Pipeline:
    """One session's way through a run; holds the one model that was asked last."""

    run: RunDirectory
    display: Display
    _loaded: tuple[Path, LocalEngine] | None = None
    _hashes: dict[Path, str] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    @property
    def assistant(self) -> Path:
        return model_path(self.recipe.models.assistant)

    @property
    def _rated(self) -> bool:
        """Whether a rater will know the truth; where none does, plain questions tell how far to trust the models."""
        return self.recipe.measure.rater is not Rater.NONE

    @property
    def pretrained(self) -> Path:
        return model_path(self.recipe.models.pretrained)

    def prompts(self) -> Artefact:
        settings, measured, constitution = self.recipe.prompts, self.recipe.measure, self.run.constitution
        files = {name: source_path(name) for name in (settings.red_team, settings.helpful)}
        files |= {name: source_path(name) for name in (measured.harmful, measured.benign)}

        engine = self.engine(self.assistant)
        inputs = prompts.PromptInputs(measured, reserved_tokens(self.recipe, constitution, engine))
        read = {name: self.hash(path) for name, path in files.items()}
        held_out = {"harmful": measured.harmful, "benign": measured.benign, "limit": measured.limit}
        key = {"files": read, "held_out": held_out, "reserved": {k.value: n for k, n in inputs.reserved.items()}}
        return self.stage(PROMPTS, settings, key, lambda out: prompts.run(settings, inputs, engine, out))

    def responses(self, asked: Artefact) -> Artefact:
        settings = self.recipe.responses
        inputs = responses.ResponseInputs(self.recipe.seed, asked, self.recipe.engine.batch)
        return self.stage(
            RESPONSES,
            settings,
            self.read(asked, assistant=self.assistant),
            lambda out: responses.run(settings, inputs, self.engine(self.assistant), out),
        )

    def critique_revision(self, replies: Artefact) -> Artefact:
        settings, critic = self.recipe.revision, self._model(self.recipe.models.critic)
        inputs = critique_revision.RevisionInputs(
            self.recipe.seed,
            self.run.constitution,
            replies,
            self.recipe.engine.batch,
            None if self._rated else fitness.assess_critic(settings, self.run.constitution, self.recipe.seed),
        )
        return self.stage(
            CRITIQUE_REVISION,
            settings,
            self.read(replies, critic=critic) | self._constitution(),
            lambda out: critique_revision.run(settings, inputs, self.engine(critic), out),
        )

    def sl_cai(self, replies: Artefact, revisions: Artefact) -> Artefact:
        settings = self.recipe.finetune
        inputs = finetune.FinetuneInputs(self.recipe.seed, self.pretrained, self.recipe.engine, revisions, replies)
        read = self.read(replies, revisions, pretrained=self.pretrained)
        return self.stage(SL_CAI, settings, read, lambda out: finetune.run(settings, inputs, out))

    def response_pairs(self, asked: Artefact, supervised: Artefact) -> Artefact:
        settings = self.recipe.pairs
        inputs = response_pairs.PairInputs(self.recipe.seed, asked, self.recipe.engine.batch)
        return self.stage(
            RESPONSE_PAIRS,
            settings,
            self.read(asked, supervised),
            lambda out: response_pairs.run(settings, inputs, self.engine(supervised.model), out),
        )

    def ai_feedback(self, pairs: Artefact) -> Artefact:
        settings, judge = self.recipe.feedback, self._model(self.recipe.models.feedback)
        inputs = ai_feedback.FeedbackInputs(
            self.recipe.seed,
            self.run.constitution,
            pairs,
            self.recipe.engine.batch,
            None if self._rated else fitness.assess_judge(settings, self.run.constitution, self.recipe.seed),
        )
        return self.stage(
            AI_FEEDBACK,
            settings,
            self.read(pairs, judge=judge) | self._constitution(),
            lambda out: ai_feedback.run(settings, inputs, self.engine(judge), out),
        )

    def preference_model(self, labels: Artefact) -> Artefact:
        settings = self.recipe.preference
        backbone = model_path(self.recipe.models.preference or self.recipe.models.pretrained)
        human = source_path(settings.human) if settings.human else None
        inputs = preference_model.PreferenceInputs(self.recipe.seed, backbone, self.recipe.engine, labels, human)
        read = self.read(labels, backbone=backbone, **({"human": human} if human else {}))
        return self.stage(PREFERENCE_MODEL, settings, read, lambda out: preference_model.run(settings, inputs, out))

    def rl_cai(self, asked: Artefact, supervised: Artefact, preferences: Artefact) -> Artefact:
        settings = self.recipe.rl
        inputs = reinforcement.ReinforcementInputs(
            self.recipe.seed, supervised.model, preferences.model, self.recipe.engine, asked
        )
        read = self.read(asked, supervised, preferences)
        return self.stage(RL_CAI, settings, read, lambda out: reinforcement.run(settings, inputs, out))

    def measure(
        self,
        asked: Artefact,
        replies: Artefact,
        revisions: Artefact,
        labels: Artefact,
        preferences: Artefact,
        trained: Mapping[str, Path],
    ) -> Artefact:
        settings = self.recipe.measure
        models = {"pretrained": self.pretrained, "assistant": self.assistant, **trained}
        rater: Rates | None = Oracle() if settings.rater is Rater.TESTBED else None

        def work(out: StageFolder) -> Artefact:
            inputs = measure.MeasureInputs(
                self.recipe.seed,
                tuple(models),
                asked,
                replies,
                revisions,
                labels,
                self._scorer(preferences.model),
                self.recipe.engine.batch,
            )
            return measure.run(settings, inputs, lambda name: self.engine(models[name]), out, rater)

        read = self.read(asked, replies, revisions, labels, preferences, **models)
        return self.stage(MEASURE, settings, read, work)

    def stage(
        self, name: str, settings: Settings, read: Mapping[str, object], work: Callable[[StageFolder], Artefact]
    ) -> Artefact:
        """The artefact of a stage: the finished one when its key is unchanged, else the stage is done now."""
        number = STAGES.index(name) + 1
        key = {"settings": settings.model_dump(mode="json"), "seed": self.recipe.seed, **read}
        finished = self.run.finished(name, key)
        if finished is not None:
            self.display.stage_kept(number, name, len(STAGES), finished.manifest.rows)
            return finished
        self.display.stage_started(number, name, len(STAGES))
        artefact = work(self.run.begin(number, name, key, self._report))
        manifest = artefact.manifest
        self.display.stage_finished(name, manifest.rows, manifest.outcomes, manifest.seconds)
        return artefact

    def engine(self, folder: Path) -> LocalEngine:
        """The model of a folder; the one that was asked last stays loaded, any other is let go."""
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = None
            self._loaded = (folder, LocalEngine.load(folder, self.recipe.engine))
        return self._loaded[1]

    def read(self, *artefacts: Artefact, **paths: Path) -> dict[str, object]:
        """The part of a key that tells what a stage reads: hashes of artefacts, models and files by name."""
        hashes: dict[str, object] = {artefact.name: artefact.hash for artefact in artefacts}
        return hashes | {name: self.hash(path) for name, path in paths.items()}

    def hash(self, path: Path) -> str:
        """The hash of a file, or of a model folder's configuration, tokenizer and weights; computed once a session."""
        if path not in self._hashes:
            self._hashes[path] = digest_source(path)
        return self._hashes[path]

    def _scorer(self, folder: Path) -> Callable[[Sequence[Conversation]], list[float]]:
        scorer = preference_model.load(folder, self.recipe.engine)
        return lambda conversations: [float(score) for score in scorer.score(conversations)]

    def _model(self, name: str | None) -> Path:
        return model_path(name) if name else self.assistant

    def _constitution(self) -> dict[str, object]:
        return {"constitution": self.run.constitution.hash}

    def _report(self, progress: Progress) -> None:
        note = ": ".join(part for part in (progress.phase, progress.note) if part)
        self.display.progress(progress.done, progress.total, note)
