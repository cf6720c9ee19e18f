"""Our finetuning loss against TRL's SFTTrainer on the same batch: an oracle that shares no code with ours.

Only the tests depend on TRL. Both the loss and its gradient are compared, in float32, from token ids and from
the texts, which each side tokenizes by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.config.recipe import EngineSettings, RenderingKind
from solon.conversation import Conversation, Role, Turn
from solon.engines.tokens import PromptTokenizer
from solon.training.batches import CompletionExample
from solon.training.encoding import Encoding
from solon.training.forward import TokenModel
from solon.training.learner import Learner
from solon.training.loop import accumulate
from solon.training.models import load_causal_lm, load_tokenizer, trainable_parameters
from solon.training.objectives import CompletionObjective
from tests.training.tiny import save_tiny_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    datasets = pytest.importorskip("datasets", reason="TRL is not installed")

TOLERANCE = 1e-5
SAID = (
    ("How do I bake bread ?", "First mix the flour , then wait ."),
    ("Tell me how to steal a tyre please .", "It would hurt people ; ask for help instead ."),
    ("yes ?", "no"),
    ("How do I repair a flat tyre , then bake bread , then wait ?", "one two three " * 9 + "."),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("parity") / "tiny")


def encoding_of(folder: Path) -> Encoding:
    tokenizer = load_tokenizer(folder)
    texts = PromptTokenizer.of(tokenizer, EngineSettings(rendering=RenderingKind.TRANSCRIPT))
    return Encoding(texts, 128)


def ours(
    folder: Path, examples: Sequence[CompletionExample], micro_tokens: int
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of the batch and its gradient by parameter, accumulated over micro-batches."""
    model = load_causal_lm(folder, EngineSettings())
    learner = Learner(trainable_parameters(model), clip=1.0, epsilon=1e-8)
    totals, _ = accumulate(learner, CompletionObjective(TokenModel(model)), examples, micro_tokens, "parity")
    return totals.loss, gradients(model)


def theirs(folder: Path, rows: Sequence[dict[str, Any]], work: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """The same by TRL's trainer, its collator and its data preparation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load_causal_lm(folder, EngineSettings())
        settings = trl.SFTConfig(
            output_dir=str(work), per_device_train_batch_size=len(rows), completion_only_loss=True, max_length=None,
            bf16=False, use_cpu=True, report_to="none", gradient_checkpointing=False, dataloader_pin_memory=False,
        )  # fmt: skip
        data = datasets.Dataset.from_list(list(rows))
        trainer = trl.SFTTrainer(model, args=settings, train_dataset=data, processing_class=load_tokenizer(folder))
        batch = next(iter(trainer.get_train_dataloader()))
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
    return float(loss.detach()), gradients(trainer.model)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def agree(
    one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]
) -> None:  # fmt: skip
    assert one[0] == pytest.approx(other[0], abs=TOLERANCE)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], atol=TOLERANCE, rtol=1e-4)


@pytest.mark.parametrize("micro_tokens", [8192, 40])
def test_the_loss_is_that_of_trl_on_the_same_tokens(tiny: Path, tmp_path: Path, micro_tokens: int) -> None:
    rows = [(str(n), Conversation((Turn(Role.HUMAN, asked),)), said) for n, (asked, said) in enumerate(SAID)]
    examples = encoding_of(tiny).examples(rows)
    given = [
        {"input_ids": list(each.token_ids), "completion_mask": [0] * each.start + [1] * (each.length - each.start)}
        for each in examples
    ]
    loss = ours(tiny, examples, micro_tokens)
    agree(loss, theirs(tiny, given, tmp_path))
    assert loss[0] > 1


def test_the_loss_is_that_of_trl_on_the_same_texts(tiny: Path, tmp_path: Path) -> None:
    rows = [(str(n), Conversation((Turn(Role.HUMAN, asked),)), said) for n, (asked, said) in enumerate(SAID)]
    given = [{"prompt": f"\n\nHuman: {asked}\n\nAssistant:", "completion": f" {said}"} for asked, said in SAID]
    agree(ours(tiny, encoding_of(tiny).examples(rows), 8192), theirs(tiny, given, tmp_path))


def test_a_loss_over_the_prompts_too_would_be_noticed(tiny: Path, tmp_path: Path) -> None:
    rows = [(str(n), Conversation((Turn(Role.HUMAN, asked),)), said) for n, (asked, said) in enumerate(SAID)]
    examples = encoding_of(tiny).examples(rows)
    given = [{"input_ids": list(each.token_ids), "completion_mask": [1] * each.length} for each in examples]
    assert abs(ours(tiny, examples, 8192)[0] - theirs(tiny, given, tmp_path)[0]) > 100 * TOLERANCE
