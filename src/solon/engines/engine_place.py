"""Where models are asked: in this process, or in actors of a cluster (`solon.engines.cluster`).

A place opens engines, and brings the executor that keeps them busy. Stages do not know the place, and their rows do not
depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings
from solon.engines.base import Engine
from solon.engines.registry import open_engine
from solon.http.spending import Ledger
from solon.runs.executor import Executor, InProcess


class EnginePlace(Protocol):
    """Opens engines, and works on chunks that ask them."""

    @property
    def executor(self) -> Executor:
        """What works on the chunks of a stage."""
        ...

    @property
    def made_with(self) -> Mapping[str, object]:
        """What of the place changes only rounding, where it differs from this process."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """Lines for the console."""
        ...

    def open(self, spec: ModelSpec, settings: EngineSettings | None = None, ledger: Ledger | None = None) -> Engine:
        """The engine of a model; raises what `solon.engines.registry.open_engine` raises."""
        ...


class ThisProcess:
    """Asks models in this process, one chunk after the other."""

    executor: Executor = InProcess()
    made_with: Mapping[str, object] = {}
    remarks: Sequence[str] = ()

    def open(self, spec: ModelSpec, settings: EngineSettings | None = None, ledger: Ledger | None = None) -> Engine:
        return open_engine(spec, settings, ledger)
