"""Who grades the replies of a run: the place where the testbed's oracle meets the measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from solon.config.recipe import TESTBED_GRADER, Recipe
from solon.evals.grading import Grader
from solon.evals.measures import grader_named
from solon.testbed.oracle import Oracle

GRADERS: Mapping[str, Callable[[], Grader]] = {TESTBED_GRADER: Oracle}
"""The graders that come with Solon; a package adds another as an entry point of `solon.graders`."""


def grader_of(recipe: Recipe) -> Grader | None:
    """Who grades the replies of a run, if anybody does; raises RecipeError for a plug-in that cannot be loaded."""
    return grader_named(recipe.measure.grader, GRADERS)
