"""Typed rows and plain records: how a dataclass becomes a Parquet schema, a dictionary of plain values, and back.

A row is a frozen dataclass; its fields, in their order, are the columns of its table. The annotation gives the type of
the column: text, number or flag, `X | None` for a value that may be missing, `tuple[X, ...]` for a list, a dataclass
for a struct, a string enum for its value, a `Conversation` for a list of messages in TRL's form, and `Reply` for the
text of one assistant message. So code that uses the old name of a renamed column fails in the type checker, and not
with a KeyError in a run. `Mapping[str, X]` is for JSON only; no table has such a column.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from solon.conversation import Conversation, conversation_of
from solon.errors import InputError, RunError

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")

Record = dict[str, Any]
"""A row as plain values, as in a line of JSON or a Parquet file."""
_REPLY = "one assistant message"
Reply = Annotated[str, _REPLY]
"""The text of a reply; its column has a list of one assistant message, which other trainers read."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Writes and reads the values of one type, and gives their column type."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    arrow: Callable[[], pa.DataType]
    required: bool = True
    """Whether a record must have a value."""
    missing: Any = None
    """The value to use when a record has none."""


def schema_of(row: type) -> pa.Schema:
    """The Parquet schema of a row type; raises TypeError for a type that cannot be a column."""
    import pyarrow as pa

    return pa.schema([(name, codec.arrow()) for name, codec in _codecs(row).items()])


def to_record(row: object) -> Record:
    """The row as plain values by column, in the order of the columns."""
    return {name: codec.encode(getattr(row, name)) for name, codec in _codecs(type(row)).items()}


def from_record(row: type[R], record: Mapping[str, Any], place: str = "") -> R:
    """The row in a record; unknown columns are ignored.

    A column that is missing, as in a table of an earlier version, gets its default, None, or an empty list. Raises
    RunError, naming `place` and the column, when there is no such value, or a value has the wrong type.
    """
    values = {}
    for name, codec in _codecs(row).items():
        value = record.get(name)
        if value is None:
            if codec.required:
                raise RunError(f"a row is missing the column '{name}'", place=place or row.__name__)
            values[name] = codec.missing
            continue
        try:
            values[name] = codec.decode(value)
        except (InputError, ValueError, TypeError, LookupError, AttributeError) as error:
            cause = error.cause if isinstance(error, InputError) else error
            raise RunError(f"cannot read column '{name}' of a row: {cause}", place=place or row.__name__) from None
    return row(**values)


def _codecs(row: type) -> dict[str, Codec]:
    """The codec of each field, by name and in order."""
    return _cached_codecs(row)  # typed `type`: mypy does not accept a `type[R]` as hashable


@cache
def _cached_codecs(row: type) -> dict[str, Codec]:
    if not is_dataclass(row):
        raise TypeError(f"{row!r} is not a row: rows are dataclasses")
    hints = get_type_hints(row, include_extras=True)
    return {field.name: _with_default(_codec(hints[field.name]), field) for field in fields(row)}


def _with_default(codec: Codec, field: Field[Any]) -> Codec:
    if field.default is MISSING:
        return codec
    return replace(codec, required=False, missing=field.default)


def _codec(hint: Any) -> Codec:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not type(None))
        return _optional(_codec(inner))
    if origin is Annotated:
        return _reply()
    if origin is tuple:
        return _list(_codec(arguments[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(arguments[1])
    if hint is Conversation:
        return Codec(Conversation.messages, conversation_of, _messages_type)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Codec(str, hint, _plain_type(str))
    if is_dataclass(hint):
        return _nested(hint)  # type: ignore[arg-type]  # a class, not one of its instances
    return Codec(_as_it_is, _as_it_is, _plain_type(hint))


def _optional(codec: Codec) -> Codec:
    def encode(value: Any) -> Any:
        return None if value is None else codec.encode(value)

    def decode(value: Any) -> Any:
        return None if value is None else codec.decode(value)

    return Codec(encode, decode, codec.arrow, required=False)


def _list(codec: Codec) -> Codec:
    def arrow() -> pa.DataType:
        import pyarrow as pa

        return pa.list_(codec.arrow())

    if codec.encode is _as_it_is:
        return Codec(list, tuple, arrow, required=False, missing=())

    def encode(values: Sequence[Any]) -> list[Any]:
        return [codec.encode(value) for value in values]

    def decode(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(codec.decode(value) for value in values)

    return Codec(encode, decode, arrow, required=False, missing=())


def _mapping(hint: Any) -> Codec:
    codec = Codec(_as_it_is, _as_it_is, _no_type) if hint in (Any, object) else _codec(hint)

    def encode(values: Mapping[str, Any]) -> dict[str, Any]:
        return {str(name): codec.encode(value) for name, value in values.items()}

    def decode(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: codec.decode(value) for name, value in values.items()}

    return Codec(encode, decode, _no_type)


def _nested(row: type) -> Codec:
    def decode(record: Mapping[str, Any]) -> Any:
        return from_record(row, record)

    def arrow() -> pa.DataType:
        import pyarrow as pa

        return pa.struct([(name, codec.arrow()) for name, codec in _codecs(row).items()])

    return Codec(to_record, decode, arrow)


def _reply() -> Codec:
    def encode(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    def decode(messages: Sequence[Mapping[str, str]]) -> str:
        (message,) = messages
        return message["content"]

    return Codec(encode, decode, _messages_type)


def _as_it_is(value: Any) -> Any:
    return value


def _messages_type() -> pa.DataType:
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def _plain_type(hint: Any) -> Callable[[], pa.DataType]:
    def arrow() -> pa.DataType:
        import pyarrow as pa

        known = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        if hint not in known:
            raise TypeError(f"{hint!r} is not a column type")
        return known[hint]

    return arrow


def _no_type() -> pa.DataType:
    raise TypeError("a mapping is not a column type")
