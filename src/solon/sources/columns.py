"""Which columns of a source are read, and what a user's own files call them.

Every reader asks for columns by Solon's names (`prompt`, `chosen` and so on). A setting or option may say that a file
calls one otherwise, as in `prompt=question`; the same words hold for JSON keys, CSV and Parquet. A source that lacks
the column of that name is read under the usual one, because one setting serves several sources, but a name that no
source has is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from solon.config.located_yaml import suggestion
from solon.config.strict_json import describe_half, half_character, not_finite
from solon.errors import InputError

COLUMNS = ("prompt", "messages", "transcript", "chosen", "rejected")
"""What prompts are read from."""
OPTION = "--columns"
SETTING = "--set prompts.columns."


class Columns:
    """The columns that a reader takes, by our names.

    `called` maps a name to what files call it, `option` is how a user says so, `what` names such files in messages, and
    `whole` keeps all other columns of a table too. `met` collects the names that were found under the user's words.
    """

    def __init__(
        self,
        read: Sequence[str] = COLUMNS,
        called: Mapping[str, str] | None = None,
        *,
        option: str = SETTING,
        what: str = "prompt file",
        whole: bool = False,
    ) -> None:
        """Raises InputError for a name in `called` that is not read."""
        self.read, self.called, self.whole = tuple(read), dict(called or {}), whole
        self.option, self.what = option, what
        self.met: set[str] = set()
        for name in self.called:
            if name not in self.read:
                raise InputError(f"'{name}' is no column that is read", place=option, remedy=suggestion(name, read))

    def taken(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """What of a row is read, under our names; a column that says nothing (null) is left out."""
        found = {}
        for name in self.read:
            called = self.called.get(name, name)
            if called not in record and name in record and name not in self.called.values():
                called = name
            elif name in self.called and called in record:
                self.met.add(name)
            if record.get(called) is not None:
                found[name] = record[called]
        return found

    def of_table(self, found: Sequence[str], place: str) -> list[str]:
        """Those columns of a table that have to be read; raises InputError when none of them holds what is read."""
        wanted = [*self.called.values(), *self.read]
        known = [name for name in found if name in wanted]
        if not known:
            raise self.none_known(found, place)
        return list(found) if self.whole else known

    def none_known(self, found: Iterable[str], place: str) -> InputError:
        """The complaint about a table or row none of whose columns is read."""
        told = ", ".join(map(repr, found)) or "nothing"
        names = ", ".join(map(repr, self.read[:4]))
        return InputError(
            f"no column of {'prompts' if self.read == COLUMNS else f'a {self.what}'} (found {told:.200})",
            place=place,
            remedy=f"Name a column {names}, or say what it is called: {self.example}",
        )

    @property
    def example(self) -> str:
        """How a user names a column."""
        return f"{self.option}prompt=NAME" if self.option.endswith(".") else f"{self.option} prompt=NAME"

    def refuse_unmet(self, place: str) -> None:
        """Raise InputError for a user's word that no row had."""
        for name, called in self.called.items():
            if name not in self.met:
                raise InputError(
                    f"no row has the column '{called}' that is to be read as '{name}'",
                    place=place,
                    remedy=f"Look at the names in the file, and correct {self.option.rstrip('.')}",
                )


def refuse_half_characters(values: Mapping[str, Any], place: str) -> None:
    """Raise InputError when a column that is read holds a lone surrogate."""
    for name, value in values.items():
        if (half := half_character(value)) is not None:
            cause = f"'{name}' holds {describe_half(half)}"
            raise InputError(cause, place=place, remedy="Write it as UTF-8, or drop the line")


def columns_from(written: Sequence[str]) -> dict[str, str]:
    """What files call columns, from `prompt=question,chosen=good` as options give it; raises InputError."""
    found: dict[str, str] = {}
    for part in (part for each in written for part in each.split(",")):
        name, equals, called = (piece.strip() for piece in part.partition("="))
        if not (name and equals and called) or name in found:
            raise InputError(
                "columns are written NAME=COLUMN, parted by commas, each name once",
                place=f"{OPTION} {part:.60}",
                remedy=f"Example: {OPTION} prompt=question,chosen=good",
            )
        found[name] = called
    return found


def without_not_finite(value: Any) -> Any:
    """A value with null for every NaN and infinite number, as JSON can hold it."""
    if isinstance(value, float):
        return None if not_finite(value) is not None else value
    if isinstance(value, dict):
        return {key: without_not_finite(inner) for key, inner in value.items()}
    return [without_not_finite(inner) for inner in value] if isinstance(value, list) else value
