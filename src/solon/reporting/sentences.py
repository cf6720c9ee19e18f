"""Sentences about a run; each comes from a figure with its interval and claims only what the interval supports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from solon.reporting.visible_text import against_chance
from solon.stats.intervals import interval, percent, probability, signed, signed_interval, wilson

Figures = Mapping[str, Any]
"""A share or mean as `{"value", "low", "high", "n"}`."""


def reinforcement_sentences(facts: Mapping[str, Any]) -> Iterator[str]:
    """Why reinforcement learning stopped early, and signs of over-training."""
    if why := facts.get("stopped_because"):
        yield f"Reinforcement learning stopped after step {facts['steps']} of {facts['steps_asked']}: {why}."
    if warning := facts.get("warning"):
        yield f"{warning}."
    for sign in facts.get("signs", ()):
        yield f"A sign of over-training, {sign}."


def round_sentences(rounds: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The labels, preference model and policy of each online round; a round that has not begun is left out."""
    for facts in rounds:
        parts = []
        if outcomes := facts.get("outcomes"):
            parts.append(f"{outcomes.get('ok', 0):,} of {sum(outcomes.values()):,} pairs were labelled")
        if accuracy := facts.get("accuracy"):
            counts = facts.get("held_out_decided") or {}
            of = ", ".join(
                f"{ordered_in_words(value, counts.get(source))} ({source})" for source, value in accuracy.items()
            )
            parts.append(f"its preference model orders held-out pairs as they are labelled in {of}")
        if "score" in facts and "kl" in facts:
            parts.append(f"its policy ended at a score of {signed(facts['score'])} and a KL of {facts['kl']:.2f}")
        if parts:
            yield f"Round {facts['round']}: {'; '.join(parts)}."


def ordered_in_words(accuracy: float, pairs: int | None) -> str:
    """A preference model's accuracy, with interval where it is known over how many pairs it is taken."""
    if not pairs:
        return percent(accuracy)
    found = wilson(round(accuracy * pairs), pairs)
    return f"{percent(found.value)} [{interval(found.facts())}] of {pairs}"


def snapshot_sentences(found: Mapping[str, Any]) -> Iterator[str]:
    """Signs of over-training in the snapshots of the policy."""
    for sign in found.get("signs", ()):
        yield f"Measured on the snapshots of the policy, {sign}."


def clearly(before: Figures, after: Figures) -> str | None:
    """`fell` or `rose` if the intervals do not overlap, else None."""
    if after["high"] < before["low"]:
        return "fell"
    return "rose" if after["low"] > before["high"] else None


def judge_check_sentences(judge_check: Mapping[str, Any]) -> Iterator[str]:
    """How often the critic and the judge are right, against chance.

    `judge_check` is `{ROLE: {"value", "low", "high", "n", "chance"?, "what"?}}`.
    """
    for role, share in judge_check.items():
        if not is_figure(share) or share["n"] == 0:
            continue
        what = share.get("what", "plain comparisons" if role == "judge" else "plain questions")
        chance = float(share.get("chance", 0.5))
        verdict = against_chance(share, chance)
        if chance != 0.5:
            verdict += f" ({percent(chance)})"
        if share["high"] < 0.5:
            verdict += f"; too weak a {role} to rely on"
        right = f"{percent(share['value'])} [{interval(share)}] of {share['n']} {what}"
        yield f"The {role} was right on {right}: {verdict}."


def judge_check_details(judge_check: Mapping[str, Any]) -> Iterator[str]:
    """Other measures of critic and judge on questions with known answers."""
    measures = {
        "copied": "of its critiques repeated a worked example",
        "passed": "of its critiques passed every check",
        "unchanged": "of its revisions left the reply unchanged",
        "orders_agree": "of its answers stayed the same when the replies were swapped",
        "undecided": "of its answers had no usable preference",
    }
    for role, share in judge_check.items():
        parts = [
            f"{percent(share[key]['value'])} [{interval(share[key])}] {words}"
            for key, words in measures.items()
            if isinstance(share, Mapping) and is_figure(share.get(key))
        ]
        if parts:
            yield f"On plain questions to the {role}, {'; '.join(parts)}."


def judge_details(judge: Mapping[str, Any]) -> Iterator[str]:
    """What influences a judge, on questions with known answers: order, letters, injected words; and its calibration."""
    if pull := judge.get("position_bias"):
        yield (
            f"Being shown as (A) adds {_log_odds(pull)} to a reply's log-odds (0 is ideal; averaging both orders "
            "removes it)."
        )
    if prior := judge.get("letter_prior"):
        yield (
            f"Between two equal replies without content, the judge gives (A) a probability of "
            f"{percent(prior['value'])} [{interval(prior)}] (50 % is ideal), over {prior['n']} questions."
        )
    flips = judge.get("injections") or {}
    if is_figure(flips):
        back = flips.get("righted")
        chance = f"; {percent(back['value'])} of {back['n']} wrong answers became right, by chance" if back else ""
        yield (
            f"Words in the worse reply that try to influence the judge turned {percent(flips['value'])} "
            f"[{interval(flips)}] of {flips['n']} right answers wrong{chance}."
        )
    if judge.get("ece") is not None and judge.get("brier") is not None:
        yield (
            "On comparisons with a known answer its labels have an expected calibration error of "
            f"{probability(judge['ece'])} and a Brier score of {probability(judge['brier'])} "
            "(a label of one half has 0.250)."
        )


def _log_odds(figure: Figures) -> str:
    return f"{signed(figure['value'])} [{signed_interval(figure)}]"


def judge_sentences(figures: Mapping[str, Any]) -> Iterator[str]:
    """What the measure stage found about the AI labels."""
    labels = figures.get("labels")
    if not labels or "pairs" not in labels:
        return
    because = ", ".join(f"{count}: {why}" for why, count in labels.get("undecided_because", {}).items())
    yield f"Of {labels['pairs']} pairs, {labels['undecided']} have no label{f' ({because})' if because else ''}."
    if agreement := labels.get("agreement"):
        right = f"{percent(agreement['value'])} [{interval(agreement)}] of {agreement['n']} pairs"
        yield (
            f"If exactly one of two replies was harmful, the label preferred the harmless one in {right}: "
            f"{against_chance(agreement)}."
        )
    if labels.get("ece") is not None and labels.get("brier") is not None:
        yield (
            f"Against that truth the labels have an expected calibration error of {probability(labels['ece'])} "
            "and a Brier "
            f"score of {probability(labels['brier'])}."
        )
    if same := labels.get("orders_agree"):
        yield (
            f"Shown in both orders, the same reply was preferred in {percent(same['value'])} [{interval(same)}] "
            f"of {same['n']} pairs."
        )
    if pull := labels.get("first_shown_log_odds"):
        yield (f"Being shown first moves a reply's log-odds by {_log_odds(pull)}; averaging both orders removes this.")


def is_figure(value: object) -> bool:
    """Whether a value is a share or mean with its interval."""
    return isinstance(value, Mapping) and {"value", "low", "high", "n"} <= value.keys()
