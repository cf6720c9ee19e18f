"""One Ray for all tests of a folder: the program is connected, and Solon leaves it so."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def ray_here() -> Iterator[Any]:
    """A local Ray with room for four actors; its processes find this checkout."""
    ray = pytest.importorskip("ray")
    known = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT), known])
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_TOKEN", uuid.uuid4().hex * 2)  # else Ray writes one into the home folder
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
    yield ray
    ray.shutdown()
    os.environ["PYTHONPATH"] = known
