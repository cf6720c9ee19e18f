"""What was edited in a run's folder since the run was made.

A run copies its recipe and its constitution, for people to read and for the next session to go on from. Edited there,
they would claim what finished stages were not made with. So `run.json` keeps every setting and the constitution's hash
as they were, and stages keep the hash that they used: work is refused under an edited copy (promise P4), and what is
told of the run says that it shows one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from solon.config.loading import differences
from solon.config.recipe import Recipe
from solon.constitution.constitution import Constitution
from solon.errors import RunError
from solon.runs.artefact import Artefact

DECIDABLE = frozenset({"judge_check.weak_judge"})
"""Settings that say whether a run goes on and change no row of it, so that they may be decided under way."""


def edited_settings(about: Mapping[str, Any], now: Recipe, file: Path) -> list[str]:
    """The settings that differ from those in a run's `run.json`, old and new; RunError when that is unreadable."""
    if "recipe" not in about:
        return []
    try:
        made = Recipe.model_validate(about["recipe"])
    except (ValidationError, RecursionError):
        raise RunError(
            "the settings that the run was made with cannot be read", place=str(file), remedy="Restore it from a copy"
        ) from None
    return [f"{key}: {old!r} -> {new!r}" for key, old, new in differences(made, now) if key not in DECIDABLE]


def edited_constitution(made: object, now: Constitution, artefacts: Iterable[Artefact]) -> str | None:
    """Hashes, old and new, when the constitution is not the one that the run was made with or its stages used."""
    used = [made, *(artefact.manifest.key.get("constitution") for artefact in artefacts)]
    other = next((each for each in used if isinstance(each, str) and each != now.hash), None)
    return f"{other[:8]} -> {now.hash[:8]}" if other else None
