"""YAML read with its line numbers, for files that people write by hand.

A constitution or recipe is first read as a tree of nodes, which know their lines, and only then turned into values, so
that every complaint can say `file:line`. Loading is safe: no tag builds an object, a key that stands twice is refused,
and a value that contains itself is too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from solon.errors import SolonError

DEEPEST = 20
"""Levels of nesting that are read; deeper files are a mistake or an attack (YAML aliases can build endless ones)."""


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file that is being read, and the kind of error that its faults are."""

    path: Path
    error: type[SolonError]

    def place(self, node: yaml.Node | None = None) -> str:
        """`file:line` of a node; the file alone without one."""
        return f"{self.path}:{node.start_mark.line + 1}" if node is not None else str(self.path)

    def fault(self, cause: str, node: yaml.Node | None = None, remedy: str = "") -> SolonError:
        """The error to raise for a fault at `node`."""
        return self.error(cause, place=self.place(node), remedy=remedy)

    def root(self) -> yaml.MappingNode:
        """The file's top-level mapping; raises the file's error when it is missing, unreadable or broken YAML."""
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise self.fault("no such file") from None
        except UnicodeDecodeError as error:
            raise self.fault(f"not UTF-8 text: {error.reason} at byte {error.start}") from None
        except OSError as error:
            raise self.fault(f"cannot be read: {error.strerror}") from None
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            # A bracket or quote that was opened and not closed is told by its own line, not where reading ended.
            unclosed = error.context_mark if re.search("flow|quoted", error.context or "") else None
            mark = unclosed or error.problem_mark or error.context_mark
            place = f"{self.path}:{mark.line + 1}" if mark else str(self.path)
            near = _key_above(text, mark.line) if mark else ""
            cause = f"broken YAML{near}: {error.problem or error.context}"
            raise self.error(cause, place=place, remedy="Check indentation, colons and quotes there") from None
        except yaml.YAMLError as error:  # a character that YAML does not allow; it knows a position, but no line
            line = text.count("\n", 0, getattr(error, "position", 0)) + 1
            raise self.error("a character that YAML does not allow", place=f"{self.path}:{line}") from None
        if node is None:
            raise self.fault("the file is empty")
        if not isinstance(node, yaml.MappingNode):
            raise self.fault("the file must be a mapping of keys to values", node)
        return node

    def entries(self, node: yaml.Node, what: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The (key node, value node) pairs of a mapping by key; raises when it is none or a key stands twice."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fault(f"{what} must be a mapping of keys to values", node)
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fault(f"a key of {what} is no plain word", key)
            if key.value in pairs:
                first = pairs[key.value][0].start_mark.line + 1
                raise self.fault(f"key '{key.value}' stands twice in {what}, first in line {first}", key)
            pairs[key.value] = (key, value)
        return pairs


_KEY = re.compile(r"^[\s-]*([\w-]+)\s*:")


def _key_above(text: str, line: int) -> str:
    """Words that name the last key written up to a line (counted from 0)."""
    for written in reversed(text.splitlines()[: line + 1]):
        if match := _KEY.match(written):
            return f" near the key '{match[1]}'"
    return ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely stands for, if any comes close."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def suggestion(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: the nearest known one, or all of them."""
    words = list(known)
    close = nearest(word, words)
    return f"Did you mean '{close}'?" if close else f"Known: {', '.join(words)}"
