"""Peak memory and speed of critique-revision on a local Ray by the number of prompts, on scripted engines.

For each number a child process makes the replies, and a second one runs four steps of critique and revision over them
in two actors, through the cache of answers as in a run. It prints its own peak resident memory and that of the actors.
The engines answer at once, so the rate is the most that one process can send, check and save.
Run: python benchmarks/ray_scale.py [5000 20000 100000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from revision_scale import STEPS, Writer, replies

from solon.config.builtin import constitution_path
from solon.config.model_spec import ModelSpec
from solon.config.ray_cluster import RayCluster
from solon.config.recipe import EngineSettings, Recipe, RevisionSettings
from solon.engines.base import Engine
from solon.engines.cached import CachedEngine
from solon.engines.cluster.ray_place import on_ray
from solon.runs import RunDirectory
from solon.runs.rows import ReplyRow
from solon.stages import s03_critique_revision
from solon.stages.s03_critique_revision import RevisionInputs

ACTORS = 2


@dataclass(frozen=True, slots=True)
class Writers:
    """Opens writers in actors."""

    def open(self, spec: ModelSpec, settings: EngineSettings) -> Engine:
        """See `Opener.open`."""
        return Writer()

    def identity(self, spec: ModelSpec) -> str:
        """See `Opener.identity`."""
        return "writer"


def prepared(folder: Path, count: int) -> dict[str, float]:
    """Make the replies."""
    run = RunDirectory.create(folder, Recipe(), constitution_path("harmlessness"))
    run.begin(2, "responses", {}).publish(replies(count), ReplyRow)
    return {}


def revised(folder: Path, count: int) -> dict[str, float]:
    """Criticise and revise on Ray; returns the figures of this process and its actors."""
    run = RunDirectory.open(folder)
    made = run.finished("responses")
    assert made is not None
    inputs = RevisionInputs(1, run.constitution, made)
    with on_ray(RayCluster(actors=ACTORS), opener=Writers()) as place, run.answers() as answers:
        begun = time.monotonic()
        out = run.begin(3, "critique-revision", {})
        out.executor = place.executor
        engine = CachedEngine(place.open(ModelSpec("folder", "writer")), "writer", out.name, answers)
        artefact = s03_critique_revision.run(RevisionSettings(steps=STEPS), inputs, engine, out)
        seconds, actors = time.monotonic() - begun, actor_peaks()
    assert artefact.manifest.rows == count * STEPS
    assert len(actors) == ACTORS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak, "actor_mb": max(actors)}


def actor_peaks() -> list[float]:
    """The peak resident memory of each actor of this program, in MB."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and b"ray::EngineHost" in (process / "cmdline").read_bytes():
                lines = (process / "status").read_text(encoding="utf-8").splitlines()
                found += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]
        except OSError:
            continue
    return found


def measured(work: str, folder: Path, count: int) -> dict[str, float]:
    """One process's part, in a process of its own; actors find this file by the path."""
    words = [sys.executable, __file__, "--child", work, "--folder", str(folder), str(count)]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, env={**os.environ, "PYTHONPATH": paths})
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure and print a line per number of prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", nargs="*", type=int, default=[5_000, 20_000, 100_000])
    parser.add_argument("--child", choices=["prepared", "revised"])
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.child:
        import ray_scale  # a function of `__main__` would be sent whole, and not by its name

        print(json.dumps(getattr(ray_scale, given.child)(given.folder, given.prompts[0])))
        return
    print(f"{'prompts':>8} {'peak MB':>8} {'of an actor':>12} {'seconds':>8} {'answers/s':>10}", flush=True)
    for count in given.prompts:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            path = Path(folder) / "run"
            measured("prepared", path, count)
            found = measured("revised", path, count)
        rate = count * STEPS * 2 / found["seconds"]
        print(
            f"{count:8d} {found['peak_mb']:8.0f} {found['actor_mb']:12.0f} {found['seconds']:8.0f} {rate:10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
