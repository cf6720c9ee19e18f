"""At p = 1 our preference loss is TRL's RewardTrainer's, on the same model, tokens and padding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from solon.config.recipe import EngineSettings
from solon.training import models
from solon.training.batches import PairExample
from solon.training.forward import ScalarModel
from solon.training.objectives import PreferenceObjective
from tests.training.tiny import save_tiny_model

pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own, which are not ours to settle

PAIRS = [
    ((5, 6, 7, 8, 0), (5, 6, 9, 0)),
    ((11, 12, 13, 14, 15, 16, 0), (11, 12, 17, 18, 19, 20, 21, 22, 0)),
    ((30, 31, 0), (30, 31, 32, 33, 34, 0)),
    ((40, 41, 42, 0), (40, 43, 44, 0)),
]


def test_loss_and_gradient_equal_trls_at_p_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")  # TRL then sends no usage report
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    tokenizer = models.load_tokenizer(save_tiny_model(tmp_path / "tiny"))
    model = models.grow_preference_model(tmp_path / "tiny", tokenizer, EngineSettings(), seed=1)
    with torch.no_grad():
        model.score.weight.mul_(3)  # so that no pair's loss is near log 2
    rows = [{"chosen_ids": list(chosen), "rejected_ids": list(rejected)} for chosen, rejected in PAIRS]
    trainer = RewardTrainer(
        model,
        RewardConfig(
            output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
            disable_dropout=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    theirs = trainer.compute_loss(trainer.model, trainer.data_collator([dict(row) for row in trainer.train_dataset]))
    theirs.backward()
    expected = {name: each.grad.clone() for name, each in trainer.model.named_parameters() if each.grad is not None}
    trainer.model.zero_grad()

    objective = PreferenceObjective(ScalarModel(trainer.model))
    examples = [PairExample(f"row {n}", *pair, 1.0, 1.0, "human") for n, pair in enumerate(PAIRS)]
    summed, _ = objective.loss(examples)
    ours = summed / objective.size(examples)
    ours.backward()
    assert abs(float(ours.detach()) - float(theirs.detach())) < 1e-5
    assert abs(float(ours.detach()) - 0.6931) > 1e-2, "or two losses of nothing would agree"
    for name, parameter in trainer.model.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)
    soft, _ = objective.loss([PairExample("row", *PAIRS[0], 0.7, 1.0, "ai")])
    hard, _ = objective.loss([PairExample("row", *PAIRS[0], 1.0, 1.0, "ai")])
    assert abs(float(soft.detach()) - float(hard.detach())) > 1e-3, "a soft label is another loss"
