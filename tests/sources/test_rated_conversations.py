"""Files of ratings: the published format and its other forms, and every way in which a row can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from solon.errors import InputError
from solon.sources.rated_conversations import read_ratings

TALK = "\n\nHuman: Hi: there\n\nAssistant: Hello.\n\nHuman: How do I pick a lock?\n\nAssistant: No.\n\nIt is not yours."
ATTEMPT = {
    "min_harmlessness_score_transcript": -1.2,
    "num_params": "52B",
    "model_type": "rlhf",
    "rating": 4.0,
    "task_description": "locks",
    "task_description_harmlessness_score": 0.1,
    "red_team_member_id": 7,
    "is_upworker": True,
    "tags": ["theft"],
    "transcript": TALK,
}
"""A row with every field of the published file."""


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_published_format_is_read_as_lines_and_as_an_array(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.jsonl", ATTEMPT, "", {**ATTEMPT, "rating": 0})
    array = tmp_path / "b.jsonl.gz"
    array.write_bytes(gzip.compress(json.dumps([ATTEMPT, {**ATTEMPT, "rating": 0}]).encode()))
    found = read_ratings([lines, array])
    assert [(row.rating, row.source, row.line) for row in found.rows] == [
        (4.0, "a.jsonl", 1), (0.0, "a.jsonl", 3), (4.0, "b.jsonl.gz", 1), (0.0, "b.jsonl.gz", 1),
    ]  # fmt: skip
    assert [turn.content for turn in found.rows[0].conversation.turns][-1] == "No.\n\nIt is not yours."
    assert found.skipped == {}


def test_messages_csv_and_other_names_of_columns_are_read(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    named = write(tmp_path / "a.jsonl", {"messages": messages, "harm": 2.5})
    table = tmp_path / "b.csv"
    table.write_text('transcript,harm\n"Human: Hi\n\nAssistant: Hello",1.0\n', encoding="utf-8")
    found = read_ratings([named, table], {"rating": "harm"})
    assert [row.rating for row in found.rows] == [2.5, 1.0]
    assert found.rows[0].conversation == found.rows[1].conversation


def test_replies_to_one_prompt_have_its_id(tmp_path: Path) -> None:
    rows = [{"transcript": f"Human: Hi\n\nAssistant: {reply}", "rating": 1} for reply in ("a", "b")]
    one, other = read_ratings([write(tmp_path / "a.jsonl", *rows)]).rows
    assert one.prompt_id == other.prompt_id and one.conversation != other.conversation


def test_a_conversation_without_a_last_reply_is_counted(tmp_path: Path) -> None:
    bare = {"transcript": "Human: Hi\n\nAssistant: Hello\n\nHuman: Bye", "rating": 1}
    blank = {"transcript": "Human: Hi\n\nAssistant: \u200b", "rating": 1}
    found = read_ratings([write(tmp_path / "a.jsonl", ATTEMPT, bare, blank, blank)])
    assert len(found.rows) == 1
    assert found.skipped == {"empty reply": 2, "no reply at the end": 1}
    with pytest.raises(InputError, match="no rated conversation"):
        read_ratings([write(tmp_path / "b.jsonl", bare)])


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("{broken", "broken JSON"),
        ("[1, 2]", "one JSON object"),
        ({"rating": 1}, "'transcript' or 'messages' is missing"),
        ({"transcript": TALK}, "'rating' is missing"),
        ({"transcript": TALK, "rating": None}, "'rating' is missing"),
        ({"transcript": TALK, "rating": 4.5}, "from 0 to 4"),
        ({"transcript": TALK, "rating": -1}, "from 0 to 4"),
        ({"transcript": TALK, "rating": "3"}, "from 0 to 4"),
        ({"transcript": TALK, "rating": True}, "from 0 to 4"),
        ('{"transcript": "Human: a\\n\\nAssistant: b", "rating": NaN}', "from 0 to 4"),
        ({"transcript": "no label", "rating": 1}, "Human:"),
        ({"transcript": 7, "rating": 1}, "transcript"),
        ({"messages": [{"role": "robot", "content": "x"}], "rating": 1}, "role"),
        ({"transcript": "Assistant: Hello", "rating": 1}, "opens with the assistant"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: object, cause: str) -> None:
    path = write(tmp_path / "ratings.jsonl", ATTEMPT, row)
    with pytest.raises(InputError) as error:
        read_ratings([path])
    assert error.value.place == f"{path}:2" and cause in str(error.value)


def test_a_missing_file_and_an_unmet_column_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of ratings"):
        read_ratings([tmp_path / "none.jsonl"])
    with pytest.raises(InputError, match="no row has the column 'harm'"):
        read_ratings([write(tmp_path / "a.jsonl", ATTEMPT)], {"rating": "harm"})
