import json
import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.row_types import ExampleRow, IdRow, ScoreRow
from tests.runs.example_runs import CONSTITUTION, example_rows, finish

from solon.config.loading import load_recipe
from solon.config.recipe import Recipe
from solon.errors import ConstitutionError, OtherSettingsError, RunError, StageError
from solon.runs import Interrupted, Progress, RunDirectory, StageFolder, directory
from solon.runs.files import write_atomically
from solon.runs.lock import holding
from solon.runs.records import schema_of

# The folder -----------------------------------------------------------------------------------------------------------


def test_a_run_is_opened_as_it_was_created(run: RunDirectory) -> None:
    opened = RunDirectory.open(run.path)
    assert opened == run
    assert opened.recipe.seed == 4
    assert (run.path / "constitution.yaml").read_text() == CONSTITUTION
    assert load_recipe(run.path / "recipe.yaml") == run.recipe


def test_creating_the_same_run_again_opens_it(run: RunDirectory, constitution: Path) -> None:
    finish(run)
    again = RunDirectory.create(run.path, Recipe(seed=4), constitution)
    assert [artefact.name for artefact in again.artefacts()] == ["prompts"]


def test_creating_it_with_other_settings_is_refused_by_name_and_value(run: RunDirectory, constitution: Path) -> None:
    with pytest.raises(RunError, match=r"run: made with other settings \(seed: 4 -> 5\)\. Put the old values back"):
        RunDirectory.create(run.path, Recipe(seed=5), constitution)
    constitution.write_text(CONSTITUTION.replace("instruction: b", "instruction: d"))
    with pytest.raises(RunError, match="the constitution's text: "):
        RunDirectory.create(run.path, Recipe(seed=4), constitution)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, constitution: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="the folder is not empty and is not a run directory"):
        RunDirectory.create(tmp_path / "run", Recipe(), constitution)
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_second_start_cannot_write_into_a_run_that_is_being_made(
    tmp_path: Path, constitution: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def write(path: Path, text: str) -> None:
        if not told:
            told.append("")
            with pytest.raises(RunError, match="works on this run") as refused:
                RunDirectory.create(tmp_path / "run", Recipe(seed=9), constitution)
            told.append(str(refused.value))
        write_atomically(path, text)

    monkeypatch.setattr(directory, "write_atomically", write)
    run = RunDirectory.create(tmp_path / "run", Recipe(seed=4), constitution)
    assert len(told) == 2 and RunDirectory.open(run.path).recipe.seed == 4


def test_a_start_that_comes_second_finds_the_run_of_the_first(
    tmp_path: Path, constitution: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_the_other(path: Path) -> AbstractContextManager[None]:
        monkeypatch.undo()
        RunDirectory.create(path, Recipe(seed=9), constitution)
        return holding(path)

    monkeypatch.setattr(directory, "holding", after_the_other)
    with pytest.raises(OtherSettingsError, match="seed: 9 -> 4"):
        RunDirectory.create(tmp_path / "run", Recipe(seed=4), constitution)
    assert RunDirectory.open(tmp_path / "run").recipe.seed == 9


def test_a_start_that_was_killed_half_way_begins_again(tmp_path: Path, constitution: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("recipe.yaml", "lock", ".constitution.yaml.4194303.partial", ".run.json.partial"):
        (tmp_path / "run" / name).write_text("half")
    run = RunDirectory.create(tmp_path / "run", Recipe(seed=4), constitution)
    with run.lock():
        pass
    names = {each.name for each in run.path.iterdir()}
    assert names == {"recipe.yaml", "constitution.yaml", "run.json", "lock", "session.json"}


def test_a_bad_constitution_leaves_no_folder(tmp_path: Path, constitution: Path) -> None:
    constitution.write_text("name: x")
    with pytest.raises(ConstitutionError):
        RunDirectory.create(tmp_path / "run", Recipe(), constitution)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "not a run directory: run.json is missing. Start one with: solon run"),
        ("{", "run.json: the file is damaged"),
        ('{"format": 99, "solon": "9.9"}', "the run was made by solon 9.9"),
    ],
)
def test_a_folder_that_is_no_readable_run(tmp_path: Path, content: str | None, cause: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError) as caught:
        RunDirectory.open(tmp_path)
    assert cause in str(caught.value)
    with pytest.raises(RunError, match="no such run"):
        RunDirectory.open(tmp_path / "none")


def test_locking_tidies_what_a_kill_left(run: RunDirectory) -> None:
    artefact = finish(run)
    (artefact.path / "journal.jsonl").write_text("left")
    (artefact.path / ".rows.parquet.partial").write_text("left")
    (artefact.path / "checkpoints").mkdir()
    (artefact.path / "checkpoints" / "x").write_text("left")
    with run.lock():
        names = sorted(entry.name for entry in artefact.path.iterdir())
    assert names == ["begun.json", "manifest.json", "rows.parquet"]


# Artefacts ------------------------------------------------------------------------------------------------------------


def test_rows_come_back_exactly(run: RunDirectory) -> None:
    out = run.begin(1, "prompts", {"seed": 1})
    artefact = out.publish(example_rows(), ExampleRow, facts={"n": 5, "nested": {"a": [1, None]}})
    found = run.finished("prompts")
    assert found is not None
    assert found.rows(ExampleRow) == artefact.rows(ExampleRow) == example_rows()
    assert found.table().schema == schema_of(ExampleRow)
    assert found.facts == {"n": 5, "nested": {"a": [1, None]}}
    assert (found.name, found.manifest.number, found.manifest.rows) == ("prompts", 1, 5)
    assert found.manifest.outcomes == {"ok": 3, "empty": 1, "truncated": 1}
    assert found.manifest.seconds >= 0


def test_the_same_rows_give_the_same_bytes(run: RunDirectory) -> None:
    one, other = finish(run, "one", 1), finish(run, "other", 2)
    assert (one.path / "rows.parquet").read_bytes() == (other.path / "rows.parquet").read_bytes()
    assert one.hash == other.hash
    changed = run.begin(3, "changed", {}).publish(example_rows(4), ExampleRow)
    assert changed.hash != one.hash


def test_an_empty_table_is_an_artefact(run: RunDirectory) -> None:
    artefact = run.begin(1, "prompts", {}).publish([], ExampleRow)
    assert artefact.rows(ExampleRow) == [] and artefact.manifest.outcomes == {}


def test_models_belong_to_the_artefact(run: RunDirectory) -> None:
    out = run.begin(4, "sl-cai", {})
    (out.path / "model" / "sub").mkdir(parents=True)
    (out.path / "model" / "weights").write_bytes(b"1234")
    (out.path / "model" / "sub" / "config.json").write_text("{}")
    artefact = out.publish([], ExampleRow, files=["model"])
    assert artefact.model == out.path / "model"
    assert list(artefact.manifest.files) == ["model/sub/config.json", "model/weights", "rows.parquet"]
    (out.path / "model" / "weights").write_bytes(b"1235")
    again = run.finished("sl-cai")
    assert again is not None
    with pytest.raises(RunError, match=r"model/weights: the file has changed since it was published\. Restore"):
        _ = again.model
    assert again.rows(ExampleRow) == []
    with pytest.raises(RunError, match="stage 'prompts' made no model"):
        _ = finish(run).model


@pytest.mark.parametrize("name", ["none", "../c.yaml", "/etc/hostname", ""])
def test_only_files_of_the_stage_are_published(run: RunDirectory, name: str) -> None:
    out = run.begin(1, "prompts", {})
    with pytest.raises(StageError, match="no such file to publish"):
        out.publish([], ExampleRow, files=[name])
    assert run.finished("prompts") is None


def test_links_are_not_published(run: RunDirectory) -> None:
    out = run.begin(1, "prompts", {})
    (out.path / "model").mkdir()
    (out.path / "model" / "weights").symlink_to("/etc/hostname")
    with pytest.raises(StageError, match="an artefact may not contain links"):
        out.publish([], ExampleRow, files=["model"])


def test_half_an_artefact_is_none(run: RunDirectory) -> None:
    artefact = finish(run)
    (artefact.path / "manifest.json").unlink()
    assert run.finished("prompts") is None
    assert run.artefacts() == []


def test_damage_is_told_before_anything_is_read(run: RunDirectory) -> None:
    rows = finish(run).path / "rows.parquet"
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-1])
    with pytest.raises(RunError, match=r"rows\.parquet: the file has changed its size since it was published"):
        run.finished("prompts")
    rows.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    found = run.finished("prompts")
    assert found is not None
    with pytest.raises(RunError, match=r"rows\.parquet: the file has changed since"):
        found.rows(ExampleRow)
    rows.unlink()
    with pytest.raises(RunError, match=r"rows\.parquet: the file is missing"):
        run.finished("prompts")
    (rows.parent / "manifest.json").write_text("{")
    with pytest.raises(RunError, match=r"manifest\.json: the manifest is damaged"):
        run.finished("prompts")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"p": "high"}, "row 2: column 'p' does not fit double"),
        ({"row_id": "\ud800"}, "row 2: column 'row_id' does not fit string"),
    ],
)
def test_a_row_that_does_not_fit_is_named(run: RunDirectory, change: dict[str, Any], cause: str) -> None:
    rows = example_rows(3)
    rows[1] = replace(rows[1], **change)
    with pytest.raises(StageError) as caught:
        run.begin(1, "prompts", {}).publish(rows, ExampleRow)
    assert cause in str(caught.value)
    assert run.finished("prompts") is None


def test_a_table_of_other_columns_is_told(run: RunDirectory) -> None:
    artefact = run.begin(1, "prompts", {}).publish([IdRow("x")], IdRow)
    with pytest.raises(RunError, match=r"rows\.parquet: a row is missing the column 'score'"):
        artefact.rows(ScoreRow)
    with pytest.raises(RunError, match=r"stage 'prompts' published no examples\.parquet"):
        artefact.rows(IdRow, file="examples.parquet")


# Keys -----------------------------------------------------------------------------------------------------------------


def test_a_changed_key_is_refused_naming_setting_old_and_new(run: RunDirectory) -> None:
    key = {"revision": run.recipe.revision, "inputs": {"responses": "abc"}}
    run.begin(3, "critique-revision", key)
    changed = run.recipe.revision.model_copy(update={"steps": 2})
    with pytest.raises(RunError) as caught:
        run.begin(3, "critique-revision", {"revision": changed, "inputs": {"responses": "abd"}})
    assert "03-critique-revision: made with other settings" in str(caught.value)
    assert "(revision.steps: 4 -> 2; inputs.responses: 'abc' -> 'abd')" in str(caught.value)
    assert run.begin(3, "critique-revision", key).name == "critique-revision"


def test_the_key_of_a_finished_stage_is_compared_too(run: RunDirectory) -> None:
    finish(run, key={"seed": 1, "set": (1, 2)})
    assert run.finished("prompts", {"seed": 1, "set": [1, 2]}) is not None
    with pytest.raises(RunError, match="seed: 1 -> 2"):
        run.finished("prompts", {"seed": 2, "set": [1, 2]})
    with pytest.raises(RunError, match="seed: 1 -> 2"):
        run.begin(1, "prompts", {"seed": 2, "set": [1, 2]})
    with pytest.raises(RunError, match="the stage is finished"):
        run.begin(1, "prompts", {"seed": 1, "set": [1, 2]})


def test_a_stage_name_cannot_leave_the_run(run: RunDirectory) -> None:
    with pytest.raises(ValueError, match="is not a valid name of a stage folder"):
        run.begin(1, "../x", {})


def test_a_damaged_key_file_is_told(run: RunDirectory) -> None:
    (run.begin(1, "prompts", {}).path / "begun.json").write_text("[")
    with pytest.raises(RunError, match=r"begun\.json: the file is damaged\. Delete"):
        run.begin(1, "prompts", {})


# Work in chunks -------------------------------------------------------------------------------------------------------


def number_rows(items: Sequence[int]) -> list[IdRow]:
    """Two rows for an odd item, none for an even one."""
    return [IdRow(f"{item}.{copy}") for item in items if item % 2 for copy in range(2)]


def test_map_works_in_fixed_chunks_and_resumes_by_position(run: RunDirectory) -> None:
    asked: list[list[int]] = []

    def work(items: Sequence[int]) -> list[IdRow]:
        asked.append(list(items))
        if 7 in items and len(asked) < 4:
            raise ZeroDivisionError
        return number_rows(items)

    with pytest.raises(ZeroDivisionError):
        run.begin(1, "prompts", {}).map("reply", range(10), work, row=IdRow, chunk=3)
    rows = run.begin(1, "prompts", {}).map("reply", range(10), work, row=IdRow, chunk=3)
    assert asked == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [6, 7, 8], [9]]
    assert rows == number_rows(range(10))


def test_map_of_nothing_is_nothing(run: RunDirectory) -> None:
    assert run.begin(1, "prompts", {}).map("reply", [], number_rows, row=IdRow, chunk=3) == []


def test_a_phase_is_mapped_once(run: RunDirectory) -> None:
    out = run.begin(1, "prompts", {})
    out.map("reply", [1], number_rows, row=IdRow, chunk=1)
    with pytest.raises(StageError, match="phase 'reply' is mapped twice"):
        out.map("reply", [1], number_rows, row=IdRow, chunk=1)


def test_progress_is_told(run: RunDirectory) -> None:
    told: list[Progress] = []
    out = run.begin(2, "responses", {}, told.append)
    out.map("reply", range(5), number_rows, row=IdRow, chunk=2)
    out.report(3, 10, "loss 0.1", unit="steps")
    assert [(each.phase, each.done, each.total) for each in told] == [
        ("reply", 0, 5),
        ("reply", 2, 5),
        ("reply", 4, 5),
        ("reply", 5, 5),
        ("", 3, 10),
    ]
    assert told[-1] == Progress("responses", "", 3, 10, "loss 0.1", "steps")


def test_seconds_are_summed_over_sessions(run: RunDirectory) -> None:
    journal = run.begin(1, "prompts", {}).journal
    journal.append_worked(100.0)
    journal.close()
    assert 100 <= run.begin(1, "prompts", {}).publish([], ExampleRow).manifest.seconds < 130


# Stopping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_finishes_what_is_in_flight(run: RunDirectory, number: signal.Signals) -> None:
    asked: list[int] = []

    def work(items: Sequence[int]) -> list[IdRow]:
        asked.extend(items)
        if 2 in items:
            os.kill(os.getpid(), number)
        return number_rows(items)

    with pytest.raises(Interrupted, match="the same command resumes"), run.lock():
        run.begin(1, "prompts", {}).map("reply", range(6), work, row=IdRow, chunk=2)
    assert asked == [0, 1, 2, 3]
    again = RunDirectory.open(run.path)
    with again.lock():
        rows = again.begin(1, "prompts", {}).map("reply", range(6), work, row=IdRow, chunk=2)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert rows == number_rows(range(6))


def test_the_second_signal_stops_at_once(run: RunDirectory) -> None:
    done: list[int] = []

    def work(items: Sequence[int]) -> list[IdRow]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        done.extend(items)
        return number_rows(items)

    with pytest.raises(Interrupted, match="stopped at once"), run.lock():
        run.begin(1, "prompts", {}).map("reply", range(6), work, row=IdRow, chunk=2)
    assert done == []


def test_a_trainer_is_stopped_at_its_next_report(run: RunDirectory) -> None:
    def train(out: StageFolder) -> None:
        for step in range(10):
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)
                assert out.stopping
            out.report(step, 10)
            assert step < 3

    with pytest.raises(Interrupted), run.lock():
        train(run.begin(4, "sl-cai", {}))


def test_handlers_are_given_back(run: RunDirectory) -> None:
    before = signal.getsignal(signal.SIGINT)
    with run.lock():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_can_be_moved(run: RunDirectory, tmp_path: Path) -> None:
    finish(run)
    shutil.move(run.path, tmp_path / "elsewhere")
    moved = RunDirectory.open(tmp_path / "elsewhere").finished("prompts")
    assert moved is not None and moved.rows(ExampleRow) == example_rows()
    assert str(tmp_path) not in json.dumps(moved.manifest.model_dump())
