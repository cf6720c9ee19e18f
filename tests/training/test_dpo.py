"""Soft-label DPO on a tiny model: the reference counts for nothing at the start, and labels are met, not overshot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from solon.config.recipe import EngineSettings, LoraSettings, TrainingSettings
from solon.training import models
from solon.training.batches import CompletionExample
from solon.training.checkpoint import Checkpoints
from solon.training.dpo import DirectObjective, DirectPair, reply_logprobs, with_reference
from solon.training.forward import TokenModel
from solon.training.learner import EPSILON, Learner
from solon.training.loop import TrainingSession, accumulate, mean_loss, train

BETA = 0.5


def pairs(p_chosen: float, count: int = 24) -> list[DirectPair]:
    """The chosen reply differs from the rejected one in one token."""
    return [
        DirectPair(
            f"p{n}",
            CompletionExample(f"p{n}", (2 + n, 9, 50, 3 + n, 0), 2),
            CompletionExample(f"p{n}", (2 + n, 9, 60, 3 + n, 7, 0), 2),
            p_chosen,
        )
        for n in range(count)
    ]


def objective_of(folder: Path, adapter: LoraSettings | None = None) -> tuple[Learner, DirectObjective]:
    model = models.with_adapter(models.load_causal_lm(folder, EngineSettings()), adapter, seed=1)
    learner = Learner(models.trainable_parameters(model), clip=1.0, epsilon=EPSILON)
    return learner, DirectObjective(TokenModel(model), BETA)


@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)])
def test_at_its_start_the_policy_is_its_reference(tiny: Path, adapter: LoraSettings | None) -> None:
    _, objective = objective_of(tiny, adapter)
    rows = with_reference(objective.model, pairs(0.8), 40)
    assert mean_loss(objective, rows, 60) == pytest.approx(0.693147, abs=1e-4)
    assert objective.loss(rows)[1]["margin"] == pytest.approx(0.0, abs=1e-3)


def test_log_probabilities_of_replies_are_those_of_each_alone(tiny: Path) -> None:
    _, objective = objective_of(tiny)
    rows = [side for pair in pairs(0.8, 3) for side in (pair.chosen, pair.rejected)]
    model = models.load_causal_lm(tiny, EngineSettings())
    with torch.no_grad():
        found_B = reply_logprobs(objective.model, rows)
        for row, found in zip(rows, found_B.tolist(), strict=True):
            logprobs_TV = model(torch.tensor([row.token_ids])).logits[0].log_softmax(-1)
            expected = sum(float(logprobs_TV[t - 1, row.token_ids[t]]) for t in range(row.start, row.length))
            assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("micro_tokens", [1, 40])
def test_gradients_are_equal_for_any_micro_batch_size(tiny: Path, micro_tokens: int) -> None:
    learner, objective = objective_of(tiny)
    found = []
    for tokens in (10**9, micro_tokens):
        accumulate(learner, objective, pairs(0.8), tokens, "here")
        found.append(torch.cat([p.grad.flatten() for p in learner.parameters.values() if p.grad is not None]))
        learner.discard()
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_it_learns_the_labels_and_no_more(tiny: Path, tmp_path: Path) -> None:
    learner, objective = objective_of(tiny)
    rows = with_reference(objective.model, pairs(0.8, 16), 1000)
    settings = TrainingSettings(batch_size=16, epochs=50, learning_rate=3e-3)
    log = train(learner, objective, rows, [], settings, 0, TrainingSession(Checkpoints(tmp_path)))
    with torch.no_grad():
        margins = [float(objective.loss([row])[1]["margin"]) for row in rows]
    implied = torch.tensor(margins).sigmoid()
    assert float(implied.mean()) == pytest.approx(0.8, abs=0.03)
    assert log.rows[-1]["loss"] == pytest.approx(0.5004, abs=0.01), (
        "the entropy of a coin that falls right 8 times of 10"
    )
