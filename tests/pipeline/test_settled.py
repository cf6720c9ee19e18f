"""A finished run is told as it is only while nothing that it rests on has changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.plugin_package import install
from tests.synthetic import CONSTITUTION, PLAIN_QUESTIONS, Plan, build
from tests.training.tiny import save_tiny_model

from solon.config.builtin import constitution_path, model_path
from solon.config.loading import load_recipe
from solon.config.model_spec import ModelSpec
from solon.digest import Stamp, digest_source, stamp_of
from solon.pipeline.session import Session
from solon.pipeline.settled import SETTLED, is_settled, settle
from solon.runs import RunDirectory
from solon.runs.progress import Silent
from solon.stages.plan import built_in
from solon.stages.reply_judging import read_by_judge


def test_a_run_is_settled_from_when_it_was_found_finished(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2))
    assert not is_settled(run)
    settle(run, {})
    assert is_settled(RunDirectory.open(run.path))


def test_an_unfinished_run_never_is(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2, stages=8))
    settle(run, {})
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
        lambda run: (run / SETTLED).write_text('{"fingerprint": null, "read": [1]}'),
        lambda run: (run / SETTLED).unlink(),
        lambda run: shutil.rmtree(run / "08-rl-cai"),
    ],
)
def test_what_changed_in_the_run_unsettles_it(change: Callable[[Path], object], tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2))
    settle(run, {})
    before = (run.path / "recipe.yaml").stat()
    change(run.path)
    # An editor may keep size and time; recipe and constitution are compared whole.
    os.utime(run.path / "recipe.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_settled(RunDirectory.open(run.path))


def test_a_file_or_model_that_was_read_unsettles_the_run_when_it_changes(tmp_path: Path) -> None:
    model, questions = save_tiny_model(tmp_path / "model"), tmp_path / "questions.yaml"
    questions.write_text("asked: 1")
    run = build(tmp_path / "run", Plan(red=2, held_out=2))

    def read() -> dict[Path, Stamp]:
        return {path: stamp_of(path) for path in (model, questions)}

    settle(run, read())
    assert is_settled(run)
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert not is_settled(run)
    settle(run, read())
    questions.write_text("asked: 22")
    assert not is_settled(run)
    settle(run, read())
    assert is_settled(run)
    shutil.rmtree(model)
    assert not is_settled(run)


def test_a_file_that_changed_after_it_was_read_unsettles_the_run(tmp_path: Path) -> None:
    questions = tmp_path / "questions.yaml"
    questions.write_text("asked: 1")
    before = {questions: stamp_of(questions)}
    questions.write_text("asked: 22")
    run = build(tmp_path / "run", Plan(red=2, held_out=2))
    settle(run, before)
    assert not is_settled(run)


def test_a_name_that_means_another_file_unsettles_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "prompts.jsonl").write_text(place[-4:])
        touched(tmp_path / place / "prompts.jsonl")
    run = build(tmp_path / "run", Plan(red=2, held_out=2))
    monkeypatch.chdir(tmp_path / "here")
    settle(run, {Path("prompts.jsonl"): stamp_of(Path("prompts.jsonl"))})
    assert is_settled(run)
    monkeypatch.chdir(tmp_path / "there")
    assert not is_settled(run)


@pytest.mark.parametrize("group", ["solon.graders", "solon.measures"])
def test_a_package_that_rates_replies_unsettles_the_run_when_it_comes_or_changes(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2))
    settle(run, {})
    install(monkeypatch, tmp_path / "site", "rating", "class Rating: pass\n", {group: {"kind": "rating:Rating"}})
    assert not is_settled(run)
    settle(run, {})
    assert is_settled(run)
    (tmp_path / "site" / "rating.py").write_text("class Rating: better = True\n")
    assert not is_settled(run)


def test_a_check_of_all_stages_names_what_the_keys_rest_on(tmp_path: Path) -> None:
    questions, more = tmp_path / "questions.yaml", tmp_path / "prompts.jsonl"
    shutil.copy(PLAIN_QUESTIONS, questions)
    more.write_text('{"prompt": "How do I bake bread?"}\n')
    settings = ["measure.grader=judge", "measure.judge=testbed:assistant", f"measure.questions={questions}"]
    recipe = load_recipe("testbed", (), [*settings, f"prompts.helpful={more}"])
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    session = Session(run, Silent())
    built_in("prompts").reads(session)
    for path in read_by_judge(session).values():
        session.hash(path)
    read = session.files_read()
    assert read is not None
    assert {questions, more, model_path("testbed:assistant")} <= read.keys()
    assert read[questions] == stamp_of(questions)


@pytest.mark.parametrize("source", ["dataset", "server"])
def test_what_is_no_file_is_looked_at_each_time(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(tmp_path / "run", load_recipe("testbed"), constitution_path("testbed"))
    session = Session(run, Silent())
    assert session.files_read() == {}
    if source == "server":
        session.hash(ModelSpec.parse("openai:judge@http://127.0.0.1:9/v1"))
    else:
        monkeypatch.setattr("solon.pipeline.session.dataset_hash", lambda name, columns: "0815")
        session.source_hash("hf:somebody/prompts")
    assert session.files_read() is None


def test_the_base_of_an_adapter_is_a_part_of_its_stamp(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "weights").write_text("one")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    before = stamp_of(adapter), digest_source(adapter)
    (base / "weights").write_text("other")
    assert stamp_of(adapter) != before[0] and digest_source(adapter) != before[1]
