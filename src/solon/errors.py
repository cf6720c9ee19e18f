"""The error tree: every failure that a user can meet, told in one line.

An error names its cause, the place where it lies (file, line, row, setting) and the remedy, which is where possible
the next command to type. The command line prints that one line and keeps the traceback for `--debug`; library users
catch `SolonError` or one of its kinds:

    SolonError
    |- InputError          a file that the user gave: prompts, comparisons
    |  `- ConstitutionError    a constitution file
    |- RecipeError         a recipe file, an overlay or a `--set`
    |- ModelError          a model folder, or a model that cannot do what is asked
    |- EngineError         an engine that failed to answer
    |- RunError            a run directory: locked, damaged, or made with other settings
    `- StageError          a stage that cannot go on with what it was given
       `- DivergedError        training that met a number that is not finite
"""

from __future__ import annotations

import re

_USER = re.compile(r"(\w+://)\S*@")
_QUERY = re.compile(r"(https?://[^?#\s'\"]*)[?#][^\s'\"]+")


class SolonError(Exception):
    """A failure with cause, place and remedy; `str()` is the line that a user reads."""

    def __init__(self, cause: str, *, place: str = "", remedy: str = "") -> None:
        self.cause = cause
        self.place = place
        self.remedy = remedy
        super().__init__(cause)

    def __str__(self) -> str:
        line = f"{self.place}: {self.cause}" if self.place else self.cause
        # Whatever a message quotes, a setting or an address, no password of it is told.
        return without_credentials(f"{line}. {self.remedy}" if self.remedy else line)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.cause, self.place, self.remedy))


def _rebuild(kind: type[SolonError], cause: str, place: str, remedy: str) -> SolonError:
    return kind(cause, place=place, remedy=remedy)


class InputError(SolonError):
    """A file that the user gave is missing, empty or malformed."""


class ConstitutionError(InputError):
    """A constitution file breaks a rule; the place is `file:line`."""


class RecipeError(SolonError):
    """A recipe, overlay or `--set` names an unknown key or holds a bad value."""


class ModelError(SolonError):
    """A model folder is none, or the model cannot do what is asked of it."""


class EngineError(SolonError):
    """An engine failed to answer."""


class RunError(SolonError):
    """A run directory is locked, damaged, or was made with other settings."""


class StageError(SolonError):
    """A stage cannot go on with what it was given."""


class DivergedError(StageError):
    """A loss or gradient is not finite; the weights are as they were before that step."""


def without_credentials(text: str) -> str:
    """A text whose addresses have *** in place of user names, passwords and queries."""
    return _QUERY.sub(r"\1?***", _USER.sub(r"\1***@", text)) if "://" in text else text
