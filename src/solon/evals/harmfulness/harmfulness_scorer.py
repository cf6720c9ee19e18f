"""Reads a model that predicts ratings of harm: conversations in, numbers on the scale from 0 to 4 out.

The folder is an ordinary sequence classifier with one label. Its output plus `rating_mean` of its configuration is the
predicted rating. A prediction may lie a little outside the scale, and is left there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation
from solon.engines.tokens import PromptTokenizer
from solon.errors import ModelError
from solon.model_folders.folder_check import check_config
from solon.reward.conversation_scorer import RATING_MEAN, ConversationScorer
from solon.reward.scorer import model_folder_in
from solon.training.encoding import Encoding
from solon.training.models import arithmetic, load_preference_model, load_tokenizer, window_of

TOO_LONG = "too long"
"""Why a conversation has no score."""


def rating_mean_in(folder: Path) -> float:
    """The mean rating of the training conversations, from the configuration of a model folder; loads no model.

    Raises ModelError for a folder that `check_config` refuses, and for one without such a mean: another kind of model.
    """
    mean = check_config(folder).get(RATING_MEAN)
    if isinstance(mean, bool) or not isinstance(mean, int | float) or not math.isfinite(mean):
        raise ModelError(
            f"this model predicts no ratings of harm (its config.json has no '{RATING_MEAN}')",
            place=str(folder),
            remedy="Train one with: solon harmfulness train OUT FILE --base MODEL",
        )
    return float(mean)


@dataclass(frozen=True, slots=True)
class HarmfulnessScorer:
    """A model of ratings; use `load`."""

    name: str
    model: ConversationScorer
    mean: float
    settings: EngineSettings

    @classmethod
    def load(cls, folder: Path, settings: EngineSettings | None = None) -> HarmfulnessScorer:
        """The model in a folder, or in the stage's folder around it; ModelError for a folder that holds none."""
        settings = settings or EngineSettings()
        found = model_folder_in(folder)
        mean = rating_mean_in(found)
        tokenizer = load_tokenizer(found)
        model = load_preference_model(found, settings)
        texts = PromptTokenizer.of(tokenizer, settings)
        scorer = ConversationScorer(model, Encoding(texts, window_of(model, settings)), centre=0.0)
        scorer.place = str(found)
        name = found.parent.name if found.name == "model" else found.name
        return cls(name, scorer, mean, settings)

    def score(self, conversations: Sequence[Conversation]) -> list[float | None]:
        """The predicted rating of each conversation, in order; None for one that is longer than the window.

        Raises InputError for a conversation that does not end on a reply.
        """
        tokens = self.model.encoding.whole(conversations)
        fitting = [index for index, each in enumerate(tokens) if self.model.encoding.fits(each)]
        found: list[float | None] = [None] * len(tokens)
        with arithmetic(self.settings):
            for index, score in zip(
                fitting, self.model.score_tokens([tokens[index] for index in fitting]).tolist(), strict=True
            ):
                found[index] = score + self.mean
        return found
