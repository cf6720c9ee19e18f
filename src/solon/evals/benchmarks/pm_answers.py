"""A preference model answers: it chooses the reply with the higher score (paper, section 2).

Scores are log-odds, so P(first over second) = sigmoid of their difference, and the model reads each dialogue by
itself: no letters and no order. The rows have the form of `multiple_choice.ask_choices`, so that both give the same
figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation
from solon.evals.benchmarks.multiple_choice import conversations_of
from solon.evals.benchmarks.question_files import Question
from solon.feedback.comparisons import UndecidedReason
from solon.runs.evaluation_rows import ChoiceAnswer
from solon.stats.log_odds import log_sigmoid

Scores = Callable[[Sequence[Conversation]], Sequence[float | None]]
"""A score for each dialogue, or None for one that is longer than the model's window."""


def scores_of(folder: Path, settings: EngineSettings) -> Scores:
    """The preference model in a folder that the stage preference-model saved; raises ModelError when there is none."""
    from solon.reward.scorer import open_scorer

    model = open_scorer(folder, settings).model

    def scores(conversations: Sequence[Conversation]) -> list[float | None]:
        sequences = model.encoding.whole(conversations)
        fitting = [place for place, tokens in enumerate(sequences) if model.encoding.fits(tokens)]
        found: list[float | None] = [None] * len(sequences)
        for place, score in zip(fitting, model.score_tokens([sequences[each] for each in fitting]), strict=True):
            found[place] = float(score)
        return found

    return scores


def ask_scores(scores: Scores, questions: Sequence[Question]) -> list[ChoiceAnswer]:
    """Both scores of each comparison and what they say, in order."""
    given = scores([dialogue for question in questions for dialogue in conversations_of(question)])
    return [_row(question, given[2 * number : 2 * number + 2]) for number, question in enumerate(questions)]


def _row(question: Question, pair: Sequence[float | None]) -> ChoiceAnswer:
    known = [score for score in pair if score is not None]
    why = (
        UndecidedReason.TOO_LONG
        if len(known) < len(pair)
        else None
        if all(map(math.isfinite, known))
        else UndecidedReason.NO_LOGPROB
    )
    log_probs = None if why else (log_sigmoid(known[0] - known[1]), log_sigmoid(known[1] - known[0]))
    return ChoiceAnswer(
        line=question.line,
        correct=question.correct,
        rotations=(0,),
        log_probs=((log_probs,),),
        scores=tuple(score if score is not None and math.isfinite(score) else None for score in pair),
        unanswered_because=why.value if why else None,
    )
