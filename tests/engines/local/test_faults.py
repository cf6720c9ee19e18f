"""What goes wrong while a model is asked carries the model's place, and names the setting that helps."""

import numpy as np
import pytest
import torch

from solon.engines.local.faults import asking, refuse_undefined
from solon.engines.local.row_budget import GIB, RowBudget
from solon.errors import EngineError, ModelError


def budget(rows: int) -> RowBudget:
    return RowBudget(rows, 8 * GIB, 512, 512)


def test_memory_that_runs_out_names_the_settings_that_bound_it() -> None:
    message = r"models/judge: out of memory .* --set engine\.memory_gib=4 or --set engine\.batch_size=64"
    with pytest.raises(EngineError, match=message), asking("models/judge", budget(128)):
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(EngineError, match=r"--set engine\.window=N"), asking("models/judge", budget(1)):
        bytearray(1 << 62)


def test_another_error_stays_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="must match"), asking("models/judge", budget(128)):
        torch.zeros(2) + torch.zeros(3)


def test_a_place_that_is_known_is_kept_and_a_missing_one_filled() -> None:
    for place, shown in (("", "models/judge"), ("elsewhere", "elsewhere")):
        with pytest.raises(ModelError) as caught, asking("models/judge", budget(128)):
            raise ModelError("wrong", place=place, remedy="Do")
        assert (caught.value.place, caught.value.remedy) == (shown, "Do")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_drawn_token_has_a_finite_log_probability(value: float) -> None:
    refuse_undefined(np.array([-1.0, 0.0], dtype=np.float32))
    with pytest.raises(ModelError, match="are not finite"):
        refuse_undefined(np.array([-1.0, value], dtype=np.float32))


def test_an_option_may_be_impossible_but_not_undefined() -> None:
    refuse_undefined([(-1.0, float("-inf"))])
    with pytest.raises(ModelError, match="are not finite"):
        refuse_undefined([(-1.0, -2.0), (float("nan"), -2.0)])
