"""What actors ask for beside what the nodes of a cluster have, and what is said when actors are lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.engines.cluster.ray_in_threads import RayInThreads

from solon.config.ray_cluster import RayCluster
from solon.config.recipe import EngineSettings
from solon.engines.cluster import ray_place
from solon.engines.cluster.actor_pool import ActorPool
from solon.engines.cluster.ray_place import lacking_resources, on_ray
from solon.errors import RunError
from solon.runs.chunk_threads import Exclusive


class Nodes(RayInThreads):
    """Ray with nodes of some CPUs and GPUs."""

    def __init__(self, *nodes: tuple[float, float], alive: bool = True) -> None:
        super().__init__()
        self._nodes = [
            {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}} for cpus, gpus in nodes
        ]

    def nodes(self) -> list[dict[str, Any]]:
        """As Ray lists them."""
        return self._nodes

    def cluster_resources(self) -> dict[str, float]:
        """All of them together."""
        return {"GPU": sum(node["Resources"].get("GPU", 0.0) for node in self._nodes)}


@pytest.mark.parametrize(
    ("nodes", "cluster", "lacks"),
    [
        ([(2, 0)], RayCluster(actors=4), False),
        ([(2, 0)], RayCluster(gpus=1), True),
        ([(2, 0), (8, 1)], RayCluster(cpus=4, gpus=0.5), False),
        ([(8, 0), (2, 1)], RayCluster(cpus=4, gpus=1), True),
        ([], RayCluster(), True),
    ],
)
def test_one_node_has_to_hold_an_actor(nodes: list[tuple[float, float]], cluster: RayCluster, lacks: bool) -> None:
    found = lacking_resources(Nodes(*nodes), cluster)
    assert bool(found) is lacks
    assert not lacks or cluster.each in found


def test_a_node_that_is_gone_holds_none() -> None:
    found = lacking_resources(Nodes((8, 2), alive=False), RayCluster(gpus=1))
    assert found == "an actor asks for 1 CPU and 1 GPU, and no node of Ray has so much (there: none)"


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_ray_that_is_started_here_is_not_waited_for_in_vain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_ours: bool
) -> None:
    ray = Nodes((2, 0))

    @contextmanager
    def connected(*_: object) -> Iterator[bool]:
        yield is_ours

    monkeypatch.setattr(ray_place, "_ray", lambda cluster: ray)
    monkeypatch.setattr(ray_place, "_connected", connected)
    if is_ours:
        with pytest.raises(RunError, match=r"asks for 1 CPU and 1 GPU.*there: 2 CPUs and 0 GPUs.*--actor-gpus"):
            on_ray(RayCluster(gpus=1)).__enter__()
    else:
        with on_ray(RayCluster(gpus=1)):
            assert "asks for 1 CPU and 1 GPU" in caplog.text and "waiting for another node" in caplog.text


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("The actor never ran - it was cancelled before it started running.", "ray status"),
        ("The actor died because of an error: ModuleNotFoundError: No module named 'solon'", "same version"),
    ],
)
def test_what_is_said_of_lost_actors_is_what_happened(monkeypatch: pytest.MonkeyPatch, said: str, remedy: str) -> None:
    ray = RayInThreads()

    def lost(reference: object) -> object:
        raise ray.exceptions.RayActorError(said)

    monkeypatch.setattr(ray, "get", lost)
    pool = ActorPool(ray, EngineSettings(), lambda facts: None, Exclusive(), patience=30.0)
    with pytest.raises(RunError, match="no actor of Ray is left") as caught:
        pool.start(1, 1.0, 0.0)
    assert remedy in caught.value.remedy and not caught.value.cause.endswith(".")
