"""The figure by group has a mark for every model on every group, and words that are escaped."""

from xml.etree import ElementTree

from solon.reporting.share_figures import by_group
from solon.stats.intervals import wilson

SHARES = {
    "assistant": {"fraud": wilson(9, 10).facts(), "<b>theft": wilson(10, 10).facts()},
    "rl-cai": {"fraud": wilson(0, 10).facts(), "<b>theft": wilson(10, 10).facts()},
}


def test_every_model_has_a_mark_on_every_group() -> None:
    drawn = ElementTree.fromstring(str(by_group(SHARES)))
    says = [title.text or "" for title in drawn.iter("title")]
    assert sum("rl-cai on" in each for each in says) == sum("assistant on" in each for each in says) == 2
    assert any("rl-cai on fraud: harmful 0" in each for each in says)
    assert not list(drawn.iter("b"))


def test_one_group_tells_nothing_apart() -> None:
    assert by_group({"assistant": {"fraud": wilson(1, 2).facts()}}) is None
    assert by_group({}) is None
