"""Training in bfloat16 against float32: what is stored how, how near losses and gradients are, and what is saved."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from solon.config.recipe import Activations, EngineSettings, LoraSettings, Precision, TrainingSettings
from solon.runs.processes import SINGLE_PROCESS
from solon.training import models
from solon.training.batches import CompletionExample
from solon.training.checkpoint import Checkpoints
from solon.training.distributed.sharded import scalar_model, token_model
from solon.training.dpo import DirectObjective, DirectPair, with_reference
from solon.training.learner import EPSILON, Learner
from solon.training.loop import TrainingSession, accumulate, train
from solon.training.objectives import CompletionObjective, PreferenceObjective
from tests.training.test_loop import EXAMPLES, PAIRS, Killed, gradients
from tests.training.tiny import texts_of

SETTINGS, LORA = EngineSettings(), LoraSettings(rank=4)
LOSS_TOLERANCE, LEAST_COSINE = 0.01, 0.99
"""What the documentation states: relative distance of losses, and cosine of gradients."""
TRAINING = TrainingSettings(learning_rate=1e-3, batch_size=8, micro_batch_tokens=64, checkpoint_every=3)

Made = tuple[Learner, Any, Sequence[Any]]
Make = Callable[..., Made]


def learner_of(model: models.Trainable) -> Learner:
    return Learner(models.trainable_parameters(model), clip=1.0, epsilon=EPSILON)


def policy_of(
    folder: Path, precision: Precision, adapter: LoraSettings | None = None, kept: Activations = Activations.KEPT
) -> tuple[models.Trainable, Any]:
    loaded = models.load_causal_lm(folder, SETTINGS, models.storage_precision(precision, adapter))
    model = models.with_adapter(loaded, adapter, seed=1)
    return model, token_model(model, SINGLE_PROCESS, precision, kept)


def sft(folder: Path, precision: Precision, *more: Any) -> Made:
    model, reads = policy_of(folder, precision, *more)
    return learner_of(model), CompletionObjective(reads), EXAMPLES


def direct(folder: Path, precision: Precision, *more: Any) -> Made:
    model, reads = policy_of(folder, precision, *more)
    pairs = [
        DirectPair(
            each.row_id,
            each,
            CompletionExample(each.row_id, (*each.token_ids[:-1], 17, 0), each.start),
            0.8 - 0.3 * (n % 2),
        )
        for n, each in enumerate(EXAMPLES)
    ]
    return learner_of(model), DirectObjective(reads, 0.1), with_reference(reads, pairs, 64)


def preference(
    folder: Path, precision: Precision, adapter: LoraSettings | None = None, kept: Activations = Activations.KEPT
) -> Made:
    stored = models.storage_precision(precision, adapter)
    grown = models.grow_preference_model(folder, models.load_tokenizer(folder), SETTINGS, seed=1, stored=stored)
    model = models.with_adapter(grown, adapter, seed=1)
    return learner_of(model), PreferenceObjective(scalar_model(model, SINGLE_PROCESS, precision, kept)), PAIRS


OBJECTIVES = pytest.mark.parametrize("make", [sft, direct, preference])
ADAPTERS = pytest.mark.parametrize("adapter", [None, LORA], ids=["all", "lora"])


@OBJECTIVES
@ADAPTERS
def test_first_steps_are_those_of_float32_up_to_rounding(
    tiny: Path, tmp_path: Path, make: Make, adapter: LoraSettings | None
) -> None:
    losses, found = {}, {}
    for precision in Precision:
        learner, objective, rows = make(tiny, precision, adapter)
        accumulate(learner, objective, rows, 64, "here")
        found[precision] = gradients(learner)
        learner.discard()
        held = TrainingSettings(learning_rate=1e-3, batch_size=8, epochs=1, micro_batch_tokens=64)
        log = train(learner, objective, rows, [], held, 0, TrainingSession(Checkpoints(tmp_path / precision)))
        losses[precision] = torch.tensor([row["loss"] for row in log.rows])
        assert {each.dtype for each in learner.parameters.values()} == {torch.float32}
        assert {each.dtype for each in learner.moments().values()} == {torch.float32}
    cosine = nn.functional.cosine_similarity(found[Precision.FLOAT32], found[Precision.BFLOAT16], dim=0)
    assert float(cosine) > LEAST_COSINE and not torch.equal(*found.values())  # and it is another arithmetic
    torch.testing.assert_close(losses[Precision.BFLOAT16], losses[Precision.FLOAT32], rtol=LOSS_TOLERANCE, atol=0.0)


@OBJECTIVES
@ADAPTERS
@pytest.mark.parametrize("precision", list(Precision))
def test_recomputed_activations_give_the_same_gradient(
    tiny: Path, make: Make, adapter: LoraSettings | None, precision: Precision
) -> None:
    found = []
    for kept in Activations:
        learner, objective, rows = make(tiny, precision, adapter, kept)
        totals, _ = accumulate(learner, objective, rows, 64, "here")
        found.append((totals.loss, gradients(learner)))
    (loss, kept_N), (again, recomputed_N) = found
    assert loss == again and torch.equal(kept_N, recomputed_N)


def test_recomputing_keeps_the_inputs_of_layers_only(tiny: Path) -> None:
    sizes = []
    for kept in Activations:
        _, objective, rows = sft(tiny, Precision.FLOAT32, None, kept)
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(_counting(saved), lambda kept: kept):
            objective.loss(rows)
        sizes.append(sum(saved))
    assert sizes[1] < 0.6 * sizes[0]


def _counting(saved: list[int]) -> Callable[[Tensor], Tensor]:
    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            saved.append(tensor.nbytes)
        return tensor

    return pack


@OBJECTIVES
def test_only_what_does_not_learn_is_stored_in_bfloat16(tiny: Path, make: Make) -> None:
    learner, objective, _ = make(tiny, Precision.BFLOAT16, LORA)
    halves = {name for name, each in objective.model.model.named_parameters() if each.dtype is torch.bfloat16}
    assert halves and not halves & set(learner.parameters)
    assert all(name.endswith("base_layer.weight") for name in halves)
    kept = [name for name in dict(objective.model.model.named_parameters()) if "base_layer" in name]
    assert halves == set(kept)  # all of them; embeddings, norms and heads are float32
    _, objective, _ = make(tiny, Precision.BFLOAT16)
    assert {each.dtype for each in objective.model.model.parameters()} == {torch.float32}


def test_logits_are_no_bfloat16_numbers(tiny: Path) -> None:
    ids_BT = torch.tensor([[5, 6, 7, 8, 9]])
    mask_BT = torch.tensor([[False, True, True, True, True]])
    for adapter in (None, LORA):
        _, reads = policy_of(tiny, Precision.BFLOAT16, adapter)
        logits_NV = reads.logits(ids_BT, mask_BT)
        assert logits_NV.dtype is torch.float32 and not torch.equal(logits_NV, logits_NV.bfloat16().float())
        plain = reads._head
        reads._head = None  # as for a model that scales its logits: its own forward pass
        torch.testing.assert_close(reads.logits(ids_BT, mask_BT), logits_NV, rtol=1e-5, atol=1e-5)
        reads._head = plain


def test_a_frozen_copy_computes_what_the_model_in_training_computes(tiny: Path) -> None:
    ids_BT = torch.arange(2, 26).reshape(2, 12)
    mask_BT = torch.ones(2, 12, dtype=torch.bool)
    mask_BT[:, 0] = False
    _, learning = policy_of(tiny, Precision.BFLOAT16)
    frozen = token_model(models.load_causal_lm(tiny, SETTINGS, Precision.BFLOAT16), SINGLE_PROCESS, Precision.BFLOAT16)
    assert torch.equal(frozen.logits(ids_BT, mask_BT), learning.logits(ids_BT, mask_BT))


@OBJECTIVES
@ADAPTERS
def test_a_killed_run_resumes_to_the_same_bits(
    tiny: Path, tmp_path: Path, make: Make, adapter: LoraSettings | None
) -> None:
    def session(folder: Path, most: int) -> TrainingSession:
        def progress(done: int, total: int, note: str) -> None:
            if done == most:
                raise Killed

        return TrainingSession(Checkpoints(folder), progress)

    learner, objective, rows = make(tiny, Precision.BFLOAT16, adapter, Activations.RECOMPUTED)
    settings = TRAINING.model_copy(update={"epochs": 2.0})
    train(learner, objective, rows, [], settings, 0, session(tmp_path / "whole", 99))
    again, objective, rows = make(tiny, Precision.BFLOAT16, adapter, Activations.RECOMPUTED)
    with pytest.raises(Killed):
        train(again, objective, rows, [], settings, 0, session(tmp_path / "cut", 4))
    again, objective, rows = make(tiny, Precision.BFLOAT16, adapter, Activations.RECOMPUTED)
    train(again, objective, rows, [], settings, 0, session(tmp_path / "cut", 99))
    for one, other in ((learner.weights(), again.weights()), (learner.moments(), again.moments())):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("make", [sft, preference])
@ADAPTERS
def test_saved_models_are_float32_and_hold_the_adapter_to_its_last_bits(
    tiny: Path, tmp_path: Path, make: Make, adapter: LoraSettings | None
) -> None:
    learner, objective, rows = make(tiny, Precision.BFLOAT16, adapter)
    train(learner, objective, rows, [], TRAINING, 0, TrainingSession(Checkpoints(tmp_path / "checkpoints")))
    model = objective.model.model
    base = {name: each.clone() for name, each in models.unwrap_adapter(model).state_dict().items()}
    scale = 8.0  # alpha over rank
    models.save_model(model, texts_of(models.load_tokenizer(tiny)), tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert {each.dtype for each in stored.values()} == {torch.float32}
    assert '"dtype": "float32"' in (tmp_path / "model" / "config.json").read_text()
    name = "model.layers.0.mlp.up_proj"
    if adapter is None:
        assert torch.equal(stored[f"{name}.weight"], base[f"{name}.weight"])
        return
    lower, upper = (base[f"{name}.lora_{side}.default.weight"] for side in "AB")
    assert lower.dtype is upper.dtype is torch.float32
    merged = base[f"{name}.base_layer.weight"].float() + scale * (upper @ lower)
    torch.testing.assert_close(stored[f"{name}.weight"], merged, rtol=1e-6, atol=1e-7)
    assert not torch.equal(stored[f"{name}.weight"], stored[f"{name}.weight"].bfloat16().float())


def test_a_dropped_model_with_recomputed_layers_is_freed(tiny: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        learner, objective, rows = sft(tiny, Precision.BFLOAT16, LORA, Activations.RECOMPUTED)
        accumulate(learner, objective, rows, 64, "here")
        weight = weakref.ref(next(objective.model.model.parameters()))
        del learner, objective
        assert weight() is None
    finally:
        gc.enable()
