"""Models on the Hugging Face hub: `hf:ORG/NAME`, or `hf:ORG/NAME@REVISION` for a branch, a tag or a commit.

The cache of `huggingface_hub` comes first: a whole snapshot of the wanted revision is used without any network. What is
not there is fetched: configuration and tokenizer first and the weights last, so that a snapshot with all its weights is
whole. Only safetensors and plain text files are fetched, never pickles or code. A snapshot's folder is named by its
commit, and runs record the name with that commit (`solon.config.model_pins`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.errors import ModelError

PREFIX = "hf:"
"""What the name of a model on the hub starts with."""
MAIN = "main"
"""The revision where none is named."""
_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TEXTS = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_TEMPLATES = "additional_chat_templates"
_TRUE = ("1", "ON", "YES", "TRUE")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the hub at a revision."""

    repository: str
    revision: str = MAIN

    @classmethod
    def parse(cls, name: str) -> HubModel:
        """The model of a name, with or without `hf:`; raises ModelError for a name that no repository can have."""
        repository, at, revision = name.removeprefix(PREFIX).partition("@")
        model = cls(repository, revision if at else MAIN)
        sound = _NAME.fullmatch(repository) and _REVISION.fullmatch(model.revision)
        if not sound or ".." in name or "--" in repository:
            raise ModelError("not the name of a model on the hub", place=name, remedy="Write hf:ORG/NAME[@REVISION]")
        return model

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}{'' if self.revision == MAIN else f'@{self.revision}'}"


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The cache of `huggingface_hub`: `$HF_HUB_CACHE`, or `hub` in `$HF_HOME`."""
    if given := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(os.path.expandvars(given)).expanduser()
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    home = environment.get("HF_HOME") or os.path.join(cache, "huggingface")
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def cached_snapshot(model: HubModel, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of a whole snapshot in the cache; None when it is not there, or only a part of it."""
    home = cache_directory(environment) / f"models--{model.repository.replace('/', '--')}"
    commit = model.revision
    if not model.pinned:
        try:
            commit = (home / "refs" / model.revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    folder = home / "snapshots" / commit
    return folder if _COMMIT.fullmatch(commit) and _is_whole(folder) else None


def snapshot(model: HubModel, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of a model: from the cache, or fetched into it.

    Raises ModelError when it is not cached and cannot be fetched: no network, no such repository or revision, no access
    to it, or no safetensors in it.
    """
    return cached_snapshot(model, environment) or _fetched(model, environment)


def commit_of(folder: Path) -> str | None:
    """The commit of a snapshot's folder in the cache; None for any other folder."""
    home = folder.resolve()
    return home.name if home.parent.name == "snapshots" and _COMMIT.fullmatch(home.name) else None


def title_of(folder: Path) -> str:
    """A short name of a model folder: its own, or NAME-COMMIT for a snapshot, whose own is only a commit."""
    commit = commit_of(folder)
    if commit is None:
        return folder.name
    return f"{folder.resolve().parent.parent.name.split('--')[-1]}-{commit[:12]}"


def _is_whole(folder: Path) -> bool:
    """Whether configuration, tokenizer and all weights are there."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if "config.json" not in names or not any(name.startswith(("tokenizer", "vocab", "spiece")) for name in names):
        return False
    if _WEIGHTS in names:
        return (folder / _WEIGHTS).is_file()
    try:
        shards = json.loads((folder / _INDEX).read_bytes())["weight_map"].values()
        return all((folder / str(shard)).is_file() for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _fetched(model: HubModel, environment: Mapping[str, str]) -> Path:
    if any(environment.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
        cause = "not in the cache, and HF_HUB_OFFLINE forbids the network"
        raise ModelError(cause, place=str(model), remedy=f"Unset HF_HUB_OFFLINE, or {_elsewhere(model, environment)}")
    try:
        return _fetch(model, environment)
    except ModelError:
        raise
    except Exception as error:  # besides its own errors, those of its HTTP client, which changed between versions
        raise _refusal(model, error, environment) from error


def _fetch(model: HubModel, environment: Mapping[str, str]) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    endpoint = environment.get("HF_ENDPOINT") or None
    found = HfApi(endpoint=endpoint).model_info(model.repository, revision=model.revision)
    names = [each.rfilename for each in found.siblings or ()]
    if _WEIGHTS not in names and _INDEX not in names:
        raise ModelError(
            f"the repository has no safetensors of a whole model ({_WEIGHTS}, or its index)",
            place=str(model),
            remedy="Name another revision or repository, or convert it where you trust it: "
            "load it with transformers, save_pretrained(FOLDER), and name FOLDER",
        )
    folder = ""
    for part in (_texts(names), _weights(names)):
        folder = snapshot_download(
            model.repository,
            revision=model.revision,
            cache_dir=cache_directory(environment),
            endpoint=endpoint,
            allow_patterns=part,
        )
    return Path(folder)


def _texts(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(_TEXTS) and ("/" not in name or name.startswith(_TEMPLATES))]


def _weights(names: Sequence[str]) -> list[str]:
    """The weights; some repositories have them a second time, as `consolidated` files or in folders."""
    if _WEIGHTS in names:
        return [_WEIGHTS]
    return [name for name in names if re.fullmatch(r"(?!consolidated)[^/]+\.safetensors", name)]


def _refusal(model: HubModel, error: Exception, environment: Mapping[str, str]) -> ModelError:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    name = model.repository
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, GatedRepoError):
        cause = "access to the model is restricted"
        remedy = f"Ask for it at https://huggingface.co/{name}, then type: hf auth login"
    elif isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        cause = "there is no such model that you may read"
        remedy = "Check the name; for a private model type: hf auth login"
    elif isinstance(error, RevisionNotFoundError):
        cause = f"the model has no revision '{model.revision}'"
        remedy = f"Name a branch, a tag or a commit: {PREFIX}{name}@main"
    elif status is not None:
        cause = f"not in the cache, and the hub answers with status {status}"
        remedy = f"Try again later; or {_elsewhere(model, environment)}"
    elif isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        cause = f"the cache cannot be written: {error.strerror}"
        remedy = "Free some disk, or name another folder in HF_HOME"
    else:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        cause = f"not in the cache, and the hub cannot be reached ({reason})"
        remedy = f"Check the connection; or {_elsewhere(model, environment)}"
    return ModelError(cause, place=str(model), remedy=remedy)


def _elsewhere(model: HubModel, environment: Mapping[str, str]) -> str:
    revision = "" if model.revision == MAIN else f" --revision {model.revision}"
    return (
        f"on a machine with a connection type: hf download {model.repository}{revision}, and copy its cache to "
        f"{cache_directory(environment)} (HF_HOME names another)"
    )
