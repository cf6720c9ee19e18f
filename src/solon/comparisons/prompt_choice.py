"""The prompts that a person may take, or that simulated users write, for each mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from solon.comparisons.vote_rows import VoteMode
from solon.errors import InputError
from solon.evals.grading import Grader, knows
from solon.sources.entries import located
from solon.sources.prompt_files import FoundPrompt, read_prompts
from solon.sources.prompt_sources import names_in

PLAIN: Mapping[VoteMode, str] = {
    VoteMode.HELPFULNESS: "plain:helpful",
    VoteMode.HARMLESSNESS: "plain:red-team",
}
"""Prompts in plain English that come with Solon."""
TESTBED: Mapping[VoteMode, str] = {
    VoteMode.HELPFULNESS: "testbed:held-out-benign",
    VoteMode.HARMLESSNESS: "testbed:held-out-harmful",
}
"""Prompts that the testbed's oracle knows, and that no bundled run trains on."""


def prompts_by_mode(
    written: Sequence[str], modes: Sequence[VoteMode], *, testbed: bool = False
) -> dict[VoteMode, list[FoundPrompt]]:
    """The prompts of each mode: from `MODE=FILE`, else from `FILE`, else those that come with Solon.

    A source may be several, joined by ` + `. Raises InputError for one that is missing or has no prompt.
    """
    sources = dict(TESTBED if testbed else PLAIN)
    named = {mode: f"{mode}=" for mode in VoteMode}
    for each in written:
        if not any(each.startswith(prefix) for prefix in named.values()):
            sources |= dict.fromkeys(VoteMode, each)
    for each in written:
        sources |= {mode: each.removeprefix(prefix) for mode, prefix in named.items() if each.startswith(prefix)}
    return {mode: [found for name in names_in(sources[mode]) for found in _named(name)] for mode in modes}


def refuse_unknown_prompts(prompts: Mapping[VoteMode, Sequence[FoundPrompt]], grader: Grader) -> None:
    """Raise InputError where a grader that votes cannot label the replies to some of the prompts."""
    every = [found for of_mode in prompts.values() for found in of_mode]
    unknown = [found for found in every if not knows(grader, found.conversation)]
    if unknown:
        raise InputError(
            f"the oracle does not know {len(unknown):,} of {len(every):,} prompts, so its votes on replies to them "
            "would say nothing",
            place=unknown[0].place,
            remedy="Leave --prompts out, or name a model: --judge MODEL",
        )


def _named(name: str) -> list[FoundPrompt]:
    """The prompts of a source, each with the source's name as its place, not with a path of this machine."""
    return [replace(found, place=f"{name}:{found.line}") for found in read_prompts(located(name)).prompts]
