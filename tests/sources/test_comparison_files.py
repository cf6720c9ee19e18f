"""Files of human comparisons: both forms, and every way in which a line can be wrong."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.conversation import is_blank
from solon.errors import InputError
from solon.sources.comparison_files import read_comparisons

HH = {
    "chosen": "\n\nHuman: Hi: there\n\nAssistant: Hello.\n\nHuman: Help?\n\nAssistant: Gladly.\n\nWith two paragraphs.",
    "rejected": "\n\nHuman: Hi: there\n\nAssistant: Hello.\n\nHuman: Help?\n\nAssistant: No.",
}
MESSAGES = {
    "prompt": [{"role": "user", "content": "Help?"}],
    "chosen": [{"role": "assistant", "content": "Gladly."}],
    "rejected": [{"role": "assistant", "content": "No."}],
}


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_both_forms_are_read(tmp_path: Path) -> None:
    found = read_comparisons(write(tmp_path / "human.jsonl", HH, "", MESSAGES))
    first, second = found.rows
    assert [turn.content for turn in first.prompt.turns] == ["Hi: there", "Hello.", "Help?"]
    assert (first.chosen, first.rejected, first.line) == ("Gladly.\n\nWith two paragraphs.", "No.", 1)
    assert (second.prompt.turns[0].content, second.chosen, second.line) == ("Help?", "Gladly.", 3)


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "human.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(HH).encode()))
    assert len(read_comparisons(path).rows) == 1


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("{broken", "broken JSON"),
        ("[1, 2]", "one JSON object"),
        ({"chosen": HH["chosen"]}, "'chosen' or 'rejected' is missing"),
        ({"chosen": 3, "rejected": 4}, "list of messages or a transcript"),
        ({"chosen": "no label", "rejected": "no label"}, "Human:"),
        ({**MESSAGES, "chosen": [{"role": "robot", "content": "x"}]}, "role"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, row: object, cause: str) -> None:
    path = write(tmp_path / "human.jsonl", HH, row)
    with pytest.raises(InputError) as error:
        read_comparisons(path)
    assert str(error.value).startswith(f"{path}:2: ") and cause in str(error.value)


def test_lines_that_compare_nothing_are_counted_by_reason(tmp_path: Path) -> None:
    other = {**HH, "rejected": "\n\nHuman: Something else\n\nAssistant: No."}
    empty = {**MESSAGES, "rejected": [{"role": "assistant", "content": " "}]}
    equal = {**MESSAGES, "rejected": MESSAGES["chosen"]}
    unanswered = {"chosen": "\n\nHuman: a\n\nHuman: b", "rejected": "\n\nHuman: a\n\nHuman: c"}
    found = read_comparisons(write(tmp_path / "human.jsonl", other, empty, equal, unanswered, HH))
    assert len(found.rows) == 1
    assert found.skipped == {"other prompts": 1, "empty reply": 1, "equal replies": 1, "no reply": 1}


def test_missing_and_empty_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such"):
        read_comparisons(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match="no usable comparison"):
        read_comparisons(write(tmp_path / "empty.jsonl", ""))


texts_that_show = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip)


@given(st.lists(texts_that_show.filter(lambda text: not is_blank(text)), min_size=3, max_size=3, unique=True))
def test_any_texts_survive(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    prompt, chosen, rejected = texts
    row = {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }
    (found,) = read_comparisons(write(tmp_path_factory.mktemp("text") / "human.jsonl", row)).rows
    assert (found.prompt.turns[0].content, found.chosen, found.rejected) == (prompt, chosen, rejected)
