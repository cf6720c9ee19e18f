"""Balanced sources have equal weight, or equal pull at the start, which is what the loss's gradient says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solon.config.recipe import Balance, PreferenceSettings, TrainingSettings
from solon.conversation import Conversation, Role, Turn
from solon.errors import RecipeError
from solon.feedback.preference_examples import AI, HUMAN, HUMAN_HARMLESSNESS, Labelled
from solon.feedback.source_balance import human_factor, pull, refuse_lone_weights
from solon.training.losses import preference_loss

PROMPT = Conversation((Turn(Role.HUMAN, "Hello?"),))


def labelled(source: str, *chances: float) -> list[Labelled]:
    return [Labelled(source, str(n), PROMPT, "yes", "no", p) for n, p in enumerate(chances)]


CHANCES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(ai=CHANCES, human=st.integers(1, 20), source=st.sampled_from([HUMAN, HUMAN_HARMLESSNESS]))
def test_balanced_sources_have_the_same_gradient_at_the_start(ai: list[float], human: int, source: str) -> None:
    pairs = [*labelled(AI, *ai), *labelled(source, *[1.0] * human)]
    factor = human_factor(pairs, Balance.PULL)
    if sum(abs(p - 0.5) for p in ai) == 0:
        assert factor == 1
        return
    gradients = {}
    for name, chances, weight in (("ai", ai, 1.0), ("human", [1.0] * human, factor)):
        difference = torch.zeros(len(chances), dtype=torch.float64, requires_grad=True)
        labels = torch.tensor(chances, dtype=torch.float64)
        (weight * preference_loss(difference, torch.zeros_like(difference), labels)).sum().backward()
        assert difference.grad is not None
        gradients[name] = float(difference.grad.abs().sum())
    assert gradients["human"] == pytest.approx(gradients["ai"])


def test_the_weights_of_both_sides_are_made_equal() -> None:
    pairs = [*labelled(AI, 0.5, 0.6, 0.7), *labelled(HUMAN, *[1.0] * 6), *labelled(HUMAN_HARMLESSNESS, *[1.0] * 6)]
    assert human_factor(pairs, Balance.WEIGHT) * 12 == 3
    assert human_factor(pairs, Balance.PULL) * 6 == pytest.approx(0.3)
    assert human_factor(pairs, Balance.OFF) == 1


@pytest.mark.parametrize("balance", Balance)
def test_one_side_alone_is_left_as_it_is(balance: Balance) -> None:
    assert human_factor(labelled(AI, 0.9), balance) == human_factor(labelled(HUMAN, 1.0), balance) == 1
    assert human_factor([], balance) == 1


def test_labels_of_one_half_pull_nothing_and_take_no_weight_from_people() -> None:
    assert pull(labelled(AI, 0.5, 0.5)) == 0
    assert human_factor([*labelled(AI, 0.5), *labelled(HUMAN, 1.0)], Balance.PULL) == 1


@pytest.mark.parametrize("changed", [{"human_weight": 0.5}, {"balance": Balance.PULL}])
def test_a_weight_that_has_nothing_to_weigh_against_is_refused(changed: dict[str, object]) -> None:
    alone = PreferenceSettings(training=TrainingSettings(batch_size=1)).model_copy(update=changed)
    with pytest.raises(RecipeError, match="in batches of one pair it changes nothing"):
        refuse_lone_weights(alone)
    refuse_lone_weights(alone.model_copy(update={"human_helpfulness": None}))
    refuse_lone_weights(alone.model_copy(update={"training": TrainingSettings(batch_size=2)}))
    refuse_lone_weights(PreferenceSettings(training=TrainingSettings(batch_size=1)))
