"""A layer's parts against the same formulas left to autograd."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from solon.llama.layers import (
    Sizes,
    Span,
    Weights,
    attention,
    attention_backward,
    causal,
    feed_forward,
    feed_forward_backward,
    unit,
    unit_backward,
    zeros_like,
)

SIZES = Sizes(heads=4, key_heads=2, width=6, epsilon=1e-5)
ROWS, TIME, HIDDEN, INNER = 3, 5, 8, 10
ANGLES = torch.arange(TIME * 3, dtype=torch.float64).view(TIME, 3) * 0.37
TURN = torch.polar(torch.ones_like(ANGLES), ANGLES)
SPAN = Span(ROWS, TURN)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def weights() -> Weights:
    shapes = ((8 * 6, HIDDEN), (HIDDEN, 4 * 6), (2 * INNER, HIDDEN), (HIDDEN, INNER))
    return Weights(*(random(*shape, seed=number).requires_grad_() for number, shape in enumerate(shapes)))


def plain_unit(x_NH: Tensor) -> Tensor:
    return x_NH / (x_NH.square().mean(-1, keepdim=True) + SIZES.epsilon).sqrt()


def plain_attention(x_NH: Tensor, weights: Weights) -> Tensor:
    """Head by head, with rotations as products of complex numbers."""
    heads = (plain_unit(x_NH) @ weights.qkv.t()).view(ROWS, TIME, 8, 6)
    pairs = torch.view_as_complex(heads[:, :, :6].reshape(ROWS, TIME, 6, 3, 2)) * TURN[None, :, None]
    turned = torch.view_as_real(pairs).flatten(-2)
    read = []
    for head in range(4):
        query, key, value = turned[:, :, head], turned[:, :, 4 + head // 2], heads[:, :, 6 + head // 2]
        score = query @ key.transpose(1, 2) / 6**0.5 + causal(TIME, query)
        read.append(score.softmax(-1) @ value)
    return x_NH + torch.stack(read, 2).view(ROWS * TIME, 24) @ weights.out.t()


def plain_feed_forward(x_NH: Tensor, weights: Weights) -> Tensor:
    gate, up = (plain_unit(x_NH) @ weights.gate_up.t()).chunk(2, -1)
    return x_NH + (torch.nn.functional.silu(gate) * up) @ weights.down.t()


def gradients(part: Callable[[Tensor], Tensor], x_NH: Tensor, weights: Weights, gradient: Tensor) -> list[Tensor]:
    """By autograd: of x, then of all weights (zero for those that the part does not use)."""
    x_NH = x_NH.clone().requires_grad_()
    wanted = [x_NH, *weights.tensors()]
    found = torch.autograd.grad(part(x_NH), wanted, gradient, allow_unused=True)
    return [torch.zeros_like(at) if each is None else each for at, each in zip(wanted, found, strict=True)]


def test_unit_and_its_gradient() -> None:
    x_NH, gradient_NH, past_NH = random(7, 9), random(7, 9, seed=1), random(7, 9, seed=2)
    asked = x_NH.clone().requires_grad_()
    (expected,) = torch.autograd.grad(plain_unit(asked), asked, gradient_NH)
    unit_NH, scale_N1 = unit(x_NH, SIZES.epsilon)
    torch.testing.assert_close(unit_NH, plain_unit(x_NH))
    torch.testing.assert_close(unit_backward(gradient_NH, unit_NH, scale_N1, past_NH), expected + past_NH)


@pytest.mark.parametrize("wanted", [None, [0, 4, 5, 9, 11]], ids=["all positions", "some positions"])
def test_attention_and_its_gradient(weights: Weights, wanted: list[int] | None) -> None:
    x_NH, wanted_N = random(ROWS * TIME, HIDDEN, seed=9), None if wanted is None else torch.tensor(wanted)

    def plain(x_NH: Tensor) -> Tensor:
        return plain_attention(x_NH, weights) if wanted_N is None else plain_attention(x_NH, weights)[wanted_N]

    gradient = random(*plain(x_NH).shape, seed=10)
    with torch.no_grad():
        found, kept = attention(x_NH, weights, SIZES, SPAN, wanted_N)
        torch.testing.assert_close(found, plain(x_NH))
        (sums,) = zeros_like([weights])
        of_x = attention_backward(gradient.clone(), kept, (weights, sums), SIZES, SPAN, wanted_N)
    torch.testing.assert_close([of_x, *sums.tensors()], gradients(plain, x_NH, weights, gradient))


def test_feed_forward_and_its_gradient(weights: Weights) -> None:
    x_NH, gradient = random(11, HIDDEN, seed=3), random(11, HIDDEN, seed=4)
    with torch.no_grad():
        found, kept = feed_forward(x_NH, weights, SIZES)
        torch.testing.assert_close(found, plain_feed_forward(x_NH, weights))
        (sums,) = zeros_like([weights])
        of_x = feed_forward_backward(gradient.clone(), kept, weights, sums)
    expected = gradients(lambda x_NH: plain_feed_forward(x_NH, weights), x_NH, weights, gradient)
    torch.testing.assert_close([of_x, *sums.tensors()], expected)


def test_gradients_are_added_to_what_is_there(weights: Weights) -> None:
    with torch.no_grad():
        _, kept = feed_forward(random(4, HIDDEN), weights, SIZES)
        (once,), (twice,) = zeros_like([weights]), zeros_like([weights])
        feed_forward_backward(random(4, HIDDEN, seed=1), kept, weights, once)
        for _ in range(2):
            feed_forward_backward(random(4, HIDDEN, seed=1), kept, weights, twice)
    torch.testing.assert_close(twice.down, 2 * once.down)
    torch.testing.assert_close(twice.gate_up, 2 * once.gate_up)
