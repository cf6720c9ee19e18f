"""Forward passes: padding, batch and future change nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from solon.config.recipe import EngineSettings, LoraSettings, Matmul
from solon.training import models
from solon.training.batches import pad_right, span_mask
from solon.training.forward import ScalarModel, TokenModel
from solon.training.losses import token_logprobs
from solon.training.value_head import ValueHead

ROWS = ([5, 9, 17, 33, 40, 2], [8, 9, 3], [100, 7, 61, 12])
STARTS = (2, 1, 3)


@pytest.fixture(scope="module", params=list(Matmul))
def settings(request: pytest.FixtureRequest) -> EngineSettings:
    """Both kinds of attention; the arithmetic itself stays exact, so that rounding hides nothing."""
    return EngineSettings(matmul=request.param)


@pytest.fixture
def scalar(tiny: Path, settings: EngineSettings) -> ScalarModel:
    return ScalarModel(models.grow_preference_model(tiny, models.load_tokenizer(tiny), settings, seed=3))


def test_log_probabilities_are_those_of_the_model_itself(tiny: Path, settings: EngineSettings) -> None:
    model = models.load_causal_lm(tiny, settings)
    ids_BT = pad_right(ROWS, 1)
    mask_BT = span_mask(STARTS, [len(row) for row in ROWS], 6)
    with torch.no_grad():
        found_N = token_logprobs(TokenModel(model).logits(ids_BT, mask_BT), ids_BT[mask_BT])
        expected = []
        for row, start in zip(ROWS, STARTS, strict=True):
            logprobs_TV = model(torch.tensor([row])).logits[0].log_softmax(-1)
            expected += [float(logprobs_TV[t - 1, row[t]]) for t in range(start, len(row))]
    assert found_N.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_model_that_alters_its_logits_is_read_through_its_own_forward(tiny: Path) -> None:
    model = models.load_causal_lm(tiny, EngineSettings())
    plain = model.forward

    def capped(*args: object, **kwargs: object) -> object:
        output = plain(*args, **kwargs)
        output.logits = torch.tanh(output.logits / 0.1) * 0.1
        return output

    model.forward = capped  # type: ignore[method-assign]
    ids_BT = torch.tensor([ROWS[0]])
    mask_BT = span_mask([1], [6], 6)
    with torch.no_grad():
        reads = TokenModel(model, value_head=headed(model))
        expected_NV = model(ids_BT).logits[0, :-1]
        assert torch.equal(reads.logits(ids_BT, mask_BT), expected_NV)
        pieces, value_N = reads.logits_and_values(ids_BT, mask_BT, 2)
        assert torch.equal(torch.cat(list(pieces)), expected_NV)
        assert torch.equal(value_N, reads.values(ids_BT, mask_BT)) and value_N.std() > 0.1


def headed(model: Any) -> ValueHead:
    """A value head that is not zero."""
    head = ValueHead(model, 0.1)
    with torch.no_grad():
        head.weight.copy_(torch.linspace(-1, 1, head.weight.numel()).view_as(head.weight))
    return head


@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)])
def test_logits_and_values_come_from_one_pass(tiny: Path, settings: EngineSettings, adapter: object) -> None:
    model = models.with_adapter(models.load_causal_lm(tiny, settings), adapter, 1)  # type: ignore[arg-type]
    reads = TokenModel(model, value_head=headed(model))
    ids_BT = pad_right(ROWS, 1)
    mask_BT = span_mask(STARTS, [len(row) for row in ROWS], 6)
    passes: list[object] = []
    hook = reads.backbone.register_forward_hook(lambda *given: passes.append(given))
    pieces, value_N = reads.logits_and_values(ids_BT, mask_BT, int(mask_BT.sum()))
    logits_NV = torch.cat(list(pieces))
    hook.remove()
    assert len(passes) == 1
    assert torch.equal(logits_NV, reads.logits(ids_BT, mask_BT))
    assert torch.equal(value_N, reads.values(ids_BT, mask_BT)) and value_N.std() > 0.1
    value_N.sum().backward()
    assert any(each.grad is not None and each.grad.any() for each in models.trainable_parameters(model).values())


def test_scores_depend_on_nothing_but_the_row(scalar: ScalarModel) -> None:
    lengths_B = torch.tensor([len(row) for row in ROWS])
    with torch.no_grad():
        together_B = scalar.scores(pad_right(ROWS, 1), lengths_B)
        otherwise_B = scalar.scores(pad_right(ROWS, 77), lengths_B)
        alone_B = torch.cat([scalar.scores(torch.tensor([row]), torch.tensor([len(row)])) for row in ROWS])
    torch.testing.assert_close(together_B, alone_B, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together_B, otherwise_B, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_are_what_any_program_reads_from_the_classifier(scalar: ScalarModel, side: str) -> None:
    # pad (1) is not the end token (0), so the classifier finds the end token wherever the padding stands
    rows = [[*row, 0] for row in ROWS]
    longest = max(map(len, rows))
    filled = [[1] * (longest - len(row)) + row if side == "left" else row + [1] * (longest - len(row)) for row in rows]
    ids_BT = torch.tensor(filled)
    with torch.no_grad():
        theirs_B = scalar.model(input_ids=ids_BT, attention_mask=(ids_BT != 1).long()).logits.squeeze(-1)
        ours_B = scalar.scores(pad_right(rows, 1), torch.tensor([len(row) for row in rows]))
    torch.testing.assert_close(ours_B, theirs_B, rtol=1e-4, atol=1e-5)


def test_values_are_blind_to_the_future(scalar: ScalarModel) -> None:
    row = list(ROWS[0])
    mask_BT = span_mask([1], [6], 6)
    with torch.no_grad():
        values_N = scalar.values(torch.tensor([row]), mask_BT)
        for changed in range(1, 6):
            other = [*row[:changed], 55, *[66] * (5 - changed)]
            others_N = scalar.values(torch.tensor([other]), mask_BT)
            # the value before token t reads tokens < t
            torch.testing.assert_close(values_N[:changed], others_N[:changed], rtol=1e-6, atol=1e-6)
            assert not torch.allclose(values_N[changed:], others_N[changed:]) or changed == 5


def test_the_value_before_a_token_is_the_score_of_what_stands_before_it(scalar: ScalarModel) -> None:
    row = list(ROWS[0])
    with torch.no_grad():
        values_N = scalar.values(torch.tensor([row]), span_mask([1], [6], 6))
        scores = [float(scalar.scores(torch.tensor([row[:t]]), torch.tensor([t]))) for t in range(1, 6)]
    assert values_N.tolist() == pytest.approx(scores, abs=1e-5)
