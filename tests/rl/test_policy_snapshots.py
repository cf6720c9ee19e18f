"""Snapshots of a policy: the same bytes as saving it would give, and a policy that goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.tiny import same_files, save_tiny_model, texts_of

from solon.config.recipe import EngineSettings, LoraSettings
from solon.rl.policy_snapshots import PolicySnapshots, snapshot_path, steps_in
from solon.rl.shared_backbone import SharedBackbone
from solon.training import models

ENGINE = EngineSettings()


def moved(model: models.Trainable) -> models.Trainable:
    """As after some steps of training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in models.trainable_parameters(model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("snapshots") / "tiny")


def policy(tiny: Path, kind: str, folder: Path) -> models.Trainable:
    """A policy that has learned: all of it, an adapter of its own, or an adapter on a shared backbone."""
    if kind != "shared":
        adapter = LoraSettings(rank=4) if kind == "adapter" else None
        return moved(models.with_adapter(models.load_causal_lm(tiny, ENGINE), adapter, 1))
    tokenizer = models.load_tokenizer(tiny)
    sl_cai = moved(models.with_adapter(models.load_causal_lm(tiny, ENGINE), LoraSettings(rank=4), 1))
    models.save_model(sl_cai, texts_of(tokenizer), folder / "sl-cai")
    grown = models.grow_preference_model(tiny, tokenizer, ENGINE, seed=2)
    models.save_model(
        moved(models.with_adapter(grown, LoraSettings(rank=4), 3)), texts_of(tokenizer), folder / "preference"
    )
    return moved(SharedBackbone(tiny, folder / "sl-cai", folder / "preference", ENGINE).model)


@pytest.mark.parametrize("kind", ["whole", "adapter", "shared"])
def test_a_snapshot_is_what_saving_the_policy_would_write(tiny: Path, tmp_path: Path, kind: str) -> None:
    acting, tokenizer = policy(tiny, kind, tmp_path), models.load_tokenizer(tiny)
    before = {name: weight.clone() for name, weight in acting.state_dict().items()}
    PolicySnapshots(tmp_path / "snapshots", acting, texts_of(tokenizer)).keep(10)
    after = acting.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    models.save_model(acting, texts_of(tokenizer), tmp_path / "model")  # which merges, so it comes last
    assert same_files(snapshot_path(tmp_path / "snapshots", 10), tmp_path / "model")
    assert (tmp_path / "model" / "adapter").is_dir() is (kind != "whole")


def test_a_step_that_is_done_again_is_kept_again_whole(tiny: Path, tmp_path: Path) -> None:
    acting, tokenizer = policy(tiny, "whole", tmp_path), models.load_tokenizer(tiny)
    half_written = tmp_path / "snapshots" / "step-00002.partial"
    half_written.mkdir(parents=True)
    (half_written / "model.safetensors").write_bytes(b"half")
    stale = snapshot_path(tmp_path / "snapshots", 2)
    stale.mkdir()
    (stale / "of-another-session").touch()
    keeper = PolicySnapshots(tmp_path / "snapshots", acting, texts_of(tokenizer))
    for step in (2, 12):
        keeper.keep(step)
    assert steps_in(tmp_path / "snapshots") == [2, 12]
    assert not half_written.exists() and not (stale / "of-another-session").exists()
    assert same_files(stale, snapshot_path(tmp_path / "snapshots", 12))


def test_without_a_folder_there_are_no_snapshots(tmp_path: Path) -> None:
    assert steps_in(tmp_path / "none") == []


def test_a_run_that_resumes_forgets_the_snapshots_of_later_steps(tiny: Path, tmp_path: Path) -> None:
    acting, tokenizer = policy(tiny, "whole", tmp_path), models.load_tokenizer(tiny)
    snapshots = PolicySnapshots(tmp_path / "snapshots", acting, texts_of(tokenizer))
    snapshots.begin(0)
    for step in (10, 20, 30):
        snapshots.keep(step)
    (tmp_path / "snapshots" / "step-00040.partial").mkdir()
    snapshots.begin(20)
    assert steps_in(tmp_path / "snapshots") == [10, 20]
    assert sorted(each.name for each in (tmp_path / "snapshots").iterdir()) == ["step-00010", "step-00020"]
