"""How commands print, and how an interrupted one ends.

Texts of models and data can contain escape sequences that move the cursor, rename the window or hide other output. So
everything that a command prints for people passes through `plain`; JSON output stays exact.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

INTERRUPTED = 130
"""The exit code after Ctrl-C."""
WIDEST_NAME = 80
"""Characters of a heading, or of what a row of a table is about: a name from a file can have any length."""
LONGEST_WARNING = 1000
"""Characters of a warning, which may list names."""
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # operating system commands: titles, links
    r"|\x1b[@-Z\\^_]"
)
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def plain(text: str, *, lines: bool = True) -> str:
    """`text` without escape sequences, control and reordering characters; on one line when `lines` is false."""
    stripped = _CONTROLS.sub("", _ESCAPES.sub("", text))
    return stripped if lines else " ".join(stripped.split())


def clip(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters."""
    folded = plain(text, lines=False)
    return folded if len(folded) <= width else f"{folded[: width - 1]}…"


def shorten(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters; of a longer one the middle is left out.

    Names and paths often differ at their end alone.
    """
    folded = plain(text, lines=False)
    end = width // 2
    return folded if len(folded) <= width else f"{folded[: width - end - 1]}…{folded[-end:]}"


def print_warning(line: str) -> None:
    """Print a warning to standard error, on one line of at most `LONGEST_WARNING` characters."""
    click.echo(f"Warning: {clip(line, LONGEST_WARNING)}", err=True)


def print_line(line: str, *, err: bool = False) -> None:
    """Print one line without control characters; leading spaces stay."""
    indent = line[: len(line) - len(line.lstrip(" "))]
    click.echo(indent + plain(line, lines=False), err=err)


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Turn Ctrl-C into exit code 130 and a line that names the command that continues."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"Stopped. Everything finished is saved. Continue with: {command}", err=True)
        click.get_current_context().exit(INTERRUPTED)


def print_prompt(shared: str, own: str) -> None:
    """Print a prompt as a model reads it: the worked examples, then its own part."""
    print(plain(shared + own).strip("\n"))


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn by rich on a terminal, aligned columns without tabs elsewhere.

    Headings and the first cells of rows are names, and are shortened to `WIDEST_NAME`; other cells are whole.
    """
    title = plain(title, lines=False)
    head = [shorten(cell, WIDEST_NAME) for cell in head]
    cleaned = [
        [plain(cell, lines=False) if column else shorten(cell, WIDEST_NAME) for column, cell in enumerate(row)]
        for row in rows
    ]
    if sys.stdout.isatty():
        _rich_table(title, head, cleaned)
        return
    widths = [max(len(row[column]) for row in (head, *cleaned)) for column in range(len(head))]
    print(title)
    for row in (head, *cleaned):
        cells = [cell.ljust(width) if column == 0 else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        print("  " + "  ".join(cells).rstrip())


def _rich_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column, name in enumerate(head):
        table.add_column(Text(name), justify="left" if column == 0 else "right", no_wrap=column == 0)
    for row in rows:
        # Text, not str: square brackets in data must not become markup.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
