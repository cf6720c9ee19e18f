"""A Ray cluster as a user names it, and the actors that hold engines there.

    ray                    the cluster of RAY_ADDRESS, else Ray is started on this machine and stopped at the end
    ray:10.0.0.5:6379      the cluster with this address
    ray:auto               the cluster that runs on this machine

Where models are asked is no part of a recipe: it changes no row, and no key depends on it. Nothing here imports Ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from solon.errors import RunError

RAY = "ray"


@dataclass(frozen=True, slots=True)
class RayCluster:
    """The address of a cluster, how many actors are asked, and what each of them takes of it."""

    address: str | None = None
    """Where the cluster is; see the module."""
    actors: int = 2
    """How many processes hold the models."""
    cpus: float = 1.0
    """CPUs of each actor; torch uses as many threads."""
    gpus: float = 0.0
    """GPUs of each actor; a fraction shares one."""

    def __post_init__(self) -> None:
        """Raises RunError for no actors, or resources that are below zero or not finite."""
        if self.actors < 1 or not (0 <= self.cpus < math.inf and 0 <= self.gpus < math.inf):
            raise RunError(
                f"{self.actors} actors with {self.cpus:g} CPUs and {self.gpus:g} GPUs cannot be started",
                place=f"--on {self}",
                remedy="Use at least one actor, and resources of 0 or more",
            )

    @classmethod
    def parse(cls, text: str, *, actors: int = 2, cpus: float = 1.0, gpus: float = 0.0) -> RayCluster:
        """The cluster of `ray` or `ray:ADDRESS`; raises RunError for anything else."""
        name, colon, address = text.partition(":")
        if name != RAY or (colon and not address):
            raise RunError(
                "models are asked in this process, or on Ray",
                place=f"--on {text}",
                remedy="Use --on ray, --on ray:ADDRESS, or leave the option out",
            )
        return cls(address or None, actors, cpus, gpus)

    @property
    def each(self) -> str:
        """What an actor takes, in words."""
        return resources(self.cpus, self.gpus)

    def __str__(self) -> str:
        return RAY if self.address is None else f"{RAY}:{self.address}"


def resources(cpus: float, gpus: float) -> str:
    """CPUs and GPUs in words; GPUs only where there are any."""
    words = f"{cpus:g} CPU{'s' if cpus != 1 else ''}"
    return f"{words} and {gpus:g} GPU{'s' if gpus != 1 else ''}" if gpus else words
