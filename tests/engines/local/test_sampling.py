"""Drawing tokens: uniforms, distributions, nuclei."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solon.engines.local.sampling import draw, draw_nucleus, greedy, sampler_for, uniforms

Z_999 = 3.09


def chi_square_is_plausible(counts: np.ndarray, probabilities: np.ndarray) -> bool:
    """Pearson's statistic below its 99.9 % point (Wilson and Hilferty's approximation)."""
    expected = probabilities * counts.sum()
    seen = expected > 0
    assert counts[~seen].sum() == 0
    freedom = int(seen.sum()) - 1
    statistic = float(((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum())
    return statistic < freedom * (1 - 2 / (9 * freedom) + Z_999 * (2 / (9 * freedom)) ** 0.5) ** 3


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6), st.integers(1, 20), st.integers(0, 5))
def test_a_uniform_depends_on_its_seed_and_step_alone(seeds: list[int], steps: int, more: int) -> None:
    table = uniforms(seeds, steps)
    assert table.shape == (len(seeds), steps)
    assert ((table > 0) & (table < 1)).all()
    assert np.array_equal(uniforms(seeds[::-1], steps + more)[::-1, :steps], table)


def test_uniforms_are_uniform_across_steps_and_neighbouring_seeds() -> None:
    table = uniforms(range(200), 200)
    for values in (table.ravel(), table[:, 0], table[0], (table[1:, 0] - table[:-1, 0]) % 1, table[3]):
        counts = np.bincount((values * 20).astype(int), minlength=20)
        assert chi_square_is_plausible(counts, np.full(20, 1 / 20))
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 0.25
    assert abs(np.corrcoef(table[0], table[1])[0, 1]) < 0.25


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(40)
    rows = 20000
    uniform = torch.from_numpy(uniforms(range(rows), 1)[:, 0]).float()
    token, logprob = draw(logits.expand(rows, -1), uniform, temperature)
    expected = (logits / temperature).softmax(-1)
    assert chi_square_is_plausible(np.bincount(token.numpy(), minlength=40), expected.double().numpy())
    assert torch.allclose(logprob, expected.log()[token], atol=1e-5)


def test_a_nucleus_holds_the_fewest_likeliest_tokens() -> None:
    probabilities = torch.tensor([0.05, 0.4, 0.2, 0.3, 0.05])
    rows = 20000
    uniform = torch.from_numpy(uniforms(range(rows), 1)[:, 0]).float()
    token, logprob = draw_nucleus(probabilities.log().expand(rows, -1), uniform, 1.0, 0.75)
    nucleus = np.array([0, 4 / 9, 2 / 9, 3 / 9, 0])
    assert chi_square_is_plausible(np.bincount(token.numpy(), minlength=5), nucleus)
    assert torch.allclose(logprob, probabilities.log()[token], atol=1e-5)
    tiny, _ = draw_nucleus(probabilities.log().expand(rows, -1), uniform, 1.0, 1e-6)
    assert (tiny == 1).all()


@given(st.floats(1e-9, 1.0), st.sampled_from([0.3, 1.0]), st.floats(0.01, 1.0))
def test_a_token_of_no_probability_is_never_drawn(share: float, temperature: float, top_p: float) -> None:
    # A uniform that rounds to 0 or 1 in float32 is where an inverse goes wrong.
    logits = torch.tensor([[float("-inf"), 2.0, float("-inf"), -30.0, float("-inf")]])
    for sampler in (sampler_for(temperature, 1.0), sampler_for(temperature, top_p)):
        for uniform in (share, 0.0, 1.0):
            token, logprob = sampler(logits, torch.tensor([uniform]))
            assert token.item() in (1, 3)
            assert torch.isfinite(logprob).all()


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert sampler_for(0.0, 0.5) is greedy
    token, logprob = sampler_for(0.0, 1.0)(logits, torch.tensor([0.9, 0.9]))
    assert token.tolist() == [1, 0]
    assert torch.allclose(logprob, logits.log_softmax(-1)[[0, 1], token])


def test_huge_logits_and_tiny_temperatures_stay_finite() -> None:
    logits = torch.tensor([[3e38, 1e38, -3e38]])
    token, logprob = draw(logits, torch.tensor([0.5]), 0.01)
    assert token.tolist() == [0]
    assert logprob.tolist() == [0.0]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.9, 0.99, 0.999999]), st.sampled_from([0.2, 1.0, 3.0]))
def test_a_nucleus_draw_is_that_of_a_whole_sort(seed: int, top_p: float, temperature: float) -> None:
    """Including equal logits, which stand in the order of the vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(7, 61, generator=generator) * 4).round() / 2
    uniform = torch.rand(7, generator=generator)
    token, logprob = draw_nucleus(logits, uniform, temperature, top_p)
    scaled = (logits - logits.amax(-1, keepdim=True)).double() / temperature
    ordered, order = scaled.sort(dim=-1, descending=True, stable=True)
    mass = ordered.softmax(-1).cumsum(-1)
    for row in range(7):
        size = int((mass[row] < top_p - 1e-6).sum()) + 1
        target = float(uniform[row]) * float(mass[row, size - 1])
        if (
            min(abs(float(each) - target) for each in mass[row]) > 1e-5
            and abs(float(mass[row, size - 1]) - top_p) > 1e-5
        ):
            assert int(token[row]) == int(order[row, int((mass[row] <= target).sum())])
    wanted = scaled.log_softmax(-1).gather(-1, token.unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(logprob.double(), wanted, atol=1e-5)
