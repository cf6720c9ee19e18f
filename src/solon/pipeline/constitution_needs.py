"""What a recipe needs of a constitution: principles that it names, worked examples, and axes.

Every stage checks its own needs when it starts. Here all of them are checked beforehand and together, so that the
author of a constitution sees every error before anything is loaded. The warnings about principles that the bundled
models cannot read are here, since no stage knows the testbed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.config.builtin import PREFIX, constitution_path
from solon.config.located_yaml import suggestion
from solon.config.recipe import Method, Recipe
from solon.constitution.constitution import Constitution, preference_principles, revision_principles, worked_critiques
from solon.constitution.reader import check_constitution, load_constitution
from solon.errors import RecipeError, SolonError
from solon.feedback.best_of import choose_plan
from solon.feedback.comparisons import axes_of, few_shot_variants, helpful_axes_of, worked_reasoning


@dataclass(frozen=True, slots=True)
class ConstitutionCheck:
    """The constitution in a file, every fault of it, and warnings about principles that models cannot read.

    `constitution` is None for a file with a fault of its own.
    """

    constitution: Constitution | None
    faults: tuple[SolonError, ...] = ()
    warnings: tuple[str, ...] = ()


def check_file(file: Path, recipe: Recipe | None = None) -> ConstitutionCheck:
    """Read a whole constitution file, and check it against the needs of a recipe.

    Raises ConstitutionError for a file that is missing or not YAML.
    """
    if faults := check_constitution(file):
        return ConstitutionCheck(None, tuple(faults))
    loaded = load_constitution(file)
    if recipe is None:
        return ConstitutionCheck(loaded)
    unmet = unmet_needs(recipe, loaded)
    return ConstitutionCheck(loaded, tuple(unmet), () if unmet else tuple(unread_rules(askers(recipe), loaded)))


def unmet_needs(recipe: Recipe, constitution: Constitution) -> list[RecipeError]:
    """Everything that the recipe needs and that is missing from the constitution, each as the error of a run.

    A recipe by method rlhf needs nothing of it.
    """
    if recipe.method is Method.RLHF:
        return []
    feedback, revision, seed = recipe.feedback, recipe.revision, recipe.seed
    asked: list[Callable[[], object]] = [
        lambda: revision_principles(revision, constitution),
        lambda: worked_critiques(revision, constitution),
        lambda: choose_plan(revision.choose_by, constitution, seed),
        lambda: preference_principles(feedback, constitution),
        lambda: axes_of(feedback, constitution),
        lambda: helpful_axes_of(feedback, constitution),
        lambda: few_shot_variants(feedback, constitution, seed),
        lambda: worked_reasoning(feedback, constitution, seed),
        lambda: _known_axis(recipe),
    ]
    found: dict[str, RecipeError] = {}
    for ask in asked:
        try:
            ask()
        except RecipeError as error:
            found.setdefault(str(error), error)
    return list(found.values())


def refuse_unmet_needs(recipe: Recipe, constitution: Constitution) -> None:
    """Raise the first RecipeError of `unmet_needs`, if there is one."""
    for error in unmet_needs(recipe, constitution):
        raise error


def _known_axis(recipe: Recipe) -> None:
    axis, known = recipe.preference.axis, recipe.feedback.axes or {}
    if axis is not None and axis not in known:
        raise RecipeError(
            f"the preference model is to learn the axis '{axis}', which gets no labels",
            place="preference.axis",
            remedy=suggestion(axis, known) if known else f"Add --set feedback.axes.{axis}=1",
        )


def askers(recipe: Recipe) -> tuple[str | None, ...]:
    """The models that read principles in a run of the recipe; None means the assistant."""
    models = recipe.models
    return (models.assistant, models.critic, models.reviser, *models.judges)


def unread_rules(models: Sequence[str | None], constitution: Constitution) -> list[str]:
    """Warnings about principles that bundled models cannot read, where one of them is among the `models` by name."""
    if not any(name and name.startswith(PREFIX) for name in models):
        return []
    if constitution.hash == load_constitution(constitution_path("testbed")).hash:
        return []
    # Imported here: only the bundled models have a language of their own.
    from solon.testbed.principle_language import is_readable

    kinds = {"critique_request": "critique", "revision_request": "revision", "instruction": "comparison"}
    unread = [
        f"{section} '{rule.id}'"
        for section, rules in (("revision", constitution.revision), ("preference", constitution.preference))
        for rule in rules
        if not all(is_readable(kind, getattr(rule, key)) for key, kind in kinds.items() if hasattr(rule, key))
    ]
    if not unread:
        return []
    total = len(constitution.revision) + len(constitution.preference)
    return [
        f"Warning: {len(unread)} of {total} principles are in words that the bundled models cannot read, and may do "
        f"nothing there: {', '.join(unread)}. What they read is listed by: solon testbed words"
    ]
