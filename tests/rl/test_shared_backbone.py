"""One backbone for four networks: each gives the numbers that it gives by itself, and only two of them learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tests.training.tiny import save_tiny_model, texts_of
from transformers import PreTrainedModel

from solon.config.recipe import EngineSettings, LoraSettings
from solon.errors import ModelError
from solon.rl.shared_backbone import POLICY, PREFERENCE, REFERENCE, VALUE, SharedBackbone
from solon.training import models
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import EPSILON_RL, Learner

ENGINE = EngineSettings()
IDS_BT = torch.tensor([[5, 6, 7, 8, 9, 0]])
MASK_BT = torch.tensor([[False, False, True, True, True, True]])
LENGTHS_B = torch.tensor([6])


@dataclass(frozen=True)
class Folders:
    base: Path
    sl_cai: Path
    preference: Path


def trained(model: PreTrainedModel, rank: int, seed: int) -> models.Trainable:
    """As after training: an adapter, and a head where there is one, that are not what they began as."""
    adapted = models.with_adapter(model, LoraSettings(rank=rank), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in models.trainable_parameters(adapted).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adapted


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    folder = tmp_path_factory.mktemp("shared")
    base = save_tiny_model(folder / "base")
    tokenizer = models.load_tokenizer(base)
    models.save_model(trained(models.load_causal_lm(base, ENGINE), 4, 1), texts_of(tokenizer), folder / "sl-cai")
    grown = models.grow_preference_model(base, tokenizer, ENGINE, seed=2)
    models.save_model(trained(grown, 8, 3), texts_of(tokenizer), folder / "preference")
    return Folders(base, folder / "sl-cai", folder / "preference")


def shared_in(folders: Folders) -> SharedBackbone:
    return SharedBackbone(folders.base, folders.sl_cai, folders.preference, ENGINE)


def test_each_network_is_what_it_is_by_itself(folders: Folders) -> None:
    shared = shared_in(folders)
    sl_cai = TokenModel(models.load_causal_lm(folders.sl_cai, ENGINE))
    preference = ScalarModel(models.load_preference_model(folders.preference, ENGINE))
    with torch.no_grad():
        logits_NV, values_N = sl_cai.logits(IDS_BT, MASK_BT), preference.values(IDS_BT, MASK_BT)
        score_B = preference.scores(IDS_BT, LENGTHS_B)
        torch.testing.assert_close(shared.policy.logits(IDS_BT, MASK_BT), logits_NV, rtol=1e-5, atol=1e-5)
        with shared.using(REFERENCE):
            torch.testing.assert_close(shared.policy.logits(IDS_BT, MASK_BT), logits_NV, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(shared.value.values(IDS_BT, MASK_BT), values_N, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(shared.preference.scores(IDS_BT, LENGTHS_B), score_B, rtol=1e-5, atol=1e-5)
        base_NV = TokenModel(models.load_causal_lm(folders.base, ENGINE)).logits(IDS_BT, MASK_BT)
        assert not torch.allclose(base_NV, logits_NV, atol=1e-2), "or nothing would have been shown"


def test_only_policy_and_value_function_learn(folders: Folders) -> None:
    shared = shared_in(folders)
    before = {name: each.detach().clone() for name, each in shared.model.named_parameters()}
    heads = {name: shared.parameters(name)["score.weight"].detach().clone() for name in (VALUE, PREFERENCE)}
    value, policy = (Learner(shared.parameters(name), clip=1.0, epsilon=EPSILON_RL) for name in (VALUE, POLICY))
    # the value's pass comes first and its gradient last, as if something else had been at work in between
    loss = shared.value.values(IDS_BT, MASK_BT).sum()
    with torch.no_grad():
        shared.preference.scores(IDS_BT, LENGTHS_B)
    value.backward(loss)
    policy.backward(shared.policy.logits(IDS_BT, MASK_BT).square().sum())
    assert value.step(1e-2, "here", []) > 0 and policy.step(1e-2, "here", []) > 0
    moved = {name for name, each in shared.model.named_parameters() if not torch.equal(each, before[name])}
    assert moved and all(f".{POLICY}." in name or f".{VALUE}." in name for name in moved)
    assert moved == {name for name in before if f".{POLICY}." in name or f".{VALUE}." in name}
    assert not torch.equal(shared.parameters(VALUE)["score.weight"], heads[VALUE])
    assert torch.equal(shared.parameters(PREFERENCE)["score.weight"], heads[PREFERENCE])


def test_the_policy_is_saved_as_an_ordinary_model(folders: Folders, tmp_path: Path) -> None:
    shared = shared_in(folders)
    with torch.no_grad():
        for parameter in shared.parameters(POLICY).values():
            parameter.add_(0.05)
        expected_NV = shared.policy.logits(IDS_BT, MASK_BT)
    models.save_model(shared.model, texts_of(models.load_tokenizer(folders.base)), tmp_path / "model")
    assert (tmp_path / "model" / "adapter" / "adapter_model.safetensors").is_file()
    with torch.no_grad():
        found_NV = TokenModel(models.load_causal_lm(tmp_path / "model", ENGINE)).logits(IDS_BT, MASK_BT)
    torch.testing.assert_close(found_NV, expected_NV, rtol=1e-4, atol=1e-5)


def test_a_model_that_is_no_adapter_of_the_backbone_is_refused(folders: Folders, tmp_path: Path) -> None:
    whole = models.load_causal_lm(folders.base, ENGINE)
    models.save_model(whole, texts_of(models.load_tokenizer(folders.base)), tmp_path / "whole")
    with pytest.raises(ModelError, match=r"not trained as an adapter.*rl\.networks=separate"):
        SharedBackbone(folders.base, tmp_path / "whole", folders.preference, ENGINE)
    deeper = save_tiny_model(tmp_path / "deeper", layers=3)
    with pytest.raises(ModelError, match="does not fit the backbone"):
        SharedBackbone(deeper, folders.sl_cai, folders.preference, ENGINE)
