"""Opens engines: the only way from a model's name to an engine.

`open_engine` takes a spec (`solon.config.model_spec`) and the engine's settings. The scheme of the spec selects the
opener. Folders and built-in models are loaded into this process. Packages add schemes as entry points of the group
`solon.engines`; each is an `Opener`. For a model that is already in memory, such as the policy in training, use
`engine_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from solon.config.builtin import model_path
from solon.config.hub_models import title_of
from solon.config.model_spec import BUILT_IN, FETCHED, FOLDER, HUB, SERVERS, TESTBED, VLLM, ModelSpec, folder_of
from solon.config.plugins import ENGINES, load_registered
from solon.config.recipe import EngineSettings, Precision
from solon.config.served_model import OPENAI, ServedModel
from solon.digest import digest, digest_model
from solon.engines.base import Engine, Metered, Remote, TokenBudget
from solon.errors import ModelError
from solon.http.request_flow import RequestFlow
from solon.http.spending import Ledger

if TYPE_CHECKING:
    from solon.engines.tokens import PromptTokenizer


class Opener(Protocol):
    """Opens the models of one scheme."""

    def open(self, spec: ModelSpec, settings: EngineSettings) -> Engine:
        """The engine of a model; raises ModelError or EngineError when it cannot be asked."""
        ...

    def identity(self, spec: ModelSpec) -> str:
        """A text that changes whenever the model's answers can change; part of the key of rows."""
        ...


class ModelInMemory(Engine, Protocol):
    """An engine around a model in this process, which may be in training."""

    tokens: PromptTokenizer
    """How prompts and replies become tokens."""

    def refresh(self) -> None:
        """Drop everything computed from earlier weights."""
        ...


def open_engine(
    spec: ModelSpec,
    settings: EngineSettings | None = None,
    ledger: Ledger | None = None,
    flow: RequestFlow | None = None,
) -> Engine:
    """The engine of a model; what it spends is counted in `ledger` as well, and its open requests in `flow`.

    Raises ModelError for a bare address or a folder without a model, EngineError for a server that does not answer,
    RecipeError for a plug-in that cannot be loaded, and what the plug-in raises.
    """
    return joined(_opener(spec.scheme).open(spec, settings or EngineSettings()), flow, ledger)


def folder_budget(spec: ModelSpec, settings: EngineSettings) -> TokenBudget | None:
    """What counts tokens as the engine of a model does, without its weights; None where only the engine can.

    Raises ModelError as `open_engine` does for a folder without a model.
    """
    if _OPENERS.get(spec.scheme) is not _Folder:
        return None
    from solon.engines.local.folder_budget import FolderBudget

    return FolderBudget(model_path(str(spec)), settings)


def joined(engine: Engine, flow: RequestFlow | None, ledger: Ledger | None = None) -> Engine:
    """The engine, with its open requests counted in `flow` where it asks servers, and what it spends in `ledger`."""
    if ledger is not None and isinstance(engine, Metered):
        engine.spend_from(ledger)
    if flow is not None and isinstance(engine, Remote):
        engine.join(flow)
    return engine


def engine_of(
    model: Any,
    tokenizer: Any,
    settings: EngineSettings | None = None,
    *,
    name: str,
    precision: Precision = Precision.FLOAT32,
) -> ModelInMemory:
    """The engine of a loaded transformers model, asked in the precision in which it is trained.

    Raises ModelError when model and tokenizer do not fit together.
    """
    from solon.engines.local.engine import LocalEngine

    return LocalEngine(model, tokenizer, settings, name=name, precision=precision)


def identity_of(spec: ModelSpec) -> str:
    """A text that changes whenever the model's answers can change: a folder's digest, or the plug-in's text."""
    return _opener(spec.scheme).identity(spec)


def name_of(spec: ModelSpec) -> str:
    """A short name with the first 12 digits of the identity: `assistant@0123456789ab`."""
    folder = folder_of(spec)
    name = str(spec) if folder is None else title_of(folder.resolve())
    return f"{name}@{identity_of(spec)[:12]}"


class _Folder:
    """Opens model folders, built-in and fetched models, and those of the hub."""

    def open(self, spec: ModelSpec, settings: EngineSettings) -> Engine:
        from solon.engines.local.engine import LocalEngine

        return LocalEngine.load(model_path(str(spec)), settings)

    def identity(self, spec: ModelSpec) -> str:
        return digest_model(model_path(str(spec)))


class _Served:
    """Opens models behind servers that speak the OpenAI wire format."""

    def open(self, spec: ModelSpec, settings: EngineSettings) -> Engine:
        from solon.engines.served.opening import open_served

        return open_served(ServedModel.parse(spec.name), settings)

    def identity(self, spec: ModelSpec) -> str:
        """Name and addresses; which weights are behind them, only the server knows."""
        served = ServedModel.parse(spec.name)
        return digest(OPENAI, served.model, served.addresses)


class _Vllm:
    """Opens model folders and adapters with vLLM in this process."""

    def open(self, spec: ModelSpec, settings: EngineSettings) -> Engine:
        from solon.engines.vllm_engine import VllmEngine

        return VllmEngine.load(_vllm_folder(spec), settings)

    def identity(self, spec: ModelSpec) -> str:
        """The folder's digest; vLLM rounds in other ways than the local engine, and draws other samples."""
        return digest(VLLM, digest_model(_vllm_folder(spec)))


def _vllm_folder(spec: ModelSpec) -> Path:
    folder = Path(spec.name)
    return folder if folder.joinpath("adapter_config.json").is_file() else model_path(spec.name)


class _Address:
    """Refuses bare addresses."""

    def open(self, spec: ModelSpec, settings: EngineSettings) -> Engine:
        raise _refused(spec)

    def identity(self, spec: ModelSpec) -> str:
        raise _refused(spec)


def _refused(spec: ModelSpec) -> ModelError:
    return ModelError(
        "this is an address, and it does not say which model",
        place=str(spec),
        remedy=f"Name a model that the server has: openai:MODEL@{spec}",
    )


_OPENERS: Mapping[str, type[Opener]] = {
    FOLDER: _Folder,
    TESTBED: _Folder,
    FETCHED: _Folder,
    HUB: _Folder,
    OPENAI: _Served,
    VLLM: _Vllm,
    **dict.fromkeys(SERVERS, _Address),
}


def _opener(scheme: str) -> Opener:
    if scheme in _OPENERS:
        return _OPENERS[scheme]()
    return cast(Opener, load_registered(ENGINES, scheme, BUILT_IN))
