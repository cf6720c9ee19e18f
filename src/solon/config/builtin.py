"""The files of Solon by name: constitutions, recipes, ablations, the testbed's prompts and its two models.

A source or model named `testbed:NAME` is a file or folder of the package's data; a constitution or recipe is built in
when its name is a single word. A model `hf:ORG/NAME`, or `ORG/NAME` where no such folder is, is on the Hugging Face
hub. Every other name is a path of the user, which must exist. So a typing error is an error that lists the existing
names, before any model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from solon.config.fetchable import PREFIX as FETCHED
from solon.config.fetchable import fetched_folder
from solon.config.hub_models import PREFIX as HUB
from solon.config.hub_models import HubModel, snapshot
from solon.config.located_yaml import nearest
from solon.errors import ConstitutionError, InputError, ModelError, RecipeError, SolonError

DATA = Path(__file__).parent.parent / "data"
PREFIX = "testbed:"
PLAIN = "plain:"
"""The prefix of the prompts in plain English that come with Solon, for runs on real models."""
YOURS = "your-model"
"""The placeholder for the user's model in the recipe `own`."""
_HUB_NAME = re.compile(r"(?:(?P<organisation>[A-Za-z0-9][\w.-]*)/)?[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?", re.ASCII)


def source_path(name: str | Path) -> Path:
    """The file of prompts or comparisons that a recipe names; raises InputError when it is missing."""
    if str(name).startswith(PLAIN):
        return _resolve(name, DATA / "prompts", (".jsonl",), "prompt file", InputError, prefix=PLAIN)
    return _resolve(name, DATA / "testbed", (".jsonl", ".jsonl.gz"), "prompt file", InputError)


def model_path(name: str | Path) -> Path:
    """The model folder that a recipe names; a model of the hub is fetched when it is not in the cache.

    Raises ModelError when the folder is missing or has no model in it, and when a model cannot be fetched.
    """
    if str(name).startswith(FETCHED):
        return fetched_folder(str(name))
    if (on_hub := hub_model(name)) is not None:
        return _snapshot(on_hub, str(name))
    if str(name) == YOURS and not Path(name).exists():
        raise ModelError("the recipe names no model", place="model", remedy="Name your model: --set model=FOLDER")
    _refuse_elsewhere(str(name))
    path = _resolve(name, DATA / "models", ("",), "model folder", ModelError)
    if not path.is_dir() or not (path / "config.json").is_file():
        raise ModelError(
            "not a model folder: config.json is missing",
            place=str(path),
            remedy="Give the folder that save_pretrained wrote, or 'testbed:assistant'",
        )
    return path


def _snapshot(model: HubModel, name: str) -> Path:
    try:
        return snapshot(model)
    except ModelError as error:
        if name.startswith(HUB):
            raise
        cause = f"no such model folder; and as a model of the hub: {error.cause}"
        raise ModelError(cause, place=name, remedy=f"Check the path. {error.remedy}") from error


def hub_model(name: str | Path) -> HubModel | None:
    """The model of the hub that a name means: `hf:ORG/NAME`, or `ORG/NAME` where neither of both is a folder here.

    None for any other name. Raises ModelError for a name with `hf:` that no model can have.
    """
    if isinstance(name, Path):
        return None
    if name.startswith(HUB):
        return HubModel.parse(name)
    form = _HUB_NAME.fullmatch(name)
    organisation = form["organisation"] if form else None
    here = organisation in (None, "models") or Path(organisation or "").is_dir() or Path(name).exists()
    return None if here else HubModel.parse(name)


def _refuse_elsewhere(name: str) -> None:
    """Raise ModelError with a remedy for an address, or for a single word that may be a name on the hub."""
    if urlsplit(name).scheme in ("http", "https"):
        raise ModelError(
            "this is an address, and it does not say which model",
            place=name,
            remedy=f"Name a model that the server has: openai:MODEL@{name}",
        )
    models = built_in(DATA / "models", ("",))
    known = nearest(name, [known for each in models for known in (each, f"{PREFIX}{each}")])
    if "/" not in name and known is None and _HUB_NAME.fullmatch(name) and not Path(name).exists():
        raise ModelError(
            "no such model folder",
            place=name,
            remedy=f"Check the path; a model of the Hugging Face hub is named with its organisation: ORG/{name}",
        )


def constitution_path(name: str | Path) -> Path:
    """The YAML file of a constitution; raises ConstitutionError when there is none of that name."""
    return _resolve(name, DATA / "constitutions", (".yaml",), "constitution", ConstitutionError, prefix="")


def recipe_path(name: str | Path) -> Path:
    """The YAML file of a recipe; raises RecipeError when there is none of that name."""
    return _resolve(name, DATA / "recipes", (".yaml",), "recipe", RecipeError, prefix="")


def built_in_recipe(name: str | Path) -> bool:
    """Whether a recipe is one of Solon's own; raises RecipeError when there is none of that name."""
    return recipe_path(name).parent == DATA / "recipes"


def default_recipe(*models: object) -> str:
    """The recipe for a command that is given models and no recipe: `testbed` if all are bundled, else `own`."""
    return "testbed" if all(str(model).startswith(PREFIX) for model in models) else "own"


def ablation_path(name: str | Path) -> Path:
    """The YAML file of an ablation; raises RecipeError when there is none of that name."""
    return _resolve(name, DATA / "ablations", (".yaml",), "ablation", RecipeError, prefix="")


def measure_questions_path(name: str | Path) -> Path:
    """The YAML file of questions about replies; raises RecipeError when there is none of that name."""
    return _resolve(name, DATA / "measures", (".yaml",), "file of questions about replies", RecipeError, prefix="")


def refusal_questions_path(name: str | Path) -> Path:
    """The YAML file of questions about refusals; raises RecipeError when there is none of that name."""
    return _resolve(name, DATA / "refusals", (".yaml",), "file of questions about refusals", RecipeError, prefix="")


def built_in(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The entries of a data folder by name; an empty suffix means folders."""
    if not folder.is_dir():
        return {}
    return {
        entry.name.removesuffix(suffix): entry
        for entry in sorted(folder.iterdir())
        for suffix in suffixes
        if (entry.name.endswith(suffix) if suffix else entry.is_dir())
    }


def _resolve(
    name: str | Path,
    folder: Path,
    suffixes: Sequence[str],
    what: str,
    error: type[SolonError],
    prefix: str = PREFIX,
) -> Path:
    written = str(name)
    known = built_in(folder, suffixes)
    bare = written.removeprefix(prefix)
    # A built-in name has the prefix, or is a single word where there is no prefix; the user's files are paths.
    at_home = written.startswith("~/") and not Path(written).exists()
    path = Path(written).expanduser() if at_home else Path(written)
    names_built_in = written.startswith(prefix) if prefix else isinstance(name, str) and Path(written).name == written
    if names_built_in and bare in known:
        return known[bare]
    if written and not (prefix and names_built_in) and path.exists():
        return path
    names = [f"{prefix}{each}" for each in known]
    close = nearest(written, names)
    hint = f"Did you mean '{close}'? " if close else ""
    built = f"Built in: {', '.join(names)}" if names else "Nothing is built in under that kind"
    raise error(f"no such {what}", place=written or "''", remedy=f"{hint}{built}, or give a path")
