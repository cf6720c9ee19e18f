"""Reads a constitution's YAML file, and says with file and line what is wrong with it.

The file has the keys `name`, `description`, `revision` (a list of id, critique_request, revision_request), `preference`
(a list of id, instruction), both with an optional axis and weight, and `examples` with the lists `critique`,
`comparison` and `reasoned`. A conversation is a list of turns with role (human or assistant) and content, or a
transcript in the form of hh-rlhf. Every scalar that stands for text is taken as it is written, so an unquoted `No`
stays the word "No".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from solon.config.located_yaml import NULL, YamlFile, suggestion
from solon.constitution.constitution import (
    ComparisonExample,
    Constitution,
    CritiqueExample,
    PreferencePrinciple,
    ReasonedExample,
    RevisionPrinciple,
)
from solon.conversation import Conversation, Role, Turn, parse_transcript
from solon.errors import ConstitutionError, InputError, SolonError

T = TypeVar("T")


def read_constitution(path: Path) -> Constitution:
    """The constitution in a YAML file; raises ConstitutionError with `file:line` and the key at fault."""
    found, faults = _read(path)
    if faults:
        raise faults[0]
    return found


def check_constitution(path: Path) -> tuple[Constitution, Sequence[SolonError]]:
    """What a file holds, and every fault of it by line; what is at fault is empty in the former.

    Raises ConstitutionError for a file that is missing or no YAML, because then nothing of it can be told.
    """
    found, faults = _read(path)
    return found, sorted(faults, key=lambda fault: int(fault.place.rpartition(":")[2]))


def _read(path: Path) -> tuple[Constitution, list[SolonError]]:
    file = YamlFile(path, ConstitutionError)
    reading = _Reading(file, [])
    top = _Mapping.of(reading, file.root(), "the constitution")
    top.only("name", "description", "revision", "preference", "examples")
    examples = top.mapping("examples", "critique", "comparison", "reasoned")
    found = Constitution(
        name=top.text("name"),
        description=top.text("description", default=""),
        revision=_principles(top, "revision", _revision_principle),
        preference=_principles(top, "preference", _preference_principle),
        critique_examples=examples.each("critique", _critique_example) if examples else (),
        comparison_examples=examples.each("comparison", _comparison_example) if examples else (),
        reasoned_examples=examples.each("reasoned", _reasoned_example) if examples else (),
    )
    return found, reading.faults


@dataclass(frozen=True, slots=True)
class _Reading:
    """A file that is read to its end, and the faults that were met."""

    file: YamlFile
    faults: list[SolonError]


def place_of(path: Path, *keys: str | int) -> str:
    """`file:line` of an entry by its keys and positions, such as `"preference", 0`; raises ConstitutionError."""
    file = YamlFile(path, ConstitutionError)
    node: yaml.Node = file.root()
    for key in keys:
        if isinstance(key, int) and isinstance(node, yaml.SequenceNode):
            node = node.value[key]
        else:
            node = file.entries(node, "the constitution")[str(key)][1]
    return file.place(node)


@dataclass(frozen=True, slots=True)
class _Mapping:
    """One mapping of the file, read key by key; `what` names it in errors.

    Whatever is wrong is noted among the faults, and stands for an empty text, list or the default; so a mapping that is
    none (`broken`) is told once and not key by key.
    """

    reading: _Reading
    node: yaml.Node
    what: str
    entries: dict[str, tuple[yaml.Node, yaml.Node]]
    broken: bool = False

    @classmethod
    def of(cls, reading: _Reading, node: yaml.Node, what: str) -> _Mapping:
        entries = reading.file.entries(node, what, reading.faults)
        return cls(reading, node, what, entries, broken=not isinstance(node, yaml.MappingNode))

    def note(self, cause: str, key: str | None = None, remedy: str = "") -> None:
        """A fault at the value of `key`, or at the mapping itself."""
        if not self.broken:
            node = self.entries[key][1] if key in self.entries else self.node
            self.reading.faults.append(self.reading.file.fault(cause, node, remedy))

    def only(self, *known: str) -> None:
        """Note every other key."""
        for key, (node, _) in self.entries.items():
            if key not in known:
                cause = f"unknown key '{key:.60}' in {self.what}"
                self.reading.faults.append(self.reading.file.fault(cause, node, suggestion(key, known)))

    def value(self, key: str) -> yaml.Node | None:
        """The node of a key that must be there; None, and a fault, when it is not."""
        if key not in self.entries:
            self.note(f"{self.what} lacks the key '{key}'", remedy=f"Add '{key}: ...'")
            return None
        return self.entries[key][1]

    def text(self, key: str, *, default: str | None = None) -> str:
        """A text that is not empty, without surrounding white space."""
        if default is not None and key not in self.entries:
            return default
        node = self.value(key)
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.note(f"'{key}' of {self.what} must be text", key, "Put it in quotes, or after a '|'")
            return ""
        text = "" if node.tag == NULL else str(node.value).strip()
        if not text and default is None:
            self.note(f"'{key}' of {self.what} is empty", key, "Write its text")
        return text or default or ""

    def weight(self) -> float:
        """The optional weight: a number of at least 0, and 1 by default."""
        if "weight" not in self.entries:
            return 1.0
        written = self.text("weight")
        try:
            weight = float(written)
        except ValueError:
            weight = math.nan
        if not written:
            return 1.0
        if not math.isfinite(weight) or weight < 0:
            cause = f"'weight' of {self.what} must be a number of at least 0, not {written:.40}"
            self.note(cause, "weight", "Write 'weight: 2' to draw it twice as often as others")
            return 1.0
        return weight

    def mapping(self, key: str, *known: str) -> _Mapping | None:
        """The mapping under an optional key, or None when it is left out or left blank."""
        if key not in self.entries or self.entries[key][1].tag == NULL:
            return None
        inner = _Mapping.of(self.reading, self.entries[key][1], f"'{key}'")
        inner.only(*known)
        return inner

    def nodes(self, key: str) -> Sequence[yaml.Node]:
        """The items of the list under an optional key."""
        if key not in self.entries or self.entries[key][1].tag == NULL:
            return ()
        node = self.entries[key][1]
        return list(node.value) if isinstance(node, yaml.SequenceNode) else ()

    def each(self, key: str, read: Callable[[_Mapping], T]) -> tuple[T, ...]:
        """The mappings of a list, each read by `read`."""
        node = self.entries[key][1] if key in self.entries else None
        if node is not None and node.tag != NULL and not isinstance(node, yaml.SequenceNode):
            self.note(f"'{key}' of {self.what} must be a list", key, "Start each item with '- '")
        nodes = enumerate(self.nodes(key), start=1)
        return tuple(read(_Mapping.of(self.reading, node, f"{key} {number}")) for number, node in nodes)


Principle = TypeVar("Principle", RevisionPrinciple, PreferencePrinciple)


def _principles(top: _Mapping, key: str, read: Callable[[_Mapping], Principle]) -> tuple[Principle, ...]:
    known = len(top.reading.faults)
    principles = top.each(key, read)
    if not principles and len(top.reading.faults) == known:
        top.note(f"the constitution has no {key} principles", key, f"Write at least one under '{key}:'")
    lines: dict[str, int] = {}
    for principle, node in zip(principles, top.nodes(key), strict=True):
        if principle.id in lines:
            cause = f"the {key} principle id '{principle.id:.60}' stands twice, first in line {lines[principle.id]}"
            top.reading.faults.append(top.reading.file.fault(cause, node, "Give each an id of its own"))
        elif principle.id:
            lines[principle.id] = node.start_mark.line + 1
    if principles and not any(principle.weight > 0 for principle in principles):
        cause = f"all {key} principles have weight 0, so none can be drawn"
        top.note(cause, key, "Give one a weight above 0, or leave 'weight' out")
    return principles


def _revision_principle(entry: _Mapping) -> RevisionPrinciple:
    entry.only("id", "critique_request", "revision_request", "axis", "weight")
    return RevisionPrinciple(
        id=entry.text("id"),
        critique_request=entry.text("critique_request"),
        revision_request=entry.text("revision_request"),
        axis=entry.text("axis", default="harmlessness"),
        weight=entry.weight(),
    )


def _preference_principle(entry: _Mapping) -> PreferencePrinciple:
    entry.only("id", "instruction", "axis", "weight")
    return PreferencePrinciple(
        id=entry.text("id"),
        instruction=entry.text("instruction"),
        axis=entry.text("axis", default="harmlessness"),
        weight=entry.weight(),
    )


def _critique_example(entry: _Mapping) -> CritiqueExample:
    entry.only("conversation", "critique_request", "critique", "revision_request", "revision")
    return CritiqueExample(
        conversation=_conversation(entry, ends_on=Role.ASSISTANT),
        critique_request=entry.text("critique_request"),
        critique=entry.text("critique"),
        revision_request=entry.text("revision_request"),
        revision=entry.text("revision"),
    )


def _comparison_example(entry: _Mapping) -> ComparisonExample:
    entry.only("conversation", "better", "worse")
    return ComparisonExample(
        _conversation(entry, ends_on=Role.HUMAN), better=entry.text("better"), worse=entry.text("worse")
    )


def _reasoned_example(entry: _Mapping) -> ReasonedExample:
    entry.only("conversation", "option_a", "option_b", "reasoning", "answer")
    answer = entry.text("answer").strip("()").upper()
    if answer and answer not in ("A", "B"):
        entry.note(f"'answer' of {entry.what} must be A or B", "answer", "Write the letter of the better option")
    return ReasonedExample(
        conversation=_conversation(entry, ends_on=Role.HUMAN),
        option_a=entry.text("option_a"),
        option_b=entry.text("option_b"),
        reasoning=entry.text("reasoning"),
        answer=answer,
    )


def _conversation(entry: _Mapping, *, ends_on: Role) -> Conversation:
    node, nothing, known = entry.value("conversation"), Conversation(()), len(entry.reading.faults)
    if node is None:
        return nothing
    if isinstance(node, yaml.ScalarNode):
        written = entry.text("conversation")
        if not written:
            return nothing
        try:
            conversation = parse_transcript(written)
        except InputError as error:
            entry.note(f"'conversation' of {entry.what}: {error.cause}", "conversation", error.remedy)
            return nothing
    else:
        conversation = Conversation(entry.each("conversation", _turn))
    ends_well = bool(conversation.turns) and conversation.turns[-1].role is ends_on
    if not ends_well and len(entry.reading.faults) == known:
        cause = f"the conversation of {entry.what} must end on a turn of the {ends_on.value}"
        entry.note(cause, "conversation", "Add that turn, or leave out what follows it")
    return conversation


def _turn(entry: _Mapping) -> Turn:
    entry.only("role", "content")
    role = entry.text("role")
    known = role in (Role.HUMAN, Role.ASSISTANT)
    if role and not known:
        entry.note(f"role '{role:.40}' is unknown", "role", "Write human or assistant")
    return Turn(Role(role) if known else Role.HUMAN, entry.text("content"))
