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
    says = [row.get("title", "") for row in drawn.iter("div") if row.get("title")]
    assert sum("rl-cai:" in each for each in says) == sum("assistant:" in each for each in says) == 2
    assert "rl-cai: 0.0 % [0.0-27.8] of 10" in says
    assert [each.text for each in drawn.iter("b") if "%" not in (each.text or "")] == ["fraud", "<b>theft"]
    assert len(list(drawn.iter("circle"))) == 4


def test_one_group_tells_nothing_apart() -> None:
    assert by_group({"assistant": {"fraud": wilson(1, 2).facts()}}) is None
    assert by_group({}) is None
