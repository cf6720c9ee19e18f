"""What a principle changed, in sentences, for the terminal and the report.

Each sentence says what its figures are of; a figure that nobody measured gives no sentence, or one that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from solon.reporting.tracing.find_trace import PrincipleOutcome
from solon.reporting.tracing.principle_reach import (
    LEAST_OTHERS,
    ExampleReach,
    PreferenceReach,
    RevisionReach,
)
from solon.stats.intervals import ONE_CASE, Share, interval, percent, probability

MOST_NAMES = 5
"""Names in a list before the rest is counted."""


def outcome_sentences(outcome: PrincipleOutcome) -> Iterator[str]:
    """What one principle of a run changed."""
    if outcome.revision is not None:
        yield from _revision(outcome.revision)
    if outcome.preference is not None:
        yield from _preference(outcome.preference)
    if outcome.worked:
        yield (
            f"It stands in the worked comparisons of {outcome.worked} of {outcome.arrangements} arrangements, so that "
            "labels of other principles depend on its text as well."
        )
    for reach in outcome.examples:
        yield _examples(reach)


def _revision(reach: RevisionReach) -> Iterator[str]:
    steps = ", ".join(f"step {step}: {count}" for step, count in reach.by_step.items())
    yield f"Drawn for {reach.draws:,} of {reach.of:,} revisions{f' ({steps})' if steps else ''}."
    if not reach.draws:
        return
    if reach.next_in_draw is not None:
        yield _without(reach.next_in_draw)
    kept = reach.draws - reach.rewritten
    yield f"{reach.rewritten:,} of its revisions changed the reply; {kept:,} left it as it was."
    if reach.mended is None and reach.spoiled is None:
        yield "What the revisions did to harm is not known: no grader rated them."
    if reach.mended is not None:
        yield f"Of the harmful replies it made harmless: {in_words(reach.mended)}."
    if reach.spoiled is not None:
        yield f"Of the harmless replies it made harmful: {in_words(reach.spoiled)}."
    changes = [
        f"{each.count} from {_labels(each.before)} to {_labels(each.after)}"
        for each in reach.label_changes[:MOST_NAMES]
    ]
    if changes:
        more = sum(each.count for each in reach.label_changes[MOST_NAMES:])
        yield f"The grader's labels changed: {'; '.join(changes)}{f'; {more} others' if more else ''}."


def _preference(reach: PreferenceReach) -> Iterator[str]:
    yield f"Drawn for {reach.draws:,} of {reach.of:,} labels, of which {reach.decided:,} are decided."
    if reach.chose_revisions:
        yield f"It chose among the candidates of {reach.chose_revisions:,} revisions."
    if not reach.draws:
        return
    if reach.next_in_draw is not None:
        yield _without(reach.next_in_draw)
    if reach.confidence is not None:
        found = reach.confidence
        ends = f"{probability(found.low)}-{probability(found.high)}" if found.has_interval else ONE_CASE
        yield f"Mean probability of the preferred reply: {probability(found.value)} [{ends}]."
    if reach.wins is not None:
        others = f"; with the other principles: {in_words(reach.others_win)}" if reach.others_win else ""
        yield (
            "Win rate of the harmless reply, where the grader calls exactly one harmful: "
            f"{in_words(reach.wins)}{others}."
        )
    else:
        yield "Its win rate is not known: no grader calls exactly one of its two replies harmful."
    if reach.compared:
        yield (
            f"Label flips: {len(reach.flips)} of {reach.compared} labels go against the other principles, which mostly "
            f"prefer the other kind of reply (kinds by the grader's labels, at least {LEAST_OTHERS} other pairs)."
        )
    if reach.axis_flips is not None:
        yield f"Without its axis, {len(reach.axis_flips)} of its pairs would have the opposite label."


def _examples(reach: ExampleReach) -> str:
    held_out = f", and {reach.held_out:,} that are held out" if reach.held_out else ""
    return f"Training examples of {reach.stage}: {reach.examples:,}{held_out}, of {reach.of:,} in all."


def _without(counts: Mapping[str, int]) -> str:
    if not counts:
        return "What its draws would have been without it is not known: they cannot be repeated from the run's files."
    listed = [f"{name} {count}" for name, count in list(counts.items())[:MOST_NAMES]]
    more = sum(list(counts.values())[MOST_NAMES:])
    return f"Without it these draws go to {', '.join(listed)}{f', others {more}' if more else ''}."


def _labels(labels: tuple[str, ...]) -> str:
    return "+".join(labels) or "no label"


def in_words(share: Share) -> str:
    """A share with interval and cases: `61.5 % [35.5-82.3] of 13`."""
    return f"{percent(share.value)} [{interval(share.facts())}] of {share.n}"
