"""Heads that several rows of one call have in common, so that each goes through the model once.

Both orders of a pair begin with the same conversation, and the options of a question with the whole of it. The rows
after one prefix are sorted by their tokens; then rows with a long head in common stand side by side, and a dynamic
program cuts the sequence into the groups that save the most tokens. Where this saves little, no row is cut: every cut
takes a pass and columns of its own.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from solon.engines.local.split_rows import SplitRow
from solon.engines.token_rows import DecodingRow, Tokens, common_length

_LEAST = 16
"""A shorter head costs more to handle separately than to read again."""
_MOST = 64
"""Rows in a group: more of them with one head save hardly more."""
_SHARE = 8
"""Rows are cut where this saves at least one own token in so many."""


def with_common_heads(rows: Sequence[DecodingRow], kept: Sequence[int]) -> list[SplitRow]:
    """The rows, cut where they leave a common head; at least the last `kept[i]` own tokens of row i are its tail."""
    most: dict[DecodingRow, int] = {}
    for row, count in zip(rows, kept, strict=True):
        most[row] = min(most.get(row, len(row.own)), len(row.own) - count)
    by_prefix: dict[Tokens, dict[Tokens, int]] = defaultdict(dict)
    for row, count in most.items():
        by_prefix[row.prefix][row.own] = count
    heads: dict[DecodingRow, int] = {}
    saved = 0
    for prefix, owns in by_prefix.items():
        cuts, fewer = _cuts(owns)
        heads |= {DecodingRow(prefix, own): cut for own, cut in cuts.items()}
        saved += fewer
    if saved * _SHARE < sum(len(row.own) for row in most):
        return [SplitRow.of(row) for row in rows]
    return [SplitRow.of(row, heads.get(row, 0)) for row in rows]


def without_lone_heads(rows: Sequence[SplitRow]) -> Sequence[SplitRow]:
    """The rows, uncut where no two different ones of them have a head in common."""
    distinct = [(row.prefix, row.head) for row in dict.fromkeys(rows) if row.head]
    if len(set(distinct)) < len(distinct):
        return rows
    return [SplitRow(row.prefix, (), row.head + row.tail) for row in rows]


Family = tuple[Tokens, Tokens]
"""Prefix and head, or all tokens of a row that has no head."""


def longest(sizes: Sequence[tuple[SplitRow, int]]) -> Mapping[Family, int]:
    """The greatest of the sizes of the rows with one head."""
    found: dict[Family, int] = {}
    for row, size in sizes:
        found[_family(row)] = max(size, found.get(_family(row), size))
    return found


def place_of(row: SplitRow, sizes: Mapping[Family, int]) -> tuple[int, Tokens, Tokens, Tokens]:
    """What rows are sorted by, so that the greatest come first and those with one head stay together."""
    return -sizes[_family(row)], row.prefix, row.head, row.tail


def _family(row: SplitRow) -> Family:
    return (row.prefix, row.head) if row.head else (row.prefix, row.tail)


def _cuts(owns: Mapping[Tokens, int]) -> tuple[dict[Tokens, int], int]:
    """The head's length for each of these own tokens that has one, and the tokens that this saves.

    `owns` gives the longest head that each may have.
    """
    ordered = sorted(owns)
    common = [common_length(one, other) for one, other in itertools.pairwise(ordered)]
    # Of the first `end` rows: the tokens saved, and the start and the head of the group that ends there.
    best = [(0, 0, 0)]
    for end in range(1, len(ordered) + 1):
        chosen, head = (best[end - 1][0], end - 1, 0), owns[ordered[end - 1]]
        for start in range(end - 2, max(-1, end - 1 - _MOST), -1):
            head = min(head, common[start], owns[ordered[start]])
            if head < _LEAST:
                break
            chosen = max(chosen, (best[start][0] + (end - 1 - start) * head, start, head))
        best.append(chosen)
    cuts: dict[Tokens, int] = {}
    end = len(ordered)
    while end:
        _, start, head = best[end]
        if head:
            cuts |= dict.fromkeys(ordered[start:end], head)
        end = start
    return cuts, best[-1][0]
