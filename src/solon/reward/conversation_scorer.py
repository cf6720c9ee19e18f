"""Scores of a preference model for whole conversations.

A score is a log-odds: P(reply a is better than reply b) = sigmoid(score_a - score_b) (paper, section 4.1). Only
differences between replies to the same prompt are meaningful; `centre`, the mean over held-out replies, is the zero for
reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from solon.config.recipe import EngineSettings, Precision
from solon.conversation import Conversation
from solon.errors import InputError, ModelError
from solon.training.batches import PAD_ID, micro_batches, pad_right, to_device
from solon.training.encoding import Encoding, TextTokenizer
from solon.training.forward import ScalarModel
from solon.training.models import Trainable, load_preference_model, unwrap_adapter, window_of

CENTRE = "score_mean"
"""The name under which a model's config.json holds its centre."""
RATING_MEAN = "rating_mean"
"""The name under which a model of ratings (`solon.evals.harmfulness`) holds the mean that is added to its output."""


class ConversationScorer:
    """Scores by `model`, a sequence classifier with one label; `centre` defaults to the one in its config."""

    def __init__(
        self, model: Trainable | ScalarModel, encoding: Encoding, micro_tokens: int = 16384, centre: float | None = None
    ) -> None:
        self.place = "preference model"
        """For errors: the model's folder, if it was loaded from one."""
        self.encoding = encoding
        self.micro_tokens = micro_tokens
        self._scalar = model if isinstance(model, ScalarModel) else ScalarModel(model)
        own = float(getattr(unwrap_adapter(self._scalar.model).config, CENTRE, 0.0))
        self.centre = own if centre is None else centre

    @classmethod
    def load(
        cls,
        folder: Path,
        tokenizer: TextTokenizer,
        settings: EngineSettings,
        precision: Precision = Precision.FLOAT32,
    ) -> ConversationScorer:
        """The model that the stage preference-model saved; raises ModelError for a folder that holds none."""
        model = load_preference_model(folder, settings, precision)
        if hasattr(model.config, RATING_MEAN):
            raise ModelError(
                "this model predicts ratings of harm, where more is worse; it is no preference model",
                place=str(folder),
                remedy="Use it with: solon harmfulness measure OUT MODEL --scorer FOLDER",
            )
        scalar = ScalarModel(model, precision=precision)
        made = cls(scalar, Encoding(tokenizer, window_of(model, settings)))
        made.place = str(folder)
        return made

    def score(self, conversations: Sequence[Conversation]) -> Tensor:
        """Scores in float32 on the CPU, shape (B), in order; not centred.

        Raises InputError for a conversation that does not end on a reply or that is longer than the window.
        """
        return self.score_tokens(self.encoding.whole(conversations))

    def centred(self, conversations: Sequence[Conversation]) -> list[float]:
        """Scores for reinforcement learning: 0 is the centre. Raises as `score` does."""
        return (self.score(conversations) - self.centre).tolist()

    def score_tokens(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Scores of token sequences that end on the end token, shape (B); each is independent of the others.

        Raises InputError for one that is longer than the window, and ModelError when a score is not finite.
        """
        longest = max(map(len, sequences), default=0)
        if longest > self.encoding.window:
            raise InputError(
                f"a conversation of {longest} tokens is longer than the window of {self.encoding.window}",
                place=self.place,
                remedy="Leave it out, or raise engine.window if the model allows it",
            )
        scores_B = torch.empty(len(sequences))
        with torch.no_grad():
            cost = self._scalar.pass_cost
            parts = list(
                micro_batches(range(len(sequences)), lambda row: len(sequences[row]), self.micro_tokens, cost=cost)
            )
            found = [self._scores([sequences[row] for row in part]) for part in parts]
            for part, part_B in zip(parts, found, strict=True):  # after all passes, since reading waits for a GPU
                scores_B[part] = part_B.cpu()
        if not scores_B.isfinite().all():
            raise ModelError("a score of the model is not finite", place=self.place, remedy="Train it again")
        return scores_B

    def _scores(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Scores (B) of one pass, where the model is."""
        ids_BT = pad_right(sequences, PAD_ID, self._scalar.device)
        return self._scalar.scores(ids_BT, to_device(torch.tensor([len(each) for each in sequences]), ids_BT.device))
