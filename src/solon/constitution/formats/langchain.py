"""LangChain's constitutional principles: pairs of a critique request and a revision request with a name.

LangChain keeps them in code (`ConstitutionalPrinciple(name, critique_request, revision_request)`); as JSON they are a
list of such objects, or an object of them by name. The camel-case keys of LangChain.js are read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solon.constitution.constitution import RevisionPrinciple
from solon.constitution.formats.json_nodes import Node
from solon.constitution.formats.parts import unique_ids

UNNAMED = "Constitutional Principle"
"""The name that LangChain gives to a principle without one."""


def read(node: Node) -> tuple[tuple[RevisionPrinciple, ...], list[str]]:
    """The principles, and messages about changed names."""
    entries = list(node.items()) if isinstance(node.value, dict) else [("", item) for item in node.each()]
    names = [key or (item.at("name").text().strip() if item.has("name") else UNNAMED) for key, item in entries]
    ids, said = unique_ids(names)
    principles = tuple(
        RevisionPrinciple(
            id,
            _either(item, "critique_request", "critiqueRequest").text().strip(),
            _either(item, "revision_request", "revisionRequest").text().strip(),
        )
        for id, (_, item) in zip(ids, entries, strict=True)
    )
    return principles, said


def _either(item: Node, key: str, other: str) -> Node:
    return item.at(other) if item.has(other) and not item.has(key) else item.at(key)


def write(principles: Sequence[RevisionPrinciple]) -> list[dict[str, Any]]:
    """The principles as a list for LangChain's class."""
    return [
        {"name": each.id, "critique_request": each.critique_request, "revision_request": each.revision_request}
        for each in principles
    ]


def write_like(node: Node, principles: Sequence[RevisionPrinciple]) -> Any:
    """The principles in the form of a file: a list or an object by name, with the keys of that file."""
    by_name = {}
    entries = list(node.items()) if isinstance(node.value, dict) else [("", item) for item in node.each()]
    written = []
    for principle, (key, item) in zip(principles, entries, strict=True):
        camel = item.has("critiqueRequest") and not item.has("critique_request")
        entry = {
            "name": principle.id,
            "critiqueRequest" if camel else "critique_request": principle.critique_request,
            "revisionRequest" if camel else "revision_request": principle.revision_request,
        }
        written.append(entry)
        by_name[key] = entry
    return by_name if isinstance(node.value, dict) else written
