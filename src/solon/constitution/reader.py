"""Reads a constitution's YAML file; every error names file and line.

The file has the keys `name`, `description`, `revision` (a list of id, critique_request, revision_request), `preference`
(a list of id, instruction), both with an optional axis and weight, and `examples` with the lists `critique`,
`comparison` and `reasoned`. A conversation is a list of turns with role (human or assistant) and content, or a
transcript in the form of hh-rlhf. Text is read as it is written, so an unquoted `No` stays the word "No". The pydantic
models below are the schema of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from solon.config.located_yaml import Location, Places, Scalars, YamlFile, suggestion
from solon.constitution.constitution import (
    ComparisonExample,
    Constitution,
    CritiqueExample,
    PreferencePrinciple,
    ReasonedExample,
    RevisionPrinciple,
)
from solon.conversation import Conversation, Role, Turn, is_blank, parse_transcript
from solon.errors import ConstitutionError, InputError, SolonError

T = TypeVar("T")

_RULE = "rule"
"""The type of an error with its own cause and remedy; `{what}` in the cause is replaced by the name of the mapping."""


def load_constitution(path: Path | str) -> Constitution:
    """The constitution in a YAML file; raises ConstitutionError with `file:line` and the key at fault."""
    found = _read(Path(path))
    if isinstance(found, Constitution):
        return found
    # A misspelt key comes first: it explains why another key is missing.
    raise min(found, key=lambda ranked: (ranked[0], _line(ranked[1])))[1]


def check_constitution(path: Path) -> Sequence[SolonError]:
    """All faults of a constitution's file, by line; empty when it can be loaded.

    Raises ConstitutionError for a file that is missing or not YAML.
    """
    found = _read(path)
    if isinstance(found, Constitution):
        return ()
    return [fault for _, fault in sorted(found, key=lambda ranked: (_line(ranked[1]), ranked[0]))]


def place_of(path: Path, *keys: str | int) -> str:
    """`file:line` of an entry by its keys and positions, such as `"preference", 0`; raises ConstitutionError."""
    return YamlFile(path, ConstitutionError).read(_name, Scalars.AS_WRITTEN)[1].at(keys)


def _stripped(given: object) -> object:
    """The text without space around it; one of nothing but invisible characters is empty."""
    if not isinstance(given, str):
        return given
    return "" if is_blank(given) else given.strip()


def _or(default: object) -> BeforeValidator:
    """Use the default for a blank key."""
    return BeforeValidator(lambda given: default if given is None or given == "" else given)


def _rule(cause: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError(_RULE, _RULE, {"cause": cause, "remedy": remedy})


def _answer(given: object) -> object:
    if not isinstance(given, str) or not given:
        return given
    letter = given.strip("()").upper()
    if letter not in ("A", "B"):
        raise _rule("'answer' of {what} must be A or B", "Write the letter of the better option")
    return letter


def _role(given: object) -> object:
    if isinstance(given, str) and given and given not in (Role.HUMAN, Role.ASSISTANT):
        raise _rule(f"role '{given:.40}' is unknown", "Write human or assistant")
    return given


def _transcript(given: object) -> object:
    if not isinstance(given, str):
        return given
    if not given.strip():
        return None
    try:
        turns = parse_transcript(given.strip()).turns
    except InputError as error:
        raise _rule(f"'conversation' of {{what}}: {error.cause}", error.remedy) from None
    return tuple(_Turn.model_construct(role=turn.role.value, content=turn.content) for turn in turns)


def _other_than(first: str) -> AfterValidator:
    """The second of two replies, of which the key `first` has the other."""

    def check(second: str, info: ValidationInfo) -> str:
        if info.data.get(first) == second:
            cause = f"'{first}' and '{info.field_name}' of {{what}} are the same text, so that neither is better"
            raise _rule(cause, "Write two different replies, or leave the example out")
        return second

    return AfterValidator(check)


def _ends_on(role: Role) -> AfterValidator:
    def check(turns: tuple[_Turn, ...]) -> tuple[_Turn, ...]:
        if not turns or turns[-1].role != role:
            cause = f"the conversation of {{what}} must end on a turn of the {role.value}"
            raise _rule(cause, "Add that turn, or leave out what follows it")
        return turns

    return AfterValidator(check)


def _some_to_draw(kind: str) -> AfterValidator:
    def check(principles: Any) -> Any:
        if not principles:
            raise _rule(f"the constitution has no {kind} principles", f"Write at least one under '{kind}:'")
        if not any(principle.weight > 0 for principle in principles):
            cause = f"all {kind} principles have weight 0, so none can be drawn"
            raise _rule(cause, "Give one a weight above 0, or leave 'weight' out")
        return principles

    return AfterValidator(check)


class _Part(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Text = Annotated[str, Field(min_length=1), BeforeValidator(_stripped)]
Axis = Annotated[str, _or("harmlessness"), BeforeValidator(_stripped)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_stripped)]


class _Turn(_Part):
    role: Annotated[Literal["human", "assistant"], BeforeValidator(_role), BeforeValidator(_stripped)]
    content: Text


Asked = Annotated[tuple[_Turn, ...], _ends_on(Role.HUMAN), BeforeValidator(_transcript)]
Answered = Annotated[tuple[_Turn, ...], _ends_on(Role.ASSISTANT), BeforeValidator(_transcript)]


class _RevisionPrinciple(_Part):
    id: Text
    critique_request: Text
    revision_request: Text
    axis: Axis = "harmlessness"
    weight: Weight = 1.0


class _PreferencePrinciple(_Part):
    id: Text
    instruction: Text
    axis: Axis = "harmlessness"
    weight: Weight = 1.0


class _CritiqueExample(_Part):
    conversation: Answered
    critique_request: Text
    critique: Text
    revision_request: Text
    revision: Text


class _ComparisonExample(_Part):
    conversation: Asked
    better: Text
    worse: Annotated[Text, _other_than("better")]


class _ReasonedExample(_Part):
    answer: Annotated[Text, BeforeValidator(_answer), BeforeValidator(_stripped)]
    conversation: Asked
    option_a: Text
    option_b: Annotated[Text, _other_than("option_a")]
    reasoning: Text


class _Examples(_Part):
    critique: Annotated[tuple[_CritiqueExample, ...], _or(())] = ()
    comparison: Annotated[tuple[_ComparisonExample, ...], _or(())] = ()
    reasoned: Annotated[tuple[_ReasonedExample, ...], _or(())] = ()


class _Constitution(_Part):
    name: Text
    description: Annotated[str, _or(""), BeforeValidator(_stripped)] = ""
    revision: Annotated[tuple[_RevisionPrinciple, ...], _some_to_draw("revision"), _or(())] = Field(
        default=(), validate_default=True
    )
    preference: Annotated[tuple[_PreferencePrinciple, ...], _some_to_draw("preference"), _or(())] = Field(
        default=(), validate_default=True
    )
    examples: Annotated[_Examples, _or(_Examples())] = _Examples()

    def constitution(self) -> Constitution:
        return Constitution(
            self.name,
            self.description,
            revision=tuple(_built(RevisionPrinciple, each) for each in self.revision),
            preference=tuple(_built(PreferencePrinciple, each) for each in self.preference),
            critique_examples=tuple(_built(CritiqueExample, each) for each in self.examples.critique),
            comparison_examples=tuple(_built(ComparisonExample, each) for each in self.examples.comparison),
            reasoned_examples=tuple(_built(ReasonedExample, each) for each in self.examples.reasoned),
        )


def _built(kind: Callable[..., T], part: _Part) -> T:
    """The object of a part of the file; its fields have the names of the keys."""
    values = dict(part)
    if "conversation" in values:
        turns = values["conversation"]
        values["conversation"] = Conversation(tuple(Turn(Role(turn.role), turn.content) for turn in turns))
    return kind(**values)


_Ranked = tuple[int, SolonError]
"""A fault, with rank 0 for a fault of a key and 1 for a fault of a value."""


def _read(path: Path) -> Constitution | list[_Ranked]:
    shape: list[SolonError] = []
    values, places = YamlFile(path, ConstitutionError).read(_name, Scalars.AS_WRITTEN, shape)
    faults: list[_Ranked] = [(0, fault) for fault in shape]
    constitution = None
    try:
        constitution = _Constitution.model_validate(values).constitution()
    except ValidationError as error:
        faults += (_fault(each, places) for each in error.errors())
    faults += ((1, each) for kind in ("revision", "preference") for each in _repeated(kind, values, places))
    return constitution if constitution is not None and not faults else faults


def _repeated(kind: str, values: dict[str, Any], places: Places) -> Iterator[SolonError]:
    """The errors about principles with the id of an earlier one."""
    lines: dict[str, int] = {}
    listed = values.get(kind)
    for number, entry in enumerate(listed if isinstance(listed, list) else ()):
        id = _stripped(entry.get("id")) if isinstance(entry, dict) else None
        if not isinstance(id, str) or not id:
            continue
        place = places.at((kind, number))
        if id in lines:
            cause = f"duplicate {kind} principle id '{id:.60}', first in line {lines[id]}"
            yield ConstitutionError(cause, place=place, remedy="Give each principle its own id")
        else:
            lines[id] = int(place.rpartition(":")[2])


def _fault(details: ErrorDetails, places: Places) -> _Ranked:
    """A fault that pydantic found, as an error with our message."""
    location, kind = details["loc"], details["type"]
    if kind == "extra_forbidden":
        known = _known(location[:-1])
        cause = f"unknown key '{location[-1]:.60}' in {_name(location[:-1])}"
        return 0, ConstitutionError(cause, place=places.at(location), remedy=suggestion(str(location[-1]), known))
    cause, remedy = _words(details)
    # A missing key is a fault of its mapping.
    return 1, ConstitutionError(cause, place=places.at(location), remedy=remedy)


def _words(details: ErrorDetails) -> tuple[str, str]:
    """The cause and the remedy of a fault other than an unknown key."""
    location, kind, given = details["loc"], details["type"], details["input"]
    key = location[-1]
    whole = isinstance(key, int)  # an item of a list, not a key of a mapping
    what = _name(location if whole else location[:-1])
    if kind == _RULE:
        return details["ctx"]["cause"].replace("{what}", what), details["ctx"]["remedy"]
    if kind == "missing":
        return f"{what}: the key '{key}' is missing", f"Add '{key}: ...'"
    if kind in ("model_type", "model_attributes_type"):
        return f"{what if whole else _name(location)} must be a mapping of keys to values", ""
    if given is None or given == "":
        return f"'{key}' of {what} is empty", "Write its text"
    if kind == "tuple_type":
        return f"'{key}' of {what} must be a list", "Start each item with '- '"
    if key == "weight" and isinstance(given, str):
        cause = f"'weight' of {what} must be a number of at least 0, not {given:.40}"
        return cause, "Write 'weight: 2' to draw it twice as often as others"
    return f"'{key}' of {what} must be text", "Put it in quotes, or after a '|'"


def _name(location: Location) -> str:
    """The name of a mapping in messages: the constitution, 'examples', revision 2."""
    if not location:
        return "the constitution"
    return f"{location[-2]} {location[-1] + 1}" if isinstance(location[-1], int) else f"'{location[-1]}'"


def _known(location: Location) -> list[str]:
    """The keys of the mapping at a location."""
    parts: dict[str | int, type[_Part]] = {
        "revision": _RevisionPrinciple,
        "preference": _PreferencePrinciple,
        "critique": _CritiqueExample,
        "comparison": _ComparisonExample,
        "reasoned": _ReasonedExample,
        "conversation": _Turn,
    }
    if not location:
        return list(_Constitution.model_fields)
    return list((parts[location[-2]] if isinstance(location[-1], int) else _Examples).model_fields)


def _line(fault: SolonError) -> int:
    return int(fault.place.rpartition(":")[2])
