"""Errors of a model that is being asked: undefined numbers and lack of memory, with the model's folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from solon.engines.local.row_budget import GIB, RowBudget
from solon.errors import EngineError, ModelError
from solon.model_folders.system_memory import is_out_of_memory


@contextmanager
def asking(place: str, budget: RowBudget) -> Iterator[None]:
    """Add `place` to a ModelError raised inside, and turn a lack of memory into an EngineError."""
    try:
        yield
    except ModelError as error:
        if error.place:
            raise
        raise ModelError(error.cause, place=place, remedy=error.remedy) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        memory = budget.bytes / GIB
        fewer = f"--set engine.batch_size={budget.rows // 2}" if budget.rows > 1 else "--set engine.window=N"
        raise EngineError(
            "out of memory while asking the model with "
            f"engine.batch_size={budget.rows} and engine.memory_gib={memory:.3g}",
            place=place,
            remedy=f"Use --set engine.memory_gib={memory / 2:.3g} or {fewer} in a new run, or a smaller model",
        ) from error


def refuse_undefined(logprobs: NDArray[np.float32] | Sequence[Sequence[float]]) -> None:
    """Raise ModelError when a log-probability is NaN, or that of a sampled token is infinite.

    Loading checks the weights, so the cause is arithmetic that overflows or training that diverged.
    """
    if isinstance(logprobs, np.ndarray):
        sound = bool(np.isfinite(logprobs).all())
    else:
        sound = not any(math.isnan(value) for values in logprobs for value in values)
    if not sound:
        raise ModelError(
            "the model's probabilities of the next token are not finite",
            remedy="Weights too large for their precision do this: use --set engine.dtype=float32, or another model",
        )
