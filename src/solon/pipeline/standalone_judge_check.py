"""Measures a model as judge and as critic, before a run uses it.

It is asked as the recipe would ask it: the form, the worked examples and the constitution are the recipe's. A recipe
of the testbed gets the testbed's questions, any other recipe the built-in ones in plain English.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solon.config.recipe import Recipe
from solon.constitution.constitution import Constitution
from solon.engines.base import Engine
from solon.evals.judge_check import CriticCheck, JudgeCheck, read_critic_check, read_judge_check
from solon.testbed.judge_questions import critic_faults, judge_questions


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """How well a model judges, and where the recipe has critiques, how well it criticises."""

    engine: str
    recipe: str
    judge: JudgeCheck
    critic: CriticCheck | None

    def facts(self) -> dict[str, Any]:
        """The figures `judge` and, if there are any, `critic`, as `solon judge-check --json` prints them."""
        return {**self.judge.facts(), **(self.critic.facts() if self.critic else {})}


def check_model(engine: Engine, recipe: Recipe, constitution: Constitution) -> ModelCheck:
    """Ask the model about comparisons and faulty replies with known answers."""
    seed = recipe.seed
    judge = read_judge_check(engine, recipe.feedback, constitution, seed, judge_questions(recipe, constitution))
    critic = read_critic_check(engine, recipe.revision, constitution, seed, critic_faults(recipe, constitution))
    return ModelCheck(engine.name, recipe.name, judge, critic)
