"""The table of formats: how to recognise, read and write each.

A format is recognised by the shape of the JSON, not by the name of the file. After reading, the parts are written again
and compared with the file, and every difference is reported as a loss. Other packages add formats as entry points of
the group `solon.constitution_formats`:

    [project.entry-points."solon.constitution_formats"]
    house = "my_package.house:FORMAT"        # a ConstitutionFormat
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from solon.config.plugins import load_registered, registered
from solon.constitution.constitution import Constitution
from solon.constitution.formats import langchain, llm_swarm, paper
from solon.constitution.formats.json_nodes import Node, differing, read_json
from solon.constitution.formats.parts import Parts
from solon.errors import InputError, RecipeError

FORMATS = "solon.constitution_formats"
"""The group of the entry points."""


class Format(StrEnum):
    """A format that constitutions are written in."""

    PAPER = "paper"
    """The paper's files, in a folder."""
    LLM_SWARM = "llm-swarm"
    LANGCHAIN = "langchain"


@dataclass(frozen=True, slots=True)
class ConstitutionFormat:
    """One kind of JSON file: its name, how to recognise it, and how to read and write it.

    `fits` checks the content of a file; `write` returns the content for the parts that `read` found in it. A format
    for whole constitutions has `export`, which returns the content of its single file.
    """

    name: str
    fits: Callable[[Any], bool]
    read: Callable[[Node], Parts]
    write: Callable[[Node, Parts], Any]
    export: Callable[[Constitution], Any] | None = None


def formats() -> Iterator[ConstitutionFormat]:
    """All formats to read: Solon's own, then those of other packages, each loaded when it is reached.

    Raises RecipeError when a plug-in cannot be loaded.
    """
    yield from BUILT_IN
    for name in sorted(registered(FORMATS, tuple(Format))):
        yield _plugin(name)


def export_formats() -> tuple[str, ...]:
    """The names of the formats that whole constitutions can be exported to."""
    names = sorted(registered(FORMATS, tuple(Format)))
    return (*Format, *(name for name in names if _plugin(name).export is not None))


def _plugin(name: str) -> ConstitutionFormat:
    found = load_registered(FORMATS, name, tuple(Format))
    if not isinstance(found, ConstitutionFormat):
        raise RecipeError(
            f"the plug-in '{name}' is not a ConstitutionFormat but {type(found).__name__}",
            place=f"entry points of {FORMATS}",
            remedy="Register a solon.constitution.formats.catalogue.ConstitutionFormat",
        )
    return found


def read_parts(path: Path) -> tuple[str, Parts]:
    """The name of the file's format, and its parts; raises InputError with the place of a fault."""
    node = read_json(path)
    for each in formats():
        if each.fits(node.value):
            parts = each.read(node)
            if parts.counts() == "nothing":
                raise InputError("no principle and no example in the file", place=str(path))
            lost = [*parts.losses, *differing(node.value, each.write(node, parts))]
            return each.name, replace(parts, losses=tuple(lost))
    names = "; ".join(each.name for each in formats())
    raise InputError("unknown format of the file", place=str(path), remedy=f"Known: {names}")


def _first(value: Any) -> Any:
    """The first item of a list or value of an object, to recognise a format by."""
    inner = list(value.values()) if isinstance(value, dict) else value
    return inner[0] if isinstance(inner, list) and inner else None


def _has(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and all(key in value for key in keys)


def _texts(value: Any, words: str) -> bool:
    return isinstance(value, list) and isinstance(_first(value), str) and (words in _first(value))


def _read_langchain(node: Node) -> Parts:
    principles, said = langchain.read(node)
    return Parts(revision=principles, losses=tuple(f"{node.place}: {each}" for each in said))


def _reasoned(value: Any) -> bool:
    first = _first(value)
    return isinstance(value, list) and _has(first, "prompt") and "corrects" not in first


BUILT_IN = (
    ConstitutionFormat(
        "CritiqueRevisionInstructions.json of the paper",
        lambda value: _has(_first(value), "prompt", "edit_request"),
        lambda node: Parts(revision=paper.read_instructions(node)),
        lambda _, parts: paper.write_instructions(parts.revision),
    ),
    ConstitutionFormat(
        "CritiqueRevisionFewShotPrompts.json of the paper",
        lambda value: _texts(value, "CritiqueRequest:"),
        lambda node: Parts(critique_examples=paper.read_critique_examples(node)),
        lambda _, parts: paper.write_critique_examples(parts.critique_examples),
    ),
    ConstitutionFormat(
        "RLMadisonFewShotPrompts.json of the paper",
        lambda value: _has(_first(value), "prompt", "corrects", "incorrects"),
        lambda node: Parts(comparison_examples=paper.read_comparisons(node)),
        lambda _, parts: paper.write_comparisons(parts.comparison_examples),
    ),
    ConstitutionFormat(
        "RLMadisonPrecogFewShotPrompts.json of the paper",
        _reasoned,
        lambda node: Parts(reasoned_examples=paper.read_reasoned(node)),
        lambda _, parts: paper.write_reasoned(parts.reasoned_examples),
    ),
    ConstitutionFormat(
        "RLMadisonInstructions.json of the paper",
        lambda value: _texts(value, "Options:"),
        lambda node: Parts(preference=paper.read_preferences(node)),
        lambda _, parts: paper.write_preferences(parts.preference),
    ),
    ConstitutionFormat(
        "a constitution of llm-swarm",
        lambda value: _has(value, "constitutions"),
        lambda node: Parts(revision=llm_swarm.read_principles(node), critique_examples=llm_swarm.read_examples(node)),
        lambda _, parts: llm_swarm.write(parts.revision, parts.critique_examples),
    ),
    ConstitutionFormat(
        "principles of LangChain",
        lambda value: _has(_first(value), "critique_request") or _has(_first(value), "critiqueRequest"),
        _read_langchain,
        lambda node, parts: langchain.write_like(node, parts.revision),
    ),
)


def write_constitution_as(form: str, constitution: Constitution) -> tuple[Mapping[str, str], list[str]]:
    """The files of a constitution in another format, by name, and the losses.

    Raises RecipeError for an unknown format.
    """
    if form == Format.PAPER:
        return _as_paper(constitution)
    if form not in tuple(Format):
        return _as_plugin(form, constitution)
    if form == Format.LLM_SWARM:
        content: Any = llm_swarm.write(constitution.revision, constitution.critique_examples)
        losses = _losses(constitution, ("preference", "comparison_examples", "reasoned_examples"))
        losses.append("the ids of the principles")
    else:
        content = langchain.write(constitution.revision)
        losses = _losses(constitution, ("preference", "critique_examples", "comparison_examples", "reasoned_examples"))
    return {f"{form}.json": _json(content)}, losses


def _as_plugin(form: str, constitution: Constitution) -> tuple[Mapping[str, str], list[str]]:
    """A constitution in a registered format; the losses are found by reading the written content."""
    found = _plugin(form)
    if found.export is None:
        raise RecipeError(
            f"constitutions can be read from '{form}' but not written in it",
            place=f"entry points of {FORMATS}",
            remedy=f"Formats to write: {', '.join(export_formats())}",
        )
    content = found.export(constitution)
    read = found.read(Node(content, f"{form}.json"))
    sections = {"revision": "revision principles", **_SECTIONS}
    losses = [
        f"the {len(getattr(constitution, section))} {words} as they are"
        for section, words in sections.items()
        if getattr(constitution, section) != getattr(read, section)
    ]
    return {f"{form}.json": _json(content)}, [f"the name '{constitution.name}'", *losses]


def _as_paper(constitution: Constitution) -> tuple[Mapping[str, str], list[str]]:
    losses = _losses(constitution, ())
    principles = constitution.revision
    if any(not re.fullmatch(r"harmful\d+", principle.id) for principle in principles):
        principles = tuple(replace(each, id=f"harmful{number}") for number, each in enumerate(principles))
        losses.append("the ids of the revision principles: readers of the format expect harmful0, harmful1 ...")
    if any(each.id != f"instruction{number}" for number, each in enumerate(constitution.preference)):
        losses.append("the ids of the preference principles")
    files = {"CritiqueRevisionInstructions.json": paper.write_instructions(principles)}
    written: Mapping[str, Any] = {
        "RLMadisonInstructions.json": paper.write_preferences(constitution.preference),
        "CritiqueRevisionFewShotPrompts.json": paper.write_critique_examples(constitution.critique_examples),
        "RLMadisonFewShotPrompts.json": paper.write_comparisons(constitution.comparison_examples),
        "RLMadisonPrecogFewShotPrompts.json": paper.write_reasoned(constitution.reasoned_examples),
    }
    files |= {name: content for name, content in written.items() if content}
    return {name: _json(content) for name, content in files.items()}, losses


_SECTIONS = {
    "preference": "preference principles",
    "critique_examples": "worked critiques",
    "comparison_examples": "worked comparisons",
    "reasoned_examples": "reasoned comparisons",
}


def _losses(constitution: Constitution, sections: tuple[str, ...]) -> list[str]:
    """The losses in every foreign format, and the sections that this format does not have."""
    rules: list[Any] = [*constitution.revision, *(() if "preference" in sections else constitution.preference)]
    losses = [f"the name '{constitution.name}'", *(["the description"] if constitution.description else [])]
    losses += [
        f"the {field} of principle '{rule.id}'"
        for rule in rules
        for field, default in (("axis", "harmlessness"), ("weight", 1.0))
        if getattr(rule, field) != default
    ]
    counts = {section: len(getattr(constitution, section)) for section in sections}
    return losses + [f"the {count} {_SECTIONS[section]}" for section, count in counts.items() if count]


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
