"""Solon: Constitutional AI from end to end.

    import solon

    run = solon.run("testbed", "runs/demo")
    solon.report(run)

The public names are those of `__all__`; each is imported when it is first used, so that `import solon` loads nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from solon.config.version import __version__ as __version__

if TYPE_CHECKING:
    from solon.api import Run as Run
    from solon.api import check_constitution as check_constitution
    from solon.api import compare as compare
    from solon.api import critique_and_revise as critique_and_revise
    from solon.api import effect as effect
    from solon.api import evaluate as evaluate
    from solon.api import judge_check as judge_check
    from solon.api import label as label
    from solon.api import load_constitution as load_constitution
    from solon.api import load_recipe as load_recipe
    from solon.api import open_run as open_run
    from solon.api import report as report
    from solon.api import resume as resume
    from solon.api import run as run
    from solon.api import train_preference_model as train_preference_model
    from solon.config.ray_cluster import RayCluster as RayCluster
    from solon.config.recipe import Recipe as Recipe
    from solon.config.recipe import RevisionMode as RevisionMode
    from solon.config.recipe import SamplingParams as SamplingParams
    from solon.constitution.constitution import Constitution as Constitution
    from solon.conversation import Conversation as Conversation
    from solon.conversation import Role as Role
    from solon.conversation import Turn as Turn
    from solon.errors import SolonError as SolonError
    from solon.evals.benchmarks.model_evaluation import EvaluationSettings as EvaluationSettings
    from solon.pipeline.labelled_pairs import ReplyPair as ReplyPair
    from solon.reward.preference_model import PreferenceModel as PreferenceModel
    from solon.runs.interrupt import Interrupted as Interrupted

_HOMES = {
    "solon.api": (
        "Run", "check_constitution", "compare", "critique_and_revise", "effect", "evaluate", "judge_check", "label",
        "load_constitution", "load_recipe", "open_run", "report", "resume", "run", "train_preference_model",
    ),
    "solon.config.ray_cluster": ("RayCluster",),
    "solon.config.recipe": ("Recipe", "RevisionMode", "SamplingParams"),
    "solon.constitution.constitution": ("Constitution",),
    "solon.conversation": ("Conversation", "Role", "Turn"),
    "solon.errors": ("SolonError",),
    "solon.evals.benchmarks.model_evaluation": ("EvaluationSettings",),
    "solon.pipeline.labelled_pairs": ("ReplyPair",),
    "solon.reward.preference_model": ("PreferenceModel",),
    "solon.runs.interrupt": ("Interrupted",),
}  # fmt: skip
"""The module that defines each public name."""

__all__ = [
    "Constitution",
    "Conversation",
    "EvaluationSettings",
    "Interrupted",
    "PreferenceModel",
    "RayCluster",
    "Recipe",
    "ReplyPair",
    "RevisionMode",
    "Role",
    "Run",
    "SamplingParams",
    "SolonError",
    "Turn",
    "check_constitution",
    "compare",
    "critique_and_revise",
    "effect",
    "evaluate",
    "judge_check",
    "label",
    "load_constitution",
    "load_recipe",
    "open_run",
    "report",
    "resume",
    "run",
    "train_preference_model",
]


def __getattr__(name: str) -> object:
    """A public name, imported now (PEP 562)."""
    for module, names in _HOMES.items():
        if name in names:
            found: object = getattr(importlib.import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'solon' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
