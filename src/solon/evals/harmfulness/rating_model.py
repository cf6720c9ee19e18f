"""Trains a model that predicts ratings of harm from whole conversations (paper, section 5).

The backbone is a language model's, the head one number at the end token, as in the preference model. The loss is the
squared difference from the rating; what is learned is the difference from the mean rating of the training
conversations, and the mean is kept in the model's configuration. Prompts are held out, or ratings of a file of their
own, and on them predictions are compared with ratings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.config.recipe import EngineSettings, TrainingSettings
from solon.digest import seed_for
from solon.engines.tokens import PromptTokenizer
from solon.errors import StageError
from solon.evals.harmfulness.harmfulness_scorer import HarmfulnessScorer
from solon.evals.harmfulness.rating_figures import PredictedRating, rating_figures
from solon.reward.conversation_scorer import RATING_MEAN, ConversationScorer
from solon.runs import Artefact, StageFolder
from solon.runs.facts import facts_record
from solon.runs.harmfulness_rows import HarmfulnessFacts, RatedRow
from solon.runs.records import from_record
from solon.runs.table import write_table
from solon.runs.training_rows import TrainingStepRow
from solon.sources.rated_conversations import RatedConversation, RatedConversations
from solon.training.batches import RatedExample
from solon.training.encoding import Encoding, Tokens
from solon.training.forward import ScalarModel
from solon.training.gradient_checkpointing import checkpoint_activations
from solon.training.learner import EPSILON, Learner
from solon.training.loop import is_held_out, session_in, train
from solon.training.models import (
    Trainable,
    arithmetic,
    grow_preference_model,
    load_tokenizer,
    save_model,
    storage_precision,
    trainable_parameters,
    unwrap_adapter,
    window_of,
    with_adapter,
)
from solon.training.objectives import RatingObjective
from solon.training.out_of_memory import within_memory

CODE = 1
"""The version of this module; raise it with every change that gives another model for the same ratings."""
RATINGS_TABLE = "ratings.parquet"
"""Every rated conversation, with the prediction where it was not trained on."""
SPLIT, FILE = "split", "file"


@dataclass(frozen=True, slots=True)
class RatingInputs:
    """The seed, the model to grow from, how conversations are shown, the ratings, and those of a file held out."""

    seed: int
    base: Path
    engine: EngineSettings
    rated: RatedConversations
    held_out: RatedConversations | None = None


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A rated conversation with its tokens, and whether it is held out."""

    given: RatedConversation
    tokens: Tokens
    held_out: bool

    def example(self, mean: float) -> RatedExample:
        return RatedExample(self.given.prompt_id, self.tokens, self.given.rating - mean)

    def row(self, predicted: float | None) -> RatedRow:
        given = self.given
        return RatedRow(
            row_id=given.prompt_id,
            source=given.source,
            line=given.line,
            conversation=given.conversation,
            rating=given.rating,
            predicted=predicted,
            held_out=self.held_out,
            tokens=len(self.tokens),
        )


def train_rating_model(settings: TrainingSettings, inputs: RatingInputs, out: StageFolder) -> Artefact:
    """Train, save the model, predict what was held out, and publish the steps with all figures.

    Raises StageError when nothing is left to train on.
    """
    tokenizer = load_tokenizer(inputs.base)
    with (
        arithmetic(inputs.engine),
        within_memory("preference.training.micro_batch_tokens", settings.micro_batch_tokens),
    ):
        end = PromptTokenizer.of(tokenizer, inputs.engine).end
        head = seed_for(inputs.seed, "harmfulness head")
        stored = storage_precision(settings.precision, settings.lora)
        model = grow_preference_model(inputs.base, tokenizer, inputs.engine, head, end, stored)
        texts = PromptTokenizer.of(tokenizer, inputs.engine)
        encoding = Encoding(texts, window_of(model, inputs.engine))
        encoded = _encoded(inputs, settings.held_out, encoding)
        training = [each for each in encoded if not each.held_out]
        if not training:
            raise StageError(
                "there is no rated conversation to train on",
                remedy="Give more ratings, or --set preference.training.held_out=0.1",
            )
        mean = sum(each.given.rating for each in training) / len(training)
        adapted = with_adapter(model, settings.lora, inputs.seed)
        learner = Learner(
            trainable_parameters(adapted),
            clip=settings.max_grad_norm,
            epsilon=EPSILON,
            weight_decay=settings.weight_decay,
            processes=out.processes,
        )
        held_out = [each.example(mean) for each in encoded if each.held_out]
        examples = [each.example(mean) for each in training]
        checkpoint_activations(adapted, settings.activations)
        objective = RatingObjective(ScalarModel(adapted, precision=settings.precision))
        log = train(learner, objective, examples, held_out, settings, inputs.seed, session_in(out))
        saved = _saved(adapted, texts, mean, out.path / "model")
        scorer = HarmfulnessScorer(out.name, ConversationScorer(saved, encoding, centre=0.0), mean, inputs.engine)
        rows = _predicted(scorer, encoded)
    write_table(out.path / RATINGS_TABLE, rows, RatedRow)
    steps = [from_record(TrainingStepRow, row, str(out.path)) for row in log.rows]
    every = len(inputs.rated.rows) + (len(inputs.held_out.rows) if inputs.held_out else 0)
    known = [PredictedRating(row.row_id, row.predicted, row.rating) for row in rows if row.predicted is not None]
    facts = HarmfulnessFacts(
        base=inputs.base.name,
        rating_mean=mean,
        ratings=dict(sorted(Counter(f"{each.given.rating:.1f}" for each in training).items())),
        examples=len(training),
        held_out_examples=len(held_out),
        held_out_from=(FILE if inputs.held_out else SPLIT) if held_out else None,
        too_long=every - len(encoded),
        skipped=inputs.rated.skipped,
        calibration=rating_figures(known, mean, inputs.seed),
        steps=steps[-1].step,
        loss=steps[-1].loss,
        held_out_loss=steps[-1].held_out_loss,
        training_seconds=round(log.seconds, 3),
    )
    return out.publish(steps, TrainingStepRow, facts=facts_record(facts), files=["model", RATINGS_TABLE])


def _encoded(inputs: RatingInputs, share: float, encoding: Encoding) -> list[_Encoded]:
    """All conversations that the model can read; a prompt is held out with all its replies, or a whole file is."""
    given = [(each, False) for each in inputs.rated.rows]
    if inputs.held_out is None:
        given = [(each, is_held_out(each.prompt_id, share, inputs.seed)) for each, _ in given]
    else:
        given += [(each, True) for each in inputs.held_out.rows]
    tokens = encoding.whole([each.conversation for each, _ in given])
    made = (_Encoded(each, own, apart) for (each, apart), own in zip(given, tokens, strict=True))
    return [each for each in made if encoding.fits(each.tokens)]


def _saved(adapted: Trainable, texts: PromptTokenizer, mean: float, folder: Path) -> Trainable:
    setattr(unwrap_adapter(adapted).config, RATING_MEAN, mean)
    return save_model(adapted, texts, folder)


def _predicted(scorer: HarmfulnessScorer, encoded: Sequence[_Encoded]) -> list[RatedRow]:
    apart = [each for each in encoded if each.held_out]
    scores = dict(zip(map(id, apart), scorer.score([each.given.conversation for each in apart]), strict=True))
    return [each.row(scores.get(id(each))) for each in encoded]
