"""The figure of several runs' models: each once, a policy by its variant's name, means over seeds said to be such."""

from __future__ import annotations

from typing import Any

from solon.pipeline.ablation import over_seeds
from solon.reporting.variants import by_name, columns_of, models_figures
from solon.stats.intervals import wilson


def measured(harmful: int, helpful: int, evasive: int = 0) -> dict[str, Any]:
    counts = {"harmful": harmful, "helpful": helpful, "evasive": evasive}
    return {label: wilson(count, 40).facts() for label, count in counts.items()}


GIVEN = {"pretrained": measured(20, 36), "assistant": measured(39, 38)}
VARIANTS = {
    "hh-rlhf": {**GIVEN, "rlhf": measured(1, 37, 38)},
    "rl-cai": {**GIVEN, "sl-cai": measured(12, 37), "rl-cai": measured(2, 37)},
    "rl-cai-short": {**GIVEN, "sl-cai": measured(15, 37), "rl-cai": measured(4, 37)},
}


def test_a_model_that_runs_share_is_shown_once_and_a_policy_by_its_variant() -> None:
    shown = by_name(VARIANTS)
    assert list(shown) == [
        "pretrained", "assistant", "sl-cai", "rl-cai-short: sl-cai", "hh-rlhf", "rl-cai", "rl-cai-short",
    ]  # fmt: skip
    assert shown["hh-rlhf"]["evasive"]["value"] == 38 / 40
    assert shown["rl-cai-short: sl-cai"]["harmful"]["value"] == 15 / 40


def test_every_model_has_a_point_in_both_figures_and_no_line_joins_runs() -> None:
    (_, trade_off), (caption, evasive) = models_figures(VARIANTS)
    assert trade_off.count("<circle") == evasive.count("<circle") == 7 and "<polyline" not in trade_off
    assert "Evasive" in caption and "hh-rlhf: 95" in evasive
    assert models_figures({"none": {"rlhf": {}}}) == []


def test_means_over_seeds_are_said_to_be_such() -> None:
    seeds = [{"rlhf": measured(harmful, 37, 38)} for harmful in (1, 2, 3)]
    figures = {"measure": "models", "variants": {"hh-rlhf": over_seeds(seeds)}}
    assert "of 3 seeds" in models_figures(figures["variants"])[0][1]
    head, rows = columns_of(figures)
    share = rows[0][1][head.index("harmful")]
    assert rows[0][0] == "hh-rlhf" and share is not None and share["by_seed"] == [1 / 40, 2 / 40, 3 / 40]
