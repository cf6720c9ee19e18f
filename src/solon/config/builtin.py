"""What Solon ships, by name: constitutions, recipes, ablations, the testbed's prompts and its two models.

A source or model named `testbed:NAME` is a file or folder among the package's data; a constitution or recipe is built
in when its name is a bare word. Everything else is a path of the user's own and passes through, checked to exist, so
that a typing error is met here, with the names that do exist, before any model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from solon.config.located_yaml import nearest
from solon.errors import ConstitutionError, InputError, ModelError, RecipeError, SolonError

DATA = Path(__file__).parent.parent / "data"
PREFIX = "testbed:"
PLAIN = "plain:"
"""Marks the prompts in plain English that come with Solon, for runs on real models."""
SMOLLM2 = "models/smollm2"
"""The folder that the recipe `real` names; no weights come with Solon but the testbed's."""
YOURS = "your-model"
"""What the recipe `own` names in place of a model, which everybody brings."""
_HUB_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)


def source_path(name: str | Path) -> Path:
    """The file of prompts or comparisons that a recipe names; raises InputError when it is missing."""
    if str(name).startswith(PLAIN):
        return _resolve(name, DATA / "prompts", (".jsonl",), "prompt file", InputError, prefix=PLAIN)
    return _resolve(name, DATA / "testbed", (".jsonl", ".jsonl.gz"), "prompt file", InputError)


def model_path(name: str | Path) -> Path:
    """The model folder that a recipe names; raises ModelError when it is missing or holds no model."""
    if str(name) == SMOLLM2 and not Path(name).exists():
        raise ModelError(
            "no such model folder",
            place=SMOLLM2,
            remedy="Fetch it in a checkout with: make smollm2; or name your own with --set model=FOLDER",
        )
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


def _refuse_elsewhere(name: str) -> None:
    """Raise ModelError, with what to do, for what is no folder but an address or a name on a model hub."""
    if urlsplit(name).scheme in ("http", "https"):
        raise ModelError(
            "this is an address, and Solon cannot use models behind a server yet",
            place=name,
            remedy="Download its weights and name their folder",
        )
    organisation, _, bare = name.rpartition("/")
    here = organisation == "models" or Path(organisation).is_dir() if organisation else bool(_near_a_model(name))
    meant_here = Path(name).exists() or here
    if _HUB_NAME.fullmatch(name) and not meant_here:
        raise ModelError(
            "no such model folder, and Solon downloads nothing by itself",
            place=name,
            remedy=f"Check the path; or, for a model of that name on the Hugging Face hub, type: hf download {name} "
            f"--local-dir models/{bare} and name models/{bare}",
        )


def _near_a_model(name: str) -> str | None:
    return nearest(name, [known for each in built_in(DATA / "models", ("",)) for known in (each, f"{PREFIX}{each}")])


def constitution_path(name: str | Path) -> Path:
    """The YAML file of a constitution; raises ConstitutionError when there is none of that name."""
    return _resolve(name, DATA / "constitutions", (".yaml",), "constitution", ConstitutionError, prefix="")


def recipe_path(name: str | Path) -> Path:
    """The YAML file of a recipe; raises RecipeError when there is none of that name."""
    return _resolve(name, DATA / "recipes", (".yaml",), "recipe", RecipeError, prefix="")


def built_in_recipe(name: str | Path) -> bool:
    """Whether a recipe is one of Solon's own; raises RecipeError when there is none of that name."""
    return recipe_path(name).parent == DATA / "recipes"


def ablation_path(name: str | Path) -> Path:
    """The YAML file of an ablation; raises RecipeError when there is none of that name."""
    return _resolve(name, DATA / "ablations", (".yaml",), "ablation", RecipeError, prefix="")


def built_in(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The entries of a data folder by name; an empty suffix stands for folders."""
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
    # With a prefix only that marks a name; without one a bare word does, and a user's own file is written as a path.
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
