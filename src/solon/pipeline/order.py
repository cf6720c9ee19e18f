"""The method from end to end: which stage runs when, on which inputs, with which model.

`advance` goes through the stages in the paper's order and runs those that are not finished, so that a new, a resumed
and a finished run take the same path. `solon.pipeline.session` runs one stage, or finds it finished. The testbed
meets a run here: the measure stage gets its oracle, and the judge check gets questions from its world.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from solon.config.builtin import model_path, source_path
from solon.config.model_parts import naming_parts
from solon.config.recipe import Algorithm, GraderName, Method, NetworkSharing, Recipe
from solon.engines.base import Engine
from solon.engines.local.engine import LocalEngine
from solon.errors import RecipeError
from solon.evals import judge_check
from solon.evals.grading import Grader
from solon.evals.results import (
    AI_FEEDBACK,
    CRITIQUE_REVISION,
    HELD_OUT_MODEL,
    MEASURE,
    PREFERENCE_MODEL,
    PROMPTS,
    RESPONSE_PAIRS,
    RESPONSES,
    RLHF,
    SL_CAI,
    in_round,
    policies_of,
)
from solon.feedback import label_quality
from solon.feedback.comparison_questions import ComparisonPlan
from solon.pipeline.preflight import refuse_contradictions
from solon.pipeline.session import Session
from solon.pipeline.token_budget import reserved_tokens
from solon.runs import Artefact, Row, RunDirectory, StageFolder
from solon.runs.edits import DECIDABLE
from solon.runs.processes import SINGLE_PROCESS, Processes, Sharding
from solon.runs.progress import Display
from solon.sources.datasets_library import dataset_hash
from solon.sources.entries import located
from solon.sources.prompt_sources import sources
from solon.stages import (
    s01_prompts,
    s02_responses,
    s03_critique_revision,
    s04_sl_cai,
    s05_response_pairs,
    s06_ai_feedback,
    s07_preference_model,
    s08_dpo,
    s08_rl_cai,
    s09_measure,
)
from solon.stages.s07_preference_model import PromptPart, Side
from solon.testbed.judge_questions import critic_faults, judge_checker
from solon.testbed.oracle import Oracle


@dataclass(frozen=True, slots=True)
class LabelOverride:
    """Labels from elsewhere than a feedback model, for ablations that ask what other labels would do."""

    name: str
    label: Callable[[ComparisonPlan, s06_ai_feedback.FeedbackInputs, StageFolder], Artefact]


def advance(
    run: RunDirectory,
    display: Display,
    until: str = MEASURE,
    planted: LabelOverride | None = None,
    processes: Processes = SINGLE_PROCESS,
) -> None:
    """Do every stage of the run, up to the one named `until`, that is not finished; the caller holds the run's lock.

    Raises the kinds of SolonError that stages raise, and Interrupted when the run was asked to stop. Of several
    processes all call this, the main one holding the lock.
    """
    refuse_contradictions(run.recipe)
    if until in (*policies_of(run.recipe), MEASURE):
        _refuse_sharded(run, processes)
    with naming_parts(run.recipe), run.answers() as answers:
        for artefact in _in_order(Pipeline(run, display, answers, processes, planted=planted)):
            if artefact.name == until:
                return


def _refuse_sharded(run: RunDirectory, processes: Processes) -> None:
    """Raise RecipeError where FSDP is to shard a backbone that four networks share, before anything is spent."""
    rl = run.recipe.rl
    if (
        processes.sharding is Sharding.SHARDED
        and rl.networks is NetworkSharing.SHARED
        and rl.algorithm is not Algorithm.DPO
    ):
        raise RecipeError(
            "FSDP shards every network by itself, and rl.networks=shared has one backbone for all of them",
            place="rl.networks",
            remedy="Use --set rl.networks=separate, or go on without FSDP (--multi_gpu)",
        )


def _in_order(work: Pipeline) -> Iterator[Artefact]:
    """The stages, each done when the next artefact is asked for."""
    yield (asked := work.prompts())
    if work.recipe.method is Method.RLHF:
        yield from _by_people(work, asked)
    else:
        yield from _by_principles(work, asked)


def _by_people(work: Pipeline, asked: Artefact) -> Iterator[Artefact]:
    """The baselines: a preference model of human comparisons alone, and a policy that learns from it."""
    yield (preferences := work.preference_model(()))
    yield (policy := work.reinforcement(RLHF, asked, work.start, preferences, work.held_out(())))
    yield work.measure(asked, preferences, {RLHF: policy.model})


def _by_principles(work: Pipeline, asked: Artefact) -> Iterator[Artefact]:
    """The paper's own method; every further round draws its pairs from the policy before (Bai et al. 2022a, 4.5).

    The preference model of a round grows afresh from the labels of all rounds so far, and its policy from SL-CAI.
    """
    yield (replies := work.responses(asked))
    yield (revisions := work.critique_revision(replies))
    yield (supervised := work.sl_cai(replies, revisions))
    policy, labels, trained = supervised, list[Artefact](), {SL_CAI: supervised.model}
    for number, name in enumerate(policies_of(work.recipe), start=1):
        yield (pairs := work.response_pairs(asked, policy, number))
        yield (labelled := work.ai_feedback(pairs, number))
        labels.append(labelled)
        yield (preferences := work.preference_model(labels, number))
        if work.recipe.rl.algorithm is Algorithm.DPO:
            yield (policy := work.direct_preference(name, supervised, labels))
        else:
            held_out = work.held_out(labels, number)
            yield (policy := work.reinforcement(name, asked, supervised, preferences, held_out))
        trained[name] = policy.model
    yield work.measure(asked, preferences, trained, Written(replies, revisions, tuple(labels)))


@dataclass(frozen=True, slots=True)
class AllRounds:
    """The labels of several rounds as one table."""

    rounds: Sequence[Artefact]

    def rows(self) -> list[Row]:
        """Those of the first round first."""
        return [row for labels in self.rounds for row in labels.rows()]


@dataclass(frozen=True, slots=True)
class Written:
    """What models wrote on the way to SL-CAI and RL-CAI: replies (02), revisions (03), and labels by round (06)."""

    replies: Artefact
    revisions: Artefact
    labels: tuple[Artefact, ...]


def grader_of(recipe: Recipe) -> Grader | None:
    """Who rates the replies of a run, if anybody does."""
    return Oracle() if recipe.measure.grader is GraderName.TESTBED else None


@dataclass(slots=True)
class Pipeline(Session):
    """One session's way through the stages of a run."""

    planted: LabelOverride | None = None

    @property
    def _rated(self) -> bool:
        """Whether a rater will know what revisions did; where none does, plain faults tell of the critic."""
        return self.recipe.measure.grader is not GraderName.NONE

    def prompts(self) -> Artefact:
        """Stage 01."""
        settings, measured, constitution = self.recipe.prompts, self.recipe.measure, self.run.constitution
        names = dict.fromkeys(name for source in sources(settings, measured) for name in source.names)
        read = {name: self._source_hash(name) for name in names}
        engine = self.engine(self.assistant)
        inputs = s01_prompts.PromptInputs(
            measured, reserved_tokens(self.recipe, constitution, engine, self.run.path / "constitution.yaml")
        )
        held_out = {"harmful": measured.harmful, "benign": measured.benign, "limit": measured.limit}
        reserved = {kind.value: count for kind, count in inputs.reserved.items()}
        # The assistant's tokenizer says which prompts are too long.
        key = {"files": read, "held_out": held_out, "reserved": reserved} | self.read(assistant=self.assistant)
        return self.stage(
            PROMPTS,
            settings,
            key,
            lambda out: s01_prompts.run(settings, inputs, engine, out),
            s01_prompts.summary,
            code=s01_prompts.CODE,
        )

    def responses(self, asked: Artefact) -> Artefact:
        """Stage 02."""
        settings = self.recipe.responses
        inputs = s02_responses.ResponseInputs(self.recipe.seed, asked, self.recipe.engine.batch_size)
        return self.stage(
            RESPONSES,
            settings,
            self.read(asked, assistant=self.assistant),
            lambda out: s02_responses.run(settings, inputs, self.engine(self.assistant), out),
            code=s02_responses.CODE,
        )

    def critique_revision(self, replies: Artefact) -> Artefact:
        """Stage 03."""
        settings, critic = self.recipe.revision, self.model(self.recipe.models.critic)
        reviser = self.model(self.recipe.models.reviser or self.recipe.models.critic)
        inputs = s03_critique_revision.RevisionInputs(
            self.recipe.seed,
            self.run.constitution,
            replies,
            self.recipe.engine.batch_size,
            None if self._rated else self._assess_critic,
        )
        another = {"reviser": reviser} if reviser != critic else {}

        def work(out: StageFolder) -> Artefact:
            # Critic and reviser take turns, so both stay loaded for the time of the stage.
            second = self.remembering(reviser, LocalEngine.load(reviser, self.recipe.engine)) if another else None
            return s03_critique_revision.run(settings, inputs, self.engine(critic), out, second)

        read = self.read(replies, critic=critic, **another) | self._constitution()
        if inputs.assess is not None:
            read |= self._judge_check()
        return self.stage(CRITIQUE_REVISION, settings, read, work, code=s03_critique_revision.CODE)

    def _assess_critic(self, critic: Engine, reviser: Engine) -> Mapping[str, Any]:
        faults = critic_faults(self.recipe, self.run.constitution)
        return judge_check.check_critic(self.recipe.revision, self.run.constitution, self.recipe.seed, faults)(
            critic, reviser
        )

    def sl_cai(self, replies: Artefact, revisions: Artefact) -> Artefact:
        """Stage 04."""
        settings = self.recipe.finetune
        inputs = s04_sl_cai.FinetuneInputs(self.recipe.seed, self.pretrained, self.recipe.engine, revisions, replies)
        read = self.read(replies, revisions, pretrained=self.pretrained)
        return self.stage(
            SL_CAI, settings, read, lambda out: s04_sl_cai.run(settings, inputs, out), code=s04_sl_cai.CODE
        )

    def response_pairs(self, asked: Artefact, policy: Artefact, number: int = 1) -> Artefact:
        """Stage 05, in round `number`: replies of SL-CAI, or of the policy of the round before."""
        settings = self.recipe.pairs
        inputs = s05_response_pairs.PairInputs(
            self.recipe.seed, asked, self.recipe.engine.batch_size, first=1 + (number - 1) * settings.per_prompt
        )
        return self.stage(
            in_round(RESPONSE_PAIRS, number),
            settings,
            self.read(asked, policy),
            lambda out: s05_response_pairs.run(settings, inputs, self.engine(policy.model), out),
            code=s05_response_pairs.CODE,
        )

    def ai_feedback(self, pairs: Artefact, number: int = 1) -> Artefact:
        """Stage 06, in round `number`."""
        name = in_round(AI_FEEDBACK, number)
        settings, judges = self.recipe.feedback, [self.model(judge) for judge in self.recipe.models.judges]
        inputs = s06_ai_feedback.FeedbackInputs(
            self.recipe.seed,
            self.run.constitution,
            pairs,
            self.recipe.engine.batch_size,
            judge_checker(
                self.recipe,
                self.run.constitution,
                f"solon run {shlex.quote(str(self.run.path))} --accept-weak-judge",
            ),
        )
        if planted := self.planted:
            questionnaire = ComparisonPlan.of(settings, self.run.constitution, self.recipe.seed)
            read = self.read(pairs) | self._constitution() | {"labels": planted.name}
            plant = partial(planted.label, questionnaire, inputs)
            return self.stage(name, settings, read, plant, code=s06_ai_feedback.CODE)
        named = {f"judge {n}" if n > 1 else "judge": judge for n, judge in enumerate(judges, start=1)}
        return self.stage(
            name,
            settings,
            self.read(pairs, **named) | self._constitution() | self._judge_check(),
            lambda out: s06_ai_feedback.run(settings, inputs, [partial(self.engine, judge) for judge in judges], out),
            label_quality.summary,
            code=s06_ai_feedback.CODE,
        )

    def preference_model(self, labels: Sequence[Artefact], number: int = 1, side: Side = Side.RUN) -> Artefact:
        """Stage 07, in round `number`: from the labels of all rounds so far and from people's comparisons.

        Beside it stands the held-out model, where the recipe has one trained.
        """
        settings, share = self.recipe.preference, self._held_out_share
        backbone = model_path(self.recipe.models.preference or self.recipe.models.pretrained)
        files = {"human": settings.human_helpfulness, "human_harmlessness": settings.human_harmlessness}
        people = {name: source_path(file) for name, file in files.items() if file}
        part = PromptPart(side, share) if share is not None else None
        inputs = s07_preference_model.PreferenceInputs(
            self.recipe.seed, backbone, self.recipe.engine, AllRounds(labels), **people, part=part
        )
        read = self.read(*labels, backbone=backbone, **people)
        if part is not None:
            read |= {"part": part.side.value, "held_out_share": part.share}
        name = in_round(HELD_OUT_MODEL if side is Side.HELD_OUT else PREFERENCE_MODEL, number)
        work = partial(s07_preference_model.run, settings, inputs)
        return self.stage(name, settings, read, work, s07_preference_model.summary, code=s07_preference_model.CODE)

    @property
    def _held_out_share(self) -> float | None:
        """The share of the labelled prompts that a second preference model learns; DPO has no use for one."""
        return None if self.recipe.rl.algorithm is Algorithm.DPO else self.recipe.rl.held_out_share

    def direct_preference(self, name: str, supervised: Artefact, labels: Sequence[Artefact]) -> Artefact:
        """Stage 08 by DPO: SL-CAI learns from the labelled pairs themselves."""
        settings, people = self.recipe.rl, self.recipe.preference
        human = (
            source_path(people.human_helpfulness) if people.human_helpfulness and settings.dpo.human_weight else None
        )
        inputs = s08_dpo.DirectInputs(
            self.recipe.seed,
            supervised.model,
            self.recipe.engine,
            AllRounds(labels),
            human,
            people.limit_human,
            people.columns,
        )
        read = self.read(supervised, *labels, **({"human": human} if human else {}))
        read |= {"limit_human": people.limit_human, "columns": people.columns}
        work = partial(s08_dpo.run, settings, inputs)
        return self.stage(name, settings, read, work, s07_preference_model.summary, code=s08_dpo.CODE)

    def held_out(self, labels: Sequence[Artefact], number: int = 1) -> Path | None:
        """The folder of a preference model that the policy does not learn from: trained now, or brought, or None."""
        given = self.recipe.rl.held_out_scorer
        if self._held_out_share is not None:
            return self.preference_model(labels, number, Side.HELD_OUT).model
        return model_path(given) if given else None

    def reinforcement(
        self, name: str, asked: Artefact, start: Artefact | Path, preferences: Artefact, held_out: Path | None
    ) -> Artefact:
        """Stage 08: rollouts of what begins as `start`, SL-CAI or a folder, scored by the preference model."""
        settings, engine = self.recipe.rl, self.recipe.engine
        scorer = s08_rl_cai.scorer_named(settings.scorer)
        backbone = self.pretrained if settings.networks is NetworkSharing.SHARED else None
        folder = start if isinstance(start, Path) else start.model
        inputs = s08_rl_cai.ReinforcementInputs(
            self.recipe.seed, folder, preferences.model, engine, asked, held_out, backbone, scorer
        )
        paths = {"held_out": held_out, "backbone": backbone, "scorer": scorer, "start": start}
        also = {name: path for name, path in paths.items() if isinstance(path, Path)}
        made = [asked, preferences] if isinstance(start, Path) else [asked, start, preferences]
        read = self.read(*made, **also)
        work = partial(s08_rl_cai.run, settings, inputs)
        return self.stage(name, settings, read, work, s08_rl_cai.summary, code=s08_rl_cai.CODE)

    def measure(
        self, asked: Artefact, preferences: Artefact, trained: Mapping[str, Path], written: Written | None = None
    ) -> Artefact:
        """The last stage; the preference model measured is that of the last round."""
        settings = self.recipe.measure
        models = {"pretrained": self.pretrained, "assistant": self.assistant, **trained}
        grader = grader_of(self.recipe)

        def work(out: StageFolder) -> Artefact:
            inputs = s09_measure.MeasureInputs(
                self.recipe.seed,
                tuple(models),
                asked,
                written.replies if written else None,
                written.revisions if written else None,
                AllRounds(written.labels) if written else None,
                self.scorer(preferences.model),
                self.recipe.engine.batch_size,
            )
            return s09_measure.run(settings, inputs, lambda name: self.engine(models[name]), out, grader)

        tables = (asked, written.replies, written.revisions, *written.labels) if written else (asked,)
        return self.stage(MEASURE, settings, self.read(*tables, preferences, **models), work, code=s09_measure.CODE)

    def _source_hash(self, name: str) -> str:
        """The hash of a source of prompts: of its file, or of a dataset's rows."""
        source = located(name)
        return self.hash(source) if isinstance(source, Path) else dataset_hash(source, self.recipe.prompts.columns)

    def _judge_check(self) -> dict[str, object]:
        """What critic and judge are measured on: their questions are kept in the same stage as what they wrote."""
        given = self.recipe.judge_check.model_dump(mode="json")
        asked = {name: value for name, value in given.items() if f"judge_check.{name}" not in DECIDABLE}
        return {"judge_check": {**asked, "grader": self.recipe.measure.grader.value}}

    def _constitution(self) -> dict[str, object]:
        return {"constitution": self.run.constitution.hash}
