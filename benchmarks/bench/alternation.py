"""Measures a work: all contestants are loaded, one repeat warms up, then they take turns.

Contestants that are not at work wait at a pipe and use no processor. All get the same environment: as many OpenMP
threads, no access to the hub, and OpenMP's own way of waiting, whatever `make` chose for the rest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.contestants import Call, Contestant
from benchmarks.bench.sizes import Setting
from benchmarks.bench.works import OWN, VLLM, Peer, Prepared, Work
from benchmarks.peers.protocol import Answer
from benchmarks.peers.tasks import write_task
from solon.errors import StageError

ROOT = Path(__file__).parents[2]
VENVS = ROOT / ".venv-peers"


@dataclass(frozen=True)
class Environments:
    """The Python of each environment; those that are not named are in `.venv-peers`."""

    named: Mapping[str, Path]

    def python(self, name: str) -> Path:
        """The interpreter; it may be missing."""
        return self.named.get(name, Path(sys.executable) if name == OWN else VENVS / name / "bin" / "python")


@dataclass(frozen=True)
class Repeats:
    """All repeats of a contestant, without the one that warmed up, and the versions of its packages."""

    answers: Sequence[Answer]
    versions: Mapping[str, str]

    @property
    def peak_mb(self) -> float:
        """The highest peak memory."""
        return max(each.peak_mb for each in self.answers)


@dataclass(frozen=True)
class Meeting:
    """The repeats of Solon and of each peer."""

    prepared: Prepared
    solon: Repeats
    peers: Sequence[tuple[Peer, Repeats]]


def environment_of(threads: int) -> dict[str, str]:
    """The variables of all contestants."""
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "PYTHONPATH")}
    return kept | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "CI": "1",  # TRL sends no usage report then
    }


def preloaded(python: Path) -> dict[str, str]:
    """The libraries that vLLM's documentation asks for on a CPU: Intel's OpenMP, and tcmalloc if it is here."""
    found = [python.parents[1] / "lib" / "libiomp5.so", *Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4")]
    return {"LD_PRELOAD": ":".join(str(each) for each in found if each.is_file())}


def calls_of(
    work: Work, peers: Sequence[Peer], task: Path, environments: Environments, threads: int
) -> list[tuple[Peer | None, Call]]:
    """How Solon, first, and the peers are started."""
    own = Peer("solon", "Solon", OWN, work.module, work.way)
    found: list[tuple[Peer | None, Call]] = []
    for peer in (own, *peers):
        if peer.figure is not None:
            continue
        given = [str(task), peer.way, peer.dtype or work.dtype]
        variables = environment_of(threads)
        python = environments.python(peer.environment)
        if peer.environment == OWN:
            variables["PYTHONPATH"] = str(ROOT / "src")
        if peer.environment == VLLM:
            variables |= preloaded(python)
        call = Call(peer.title, python, peer.module, given, ROOT, variables)
        found.append((None if peer is own else peer, call))
    return found


def meet(
    work: Work,
    peers: Sequence[Peer],
    setting: Setting,
    environments: Environments,
    folder: Path,
    note: Callable[[str], None] = lambda line: None,
) -> Meeting:
    """Measure a work; raises what `Contestant` raises, and StageError when contestants did not do the same."""
    prepared = work.prepare(setting, folder)
    task = write_task(prepared.task, folder / "task.json")
    calls = calls_of(work, peers, task, environments, setting.threads)
    with ExitStack() as stack:
        running = [stack.enter_context(Contestant(call)) for _, call in calls]
        versions = [each.ready().versions for each in running]
        answers: list[list[Answer]] = [[] for _ in running]
        for number in range(setting.repeats + 1):
            for (_, call), contestant, kept in zip(calls, running, answers, strict=True):
                kept.append(contestant.repeat())
                turn = f"repeat {number} of {setting.repeats}" if number else "warm-up"
                note(f"  {turn}: {call.title} {kept[-1].seconds:.2f} s")
    for (_, call), kept in zip(calls, answers, strict=True):
        refuse_other_work(work, call.title, answers[0], kept)
    done = [Repeats(kept[1:], about) for kept, about in zip(answers, versions, strict=True)]
    beside = {peer.name: repeats for (peer, _), repeats in zip(calls, done, strict=True) if peer is not None}
    constant = {
        peer.name: Repeats([Answer(1.0, peer.figure, 0.0)] * setting.repeats, {})
        for peer in peers
        if peer.figure is not None
    }
    return Meeting(prepared, done[0], [(peer, (beside | constant)[peer.name]) for peer in peers])


def refuse_other_work(work: Work, title: str, solon: Sequence[Answer], peer: Sequence[Answer]) -> None:
    """Raise StageError when a peer's texts have other lengths than Solon's, or its values are other ones."""
    wanted, found = ([each.amount for each in answers] for answers in (solon, peer))
    if work.unit in ("new tokens/s", "tokens/s", "episodes/s") and wanted != found:
        raise StageError(f"{title} did {found[0]:.0f}, and Solon {wanted[0]:.0f} {work.unit[:-2]}", place=work.name)
    pairs = list(zip(solon[-1].values, peer[-1].values, strict=False))
    if work.tolerance is None or not pairs:
        return
    distance = sum(abs(one - other) for one, other in pairs) / len(pairs)
    if not distance <= work.tolerance:
        raise StageError(
            f"the answers of {title} are {distance:.3f} away from Solon's on average, more than {work.tolerance}",
            place=work.name,
        )


def with_environment(peers: Sequence[Peer], allowed: Sequence[str]) -> list[Peer]:
    """The peers whose environments are to be used."""
    return [peer for peer in peers if peer.environment in (OWN, *allowed) or peer.figure is not None]
