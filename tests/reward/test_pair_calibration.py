"""Agreement with labels: worked out by hand, and unchanged when replies change places."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solon.reward.pair_calibration import agreement

PAIRS = st.lists(st.tuples(st.floats(-8, 8), st.floats(0, 1)), min_size=1, max_size=30)


def test_by_hand() -> None:
    # sigmoid(d) is 0.9, 0.9, 0.2; the labels say 1, 0, 0.5
    differences_B = torch.tensor([0.9, 0.9, 0.2], dtype=torch.float64).logit()
    found = agreement(differences_B, torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64))
    assert found.accuracy == pytest.approx(0.5) and found.decided == 2
    assert found.brier == pytest.approx((0.01 + 0.81 + 0.09) / 3)
    # two pairs at confidence 0.9, half of them right; one at 0.8 with an even label
    assert found.ece == pytest.approx((2 * 0.4 + 0.3) / 3)


def test_a_model_that_says_what_the_labels_say_is_calibrated() -> None:
    labels_B = torch.linspace(0.02, 0.98, 41, dtype=torch.float64)
    found = agreement(labels_B.logit(), labels_B)
    assert (found.brier, found.ece) == (pytest.approx(0), pytest.approx(0)) and found.accuracy == 1


def test_a_calibrated_judge_of_coin_flips_has_little_error_at_5000() -> None:
    generator = torch.Generator().manual_seed(0)
    p_B = torch.rand(5000, generator=generator, dtype=torch.float64)
    outcomes_B = (torch.rand(5000, generator=generator, dtype=torch.float64) < p_B).double()
    assert agreement(p_B.logit(), outcomes_B).ece < 0.02
    assert agreement(3 * p_B.logit(), outcomes_B).ece > 0.1, "overconfidence is seen"


@pytest.mark.parametrize("label", [0.3, 0.7])
def test_equal_scores_are_half_right_whichever_reply_the_label_prefers(label: float) -> None:
    assert agreement(torch.zeros(4), torch.full((4,), label)).accuracy == 0.5


def test_even_labels_have_no_order() -> None:
    assert agreement(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.5])).accuracy is None
    with pytest.raises(ValueError, match="no pairs"):
        agreement(torch.zeros(0), torch.zeros(0))


@given(PAIRS)
def test_which_reply_is_called_chosen_does_not_matter(pairs: list[tuple[float, float]]) -> None:
    differences_B, labels_B = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    one, other = agreement(differences_B, labels_B), agreement(-differences_B, 1 - labels_B)
    assert one.brier == pytest.approx(other.brier, abs=1e-9) and one.ece == pytest.approx(other.ece, abs=1e-9)
    assert one.accuracy == pytest.approx(other.accuracy)
    assert 0 <= one.ece <= 1 and 0 <= one.brier <= 1
