"""Names of models: a folder, a built-in model, or an address.

    models/llama           a model folder
    testbed:assistant      a model that comes with Solon
    fetched:smollm2-135m   a model that `solon models fetch` brought
    hf:ORG/NAME@REVISION   a model of the Hugging Face hub (`solon.config.hub_models`), at `main` without a revision
    ORG/NAME               the same, where no such folder is
    openai:NAME@URL        a model behind a server (`solon.config.served_model`)
    vllm:models/llama      a model folder, or a LoRA adapter's, that vLLM runs in this process
    http://127.0.0.1:8000  a server (refused: it does not say which model)
    NAME:WHATEVER          what a plug-in named NAME opens (`solon.config.plugins`)

`solon.engines.registry.open_engine` opens all of them. Folders, built-in and fetched models and those of the hub can be
trained; `folder_of` returns the folder with their weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from solon.config.builtin import PREFIX, model_path
from solon.config.fetchable import PREFIX as FETCHED_PREFIX
from solon.config.hub_models import PREFIX as HUB_PREFIX
from solon.config.plugins import ENGINES, registered
from solon.config.served_model import OPENAI

FOLDER = "folder"
TESTBED = PREFIX.removesuffix(":")
FETCHED = FETCHED_PREFIX.removesuffix(":")
HUB = HUB_PREFIX.removesuffix(":")
SERVERS = ("http", "https")
VLLM = "vllm"
BUILT_IN = (FOLDER, TESTBED, FETCHED, HUB, OPENAI, VLLM, *SERVERS)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The name of a model: a scheme, which says how to open it, and the rest."""

    scheme: str
    name: str

    @classmethod
    def parse(cls, text: str | Path) -> ModelSpec:
        """The spec in a recipe or option; a prefix that is not registered is part of a folder's name."""
        scheme, colon, rest = str(text).partition(":")
        if isinstance(text, Path) or not colon:
            return cls(FOLDER, str(text))
        known = scheme in BUILT_IN[1:] or scheme in registered(ENGINES, BUILT_IN)
        return cls(scheme, rest) if known else cls(FOLDER, str(text))

    @property
    def is_served(self) -> bool:
        """Whether the model is behind a server."""
        return self.scheme == OPENAI

    def __str__(self) -> str:
        return self.name if self.scheme == FOLDER else f"{self.scheme}:{self.name}"


def folder_of(spec: ModelSpec) -> Path | None:
    """The folder of a model that this program loads by itself; None for any other model.

    A model of the hub is fetched when it is not in the cache. Raises ModelError for a folder that does not exist or has
    no model in it, for a model that cannot be fetched, and for a bare address.
    """
    return model_path(str(spec)) if spec.scheme in BUILT_IN and spec.scheme not in (OPENAI, VLLM) else None


def located(spec: ModelSpec) -> ModelSpec:
    """The spec with its folder in place of a built-in name, so that equal models have equal specs.

    Raises what `folder_of` raises.
    """
    folder = folder_of(spec)
    return spec if folder is None else ModelSpec(FOLDER, str(folder))
