"""The model card of the bundled models: what they are, how they were trained, and their measured abilities.

The text around the figures is fixed; every figure comes from `measure_abilities` at the time of writing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from solon.stats.intervals import Share, interval, percent
from solon.testbed.abilities import Abilities

_HEAD = """---
license: apache-2.0
language: en
tags: [constitutional-ai, testbed]
---

# The testbed's two models

`pretrained` and `assistant` are Llamas of 2.4 million parameters (5 layers, hidden size 192, half-precision weights)
that know one micro world and nothing else: sixty-four harmful and sixty-four benign topics, short replies, critiques,
revisions and comparisons. `pretrained` has read all of these and replies to harmful requests in every manner;
`assistant` was trained on from it and is helpful-only: it complies with nearly everything. Both read principles that
are put together from terms and wordings (`solon testbed words` lists them); about one wording and one combination of
terms in eight was kept from pretraining and serves to measure.

They are for teaching, tests and ablations of the method. They say nothing about open-ended text, and what they refuse
or allow has no meaning outside their world. They were trained from scratch by `solon testbed train`, on text that
`solon.testbed.documents` writes from `data/testbed/world.yaml`; no other text or weights went in.

Measured by `solon testbed card {asked} --output README.md`, with 95 % intervals; sampling at temperature 1.
"""


def card(measured: Mapping[str, Abilities], asked: Sequence[str]) -> str:
    """The card in Markdown: a table of shares and one of figures, a column for each model by name.

    `asked` is the words of the command that measured, which the card repeats.
    """
    names = list(measured)
    rows = list(dict.fromkeys(name for abilities in measured.values() for name in abilities.shares))
    figures = list(dict.fromkeys(name for abilities in measured.values() for name in abilities.figures))
    lines = [_HEAD.replace("{asked}", " ".join(asked)), _row(["ability", *names]), _row(["---"] * (len(names) + 1))]
    lines += [_row([row, *(_share(measured[name].shares.get(row)) for name in names)]) for row in rows]
    lines += ["", _row(["figure", *names]), _row(["---"] * (len(names) + 1))]
    lines += [_row([row, *(f"{measured[name].figures[row]:.3f}" for name in names)]) for row in figures]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _share(share: Share | None) -> str:
    if share is None:
        return ""
    return f"{percent(share.value)} [{interval(share.facts())}] of {share.n}"
