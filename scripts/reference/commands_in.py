"""Reads commands and code out of the pages of the documentation, for the tests that check them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .links import ROOT

_BLOCK = re.compile(r"^(?P<fence>`{3,})(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=fence)", re.M | re.S)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_VARIABLE = re.compile(r"[A-Z_]+=\S*")
_HISTORY = "log.md"
"""The page with commands of earlier code."""


@dataclass(frozen=True, slots=True)
class DocumentedCommand:
    """A command of Solon in a page: its words after `solon`, and where its output goes to, if to a file."""

    page: str
    words: tuple[str, ...]
    output: str | None = None


def pages() -> list[Path]:
    """README and every page of the documentation but the log, in the order of their names."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(page for page in found if page.name != _HISTORY)]


def code_blocks(text: str, language: str) -> list[str]:
    """The code of a page's fenced blocks of one language."""
    return [match["code"] for match in _BLOCK.finditer(text) if match["language"] == language]


def inline_code(text: str) -> list[str]:
    """The code within a page's sentences and tables, each on one line; its fenced blocks are left out."""
    return [" ".join(match[1].split()) for match in _INLINE.finditer(_BLOCK.sub("", text))]


def documented_commands(page: Path) -> Iterator[DocumentedCommand]:
    """The commands of Solon in a page's `sh` blocks, those that a launcher starts included."""
    name = str(page.relative_to(ROOT))
    for block in code_blocks(page.read_text(encoding="utf-8"), "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.partition(" #")[0].split("&&"):
                words = [word for word in shlex.split(part, comments=True) if not _VARIABLE.fullmatch(word)]
                if words[:1] == ["solon"] or "solon.cli" in words:
                    start = 1 if words[0] == "solon" else words.index("solon.cli") + 1
                    yield _command(name, words[start:])


def _command(page: str, words: list[str]) -> DocumentedCommand:
    if ">" in words:
        place = words.index(">")
        return DocumentedCommand(page, tuple(words[:place]), words[place + 1])
    return DocumentedCommand(page, tuple(words[: words.index("|")] if "|" in words else words))
