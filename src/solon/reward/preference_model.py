r"""A saved preference model for programs: load a folder, score conversations.

    model = PreferenceModel.load("runs/demo/07-preference-model")
    model.score(["\n\nHuman: Hello?\n\nAssistant: Hello! How can I help?"])

It is the public interface of `PreferenceScorer`: conversations in, floats out. Only differences between replies to the
same prompt are meaningful: P(a is better than b) = sigmoid(score a - score b) (paper, section 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, parse_transcript
from solon.reward.score_file import read_scorable, scored
from solon.reward.scorer import PreferenceScorer, Zero, open_scorer
from solon.training.models import arithmetic


@dataclass(frozen=True, slots=True)
class PreferenceModel:
    """A preference model that scores conversations; use `load`."""

    scorer: PreferenceScorer
    settings: EngineSettings

    @classmethod
    def load(cls, folder: str | Path, settings: EngineSettings | None = None) -> PreferenceModel:
        """The preference model in a folder, or in the stage folder around it, such as RUN/07-preference-model.

        Raises ModelError for a folder that holds none.

        Example:
            >>> model = solon.PreferenceModel.load("runs/demo/07-preference-model")
        """
        settings = settings or EngineSettings()
        return cls(open_scorer(Path(folder), settings), settings)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.scorer.name

    def score(
        self, conversations: Conversation | str | Sequence[Conversation | str], zero: Zero = Zero.CENTRE
    ) -> list[float]:
        """The score of each conversation, in order; a text is a transcript, and one conversation gives a list of one.

        With `Zero.CENTRE` 0 is the mean reply of the model's held-out prompts; with `Zero.RAW` it is the classifier's
        own. Raises InputError for a conversation that does not end on a reply or is longer than the window.

        Example:
            >>> better, worse = model.score([good, bad])
        """
        given = [conversations] if isinstance(conversations, str | Conversation) else conversations
        read = [parse_transcript(each) if isinstance(each, str) else each for each in given]
        with arithmetic(self.settings):
            return self.scorer.score(self.scorer.tokens(read), zero)

    def prefers(self, first: Conversation | str, second: Conversation | str) -> float:
        """The probability that the first conversation's reply is better than the second's.

        Example:
            >>> model.prefers(prompt.with_reply("No, and here is why."), prompt.with_reply("Sure."))
        """
        one, other = self.score([first, second])
        # tanh, because exp overflows where a difference is absurdly large
        return 0.5 * (1 + math.tanh((one - other) / 2))

    def score_file(
        self, file: str | Path, columns: Mapping[str, str] | None = None, zero: Zero = Zero.CENTRE
    ) -> Iterator[dict[str, Any]]:
        """The rows of a file of conversations (JSONL, CSV or Parquet) with their scores added, one by one.

        `columns` says what the file calls columns. A conversation that is too long has null scores and says why under
        `unscored`. Raises InputError with file and line for a malformed row.

        Example:
            >>> rows = list(model.score_file("replies.jsonl"))
        """
        with arithmetic(self.settings):
            yield from scored(read_scorable(Path(file), columns), self.scorer, zero)
