"""Measures how well a model criticises and judges, on plain questions, before a run uses it.

The judge reads comparisons in which the better reply is known, as the feedback stage would ask them, and two probes:
replies without content, which show its bias for a letter, and replies that address it, which show whether they change
its mind. The critic reads replies with one plain fault each and then revises them, as the revision stage would ask it.
The questions are built in, or come from the testbed, which knows the answers.
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
