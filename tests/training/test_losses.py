"""Losses against values worked out by hand, and against the definitions they shorten."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solon.training import losses


def test_completion_loss_is_a_sum_over_tokens_and_their_count() -> None:
    logits_NV = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    loss, count = losses.completion_loss(logits_NV, torch.tensor([0, 2]))
    assert count == 2
    assert float(loss) == pytest.approx(-math.log(0.5) - math.log(0.7))


def test_entropy_of_known_distributions() -> None:
    probabilities_NV = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 1e-30, 1e-30]])
    assert losses.token_entropies(probabilities_NV.log()).tolist() == pytest.approx([math.log(4), math.log(2)])


@given(st.floats(-30, 30), st.floats(0, 1))
def test_preference_loss_is_cross_entropy_and_its_gradient_is_sigmoid_minus_label(difference: float, p: float) -> None:
    chosen_B = torch.tensor([difference], dtype=torch.float64, requires_grad=True)
    loss_B = losses.preference_loss(
        chosen_B, torch.zeros(1, dtype=torch.float64), torch.tensor([p], dtype=torch.float64)
    )
    loss_B.sum().backward()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        chosen_B.detach(), torch.tensor([p], dtype=torch.float64)
    )
    assert float(loss_B.detach()) == pytest.approx(float(expected), abs=1e-6)
    assert chosen_B.grad is not None
    assert float(chosen_B.grad) == pytest.approx(1 / (1 + math.exp(-difference)) - p, abs=1e-6)


def test_what_is_ordered_as_labelled_counts_equal_scores_half() -> None:
    chosen_B, labels_B = torch.tensor([2.0, 0.0, 1.0, 1.0, 1.0]), torch.tensor([0.9, 0.9, 0.9, 0.2, 0.5])
    ordered_B = losses.ordered_as_labelled(chosen_B, torch.ones(5), labels_B)
    assert ordered_B.tolist() == [1.0, 0.0, 0.5, 0.5, 0.0]
    assert losses.ordered_as_labelled(torch.ones(5), chosen_B, 1 - labels_B).tolist() == ordered_B.tolist()


def test_preference_loss_of_an_even_label_is_least_where_scores_agree() -> None:
    differences_B = torch.linspace(-3, 3, 61)
    loss_B = losses.preference_loss(differences_B, torch.zeros(61), torch.full((61,), 0.5))
    assert float(differences_B[loss_B.argmin()]) == pytest.approx(0.0, abs=1e-6)


def test_policy_loss_by_hand() -> None:
    # ratios 1.5, 0.5, 1.5, 0.5 with clip 0.2; the pessimistic side counts
    logprob_N = torch.tensor([1.5, 0.5, 1.5, 0.5]).log().requires_grad_()
    advantage_N = torch.tensor([1.0, 1.0, -1.0, -1.0])
    found = losses.policy_loss(logprob_N, torch.zeros(4), advantage_N, clip=0.2)
    assert found.loss_N.tolist() == pytest.approx([-1.2, -0.5, 1.5, 0.8])
    assert found.clipped_N.tolist() == [True, False, False, True]
    found.loss_N.sum().backward()
    assert logprob_N.grad is not None
    assert logprob_N.grad.tolist() == pytest.approx([0.0, -0.5, 1.5, 0.0])


def test_policy_loss_survives_absurd_log_ratios() -> None:
    logprob_N = torch.tensor([1e4, -1e4]).requires_grad_()
    found = losses.policy_loss(logprob_N, torch.zeros(2), torch.tensor([-1.0, 1.0]), clip=0.2)
    found.loss_N.sum().backward()
    assert torch.isfinite(found.loss_N).all()
    assert logprob_N.grad is not None and torch.isfinite(logprob_N.grad).all()


def test_dual_clip_bounds_what_a_bad_token_costs() -> None:
    # a ratio of 5 on a bad token costs 5 without the bound, 3 with it; good tokens and small ratios are as before
    logprob_N = torch.tensor([5.0, 2.0, 5.0]).log().requires_grad_()
    advantage_N = torch.tensor([-1.0, -1.0, 1.0])
    found = losses.policy_loss(logprob_N, torch.zeros(3), advantage_N, clip=0.2, dual_clip=3.0)
    assert found.loss_N.tolist() == pytest.approx([3.0, 2.0, -1.2])
    assert found.clipped_N.tolist() == [True, False, True]
    found.loss_N.sum().backward()
    assert logprob_N.grad is not None
    assert logprob_N.grad.tolist() == pytest.approx([0.0, 2.0, 0.0])


def test_value_loss_without_a_clip_is_the_squared_error() -> None:
    value_N, old_N, return_N = torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([3.0, 1.0])
    assert losses.value_loss(value_N, old_N, return_N, clip=None).tolist() == pytest.approx([2.0, 0.405])


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 1), st.floats(0.01, 2))
def test_direct_preference_loss_is_its_equation(chosen: float, rejected: float, p: float, beta: float) -> None:
    chosen_B, rejected_B, p_B = (torch.tensor([value], dtype=torch.float64) for value in (chosen, rejected, p))
    found = float(losses.direct_preference_loss(chosen_B, rejected_B, p_B, beta))

    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))

    difference = beta * (chosen - rejected)
    assert found == pytest.approx(-(p * log_sigmoid(difference) + (1 - p) * log_sigmoid(-difference)), abs=1e-9)


def test_adapted_kl_by_hand() -> None:
    # target 6, 64 replies of a horizon of 640: a tenth of the error, which is at most 0.2 either way
    assert losses.adapted_kl(0.1, 6.6, 6.0, 64, 640) == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    assert losses.adapted_kl(0.1, 60.0, 6.0, 64, 640) == pytest.approx(0.1 * 1.02)
    assert losses.adapted_kl(0.1, -1.0, 6.0, 64, 640) == pytest.approx(0.1 * 0.98)
    assert losses.adapted_kl(0.1, 6.0, 6.0, 64, 640) == 0.1


def test_leave_one_out_by_hand() -> None:
    reward_B = torch.tensor([1.0, 10.0, 2.0, 6.0, 4.0, 5.0])
    found_B = losses.leave_one_out(reward_B, ["a", "b", "a", "a", "b", "alone"])
    # a: 1, 2, 6 against (2 + 6) / 2, (1 + 6) / 2, (1 + 2) / 2; b: 10 and 4 against each other; nothing to compare with
    assert found_B.tolist() == pytest.approx([-3.0, 6.0, -1.5, 4.5, -6.0, 0.0])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-5, 5)), min_size=1, max_size=12))
def test_leave_one_out_is_its_definition(drawn: list[tuple[str, float]]) -> None:
    reward_B = torch.tensor([reward for _, reward in drawn], dtype=torch.float64)
    found = losses.leave_one_out(reward_B, [group for group, _ in drawn]).tolist()
    for index, (group, reward) in enumerate(drawn):
        others = [r for n, (g, r) in enumerate(drawn) if g == group and n != index]
        expected = reward - sum(others) / len(others) if others else 0.0
        assert found[index] == pytest.approx(expected, abs=1e-9)


def test_value_loss_by_hand() -> None:
    value_N, old_N, return_N = torch.tensor([1.0, 0.1, 1.0]), torch.zeros(3), torch.tensor([1.0, 1.0, 2.0])
    # within the clip nothing changes; beyond it the clipped value's larger error counts
    expected = [0.5 * (0.2 - 1.0) ** 2, 0.5 * (0.1 - 1.0) ** 2, 0.5 * (0.2 - 2.0) ** 2]
    assert losses.value_loss(value_N, old_N, return_N, clip=0.2).tolist() == pytest.approx(expected)


def test_kl_estimators_agree_with_the_exact_divergence() -> None:
    p_V, q_V = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    exact = float((p_V * (p_V / q_V).log()).sum())
    assert float((p_V * losses.kl_k1(p_V.log(), q_V.log())).sum()) == pytest.approx(exact, abs=1e-6)
    k3_V = losses.kl_k3(p_V.log(), q_V.log())
    assert float((p_V * k3_V).sum()) == pytest.approx(exact, abs=1e-6)
    assert (k3_V >= 0).all()


def test_score_is_paid_at_the_last_response_token_only_and_is_clipped() -> None:
    mask_BT = torch.tensor([[True, True, True], [True, False, False]])
    zeros_BT = torch.zeros(2, 3)
    rewards_BT = losses.token_rewards(torch.tensor([3.0, 99.0]), zeros_BT, zeros_BT, mask_BT, kl_coefficient=0.1)
    assert rewards_BT.tolist() == [[0.0, 0.0, 3.0], [10.0, 0.0, 0.0]]
    for limit, last in ((50.0, 50.0), (None, 99.0)):
        paid_BT = losses.token_rewards(torch.tensor([3.0, 99.0]), zeros_BT, zeros_BT, mask_BT, 0.1, limit)
        assert paid_BT.tolist() == [[0.0, 0.0, 3.0], [last, 0.0, 0.0]]


def test_kl_is_paid_at_every_response_token_and_nowhere_else() -> None:
    mask_BT = torch.tensor([[True, True, False]])
    logprob_BT, reference_BT = torch.tensor([[-1.0, -2.0, -5.0]]), torch.tensor([[-1.5, -1.0, -9.0]])
    rewards_BT = losses.token_rewards(torch.tensor([1.0]), logprob_BT, reference_BT, mask_BT, kl_coefficient=0.1)
    assert rewards_BT.flatten().tolist() == pytest.approx([-0.05, 1.1, 0.0])


def brute_force(rewards: list[float], values: list[float], gamma: float, gae_lambda: float) -> list[float]:
    """Equation 16 of Schulman et al. 2016, term by term."""
    following = [*values[1:], 0.0]
    deltas = [r + gamma * after - v for r, v, after in zip(rewards, values, following, strict=True)]
    return [sum((gamma * gae_lambda) ** k * deltas[t + k] for k in range(len(deltas) - t)) for t in range(len(deltas))]


@given(st.data(), st.floats(0, 1), st.floats(0, 1))
def test_advantages_equal_brute_force(data: st.DataObject, gamma: float, gae_lambda: float) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    number = st.floats(-5, 5)
    rewards = [data.draw(st.lists(number, min_size=n, max_size=n)) for n in lengths]
    values = [data.draw(st.lists(number, min_size=n, max_size=n)) for n in lengths]
    longest = max(lengths)
    mask_BT = torch.tensor([[t < n for t in range(longest)] for n in lengths])
    # what stands behind a reply's end must not matter
    rewards_BT = torch.tensor([row + [0.0] * (longest - len(row)) for row in rewards], dtype=torch.float64)
    values_BT = torch.tensor([row + [7.0] * (longest - len(row)) for row in values], dtype=torch.float64)
    found_BT, returns_BT = losses.generalised_advantages(rewards_BT, values_BT, mask_BT, gamma, gae_lambda)
    for row, n in enumerate(lengths):
        expected = brute_force(rewards[row], values[row], gamma, gae_lambda)
        assert found_BT[row, :n].tolist() == pytest.approx(expected, abs=1e-9)
        assert found_BT[row, n:].abs().sum() == 0
        assert returns_BT[row, :n].tolist() == pytest.approx(
            [a + v for a, v in zip(expected, values[row], strict=True)], abs=1e-9
        )


def test_returns_without_discount_and_full_trace_are_rewards_to_come() -> None:
    rewards_BT, mask_BT = torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3, dtype=torch.bool)
    _, returns_BT = losses.generalised_advantages(rewards_BT, torch.tensor([[0.3, -2.0, 5.0]]), mask_BT, 1.0, 1.0)
    assert returns_BT.flatten().tolist() == pytest.approx([7.0, 6.0, 4.0])


def test_whitening_is_over_all_masked_tokens_of_the_rollout() -> None:
    values_BT = torch.tensor([[1.0, 2.0, 100.0], [3.0, 6.0, 9.0]])
    mask_BT = torch.tensor([[True, True, False], [True, True, True]])
    white_BT = losses.whiten(values_BT, mask_BT)
    picked_N = white_BT[mask_BT]
    assert float(picked_N.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(picked_N.var(correction=0)) == pytest.approx(1.0, abs=1e-5)
    assert float(white_BT[0, 2]) == 0.0


def test_whitening_equal_values_gives_zeros() -> None:
    white_BT = losses.whiten(torch.full((2, 2), 3.0), torch.ones(2, 2, dtype=torch.bool))
    assert white_BT.abs().max() == 0


def test_explained_variance() -> None:
    return_N = torch.tensor([1.0, 2.0, 3.0])
    assert losses.explained_variance(return_N, return_N) == 1.0
    assert losses.explained_variance(torch.full((3,), 2.0), return_N) == pytest.approx(0.0)
    assert losses.explained_variance(return_N, torch.ones(3)) == 0.0


def test_the_loss_of_ratings_is_the_squared_distance() -> None:
    score_B = torch.tensor([1.0, 4.5, 0.0], requires_grad=True)
    loss_B = losses.rating_loss(score_B, torch.tensor([3.0, 4.0, 0.0]))
    assert loss_B.tolist() == [4.0, 0.25, 0.0]
    loss_B.sum().backward()
    assert score_B.grad is not None and score_B.grad.tolist() == [-4.0, 1.0, 0.0]
