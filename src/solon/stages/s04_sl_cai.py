"""Stage 04-sl-cai: finetune the pretrained model on its constitutional revisions (paper, section 3.1 and 3.2).

The examples are the revisions that came out well, of all steps, of the first n (SL-CAI-n) or of the last good one, and
the assistant's own good replies to helpfulness prompts, so that harmlessness is not learned at the price of help: all
of them, or as many for each revision as the recipe says. Prompts are shown as the engine shows them; only the reply and
its end token carry loss. Some prompts are held out, with all that was written to them, to tell when training begins to
learn by heart.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.config.recipe import EngineSettings, FinetuneSettings, Recipe, RevisionsUsed
from solon.digest import seed_for
from solon.engines.tokens import PromptTokenizer
from solon.errors import RecipeError, StageError
from solon.runs import Artefact, Row, StageFolder
from solon.runs.rows import TRAINING_METRICS, PromptKind, fit, prompt_in, reply_in
from solon.stages.questions import TrainingSizes, TrainingTokens
from solon.stages.registry import CRITIQUE_REVISION, RESPONSES
from solon.stages.stage import Reads, Stage, Work
from solon.training.batches import CompletionExample
from solon.training.distributed.sharded import put_together, token_model
from solon.training.encoding import Encoding
from solon.training.learner import EPSILON, Learner
from solon.training.loop import Log, is_held_out, mean_loss, session_in, train
from solon.training.models import (
    Trainable,
    arithmetic,
    inner,
    load_causal_lm,
    load_tokenizer,
    save_model,
    trainable_parameters,
    window_of,
    with_adapter,
)
from solon.training.objectives import CompletionObjective
from solon.training.out_of_memory import within_memory

CODE = 1
"""The version of this stage's code; raised with every change that makes other rows of the same inputs."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FinetuneInputs:
    """The run's seed, the model to start from, how prompts are shown, the revisions (03) and the replies (02)."""

    seed: int
    pretrained: Path
    engine: EngineSettings
    revisions: Artefact
    responses: Artefact


def run(settings: FinetuneSettings, inputs: FinetuneInputs, out: StageFolder) -> Artefact:
    """Train on revisions and helpful replies, save the model, publish the metrics."""
    tokenizer = load_tokenizer(inputs.pretrained)
    rows, mixture = chosen_rows(inputs.revisions.rows(), inputs.responses.rows(), settings, inputs.seed)

    def fresh() -> Trainable:
        model = load_causal_lm(inputs.pretrained, inputs.engine)
        return with_adapter(model, settings.training.lora, inputs.seed)

    with (
        arithmetic(inputs.engine),
        within_memory("finetune.training.micro_batch_tokens", settings.training.micro_batch_tokens),
    ):
        adapted = fresh()
        texts = PromptTokenizer.of(tokenizer, inputs.engine)
        encoding = Encoding(texts, window_of(inner(adapted), inputs.engine))
        examples, held_out, facts = _examples(rows, encoding, inputs.seed, settings.training.held_out)
        reading = token_model(adapted, out.processes)
        learner = Learner(
            trainable_parameters(adapted),
            clip=settings.training.max_grad_norm,
            epsilon=EPSILON,
            weight_decay=settings.training.weight_decay,
            processes=out.processes,
        )
        objective = CompletionObjective(reading)
        before = mean_loss(objective, held_out, settings.training.micro_batch_tokens, out.processes)
        log = train(
            learner,
            objective,
            examples,
            held_out,
            settings.training,
            inputs.seed,
            session_in(out),
        )
        adapted = put_together(adapted, fresh, out.processes)
        if out.follows:
            return out.follow()
        save_model(adapted, texts, out.path / "model")
    told = {**mixture, **facts, "held_out_loss_before": before, **_told(log)}
    return out.publish(log.rows, TRAINING_METRICS, facts=told, files=["model"])


def refuse_missing_steps(settings: FinetuneSettings, steps: int) -> None:
    """Raises RecipeError when SL-CAI is to be trained on the first n steps of fewer, before any of them is written."""
    if isinstance(settings.revisions, int) and settings.revisions > steps:
        raise RecipeError(
            f"the first {settings.revisions} revisions are asked for, but there are {steps} steps",
            place="finetune.revisions",
            remedy=f"Use --set finetune.revisions={steps}, or --set revision.steps={settings.revisions}",
        )


def chosen_rows(
    revisions: Sequence[Row], responses: Sequence[Row], settings: FinetuneSettings, seed: int
) -> tuple[list[tuple[str, Row]], dict[str, Any]]:
    """What is trained on, with its source, and the mixture: good revisions, and good replies to helpfulness prompts.

    With `last`, each prompt gives its last good revision; a prompt whose revisions all failed gives nothing. Raises
    StageError when no revision has the outcome ok.
    """
    good = sorted(fit(revisions), key=lambda row: (row["row_id"], row["step"]))
    if settings.revisions is RevisionsUsed.LAST:
        good = list({row["row_id"]: row for row in good}.values())
    elif isinstance(settings.revisions, int):
        good = [row for row in good if row["step"] <= settings.revisions]
    if not good:
        raise StageError("no revision has the outcome ok", remedy="Look at the outcomes: solon report RUN")
    helpful = fit(responses, PromptKind.HELPFUL)
    if settings.helpful_ratio is not None:
        helpful = _drawn(helpful, round(settings.helpful_ratio * len(good)), seed)
    mixture = {
        "revisions_by_step": dict(sorted(Counter(str(row["step"]) for row in good).items())),
        "helpful_ratio": round(len(helpful) / len(good), 4),
    }
    return [("revisions", row) for row in good] + [("helpful", row) for row in helpful], mixture


def _drawn(helpful: Sequence[Row], number: int, seed: int) -> list[Row]:
    """`number` of the replies in their order, drawn by seed and row, so that a larger number only adds."""
    if number > len(helpful):
        _log.warning(
            "finetune.helpful_ratio asks for %d replies to helpfulness prompts, but %d came out well; all are used. "
            "Raise prompts.limit_helpful or responses.helpful_samples in a new run",
            number,
            len(helpful),
        )
    keys = [seed_for(seed, "helpful mixture", row["row_id"], row["sample"]) for row in helpful]
    drawn = set(sorted(range(len(helpful)), key=keys.__getitem__)[:number])
    return [row for index, row in enumerate(helpful) if index in drawn]


def _examples(
    chosen: Sequence[tuple[str, Row]], encoding: Encoding, seed: int, share: float
) -> tuple[list[CompletionExample], list[CompletionExample], dict[str, Any]]:
    """Examples to train on, examples held out, and their numbers."""
    made = encoding.examples([(row["row_id"], prompt_in(row), reply_in(row)) for _, row in chosen])
    fitting = [
        (source, example) for (source, _), example in zip(chosen, made, strict=True) if encoding.fits(example.token_ids)
    ]
    training = [(source, each) for source, each in fitting if not is_held_out(each.row_id, share, seed)]
    held_out = [each for _, each in fitting if is_held_out(each.row_id, share, seed)]
    if not training:
        raise StageError("every example is held out or too long", remedy="Give more prompts, or a longer window")
    facts = {
        "examples": dict(Counter(source for source, _ in training)),
        "held_out_examples": len(held_out),
        "too_long": len(made) - len(fitting),
        "tokens_with_loss": sum(each.length - each.start for _, each in training),
    }
    return [each for _, each in training], held_out, facts


def _told(log: Log) -> dict[str, Any]:
    last = log.rows[-1]
    return {
        "steps": last["step"],
        "loss": last["loss"],
        "held_out_loss": last["held_out_loss"],
        "training_seconds": round(log.seconds, 3),
    }


@dataclass(frozen=True)
class SlCai(Stage):
    """The stage as a run has it."""

    code = CODE

    def settings(self, recipe: Recipe) -> FinetuneSettings:
        """See `Stage.settings`."""
        return recipe.finetune

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        """See `Stage.inputs`."""
        return RESPONSES, CRITIQUE_REVISION

    def reads(self, work: Work) -> Reads:
        """See `Stage.reads`."""
        return Reads({"pretrained": work.pretrained})

    def run(self, work: Work, out: StageFolder) -> Artefact:
        """See `Stage.run`."""
        recipe = work.recipe
        revisions, responses = work.artefact(CRITIQUE_REVISION), work.artefact(RESPONSES)
        inputs = FinetuneInputs(recipe.seed, work.pretrained, recipe.engine, revisions, responses)
        return run(recipe.finetune, inputs, out)

    def learns(self, recipe: Recipe, sizes: TrainingSizes) -> TrainingTokens:
        """Revisions and sampled replies, each with its prompt, as if every one came out well."""
        red, helpful = sizes.prompts[PromptKind.RED_TEAM], sizes.prompts[PromptKind.HELPFUL]
        revisions = red.count * _revisions_used(recipe)
        samples = helpful.count * recipe.responses.helpful_samples
        if recipe.finetune.helpful_ratio is not None:
            samples = min(samples, round(recipe.finetune.helpful_ratio * revisions))
        tokens = revisions * (red.mean + sizes.reply) + samples * (helpful.mean + sizes.reply)
        return TrainingTokens(tokens * recipe.finetune.training.epochs)


def _revisions_used(recipe: Recipe) -> int:
    """Revisions of each prompt that are learned from, at most."""
    used = recipe.finetune.revisions
    if isinstance(used, int):
        return used
    return recipe.revision.steps if used is RevisionsUsed.ALL else 1
