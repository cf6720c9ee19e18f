"""Rules that end a run, on metrics made up so that each rule's first step is known."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from solon.config.recipe import StopSettings
from solon.rl.stopping import over_optimised, signs, stop_reason

OFF = StopSettings(kl=None, entropy=None, opening=None, held_out=None, patience=2)


def steps(count: int, **columns: Any) -> list[dict[str, Any]]:
    """Steady metrics; a column may be a function of the step, from 0."""
    plain = {"kl": 1.0, "entropy": 2.0, "common_opening": 0.1, "distinct_trigrams": 0.9, "length": 30.0, "score": 1.0,
             "held_out_score": None}  # fmt: skip
    return [
        {name: value(step) if callable(value) else value for name, value in {**plain, **columns}.items()}
        for step in range(count)
    ]


RULES = [
    ({"kl": 5.0}, {"kl": lambda step: float(step)}, "rl.stop.kl"),
    ({"entropy": 0.25}, {"entropy": lambda step: 2.0 if step < 6 else 0.4}, "rl.stop.entropy"),
    ({"opening": 0.5}, {"common_opening": lambda step: step / 10 + 0.01}, "rl.stop.opening"),
]


@pytest.mark.parametrize(("limit", "column", "named"), RULES)
def test_a_rule_must_hold_for_as_many_steps_as_patience_says(
    limit: dict[str, float], column: dict[str, Any], named: str
) -> None:
    settings = OFF.model_copy(update=limit)
    rows = steps(12, **column)
    reasons = [stop_reason(rows[: n + 1], settings) for n in range(len(rows))]
    met = [reason is not None for reason in reasons]
    first = met.index(True)
    assert named in str(reasons[first]) and "for 2 steps" in str(reasons[first])
    assert all(met[first:])
    earlier = [stop_reason(rows[: n + 1], settings.model_copy(update={"patience": 1})) for n in range(len(rows))]
    assert [reason is not None for reason in earlier].index(True) == first - 1
    assert all(stop_reason(rows[: n + 1], OFF) is None for n in range(len(rows)))


def test_nothing_stops_a_run_before_its_first_step() -> None:
    assert stop_reason([], StopSettings()) is None


def noise(step: int) -> float:
    return 0.01 * (step * 7 % 5 - 2)


def test_a_score_that_rises_while_the_held_out_score_falls() -> None:
    settings = OFF.model_copy(update={"held_out": 4})
    apart = steps(8, score=lambda n: n + noise(n), held_out_score=lambda n: -n + noise(n))
    assert over_optimised(apart, 4) and "rl.stop.held_out" in str(stop_reason(apart, settings))
    assert not over_optimised(apart[:7], 4), "not before there are two windows"
    together = steps(8, score=lambda n: n + noise(n), held_out_score=lambda n: n + noise(n))
    falling = steps(8, score=lambda n: -n + noise(n), held_out_score=lambda n: -n + noise(n))
    still = steps(8, score=noise, held_out_score=lambda n: -noise(n))
    assert not any(over_optimised(rows, 4) for rows in (together, falling, still, steps(8)))


def test_a_window_of_one_step_is_refused_because_it_has_no_spread() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        StopSettings(held_out=1)
    assert StopSettings(held_out=2).held_out == 2 and StopSettings(held_out=None).held_out is None


def test_signs_name_what_changed_from_the_first_quarter_to_the_last() -> None:
    assert signs(steps(8)) == [] and signs(steps(3, length=lambda n: 10.0**n)) == []
    warnings = signs(
        steps(
            8, common_opening=lambda n: n / 8, distinct_trigrams=lambda n: 0.9 - n / 10, length=lambda n: 20.0 + 5 * n,
            score=float, held_out_score=lambda n: -float(n),
        )
    )  # fmt: skip
    assert [line.partition(":")[0] for line in warnings] == ["boilerplate", "monotony", "length", "over-optimisation"]
    assert "81.2 % of the replies" in warnings[0] and "(6.2 % at first)" in warnings[0]
    assert "from +0.50 to +6.50" in warnings[3] and "from -0.50 to -6.50" in warnings[3]


def test_signs_of_a_run_with_quarters_of_one_step_need_no_spread() -> None:
    assert signs(steps(4, score=float, held_out_score=lambda n: -float(n))) == []


def test_empty_replies_are_named_when_they_are_many() -> None:
    assert signs(steps(8, empty=0.1)) == []
    (warnings,) = signs(steps(8, empty=lambda n: n / 10))
    assert warnings == "silence: 65% of the replies are empty (5% at first), and the policy does not learn from those"
    assert len(signs(steps(2, empty=0.5))) == 1, "in a short run too"
    assert signs([]) == []


def test_a_held_out_score_that_rose_before_it_fell_is_compared_with_its_best() -> None:
    def peak(step: int) -> float:
        return 3.0 - abs(step - 8) / 4 + 0.01 * (step % 2)  # ends above where it began

    (warnings,) = signs(steps(16, score=lambda n: n + 0.01 * (n % 2), held_out_score=peak))
    assert warnings.startswith("over-optimisation") and "the held-out score fell from +2.63 to +1.63" in warnings


def test_a_fall_within_the_spread_is_no_sign() -> None:
    def noisy(step: int) -> float:
        return (1.0 if step % 2 else -1.0) - 0.01 * step

    assert signs(steps(16, score=lambda n: n + 0.01 * (n % 2), held_out_score=noisy)) == []


def test_drift_is_a_kl_beyond_the_variety_of_the_first_replies() -> None:
    assert signs(steps(8, entropy=0.1, length=30.0, kl=lambda n: n * 0.8)) == []  # 5.2 nats, and twice 3.0 are allowed
    (warnings,) = signs(steps(8, entropy=0.1, length=30.0, kl=float))
    assert warnings.startswith("drift: replies are 6.5 nats from the reference; its replies vary by 3.0")
