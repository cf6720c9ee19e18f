"""The loss in pieces: the plain loss and its gradients, with the same products and no more logits than a piece has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from solon.config.recipe import EngineSettings, LoraSettings, Precision
from solon.training import forward, models
from solon.training.batches import CompletionExample
from solon.training.forward import TokenModel
from solon.training.learner import EPSILON, Learner
from solon.training.loop import accumulate, mean_loss
from solon.training.losses import completion_loss
from solon.training.objectives import CompletionObjective
from solon.training.piecewise_loss import piecewise_loss

ROWS = [CompletionExample(f"row{n}", tuple((7 * n + 3 * t) % 200 + 2 for t in range(4 + n % 9)), 1) for n in range(12)]


def gradients(*parameters: torch.Tensor | None) -> list[torch.Tensor]:
    found = [each.grad.clone() for each in parameters if each is not None and each.grad is not None]
    for each in parameters:
        if each is not None:
            each.grad = None
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_loss_and_gradients_are_the_plain_ones(bias: bool, frozen: bool, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(8, 50, bias=bias).requires_grad_(not frozen)
    with torch.no_grad():
        head.weight.copy_(torch.randn(50, 8, generator=generator))
    hidden_NH = torch.randn(10, 8, generator=generator).requires_grad_(True)
    targets_N = torch.randint(0, 50, (10,), generator=generator)
    expected, count = completion_loss(head(hidden_NH), targets_N)
    (expected * 0.3).backward()  # type: ignore[no-untyped-call]
    wanted = gradients(hidden_NH, head.weight, head.bias)
    found = piecewise_loss(hidden_NH, head, targets_N, size)
    (found * 0.3).backward()  # type: ignore[no-untyped-call]
    assert count == 10 and len(wanted) == (1 if frozen else 2 + bias)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(hidden_NH, head.weight, head.bias), wanted, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(piecewise_loss(hidden_NH, head, targets_N, size), expected, rtol=1e-5, atol=1e-5)


def added_product(to: Any, one: Any, other: Any, out_shape: Any = None, **more: Any) -> int:
    """Operations of a product that is added in place, which torch does not count."""
    return 2 * int(one[0]) * int(one[1]) * int(other[1])


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)], ids=["all", "lora"])
def test_finetuning_in_pieces_is_the_same_up_to_rounding(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, adapter: LoraSettings | None, precision: Precision
) -> None:
    stored = models.storage_precision(precision, adapter)
    model = models.with_adapter(models.load_causal_lm(tiny, EngineSettings(), stored), adapter, 1)
    learner = Learner(models.trainable_parameters(model), clip=1.0, epsilon=EPSILON)
    objective = CompletionObjective(TokenModel(model, precision))
    found = []
    for most in (1 << 25, 10 * 320):
        monkeypatch.setattr(forward, "MOST_NUMBERS", most)
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added_product}) as counter:
            totals, size = accumulate(learner, objective, ROWS, 10**9, "here")
        found.append((totals.loss, size, totals.counts, counter.get_total_flops(), mean_loss(objective, ROWS, 10**9)))
        found[-1] += (torch.cat([each.flatten() for each in gradients(*learner.parameters.values())]),)  # type: ignore[assignment]
    (loss, *counted, held_out, gradient), (piece_loss, *same, piece_held_out, piece_gradient) = found
    assert same == counted, "tokens and operations"
    assert piece_loss == pytest.approx(loss, rel=1e-5) and piece_held_out == pytest.approx(held_out, rel=1e-5)
    torch.testing.assert_close(piece_gradient, gradient, rtol=1e-3, atol=1e-5)
