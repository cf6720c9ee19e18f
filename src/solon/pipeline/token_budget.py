"""How many tokens the method needs on top of a prompt, to find prompts that are too long before anything is asked.

Every question about a prompt holds more than the prompt: worked examples, a principle, a reply or two of up to their
token limits, and the answer itself. The largest sum over all questions of a kind of prompt is kept free. Counted are
the questions of every stage, whether or not a run of the recipe has it, so that runs by several methods and algorithms
take the same prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from solon import prompts
from solon.config.recipe import Recipe
from solon.constitution.constitution import Constitution
from solon.constitution.reader import place_of
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.base import TokenBudget
from solon.errors import ConstitutionError, RecipeError, SolonError
from solon.feedback.ask import bare_tokens
from solon.runs.rows import PromptKind
from solon.stages.plan import all_stages

SLACK = 8
"""Tokens allowed for the joints between texts, which count apart and together slightly differently."""


def reserved_tokens(
    recipe: Recipe, constitution: Constitution, engine: TokenBudget, file: Path | None = None
) -> Mapping[PromptKind, int]:
    """Tokens that a prompt has to leave free in the window, by its kind, in the tokens of `engine`.

    Raises RecipeError when the recipe asks for more worked examples or other principles than the constitution has, and
    when its questions leave no space for any prompt; ConstitutionError when one text of the constitution in `file`
    is too long.
    """
    most = dict.fromkeys(PromptKind, 0)
    for question in (each for stage in all_stages(recipe) for each in stage.questions(recipe)):
        tokens = question.tokens(constitution, engine) + SLACK
        for kind in question.about:
            most[kind] = max(most[kind], tokens)
    if (red_team := most[PromptKind.RED_TEAM]) + bare_tokens(engine) > engine.window:
        raise _window_error(constitution, engine, red_team, file)
    return most


def _window_error(constitution: Constitution, engine: TokenBudget, needed: int, file: Path | None) -> SolonError:
    """The error when not even an empty prompt fits: one text of the constitution is too long, or all together are."""
    sizes = {where: engine.count_tokens(_asked(text)) - bare_tokens(engine) for where, text in _texts(constitution)}
    where = max(sizes, key=lambda each: sizes[each])
    if sizes[where] > engine.window // 2:
        section, position, key = where
        ids = [each.id for each in getattr(constitution, section, ())]
        entry = f"principle '{ids[position]}'" if ids else f"entry {position + 1} of '{section}'"
        return ConstitutionError(
            f"'{key}' of {entry} has {sizes[where]} tokens, "
            f"and all of a question has to fit into the window of {engine.window}",
            place=place_of(file, *section.split("."), position) if file else f"constitution '{constitution.name}'",
            remedy="Shorten it, or take a model with a longer window",
        )
    return RecipeError(
        f"questions about a prompt need {needed} tokens on top of it, and the window is {engine.window}",
        place="engine.window",
        remedy="Use fewer worked examples (revision.few_shot, feedback.few_shot), lower max_tokens of responses, "
        "revision, pairs and rl, or a model with a longer window",
    )


def _texts(constitution: Constitution) -> Iterator[tuple[tuple[str, int, str], str]]:
    """Every text that goes into questions, by section, position and key."""
    sections = {
        "revision": constitution.revision,
        "preference": constitution.preference,
        "examples.critique": constitution.critique_examples,
        "examples.comparison": constitution.comparison_examples,
        "examples.reasoned": constitution.reasoned_examples,
    }
    for section, entries in sections.items():
        for position, entry in enumerate(entries):
            for field in fields(cast(Any, entry)):
                value = getattr(entry, field.name)
                if isinstance(value, Conversation):
                    value = "\n\n".join(turn.content for turn in value.turns)
                if isinstance(value, str):
                    yield (section, position, field.name), value


def _asked(text: str) -> Prompt:
    return prompts.reply(Conversation((Turn(Role.HUMAN, text),)))
