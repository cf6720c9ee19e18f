"""The tree of errors: every failure that a user can see, in one line.

An error has a cause, a place (file, line, row or setting) and a remedy, which is the next command to type where
possible. The command line prints that line, and the traceback only with `--debug`; library users catch `SolonError` or
one of its kinds:

    SolonError
    |- InputError          a file of the user: prompts, comparisons
    |  `- ConstitutionError    a constitution file
    |- RecipeError         a recipe file, an overlay or a `--set`
    |- ModelError          a model folder, or a model that is not suitable
    |- EngineError         an engine that failed to answer
    |- RunError            a run directory: locked, damaged, or made with other settings
    |  `- OtherSettingsError  the folder of a run or stage that was made with other settings than those asked for
    `- StageError          a stage that cannot continue with its inputs
       `- DivergedError        training with a loss or gradient that is not finite
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SHOWN = 8
"""Differences that a message lists; a message is one line."""
_USER = re.compile(r"(\w+://)\S*@")
_QUERY = re.compile(r"(https?://[^?#\s'\"]*)[?#][^\s'\"]+")


class SolonError(Exception):
    """A failure with cause, place and remedy; `str()` is the line for the user."""

    def __init__(self, cause: str, *, place: str = "", remedy: str = "") -> None:
        self.cause = cause
        self.place = place
        self.remedy = remedy
        super().__init__(cause)

    def __str__(self) -> str:
        line = f"{self.place}: {self.cause}" if self.place else self.cause
        # A message may quote a setting or an address, but never a password in it.
        return without_credentials(f"{line}. {self.remedy}" if self.remedy else line)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.cause, self.place, self.remedy))


def _rebuild(kind: type[SolonError], cause: str, place: str, remedy: str) -> SolonError:
    return kind(cause, place=place, remedy=remedy)


def listed(differences: Sequence[str]) -> str:
    """The first `SHOWN` differences, and how many more there are."""
    more = len(differences) - SHOWN
    return "; ".join(differences[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


class InputError(SolonError):
    """A file of the user is missing, empty or malformed."""


class ConstitutionError(InputError):
    """A constitution file breaks a rule; the place is `file:line`."""


class RecipeError(SolonError):
    """A recipe, overlay or `--set` has an unknown key or a bad value."""


class ModelError(SolonError):
    """A folder is not a model, or the model is not suitable."""


class EngineError(SolonError):
    """An engine failed to answer."""


class RunError(SolonError):
    """A run directory is locked, damaged, or was made with other settings."""


class OtherSettingsError(RunError):
    """A folder was made with other settings than those that are asked for."""


class StageError(SolonError):
    """A stage cannot continue with its inputs."""


class DivergedError(StageError):
    """A loss or gradient is not finite; the optimiser has not taken that step."""


def without_credentials(text: str) -> str:
    """The text with *** in place of user names, passwords and queries in addresses."""
    return _QUERY.sub(r"\1?***", _USER.sub(r"\1***@", text)) if "://" in text else text
