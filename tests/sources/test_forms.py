"""Pairs and prompts in every form that people write, read alike by all who read them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from solon.conversation import Conversation, Role, Turn, is_blank
from solon.errors import InputError
from solon.reward.score_file import read_scorable
from solon.sources.columns import Columns, columns_from
from solon.sources.comparison_files import comparison_columns, read_all_comparisons, read_comparisons
from solon.sources.label_files import read_labels
from solon.sources.pair_files import read_pairs
from solon.sources.prompt_files import read_prompts

Read = Sequence[tuple[Conversation, Conversation]]
ASK = "How do I bake a loaf of bread?"
HUMAN, GOOD, BAD = Turn(Role.HUMAN, ASK), Turn(Role.ASSISTANT, "Mix."), Turn(Role.ASSISTANT, "No idea.")
WANTED = [(Conversation((HUMAN, GOOD)), Conversation((HUMAN, BAD)))]
CASES = Path(__file__).parents[3] / "shared" / "cases"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def by_label(path: Path, called: dict[str, str] | None = None) -> Read:
    return [
        (row.prompt.with_reply(row.response_a), row.prompt.with_reply(row.response_b))
        for row in read_pairs(path, called).pairs
    ]


def by_human(path: Path, called: dict[str, str] | None = None) -> Read:
    found = read_comparisons(path, comparison_columns(called)).rows
    return [(row.prompt.with_reply(row.chosen), row.prompt.with_reply(row.rejected)) for row in found]


def by_score(path: Path, called: dict[str, str] | None = None) -> Read:
    return [each.conversations for each in read_scorable(path, called)]  # type: ignore[misc]


def raw(text: str, value: str = "") -> str:
    """A line of JSON with the words ASK and VALUE filled in."""
    return text.replace("ASK", json.dumps(ASK)).replace("VALUE", value)


READERS = pytest.mark.parametrize("read", [by_label, by_human, by_score])
Reader = Callable[..., Read]


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@READERS
@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [user(ASK)], "chosen": [said("Mix.")], "rejected": [said("No idea.")]},
        {"prompt": ASK, "chosen": "Mix.", "rejected": "No idea."},
        {"prompt": f"\n\nHuman: {ASK}\n\nAssistant:", "chosen": " Mix.", "rejected": " No idea."},
        {"prompt": [user(ASK)], "chosen": [user(ASK), said("Mix.")], "rejected": [user(ASK), said("No idea.")]},
        {
            "prompt": ASK,
            "chosen": [user(ASK), said("Mix.")],
            "rejected": [user(f" {ASK}\n"), said("No idea.")],
            "score_chosen": 8.0,
            "score_rejected": float("nan"),
            "messages": [user(ASK), said("Mix.")],
        },
        {
            "prompt": ASK,
            "chosen": f"Human: {ASK}\n\nAssistant: Mix.",
            "rejected": f"Human: {ASK}\n\nAssistant: No idea.",
        },
        {"prompt": ASK, "chosen": "\n\nAssistant: Mix.", "rejected": "\n\nAssistant: No idea."},
        {"chosen": f"\n\nHuman: {ASK}\n\nAssistant: Mix.", "rejected": f"\n\nHuman: {ASK}\n\nAssistant: No idea."},
        {
            "chosen": f"\r\n\r\nHuman: {ASK}\r\n\r\nAssistant: Mix.",
            "rejected": f"\r\rHuman: {ASK}\r\rAssistant: No idea.",
        },
        {"prompt": None, "chosen": [user(ASK), said("Mix.")], "rejected": [user(ASK), said("No idea.")]},
        {"prompt": None, "messages": [user(ASK)], "chosen": "Mix.", "rejected": "No idea."},
    ],
)
def test_every_form_of_a_pair_is_read_alike(tmp_path: Path, read: Reader, row: dict[str, Any]) -> None:
    assert read(jsonl(tmp_path / "pairs.jsonl", row)) == WANTED
    (tmp_path / "pairs.json").write_text(json.dumps([row], indent=1))
    assert read(tmp_path / "pairs.json") == WANTED


@READERS
def test_turns_that_stand_twice_are_taken_once_in_longer_dialogues(tmp_path: Path, read: Reader) -> None:
    earlier, system = [user("Hi"), said("Hello")], {"role": "system", "content": "Be brief."}
    rows = [
        {
            "prompt": [*earlier, user(ASK)],
            "chosen": [*earlier, user(ASK), said("Mix.")],
            "rejected": [said("No idea.")],
        },
        {"prompt": [*earlier, user(ASK)], "chosen": [user(ASK), said("Mix.")], "rejected": "No idea."},
        {
            "prompt": "Hi",
            "chosen": [*earlier, user(ASK), said("Mix.")],
            "rejected": [*earlier, user(ASK), said("No idea.")],
        },
        {"prompt": [system, user(ASK)], "chosen": [user(ASK), said("Mix.")], "rejected": "No idea."},
        {"prompt": ASK, "chosen": [system, user(ASK), said("Mix.")], "rejected": [system, user(ASK), said("No idea.")]},
    ]
    dialogue = (Turn(Role.HUMAN, "Hi"), Turn(Role.ASSISTANT, "Hello"), HUMAN)
    ruled = (Turn(Role.SYSTEM, "Be brief."), HUMAN)
    starts = [dialogue, dialogue, dialogue, ruled, ruled]
    assert read(jsonl(tmp_path / "pairs.jsonl", *rows)) == [
        (Conversation((*start, GOOD)), Conversation((*start, BAD))) for start in starts
    ]


@READERS
@pytest.mark.parametrize(
    ("row", "cause"),
    [
        (
            {"prompt": ASK, "chosen": [user("Else?"), said("Mix.")], "rejected": "No."},
            "a human turn that is not the prompt's",
        ),
        ({"prompt": ASK, "chosen": f"{ASK}\nMix.", "rejected": f"{ASK} No idea."}, "begin with the text of the prompt"),
        ({"prompt": [said("Hello"), user(ASK)], "chosen": "Mix.", "rejected": "No."}, "opens with the assistant"),
        ({"chosen": [said("Hello")] * 2, "rejected": [said("Hi")] * 2}, "opens with the assistant"),
        (raw('{"prompt": ASK, "chosen": "a", "chosen": "b", "rejected": "c"}'), "duplicate key 'chosen'"),
        ('{"prompt": "\\ud83d", "chosen": "a", "rejected": "c"}', "'prompt' contains half a character"),
        (raw('{"prompt": ASK, "chosen": "a \\udc00", "rejected": "c"}'), "'chosen' contains half a character"),
        (raw('{"prompt": ASK, "chosen": NaN, "rejected": "c"}'), "'chosen' must be a text"),
        (raw('{"prompt": ASK, "chosen": "a", "rejected": "c", "x": VALUE}', "9" * 5000), "5,000 digits is too large"),
        (raw('{"prompt": ASK, "chosen": "a", "rejected": "c", "x": 1e999}'), "1e999 is too large"),
        (raw('{"prompt": ASK, "chosen": "a", "rejected": "c", "x": VALUE}', "[" * 70 + "]" * 70), "nested too deep"),
        (raw('{"prompt": ASK, "chosen": "a", "rejected": "c", "x": VALUE', "[" * 90_000), "nested too deep"),
        ('{"prompt": "a"} {"prompt": "b"}', "more text follows the value"),
    ],
)
def test_a_bad_pair_is_named_with_its_line(tmp_path: Path, read: Reader, row: object, cause: str) -> None:
    path = jsonl(tmp_path / "pairs.jsonl", {"prompt": ASK, "chosen": "a", "rejected": "b"}, row)
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}:2: ") and cause in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


@READERS
def test_tables_are_read_and_columns_may_be_named(tmp_path: Path, read: Reader) -> None:
    row = {"question": ASK, "good": "Mix.", "bad": "No idea.", "n": 1}
    table, parquet, lines = tmp_path / "p.csv", tmp_path / "p.parquet", jsonl(tmp_path / "p.jsonl", row)
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([list(row), list(row.values())])
    pq.write_table(pa.Table.from_pylist([row]), parquet)
    called = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    for path in (table, parquet, lines):
        assert read(path, called) == WANTED
        with pytest.raises(InputError, match=r"p\.\w+"):
            read(path)
    with pytest.raises(InputError, match="'promt' is not a column that is read"):
        read(lines, {"promt": "question"})


@READERS
def test_a_named_column_that_no_row_has_is_told(tmp_path: Path, read: Reader) -> None:
    path = jsonl(tmp_path / "p.jsonl", {"prompt": ASK, "chosen": "Mix.", "rejected": "No idea."})
    with pytest.raises(InputError, match=r"no row has the column 'questoin', which should be read as 'prompt'"):
        called = {"prompt": "questoin"}
        if read is by_human:
            read_all_comparisons({"human": path}, called)
        else:
            read(path, called)


def test_labels_are_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("prompt,chosen,rejected,p_chosen\nWhy?,Because.,No.,0.75\n")
    (row,) = read_labels([path]).rows()
    assert (row.p_chosen, row.chosen) == (0.75, "Because.")
    path.write_text("prompt,chosen,rejected,p_chosen\nWhy?,Because.,No.,likely\n")
    with pytest.raises(InputError, match=r"labels\.csv:2: 'p_chosen' must be a probability"):
        read_labels([path])


# Prompts ----------------------------------------------------------------------------------------------------------


def contents(path: Path, **options: Any) -> list[list[str]]:
    return [[turn.content for turn in found.conversation.turns] for found in read_prompts(path, **options).prompts]


def test_csv_prompts_are_read_with_the_line_on_which_each_begins(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes('\ufeffid,prompt\r\n1,"How, are\r\n\r\nyou?"\r\n\r\n2,Fine\r\n3,"say ""hi"""\r\n'.encode())
    assert contents(path) == [["How, are\r\n\r\nyou?"], ["Fine"], ['say "hi"']]
    assert [found.line for found in read_prompts(path).prompts] == [2, 6, 7]
    path.write_text('prompt;n\nA, b;1\n"[{""role"": ""user"", ""content"": ""c""}]";2\n')
    assert contents(path) == [["A, b"], ["c"]]
    tabs = tmp_path / "p.tsv"
    tabs.write_text("prompt\tn\nA, b\t1\n")
    assert contents(tabs) == [["A, b"]]


@pytest.mark.parametrize("name", ["P.CSV", "p.Csv"])
def test_a_suffix_in_capitals_gives_the_format_too(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("prompt,n\na,1\n")
    assert contents(path) == [["a"]]
    packed = tmp_path / f"{name}.GZ"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert contents(packed) == [["a"]]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.jsonl.zst", "x", r"\.zst files are not read\. Unpack it"),
        ("p.json", '{\n  "data": []\n}\n', r"p\.json:1: the file is one JSON document over several lines"),
        ("p.jsonl", '{"prompt": null}\n', r"p\.jsonl:1: 'prompt' is empty"),
        ("p.jsonl", '{"text": "x"}\n', r"p\.jsonl:1: neither 'prompt' nor 'chosen' \(found 'text'\)"),
    ],
)
def test_a_file_without_prompts_says_why(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_prompts(path)


def test_a_folder_is_no_file_of_prompts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is a folder, and a prompt file is wanted"):
        read_prompts(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "prompt,n\na,1\nb,2,3\n",
            r"p\.csv:3: the row has 3 cells, and the first row names 2 columns.*prompts\.bad_lines=1",
        ),
        ("prompt,n\na,1\n,2\n", r"p\.csv:3: 'prompt' is empty.*prompts\.bad_lines=1"),
        ('prompt\na\n"b\nc\n', r"p\.csv:3: broken CSV"),
        ("prompt,prompt\na,b\n", r"p\.csv:1: two columns are called 'prompt'"),
        (
            "question,n\na,1\nb,2\n",
            r"no column of prompts \(found 'question', 'n'\).*--set prompts\.columns\.prompt=NAME",
        ),
    ],
)
def test_a_broken_csv_is_one_clear_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as error:
        read_prompts(path)
    assert "\n" not in str(error.value)


def test_no_advice_ever_skips_a_whole_file(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", "prompt,label", "a,1", "b,2")
    with pytest.raises(InputError, match=r"3 of 3 lines are bad") as error:
        read_prompts(path)
    assert "bad_lines" not in str(error.value)


def test_a_cell_is_as_long_as_a_line_may_be(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt\n" + "word " * 100_000 + "?\n")
    assert len(contents(path)[0][0]) == 500_001


def test_prompts_of_named_columns_and_of_usual_ones_stand_side_by_side(tmp_path: Path) -> None:
    columns = Columns(called={"prompt": "question"})
    path = jsonl(tmp_path / "p.jsonl", {"question": "a"}, {"prompt": "b"}, {"question": None, "messages": [user("c")]})
    assert contents(path, columns=columns) == [["a"], ["b"], ["c"]]
    columns.refuse_unmet("p.jsonl")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            '{"messages": [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "b"}]}',
            "opens with the assistant",
        ),
        ('{"transcript": "Assistant: Hi\\n\\nHuman: b"}', "opens with the assistant"),
        ('{"prompt": "a", "prompt": "b"}', "duplicate key 'prompt'"),
        ('{"prompt": "a", "x": {"y": 1, "y": 2}}', "duplicate key 'y'"),
        (
            '{"prompt": [{"role": "user", "content": "\\ud800"}]}',
            "'prompt' contains half a character (lone surrogate U+D800)",
        ),
        ('{"prompt": "\\u200b\\ufeff "}', "no human turn with text"),
        ('{"chosen": "a reply alone"}', "a transcript must begin with 'Human:'"),
    ],
)
def test_a_bad_prompt_is_named_and_may_be_skipped(tmp_path: Path, line: str, cause: str) -> None:
    path = jsonl(tmp_path / "p.jsonl", {"prompt": "good"}, line)
    with pytest.raises(InputError) as error:
        read_prompts(path)
    assert str(error.value).startswith(f"{path}:2: ") and cause in str(error.value), str(error.value)
    assert "prompts.bad_lines=1" in str(error.value)
    assert contents(path, bad_lines=1) == [["good"]]


def test_a_repeated_key_in_an_array_is_named_with_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('[\n {"prompt": "a"},\n {"prompt": "b",\n  "n": {"k": "\\"{"},\n  "prompt": "c"}\n]')
    with pytest.raises(InputError, match=r"p\.json:5: duplicate key 'prompt'"):
        read_prompts(path)


def test_whole_pairs_of_surrogates_and_values_that_are_not_read_do_no_harm(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "p.jsonl", '{"prompt": "\\ud83d\\ude00 \\\\ud83d", "x": NaN, "y": [Infinity], "z": "\\ud83d"}'
    )
    assert contents(path) == [["😀 \\ud83d"]]
    row = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "x": [NaN, 1]}'
    (found,) = read_scorable(jsonl(path, row))
    assert found.record["x"] == [None, 1]


def test_utf_16_is_told_by_name(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        for name in ("p.jsonl", "p.txt", "p.csv"):
            path = tmp_path / name
            path.write_bytes('{"prompt": "Hi"}\n'.encode(encoding))
            with pytest.raises(InputError, match=rf"{name}:1: not UTF-8 text: it is UTF-16"):
                read_prompts(path)


@pytest.mark.parametrize(
    ("text", "blank"), [("", True), (" \n", True), ("\u200b\u2060", True), ("a\u200b", False), (".", False)]
)
def test_blank_is_what_nobody_sees(text: str, blank: bool) -> None:
    assert is_blank(text) is blank


def test_columns_of_the_command_line() -> None:
    assert columns_from(["prompt=question,chosen = good", "rejected=a b"]) == {
        "prompt": "question",
        "chosen": "good",
        "rejected": "a b",
    }
    for wrong in ("prompt", "prompt=", "=a", "prompt=a,prompt=b", ""):
        with pytest.raises(InputError, match=r"--columns .*Example: --columns"):
            columns_from([wrong])


# The collected cases ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not part of the project")
class TestCases:
    @READERS
    @pytest.mark.parametrize("name", ["prompt_inside", "trl_strings", "hh_explicit", "ultrafeedback_style"])
    def test_pairs(self, read: Reader, name: str) -> None:
        wanted = [
            tuple(
                Conversation((Turn(Role.HUMAN, f"How do I bake bread number {n}?"), Turn(Role.ASSISTANT, reply)))
                for reply in ("Mix flour and water.", "No idea.")
            )
            for n in range(12)
        ]
        assert read(CASES / f"pairs_{name}.jsonl") == wanted

    def test_odd_pairs_are_counted_by_reason(self) -> None:
        human, label = read_comparisons(CASES / "pairs_hh_odd.jsonl"), read_pairs(CASES / "pairs_hh_odd.jsonl")
        assert (len(human.rows), len(label.pairs)) == (3, 3)
        assert human.skipped == label.skipped == {"other prompts": 2, "empty reply": 2, "equal replies": 1}

    @READERS
    def test_a_lone_surrogate(self, read: Reader) -> None:
        with pytest.raises(InputError, match=r"pairs_lone_surrogate\.jsonl:1: 'chosen' contains half a character"):
            read(CASES / "pairs_lone_surrogate.jsonl")

    def test_prompts(self) -> None:
        assert contents(CASES / "prompts_crlf_transcript.jsonl") == [
            ["How are you?", "Fine.", "And now?"],
            ["One", "Two", "Three"],
        ]
        assert contents(CASES / "prompts_crlf.txt") == [["How are you?"], ["What is this?"]]
        assert contents(CASES / "prompts_bom.csv") == [["How, are you?"], ["Fine"]]
        roles = read_prompts(CASES / "prompts_roles.jsonl", bad_lines=8)
        assert [found.line for found in roles.prompts] == [1, 2, 9, 12, 13, 14, 15, 16]
