"""On a real GPU: the engine against transformers, every training stage in both precisions, and no unexpected waits.

`make test-gpu` runs this file in minutes and without a download. Without CUDA all of it is skipped.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from solon.config.recipe import Activations, EngineSettings, LoraSettings, Precision, SamplingParams
from solon.engines.local.engine import LocalEngine
from solon.engines.local.row_budget import free_memory
from solon.reward.golden import check
from solon.rl.shared_backbone import SharedBackbone
from solon.training.loop import accumulate
from tests.engines.tiny import byte_tokenizer, model_of, questions, with_example
from tests.rl.test_shared_backbone import IDS_BT, MASK_BT, Folders, folders  # noqa: F401
from tests.stages.test_s08_rl_cai import made  # noqa: F401
from tests.stages.test_stage_precision import direct, finetuned, preferred, reinforced
from tests.training.test_loop import EXAMPLES, gradients
from tests.training.test_precision import LEAST_COSINE, LOSS_TOLERANCE, preference, sft
from tests.training.test_precision import direct as direct_objective

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA"),
]
GPU, LORA = "cuda", LoraSettings(rank=4)
ADAPTERS = pytest.mark.parametrize("adapter", [None, LORA], ids=["all", "lora"])
PRECISIONS = pytest.mark.parametrize("precision", list(Precision))
HALF = 0.05
"""How far a log-probability in bfloat16 may be from float32's on average."""


def engine_of(kind: str, dtype: torch.dtype, device: str = GPU) -> LocalEngine:
    model = model_of(kind, dtype=torch.float32).to(device, dtype)
    return LocalEngine(model, byte_tokenizer(), EngineSettings(batch_size=6))


def tokens_of(engine: LocalEngine, prompt: Any) -> list[int]:
    (row,) = engine.tokens.rows([prompt])
    return [*row.prefix, *row.own]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "neox", "mistral", "gemma2"])
def test_greedy_text_is_that_of_transformers(kind: str) -> None:
    engine = engine_of(kind, torch.float32)
    prompts = [*questions(5), *map(with_example, questions(4))]
    found = engine.generate(prompts, [0] * len(prompts), SamplingParams(max_tokens=12, temperature=0))
    for prompt, completion in zip(prompts, found, strict=True):
        ids_1T = torch.tensor([tokens_of(engine, prompt)], device=GPU)
        count = len(completion.token_ids)
        theirs = engine.model.generate(
            ids_1T, attention_mask=torch.ones_like(ids_1T), do_sample=False, max_new_tokens=count
        )
        assert theirs[0, ids_1T.shape[1] :].tolist() == list(completion.token_ids)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_probabilities_in_bfloat16_are_near_those_of_the_cpu_in_float32(kind: str) -> None:
    prompts = [*questions(9), *map(with_example, questions(9))]
    exact = torch.tensor(engine_of(kind, torch.float32, "cpu").choose(prompts, ["A", "B"]))
    for dtype, most in ((torch.float32, 1e-3), (torch.bfloat16, HALF)):
        near = torch.tensor(engine_of(kind, dtype).choose(prompts, ["A", "B"]))
        assert float((near - exact).abs().mean()) < most
        assert len({tuple(row) for row in near.tolist()}) == len({tuple(row) for row in exact.tolist()})


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_texts_do_not_depend_on_who_shares_the_batch(top_p: float) -> None:
    prompts, seeds = questions(11), [seed * 7 for seed in range(11)]
    sampling = SamplingParams(max_tokens=10, top_p=top_p)
    engine = engine_of("llama", torch.float32)
    together = [each.token_ids for each in engine.generate(prompts, seeds, sampling)]
    alone = [engine.generate([one], [seed], sampling)[0].token_ids for one, seed in zip(prompts, seeds, strict=True)]
    assert together == alone


def test_the_memory_for_rows_is_that_of_the_gpu() -> None:
    free, total = torch.cuda.mem_get_info()
    found = free_memory(torch.device(GPU))
    assert found is not None and free <= found <= total


@PRECISIONS
@ADAPTERS
@pytest.mark.parametrize("make", [sft, direct_objective, preference])
@pytest.mark.parametrize("kept", list(Activations))
def test_gradients_are_those_of_the_cpu(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[..., Any],
    adapter: LoraSettings | None,
    precision: Precision,
    kept: Activations,
) -> None:
    found = {}
    for device in ("cuda", "cpu"):
        with monkeypatch.context() as patched:
            patched.setattr(torch.cuda, "is_available", lambda device=device: device == "cuda")
            learner, objective, rows = make(tiny, precision, adapter, kept)
        assert {each.device.type for each in learner.parameters.values()} == {device}
        totals, _ = accumulate(learner, objective, rows, 64, "here")
        found[device] = totals.loss, gradients(learner).cpu()
        learner.step(1e-3, "here", [])
        assert {each.dtype for each in learner.parameters.values()} == {torch.float32}
    (loss, gradient), (other_loss, other) = found.values()
    exact = precision is Precision.FLOAT32
    assert loss == pytest.approx(other_loss, rel=1e-4 if exact else LOSS_TOLERANCE)
    cosine = float(nn.functional.cosine_similarity(gradient, other, dim=0))
    assert cosine > (0.9999 if exact else LEAST_COSINE)


@PRECISIONS
@ADAPTERS
def test_stages_train_on_the_gpu(
    made: dict[str, Any],  # noqa: F811
    tmp_path: Path,
    adapter: LoraSettings | None,
    precision: Precision,
) -> None:
    """Finetuning, preference model, DPO and PPO with snapshots and resume; what they save is float32."""
    for stage in (finetuned, preferred, direct, reinforced):
        done = stage(made, tmp_path / stage.__name__, adapter, precision)
        assert {each.dtype for each in load_file(done.model / "model.safetensors").values()} == {torch.float32}
        if stage is preferred:
            assert check(done.model).passed
        if stage is reinforced:
            rows = done.table().to_pylist()
            assert rows[1]["first_ratio_error"] < 1e-2 and abs(rows[0]["kl"]) < 1e-2
            assert rows[-1]["kl_k3"] > 0


@PRECISIONS
def test_networks_on_one_backbone_learn_on_the_gpu(folders: Folders, precision: Precision) -> None:  # noqa: F811
    found = []
    for kept in Activations:
        shared = SharedBackbone(folders.base, folders.sl_cai, folders.preference, EngineSettings(), precision, kept)
        ids_BT = IDS_BT.to(GPU)
        shared.value.values(ids_BT, MASK_BT).square().sum().backward()  # type: ignore[no-untyped-call]
        shared.policy.logits(ids_BT, MASK_BT).square().mean().backward()  # type: ignore[no-untyped-call]
        both = {**shared.parameters("value"), **shared.parameters("default")}
        found.append(torch.cat([each.grad.flatten() for each in both.values() if each.grad is not None]))
    assert float(nn.functional.cosine_similarity(*found, dim=0)) > 0.9999


@PRECISIONS
@ADAPTERS
def test_a_step_does_not_wait_for_the_gpu_between_passes(
    tiny: Path, adapter: LoraSettings | None, precision: Precision
) -> None:
    """Solon's code waits once, to read the losses; the positions of each pass are looked at by transformers."""
    learner, objective, rows = sft(tiny, precision, adapter)
    accumulate(learner, objective, rows, 64, "here")
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            accumulate(learner, objective, EXAMPLES, 64, "here")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [each for each in told if "synchronizing" in str(each.message) and "/solon/" in each.filename]
    assert len(waits) <= 1, [f"{each.filename}:{each.lineno}" for each in waits]
