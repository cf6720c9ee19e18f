"""How many tokens the method needs beside a prompt, so that one that is too long is met before anything is asked.

Every question about a prompt holds more than the prompt: worked examples, a principle, a reply or two of up to their
token limits, and the answer itself. The largest sum over all questions of a kind of prompt is kept free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from solon import prompts
from solon.config.recipe import Recipe, RevisionMode
from solon.constitution.constitution import Constitution, revision_principles, worked_critiques
from solon.constitution.reader import place_of
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.base import Engine
from solon.errors import ConstitutionError, RecipeError, SolonError
from solon.feedback.comparisons import few_shot_variants, worked_reasoning
from solon.feedback.letters import letter_tokens
from solon.runs.rows import PromptKind

SLACK = 8
"""Tokens allowed for the joints between texts, which count apart and together slightly differently."""
_STUB = Conversation((Turn(Role.HUMAN, "Hello?"),))


def reserved_tokens(
    recipe: Recipe, constitution: Constitution, engine: Engine, file: Path | None = None
) -> Mapping[PromptKind, int]:
    """Tokens to be kept free beside a prompt, by its kind, in the tokens of `engine`.

    Raises RecipeError when the recipe asks for more worked examples or other principles than the constitution has, and
    when its questions leave no room for any prompt; ConstitutionError when that is the fault of one text of the
    constitution, which lies in `file`.
    """
    reply = max(recipe.responses.sampling.max_tokens, recipe.rl.sampling.max_tokens)
    beside = tokens_beside(recipe, constitution, engine)
    red_team = max(
        reply, beside[Role.REVISION] + recipe.revision.revision.max_tokens, beside[Role.ANSWER] + letter_tokens(engine)
    )
    if red_team + SLACK + _bare(engine) > engine.window:
        raise _no_room(constitution, engine, red_team + SLACK, file)
    measured = recipe.measure.sampling.max_tokens
    return {
        PromptKind.RED_TEAM: red_team + SLACK,
        PromptKind.HELPFUL: reply + SLACK,
        PromptKind.HELD_OUT_HARMFUL: measured + SLACK,
        PromptKind.HELD_OUT_BENIGN: measured + SLACK,
    }


def tokens_beside(recipe: Recipe, constitution: Constitution, engine: Engine) -> Mapping[Role, int]:
    """What a question holds at most beside the prompt that it is about, in tokens, by the role that it is answered in.

    Counted are worked examples, the longest principle, and the texts of models at their limits, but not the answer.
    Questions that the recipe does not ask are left out. Raises RecipeError as `reserved_tokens` does.
    """
    return _critique_and_revision(recipe, constitution, engine) | _comparison(recipe, constitution, engine)


def _critique_and_revision(recipe: Recipe, constitution: Constitution, engine: Engine) -> dict[Role, int]:
    settings = recipe.revision
    examples = worked_critiques(settings, constitution)
    principles = revision_principles(settings, constitution)
    answer = max(recipe.responses.sampling.max_tokens, settings.revision.max_tokens) - _bare(engine)
    critiqued = settings.mode is RevisionMode.CRITIQUED
    critique = "" if critiqued else None
    revision = max(engine.count_tokens(prompts.revision(_STUB, "", each, critique, examples)) for each in principles)
    if not critiqued:
        return {Role.REVISION: revision + answer}
    asked = max(engine.count_tokens(prompts.critique(_STUB, "", each, examples)) for each in principles)
    return {Role.CRITIQUE: asked + answer, Role.REVISION: revision + settings.critique.max_tokens + answer}


def _comparison(recipe: Recipe, constitution: Constitution, engine: Engine) -> dict[Role, int]:
    replies = 2 * recipe.pairs.sampling.max_tokens - _bare(engine)
    variants = few_shot_variants(recipe.feedback, constitution, recipe.seed)
    thoughts = worked_reasoning(recipe.feedback, constitution, recipe.seed)
    if thoughts is not None:
        asked = [prompts.reasoning(_STUB, each, "", "", thoughts) for each in constitution.preference]
        verdict = max(engine.count_tokens(prompts.verdict(each, "")) for each in asked)
        return {
            Role.REASONING: max(map(engine.count_tokens, asked)) + replies,
            Role.ANSWER: verdict + recipe.feedback.reasoning.max_tokens + replies,
        }
    words = max(
        engine.count_tokens(prompts.comparison(_STUB, principle, "", "", examples))
        for principle in constitution.preference
        for examples in variants
    )
    return {Role.ANSWER: words + replies}


def _no_room(constitution: Constitution, engine: Engine, needed: int, file: Path | None) -> SolonError:
    """Whose fault it is that not even an empty prompt has room: one long text's, or that of all that is asked for."""
    sizes = {where: engine.count_tokens(_alone(text)) - _bare(engine) for where, text in _texts(constitution)}
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
        f"questions about a prompt need {needed} tokens beside it, and the window is {engine.window}",
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


def _alone(text: str) -> Prompt:
    return prompts.reply(Conversation((Turn(Role.HUMAN, text),)))


def _bare(engine: Engine) -> int:
    return engine.count_tokens(prompts.reply(_STUB))
