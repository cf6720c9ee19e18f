"""Signs of over-training on texts that are easy to count by hand."""

import pytest
import torch

from solon.rl.monitors import common_opening, correlation, distinct_trigrams, monitored

CARED = "You are valid, valued, and cared for. "


def test_the_commonest_opening() -> None:
    texts = [CARED + "Bread is easy.", CARED.upper() + "No.", "First mix the flour and wait", "No."]
    assert common_opening(texts) == 0.5
    assert common_opening(["No.", "No.", "No. Never."]) == pytest.approx(2 / 3), "a short reply is its own opening"
    assert common_opening([]) == 0.0


def test_distinct_trigrams() -> None:
    assert distinct_trigrams(["a b c d", "e f g"]) == 1.0
    assert distinct_trigrams(["a b c", "a b c", "A B C d"]) == 2 / 4
    assert distinct_trigrams(["a b", ""]) == 1.0


def test_correlation() -> None:
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])) == pytest.approx(1.0)
    assert correlation(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 1.0, 4.0])) == pytest.approx(-0.5)
    assert correlation(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])) is None


def test_every_sign_has_its_column() -> None:
    found = monitored(["a b c", "a b c"], torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0]))
    assert found == {
        "common_opening": 1.0, "distinct_trigrams": 0.5, "score_by_length": pytest.approx(-1.0)
    }  # fmt: skip
