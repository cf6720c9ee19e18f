"""Are these models fit to criticise and to judge? Measured on plain questions, before their words are believed.

The judge reads comparisons in which the better reply is known, as the feedback stage would ask them, and two probes:
replies without content, which show its liking for a letter, and replies that talk to it, which show whether it can be
talked round. The critic reads replies with one plain fault each and then revises them, as the revision stage would ask
it. The questions are built in, or come from a world whose rules tell the truth.
"""

from solon.evals.judge_check.as_judge import JudgeSetup, prompts_of
from solon.evals.judge_check.critic import CriticCheck, check_critic, read_critic_check
from solon.evals.judge_check.judge import JudgeCheck, check_judge, read_judge_check, verdict
from solon.evals.judge_check.known_answers import (
    Fault,
    Injection,
    JudgeQuestions,
    Pair,
    PlainComparison,
    content_free_pairs,
    evenly,
    injections,
    plain_comparisons,
    plain_faults,
    plain_questions,
)

__all__ = [
    "CriticCheck",
    "Fault",
    "Injection",
    "JudgeCheck",
    "JudgeQuestions",
    "JudgeSetup",
    "Pair",
    "PlainComparison",
    "check_critic",
    "check_judge",
    "content_free_pairs",
    "evenly",
    "injections",
    "plain_comparisons",
    "plain_faults",
    "plain_questions",
    "prompts_of",
    "read_critic_check",
    "read_judge_check",
    "verdict",
]
