"""From what the judges said of a pair to its label: over judges, over axes, then clamped.

An axis has a label when every judge has one on it, and the pair has one when every axis has: a mean over those that
happened to answer would be another label for every pair. The unclamped label is kept beside the clamped one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from solon.digest import uniform_for
from solon.errors import StageError
from solon.feedback.averaging import clamped, log_odds_of_mean, mean_probability
from solon.feedback.comparison_questions import ComparisonPlan, ShownOrder, pair_key
from solon.runs import Row
from solon.runs.outcome import Outcome
from solon.runs.rows import STRING, assistant_turn

AXIS_LABEL = pa.struct(
    [
        ("axis", STRING),
        ("weight", pa.float64()),
        ("principle_id", STRING),
        ("p_a", pa.float64()),
        ("p_a_unclamped", pa.float64()),
        ("undecided_because", STRING),
    ]
)


def label_of(pair: Row, by_judge: Sequence[Sequence[Row]], questionnaire: ComparisonPlan) -> Row:
    """The row of a pair: its label, the label of each axis, and every judgement behind them, judge by judge."""
    bounds = questionnaire.settings.bounds
    axes: list[Row] = []
    for judgements, drawn in zip(zip(*by_judge, strict=True), questionnaire.draws(pair), strict=True):
        why = next((each["undecided_because"] for each in judgements if each["p_a"] is None), None)
        p = None if why else mean_probability([each["p_a"] for each in judgements], [1.0] * len(judgements))
        axes.append(
            {
                "axis": drawn.axis,
                "weight": drawn.weight,
                "principle_id": drawn.principle.id,
                "p_a": None if p is None else clamped(p, bounds),
                "p_a_unclamped": p,
                "undecided_because": why,
            }
        )
    why = next((each["undecided_because"] for each in axes if each["p_a"] is None), None)
    weights = [axis["weight"] for axis in axes]
    p = None if why else mean_probability([axis["p_a_unclamped"] for axis in axes], weights)
    return {
        "row_id": pair["row_id"],
        "pair": pair["pair"],
        "prompt": pair["prompt"],
        "response_a": pair["response_a"],
        "response_b": pair["response_b"],
        "p_a": None if p is None else clamped(p, bounds),
        "p_a_unclamped": p,
        **{f"log_odds_{order.value}": _order_log_odds(by_judge, weights, order) for order in ShownOrder},
        "principle_id": joined(axis["principle_id"] for axis in axes),
        "judge": joined(judgements[0]["judge"] for judgements in by_judge),
        "axes": axes,
        "judgements": [each for judgements in by_judge for each in judgements],
        "outcome": (Outcome.UNDECIDED if p is None else Outcome.OK).value,
        "undecided_because": why,
        **chosen_of(pair, None if p is None else clamped(p, bounds), questionnaire.seed),
    }


def _order_log_odds(by_judge: Sequence[Sequence[Row]], weights: Sequence[float], order: ShownOrder) -> float | None:
    """What one order alone says of a pair, over judges and axes; None when one of them lacks it."""
    found = [each.get(f"log_odds_{order.value}") for judgements in by_judge for each in judgements]
    told = [value for value in found if value is not None]
    return log_odds_of_mean(told, list(weights) * len(by_judge)) if len(told) == len(found) else None


def chosen_of(pair: Row, p_a: float | None, seed: int) -> Row:
    """The replies in the order of a label; empty without one."""
    if p_a is None:
        return {"chosen": None, "rejected": None, "p_chosen": None}
    a, b = pair["response_a"], pair["response_b"]
    # At exactly one half neither is better; which of them stands first is drawn, never always A.
    a_first = p_a > 0.5 or (p_a == 0.5 and uniform_for(seed, "even pair", *pair_key(pair)) < 0.5)
    chosen, rejected = (a, b) if a_first else (b, a)
    return {
        "chosen": assistant_turn(chosen),
        "rejected": assistant_turn(rejected),
        "p_chosen": p_a if a_first else 1 - p_a,
    }


def axes_in(row: Row) -> Sequence[Row]:
    """The labels of the axes in a row; the row itself where it was written before there were axes."""
    return row.get("axes") or [row]


def on_axis(rows: Sequence[Row], axis: str, seed: int) -> list[Row]:
    """Labelled pairs with the label of one axis in place of the pair's, which may lack one where the axis has one.

    `seed` draws which reply stands first at exactly one half. Raises StageError when no pair was judged on the axis.
    """
    found: list[Row] = []
    for row in rows:
        label = next((each for each in row.get("axes") or () if each["axis"] == axis), None)
        if label is not None:
            p_a = label["p_a"]
            outcome = (Outcome.UNDECIDED if p_a is None else Outcome.OK).value
            found.append({**row, **chosen_of(row, p_a, seed), "p_a": p_a, "outcome": outcome})
    if not found:
        known = sorted({each["axis"] for row in rows for each in row.get("axes") or ()})
        raise StageError(
            f"no pair was judged on the axis '{axis}'",
            place="preference.axis",
            remedy=f"The labels have the axes {', '.join(known)}" if known else "Label with --set feedback.axes.NAME=1",
        )
    return found


def joined(names: Iterable[str]) -> str:
    """Different names in one line, in order."""
    return " + ".join(dict.fromkeys(map(str, names)))
