"""Reads YAML with line numbers: recipes, ablations and constitutions, which people write by hand.

A file is read as a tree of nodes, which know their lines, and then turned into values with their places. A pydantic
model finds what is wrong with the values, and `Places` says where it was written, so every error names `file:line`.
Files are small and plain: tags do not create objects, and errors are raised for duplicate keys, for values that contain
themselves, and for files that are nested too deep or grow too large through aliases. Plain words mean what YAML 1.2
says: `no`, `yes`, `off`, `190:20:30`, `0777` and `2026-01-01` are texts, which a setting with a number refuses.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from solon.config.strict_json import DIGITS, decode, describe_half, half_character
from solon.errors import SolonError

DEEPEST = 20
"""The deepest nesting; a deeper file is a mistake or an attack."""
MOST = 50_000
"""The most values in a file; those of an alias count each time."""
LARGEST = 1 << 20
"""The most bytes of a file."""
SETTING = "--set"
"""How the place of a setting of the command line begins."""
_MERGE = "<<"
"""The key by which YAML 1.1 adds the keys of another mapping."""
NULL, BOOL, INT, FLOAT, TEXT, MAPPING, LIST = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "map", "seq")
)
PLAIN: tuple[tuple[str, str, str], ...] = (
    (NULL, r"^(?:~|null|Null|NULL|)$", "~nN"),
    (BOOL, r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (INT, r"^[-+]?(?:0|[1-9][0-9_]*)$", "-+0123456789"),
    (
        FLOAT,
        r"^(?:[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
)
"""The types of plain words: YAML 1.2's core schema without octal and hexadecimal numbers, with `_` between digits."""


class _Fault(Exception):
    """A fault in the structure of a file, found while its nodes are made: its cause and its place."""

    def __init__(self, cause: str, mark: yaml.Mark | None, remedy: str) -> None:
        super().__init__(cause)
        self.cause, self.mark, self.remedy = cause, mark, remedy


Kind = TypeVar("Kind", bound=type[BaseResolver])


def _knows_plain_words(kind: Kind) -> Kind:
    """Add the rules of `PLAIN` to a loader or dumper."""
    for tag, pattern, first in PLAIN:
        kind.add_implicit_resolver(tag, re.compile(pattern), [*first, *([""] if tag == NULL else [])])
    return kind


@_knows_plain_words
class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Makes nodes but no values, and counts their depth and their number, with aliases written out."""

    def __init__(self, stream: str) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._open: list[yaml.Event] = []
        self._sizes: dict[int, tuple[int, int]] = {}
        """The number of values and levels in a node, by the node's id."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if len(self._open) >= DEEPEST:
            raise _deep(event.start_mark)
        self._open.append(event)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._open.pop()
        if node is not None and not isinstance(event, yaml.AliasEvent):
            self._sizes[id(node)] = self._measured(node)
        return node

    def _measured(self, node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            if (half := half_character(node.value)) is not None:
                raise _Fault(describe_half(half), node.start_mark, "Write it as UTF-8")
            return 1, 0
        inner = [each for pair in node.value for each in (pair if isinstance(pair, tuple) else (pair,))]
        if any(id(each) not in self._sizes for each in inner):
            raise _Fault("values are nested too deep: one contains itself", self._outer(inner), "Write it out")
        sizes = [self._sizes[id(each)] for each in inner]
        size, levels = 1 + sum(size for size, _ in sizes), 1 + max((levels for _, levels in sizes), default=0)
        if size > MOST:
            cause = f"the file holds more than {MOST:,} values, with aliases written out"
            raise _Fault(cause, node.start_mark, "Write fewer values, or no aliases")
        if levels > DEEPEST:
            raise _deep(node.start_mark)
        return size, levels

    def _outer(self, inner: list[yaml.Node]) -> yaml.Mark:
        """Where the value begins that contains itself."""
        mark: yaml.Mark = next(each for each in inner if id(each) not in self._sizes).start_mark
        return mark


def _deep(mark: yaml.Mark | None) -> _Fault:
    return _Fault(f"values are nested too deep: more than {DEEPEST} levels", mark, "Use fewer levels")


Location = tuple[str | int, ...]
"""The keys and positions of a value, as in the errors of pydantic."""


class Scalars(StrEnum):
    """How plain words are read."""

    TYPED = "typed"
    """As numbers, truth values, null or text."""
    AS_WRITTEN = "as written"
    """As text, so that an unquoted `No` stays the word "No"; only null is None."""


@dataclass(frozen=True, slots=True)
class Places:
    """The places of values: where each key, or each item of a list, was written."""

    default: str
    """The place of the whole file."""
    known: dict[Location, str] = field(default_factory=dict)

    def at(self, location: Location) -> str:
        """The place of a value; when the value was left out, the place of what would contain it."""
        above = (location[:length] for length in range(len(location), 0, -1))
        return next((self.known[each] for each in above if each in self.known), self.default)

    def inside(self, location: Location) -> str | None:
        """The place of the first value in a group that is not in a file, such as a setting of the command line."""
        within = (each for each in self.known if each[: len(location)] == location and len(each) > len(location))
        return next((self.known[each] for each in within if self.known[each].startswith(SETTING)), None)


def dotted(location: Location) -> str:
    """A location as the name of a setting: `rl.steps`."""
    return ".".join(map(str, location))


def group_name(location: Location) -> str:
    """The name of a mapping in messages: its keys, without the positions in lists."""
    keys = [key for key in location if isinstance(key, str)]
    return f"'{'.'.join(keys)}'" if keys else "the file"


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file to read, and the kind of its errors."""

    path: Path
    error: type[SolonError]

    def place(self, node: yaml.Node | None = None) -> str:
        """`file:line` of a node; only the file without a node."""
        return f"{self.path}:{node.start_mark.line + 1}" if node is not None else str(self.path)

    def fault(self, cause: str, node: yaml.Node | None = None, remedy: str = "") -> SolonError:
        """The error for a fault at `node`."""
        return self.error(cause, place=self.place(node), remedy=remedy)

    def root(self) -> yaml.MappingNode:
        """The file's top-level mapping; raises the file's error when it is missing, unreadable or broken YAML."""
        node = node_of(self._text(), str(self.path), self.error)
        if node is None:
            raise self.fault("the file is empty")
        if not isinstance(node, yaml.MappingNode):
            raise self.fault("the file must be a mapping of keys to values", node)
        return node

    def _text(self) -> str:
        try:
            with self.path.open("rb") as file:
                raw = file.read(LARGEST + 1)
        except FileNotFoundError:
            raise self.fault("no such file") from None
        except OSError as error:
            raise self.fault(f"cannot be read: {error.strerror}") from None
        if len(raw) > LARGEST:
            raise self.fault(f"the file has more than {LARGEST >> 20} MiB", remedy="Is it the right file?")
        try:
            return decode(raw, str(self.path))
        except SolonError as error:
            raise self.fault(error.cause, remedy=error.remedy) from None

    def entries(
        self, node: yaml.Node, what: str, faults: list[SolonError] | None = None
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The (key node, value node) pairs of a mapping by key; raises for another node and for a duplicate key.

        With `faults` they are added there instead, and the first of two equal keys is kept.
        """
        found, pairs = [], dict[str, tuple[yaml.Node, yaml.Node]]()
        if not isinstance(node, yaml.MappingNode):
            found.append(self.fault(f"{what} must be a mapping of keys to values", node))
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                found.append(self.fault(f"a key of {what} is not a plain word", key))
            elif key.value == _MERGE:
                cause = f"{what} has a merge key ('{_MERGE}'), and merge keys are not read"
                found.append(self.fault(cause, key, "Write out the keys that it would add"))
            elif key.value in pairs:
                first = pairs[key.value][0].start_mark.line + 1
                cause = f"duplicate key '{key.value:.60}' in {what}, first in line {first}"
                found.append(self.fault(cause, key, "Keep one of the two"))
            else:
                pairs[key.value] = (key, value)
        if found and faults is None:
            raise found[0]
        (faults if faults is not None else []).extend(found)
        return pairs

    def value(self, node: yaml.Node, what: str) -> Any:
        """The plain value of a node: text, number, truth value, null, list or mapping; raises the file's error."""
        return _Values(self, lambda location: group_name(location) if location else what).of(node)

    def read(
        self,
        name: Callable[[Location], str] = group_name,
        scalars: Scalars = Scalars.TYPED,
        faults: list[SolonError] | None = None,
    ) -> tuple[dict[str, Any], Places]:
        """The values of the file's top-level mapping, and where each was written.

        `name` gives the name of a mapping in messages. Raises the file's error; with `faults`, duplicate and malformed
        keys are added there instead.
        """
        root = self.root()
        values = _Values(self, name, scalars, faults, Places(self.place(root)))
        return values.of(root), values.places


@dataclass(frozen=True, slots=True)
class _Values:
    """Turns the nodes of a file into values, and records their places."""

    file: YamlFile
    name: Callable[[Location], str]
    scalars: Scalars = Scalars.TYPED
    faults: list[SolonError] | None = None
    places: Places = field(default_factory=lambda: Places(""))

    def of(self, node: yaml.Node, location: Location = ()) -> Any:
        typed = self.scalars is Scalars.TYPED
        if isinstance(node, yaml.MappingNode) and (node.tag == MAPPING or not typed):
            return {
                key: self._placed(inner, (*location, key), key_node)
                for key, (key_node, inner) in self.file.entries(node, self.name(location), self.faults).items()
            }
        if isinstance(node, yaml.SequenceNode) and (node.tag == LIST or not typed):
            return [self._placed(inner, (*location, number), inner) for number, inner in enumerate(node.value)]
        if not typed:
            return None if node.tag == NULL else str(node.value)
        try:
            return _scalar(str(node.tag), node.value)
        except ValueError as error:
            cause = f"the value of {self.name(location)} cannot be read: {error}"
            raise self.file.fault(cause, node, "Write plain text, a number, true, false or null") from None

    def _placed(self, node: yaml.Node, location: Location, placed: yaml.Node) -> Any:
        self.places.known[location] = self.file.place(placed)
        return self.of(node, location)


def node_of(text: str, name: str, error: type[SolonError]) -> yaml.Node | None:
    """The node of a YAML text, None for an empty one; raises `error`, naming the line of `name`, for a broken one."""
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except _Fault as fault:
        place = f"{name}:{fault.mark.line + 1}" if fault.mark else name
        raise error(fault.cause, place=place, remedy=fault.remedy) from None
    except yaml.MarkedYAMLError as broken:
        # For an unclosed bracket or quote, the error names the line on which it opens.
        unclosed = broken.context_mark if re.search("flow|quoted", broken.context or "") else None
        mark = unclosed or broken.problem_mark or broken.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        near = _key_above(text, mark.line) if mark else ""
        cause = f"broken YAML{near}: {broken.problem or broken.context}"
        raise error(cause, place=place, remedy="Check indentation, colons and quotes there") from None
    except yaml.YAMLError as broken:  # a character that YAML does not allow; it knows a position, but no line
        line = text.count("\n", 0, getattr(broken, "position", 0)) + 1
        raise error("a character that YAML does not allow", place=f"{name}:{line}") from None
    except (ValueError, OverflowError, RecursionError):  # an escape beyond Unicode, for one
        place = f"{name}:{loader.line + 1}" if loader else name
        raise error("broken YAML", place=place, remedy="Check brackets, quotes and escapes there") from None
    finally:
        if loader is not None:
            loader.dispose()


def _scalar(tag: str, written: object) -> Any:
    """The value of a plain or quoted word; raises ValueError for an unknown tag, or a word that does not fit it."""
    if not isinstance(written, str):
        raise ValueError(f"it is marked as {tag:.40}")
    if tag == TEXT:
        return written
    pattern = next((pattern for known, pattern, _ in PLAIN if known == tag), None)
    if pattern is None or not re.match(pattern, written):
        raise ValueError(f"it is marked as {tag:.40}")
    if tag == NULL:
        return None
    if tag == BOOL:
        return written.lower() == "true"
    digits = written.replace("_", "")
    if tag == INT:
        if len(digits) > DIGITS:
            raise ValueError(f"a number of {len(digits):,} digits")
        return int(digits)
    special = digits.lower().lstrip("+-")
    if special in (".inf", ".nan"):
        return math.nan if special == ".nan" else -math.inf if digits.startswith("-") else math.inf
    return float(digits)


@_knows_plain_words
class Dumper(yaml.SafeDumper):
    """Quotes every word that YAML 1.1 and 1.2 read differently."""


_KEY = re.compile(r"^[\s-]*([\w-]+)\s*:")


def _key_above(text: str, line: int) -> str:
    """A phrase that names the last key up to a line (counted from 0)."""
    for written in reversed(text.splitlines()[: line + 1]):
        if match := _KEY.match(written):
            return f" near the key '{match[1]:.60}'"
    return ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The most similar known word, if one is similar enough."""
    return next(iter(difflib.get_close_matches(word[:200], list(known), n=1, cutoff=0.6)), None)


def suggestion(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: the nearest known one, or all of them."""
    words = list(known)
    close = nearest(word, words)
    return f"Did you mean '{close}'?" if close else f"Known: {', '.join(words)}"
