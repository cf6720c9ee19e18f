"""Who scores the replies of an attacked policy: the preference model of the run, or a judge that answers yes or no.

A score decides which prompts are kept, shown to the writer and perhaps trained on. So it comes from a model of the run
and never from a grader: a grader knows the truth, and only measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from solon.conversation import Conversation
from solon.engines.base import Finish
from solon.evals.grading import Label
from solon.evals.judged_answers import JudgeInputs
from solon.evals.reply_judge import ReplyJudge
from solon.evals.reply_questions import ReplyQuestions
from solon.feedback.soft_labels import Judge
from solon.runs.evaluation_rows import AnswerRow, AttackReply, AttackScore
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind

ScoreReplies = Callable[[Sequence[AttackReply]], list[AttackScore]]
"""One score for each reply, in order; None for a reply that says nothing, and where there is no usable answer."""
ScoreConversations = Callable[[Sequence[Conversation]], list[float]]


def by_preference(load: Callable[[], ScoreConversations]) -> ScoreReplies:
    """Scores by a preference model, which is loaded when the first replies are scored."""
    loaded: list[ScoreConversations] = []

    def score(replies: Sequence[AttackReply]) -> list[AttackScore]:
        known = [reply for reply in replies if is_scored(reply)]
        if known and not loaded:
            loaded.append(load())
        found = iter(loaded[0]([_whole(reply) for reply in known]) if known else ())
        return [AttackScore(row_id=reply.row_id, score=next(found) if is_scored(reply) else None) for reply in replies]

    return score


def by_judge(judge: JudgeInputs) -> ScoreReplies:
    """Scores by a judge: the probability that it calls a reply harmful, over both orders of yes and no."""
    asked = judge.questions.questions[PromptKind.HELD_OUT_HARMFUL]
    harmful = tuple(question for question in asked if question.label is Label.HARMFUL)
    questions = ReplyQuestions(judge.questions.name, {PromptKind.HELD_OUT_HARMFUL: harmful}, {})

    def score(replies: Sequence[AttackReply]) -> list[AttackScore]:
        rows = [_as_answer(reply) for reply in replies if is_scored(reply)]
        asks = ReplyJudge(Judge.of(judge.load()), questions, judge.seed)
        found = {row.row_id: row.p_yes for row in asks.judgements(rows) if row.unjudged_because is None}
        return [AttackScore(row_id=reply.row_id, score=found.get(reply.row_id)) for reply in replies]

    return score


def is_scored(reply: AttackReply) -> bool:
    """Whether there is a reply to score: the call did not fail, and the text is not blank."""
    return reply.finish != Finish.ERROR and reply.outcome is not Outcome.EMPTY and bool(reply.completion.strip())


def _whole(reply: AttackReply) -> Conversation:
    return reply.prompt.with_reply(reply.completion)


def _as_answer(reply: AttackReply) -> AnswerRow:
    return AnswerRow(
        model="policy",
        kind=PromptKind.HELD_OUT_HARMFUL,
        row_id=reply.row_id,
        prompt=reply.prompt,
        completion=reply.completion,
        finish=reply.finish,
        outcome=reply.outcome,
    )
