"""How many tokens the method needs beside a prompt, so that one that is too long is met before anything is asked.

Every question about a prompt holds more than the prompt: worked examples, a principle, a reply or two of up to their
token limits, and the answer itself. The largest sum over all questions of a kind of prompt is kept free.
"""

from __future__ import annotations

from collections.abc import Mapping

from solon import wording
from solon.constitution import Constitution, revision_principles
from solon.conversation import Conversation, Role, Turn
from solon.engines.base import Engine
from solon.recipe import Recipe, RevisionMode
from solon.stages.ai_feedback import few_shot_variants, worked_reasoning
from solon.stages.critique_revision import worked_examples
from solon.stages.tables import Kind

SLACK = 8
"""Tokens allowed for the joints between texts, which count apart and together slightly differently."""
_STUB = Conversation((Turn(Role.HUMAN, "Hello?"),))


def reserved_tokens(recipe: Recipe, constitution: Constitution, engine: Engine) -> Mapping[Kind, int]:
    """Tokens to be kept free beside a prompt, by its kind, in the tokens of `engine`.

    Raises RecipeError when the recipe asks for more worked examples than the constitution has.
    """
    rl = recipe.rl.drawing.max_tokens
    reply = max(recipe.responses.drawing.max_tokens, rl)
    red_team = max(
        reply, _critique_and_revision(recipe, constitution, engine), _comparison(recipe, constitution, engine)
    )
    measured = recipe.measure.drawing.max_tokens
    return {
        Kind.RED_TEAM: red_team + SLACK,
        Kind.HELPFUL: reply + SLACK,
        Kind.HELD_OUT_HARMFUL: measured + SLACK,
        Kind.HELD_OUT_BENIGN: measured + SLACK,
    }


def _critique_and_revision(recipe: Recipe, constitution: Constitution, engine: Engine) -> int:
    settings = recipe.revision
    examples = worked_examples(settings, constitution)
    answer = max(recipe.responses.drawing.max_tokens, settings.revision.max_tokens)
    critiqued = settings.mode is RevisionMode.CRITIQUED
    critique = "" if critiqued else None
    words = max(
        engine.count_tokens(wording.revision(_STUB, "", principle, critique, examples))
        for principle in revision_principles(settings, constitution)
    )
    spoken = answer + settings.revision.max_tokens + (settings.critique.max_tokens if critiqued else 0)
    return words - _bare(engine) + spoken


def _comparison(recipe: Recipe, constitution: Constitution, engine: Engine) -> int:
    variants = few_shot_variants(recipe.feedback, constitution, recipe.seed)
    words = max(
        engine.count_tokens(wording.comparison(_STUB, principle, "", "", examples))
        for principle in constitution.preference
        for examples in variants
    )
    thoughts = worked_reasoning(recipe.feedback, constitution, recipe.seed)
    if thoughts is not None:
        words = recipe.feedback.reasoning.max_tokens + max(
            engine.count_tokens(wording.verdict(wording.reasoning(_STUB, principle, "", "", thoughts), ""))
            for principle in constitution.preference
        )
    return words - _bare(engine) + 2 * recipe.pairs.drawing.max_tokens + 1


def _bare(engine: Engine) -> int:
    return engine.count_tokens(wording.reply(_STUB))
