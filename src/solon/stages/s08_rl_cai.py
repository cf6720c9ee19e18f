"""Stage 08-rl-cai: reinforcement learning from AI feedback (paper, section 4.1).

The policy starts as the SL-CAI model and answers red-team and helpfulness prompts; the preference model scores its
replies, a KL penalty holds it near SL-CAI, and PPO raises the score. The reward is the preference model's score minus
its centre; a reply that ran into its token limit pays a penalty, because an unfinished text is no better for having
begun well. RLOO learns from the same rollouts without a value function; DPO has no rollouts and is in
`solon.stages.s08_dpo`. A run that a stopping rule ended early is published with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from solon.config.builtin import model_path
from solon.config.recipe import (
    Algorithm,
    EngineSettings,
    Kept,
    Method,
    NetworkSharing,
    Precision,
    Recipe,
    ReinforcementSettings,
    ValueFunction,
)
from solon.conversation import Conversation, Role
from solon.engines.registry import engine_of
from solon.errors import ModelError, StageError
from solon.reward.scorer import open_scorer
from solon.rl.policy_gradient import Environment, Score, TrainState, reinforce
from solon.rl.policy_sampler import PolicySampler, TrainingPrompt
from solon.rl.policy_snapshots import SNAPSHOTS, PolicySnapshots, steps_in
from solon.rl.reply_samples import METRICS, ReplySamples, metrics_session
from solon.rl.rl_models import Folders, RlModels, load_rl_models
from solon.rl.rollout import scores_by_share
from solon.rl.setting_checks import Scores, refuse_unusable, scorer_named
from solon.rl.stopping import signs
from solon.runs import Artefact, StageFolder
from solon.runs.facts import RlFacts
from solon.runs.processes import Processes
from solon.runs.records import from_record
from solon.runs.rows import TRAINING_KINDS, PromptRow, Rows, good_of
from solon.runs.training_rows import SAMPLES, RlStepRow
from solon.stages.plan import PREFERENCE_MODEL, SL_CAI, in_round, prompts_of
from solon.stages.questions import REPLY, DrawnPrompts, QuestionKind, TrainingSizes, TrainingTokens
from solon.stages.s07_preference_model import held_out_scorer
from solon.stages.stage import JoinedRows, Stage, StageDependencies, Work
from solon.stages.warm_start import reads_with, warm_start_of
from solon.training.encoding import Encoding
from solon.training.metrics import JsonLines
from solon.training.models import arithmetic, load_tokenizer, save_model, unwrap_adapter
from solon.training.out_of_memory import within_memory


@dataclass(frozen=True, slots=True)
class ReinforcementInputs:
    """The run's seed, the model to start from (04), the scorer (07), how prompts are shown, and the prompts (01).

    `held_out` is the folder of a preference model that the policy does not learn from; `backbone` that of the model
    from which SL-CAI and the preference model were trained, where they share it. `scorer` replaces the
    preference model: the folder of another one, or any function that gives centred scores of conversations. `start` is
    a model folder whose weights the policy begins with; the reference stays SL-CAI.
    """

    seed: int
    sl_cai: Path
    preference_model: Path
    engine: EngineSettings
    prompts: Rows[PromptRow]
    held_out: Path | None = None
    backbone: Path | None = None
    scorer: Path | Scores | None = None
    start: Path | None = None


def run(settings: ReinforcementSettings, inputs: ReinforcementInputs, out: StageFolder) -> Artefact:
    """Train the policy for the settings' steps, save it, publish the metrics."""
    refuse_unusable(settings)
    tokenizer = load_tokenizer(inputs.sl_cai)
    with arithmetic(inputs.engine), within_memory("rl.micro_batch_tokens", settings.micro_batch_tokens):
        folders = Folders(inputs.sl_cai, inputs.preference_model, inputs.backbone, inputs.start)
        models = load_rl_models(settings, folders, inputs.engine, inputs.seed, out.processes)
        actors, policy = models.networks, models.policy
        plain = unwrap_adapter(policy.model)
        engine = engine_of(plain, tokenizer, inputs.engine, name="policy", precision=settings.precision)
        encoding = Encoding(engine.tokens, min(engine.window, models.scorer.encoding.window))
        questions, counts = _questions(settings, inputs, encoding)
        known = {question.row_id: question.conversation for kind in questions for question in kind}
        snapshots = PolicySnapshots(out.path / SNAPSHOTS, policy.model, engine.tokens)

        def keep(step: int) -> None:
            policy.refresh()
            if not out.follows:
                snapshots.keep(step)

        samples = ReplySamples(JsonLines(out.path / SAMPLES), settings, known)
        environment = Environment(
            sample=PolicySampler(engine, questions, settings, inputs.seed, policy.refresh, out.processes).sample,
            score=_score(_learned_from(inputs, models, encoding.window, settings.precision), known, out.processes),
            held_out=_score(
                _centred(inputs.held_out, inputs, encoding.window, settings.precision), known, out.processes
            )
            if inputs.held_out
            else None,
            on_rollout=None if out.follows else samples.on_rollout,
            snapshot=keep,
        )
        with metrics_session(out, settings, samples, snapshots) as session:
            state = reinforce(actors, environment, settings, inputs.seed, session)
        policy.refresh()
        if out.follows:
            return out.follow()
        save_model(policy.model, engine.tokens, out.path / "model")
    rows = [from_record(RlStepRow, row, str(out.path)) for row in state.log.rows]
    last = rows[-1]
    kept = steps_in(out.path / SNAPSHOTS)
    facts = RlFacts(
        prompts=counts.by_kind,
        too_long=counts.too_long,
        algorithm=settings.algorithm.value,
        steps=state.step,
        steps_asked=settings.steps,
        stopped_because=state.stopped_because,
        kept_step=state.kept_step,
        warning=_warning(state, settings),
        signs=tuple(signs(state.log.rows)),
        snapshots=tuple(kept) or None,
        centre=actors.centre,
        seconds={name: round(value, 3) for name, value in state.stopwatch.seconds.items()},
        score=last.score,
        held_out_score=last.held_out_score,
        kl=last.kl,
        length=last.length,
        unfinished=last.unfinished,
        empty=last.empty,
    )
    files = ["model", METRICS, SAMPLES, *([SNAPSHOTS] if kept else [])]
    return out.publish(rows, RlStepRow, facts=facts.record(), files=files)


def _warning(state: TrainState, settings: ReinforcementSettings) -> str | None:
    """A warning about a policy that is published although a rule stopped it."""
    if state.stopped_because is None or settings.keep is Kept.BEST:
        return None
    distance = state.log.rows[-1]["kl"]
    return (
        f"The published policy is the one that was stopped, {distance:.1f} nats per reply from SL-CAI (rl.keep=last). "
        "To publish the best one: solon run NEW --reuse RUN --set rl.keep=best"
    )


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """The training prompts by kind, and how many leave too few tokens for a whole reply."""

    by_kind: Mapping[str, int]
    too_long: int


def _questions(
    settings: ReinforcementSettings, inputs: ReinforcementInputs, encoding: Encoding
) -> tuple[list[list[TrainingPrompt]], PromptCounts]:
    """The training prompts by kind, and their numbers, without those that leave too few tokens for a whole reply."""
    rows = good_of(inputs.prompts.rows(PromptRow), *TRAINING_KINDS)
    made = [
        TrainingPrompt(row.row_id, row.kind, row.prompt, tokens)
        for row, tokens in zip(rows, encoding.prompts([row.prompt for row in rows]), strict=True)
    ]
    most = encoding.window - settings.sampling.max_tokens - encoding.frame
    fitting = [question for question in made if len(question.tokens) <= most]
    if not fitting:
        raise StageError(
            f"no prompt leaves {settings.sampling.max_tokens} tokens free in a window of {encoding.window}",
            remedy="Use --set rl.sampling.max_tokens=N with a smaller N",
        )
    by_kind = [[question for question in fitting if question.kind is kind] for kind in TRAINING_KINDS]
    counts = {kind.value: len(found) for kind, found in zip(TRAINING_KINDS, by_kind, strict=True)}
    return by_kind, PromptCounts(counts, len(made) - len(fitting))


def _learned_from(inputs: ReinforcementInputs, models: RlModels, window: int, precision: Precision) -> Scores:
    """The centred scores that the policy learns from: the run's preference model's, or those of `inputs.scorer`."""
    if isinstance(inputs.scorer, Path):
        return _centred(inputs.scorer, inputs, window, precision)
    return models.scorer.centred if inputs.scorer is None else inputs.scorer


def _centred(folder: Path, inputs: ReinforcementInputs, window: int, precision: Precision) -> Scores:
    """The centred scores of another preference model; ModelError when it reads less than the policy's replies need."""
    scorer = open_scorer(folder, inputs.engine, precision).model
    if scorer.encoding.window < window:
        raise ModelError(
            f"the preference model reads {scorer.encoding.window} tokens, the policy's replies need {window}",
            place=str(folder),
            remedy=f"Use --set engine.window={scorer.encoding.window}",
        )
    return scorer.centred


def _score(scores: Scores, known: Mapping[str, Conversation], processes: Processes) -> Score:
    """Scores of replies, each computed by one of the processes."""
    return lambda replies: scores_by_share(
        processes,
        replies,
        lambda some: torch.tensor(scores([known[reply.row_id].with_reply(reply.text) for reply in some])),
    )


READS = 2
"""Times that a rollout is read and not learned from, by preference model and reference; a value model reads it too."""


@dataclass(frozen=True)
class Reinforcement(Stage):
    """The stage as a run has it: the policy starts from SL-CAI, by method rlhf from a model of the recipe."""

    section = "rl"

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        supervised = () if recipe.method is Method.RLHF else (SL_CAI,)
        return *prompts_of(recipe, self.round), *supervised, in_round(PREFERENCE_MODEL, self.round)

    def reads(self, work: Work) -> StageDependencies:
        """The models that the policy starts from, is watched by, shares its layers with or is scored by."""
        recipe = work.recipe
        scorer = scorer_named(recipe.rl.scorer)
        paths = {
            "held_out": held_out_scorer(work, self.round),
            "backbone": _backbone(work),
            "scorer": scorer if isinstance(scorer, Path) else None,
            "start": start_of(work) if recipe.method is Method.RLHF else None,
        }
        reads = StageDependencies({name: path for name, path in paths.items() if path is not None})
        return reads_with(warm_start_of(recipe, self.name), reads)

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe, earlier = work.recipe, warm_start_of(work.recipe, self.name)
        start = None if earlier is None else earlier.model()
        preferences = work.trained(in_round(PREFERENCE_MODEL, self.round))
        inputs = ReinforcementInputs(
            recipe.seed,
            start_of(work),
            preferences,
            recipe.engine,
            JoinedRows([work.artefact(name) for name in prompts_of(recipe, self.round)]),
            held_out_scorer(work, self.round),
            _backbone(work),
            scorer_named(recipe.rl.scorer),
            start,
        )
        return run(self._settings(recipe), inputs, out)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        """Why it stopped early, which policy it kept, and signs of trouble."""
        lines = list(facts.get("signs", ()))
        if why := facts.get("stopped_because"):
            warning = f". {facts['warning']}" if facts.get("warning") else ""
            lines.insert(0, f"stopped after step {facts['steps']} of {facts['steps_asked']}: {why}{warning}")
        if facts.get("kept_step") != facts.get("steps") and "kept_step" in facts:
            lines.append(f"the policy of step {facts['kept_step']}, the best one, is kept (rl.keep)")
        if steps := facts.get("snapshots"):
            lines.append(f"{len(steps)} snapshots of the policy are kept; measure them with: solon snapshots RUN")
        return lines

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """The rollouts: prompts drawn by the recipe's shares; the assistant stands in for the policy that answers."""
        share, most = recipe.rl.red_team_share, recipe.rl.sampling.max_tokens
        drawn = DrawnPrompts(_rollouts(self._settings(recipe)), (share, 1 - share))
        rollouts = QuestionKind(
            REPLY,
            "replies",
            Role.ASSISTANT,
            recipe.models.assistant,
            TRAINING_KINDS,
            0,
            most,
            drawn=drawn,
            own_share=0.0,
        )
        return (rollouts,)

    def learns(self, recipe: Recipe, sizes: TrainingSizes) -> TrainingTokens:
        """Every rollout with its prompt."""
        means = [sizes.prompts[kind].mean for kind in TRAINING_KINDS]
        rl = self._settings(recipe)
        rolled = _rollouts(rl) * (sum(means) / len(means) + sizes.reply)
        value_models = int(rl.algorithm is Algorithm.PPO and rl.value_function is ValueFunction.SEPARATE)
        return TrainingTokens(rolled * rl.epochs, rolled * (READS + value_models), 1 + value_models)

    def _settings(self, recipe: Recipe) -> ReinforcementSettings:
        """The recipe's, with fewer steps where the policy goes on from an earlier one."""
        start = warm_start_of(recipe, self.name)
        return recipe.rl if start is None else start.reinforcement(recipe.rl)


def start_of(work: Work) -> Path:
    """The folder of the model that a policy starts from and is held near."""
    recipe = work.recipe
    if recipe.method is Method.RLHF:
        return model_path(recipe.models.policy or recipe.models.pretrained)
    return work.trained(SL_CAI)


def _backbone(work: Work) -> Path | None:
    return work.pretrained if work.recipe.rl.networks is NetworkSharing.SHARED else None


def _rollouts(rl: ReinforcementSettings) -> int:
    """Replies that the policy writes while it learns."""
    return rl.steps * rl.prompts_per_step * rl.samples_per_prompt
