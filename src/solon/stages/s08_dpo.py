"""Stage 08-rl-cai where `rl.algorithm` is `dpo`: the policy learns from the labelled pairs themselves.

No replies are sampled and no preference model is asked. Each pair of the stage ai-feedback counts with its probability;
the preference model's human comparisons of helpfulness, which count as certain, may be mixed in. The same prompts are
held out as elsewhere. On them the stage measures how often the implied rewards order unseen pairs as labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from solon.config.builtin import source_path
from solon.config.recipe import Algorithm, EngineSettings, Recipe, ReinforcementSettings
from solon.engines.tokens import PromptTokenizer
from solon.errors import StageError
from solon.feedback.preference_examples import Labelled, ai_labels, drawn_human
from solon.rl.reply_samples import METRICS, metrics_session
from solon.runs import Artefact, StageFolder
from solon.runs.facts import DpoFacts, facts_record
from solon.runs.outcome import count_outcomes
from solon.runs.records import from_record
from solon.runs.rows import LabelRow, PromptKind, Rows, comparable, good
from solon.runs.training_rows import DpoStepRow
from solon.sources.comparison_files import Comparisons, read_all_comparisons
from solon.stages.plan import SL_CAI, labels_of
from solon.stages.questions import TrainingSizes, TrainingTokens
from solon.stages.s05_response_pairs import paired_kinds
from solon.stages.s07_preference_model import summary as human_summary
from solon.stages.stage import JoinedRows, Stage, StageDependencies, Work
from solon.training.batches import micro_batches
from solon.training.distributed.sharded import token_model, unshard
from solon.training.dpo import DirectObjective, DirectPair, with_reference
from solon.training.encoding import Encoding
from solon.training.forward import TokenModel
from solon.training.learner import EPSILON, Learner, on_host
from solon.training.loop import is_held_out, mean_loss, padding_share, train
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
from solon.training.out_of_memory import within_memory


@dataclass(frozen=True, slots=True)
class DirectInputs:
    """The run's seed, the model to start from and to be compared with (04), how prompts are shown, the labels (06).

    `human` is a file of comparisons, `limit_human` how many of them are drawn and `columns` what it calls columns, as
    for the preference model.
    """

    seed: int
    sl_cai: Path
    engine: EngineSettings
    feedback: Rows[LabelRow]
    human: Path | None = None
    limit_human: int | None = None
    columns: Mapping[str, str] | None = None


def run(settings: ReinforcementSettings, inputs: DirectInputs, out: StageFolder) -> Artefact:
    """Train the policy on labelled pairs, save it, publish the metrics."""
    training, weight = settings.dpo.training, settings.dpo.human_weight
    brought = {"human": inputs.human} if inputs.human and weight else {}
    human = read_all_comparisons(brought, inputs.columns).get("human", Comparisons())
    people = drawn_human(human.rows, inputs.limit_human, inputs.seed)
    tokenizer = load_tokenizer(inputs.sl_cai)
    rows = inputs.feedback.rows(LabelRow)

    def fresh() -> Trainable:
        adapter = training.lora or settings.lora
        stored = storage_precision(training.precision, adapter)
        return with_adapter(load_causal_lm(inputs.sl_cai, inputs.engine, stored), adapter, inputs.seed)

    memory = within_memory("rl.dpo.training.micro_batch_tokens", training.micro_batch_tokens)
    with arithmetic(inputs.engine), memory, metrics_session(out, settings) as session:
        adapted = fresh()
        texts = PromptTokenizer.of(tokenizer, inputs.engine)
        encoding = Encoding(texts, window_of(unwrap_adapter(adapted), inputs.engine))
        made = pairs_of(rows, people, weight, encoding)
        pairs = [pair for pair in made if encoding.fits(range(pair.length))]
        policy = token_model(adapted, out.processes, training.precision, training.activations)
        # An adapter begins as nothing, so this is the SL-CAI model; checkpoints are read only after it.
        pairs = with_reference(policy, pairs, training.micro_batch_tokens, out.processes)
        held_out = [pair for pair in pairs if is_held_out(pair.row_id, training.held_out, inputs.seed)]
        examples = [pair for pair in pairs if not is_held_out(pair.row_id, training.held_out, inputs.seed)]
        if not examples:
            raise StageError("there is no labelled pair to train on", remedy="Look at the outcomes of ai-feedback")
        learner = Learner(
            trainable_parameters(adapted),
            clip=training.max_grad_norm,
            epsilon=EPSILON,
            weight_decay=training.weight_decay,
            processes=out.processes,
        )
        objective = DirectObjective(policy, settings.dpo.beta)
        before = mean_loss(objective, held_out, training.micro_batch_tokens, out.processes)
        log = train(learner, objective, examples, held_out, training, inputs.seed, session)
        adapted = unshard(adapted, fresh, out.processes)
        if out.follows:
            return out.follow()
        padding = padding_share(objective, examples, training, inputs.seed)
        objective = DirectObjective(TokenModel(adapted, training.precision), settings.dpo.beta)
        ordered = accuracy(objective, held_out, training.micro_batch_tokens)
        save_model(adapted, texts, out.path / "model")
    steps = [_step_row(row, out.path) for row in log.rows]
    facts = DpoFacts(
        algorithm=Algorithm.DPO.value,
        steps=steps[-1].step,
        loss=steps[-1].loss,
        held_out_loss_before=before,
        held_out_loss=steps[-1].held_out_loss,
        held_out_accuracy=ordered,
        human=len(people),
        human_skipped=dict(human.skipped),
        examples=len(examples),
        held_out_examples=len(held_out),
        too_long=len(made) - len(pairs),
        empty=len(good(rows)) - len(comparable(rows)),
        labels=count_outcomes(row.outcome for row in rows),
        training_seconds=round(log.seconds, 3),
        padding=padding,
    )
    return out.publish(steps, DpoStepRow, facts=facts_record(facts), files=["model", METRICS])


def pairs_of(
    rows: Sequence[LabelRow], people: Sequence[Labelled], human_weight: float, encoding: Encoding
) -> list[DirectPair]:
    """The pairs with the outcome `ok`, then human comparisons, as token ids; see `Encoding.fits` for over-long ones.

    A pair with an empty reply is left out.
    """
    pairs = [*ai_labels(rows), *people]
    weights = [human_weight if each.label is None else 1.0 for each in pairs]
    chosen = encoding.examples([(each.row_id, each.prompt, each.chosen) for each in pairs])
    rejected = encoding.examples([(each.row_id, each.prompt, each.rejected) for each in pairs])
    return [
        DirectPair(each.row_id, one, other, each.p_chosen, weight)
        for each, one, other, weight in zip(pairs, chosen, rejected, weights, strict=True)
    ]


def accuracy(objective: DirectObjective, pairs: Sequence[DirectPair], micro_tokens: int) -> float | None:
    """The share of decided pairs that the implied rewards order as labelled; None without such pairs."""
    counted: list[float | torch.Tensor] = []
    with torch.no_grad():
        width, cost = objective.width, objective.pass_cost
        for part in micro_batches(pairs, lambda pair: pair.length, micro_tokens, width=width, cost=cost):
            _, counts = objective.loss(part)
            counted += [counts["decided"], counts["ordered"]]
    numbers = on_host(counted)
    decided, ordered = sum(numbers[::2]), sum(numbers[1::2])
    return ordered / decided if decided else None


def _step_row(row: Mapping[str, Any], folder: Path) -> DpoStepRow:
    """A step of the log, with accuracy and mean margin, both before the step."""
    accuracy = row["ordered"] / row["decided"] if row["decided"] else None
    return replace(from_record(DpoStepRow, row, str(folder)), accuracy=accuracy, margin=row["margin"] / row["rows"])


@dataclass(frozen=True)
class DirectPreference(Stage):
    """The stage as a run has it: SL-CAI learns from the labelled pairs of all rounds so far."""

    section = "rl"

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        return SL_CAI, *labels_of(recipe, self.round)

    def reads(self, work: Work) -> StageDependencies:
        """People's comparisons, and how they are read."""
        people, human = work.recipe.preference, _human_file(work.recipe)
        more = {"limit_human": people.limit_human, "columns": people.columns}
        return StageDependencies({"human": human} if human else {}, more)

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe = work.recipe
        people, labels = recipe.preference, JoinedRows([work.artefact(name) for name in self.inputs(recipe)[1:]])
        supervised, human = work.trained(SL_CAI), _human_file(recipe)
        inputs = DirectInputs(recipe.seed, supervised, recipe.engine, labels, human, people.limit_human, people.columns)
        return run(recipe.rl, inputs, out)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        return human_summary(facts)

    def learns(self, recipe: Recipe, sizes: TrainingSizes) -> TrainingTokens:
        """Both replies of every pair, with their prompts; the model to compare with reads them once."""
        of_kinds = [sizes.prompts[kind] for kind in paired_kinds(recipe)]
        helpful, replies = sizes.prompts[PromptKind.HELPFUL], self.round * recipe.pairs.per_prompt
        labelled = replies * sum(each.count * (each.mean + sizes.reply) for each in of_kinds)
        people = sizes.human * (helpful.mean + sizes.reply) if recipe.rl.dpo.human_weight else 0
        paired = 2 * (labelled + people)
        return TrainingTokens(paired * recipe.rl.dpo.training.epochs, paired)


def _human_file(recipe: Recipe) -> Path | None:
    file = recipe.preference.human_helpfulness
    return source_path(file) if file and recipe.rl.dpo.human_weight else None
