"""The preference model's figures in the report: what it learned from, and how it orders held-out comparisons.

A share has its interval and its cases, as every share on the page; probabilities, errors and scores have the decimals
that the footer names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from solon.reporting.sentences import is_figure
from solon.runs.rows import PromptKind
from solon.stats.intervals import interval, percent, probability, signed, wilson

PreferenceLine = tuple[str, str, str]
"""What, its value, and its interval and cases."""
SOURCES: Mapping[str, str] = {
    "ai": "AI labels",
    "human": "human comparisons",
    "human-harmlessness": "human comparisons of harmlessness",
}
"""The sources of a preference model's pairs, in words."""
_KNOWN_ORDER: Mapping[str, str] = {
    "labelled_pairs": "better reply scored higher, labelled pairs with a known answer",
    PromptKind.HELD_OUT_HARMFUL: "better reply scored higher, answers to held-out harmful prompts",
    PromptKind.HELD_OUT_BENIGN: "better reply scored higher, answers to held-out benign prompts",
}
"""Facts of the measure stage about pairs of which a grader knows the better reply."""


def preference_lines(facts: Mapping[str, Any]) -> Iterator[PreferenceLine]:
    """The lines of the table; `solon results --json` has all facts."""
    held_out = facts.get("held_out_examples") or {}
    for source, count in (facts.get("examples") or {}).items():
        apart = f"and {held_out[source]:,} held out" if held_out.get(source) else ""
        yield f"learned from, {_source(source)}", f"{count:,}", apart
    decided = facts.get("held_out_decided") or {}
    for source, value in (facts.get("accuracy") or {}).items():
        cases = ""
        if n := decided.get(source):
            cases = f"[{interval(wilson(round(value * n), n).facts())}] of {n}"
        yield f"held-out pairs scored in the labelled order, {_source(source)}", percent(value), cases
    for name, words in (("brier", "Brier score"), ("ece", "expected calibration error")):
        for source, value in (facts.get(name) or {}).items():
            yield f"{words}, {_source(source)}", probability(value), ""
    if facts.get("centre") is not None:
        yield "centre, the score that reinforcement learning takes as zero", signed(facts["centre"]), ""
    for name, words in _KNOWN_ORDER.items():
        figure = facts.get(name) or {}
        if is_figure(figure):
            yield words, percent(figure["value"]), f"[{interval(figure)}] of {figure['n']}"


def _source(name: str) -> str:
    return SOURCES.get(name, name)
