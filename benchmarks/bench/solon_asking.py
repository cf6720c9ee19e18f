"""Solon as a contestant in asking: `labels` reads letters, `texts` writes texts of planned lengths.

Prompts go through `open_engine`, `choose` and `generate`, tokenization included. What the engine keeps of earlier
repeats is dropped before each. The engine is told of no end token, so that texts have their planned lengths. Where rows
of a phase end at different lengths, which a call of `generate` does not offer, the engine's own loop gets the limits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.peers.protocol import Floor
from benchmarks.peers.tasks import AskingTask, Phase, read_task
from solon.config.model_spec import ModelSpec
from solon.config.recipe import Dtype, EngineSettings, RenderingKind, SamplingParams
from solon.conversation import Prompt, Role, Turn
from solon.engines.local.batch import Prefixes
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.engine import LocalEngine
from solon.engines.local.generation import Ending, GenerationRequest, generate
from solon.engines.registry import open_engine

TRANSCRIPT = RenderingKind.TRANSCRIPT


def opened(task: AskingTask, dtype: str) -> LocalEngine:
    """The engine, which ends no text by itself."""
    settings = EngineSettings(
        rendering=TRANSCRIPT,
        batch_size=task.rows,
        window=task.window,
        threads=task.threads,
        dtype=Dtype(dtype),
    )
    engine = open_engine(ModelSpec.parse(task.model), settings)
    if not isinstance(engine, LocalEngine):
        raise TypeError(f"{task.model} is not a model folder")
    engine.end_tokens = frozenset()
    return engine


def prompts_of(phase: Phase) -> list[Prompt]:
    """The prompts of a phase as conversations."""
    shared = [Turn(Role(role), text) for role, text in phase.shared_turns]
    return [
        Prompt(
            (*shared, *(Turn(Role(role), text) for role, text in own)),
            Role(phase.answers_as),
            phase.opening,
            len(shared),
        )
        for own in phase.own_turns
    ]


def labels(engine: LocalEngine, task: AskingTask) -> tuple[float, Sequence[float]]:
    """Log-odds of the two letters."""
    chosen = engine.choose(prompts_of(task.phases[0]), task.letters)
    return len(chosen), [first - second for first, second in chosen]


def texts(engine: LocalEngine, task: AskingTask) -> tuple[float, Sequence[float]]:
    """Texts of all phases, one phase after the other."""
    return sum(_written(engine, phase) for phase in task.phases), ()


def _written(engine: LocalEngine, phase: Phase) -> int:
    prompts, sampling = prompts_of(phase), SamplingParams(max_tokens=max(phase.limits))
    if len(set(phase.limits)) == 1:
        written = engine.generate(prompts, range(len(prompts)), sampling)
    else:
        rows = engine.tokens.rows(prompts)
        requests = [
            GenerationRequest(row, seed, limit)
            for seed, (row, limit) in enumerate(zip(rows, phase.limits, strict=True))
        ]
        model, ending = CausalModel(engine.model, engine.window), Ending(engine.tokens.decode, (), (), lambda: ())
        written = generate(model, requests, sampling, ending, Prefixes(), engine.budget)
    return sum(len(each.token_ids) for each in written)


def main() -> None:
    """Arguments: the task's file, the way, the dtype."""
    floor = Floor()
    path, way, dtype = sys.argv[1:]
    task = read_task(AskingTask, path)
    engine = opened(task, dtype)
    ways = {"labels": labels, "texts": texts}

    def work() -> tuple[float, Sequence[float]]:
        engine.refresh()
        return ways[way](engine, task)

    floor.ready("solon", "torch", "transformers")
    floor.serve(work)


if __name__ == "__main__":
    main()
