"""How preference models along several axes go together (paper, section 6.1: "correlated or anti-correlated").

Each model scores both replies of the same held-out pairs. Two axes are compared by the correlation of their score
differences. Which reply is called A is arbitrary, and swapping the two changes the sign of both differences, so the
correlation is taken through the origin: sum xy / sqrt(sum x^2 sum y^2), which no swap changes. Its interval is a
bootstrap over prompts. The same is computed of the labels that the models learned from: where the models go together
and the labels do not, the models have generalised from one axis to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation
from solon.digest import seed_for
from solon.errors import StageError
from solon.reward.scorer import PreferenceScorer, Zero, open_scorer
from solon.runs import Artefact, StageFolder
from solon.runs.axis_rows import AxesFacts, AxisCell, AxisDifference, AxisFigures, AxisPairRow, AxisScoreRow
from solon.runs.rows import LabelRow, PairRow
from solon.stats.correlation import RESAMPLES, WHOLE_RANGE, Correlation
from solon.training.loop import is_held_out
from solon.training.models import arithmetic

CODE = 1
"""The version of this module; raise it with every change that gives other rows for the same models and labels."""
R = TypeVar("R", LabelRow, PairRow)


@dataclass(frozen=True, slots=True)
class AxisInputs:
    """The labels, the share of prompts that the models did not learn from, the models by axis, and what is known."""

    seed: int
    constitution: str
    judge: str
    labels: Sequence[LabelRow]
    held_out: float
    models: Mapping[str, Path]
    figures: tuple[AxisFigures, ...]
    engine: EngineSettings
    chunk: int = 128


def correlate(inputs: AxisInputs, out: StageFolder) -> Artefact:
    """Score every held-out pair on every axis, compare each two axes, and publish the pairs.

    Raises StageError when no pair is held out.
    """
    pairs = compared_pairs(inputs.labels, inputs.held_out, inputs.seed)
    scores: dict[str, list[AxisScoreRow]] = {}
    for axis, folder in inputs.models.items():
        work = partial(_scored, folder, inputs.engine, [])
        unit = f"pairs scored on {axis}"
        scores[axis] = out.map(f"scores on {axis}", pairs, work, row=AxisScoreRow, chunk=inputs.chunk, unit=unit)
    rows = [_pair_row(row, {axis: found[place] for axis, found in scores.items()}) for place, row in enumerate(pairs)]
    facts = AxesFacts(
        constitution=inputs.constitution,
        judge=inputs.judge,
        pairs=len(rows),
        axes=inputs.figures,
        cells=tuple(axis_cells(rows, list(inputs.models), seed_for(inputs.seed, "axes bootstrap"))),
    )
    return out.publish(rows, AxisPairRow, facts=facts.record())


def compared_pairs(pairs: Sequence[R], held_out: float, seed: int) -> list[R]:
    """The pairs of two different replies to prompts that no model learns from; raises StageError without any.

    They are known from the replies alone, so that nobody waits for labels and models that cannot be compared.
    """
    found = [
        row
        for row in pairs
        if row.response_a.strip()
        and row.response_b.strip()
        and row.response_a != row.response_b
        and is_held_out(row.row_id, held_out, seed)
    ]
    if not found:
        raise StageError(
            "no pair of replies is held out, so the models cannot be compared",
            place="preference.training.held_out",
            remedy="Label more prompts, or hold out more of them: --set preference.training.held_out=0.3",
        )
    return found


def axis_cells(rows: Sequence[AxisPairRow], axes: Sequence[str], seed: int) -> list[AxisCell]:
    """Each two axes in their order, by score differences and by labels."""
    differences = {axis: [_on(row, axis).difference for row in rows] for axis in axes}
    labels = {axis: [None if (p := _on(row, axis).p_a) is None else p - 0.5 for row in rows] for axis in axes}
    prompts = [row.row_id for row in rows]
    return [
        AxisCell(
            one=one,
            other=other,
            scores=through_origin(prompts, differences[one], differences[other], seed),
            labels=through_origin(prompts, labels[one], labels[other], seed),
        )
        for one, other in combinations(axes, 2)
    ]


def through_origin(
    units: Sequence[str], one: Sequence[float | None], other: Sequence[float | None], seed: int
) -> Correlation | None:
    """The correlation through the origin over cases where both are known, with its bootstrap interval over units.

    None where there is no such case, or where one of the two is always 0.
    """
    known = [(unit, x, y) for unit, x, y in zip(units, one, other, strict=True) if x is not None and y is not None]
    places = {unit: place for place, unit in enumerate(dict.fromkeys(unit for unit, _, _ in known))}
    sums_U3 = np.zeros((len(places), 3))
    for unit, x, y in known:
        sums_U3[places[unit]] += (x * y, x * x, y * y)
    value = _coefficients(sums_U3.sum(0, keepdims=True))[0] if known else np.nan
    if not np.isfinite(value):
        return None
    if len(places) == 1:
        return Correlation(float(value), *WHOLE_RANGE, len(known), 1)
    drawn_RU = np.random.default_rng(seed).integers(len(places), size=(RESAMPLES, len(places)))
    found_R = _coefficients(sums_U3[drawn_RU].sum(1))
    low, high = np.quantile(found_R[np.isfinite(found_R)], (0.025, 0.975))
    held = min(float(low), float(value)), max(float(high), float(value))
    return Correlation(float(value), *held, len(known), len(places))


def _coefficients(sums_N3: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        found_N: NDArray[np.float64] = sums_N3[:, 0] / np.sqrt(sums_N3[:, 1] * sums_N3[:, 2])
    return np.clip(found_N, -1.0, 1.0)


def _scored(
    folder: Path, engine: EngineSettings, opened: list[PreferenceScorer], pairs: Sequence[LabelRow]
) -> list[AxisScoreRow]:
    """One model's scores, which is loaded only when something is left to score."""
    if not opened:
        opened.append(open_scorer(folder, engine))
    (scorer,) = opened
    with arithmetic(engine):
        sides = [
            _scores(scorer, [row.prompt.with_reply(getattr(row, side)) for row in pairs])
            for side in ("response_a", "response_b")
        ]
    return [
        AxisScoreRow(row_id=row.row_id, pair=row.pair, score_a=a, score_b=b)
        for row, a, b in zip(pairs, *sides, strict=True)
    ]


def _scores(scorer: PreferenceScorer, conversations: Sequence[Conversation]) -> list[float | None]:
    tokens = scorer.tokens(conversations)
    fitting = [index for index, each in enumerate(tokens) if scorer.fits(each)]
    scores = dict(zip(fitting, scorer.score([tokens[index] for index in fitting], Zero.RAW), strict=True))
    return [scores.get(index) for index in range(len(tokens))]


def _pair_row(row: LabelRow, scores: Mapping[str, AxisScoreRow]) -> AxisPairRow:
    labels = {each.axis: each.p_a for each in row.axes}
    return AxisPairRow(
        row_id=row.row_id,
        pair=row.pair,
        prompt=row.prompt,
        response_a=row.response_a,
        response_b=row.response_b,
        axes=tuple(
            AxisDifference(axis=axis, difference=_difference(each), p_a=labels.get(axis))
            for axis, each in scores.items()
        ),
    )


def _difference(scored: AxisScoreRow) -> float | None:
    return None if scored.score_a is None or scored.score_b is None else scored.score_a - scored.score_b


def _on(row: AxisPairRow, axis: str) -> AxisDifference:
    return next(each for each in row.axes if each.axis == axis)
