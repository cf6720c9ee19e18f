"""The model card of a trained model: its inputs, its settings, and its measures.

A pure function of the run directory. The card has hashes of the constitution, the data and the base model, so that two
cards show whether two models have the same inputs. It contains no path of the machine. Names and texts come from other
people's files, so the card shows them as code or as YAML, with hidden characters made visible.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from solon.config.builtin import PLAIN, PREFIX, hub_model
from solon.config.hub_models import PREFIX as HUB
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
"""Settings that name files; the card has their hashes instead."""
_BY_PRINCIPLES, _BY_LABELS, _BY_SCORES = (
    ("responses", "revision", "finetune"),
    ("pairs", "feedback"),
    ("preference", "rl"),
)


def card(run: RunDirectory, artefact: Artefact, *, adapter: bool = False) -> str:
    """The card of the model in a finished stage, or of its adapter only, as Markdown with a YAML head."""
    recipe, model = run.recipe, artefact.name
    rlhf = recipe.method is Method.RLHF
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": [*([] if rlhf else ["constitutional-ai"]), "solon", model],
        **_hub_name(recipe.models.pretrained),
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {model} of the run {_code(recipe.name)}",
        f"A language model {_training_method(recipe, model)} with Solon {__version__}. "
        "The licences of the base model and of the data apply; read both first.",
        "\n\n".join(f"**Warning:** {_code(remark)}" for remark in run.edits()),
        _usage(run, artefact, adapter),
        "" if rlhf else _constitution(run),
        _provenance(run, model),
        _training(artefact.facts),
        _measures(run, model),
        f"## Settings\n\n```yaml\n{_settings(recipe, model)}```",
        "## Limits\n\nThe figures are for the prompts and the grader named above. Where labels, critiques and ratings "
        "come from models, this model repeats their mistakes.",
    ]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _training_method(recipe: Recipe, model: str) -> str:
    if recipe.method is Method.RLHF:
        return "trained by reinforcement learning from human comparisons (RLHF, Bai et al. 2022, arXiv 2204.05862)"
    if model == SL_CAI:
        how = "finetuned on constitutional revisions"
    elif recipe.rl.algorithm is Algorithm.DPO:
        how = "trained on AI feedback by DPO"
    else:
        how = "trained by reinforcement learning from AI feedback"
    return f"{how} (Constitutional AI, Bai et al. 2022, arXiv 2212.08073)"


_USAGE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
{imports}
folder = "."  # this folder, or the model's name on the Hugging Face hub
tokenizer = AutoTokenizer.from_pretrained(folder)
{loading}
messages = [{{"role": "user", "content": "How do I ask my neighbour to be less loud?"}}]
inputs = {inputs}
replies = model.generate(**inputs, max_new_tokens={tokens}, {sampling})
print(tokenizer.decode(replies[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
"""
_BY_TEMPLATE = (
    'tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")'
)
_BY_TRANSCRIPT = """\
tokenizer("\\n\\nHuman: " + messages[0]["content"] + "\\n\\nAssistant:", return_tensors="pt")"""


def _usage(run: RunDirectory, artefact: Artefact, adapter: bool) -> str:
    """Code that samples a reply with transformers, with the sampling parameters of the measures."""
    params = run.recipe.measure.sampling
    sampled = f"do_sample=True, temperature={params.temperature}, top_p={params.top_p}, top_k=0"
    imports, loading = "", "model = AutoModelForCausalLM.from_pretrained(folder)"
    if adapter:
        base, revision = base_of(run.recipe, artefact.name)
        where = json.dumps(base) + (f', revision="{revision}"' if revision else "")
        imports = "from peft import PeftModel\n"
        loading = (
            f"base = AutoModelForCausalLM.from_pretrained({where})\nmodel = PeftModel.from_pretrained(base, folder)"
        )
    code = _USAGE.format(
        imports=imports,
        loading=loading,
        inputs=_BY_TEMPLATE if _has_template(artefact.model) else _BY_TRANSCRIPT,
        tokens=params.max_tokens,
        sampling=sampled if params.temperature else "do_sample=False",
    )
    stored = check_folder(artefact.model).contents.dtype
    if adapter:
        note = "It needs the base model; the base model's weights are not in this folder."
    elif stored == "float32":
        note = f'The weights are {stored}; add `dtype="bfloat16"` after `folder` to load them in half the memory.'
    else:
        note = f"The weights are {stored}."
    return f"## Use\n\n```python\n{code}```\n\n{note}"


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    file = folder / "tokenizer_config.json"
    return file.is_file() and '"chat_template"' in file.read_text(encoding="utf-8")


def base_of(recipe: Recipe, model: str) -> tuple[str, str | None]:
    """The base model of a stage's adapter by the name that others load it by, and its revision on the hub."""
    models = recipe.models
    name = models.policy or models.pretrained if model == RLHF else models.pretrained
    found = hub_model(name)
    return (portable(name), None) if found is None else (found.repository, found.revision)


def portable(name: str) -> str:
    """The name of a model or file in a recipe, without the folders of this machine."""
    return name if name.startswith((PREFIX, PLAIN, HUB)) else Path(name).name


def _hub_name(name: str) -> dict[str, str]:
    """`base_model` for the head, for a model of the hub; the text names a local folder."""
    found = hub_model(name)
    return {} if found is None else {"base_model": found.repository}


def _constitution(run: RunDirectory) -> str:
    principles = run.constitution.revision
    shown = ", ".join(_code(principle.id) for principle in principles)
    return (
        f"## Constitution\n\n{_code(run.constitution.name)}, hash `{run.constitution.hash}`, "
        f"{len(principles)} revision principles ({shown}) and {len(run.constitution.preference)} preference "
        "principles. Its text is in `constitution.yaml` in this folder."
    )


def _provenance(run: RunDirectory, model: str) -> str:
    stages = names_of(run.recipe)
    before = stages[: stages.index(model) + 1]
    artefacts = [artefact for artefact in run.artefacts() if artefact.name in before]
    rows = [f"| {each.name} | {counted(each.name, each.manifest.rows)} | `{each.hash}` |" for each in artefacts]
    read = {
        f"{portable(name)} ({artefact.name})": str(value)
        for artefact in artefacts
        for name, value in _models_and_files(artefact, stages)
    }
    lines = [f"- {_code(name)}: `{_hash(value)}`" for name, value in read.items()]
    parts = run.recipe.models.model_dump()
    models = [f"- {part}: {_code(portable(name))}" for part, name in parts.items() if name is not None]
    pieces = [
        "## Inputs",
        "Models:",
        "\n".join(models),
        "Hashes of the models and files that were read:",
        "\n".join(lines),
        "\n".join(["| stage | size | hash |", "| --- | ---: | --- |", *rows]),
    ]
    return "\n\n".join(pieces)


def _models_and_files(artefact: Artefact, stages: Sequence[str]) -> list[tuple[str, object]]:
    """The hashes in a stage's key that are not another stage's: models by their part, files by their name."""
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
    shown = {name: value for name, value in facts.items() if isinstance(value, int | float | str | Mapping)}
    return f"## Training\n\n```yaml\n{_yaml(shown)}```" if shown else ""


def _measures(run: RunDirectory, model: str) -> str:
    models: dict[str, Any] = dict(results(run)["models"])
    of_sl_cai = next((artefact for artefact in run.artefacts() if artefact.name == SL_CAI_MEASURE), None)
    if not models and of_sl_cai is not None:
        models = dict(of_sl_cai.facts.get("models", {}))
    if model not in models:
        return "## Measures\n\nThe run has not measured this model."
    own = models[model]
    labels = [each.name for each in measures() if each.unit is Unit.SHARE and "value" in own.get(each.name, {})]
    lines = [
        "| model | " + " | ".join(labels) + " |",
        "| --- |" + " ---: |" * len(labels),
        *(f"| {_code(name)} | " + " | ".join(_share(figures.get(label)) for label in labels) + " |"
          for name, figures in models.items()),
    ]  # fmt: skip
    judge = results(run).get("reply_judge")
    grader = f"the judge {_code(judge['name'])}" if judge else run.recipe.measure.grader
    about = f"Replies to held-out prompts, per cent with 95 % intervals and number of replies; grader: {grader}."
    return "\n\n".join(("## Measures", about, "\n".join(lines)))


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
    # No value can close the code fence: YAML escapes everything but plain text, and a plain value has no backticks.
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=False).replace("```", "'''")


def _code(text: str) -> str:
    return f"`{visible(' '.join(text.split())).replace('`', chr(39)).replace('|', '/')}`"


def _hash(value: str) -> str:
    return "".join(character for character in value if character.isalnum())
