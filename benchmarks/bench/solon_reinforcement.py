"""Solon as a contestant in reinforcement learning: the stage 08 itself, a step for a repeat."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.peers.protocol import Floor
from benchmarks.peers.tasks import ReinforcementTask, read_task
from solon.config.builtin import constitution_path
from solon.config.recipe import (
    Algorithm,
    EngineSettings,
    LoraSettings,
    Precision,
    Recipe,
    ReinforcementSettings,
    RenderingKind,
    SamplingParams,
)
from solon.conversation import parse_transcript
from solon.runs import Progress, RunDirectory
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind, PromptRow
from solon.stages import s08_rl_cai
from solon.stages.s08_rl_cai import ReinforcementInputs

RATE = 1e-5


def settings_of(task: ReinforcementTask, algorithm: Algorithm, dtype: str) -> ReinforcementSettings:
    """The settings of the comparison: one minibatch a pass, the peers' learning rate, no rule that ends the run."""
    copies = 2 if algorithm is Algorithm.RLOO else 1
    return ReinforcementSettings(
        algorithm=algorithm,
        steps=task.steps,
        samples_per_prompt=copies,
        prompts_per_step=task.episodes // copies,
        red_team_share=1.0,
        sampling=SamplingParams(max_tokens=task.new_tokens),
        epochs=task.passes,
        minibatches=1,
        learning_rate=RATE,
        value_learning_rate=RATE,
        value_warmup_steps=0,
        target_kl=None,
        lora=LoraSettings(rank=task.lora_rank, alpha=2 * task.lora_rank) if task.lora_rank else None,
        precision=Precision(dtype),
        checkpoint_every=1 << 20,
    )


def main() -> None:
    """Arguments: the task's file, `ppo` or `rloo`, the dtype."""
    floor = Floor()
    path, way, dtype = sys.argv[1:]
    task = read_task(ReinforcementTask, path)
    conversations = [parse_transcript(text) for text in task.texts]
    rows = [
        PromptRow(row_id=each.row_id, kind=PromptKind.RED_TEAM, prompt=each, source="benchmark", outcome=Outcome.OK)
        for each in conversations
    ]
    engine = EngineSettings(
        rendering=RenderingKind.TRANSCRIPT, window=512, batch_size=task.episodes, threads=task.threads
    )
    done = 0

    def note(progress: Progress) -> None:
        nonlocal done
        if progress.done > done:
            done = progress.done
            floor.between_steps(task.episodes)
        elif progress.done == 0:
            floor.ready("solon", "torch", "transformers", "peft")
            if not floor.asked():
                raise SystemExit

    with tempfile.TemporaryDirectory() as name:
        run = RunDirectory.create(Path(name) / "run", Recipe(), constitution_path("testbed"))
        prompts = run.begin(1, "prompts", {}).publish(rows, PromptRow)
        inputs = ReinforcementInputs(0, Path(task.policy), Path(task.reward), engine, prompts)
        settings = settings_of(task, Algorithm(way), dtype)
        s08_rl_cai.run(settings, inputs, run.begin(8, "rl-cai", {}, note))


if __name__ == "__main__":
    main()
