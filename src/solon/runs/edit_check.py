"""Finds edits of the recipe or constitution in a run's folder, made after the run was created.

A run has copies of its recipe and its constitution, for people to read and for the next session. An edited copy would
not match the finished stages. So `run.json` stores every setting and the constitution's hash, and each stage stores the
hash that it used. A run with an edited copy does not continue (promise P4), and reports say that it was edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from solon.config.loading import differences
from solon.config.recipe import Recipe
from solon.config.server_settings import KEYED, ServerSettings
from solon.constitution.constitution import Constitution
from solon.errors import RunError
from solon.runs.artefact import Artefact

DECIDABLE = frozenset(
    {"judge_check.weak_judge", *(f"engine.server.{name}" for name in ServerSettings.model_fields if name not in KEYED)}
)
"""Settings that may change during a run: they say whether and how it continues, and change no row."""


def edited_settings(about: Mapping[str, Any], now: Recipe, file: Path) -> list[str]:
    """The settings that differ from those in `run.json`, old and new; raises RunError when that is unreadable."""
    if "recipe" not in about:
        return []
    try:
        made = Recipe.model_validate(about["recipe"])
    except (ValidationError, RecursionError):
        raise RunError(
            "the original settings of the run cannot be read", place=str(file), remedy="Restore it from a copy"
        ) from None
    return [f"{key}: {old!r} -> {new!r}" for key, old, new in differences(made, now) if key not in DECIDABLE]


def edited_constitution(original: object, now: Constitution, artefacts: Iterable[Artefact]) -> str | None:
    """Both hashes, when the constitution is not the run's original one or not the one that its stages used."""
    used = [original, *(artefact.manifest.key.get("constitution") for artefact in artefacts)]
    other = next((each for each in used if isinstance(each, str) and each != now.hash), None)
    return f"{other[:8]} -> {now.hash[:8]}" if other else None
