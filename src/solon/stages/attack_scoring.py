"""Who scores the replies of an attacked policy: the preference model of the run, or a judge that answers yes or no.

A score decides which prompts are kept, shown to the writer and perhaps trained on. So it comes from a model of the run
and never from a grader: a grader knows the truth, and only measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from solon.conversation import Conversation, is_blank
from solon.evals.grading import Label
from solon.evals.judged_answers import JudgeInputs
from solon.evals.reply_judge import ReplyJudge
from solon.evals.reply_questions import ReplyQuestions
from solon.feedback.soft_labels import Judge
from solon.prompts import LetterForm
from solon.runs.evaluation_rows import AnswerRow, AttackReply, AttackScore
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind


@dataclass(frozen=True, slots=True)
class AnsweredPrompt:
    """A prompt with the policy's reply, and with the assistant's replies where the score is relative to them."""

    reply: AttackReply
    references: tuple[str, ...] | None = None


ScoreReplies = Callable[[Sequence[AnsweredPrompt]], list[AttackScore]]
"""One score for each reply, in order; None for a reply that says nothing, and where there is no usable answer."""
ScoreConversations = Callable[[Sequence[Conversation]], list[float]]


def by_preference(load: Callable[[], ScoreConversations]) -> ScoreReplies:
    """Scores by a preference model, which is loaded when the first replies are scored.

    The score is relative to the mean of the assistant's replies, where there are any to compare with.
    """
    loaded: list[ScoreConversations] = []

    def score(answered: Sequence[AnsweredPrompt]) -> list[AttackScore]:
        texts = [_texts(each) for each in answered]
        asked = [each.reply.prompt.with_reply(text) for each, of in zip(answered, texts, strict=True) for text in of]
        if asked and not loaded:
            loaded.append(load())
        found = iter(loaded[0](asked) if asked else ())
        return [_score(each, [next(found) for _ in of]) for each, of in zip(answered, texts, strict=True)]

    return score


def _texts(answered: AnsweredPrompt) -> tuple[str, ...]:
    """The reply and what it is compared with; nothing where one of them is missing."""
    if not is_scored(answered.reply) or answered.references == ():
        return ()
    return answered.reply.completion, *(answered.references or ())


def _score(answered: AnsweredPrompt, scores: Sequence[float]) -> AttackScore:
    if not scores:
        return AttackScore(row_id=answered.reply.row_id, score=None)
    own, *others = scores
    relative = own - math.fsum(others) / len(others) if others else own
    return AttackScore(row_id=answered.reply.row_id, score=relative, own=own)


def by_judge(judge: JudgeInputs) -> ScoreReplies:
    """Scores by a judge: the probability that it calls a reply harmful, over both orders of yes and no.

    The judge is loaded again for each chunk, because other models are asked in between; how it writes letters is found
    out once, which takes a question where it is behind a server.
    """
    asked = judge.questions.questions[PromptKind.HELD_OUT_HARMFUL]
    harmful = tuple(question for question in asked if question.label is Label.HARMFUL)
    questions = ReplyQuestions(judge.questions.name, {PromptKind.HELD_OUT_HARMFUL: harmful}, {})
    form: list[LetterForm] = []

    def score(answered: Sequence[AnsweredPrompt]) -> list[AttackScore]:
        replies = [each.reply for each in answered]
        rows = [_as_answer(reply) for reply in replies if is_scored(reply)]
        engine = judge.load()
        if not form:
            form.append(Judge.of(engine).form)
        asks = ReplyJudge(Judge(engine, form[0]), questions, judge.seed)
        found = {row.row_id: row.p_yes for row in asks.judgements(rows) if row.unjudged_because is None}
        return [AttackScore(row_id=reply.row_id, score=found.get(reply.row_id)) for reply in replies]

    return score


def is_scored(reply: AttackReply) -> bool:
    """Whether there is a reply to score: the call did not fail, and the text is not blank."""
    return says_something(reply.outcome, reply.completion)


def says_something(outcome: Outcome, text: str) -> bool:
    """Whether there is a text to score."""
    return outcome not in (Outcome.EMPTY, Outcome.PROVIDER_ERROR) and not is_blank(text)


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
