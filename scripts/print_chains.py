"""Print chains of critiques and revisions as Markdown: a table of outcomes, then the chains named by `--row`.

Reads finished stages 03-critique-revision, of one run or of several that share the prompts, and prints a table of
outcomes and matched rules (`solon show rules` explains them).

    python scripts/print_chains.py RUN [RUN ...] [--row ROW_ID ...]
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solon.cli.terminal import plain
from solon.errors import RunError
from solon.runs import RunDirectory
from solon.runs.outcome import Outcome
from solon.stages.plan import CRITIQUE_REVISION

Row = Mapping[str, Any]
TEXT = {"critique": ("critique_outcome", "critique_defects"), "revision": ("outcome", "defects")}


def main() -> None:
    """Print to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--row", dest="rows", action="append", default=[], metavar="ROW_ID", help="a chain to print")
    given = parser.parse_args()
    rows = [row for run in given.runs for row in chains_of(run)]
    print("\n".join(table(rows)))
    for wanted in given.rows:
        chain = sorted((row for row in rows if row["row_id"].startswith(wanted)), key=lambda row: int(row["step"]))
        if not chain:
            parser.error(f"there is no chain '{wanted}'")
        print("\n".join(["", *described(chain)]))


def chains_of(run: Path) -> list[Row]:
    """Every step of every chain of a run; raises RunError when the stage is not finished."""
    artefact = RunDirectory.open(run).finished(CRITIQUE_REVISION)
    if artefact is None:
        raise RunError(f"{CRITIQUE_REVISION} is not finished", place=str(run), remedy=f"Type: solon run {run}")
    rows: list[Row] = artefact.table().to_pylist()
    return rows


def table(rows: Sequence[Row]) -> Iterable[str]:
    """Outcomes and rules by step, one column for critiques and one for revisions."""
    steps = sorted({int(row["step"]) for row in rows})
    columns = [(step, text) for step in steps for text in TEXT]
    counts = {(step, text): Counter[str]() for step, text in columns}
    for row in rows:
        for text, (outcome, defects) in TEXT.items():
            # A revision that was not asked for, because its critique failed, is not the reviser's failure.
            asked = row["finish"] is not None if text == "revision" else row["critique_outcome"] is not None
            if asked:
                counts[int(row["step"]), text].update([row[outcome], *row[defects]])
            else:
                counts[int(row["step"]), text].update(["not asked"])
    names = [*(outcome.value for outcome in Outcome), "not asked"]
    rules = sorted({name for count in counts.values() for name in count} - set(names))
    yield "| | " + " | ".join(f"{text} {step}" for step, text in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name in [name for name in (*names, *rules) if any(count[name] for count in counts.values())]:
        yield f"| `{name}` | " + " | ".join(str(counts[column][name]) for column in columns) + " |"


def described(chain: Sequence[Row]) -> Iterable[str]:
    """One chain: the conversation, the reply, and for each step principle, critique and revision with their rules."""
    first = chain[0]
    yield f"### `{first['row_id'][:8]}`"
    for turn in first["prompt"]:
        yield from quoted("Human" if turn["role"] == "user" else "Assistant", turn["content"])
    yield from quoted("**Reply**", first["before"])
    for row in chain:
        yield f"\nStep {row['step']}, principle `{row['principle_id']}`"
        yield from quoted(f"**Critique** ({outcome_and_rules(row, 'critique')})", row["critique"] or "")
        if row["finish"] is not None:
            yield from quoted(f"**Revision** ({outcome_and_rules(row, 'revision')})", row["completion"][0]["content"])


def outcome_and_rules(row: Row, text: str) -> str:
    """Outcome and rules of a text."""
    outcome, defects = TEXT[text]
    return ", ".join([str(row[outcome]), *row[defects]])


def quoted(speaker: str, text: str) -> Iterable[str]:
    """A text in a code fence longer than any in it."""
    shown = plain(text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", shown)), default=0))
    return ("", f"{speaker}:", "", f"{fence}text", shown, fence)


if __name__ == "__main__":
    main()
