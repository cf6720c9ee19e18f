"""The grader of a run: the built-in oracle of the testbed, or a plug-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from solon.config.recipe import TESTBED_GRADER, Recipe
from solon.evals.grading import Grader
from solon.evals.measures import grader_named
from solon.testbed.oracle import Oracle

GRADERS: Mapping[str, Callable[[], Grader]] = {TESTBED_GRADER: Oracle}
"""The graders that come with Solon; a package adds another as an entry point of `solon.graders`."""


def grader_of(recipe: Recipe) -> Grader | None:
    """The grader of a run, if there is one; raises RecipeError for a plug-in that cannot be loaded."""
    return grader_named(recipe.measure.grader, GRADERS)
