"""The model card of a trained model: what it was made of, by which settings, and what was measured of it.

A pure function of the run directory. It names the constitution, the data and the base model by hash, so that two cards
tell whether two models were made alike, and no path of the machine that made them. Names and texts come from files of
others: they are shown as code or as YAML, with hidden characters made visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import solon
from solon.builtin import PLAIN, PREFIX
from solon.evals.results import SL_CAI, SL_CAI_MEASURE, policies_of, results, stages_of
from solon.recipe import Algorithm, Method, Recipe
from solon.report.text import visible
from solon.runs import Artefact, RunDirectory

_PATHS = {"human", "human_harmlessness"}
"""Settings that name files; their content is told by hash."""
_BY_PRINCIPLES, _BY_LABELS, _BY_SCORES = (
    ("responses", "revision", "finetune"),
    ("pairs", "feedback"),
    ("preference", "rl"),
)


def trained_by(recipe: Recipe) -> tuple[str, ...]:
    """The language models that a run trains, by the names of their stages."""
    supervised = (SL_CAI,) if recipe.method is Method.CAI else ()
    return supervised + policies_of(recipe)


def card(run: RunDirectory, artefact: Artefact) -> str:
    """The card of the model in a finished stage `sl-cai` or `rl-cai`, as Markdown with a YAML head."""
    recipe, model = run.recipe, artefact.name
    by_people = recipe.method is Method.RLHF
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": [*([] if by_people else ["constitutional-ai"]), "solon", model],
        **_hub_name(recipe.models.pretrained),
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {model} of the run {_code(recipe.name)}",
        f"A language model {_made(recipe, model)} with "
        f"Solon {solon.__version__}. Its licence is that of the base model and of the data; look at both first.",
        "\n\n".join(f"**Mind this:** {_code(remark)}" for remark in run.edits()),
        "" if by_people else _constitution(run),
        _provenance(run, model),
        _training(artefact.facts),
        _measures(run, model),
        f"## Settings\n\n```yaml\n{_settings(recipe, model)}```",
        "## Limits\n\nThe figures hold for the prompts above and for the rater named with them. Where labels, "
        "critiques and ratings come from models, their faults are this model's faults as well.",
    ]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _made(recipe: Recipe, model: str) -> str:
    if recipe.method is Method.RLHF:
        return "trained by reinforcement from human comparisons (RLHF, Bai et al. 2022, arXiv 2204.05862)"
    direct = recipe.rl.algorithm is Algorithm.DPO
    reinforced = "trained on AI feedback by DPO" if direct else "trained by reinforcement from AI feedback"
    made = "finetuned on constitutional revisions" if model == SL_CAI else reinforced
    return f"{made} (Constitutional AI, Bai et al. 2022, arXiv 2212.08073)"


def portable(name: str) -> str:
    """A model or file as a recipe names it, without the folders of the machine."""
    return name if name.startswith((PREFIX, PLAIN)) else Path(name).name


def _hub_name(name: str) -> dict[str, str]:
    """`base_model` belongs into the head only where a hub knows the name; a local folder's is in the text."""
    return {} if name.startswith(PREFIX) or Path(name).exists() else {"base_model": name}


def _constitution(run: RunDirectory) -> str:
    principles = run.constitution.revision
    shown = ", ".join(_code(principle.id) for principle in principles)
    return (
        f"## Constitution\n\n{_code(run.constitution.name)}, hash `{run.constitution.hash}`, "
        f"{len(principles)} revision principles ({shown}) and {len(run.constitution.preference)} preference "
        "principles. Its text is in `constitution.yaml` beside this card."
    )


def _provenance(run: RunDirectory, model: str) -> str:
    stages = stages_of(run.recipe)
    before = stages[: stages.index(model) + 1]
    artefacts = [artefact for artefact in run.artefacts() if artefact.name in before]
    rows = [f"| {artefact.name} | {artefact.manifest.rows:,} | `{artefact.hash}` |" for artefact in artefacts]
    read = {
        f"{portable(name)} ({artefact.name})": str(value)
        for artefact in artefacts
        for name, value in _models_and_files(artefact, stages)
    }
    lines = [f"- {_code(name)}: `{_hash(value)}`" for name, value in read.items()]
    parts = run.recipe.models.model_dump()
    named = [f"- {part}: {_code(portable(name))}" for part, name in parts.items() if name is not None]
    pieces = [
        "## What it was made of",
        "Models:",
        "\n".join(named),
        "Hashes of the models and files that were read:",
        "\n".join(lines),
        "\n".join(["| stage | rows | hash |", "| --- | ---: | --- |", *rows]),
    ]
    return "\n\n".join(pieces)


def _models_and_files(artefact: Artefact, stages: Sequence[str]) -> list[tuple[str, object]]:
    """The hashes in a stage's key that are no other stage's: of models by their part, of files by their name."""
    key = artefact.manifest.key
    files: Mapping[str, object] = key.get("files", {})
    own = {"settings", "seed", "engine", "code", "fitness", "files", "held_out", "reserved", "constitution", *stages}
    return [*files.items(), *((name, value) for name, value in key.items() if name not in own)]


def _training(facts: Mapping[str, Any]) -> str:
    told = {name: value for name, value in facts.items() if isinstance(value, int | float | str | Mapping)}
    return f"## Training\n\n```yaml\n{_yaml(told)}```" if told else ""


def _measures(run: RunDirectory, model: str) -> str:
    models: dict[str, Any] = dict(results(run)["models"])
    alone = next((artefact for artefact in run.artefacts() if artefact.name == SL_CAI_MEASURE), None)
    if not models and alone is not None:
        models = dict(alone.facts.get("models", {}))
    if model not in models:
        return "## Measures\n\nNone were taken."
    labels = [name for name, figure in models[model].items() if name != "words" and "value" in figure]
    lines = [
        "| model | " + " | ".join(labels) + " |",
        "| --- |" + " ---: |" * len(labels),
        *(f"| {_code(name)} | " + " | ".join(_share(figures.get(label)) for label in labels) + " |"
          for name, figures in models.items()),
    ]  # fmt: skip
    rater = run.recipe.measure.rater.value
    told = f"Replies to held-out prompts, per cent with 95 % intervals and number of replies; rater: {rater}."
    return "## Measures\n\n" + told + "\n\n" + "\n".join(lines)


def _share(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    return f"{figure['value'] * 100:.1f} [{figure['low'] * 100:.0f}-{figure['high'] * 100:.0f}] of {figure['n']}"


def _settings(recipe: Recipe, model: str) -> str:
    later = () if model == SL_CAI else (*_BY_LABELS, *_BY_SCORES)
    groups = _BY_SCORES if recipe.method is Method.RLHF else (*_BY_PRINCIPLES, *later)
    values = recipe.model_dump(mode="json")
    chosen = {name: {key: value for key, value in values[name].items() if key not in _PATHS} for name in groups}
    return _yaml({"seed": recipe.seed, "rendering": values["engine"]["rendering"], **chosen})


def _yaml(values: Mapping[str, Any]) -> str:
    # A fence cannot be closed from within: YAML escapes what is no plain text, and backticks begin no plain value.
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=False).replace("```", "'''")


def _code(text: str) -> str:
    return f"`{visible(' '.join(text.split())).replace('`', chr(39)).replace('|', '/')}`"


def _hash(value: str) -> str:
    return "".join(character for character in value if character.isalnum())
