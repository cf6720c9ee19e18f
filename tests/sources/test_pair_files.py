"""Pairs of replies from files of every form, each fault with its place."""

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

from solon.conversation import Conversation, Role, Turn
from solon.errors import InputError
from solon.runs.outcome import Outcome
from solon.runs.rows import PairRow
from solon.sources.pair_files import read_pairs

ASKED = [{"role": "user", "content": "Why?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


WHY = Conversation((Turn(Role.HUMAN, "Why?"),))


@pytest.mark.parametrize(
    ("row", "preferred"),
    [
        ({"prompt": "Why?", "response_a": "One.", "response_b": "Two."}, False),
        ({"prompt": ASKED, "response_a": said("One."), "response_b": "Two. "}, False),
        ({"messages": ASKED, "responses": ["One.", said("Two.")]}, False),
        ({"prompt": "\n\nHuman: Why?\n\nAssistant:", "responses": ["One.", "Two."]}, False),
        ({"prompt": ASKED, "chosen": said("One."), "rejected": said("Two.")}, True),
        ({"prompt": "Why?", "chosen": "One.", "rejected": "Two."}, True),
        ({"chosen": [*ASKED, *said("One.")], "rejected": [*ASKED, *said("Two.")]}, True),
        ({"chosen": "\n\nHuman: Why?\n\nAssistant: One.", "rejected": "\n\nHuman: Why?\n\nAssistant: Two."}, True),
    ],
)
def test_every_form_gives_the_same_pair(tmp_path: Path, row: dict[str, Any], preferred: bool) -> None:
    found = read_pairs(write(tmp_path / "pairs.jsonl", row))
    assert found.rows() == [
        PairRow(row_id=WHY.row_id, pair=1, prompt=WHY, response_a="One.", response_b="Two.", outcome=Outcome.OK)
    ]
    assert found.preferred == (frozenset({(WHY.row_id, 1)}) if preferred else frozenset())
    packed = tmp_path / "pairs.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "pairs.jsonl").read_bytes()))
    assert read_pairs(packed) == found


def test_a_run_s_own_table_keeps_numbers_and_outcomes(tmp_path: Path) -> None:
    rows = [
        {"prompt": ASKED, "pair": 2, "response_a": "One.", "response_b": "Two.", "outcome": "ok", "seed_a": 3},
        {"prompt": ASKED, "pair": 1, "response_a": "One.", "response_b": "", "outcome": "truncated", "seed_a": 4},
        {"prompt": ASKED, "pair": 2, "response_a": "One.", "response_b": "Two.", "outcome": "ok", "seed_a": 5},
        {"prompt": ASKED, "pair": 5, "response_a": " ", "response_b": "Two.", "outcome": "ok", "seed_a": 6},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = read_pairs(tmp_path / "rows.parquet").rows()
    assert [(row.pair, row.outcome) for row in found] == [(2, "ok"), (1, "truncated"), (3, "ok"), (5, "empty")]


def test_rows_that_compare_nothing_are_counted_by_reason(tmp_path: Path) -> None:
    one = "\n\nHuman: Why?\n\nAssistant: One."
    found = read_pairs(
        write(
            tmp_path / "pairs.jsonl",
            {"chosen": one, "rejected": one},
            {"chosen": one, "rejected": "\n\nHuman: How?\n\nAssistant: Two."},
            {"chosen": one, "rejected": "\n\nHuman: Why?\n\nAssistant: Two."},
        )
    )
    assert len(found.pairs) == 1
    assert found.skipped == {"equal replies": 1, "other prompts": 1}


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("{broken", "broken JSON"),
        ({"prompt": "Why?"}, "has no two replies"),
        ({"prompt": "Why?", "response_a": "One."}, "has no two replies"),
        ({"response_a": "One.", "response_b": "Two."}, "'prompt' or 'messages' is missing"),
        ({"prompt": "Why?", "responses": ["One."]}, "a list of two replies"),
        ({"prompt": "Why?", "responses": ["One.", 2]}, "messages or a transcript"),
        ({"prompt": "Why?", "responses": ["One.", ASKED]}, "one message of the assistant"),
        ({"prompt": " ", "responses": ["One.", "Two."]}, "no human turn"),
        ({"prompt": "Why?", "responses": ["One.", "Two."], "outcome": "fine"}, "unknown outcome"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: object, cause: str) -> None:
    path = write(tmp_path / "pairs.jsonl", {"prompt": "Why?", "responses": ["One.", "Two."]}, row)
    with pytest.raises(InputError) as error:
        read_pairs(path)
    assert str(error.value).startswith(f"{path}:2: ") and cause in str(error.value)


def test_a_file_without_a_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pair of replies"):
        read_pairs(write(tmp_path / "empty.jsonl"))
    with pytest.raises(InputError, match="no such"):
        read_pairs(tmp_path / "none.jsonl")
    text = tmp_path / "words.txt"
    text.write_text("Why?\n")
    with pytest.raises(InputError, match="a line of text is not a pair"):
        read_pairs(text)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_every_pair_has_a_key_of_its_own(tmp_path_factory: pytest.TempPathFactory, numbers: list[int]) -> None:
    rows = [{"prompt": "Why?", "responses": ["One.", "Two."], **({"pair": n} if n else {})} for n in numbers]
    found = read_pairs(write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", *rows)).rows()
    assert len({(row.row_id, row.pair) for row in found}) == len(numbers)
