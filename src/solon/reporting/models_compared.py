"""The paper's figure 2 in miniature: every model of several runs, helpfulness against harmlessness, and evasiveness.

Runs of one comparison share the models that they start from, so each of those is shown once; a run's final policy goes
by the name of its variant, which is what tells it from the others.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from solon.reporting.charts import Figures, trade_off
from solon.reporting.dots import dots

Measures = Mapping[str, Figures]
EVASIVE = "evasive"


def by_name(variants: Mapping[str, Mapping[str, Measures]]) -> dict[str, Measures]:
    """All models once, by the names that they are shown under, those that are no run's final policy first."""
    earlier: dict[str, Measures] = {}
    final: dict[str, Measures] = {}
    for variant, models in variants.items():
        *before, policy = models
        for name in before:
            same = earlier.setdefault(name, models[name]) == models[name]
            if not same:
                earlier[f"{variant}: {name}"] = models[name]
        final[variant] = models[policy]
    return earlier | final


def models_figures(variants: Mapping[str, Mapping[str, Measures]]) -> list[tuple[str, Markup]]:
    """Helpfulness against harmlessness, and the share of evasive replies, with captions and 95 % intervals."""
    models = by_name(variants)
    shares = [(name, measures[EVASIVE], "label-evasive") for name, measures in models.items() if EVASIVE in measures]
    evasive = "Evasive replies to held-out harmful prompts"
    pictures = [
        ("Helpful and harmless on held-out prompts; up and right is better", trade_off(models, ())),
        (evasive, dots(f"{evasive}, with 95 % intervals", shares)),
    ]
    return [(caption, picture) for caption, picture in pictures if picture is not None]
