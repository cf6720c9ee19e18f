"""Pairs as one row: the scores, losses and gradients of two rows, for fewer operations."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from solon.config.recipe import Activations, EngineSettings, LoraSettings, Matmul, Precision
from solon.errors import ModelError
from solon.training import models
from solon.training.batches import PairExample
from solon.training.forward import ScalarModel
from solon.training.gradient_checkpointing import checkpoint_activations
from solon.training.learner import EPSILON, Learner
from solon.training.loop import accumulate, mean_loss
from solon.training.objectives import PreferenceObjective, SharedPrefixObjective
from solon.training.shared_prefix import as_one_row, pair_scores, refuse_other_scores
from tests.training.tiny import save_tiny_model


def pair(number: int, prompt: int, chosen: int, rejected: int) -> PairExample:
    tokens = [(7 * number + 3 * t) % 200 + 5 for t in range(prompt + chosen + rejected)]
    begun, end = tuple(tokens[:prompt]), (0,)
    first, second = (201, *tokens[prompt : prompt + chosen]), (202, *tokens[prompt + chosen :])
    return PairExample(f"pair{number}", begun + first + end, begun + second + end, 0.9 - number % 3 * 0.2, 1.5, "ai")


PAIRS = [
    *(pair(n, 3 + 5 * (n % 4), 1 + n % 5, 1 + n % 3) for n in range(9)),
    PairExample("one token", (0,), (0,), 0.5, 1.0, "ai"),
    PairExample("nothing alike", (5, 6, 0), (7, 0), 0.7, 1.0, "ai"),
    PairExample("the same", (5, 6, 8, 0), (5, 6, 8, 0), 0.5, 1.0, "ai"),
    PairExample("one begins the other", (5, 6, 8, 9, 0), (5, 6, 0), 0.5, 1.0, "ai"),
]


def grown(
    folder: Path,
    adapter: LoraSettings | None = None,
    precision: Precision = Precision.FLOAT32,
    matmul: Matmul = Matmul.HIGHEST,
) -> tuple[Learner, ScalarModel]:
    engine = EngineSettings(matmul=matmul)
    stored = models.storage_precision(precision, adapter)
    model = models.grow_preference_model(folder, models.load_tokenizer(folder), engine, seed=1, stored=stored)
    adapted = models.with_adapter(model, adapter, 1)
    learner = Learner(models.trainable_parameters(adapted), clip=1.0, epsilon=EPSILON)
    return learner, ScalarModel(adapted, precision=precision)


def gradient(learner: Learner) -> torch.Tensor:
    found = torch.cat([each.grad.flatten() for each in learner.parameters.values() if each.grad is not None])
    learner.discard()
    return found


def test_the_prefix_is_what_is_alike_and_each_reply_keeps_a_token() -> None:
    rows = {row.row_id: row for row in map(as_one_row, PAIRS)}
    assert rows["pair1"].prefix == 8 and rows["pair1"].length == 8 + 4 + 4
    assert (rows["one token"].prefix, rows["one token"].length) == (0, 2)
    assert (rows["the same"].prefix, rows["the same"].length) == (3, 5)
    assert (rows["one begins the other"].prefix, rows["nothing alike"].prefix) == (2, 0)
    assert as_one_row(rows["pair1"]) is rows["pair1"]


@pytest.mark.parametrize("matmul", [Matmul.HIGHEST, Matmul.MEDIUM])
@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)], ids=["all", "lora"])
def test_scores_losses_and_gradients_are_those_of_two_rows(
    tiny: Path, adapter: LoraSettings | None, matmul: Matmul
) -> None:
    learner, model = grown(tiny, adapter, matmul=matmul)
    with torch.no_grad():
        expected_B, other_B = PreferenceObjective(model).scores(PAIRS)
        found_B, found_other_B = pair_scores(model, [as_one_row(each) for each in PAIRS])
    torch.testing.assert_close(found_B, expected_B, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found_other_B, other_B, rtol=1e-5, atol=1e-5)
    wanted, size = accumulate(learner, PreferenceObjective(model), PAIRS, 64, "here")
    gradient_apart = gradient(learner)
    for micro_tokens in (10**9, 40, 1):
        rows = [as_one_row(each) for each in PAIRS]
        totals, same_size = accumulate(learner, SharedPrefixObjective(model), rows, micro_tokens, "here")
        assert (totals.loss, same_size) == (pytest.approx(wanted.loss, rel=1e-5), size)
        assert totals.counts["decided"] == wanted.counts["decided"] and totals.counts["tokens"] > 0
        torch.testing.assert_close(gradient(learner), gradient_apart, rtol=1e-3, atol=2e-6)
        plain = mean_loss(PreferenceObjective(model), PAIRS, micro_tokens)
        assert mean_loss(SharedPrefixObjective(model), rows, micro_tokens) == pytest.approx(plain, rel=1e-5)


def test_recomputed_activations_and_bfloat16_give_the_same_up_to_rounding(tiny: Path) -> None:
    learner, model = grown(tiny, precision=Precision.BFLOAT16)
    accumulate(learner, PreferenceObjective(model), PAIRS, 10**9, "here")
    apart = gradient(learner)
    rows = [as_one_row(each) for each in PAIRS]
    accumulate(learner, SharedPrefixObjective(model), rows, 10**9, "here")
    kept = gradient(learner)
    assert torch.cosine_similarity(kept, apart, dim=0) > 0.99
    checkpoint_activations(model.model, Activations.RECOMPUTED)
    accumulate(learner, SharedPrefixObjective(model), rows, 10**9, "here")
    torch.testing.assert_close(gradient(learner), kept)


def test_the_prompts_second_reading_is_saved(tmp_path: Path) -> None:
    """Of products, the prompts' share; attention is counted too, so a little less than that of all operations."""
    folder = save_tiny_model(tmp_path / "deep", layers=4)
    _, model = grown(folder)
    pairs = [pair(n, 60, 18, 18) for n in range(4)]
    found = {}
    for name, objective, rows in (
        ("apart", PreferenceObjective(model), pairs),
        ("together", SharedPrefixObjective(model), [as_one_row(each) for each in pairs]),
    ):
        with FlopCounterMode(display=False) as counter:
            loss, _ = objective.loss(rows)
            loss.backward()  # type: ignore[no-untyped-call]
        counts = {str(name): each for name, each in counter.get_flop_counts()["Global"].items()}
        found[name] = sum(each for name, each in counts.items() if "attention" not in name), sum(counts.values())
    assert found["together"][0] / found["apart"][0] == pytest.approx(1 - 60 / 160, rel=0.01)
    assert found["together"][1] / found["apart"][1] < 0.75


def test_a_model_that_cannot_read_such_rows_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = grown(tiny)
    rows = [as_one_row(each) for each in PAIRS]
    refuse_other_scores(model, rows)
    config = model.model.config  # type: ignore[union-attr]
    for reach in ("sliding_window", "window_size"):
        monkeypatch.setattr(config, reach, 12, raising=False)
        with pytest.raises(
            ModelError, match=r"^preference\.pairs: a pair of \d+ tokens is longer than the 12 .*separate$"
        ):
            refuse_other_scores(model, rows)
        refuse_other_scores(model, [each for each in rows if each.length <= 12])
        monkeypatch.setattr(config, reach, None)
    plain = model.backbone.forward

    def causal(*, input_ids: Any, use_cache: bool, **more: Any) -> Any:
        """As a model that knows no such mask."""
        return plain(input_ids=input_ids, use_cache=use_cache)

    def recurrent(*, input_ids: Any, use_cache: bool) -> Any:
        return SimpleNamespace(last_hidden_state=plain(input_ids=input_ids).last_hidden_state)

    for forward in (causal, recurrent):
        monkeypatch.setattr(model.backbone, "forward", forward)
        with pytest.raises(ModelError, match="cannot read a pair as one row"):
            refuse_other_scores(model, rows)
