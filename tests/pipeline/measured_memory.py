"""Measures the peak memory of one training step, or of asking, in this process: prints bytes beyond the libraries'.

python -m tests.pipeline.measured_memory FOLDER {full,lora,recomputed,bfloat16,asking} TOKENS
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

from solon.config.recipe import EngineSettings, LoraSettings, SamplingParams
from solon.config.settings import Activations, Precision
from solon.conversation import Conversation, Role, Turn
from solon.prompts import reply
from solon.runs.processes import SINGLE_PROCESS
from solon.training.batches import CompletionExample
from solon.training.distributed.sharded import token_model
from solon.training.learner import Learner
from solon.training.models import load_causal_lm, storage_precision, trainable_parameters, with_adapter
from solon.training.objectives import CompletionObjective

ROW = 256


def peak() -> int:
    """The most resident bytes so far, of this program alone: `ru_maxrss` begins with that of the process before it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def resident() -> int:
    """Resident bytes now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def train(folder: Path, how: str, tokens: int) -> None:
    """Two steps of finetuning on rows of 256 tokens, all with loss but the first."""
    adapter = LoraSettings(rank=16) if how in ("lora", "bfloat16") else None
    precision = Precision.BFLOAT16 if how == "bfloat16" else Precision.FLOAT32
    activations = Activations.RECOMPUTED if how == "recomputed" else Activations.KEPT
    stored = storage_precision(precision, adapter)
    model = with_adapter(load_causal_lm(folder, EngineSettings(), stored), adapter, seed=0)
    learner = Learner(trainable_parameters(model), clip=1.0, epsilon=1e-8)
    objective = CompletionObjective(token_model(model, SINGLE_PROCESS, precision, activations))
    ids = torch.randint(0, 1000, (tokens // ROW, ROW)).tolist()
    rows = [CompletionExample(str(number), tuple(row), 1) for number, row in enumerate(ids)]
    for _ in range(2):
        loss, _ = objective.loss(rows)
        learner.backward(loss / objective.size(rows))
        del loss
        learner.step(1e-4, "here", ())


def ask(folder: Path, tokens: int) -> None:
    """One batch of 16 answers."""
    from solon.engines.local.engine import LocalEngine

    engine = LocalEngine.load(folder, EngineSettings(batch_size=16))
    prompt = reply(Conversation((Turn(Role.HUMAN, "word " * 100),)))
    engine.generate([prompt] * 16, range(16), SamplingParams(max_tokens=tokens))


if __name__ == "__main__":
    torch.randn(256, 256) @ torch.randn(256, 256)  # libraries are loaded and have their buffers
    before = resident()
    if sys.argv[2] == "asking":
        ask(Path(sys.argv[1]), int(sys.argv[3]))
    else:
        train(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(peak() - before)
