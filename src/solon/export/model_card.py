"""The model card of a trained model: what it was made of, by which settings, and what was measured of it.

A pure function of the run directory. It names the constitution, the data and the base model by hash, so that two cards
tell whether two models were made alike, and no path of the machine that made them. Names and texts come from files of
others: they are shown as code or as YAML, with hidden characters made visible.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from solon.config.builtin import PLAIN, PREFIX
from solon.config.recipe import Algorithm, Method, Recipe
from solon.config.version import __version__
from solon.evals.measures import Unit, measures
from solon.model_folders.folder_check import check_folder
from solon.reporting.results import results
from solon.reporting.visible_text import visible
from solon.runs import Artefact, RunDirectory
from solon.stages.plan import RLHF, SL_CAI, SL_CAI_MEASURE, counted, names_of
from solon.stats.intervals import interval, per_cent

_PATHS = {"human", "human_harmlessness"}
"""Settings that name files; their content is told by hash."""
_BY_PRINCIPLES, _BY_LABELS, _BY_SCORES = (
    ("responses", "revision", "finetune"),
    ("pairs", "feedback"),
    ("preference", "rl"),
)


def card(run: RunDirectory, artefact: Artefact, *, adapter: bool = False) -> str:
    """The card of the model in a finished stage, or of its adapter alone, as Markdown with a YAML head."""
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
        f"Solon {__version__}. Its licence is that of the base model and of the data; look at both first.",
        "\n\n".join(f"**Mind this:** {_code(remark)}" for remark in run.edits()),
        _usage(run, artefact, adapter),
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


_USAGE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
{imports}
folder = "."  # where these files are, or their name on the Hugging Face hub
tokenizer = AutoTokenizer.from_pretrained(folder)
{loading}
messages = [{{"role": "user", "content": "How do I ask my neighbour to be less loud?"}}]
inputs = {inputs}
replies = model.generate(**inputs, max_new_tokens={tokens}, {drawing})
print(tokenizer.decode(replies[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
"""
_BY_TEMPLATE = (
    'tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")'
)
_BY_TRANSCRIPT = """\
tokenizer("\\n\\nHuman: " + messages[0]["content"] + "\\n\\nAssistant:", return_tensors="pt")"""


def _usage(run: RunDirectory, artefact: Artefact, adapter: bool) -> str:
    """How to have the model reply with transformers alone, by the drawing that it was measured with."""
    drawing = run.recipe.measure.sampling
    sampled = f"do_sample=True, temperature={drawing.temperature}, top_p={drawing.top_p}, top_k=0"
    imports, loading = "", "model = AutoModelForCausalLM.from_pretrained(folder)"
    if adapter:
        base = json.dumps(portable(base_of(run.recipe, artefact.name)))
        imports = "from peft import PeftModel\n"
        loading = (
            f"base = AutoModelForCausalLM.from_pretrained({base})\nmodel = PeftModel.from_pretrained(base, folder)"
        )
    code = _USAGE.format(
        imports=imports,
        loading=loading,
        inputs=_BY_TEMPLATE if _has_template(artefact.model) else _BY_TRANSCRIPT,
        tokens=drawing.max_tokens,
        drawing=sampled if drawing.temperature else "do_sample=False",
    )
    stored = check_folder(artefact.model).contents.dtype
    told = (
        "It needs the base model, whose weights are not here."
        if adapter
        else f'Its weights are stored in {stored}; `dtype="bfloat16"` behind `folder` loads them in half the memory.'
        if stored == "float32"
        else f"Its weights are stored in {stored}."
    )
    return f"## Use\n\n```python\n{code}```\n\n{told}"


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    file = folder / "tokenizer_config.json"
    return file.is_file() and '"chat_template"' in file.read_text(encoding="utf-8")


def base_of(recipe: Recipe, model: str) -> str:
    """The model that a stage's adapter was trained on, as the recipe names it."""
    models = recipe.models
    return models.policy or models.pretrained if model == RLHF else models.pretrained


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
    stages = names_of(run.recipe)
    before = stages[: stages.index(model) + 1]
    artefacts = [artefact for artefact in run.artefacts() if artefact.name in before]
    held = {each.name: counted(each.name, each.manifest.rows) for each in artefacts}
    rows = [f"| {each.name} | {held[each.name]} | `{each.hash}` |" for each in artefacts]
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
        "\n".join(["| stage | holds | hash |", "| --- | ---: | --- |", *rows]),
    ]
    return "\n\n".join(pieces)


def _models_and_files(artefact: Artefact, stages: Sequence[str]) -> list[tuple[str, object]]:
    """The hashes in a stage's key that are no other stage's: of models by their part, of files by their name."""
    key = artefact.manifest.key
    files: Mapping[str, object] = key.get("files", {})
    own = {
        "settings",
        "seed",
        "engine",
        "code",
        "judge_check",
        "files",
        "held_out",
        "reserved",
        "constitution",
        *stages,
    }
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
    taken = models[model]
    labels = [each.name for each in measures() if each.unit is Unit.SHARE and "value" in taken.get(each.name, {})]
    lines = [
        "| model | " + " | ".join(labels) + " |",
        "| --- |" + " ---: |" * len(labels),
        *(f"| {_code(name)} | " + " | ".join(_share(figures.get(label)) for label in labels) + " |"
          for name, figures in models.items()),
    ]  # fmt: skip
    grader = run.recipe.measure.grader
    told = f"Replies to held-out prompts, per cent with 95 % intervals and number of replies; grader: {grader}."
    return "## Measures\n\n" + told + "\n\n" + "\n".join(lines)


def _share(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    return f"{per_cent(figure['value'])} [{interval(figure)}] of {figure['n']}"


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
