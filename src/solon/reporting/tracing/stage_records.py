"""What each stage of a run was made with, from its manifest, and which stages are behind a stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from solon.reporting.tracing.trace_parts import StageRecord
from solon.runs import Artefact
from solon.runs.manifest import Manifest

_OWN = frozenset({"settings", "seed", "engine", "code"})
"""The parts of a key that are no inputs."""
_MACHINE = ("processor", "torch", "transformers", "processes")


def record_of(artefact: Artefact) -> StageRecord:
    """The record of a finished stage."""
    manifest = artefact.manifest
    key, seed = manifest.key, manifest.key.get("seed")
    code = key.get("code")
    return StageRecord(
        stage=manifest.stage,
        number=manifest.number,
        hash=manifest.hash,
        solon=manifest.solon,
        code={str(name): int(value) for name, value in code.items()} if isinstance(code, Mapping) else {},
        seed=seed if isinstance(seed, int) else None,
        reads=dict(_reads(manifest)),
        settings=dict(key.get("settings") or {}),
        made_on=tuple(dict.fromkeys(_machine(session) for session in manifest.made_with)),
        adopted_from=manifest.adopted_from,
    )


def records_behind(artefacts: Mapping[str, Artefact], stages: Iterable[str]) -> tuple[StageRecord, ...]:
    """The records of these stages and of all stages that they are made of, in the order of the run."""
    wanted, waiting = set[str](), list(stages)
    while waiting:
        name = waiting.pop()
        if name in artefacts and name not in wanted:
            wanted.add(name)
            waiting += [each for each in artefacts[name].manifest.key if each in artefacts]
    return tuple(record_of(artefact) for name, artefact in artefacts.items() if name in wanted)


def _reads(manifest: Manifest) -> Iterable[tuple[str, str]]:
    for name, value in manifest.key.items():
        if name in _OWN:
            continue
        if isinstance(value, str):
            yield name, value
        elif name == "files" and isinstance(value, Mapping):
            yield from ((str(file), str(found)) for file, found in value.items())


def _machine(session: Mapping[str, Any]) -> str:
    known = [(name, session[name]) for name in _MACHINE if session.get(name) is not None]
    return ", ".join(f"{name} {value}" if name != "processor" else str(value) for name, value in known)
