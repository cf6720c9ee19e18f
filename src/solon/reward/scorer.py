"""Opens a saved preference model: its weights, its text form and its name.

A folder holds everything that scoring needs: the chat template renders conversations, and the configuration has the
centre. So the golden check, `solon score` and the server open it here by its path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from solon.config.hub_models import title_of
from solon.config.recipe import EngineSettings, Precision
from solon.conversation import Conversation
from solon.engines.tokens import PromptTokenizer
from solon.errors import ModelError
from solon.reward.conversation_scorer import ConversationScorer
from solon.reward.scored_text import ScoredText
from solon.training.encoding import Tokens
from solon.training.models import load_tokenizer


class Zero(StrEnum):
    """The meaning of a score of 0."""

    CENTRE = "centre"
    """The mean reply of the held-out prompts: the centre is subtracted."""
    RAW = "raw"
    """Nothing: the classifier's own number."""


@dataclass(frozen=True, slots=True)
class PreferenceScorer:
    """A preference model with its text form."""

    name: str
    model: ConversationScorer
    texts: ScoredText

    def score(self, sequences: Sequence[Tokens], zero: Zero = Zero.CENTRE) -> list[float]:
        """Scores of token sequences, in order.

        Raises InputError for one that is longer than the window, ModelError when a score is not finite.
        """
        centre = self.model.centre if zero is Zero.CENTRE else 0.0
        return [float(score) - centre for score in self.model.score_tokens(sequences)]

    def tokens(self, conversations: Sequence[Conversation]) -> list[Tokens]:
        """The tokens of conversations; raises InputError for one that does not end on a reply."""
        return self.model.encoding.whole(conversations)

    def fits(self, tokens: Tokens) -> bool:
        """Whether the model can read all of it."""
        return self.model.encoding.fits(tokens)


def open_scorer(
    folder: Path, settings: EngineSettings | None = None, precision: Precision = Precision.FLOAT32
) -> PreferenceScorer:
    """The preference model in a model folder, or in the stage folder around it; ModelError for anything else."""
    settings = settings or EngineSettings()
    model_folder = model_folder_in(folder)
    tokenizer = load_tokenizer(model_folder)
    texts = PromptTokenizer.of(tokenizer, settings)
    model = ConversationScorer.load(model_folder, texts, settings, precision)
    name = model_folder.parent.name if model_folder.name == "model" else title_of(model_folder)
    return PreferenceScorer(name, model, ScoredText(texts))


def model_folder_in(folder: Path) -> Path:
    """The model folder at a path: itself, or the `model` of a stage; raises ModelError when it is neither."""
    for candidate in (folder, folder / "model"):
        if (candidate / "config.json").is_file():
            return candidate
    raise ModelError(
        "not a preference model: config.json is missing" if folder.is_dir() else "no such folder",
        place=str(folder),
        remedy="Give what `solon preference` wrote, or RUN/07-preference-model",
    )
