"""Run directories from somebody else: names that lead out, links, pipes, manifests that lie, changed bytes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from solon.cli.main import cli
from solon.config.recipe import Recipe
from solon.digest import digest_file
from solon.errors import RunError, SolonError
from solon.reporting import render
from solon.reporting.results import results
from solon.runs import RunDirectory, StageFolder
from solon.runs.journal import journal_line
from solon.runs.manifest import FileFacts, files_hash, may_be_published
from solon.runs.standalone_stage import run_standalone
from solon.training.checkpoint import Checkpoint, Checkpoints, restoring
from tests.row_types import IdRow
from tests.synthetic import Plan, build

CONSTITUTION = """\
name: c
revision: [{id: a, critique_request: b, revision_request: c}]
preference: [{id: a, instruction: b}]
"""
KEY = {"seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with one finished stage, which holds a model, and one that is begun."""
    (tmp_path / "c.yaml").write_text(CONSTITUTION)
    made = RunDirectory.create(tmp_path / "run", Recipe(), tmp_path / "c.yaml")
    out = made.begin(1, "prompts", KEY)
    (out.path / "model").mkdir()
    (out.path / "model" / "config.json").write_text("{}")
    out.publish([IdRow("a")], IdRow, files=["model"])
    made.begin(2, "responses", KEY).map("reply", [1], lambda items: [IdRow("b")], row=IdRow, chunk=1)
    return made


def other(run: RunDirectory) -> RunDirectory:
    return RunDirectory.create(run.path.parent / "new", Recipe(), run.path.parent / "c.yaml", (run.path,))


def sealed(run: RunDirectory, change: Callable[[dict[str, Any]], None]) -> Path:
    """The manifest of the first stage, changed, with the hash that its files would then have."""
    path = run.path / "01-prompts" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["hash"] = files_hash({name: FileFacts(**facts) for name, facts in manifest["files"].items()})
    path.write_text(json.dumps(manifest))
    return path


# Names that lead out --------------------------------------------------------------------------------------------------

NAMES = [
    *("../../payload.sh", "/etc/passwd", "a/../../b", "..", "", ".", "a//b", "a\\..\\b", "a\0b", "a\nb", "model/./x"),
    *("manifest.json", "begun.json", "journal.jsonl", "MANIFEST.JSON", "checkpoints/x", ".rows.parquet.partial"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_that_names_what_no_stage_publishes_is_refused(run: RunDirectory, name: str) -> None:
    payload = run.path.parent / "payload.sh"
    payload.write_text("echo")
    facts = {"bytes": payload.stat().st_size, "sha256": digest_file(payload)}
    sealed(run, lambda manifest: manifest["files"].update({name: facts}))
    new = other(run)
    before = sorted(path.relative_to(run.path.parent) for path in run.path.parent.rglob("*"))
    with pytest.raises(RunError, match=r"manifest\.json: the manifest is damaged"):
        new.adopt(1, "prompts", KEY)
    assert sorted(path.relative_to(run.path.parent) for path in run.path.parent.rglob("*")) == before
    assert not may_be_published(name) and may_be_published("model/tokenizer.json")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda m: m.update(stage="../x"), "is not a valid name of a stage"),
        (lambda m: m.update(stage="responses"), "another stage in it: 'responses'"),
        (lambda m: m["files"].pop("rows.parquet"), "does not list rows.parquet"),
        (lambda m: m.update(files=[]), "the manifest is damaged"),
        (lambda m: m.update(more=1), "the manifest is damaged"),
    ],
)
def test_a_manifest_that_was_sealed_again_is_looked_through(
    run: RunDirectory, change: Callable[[dict[str, Any]], None], cause: str
) -> None:
    path = run.path / "01-prompts" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    if isinstance(manifest["files"], dict):
        manifest["hash"] = files_hash({name: FileFacts(**facts) for name, facts in manifest["files"].items()})
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=cause):
        run.finished("prompts") or run.adopt(1, "prompts", KEY)
        other(run).adopt(1, "prompts", KEY)


def test_a_hash_that_is_not_that_of_the_files_is_refused(run: RunDirectory) -> None:
    """Rows replaced and their own hash put right, as somebody does who edits by hand."""
    folder = run.path / "01-prompts"
    manifest = json.loads((folder / "manifest.json").read_text())
    other_run = run.begin(3, "other", {}).publish([IdRow("z")], IdRow)
    shutil.copyfile(other_run.path / "rows.parquet", folder / "rows.parquet")
    rows = folder / "rows.parquet"
    manifest["files"]["rows.parquet"] = {"bytes": rows.stat().st_size, "sha256": digest_file(rows)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="its hash does not match the files that it lists"):
        run.finished("prompts")


def test_a_file_put_into_a_published_model_is_refused(run: RunDirectory) -> None:
    artefact = run.finished("prompts")
    assert artefact is not None and artefact.model
    (artefact.path / "model" / "README.md").write_text("for people")
    assert artefact.model
    (artefact.path / "model" / "chat_template.jinja").write_text("{{ 1 }}")
    with pytest.raises(RunError, match="was added to the model's folder after the model was published"):
        _ = artefact.model


def test_nesting_without_end_is_a_damaged_file(run: RunDirectory) -> None:
    deep = "[" * 100_000
    (run.path / "02-responses" / "begun.json").write_text(deep)
    with pytest.raises(RunError, match=r"begun\.json: the file is damaged"):
        run.begin(2, "responses", KEY)
    (run.path / "01-prompts" / "manifest.json").write_text(deep)
    with pytest.raises(RunError, match="the manifest is damaged"):
        run.finished("prompts")
    for about in (deep, '{"format": 1e999}', '{"format": 1, "reuses": [{}]}', '{"format": 2, "recipe": {"rl": 7}}'):
        (run.path / "run.json").write_text(about)
        with pytest.raises(RunError, match=r"run\.json"):
            RunDirectory.open(run.path)


# Links and pipes ------------------------------------------------------------------------------------------------------

PLACES = ["lock", "session.json", "answers.sqlite", "answers.sqlite-journal", "recipe.yaml", "run.json",
          "01-prompts/rows.parquet", "01-prompts/manifest.json", "01-prompts/model", "01-prompts/model/config.json",
          "02-responses/journal.jsonl", "02-responses/begun.json", "02-responses/checkpoints", "02-responses/model",
          "02-responses/.rows.parquet.partial", "02-responses/checkpoints/step_000001", "02-responses",
          "03-later", ".adopting"]  # fmt: skip


TRIED = [
    *((place, "file" if "." in place or place == "lock" else "folder") for place in PLACES),
    *((place, to) for place in ("lock", "02-responses/journal.jsonl", "03-later") for to in ("nothing", "pipe")),
]


@pytest.mark.parametrize(("place", "to"), TRIED)
def test_no_link_or_pipe_in_a_run_is_used(run: RunDirectory, place: str, to: str) -> None:
    outside = run.path.parent / "outside"
    outside.mkdir()
    (outside / "step_000001").mkdir()
    (outside / "file").write_text("precious")
    path = run.path / place
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if to == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"file": outside / "file", "folder": outside, "nothing": outside / "none"}[to])
    before = sorted(outside.rglob("*"))
    with pytest.raises(SolonError) as caught, RunDirectory.open(run.path).lock():
        pass
    message = str(caught.value)
    assert ("link" in message or "neither a file" in message or to == "nothing") and str(path) in message
    assert sorted(outside.rglob("*")) == before and (outside / "file").read_text() == "precious"


def test_a_run_reached_through_a_link_is_a_run(run: RunDirectory) -> None:
    (run.path.parent / "linked").symlink_to(run.path)
    with RunDirectory.open(run.path.parent / "linked").lock():
        assert run.finished("prompts") is not None


def test_a_link_where_a_file_is_being_written_is_replaced(run: RunDirectory) -> None:
    (run.path.parent / "precious").write_text("precious")
    out = run.begin(2, "responses", KEY)
    (out.path / ".rows.parquet.partial").symlink_to(run.path.parent / "precious")
    out.publish([IdRow("b")], IdRow)
    assert (run.path.parent / "precious").read_text() == "precious"


def test_a_folder_of_its_own_holds_no_links_either(run: RunDirectory, tmp_path: Path) -> None:
    def work(out: StageFolder) -> Any:
        return out.publish([], IdRow)

    folder = run_standalone(tmp_path / "standalone", "labels", KEY, work).path
    (folder / "checkpoints").symlink_to(run.path)
    with pytest.raises(RunError, match="checkpoints: not allowed in a run directory: this is a link"):
        run_standalone(tmp_path / "standalone", "labels", KEY, work)
    assert run.finished("prompts") is not None


# Records that prove themselves and say nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [b"[]", b"7", b"{}", b'{"seconds":"1"}', b'{"seconds":1,"phase":1,"chunk":0,"items":1,"total":1,"rows":[]}',
     b'{"seconds":1,"phase":"reply","chunk":"0","items":1,"total":1,"rows":[]}', b"[" * 9999 + b"]" * 9999],
)  # fmt: skip
def test_a_sealed_journal_line_without_a_record_is_reported(run: RunDirectory, record: bytes) -> None:
    journal = run.path / "02-responses" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + journal_line(record))
    with pytest.raises(RunError, match=r"journal\.jsonl:2: not a record of a journal"):
        run.begin(2, "responses", KEY)


@pytest.mark.parametrize("rows", [b"7", b"[7]", b'["x"]'])
def test_a_sealed_chunk_without_rows_is_reported(run: RunDirectory, rows: bytes) -> None:
    record = b'{"phase":"reply","chunk":0,"items":1,"total":1,"seconds":1,"rows":' + rows + b"}"
    (run.path / "02-responses" / "journal.jsonl").write_bytes(journal_line(record))
    with pytest.raises(RunError, match="has no rows"):
        run.begin(2, "responses", KEY).map("reply", [1], lambda items: [], row=IdRow, chunk=1)


@pytest.mark.parametrize(
    "state", [{"step": 1}, {"state": {}}, {"step": "1", "state": {}}, {"step": 1, "state": []}, []]
)
def test_a_checkpoint_sealed_again_without_a_key_is_passed_over(tmp_path: Path, state: object) -> None:
    folder = sealed_checkpoint(tmp_path)
    (folder / "state.json").write_text(json.dumps(state))
    seal(folder)
    assert Checkpoints(tmp_path).newest() is None


def test_what_training_misses_in_a_sealed_checkpoint_is_one_line(tmp_path: Path) -> None:
    sealed_checkpoint(tmp_path)
    checkpoint = Checkpoints(tmp_path).newest()
    assert checkpoint is not None
    with pytest.raises(RunError, match=r"KeyError: 'metrics'.*Delete"), restoring(tmp_path):
        _ = checkpoint.state["metrics"]


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/hostname", "weights.bin"])
def test_a_checkpoint_names_only_its_own_files(tmp_path: Path, name: str) -> None:
    folder = sealed_checkpoint(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = "0"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert Checkpoints(tmp_path).newest() is None


def sealed_checkpoint(folder: Path) -> Path:
    return Checkpoints(folder).save(Checkpoint(1, {"weights": {"w": torch.zeros(2)}}, {"seconds": 1.0}))


def seal(folder: Path) -> None:
    names = [entry.name for entry in folder.iterdir() if entry.name != "manifest.json"]
    files = {name: digest_file(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


# One damaged stage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["table", "manifest", "missing"])
def test_one_damaged_stage_hides_no_other(tmp_path: Path, how: str) -> None:
    run = build(tmp_path / "run", Plan(red=4, held_out=4))
    rows = run.path / "03-critique-revision" / "rows.parquet"
    if how == "table":
        content = bytearray(rows.read_bytes())
        content[len(content) // 2] ^= 1
        rows.write_bytes(content)
    elif how == "manifest":
        (rows.parent / "manifest.json").write_text("{")
    else:
        rows.unlink()
    assert list(run.damaged()) == ["critique-revision"]
    result = CliRunner().invoke(cli, ["status", str(run.path)])
    assert result.exit_code == 0 and ["3", "critique-revision", "damaged"] in map(str.split, result.output.splitlines())
    assert "1 prompts" in result.output and "9 measure" in result.output
    shown = CliRunner().invoke(cli, ["results", str(run.path)])
    assert shown.exit_code == 0 and "Stage 'critique-revision' is damaged" in shown.output and "rl-cai" in shown.output
    assert results(run)["remarks"]
    assert "is damaged and left out" in render(run)
    with pytest.raises(RunError):
        artefact = run.finished("critique-revision")
        assert artefact is not None
        artefact.rows(IdRow)
