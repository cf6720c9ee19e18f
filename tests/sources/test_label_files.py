"""Labelled pairs from files: every form, every complaint by file and row, and nothing made up."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.errors import InputError, RunError
from solon.runs.records import to_record
from solon.runs.rows import LabelRow
from solon.sources.label_files import read_labels
from tests.synthetic import Plan, build
from tests.training.tiny import artefact, asked, row_id, said

PAIR = {"prompt": asked("Why?"), "chosen": said("Because."), "rejected": said("No."), "p_chosen": 0.75}
TRANSCRIPTS = {"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."}
ROW = {"prompt": asked("Why?"), "chosen": said("Because."), "rejected": said("No."), "p_chosen": 0.75, "outcome": "ok"}


def write(path: Path, *rows: Any) -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def shown(row: LabelRow) -> dict[str, Any]:
    record = to_record(row)
    return {key: record[key] for key in ROW}


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.jsonl.gz"])
@pytest.mark.parametrize("row", [PAIR, {**PAIR, "outcome": "ok", "note": 3}, {**TRANSCRIPTS, "p_chosen": 0.75}])
def test_lines_in_either_form_give_the_rows_of_a_run(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    (found,) = read_labels([write(tmp_path / name, row)]).rows()
    assert shown(found) == ROW


def test_parquet_and_a_finished_stage_give_the_same_rows(tmp_path: Path) -> None:
    other = {**PAIR, "prompt": asked("And now?"), "p_chosen": 0.5}
    rows = [{"row_id": row_id("any"), **each, "outcome": "ok"} for each in (PAIR, other)]
    stage = artefact(tmp_path / "06-ai-feedback", rows)
    from_stage = read_labels([stage.path]).rows()
    assert from_stage == read_labels([stage.path / "rows.parquet"]).rows()
    lines = read_labels([write(tmp_path / "labels.jsonl", PAIR, other)]).rows()
    assert list(map(shown, from_stage)) == list(map(shown, lines))
    assert [row.pair for row in (*from_stage, *lines)] == [1, 1, 0, 0], "only tables of pairs number them"
    assert len({row.row_id for row in from_stage}) == 2
    assert len(read_labels([stage.path, stage.path]).rows()) == 4


def test_a_run_gives_the_labels_of_its_stage(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=6, held_out=6))
    rows = read_labels([run.path]).rows()
    assert rows == read_labels([run.path / "06-ai-feedback"]).rows()
    stage = run.finished("ai-feedback")
    assert stage is not None
    told_apart = [row for row in stage.rows(LabelRow) if row.outcome == "ok" and row.chosen != row.rejected]
    assert [row.p_chosen for row in rows if row.outcome == "ok"] == [row.p_chosen for row in told_apart]
    assert len(told_apart) > 1


def test_a_failed_label_keeps_its_outcome_and_gets_no_probability(tmp_path: Path) -> None:
    failed = {**PAIR, "p_chosen": None, "outcome": "undecided", "chosen": None}
    equal = {**PAIR, "rejected": PAIR["chosen"]}
    empty = {**PAIR, "rejected": said("  ")}
    strangers = {**TRANSCRIPTS, "rejected": "\n\nHuman: When?\n\nAssistant: No.", "p_chosen": 1}
    rows = read_labels([write(tmp_path / "l.jsonl", failed, equal, empty, strangers, PAIR)]).rows()
    assert [row.outcome for row in rows] == ["undecided", "undecided", "empty", "malformed", "ok"]
    assert all((row.row_id, row.chosen, row.p_chosen) == ("", None, None) for row in rows[:4])
    with pytest.raises(InputError, match="no usable labelled pairs"):
        read_labels([write(tmp_path / "none.jsonl", failed)])


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({key: value for key, value in PAIR.items() if key != "p_chosen"}, "'p_chosen' must be a probability"),
        *[({**PAIR, "p_chosen": bad}, "between 0 and 1") for bad in (None, 1.01, -0.1, "0.5", True, float("nan"))],
        ({**PAIR, "outcome": "splendid"}, "unknown outcome 'splendid'"),
        ({"prompt": asked("Why?"), "p_chosen": 1}, "'chosen' or 'rejected' is missing"),
        ({**PAIR, "chosen": 3}, "messages or a transcript"),
        ("{broken", "broken JSON"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: object, cause: str) -> None:
    path = write(tmp_path / "labels.jsonl", PAIR, row)
    with pytest.raises(InputError) as error:
        read_labels([path])
    assert str(error.value).startswith(f"{path}:2: ") and cause in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bad_row_of_a_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.Table.from_pylist([PAIR, {**PAIR, "p_chosen": 7.0}]), path)
    with pytest.raises(InputError, match="row 2: 'p_chosen'"):
        read_labels([path])
    path.write_bytes(b"PAR1 no table")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        read_labels([path])
    with pytest.raises(InputError, match="no such label file"):
        read_labels([tmp_path / "none.parquet"])
    with pytest.raises(RunError, match="no finished labels"):
        read_labels([tmp_path])


@given(st.floats(0, 1), st.text(min_size=1).filter(lambda text: text.strip() and text.isprintable()))
def test_any_probability_and_text_survive(tmp_path_factory: pytest.TempPathFactory, p_chosen: float, text: str) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    row = {**PAIR, "prompt": asked(text), "p_chosen": p_chosen}
    (found,) = read_labels([write(path, row)]).rows()
    # White space around a turn is no part of it, as in the prompts of a run.
    assert found.p_chosen == p_chosen and found.prompt.messages() == asked(text.strip())
