"""The place of engines for `--on ray`: connects to a cluster, starts the actors, and ends what it started.

Ray is an optional package, imported when it is asked for. A cluster that someone else started, or a connection that the
program already has, is left as it was. A cluster on this machine that is started here ends with the session; it reports
nothing to Ray's makers. Ray's own messages go to its log files; a death of an actor is one line of Solon's.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakSet

from solon.config.model_spec import FOLDER, ModelSpec
from solon.config.ray_cluster import RayCluster
from solon.config.recipe import EngineSettings
from solon.config.served_model import OPENAI
from solon.config.version import __version__
from solon.engines.base import Engine
from solon.engines.cluster.actor_calls import EngineOrder
from solon.engines.cluster.actor_pool import PATIENCE, ActorPool
from solon.engines.cluster.cluster_engine import ClusterEngine
from solon.engines.cluster.engine_host import HostFacts
from solon.engines.engine_place import EnginePlace, ThisProcess
from solon.engines.registry import Opener, identity_of, open_engine
from solon.engines.rounding import keyed
from solon.errors import RecipeError, RunError
from solon.http.spending import Ledger
from solon.runs.chunk_threads import ChunkThreads, Exclusive

_log = logging.getLogger(__name__)
ADDRESS = "RAY_ADDRESS"
"""The environment variable with which Ray's own commands name a cluster."""
REACH = 10.0
"""Seconds in which a cluster has to accept a connection."""
SPARE = 2
"""Chunks that are prepared while every actor has one."""


class AnyModel:
    """Opens the models that `solon.engines.registry` knows."""

    def open(self, spec: ModelSpec, settings: EngineSettings) -> Engine:
        """See `Opener.open`."""
        return open_engine(spec, settings)

    def identity(self, spec: ModelSpec) -> str:
        """See `Opener.identity`."""
        return identity_of(spec)


@dataclass(slots=True)
class RayPlace:
    """Opens models in the actors of a cluster; those behind servers are asked from this process."""

    pool: ActorPool
    executor: ChunkThreads
    made_with: Mapping[str, object]
    remarks: Sequence[str]
    opener: Opener = field(default_factory=AnyModel)
    _engines: WeakSet[ClusterEngine] = field(default_factory=WeakSet)
    """Those in use; actors drop the others."""
    _opening: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pool.open_here = self._open_here

    def open(self, spec: ModelSpec, settings: EngineSettings | None = None, ledger: Ledger | None = None) -> Engine:
        """See `EnginePlace.open`; raises ModelError when a node does not have the same model at the same place."""
        settings = settings or EngineSettings()
        if spec.scheme == OPENAI:
            return open_engine(spec, settings, ledger)
        order = EngineOrder(_everywhere(spec), settings, self.opener.identity(spec), self.opener)
        self._opening.add(order.key)
        try:
            engine = ClusterEngine(self.pool, order)
            self._engines.add(engine)
        finally:
            self._opening.discard(order.key)
        return engine

    def _open_here(self) -> frozenset[str]:
        return frozenset({*self._opening, *(engine.order.key for engine in self._engines)})


@contextmanager
def place_of(cluster: RayCluster | None, settings: EngineSettings) -> Iterator[EnginePlace]:
    """The place on a cluster, or in this process where none is named; raises as `on_ray` does."""
    if cluster is None:
        yield ThisProcess()
        return
    with on_ray(cluster, settings) as place:
        yield place


@contextmanager
def on_ray(
    cluster: RayCluster,
    settings: EngineSettings | None = None,
    opener: Opener | None = None,
    patience: float = PATIENCE,
) -> Iterator[RayPlace]:
    """The place on a cluster, for the length of a block; `patience` is how many seconds no actor may be there.

    Raises RunError when Ray is not installed, no cluster answers, or no actor starts, and RecipeError when its nodes
    would compute in another number format than this machine. A cluster that is started here has what this machine has:
    where an actor asks for more, that is said at once. Another one may grow, so there it is only a warning.
    """
    ray, settings = _ray(cluster), settings or EngineSettings()
    with _connected(ray, cluster) as is_ours:
        if lacking := lacking_resources(ray, cluster):
            if is_ours:
                remedy = "Ask for less with --actor-cpus and --actor-gpus"
                raise RunError(lacking, place=f"--on {cluster}", remedy=remedy)
            _log.warning("%s: waiting for another node", lacking)
        exclusive = Exclusive()
        pool = ActorPool(ray, settings, lambda facts: refuse_other_host(facts, settings), exclusive, patience=patience)
        try:
            facts = pool.start(cluster.actors, cluster.cpus, cluster.gpus)
            executor = ChunkThreads(cluster.actors + SPARE, exclusive)
            made_with = {**facts.made_with, "actors": cluster.actors}
            yield RayPlace(pool, executor, made_with, _remarks(ray, cluster), opener or AnyModel())
        finally:
            pool.close()


def _everywhere(spec: ModelSpec) -> ModelSpec:
    """The spec with its folder as an absolute path, which means the same in every working folder."""
    folder = Path(spec.name)
    return ModelSpec(FOLDER, str(folder.absolute())) if spec.scheme == FOLDER and folder.is_dir() else spec


def _ray(cluster: RayCluster) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ModuleNotFoundError:
        raise RunError(
            "Ray is not installed", place=f"--on {cluster}", remedy="Install it with: pip install 'solon[ray]'"
        ) from None
    return ray


@contextmanager
def _connected(ray: Any, cluster: RayCluster) -> Iterator[bool]:
    """Connect to a cluster where the program is not connected, and disconnect again; whether it was started here."""
    if ray.is_initialized():
        yield False
        return
    try:
        with _quiet(ray):
            with _own_signals():
                is_ours = _connect(ray, cluster)
            yield is_ours
    finally:
        ray.shutdown()


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keep Ray's messages from the console; they are in its log files."""
    worker, logger = ray._private.worker, logging.getLogger("ray")
    printed, level = worker._worker_logs_enabled, logger.level
    # `log_to_driver` does not silence what raylets say about dead workers, which goes to standard output.
    worker._worker_logs_enabled = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        worker._worker_logs_enabled = printed
        logger.setLevel(level)


def _connect(ray: Any, cluster: RayCluster) -> bool:
    """Connect; whether the cluster was started for it."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    named = os.environ.get(ADDRESS) if cluster.address is None else cluster.address
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if named:
                _reach(named)
                ray.init(address=named, **quiet)
                return False
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            # CPUs are a count of places and not of cores: more actors than cores are slow, and work.
            cpus = max(os.cpu_count() or 1, math.ceil(cluster.actors * cluster.cpus))
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
            return True
    except (OSError, RuntimeError, TimeoutError, ValueError) as error:
        ray.shutdown()
        cause = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RunError(
            f"no Ray cluster answers: {cause[:300]}" if named else f"Ray does not start: {cause[:300]}",
            place=f"--on {cluster}" if cluster.address or not named else f"{ADDRESS}={named}",
            remedy="Start one with 'ray start --head --port 6379', and name its address: --on ray:HOST:6379",
        ) from error


def _reach(address: str) -> None:
    """Raise OSError where nothing listens at an address with a port; Ray itself would go on trying."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the program's handlers of signals, which `ray.init` replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def refuse_other_host(facts: HostFacts, settings: EngineSettings) -> None:
    """Raise when an actor has other code, or would compute in another number format."""
    if facts.solon != __version__:
        raise RunError(
            f"node {facts.node} has solon {facts.solon}, and this machine {__version__}",
            place="--on ray",
            remedy="Install the same version on every node",
        )
    here = keyed(settings)
    if (there := dict(facts.keyed)) != here:
        differ = ", ".join(
            f"{name} {there.get(name)} (here {here.get(name)})" for name in here if here[name] != there.get(name)
        )
        raise RecipeError(
            f"node {facts.node} asks models with {differ}",
            place="engine.dtype",
            remedy="Name the number format: --set engine.dtype=float32, or bfloat16",
        )


def lacking_resources(ray: Any, cluster: RayCluster) -> str:
    """Why no node can ever hold an actor: what it asks for, and what the nodes have; empty when one can."""
    nodes = [node.get("Resources") or {} for node in ray.nodes() if node.get("Alive")]
    have = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    if any(cpus >= cluster.cpus and gpus >= cluster.gpus for cpus, gpus in have):
        return ""
    listed = ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in sorted(set(have), reverse=True)[:4])
    return f"an actor asks for {cluster.each}, and no node of Ray has so much (there: {listed or 'none'})"


def _remarks(ray: Any, cluster: RayCluster) -> tuple[str, ...]:
    nodes = sum(1 for node in ray.nodes() if node.get("Alive"))
    on = f"on a cluster of {nodes} node{'s' if nodes != 1 else ''}"
    lines = [f"Ray: {cluster.actors} actors with {cluster.each} each, {on}."]
    unused = ray.cluster_resources().get("GPU", 0)
    if unused and not cluster.gpus:
        lines.append(f"The cluster has {unused:g} GPUs, and the actors use none: --actor-gpus 1.")
    return tuple(lines)
