"""A finished run is told as it is only while nothing that it rests on has changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.synthetic import CONSTITUTION, Plan, build
from tests.training.tiny import save_tiny_model

from solon.config.loading import load_recipe
from solon.pipeline.settled import SETTLED, is_settled, settle
from solon.runs import RunDirectory


def test_a_run_is_settled_from_when_it_was_found_finished(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2))
    assert not is_settled(run)
    settle(run)
    assert is_settled(RunDirectory.open(run.path))


def test_an_unfinished_run_never_is(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2, stages=8))
    settle(run)
    assert not (run.path / SETTLED).exists() and not is_settled(run)


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run / "recipe.yaml").write_text((run / "recipe.yaml").read_text().replace("seed: 0", "seed: 1")),
        lambda run: (run / "constitution.yaml").write_text(CONSTITUTION.replace("Rewrite", "Write")),
        lambda run: touched(run / "01-prompts" / "rows.parquet"),
        lambda run: (run / "09-measure" / "manifest.json").unlink(),
        lambda run: (run / SETTLED).write_text("{"),
        lambda run: (run / SETTLED).write_text('{"fingerprint": null}'),
        lambda run: (run / SETTLED).unlink(),
        lambda run: shutil.rmtree(run / "08-rl-cai"),
    ],
)
def test_what_changed_in_the_run_unsettles_it(change: Callable[[Path], object], tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2))
    settle(run)
    before = (run.path / "recipe.yaml").stat()
    change(run.path)
    # An editor may keep size and time; recipe and constitution are compared whole.
    os.utime(run.path / "recipe.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_settled(RunDirectory.open(run.path))


def test_a_model_that_changed_unsettles_the_run_that_read_it(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    built = build(tmp_path / "run", Plan(red=2, held_out=2))
    recipe = load_recipe("testbed", (), [f"models.feedback={model}"])
    run = RunDirectory(built.path, recipe, built.constitution)
    settle(run)
    assert is_settled(run)
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert not is_settled(run)
    settle(run)
    shutil.rmtree(model)
    assert not is_settled(run)


def test_a_dataset_of_a_hub_is_looked_at_each_time(tmp_path: Path) -> None:
    built = build(tmp_path / "run", Plan(red=2, held_out=2))
    run = RunDirectory(
        built.path, load_recipe("testbed", (), ["prompts.red_team=hf:somebody/prompts"]), built.constitution
    )
    settle(run)
    assert not is_settled(run)
