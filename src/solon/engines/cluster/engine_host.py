"""What runs in an actor: it holds the engines that this process of the cluster has open.

An actor is to the run what the run's own process is without a cluster: each model is opened once, and dropped when the
run has dropped it. The model must be the same on every node, so its identity is compared before it is loaded.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from solon.config.recipe import EngineSettings
from solon.config.version import __version__
from solon.engines.base import Engine
from solon.engines.cluster.actor_calls import EngineCall, EngineOrder
from solon.engines.rounding import keyed, made_with
from solon.errors import ModelError

A = TypeVar("A")
_REMEDY = "Copy the folder to the same path on every node, or put it on a disk that all nodes share"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Where an actor runs, and what of its machine and code can change a row."""

    node: str
    process: int
    solon: str
    keyed: Mapping[str, object]
    """The settings that belong to keys, as they are there (`solon.engines.rounding.keyed`)."""
    made_with: Mapping[str, object]
    """What changes only rounding there."""


class EngineHost:
    """An actor's state: the open engines, by the key of their order."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}

    def describe(self, settings: EngineSettings) -> HostFacts:
        """The actor's facts."""
        return HostFacts(socket.gethostname(), os.getpid(), __version__, keyed(settings), made_with(settings))

    def answer(self, open_here: Collection[str], order: EngineOrder, call: EngineCall[A]) -> A:
        """The answer to a call; engines that are not in `open_here` are dropped, and that of `order` is opened.

        Raises ModelError for a model that this node does not have, or has otherwise, and what the engine raises.
        """
        for key in [key for key in self._engines if key not in open_here]:
            del self._engines[key]
        if order.key not in self._engines:
            refuse_other_model(order)
            self._engines[order.key] = order.opener.open(order.spec, order.settings)
        return call(self._engines[order.key])


def refuse_other_model(order: EngineOrder) -> None:
    """Raise ModelError when this node does not have the model of an order."""
    node = socket.gethostname()
    try:
        found = order.opener.identity(order.spec)
    except ModelError as error:
        cause = f"node {node} does not have this model: {error.cause}"
        raise ModelError(cause, place=str(order.spec), remedy=_REMEDY) from error
    if found != order.identity:
        cause = f"node {node} has another model in its place than the machine of the run"
        raise ModelError(cause, place=str(order.spec), remedy=_REMEDY)
