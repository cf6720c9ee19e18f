"""Stage 07-preference-model: one model that scores replies, from AI and human comparisons (paper, section 4.1).

Harmlessness comes from the feedback model's soft labels, helpfulness from people's choices, certain by default.
Each pair goes through the model in one forward pass, and the score is read at the end token. Some prompts are held out:
on them accuracy and calibration are measured by source, and the mean score over their replies becomes the centre, which
reinforcement learning takes as zero. The folder is saved with a chat template that writes what is scored, and with
golden scores, so that any other program can be checked to read it as it was trained. What it was trained on is a table
of the stage, in which each pair leads to the label, or the line of a file, that it is made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from solon.config.builtin import model_path, source_path
from solon.config.recipe import EngineSettings, PairLayout, PreferenceSettings, Recipe, TrainingSettings
from solon.conversation import Conversation
from solon.digest import digest, seed_for
from solon.engines.tokens import PromptTokenizer
from solon.errors import StageError
from solon.feedback.preference_examples import (
    HUMAN,
    HUMAN_HARMLESSNESS,
    Labelled,
    PromptPart,
    Side,
    ai_labels,
    drawn_human,
    pair_examples,
)
from solon.feedback.soft_labels import on_axis
from solon.feedback.source_balance import human_factor, refuse_lone_weights
from solon.reward.conversation_scorer import CENTRE, ConversationScorer
from solon.reward.golden import ROWS, write_golden
from solon.reward.held_out_measures import centre_of, held_out_measures
from solon.reward.scored_text import ScoredText
from solon.reward.scorer import PreferenceScorer
from solon.runs import Artefact, StageFolder
from solon.runs.facts import PreferenceFacts, facts_record
from solon.runs.outcome import count_outcomes
from solon.runs.records import from_record
from solon.runs.rows import LabelRow, PromptKind, Rows, comparable, good
from solon.runs.table import write_table
from solon.runs.training_rows import EXAMPLES, PreferenceExampleRow, PreferenceStepRow
from solon.sources.comparison_files import read_all_comparisons
from solon.stages.plan import HELD_OUT_MODEL, in_round, labels_of, trains_held_out_model
from solon.stages.questions import TrainingSizes, TrainingTokens
from solon.stages.s05_response_pairs import paired_kinds
from solon.stages.stage import JoinedRows, Stage, StageDependencies, Work
from solon.stages.warm_start import reads_with, warm_start_of
from solon.training.batches import PairExample
from solon.training.distributed.sharded import scalar_model, unshard
from solon.training.encoding import Encoding
from solon.training.forward import ScalarModel
from solon.training.learner import EPSILON, Learner
from solon.training.loop import is_held_out, padding_share, session_in, train
from solon.training.models import (
    Trainable,
    arithmetic,
    ensure_pad,
    grow_preference_model,
    load_preference_model,
    load_tokenizer,
    save_model,
    storage_precision,
    trainable_parameters,
    unwrap_adapter,
    window_of,
    with_adapter,
)
from solon.training.objectives import PreferenceObjective, SharedPrefixObjective
from solon.training.out_of_memory import within_memory
from solon.training.shared_prefix import as_one_row, refuse_other_scores


@dataclass(frozen=True, slots=True)
class PreferenceInputs:
    """The run's seed, the model to grow from, how prompts are shown, the AI labels (06), and human comparisons.

    `human` is a file of comparisons of helpfulness, `human_harmlessness` one of harmlessness; `part` is what of all is
    learned where a second model learns the rest, all of them when None. `start` is the folder of a preference model
    to go on from, head included, in place of a fresh one.
    """

    seed: int
    base: Path
    engine: EngineSettings
    feedback: Rows[LabelRow]
    human: Path | None = None
    human_harmlessness: Path | None = None
    part: PromptPart | None = None
    start: Path | None = None


def run(settings: PreferenceSettings, inputs: PreferenceInputs, out: StageFolder) -> Artefact:
    """Train on soft labels and human choices, measure on held-out prompts, save model and centre, publish."""
    refuse_lone_weights(settings)
    tuning = settings.training
    tokenizer = load_tokenizer(inputs.base)
    files = {HUMAN: inputs.human, HUMAN_HARMLESSNESS: inputs.human_harmlessness}
    brought = {source: file for source, file in files.items() if file and settings.human_weight}
    people = read_all_comparisons(brought, settings.columns)
    rows = inputs.feedback.rows(LabelRow)
    if settings.axis is not None:
        rows = on_axis(rows, settings.axis, inputs.seed)
    labelled = ai_labels(rows, settings.labels, settings.least_margin)
    near_even = len(ai_labels(rows)) - len(labelled)
    for source, compared in people.items():
        labelled += drawn_human(compared.rows, settings.limit_human, inputs.seed, source, settings.human_certainty)
    if (part := inputs.part) is not None:
        labelled = [pair for pair in labelled if part.holds(pair.row_id, inputs.seed)]

    def fresh() -> Trainable:
        return with_adapter(_grown(inputs, tokenizer, tuning), tuning.lora, inputs.seed)

    memory = within_memory("preference.training.micro_batch_tokens", tuning.micro_batch_tokens)
    with arithmetic(inputs.engine), memory:
        adapted = fresh()
        texts = PromptTokenizer.of(tokenizer, inputs.engine)
        encoding = Encoding(texts, window_of(unwrap_adapter(adapted), inputs.engine))
        share = tuning.held_out
        human_weight = settings.human_weight * human_factor(labelled, settings.balance)
        examples = pair_examples(labelled, encoding, human_weight, share, inputs.seed)
        held_out = [example.tokens for example in examples if example.held_out]
        training = [example.tokens for example in examples if not example.held_out]
        if not training:
            raise _nothing_to_learn(near_even)
        reading = scalar_model(adapted, out.processes, tuning.precision, tuning.activations)
        learner = Learner(
            trainable_parameters(adapted),
            clip=tuning.max_grad_norm,
            epsilon=EPSILON,
            weight_decay=tuning.weight_decay,
            processes=out.processes,
        )
        objective, rows_of = _objective(settings.pairs, reading, [*training, *held_out])
        learnt, watched = rows_of(training), rows_of(held_out)
        log = train(learner, objective, learnt, watched, tuning, inputs.seed, session_in(out))
        padding = padding_share(objective, learnt, tuning, inputs.seed)
        adapted = unshard(adapted, fresh, out.processes)
        if out.follows:
            return out.follow()
        scorer = ConversationScorer(ScalarModel(adapted, precision=tuning.precision), encoding)
        measured = held_out_measures(scorer, held_out)
        centre = centre_of(scorer, held_out or training)
        setattr(unwrap_adapter(adapted).config, CENTRE, centre)
        form = ScoredText(texts)
        saved = ConversationScorer(save_model(adapted, texts, out.path / "model"), encoding)
        dialogues = _for_golden(labelled, share, inputs.seed)
        golden = write_golden(out.path / "model", PreferenceScorer(out.name, saved, form), dialogues, inputs.engine)
    write_table(out.path / EXAMPLES, [example.row() for example in examples], PreferenceExampleRow)
    steps = [_step_row(row, out.path) for row in log.rows]
    facts = PreferenceFacts(
        accuracy=measured.accuracy,
        brier=measured.brier,
        ece=measured.ece,
        centre=centre,
        centre_from="held_out" if held_out else "training",
        examples=dict(Counter(pair.source for pair in training)),
        held_out_examples=dict(Counter(pair.source for pair in held_out)),
        too_long=len(labelled) - len(examples),
        empty=len(good(rows)) - len(comparable(rows)),
        labels=count_outcomes(row.outcome for row in rows),
        human_skipped=dict(sum((compared.skipped for compared in people.values()), Counter[str]())),
        golden_scores=golden,
        steps=steps[-1].step,
        held_out_loss=steps[-1].held_out_loss,
        training_seconds=round(log.seconds, 3),
        near_even=near_even,
        padding=padding,
        held_out_decided=measured.decided,
    )
    return out.publish(steps, PreferenceStepRow, facts=facts_record(facts), files=["model", EXAMPLES])


RowsOf = Callable[[Sequence[PairExample]], Sequence[PairExample]]


def _objective(
    layout: PairLayout, reading: ScalarModel, examples: Sequence[PairExample]
) -> tuple[PreferenceObjective, RowsOf]:
    """What is minimised, and what makes its rows of examples; ModelError when the model cannot read such rows."""
    if layout is PairLayout.SEPARATE:
        return PreferenceObjective(reading), lambda pairs: pairs
    refuse_other_scores(reading, [as_one_row(pair) for pair in examples])
    return SharedPrefixObjective(reading), lambda pairs: [as_one_row(pair) for pair in pairs]


def summary(facts: Mapping[str, Any]) -> list[str]:
    """What of the human comparisons was left out, in words, from the stage's facts."""
    skipped: Mapping[str, int] = facts["human_skipped"]
    return [f"human comparisons skipped: {count:,} ({why})" for why, count in skipped.items()]


def _nothing_to_learn(near_even: int) -> StageError:
    if not near_even:
        return StageError("there is no labelled pair to train on", remedy="Look at the outcomes of ai-feedback")
    cause = f"there is no labelled pair to train on: {near_even} labels are nearer to one half than the least margin"
    return StageError(cause, place="preference.least_margin", remedy="Use --set preference.least_margin=0")


def _grown(inputs: PreferenceInputs, tokenizer: PreTrainedTokenizerBase, training: TrainingSettings) -> PreTrainedModel:
    """The model with a fresh head, or the one to go on from; the head of the held-out model is drawn apart."""
    apart = (inputs.part.side.value,) if inputs.part is not None and inputs.part.side is Side.HELD_OUT else ()
    head = seed_for(inputs.seed, "preference head", *apart)
    end = PromptTokenizer.of(tokenizer, inputs.engine).end
    stored = storage_precision(training.precision, training.lora)
    if inputs.start is not None:
        ensure_pad(tokenizer, end)
        return load_preference_model(inputs.start, inputs.engine, stored)
    return grow_preference_model(inputs.base, tokenizer, inputs.engine, head, end, stored)


def _for_golden(labelled: Sequence[Labelled], share: float, seed: int) -> list[Conversation]:
    """Both replies of drawn pairs, those of held-out prompts first; more than are kept, since some may be too long."""
    drawn = sorted(labelled, key=lambda each: _golden_rank(each, share, seed))[: 2 * ROWS]
    return [each.prompt.with_reply(reply) for each in drawn for reply in (each.chosen, each.rejected)]


def _golden_rank(each: Labelled, share: float, seed: int) -> tuple[bool, str]:
    return not is_held_out(each.row_id, share, seed), digest(each.row_id, (each.chosen, each.rejected))


def _step_row(row: Mapping[str, Any], folder: Path) -> PreferenceStepRow:
    """A step of the log, with the share of decided pairs that were ordered as labelled before the step."""
    accuracy = row["ordered"] / row["decided"] if row["decided"] else None
    return replace(from_record(PreferenceStepRow, row, str(folder)), accuracy=accuracy)


@dataclass(frozen=True)
class Preferences(Stage):
    """The stage as a run has it: it learns from the labels of all rounds so far and from people's comparisons."""

    side: ClassVar[Side] = Side.RUN

    section = "preference"

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        return labels_of(recipe, self.round)

    def reads(self, work: Work) -> StageDependencies:
        """The model to grow from, people's comparisons, and which part of all pairs is learned."""
        recipe = work.recipe
        part = self._part(recipe)
        more = {} if part is None else {"part": part.side.value, "held_out_share": part.share}
        reads = StageDependencies({"backbone": _backbone(recipe), **_human_files(recipe)}, more)
        return reads_with(warm_start_of(recipe, self.name), reads)

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe = work.recipe
        labels = JoinedRows([work.artefact(name) for name in self.inputs(recipe)])
        inputs = PreferenceInputs(
            recipe.seed, _backbone(recipe), recipe.engine, labels, **_human_files(recipe), part=self._part(recipe)
        )
        settings = recipe.preference
        if (start := warm_start_of(recipe, self.name)) is not None:
            settings = settings.model_copy(update={"training": start.training(settings.training)})
            inputs = replace(inputs, start=start.model())
        return run(settings, inputs, out)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        return summary(facts)

    def learns(self, recipe: Recipe, sizes: TrainingSizes) -> TrainingTokens:
        """Both replies of every pair of this side, with their prompts."""
        held_out = recipe.rl.held_out_share if trains_held_out_model(recipe) else None
        share = 1.0 if held_out is None else held_out if self.side is Side.HELD_OUT else 1 - held_out
        paired = [sizes.prompts[kind] for kind in paired_kinds(recipe)]
        rounds, helpful = len(self.inputs(recipe)), sizes.prompts[PromptKind.HELPFUL]
        labelled = rounds * recipe.pairs.per_prompt * sum(each.count * (each.mean + sizes.reply) for each in paired)
        people = sizes.human * (helpful.mean + sizes.reply)
        start = warm_start_of(recipe, self.name)
        epochs = recipe.preference.training.epochs * (start.share if start else 1)
        return TrainingTokens(2 * share * (labelled + people) * epochs)

    def _part(self, recipe: Recipe) -> PromptPart | None:
        share = recipe.rl.held_out_share if trains_held_out_model(recipe) else None
        return None if share is None else PromptPart(self.side, share)


@dataclass(frozen=True)
class HeldOutPreferences(Preferences):
    """The preference model that the policy does not learn from, where the recipe has one trained."""

    side: ClassVar[Side] = Side.HELD_OUT


def held_out_scorer(work: Work, number: int) -> Path | None:
    """The preference model that the policy of a round does not learn from: trained in the run, brought, or None."""
    if trains_held_out_model(work.recipe):
        return work.trained(in_round(HELD_OUT_MODEL, number))
    given = work.recipe.rl.held_out_scorer
    return model_path(given) if given else None


def _backbone(recipe: Recipe) -> Path:
    return model_path(recipe.models.preference or recipe.models.pretrained)


def _human_files(recipe: Recipe) -> dict[str, Path]:
    settings = recipe.preference
    files = {"human": settings.human_helpfulness, "human_harmlessness": settings.human_harmlessness}
    return {name: source_path(file) for name, file in files.items() if file}
