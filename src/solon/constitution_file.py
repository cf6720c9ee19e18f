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

from solon.constitution import (
    ComparisonExample,
    Constitution,
    CritiqueExample,
    PreferencePrinciple,
    ReasonedExample,
    RevisionPrinciple,
)
from solon.conversation import Conversation, Role, Turn, parse_transcript
from solon.errors import ConstitutionError, InputError, SolonError
from solon.yaml_nodes import YamlFile, suggestion

T = TypeVar("T")
NULL = "tag:yaml.org,2002:null"


def read_constitution(path: Path) -> Constitution:
    """The constitution in a YAML file; raises ConstitutionError with `file:line` and the key at fault."""
    top = _Mapping.of(YamlFile(path, ConstitutionError), None, "the constitution")
    top.only("name", "description", "revision", "preference", "examples")
    examples = top.mapping("examples", "critique", "comparison", "reasoned")
    return Constitution(
        name=top.text("name"),
        description=top.text("description", default=""),
        revision=_principles(top, "revision", _revision_principle),
        preference=_principles(top, "preference", _preference_principle),
        critique_examples=examples.each("critique", _critique_example) if examples else (),
        comparison_examples=examples.each("comparison", _comparison_example) if examples else (),
        reasoned_examples=examples.each("reasoned", _reasoned_example) if examples else (),
    )


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
    """One mapping of the file, read key by key; `what` names it in errors."""

    file: YamlFile
    node: yaml.Node
    what: str
    entries: dict[str, tuple[yaml.Node, yaml.Node]]

    @classmethod
    def of(cls, file: YamlFile, node: yaml.Node | None, what: str) -> _Mapping:
        node = file.root() if node is None else node
        return cls(file, node, what, file.entries(node, what))

    def fault(self, cause: str, key: str | None = None, remedy: str = "") -> SolonError:
        """An error at the value of `key`, or at the mapping itself."""
        return self.file.fault(cause, self.entries[key][1] if key in self.entries else self.node, remedy)

    def only(self, *known: str) -> None:
        """Refuse every other key."""
        for key, (node, _) in self.entries.items():
            if key not in known:
                raise self.file.fault(f"unknown key '{key}' in {self.what}", node, suggestion(key, known))

    def value(self, key: str) -> yaml.Node:
        if key not in self.entries:
            raise self.fault(f"{self.what} lacks the key '{key}'", remedy=f"Add '{key}: ...'")
        return self.entries[key][1]

    def text(self, key: str, *, default: str | None = None) -> str:
        """A text that is not empty, without surrounding white space."""
        if default is not None and key not in self.entries:
            return default
        node = self.value(key)
        if not isinstance(node, yaml.ScalarNode):
            raise self.fault(f"'{key}' of {self.what} must be text", key, "Put it in quotes, or after a '|'")
        text = "" if node.tag == NULL else str(node.value).strip()
        if not text and default is None:
            raise self.fault(f"'{key}' of {self.what} is empty", key)
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
        if not math.isfinite(weight) or weight < 0:
            raise self.fault(f"'weight' of {self.what} must be a number of at least 0, not {written}", "weight")
        return weight

    def mapping(self, key: str, *known: str) -> _Mapping | None:
        """The mapping under an optional key, or None when it is left out or left blank."""
        if key not in self.entries or self.entries[key][1].tag == NULL:
            return None
        inner = _Mapping.of(self.file, self.entries[key][1], f"'{key}'")
        inner.only(*known)
        return inner

    def nodes(self, key: str) -> Sequence[yaml.Node]:
        """The items of the list under an optional key."""
        if key not in self.entries or self.entries[key][1].tag == NULL:
            return ()
        node = self.entries[key][1]
        if not isinstance(node, yaml.SequenceNode):
            raise self.fault(f"'{key}' of {self.what} must be a list", key, "Start each item with '- '")
        return list(node.value)

    def each(self, key: str, read: Callable[[_Mapping], T]) -> tuple[T, ...]:
        """The mappings of a list, each read by `read`."""
        nodes = enumerate(self.nodes(key), start=1)
        return tuple(read(_Mapping.of(self.file, node, f"{key} {number}")) for number, node in nodes)


Principle = TypeVar("Principle", RevisionPrinciple, PreferencePrinciple)


def _principles(top: _Mapping, key: str, read: Callable[[_Mapping], Principle]) -> tuple[Principle, ...]:
    principles = top.each(key, read)
    if not principles:
        raise top.fault(f"the constitution has no {key} principles", key, f"Write at least one under '{key}:'")
    lines: dict[str, int] = {}
    for principle, node in zip(principles, top.nodes(key), strict=True):
        if principle.id in lines:
            first = lines[principle.id]
            raise top.file.fault(f"the {key} principle id '{principle.id}' stands twice, first in line {first}", node)
        lines[principle.id] = node.start_mark.line + 1
    if not any(principle.weight > 0 for principle in principles):
        raise top.fault(f"all {key} principles have weight 0, so none can be drawn", key)
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
    if answer not in ("A", "B"):
        raise entry.fault(f"'answer' of {entry.what} must be A or B", "answer")
    return ReasonedExample(
        conversation=_conversation(entry, ends_on=Role.HUMAN),
        option_a=entry.text("option_a"),
        option_b=entry.text("option_b"),
        reasoning=entry.text("reasoning"),
        answer=answer,
    )


def _conversation(entry: _Mapping, *, ends_on: Role) -> Conversation:
    node = entry.value("conversation")
    if isinstance(node, yaml.ScalarNode):
        try:
            conversation = parse_transcript(entry.text("conversation"))
        except InputError as error:
            raise entry.fault(error.cause, "conversation", error.remedy) from None
    else:
        conversation = Conversation(entry.each("conversation", _turn))
    if not conversation.turns or conversation.turns[-1].role is not ends_on:
        raise entry.fault(f"the conversation of {entry.what} must end on a turn of the {ends_on.value}", "conversation")
    return conversation


def _turn(entry: _Mapping) -> Turn:
    entry.only("role", "content")
    role = entry.text("role")
    if role not in (Role.HUMAN, Role.ASSISTANT):
        raise entry.fault(f"role '{role}' is unknown", "role", "Write human or assistant")
    return Turn(Role(role), entry.text("content"))
