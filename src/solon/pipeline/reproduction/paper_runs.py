"""The plan: which runs train the paper's models, with which settings, and which stages they take from each other.

A run names the earlier runs that it reuses. A stage with the same key is copied from them, so that nothing is trained
or asked twice: all runs by constitution share the prompts and replies, SL-CAI-n the revisions, and both RL-CAI models
the pairs of replies. A size scales everything; `full` is the recipe `testbed` as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.config.loading import load_recipe
from solon.config.recipe import Recipe
from solon.stages.plan import CRITIQUE_REVISION, MEASURE, PREFERENCE_MODEL, SL_CAI

BASE = "testbed"
"""The recipe that every run varies."""
RL_CAI_COT, RL_CAI_LETTER, HELPFUL, HH = "rl-cai-cot", "rl-cai-letter", "helpful-rlhf", "hh-rlhf"
POLICY_RUNS = (HELPFUL, HH, RL_CAI_LETTER, RL_CAI_COT)
"""The runs with a policy, in the paper's order."""
DIRECT, HARMLESSNESS_PM = "direct-revisions", "harmlessness-pm"
NUMBERS_OF_PRINCIPLES = (1, 2, 4, 8)
"""Beside all sixteen, which the run with all stages has (paper, section 3.4)."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run directory: what it is for, the stage that it ends after, its settings, and the runs that it reuses."""

    name: str
    purpose: str
    until: str
    settings: Mapping[str, Any]
    reuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReproductionSize:
    """How much of everything there is."""

    name: str
    settings: tuple[str, ...]
    """Settings of all runs, `key=value`."""
    conversations: int
    """Conversations of each mode with the simulated users."""
    prompts: int
    """Held-out prompts of the absolute harmfulness score."""
    samples: int
    """Replies to each of them by each model."""
    ratings: int
    """Rated conversations that the harmfulness score is learned from."""
    questions: int | None
    """Comparisons that each judge answers; all when None."""
    reasonings: int = 5
    """Chains of thought that are averaged (paper, section 2)."""
    replicates: int = 500
    """Resamplings for intervals."""


SIZES: Mapping[str, ReproductionSize] = {
    each.name: each
    for each in (
        ReproductionSize(
            "small",
            (
                "prompts.limit_red_team=160", "prompts.limit_helpful=160",
                "preference.limit_human=200", "preference.training.epochs=2", "rl.steps=16", "rl.prompts_per_step=32",
                "rl.snapshots=4", "measure.limit=96",
            ),
            conversations=400, prompts=32, samples=2, ratings=600, questions=48, replicates=300,
        ),
        ReproductionSize(
            "full", ("rl.snapshots=9",), conversations=1500, prompts=64, samples=8, ratings=2000, questions=None
        ),
    )
}  # fmt: skip
"""The built-in sizes."""


def planned_runs(revisions: int) -> tuple[PlannedRun, ...]:
    """Every run, in an order in which all that a run reuses comes before it; `revisions` is the recipe's number."""
    whole = RL_CAI_COT
    return (
        PlannedRun(whole, f"SL-CAI-{revisions}, and RL-CAI with chain of thought", MEASURE, {"method": "cai"}),
        PlannedRun(
            RL_CAI_LETTER,
            "RL-CAI without chain of thought",
            MEASURE,
            # The letter that is read at once is right and hardly sure here; taken as certain it teaches. The recipe's
            # margin would leave out most of these labels.
            {
                "feedback.form": "letter",
                "judge_check.weak_judge": "accept",
                "preference.labels": "hard",
                "preference.least_margin": 0.0,
            },
            (whole,),
        ),
        PlannedRun(HELPFUL, "helpful-only RLHF", MEASURE, {"method": "rlhf", "rl.red_team_share": 0.0}, (whole,)),
        PlannedRun(
            HH,
            "HH RLHF",
            MEASURE,
            {"method": "rlhf", "preference.human_harmlessness": "testbed:harmlessness"},
            (whole, HELPFUL),
        ),
        *(
            PlannedRun(sl_cai_name(n), f"SL-CAI-{n}", SL_CAI, {"finetune.revisions": n}, (whole,))
            for n in range(1, revisions)
        ),
        PlannedRun(DIRECT, "revisions without critiques", CRITIQUE_REVISION, {"revision.mode": "direct"}, (whole,)),
        *(
            PlannedRun(
                principles_name(n),
                f"revisions by the first {n} principles",
                CRITIQUE_REVISION,
                {"revision.number_of_principles": n},
                (whole,),
            )
            for n in NUMBERS_OF_PRINCIPLES
        ),
        PlannedRun(
            HARMLESSNESS_PM,
            "a preference model of human harmlessness comparisons, which scores revisions",
            PREFERENCE_MODEL,
            {
                "method": "rlhf",
                "preference.human_helpfulness": None,
                "preference.human_harmlessness": "testbed:harmlessness",
            },
            (whole,),
        ),
    )


def sl_cai_name(revisions: int) -> str:
    """The name of SL-CAI-n."""
    return f"sl-cai-{revisions}"


def principles_name(number: int) -> str:
    """The name of the run by the first `number` principles."""
    return f"principles-{number}"


def recipe_of(run: PlannedRun, size: ReproductionSize, settings: Sequence[str] = ()) -> Recipe:
    """The recipe of a run: the base, the size, the user's settings, and the run's own, which have precedence.

    Raises RecipeError for an unknown or bad setting.
    """
    own = [f"{key}={json.dumps(value)}" for key, value in run.settings.items()]
    return load_recipe(BASE, (), [*size.settings, *settings, *own])


def revisions_of(size: ReproductionSize, settings: Sequence[str] = ()) -> int:
    """How many revisions each reply gets."""
    return load_recipe(BASE, (), [*size.settings, *settings]).revision.steps
