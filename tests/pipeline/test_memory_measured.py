"""Estimates of memory against the measured peak of a process, for a random model of 29 million parameters.

The tolerance is 30 %: the estimate counts no short-lived buffer. Freed blocks go back to the system at once, since what
glibc keeps is none of the model's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.training.tiny import save_tiny_model
from transformers import LlamaConfig, LlamaForCausalLM

from solon.config.recipe import LoraSettings
from solon.config.settings import Activations, Precision
from solon.model_folders.model_shape import ModelShape, shape_in
from solon.pipeline.memory_parts import TrainedHow, asked, trained

ROOT = Path(__file__).parents[2]
TOKENS = 2048
TOLERANCE = 0.3
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny_model(tmp_path_factory.mktemp("made") / "model")
    config = LlamaConfig(
        vocab_size=4096, hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=1024, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def measured(folder: Path, how: str, tokens: int) -> int:
    command = [sys.executable, "-m", "tests.pipeline.measured_memory", str(folder), how, str(tokens)]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
    return int(done.stdout.split()[-1])


def estimate(shape: ModelShape, how: str, tokens: int) -> int:
    if how == "asking":
        return asked(shape, 4, rows=16, tokens=tokens).total
    given = TrainedHow(
        tokens,
        lora=LoraSettings(rank=16) if how in ("lora", "bfloat16") else None,
        precision=Precision.BFLOAT16 if how == "bfloat16" else Precision.FLOAT32,
        activations=Activations.RECOMPUTED if how == "recomputed" else Activations.KEPT,
    )
    return trained(shape, given).total


@pytest.mark.parametrize("how", ["full", pytest.param("bfloat16", marks=SLOW), pytest.param("recomputed", marks=SLOW)])
def test_the_estimate_is_near_the_measured_peak(folder: Path, how: str) -> None:
    shape = shape_in(folder)
    assert 27e6 < shape.parameters < 31e6
    assert estimate(shape, how, TOKENS) == pytest.approx(measured(folder, how, TOKENS), rel=TOLERANCE)


@pytest.mark.parametrize(("how", "tokens"), [("lora", TOKENS), ("asking", 256)])
@pytest.mark.slow
def test_adapters_and_caches_are_estimated_too(folder: Path, how: str, tokens: int) -> None:
    assert estimate(shape_in(folder), how, tokens) == pytest.approx(measured(folder, how, tokens), rel=TOLERANCE)
