"""Rules that end a run early with a reason, and warning signs for the console.

All are functions of the metrics so far, so a resumed run ends at the same step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, variance
from typing import Any

from solon.config.recipe import StopSettings
from solon.stats.intervals import percent

Rows = Sequence[Mapping[str, Any]]

_CERTAIN = 2.0
"""Standard errors by which a mean must have moved before it counts as moved."""
_OPENING_RISE, _VARIETY_LEFT, _LENGTH_GROWN = 0.2, 0.6, 1.5
_SILENT = 0.1
"""The least share of empty replies to warn about."""
_DRIFTED = 2.0
"""A KL of more than this many times the entropy of the first replies is a sign of drift."""


def stop_reason(rows: Rows, settings: StopSettings) -> str | None:
    """Why the run ends after these steps, with the name of the setting; None while it continues."""
    last = rows[-settings.patience :]
    if len(last) == settings.patience:
        first_entropy = rows[0]["entropy"]
        rules: list[tuple[str, float | None, str, Callable[[float, float], bool], str]] = [
            ("kl", settings.kl, "the KL to the reference was above {limit:g} nats per reply", float.__gt__, "kl"),
            (
                "entropy",
                None if settings.entropy is None else settings.entropy * first_entropy,
                "the policy's entropy was below {limit:.3g} nats per token, "
                f"{settings.entropy} of what it began with",
                float.__lt__,
                "entropy",
            ),
            (
                "common_opening",
                settings.opening,
                f"more than {percent(settings.opening or 0.0)} of the replies opened with the same words",
                float.__gt__,
                "opening",
            ),
        ]
        for column, limit, words, beyond, setting in rules:
            if limit is not None and all(beyond(float(row[column]), float(limit)) for row in last):
                return f"{words.format(limit=limit)} for {_steps(settings.patience)} (rl.stop.{setting})"
    if settings.held_out is not None and over_optimised(rows, settings.held_out):
        return (
            f"over {_steps(2 * settings.held_out)} the score rose while the held-out score fell: "
            "the policy has learned the preference model's mistakes (rl.stop.held_out)"
        )
    return None


def over_optimised(rows: Rows, window: int) -> bool:
    """Whether the score rose and the held-out score fell significantly from one window of steps to the next.

    A change of a mean is significant from two standard errors of the difference, by the spread of the steps in both
    windows. `window` is at least 2. False without held-out scores, or with fewer than two windows of them. (Bai et al.
    2022a, section 4.2, compares the preference model that is optimised with another one.)
    """
    recent = rows[-2 * window :]
    if len(recent) < 2 * window or any(row.get("held_out_score") is None for row in recent):
        return False
    score, held_out = ([float(row[name]) for row in recent] for name in ("score", "held_out_score"))
    return _rise(score, window) > _CERTAIN and _rise(held_out, window) < -_CERTAIN


def signs(rows: Rows) -> list[str]:
    """Warnings for the console about how replies changed from the first quarter of the steps to the last.

    The held-out score is compared with the quarter in which it was best, since it may rise before it falls.
    """
    quarter = max(1, len(rows) // 4)
    warnings = _silence(rows[:quarter], rows[-quarter:])
    if len(rows) < 4:
        return warnings
    before, after = rows[:quarter], rows[-quarter:]

    def means(name: str) -> tuple[float, float]:
        return fmean(row[name] for row in before), fmean(row[name] for row in after)

    first, last = means("common_opening")
    if last - first > _OPENING_RISE:
        warnings.append(
            f"boilerplate: {percent(last)} of the replies open with the same words ({percent(first)} at first)"
        )
    first, last = means("distinct_trigrams")
    if last < _VARIETY_LEFT * first:
        warnings.append(f"monotony: {percent(last)} of the replies' trigrams differ ({percent(first)} at first)")
    first, last = means("length")
    if last > _LENGTH_GROWN * first or first > _LENGTH_GROWN * last:
        warnings.append(f"length: replies have {last:.0f} tokens ({first:.0f} at first)")
    variety = fmean(row["entropy"] * row["length"] for row in before)
    _, distance = means("kl")
    if distance > _DRIFTED * variety:
        warnings.append(
            f"drift: replies are {distance:.1f} nats from the reference; its replies vary by {variety:.1f} "
            "(KL and entropy per reply)"
        )
    if all(row.get("held_out_score") is not None for row in rows):
        warnings += _over_optimised_since_best(rows, quarter)
    return warnings


def _silence(before: Rows, after: Rows) -> list[str]:
    """A warning when many of the last replies are empty."""
    first, last = (fmean([row.get("empty") or 0.0 for row in rows] or [0.0]) for rows in (before, after))
    if last <= _SILENT:
        return []
    return [
        f"silence: {last:.0%} of the replies are empty ({first:.0%} at first), and the policy does not learn from those"
    ]


def _over_optimised_since_best(rows: Rows, window: int) -> list[str]:
    """A warning when the score rose and the held-out score fell significantly since its best quarter.

    A quarter of one step has no spread, and says nothing.
    """
    if window < 2:
        return []
    last = rows[-window:]
    earlier = [rows[start : start + window] for start in range(0, len(rows) - 2 * window + 1, window)]
    best = max(earlier, key=lambda part: fmean(row["held_out_score"] for row in part))
    if not over_optimised([*best, *last], window):
        return []
    (first, end), (held_first, held_end) = (
        tuple(fmean(row[name] for row in part) for part in (best, last)) for name in ("score", "held_out_score")
    )
    return [
        f"over-optimisation: the score rose from {first:+.2f} to {end:+.2f}, "
        f"the held-out score fell from {held_first:+.2f} to {held_end:+.2f}"
    ]


def _rise(values: Sequence[float], window: int) -> float:
    """The rise from the first to the second half, in standard errors of the difference."""
    before, after = values[:window], values[window:]
    moved = fmean(after) - fmean(before)
    error = math.sqrt((variance(before) + variance(after)) / window)
    if error == 0:
        return math.copysign(math.inf, moved) if moved else 0.0
    return moved / error


def _steps(number: int) -> str:
    return f"{number} steps" if number > 1 else "a step"
