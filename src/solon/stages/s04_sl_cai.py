"""Stage 04-sl-cai: finetune the pretrained model on its constitutional revisions (paper, section 3.1 and 3.2).

The examples are the good revisions, of all steps, of the first n (SL-CAI-n) or of the last good one, and the
assistant's own good replies to helpfulness prompts, so that the model stays helpful: all of them, or as many for each
revision as the recipe says. Prompts are rendered as the engine renders them; only the reply and its end token have a
loss. Some prompts are held out, with all that was written to them, to detect overfitting. The examples are a table of
the stage, each with the row and the principle that it is made of.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from solon.config.recipe import EngineSettings, FinetuneSettings, Recipe, RevisionsUsed
from solon.digest import seed_for
from solon.engines.tokens import PromptTokenizer
from solon.errors import RecipeError, StageError
from solon.runs import Artefact, StageFolder
from solon.runs.facts import SftFacts, facts_record
from solon.runs.records import from_record
from solon.runs.rows import PromptKind, ReplyRow, RevisionRow, good, good_of
from solon.runs.table import write_table
from solon.runs.training_rows import EXAMPLES, SftExampleRow, TrainingStepRow
from solon.stages.plan import CRITIQUE_REVISION, RESPONSES
from solon.stages.questions import TrainingSizes, TrainingTokens
from solon.stages.stage import Stage, StageDependencies, Work
from solon.stages.warm_start import reads_with, warm_start_of
from solon.training.batches import CompletionExample
from solon.training.distributed.sharded import token_model, unshard
from solon.training.encoding import Encoding
from solon.training.learner import EPSILON, Learner
from solon.training.loop import is_held_out, mean_loss, padding_share, session_in, train
from solon.training.models import (
    Trainable,
    arithmetic,
    load_causal_lm,
    load_tokenizer,
    save_model,
    storage_precision,
    trainable_parameters,
    unwrap_adapter,
    window_of,
    with_adapter,
)
from solon.training.objectives import CompletionObjective
from solon.training.out_of_memory import within_memory

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FinetuneInputs:
    """The run's seed, the model to start from, how prompts are shown, the revisions (03) and the replies (02).

    `start` is a model folder whose weights replace those of `pretrained`.
    """

    seed: int
    pretrained: Path
    engine: EngineSettings
    revisions: Artefact
    responses: Artefact
    start: Path | None = None


def run(settings: FinetuneSettings, inputs: FinetuneInputs, out: StageFolder) -> Artefact:
    """Train on revisions and helpful replies, save the model, publish the metrics."""
    training = settings.training
    tokenizer = load_tokenizer(inputs.pretrained)
    rows, mixture = chosen_rows(
        inputs.revisions.rows(RevisionRow), inputs.responses.rows(ReplyRow), settings, inputs.seed
    )

    def fresh() -> Trainable:
        stored = storage_precision(training.precision, training.lora)
        weights = inputs.start or inputs.pretrained
        return with_adapter(load_causal_lm(weights, inputs.engine, stored), training.lora, inputs.seed)

    with (
        arithmetic(inputs.engine),
        within_memory("finetune.training.micro_batch_tokens", training.micro_batch_tokens),
    ):
        adapted = fresh()
        texts = PromptTokenizer.of(tokenizer, inputs.engine)
        encoding = Encoding(texts, window_of(unwrap_adapter(adapted), inputs.engine))
        chosen = _examples(rows, encoding, inputs.seed, training.held_out)
        examples, held_out = _tokens(chosen, held_out=False), _tokens(chosen, held_out=True)
        reading = token_model(adapted, out.processes, training.precision, training.activations)
        learner = Learner(
            trainable_parameters(adapted),
            clip=training.max_grad_norm,
            epsilon=EPSILON,
            weight_decay=training.weight_decay,
            processes=out.processes,
        )
        objective = CompletionObjective(reading)
        before = mean_loss(objective, held_out, training.micro_batch_tokens, out.processes)
        log = train(learner, objective, examples, held_out, training, inputs.seed, session_in(out))
        adapted = unshard(adapted, fresh, out.processes)
        if out.follows:
            return out.follow()
        save_model(adapted, texts, out.path / "model")
    write_table(out.path / EXAMPLES, [each.row() for each in chosen], SftExampleRow)
    steps = [from_record(TrainingStepRow, row, str(out.path)) for row in log.rows]
    facts = SftFacts(
        revisions_by_step=mixture.revisions_by_step,
        helpful_ratio=mixture.helpful_ratio,
        examples=dict(Counter(each.source for each in chosen if not each.held_out)),
        held_out_examples=len(held_out),
        too_long=len(rows) - len(chosen),
        tokens_with_loss=sum(each.length - each.start for each in examples),
        held_out_loss_before=before,
        steps=steps[-1].step,
        loss=steps[-1].loss,
        held_out_loss=steps[-1].held_out_loss,
        training_seconds=round(log.seconds, 3),
        padding=padding_share(objective, examples, training, inputs.seed),
    )
    return out.publish(steps, TrainingStepRow, facts=facts_record(facts), files=["model", EXAMPLES])


def refuse_missing_steps(settings: FinetuneSettings, steps: int) -> None:
    """Raises RecipeError when SL-CAI is to be trained on the first n steps of fewer, before any of them is written."""
    if isinstance(settings.revisions, int) and settings.revisions > steps:
        raise RecipeError(
            f"the first {settings.revisions} revisions are asked for, but there are {steps} steps",
            place="finetune.revisions",
            remedy=f"Use --set finetune.revisions={steps}, or --set revision.steps={settings.revisions}",
        )


@dataclass(frozen=True, slots=True)
class SftExample:
    """An example with the row that it is made of, and whether it is held out."""

    of: RevisionRow | ReplyRow
    tokens: CompletionExample
    held_out: bool

    @property
    def source(self) -> str:
        """What it is: one of the revisions, or a helpful reply."""
        return "revisions" if isinstance(self.of, RevisionRow) else "helpful"

    def row(self) -> SftExampleRow:
        """The example as its table holds it."""
        revision = self.of if isinstance(self.of, RevisionRow) else None
        return SftExampleRow(
            row_id=self.of.row_id,
            stage="critique-revision" if revision else "responses",
            step=revision.step if revision else None,
            sample=self.of.sample if isinstance(self.of, ReplyRow) else None,
            principle_id=revision.principle_id if revision else None,
            prompt=self.of.prompt,
            completion=self.of.completion,
            weight=1.0,
            held_out=self.held_out,
            tokens=self.tokens.length,
        )


@dataclass(frozen=True, slots=True)
class Mixture:
    """How many revisions of each step are trained on, and how many helpful replies for each revision."""

    revisions_by_step: Mapping[str, int]
    helpful_ratio: float


def chosen_rows(
    revisions: Sequence[RevisionRow], responses: Sequence[ReplyRow], settings: FinetuneSettings, seed: int
) -> tuple[list[RevisionRow | ReplyRow], Mixture]:
    """What is trained on, and the mixture: good revisions, and good replies to helpfulness prompts.

    With `last`, each prompt gives its last good revision, or nothing when all of them failed. Raises StageError when no
    revision has the outcome ok.
    """
    used = sorted(good(revisions), key=lambda row: (row.row_id, row.step))
    if settings.revisions is RevisionsUsed.LAST:
        used = list({row.row_id: row for row in used}.values())
    elif isinstance(settings.revisions, int):
        used = [row for row in used if row.step <= settings.revisions]
    if not used:
        raise StageError("no revision has the outcome ok", remedy="Look at the outcomes: solon report RUN")
    helpful = good_of(responses, PromptKind.HELPFUL)
    if settings.helpful_ratio is not None:
        helpful = _drawn(helpful, round(settings.helpful_ratio * len(used)), seed)
    mixture = Mixture(dict(sorted(Counter(str(row.step) for row in used).items())), round(len(helpful) / len(used), 4))
    return [*used, *helpful], mixture


def _drawn(helpful: Sequence[ReplyRow], number: int, seed: int) -> list[ReplyRow]:
    """`number` of the replies in their order, drawn by seed and row, so that a larger number only adds."""
    if number > len(helpful):
        _log.warning(
            "finetune.helpful_ratio asks for %d replies to helpfulness prompts, but %d came out well; all are used. "
            "Raise prompts.limit_helpful or responses.helpful_samples in a new run",
            number,
            len(helpful),
        )
    keys = [seed_for(seed, "helpful mixture", row.row_id, row.sample) for row in helpful]
    drawn = set(sorted(range(len(helpful)), key=keys.__getitem__)[:number])
    return [row for index, row in enumerate(helpful) if index in drawn]


def _examples(
    chosen: Sequence[RevisionRow | ReplyRow], encoding: Encoding, seed: int, share: float
) -> list[SftExample]:
    """The examples that fit the window; raises StageError when none of them is left to train on."""
    made = encoding.examples([(row.row_id, row.prompt, row.completion) for row in chosen])
    fitting = [
        SftExample(row, tokens, is_held_out(row.row_id, share, seed))
        for row, tokens in zip(chosen, made, strict=True)
        if encoding.fits(tokens.token_ids)
    ]
    if all(each.held_out for each in fitting):
        raise StageError("every example is held out or too long", remedy="Give more prompts, or a longer window")
    return fitting


def _tokens(examples: Sequence[SftExample], *, held_out: bool) -> list[CompletionExample]:
    return [each.tokens for each in examples if each.held_out is held_out]


@dataclass(frozen=True)
class SlCai(Stage):
    """The stage as a run has it."""

    section = "finetune"
    needs = RESPONSES, CRITIQUE_REVISION

    def reads(self, work: Work) -> StageDependencies:
        return reads_with(warm_start_of(work.recipe, self.name), StageDependencies({"pretrained": work.pretrained}))

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe = work.recipe
        revisions, responses = work.artefact(CRITIQUE_REVISION), work.artefact(RESPONSES)
        settings = recipe.finetune
        inputs = FinetuneInputs(recipe.seed, work.pretrained, recipe.engine, revisions, responses)
        if (start := warm_start_of(recipe, self.name)) is not None:
            settings = settings.model_copy(update={"training": start.training(settings.training)})
            inputs = replace(inputs, start=start.model())
        return run(settings, inputs, out)

    def learns(self, recipe: Recipe, sizes: TrainingSizes) -> TrainingTokens:
        """Revisions and sampled replies, each with its prompt, as if every one came out well."""
        red, helpful = sizes.prompts[PromptKind.RED_TEAM], sizes.prompts[PromptKind.HELPFUL]
        revisions = red.count * _revisions_used(recipe)
        samples = helpful.count * recipe.responses.helpful_samples
        if recipe.finetune.helpful_ratio is not None:
            samples = min(samples, round(recipe.finetune.helpful_ratio * revisions))
        tokens = revisions * (red.mean + sizes.reply) + samples * (helpful.mean + sizes.reply)
        start = warm_start_of(recipe, self.name)
        return TrainingTokens(tokens * recipe.finetune.training.epochs * (start.share if start else 1))


def _revisions_used(recipe: Recipe) -> int:
    """Revisions of each prompt that are learned from, at most."""
    used = recipe.finetune.revisions
    if isinstance(used, int):
        return used
    return recipe.revision.steps if used is RevisionsUsed.ALL else 1
