"""At p = 1 our loss of labelled pairs is TRL's DPOTrainer's, on the same policy, reference and tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from solon.config.recipe import EngineSettings
from solon.training import models
from solon.training.batches import CompletionExample
from solon.training.dpo import DirectObjective, DirectPair, with_reference
from solon.training.forward import TokenModel
from tests.training.tiny import save_tiny_model

pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own, which are not ours to settle

BETA = 0.3
PAIRS = [
    ((5, 6, 7), (8, 0), (5, 6, 9, 0)),
    ((11, 12), (13, 14, 15, 16, 0), (17, 18, 19, 20, 21, 22, 0)),
    ((30,), (31, 0), (31, 32, 33, 34, 0)),
    ((40, 41, 44, 45), (42, 0), (43, 44, 0)),
]


def policy_of(folder: Path) -> PreTrainedModel:
    """The reference, moved a little, so that the log-ratios are not 0."""
    model = models.load_causal_lm(folder, EngineSettings())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def test_loss_and_gradient_equal_trls_at_p_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")  # TRL then sends no usage report
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    folder = save_tiny_model(tmp_path / "tiny")
    trainer = DPOTrainer(
        policy_of(folder),
        ref_model=models.load_causal_lm(folder, EngineSettings()),
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
            beta=BETA, max_length=None, disable_dropout=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": "How", "chosen": "yes", "rejected": "no"}]),
        processing_class=models.load_tokenizer(folder),
    )  # fmt: skip
    rows = [
        {"prompt_ids": list(prompt), "chosen_ids": list(chosen), "rejected_ids": list(rejected)}
        for prompt, chosen, rejected in PAIRS
    ]
    theirs = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    theirs.backward()
    expected = {name: each.grad.clone() for name, each in trainer.model.named_parameters() if each.grad is not None}

    def pair(p_chosen: float, number: int = 0) -> DirectPair:
        prompt, chosen, rejected = PAIRS[number]
        sides = (CompletionExample(f"row {number}", prompt + side, len(prompt)) for side in (chosen, rejected))
        return DirectPair(f"row {number}", *sides, p_chosen)

    reference = TokenModel(models.load_causal_lm(folder, EngineSettings()))
    examples = with_reference(reference, [pair(1.0, number) for number in range(len(PAIRS))], 20)
    policy = policy_of(folder)
    objective = DirectObjective(TokenModel(policy), BETA)
    summed, _ = objective.loss(examples)
    ours = summed / objective.size(examples)
    ours.backward()
    assert abs(float(ours.detach()) - float(theirs.detach())) < 1e-5
    assert abs(float(ours.detach()) - 0.6931) > 1e-3, "or two losses of nothing would agree"
    compared = 0
    for name, parameter in policy.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)
            compared += 1
    assert compared == len(expected) > 10
    soft, _ = objective.loss(with_reference(reference, [pair(0.7)], 20))
    hard, _ = objective.loss(with_reference(reference, [pair(1.0)], 20))
    assert abs(float(soft.detach()) - float(hard.detach())) > 1e-4, "a soft label is another loss"
