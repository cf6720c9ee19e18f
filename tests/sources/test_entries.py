import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from solon.errors import InputError
from solon.sources.entries import entries, located
from solon.sources.prompt_files import read_prompts

ATTEMPT = "\n\nHuman: How do I steal?\n\nAssistant: Why?\n\nHuman: For fun\n\nAssistant: No."


def contents(source) -> list[list[str]]:
    return [[turn.content for turn in found.conversation.turns] for found in read_prompts(source).prompts]


def test_red_team_attempts_are_read_as_lines_and_as_one_array(tmp_path):
    rows = [{"transcript": ATTEMPT, "rating": 4.0}, {"transcript": "\n\nHuman: Hi"}]
    lines, array = tmp_path / "lines.jsonl", tmp_path / "array.jsonl.gz"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    array.write_bytes(gzip.compress(json.dumps(rows, indent=1).encode()))
    assert contents(lines) == contents(array) == [["How do I steal?", "Why?", "For fun"], ["Hi"]]
    assert [found.line for found in read_prompts(array).prompts] == [2, 6]


def test_an_array_names_its_bad_members_and_is_refused_where_it_breaks(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('[\n {"prompt": "a"},\n 3,\n {"prompt": "b"}]')
    with pytest.raises(InputError, match=r"a\.json:3: a member must be one JSON object"):
        read_prompts(file)
    assert [found.line for found in read_prompts(file, bad_lines=1).prompts] == [2, 4]
    file.write_text('[\n {"prompt": "a"},\n {"prompt": \n')
    with pytest.raises(InputError, match=r"a\.json:3: broken JSON array"):
        read_prompts(file, bad_lines=9)


def test_dialogues_may_be_called_messages(tmp_path):
    file = tmp_path / "m.jsonl"
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    file.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}))
    assert contents(file) == [["a", "b", "c"]]


def test_parquet_rows_are_read_and_named(tmp_path):
    file = tmp_path / "p.parquet"
    dialogue = [{"role": "user", "content": "a"}]
    pq.write_table(pa.table({"prompt": [dialogue, None, dialogue], "chosen": [None, "Human: x", None], "n": [1, 2, 3]}), file)  # fmt: skip  # noqa: E501
    assert contents(file) == [["a"], ["x"], ["a"]]
    pq.write_table(pa.table({"prompt": ["a", "  ", "b"]}), file)
    with pytest.raises(InputError, match=r"p\.parquet, row 2: no human turn.*prompts\.bad_lines=1"):
        read_prompts(file)
    assert [found.line for found in read_prompts(file, bad_lines=1).prompts] == [1, 3]


def test_a_table_without_prompts_and_a_torn_one_are_one_clear_line_each(tmp_path):
    file = tmp_path / "p.parquet"
    with pytest.raises(InputError, match="no such prompt file"):
        read_prompts(file)
    pq.write_table(pa.table({"question": ["a"]}), file)
    with pytest.raises(InputError, match=r"no column of prompts \(found 'question'\)"):
        read_prompts(file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole Parquet file") as error:
        read_prompts(file)
    assert "\n" not in str(error.value)


def test_text_is_a_prompt_per_line_or_parted_by_dashes(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("How?\n\n - why - \n")
    assert contents(file) == [["How?"], ["- why -"]]
    file.write_text("Human: a\n\nAssistant: b\n\nHuman: c\n----\n\nOne\ntwo\n---\n---\n")
    assert contents(file) == [["a", "b", "c"], ["One\ntwo"]]
    assert [found.line for found in read_prompts(file).prompts] == [1, 8]


def test_a_transcript_without_dashes_is_not_taken_apart_silently(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("Human: a\n\nAssistant: b\n")
    with pytest.raises(
        InputError, match=r"p\.txt:3: a turn of the assistant without a human turn before it.*three dashes"
    ):
        read_prompts(file)


def test_every_format_gives_the_same_prompts(tmp_path):
    texts = ["How do I a?", "Tell me b"]
    jsonl, text, table = tmp_path / "p.jsonl", tmp_path / "p.txt", tmp_path / "p.parquet"
    jsonl.write_text("".join(json.dumps({"prompt": each}) + "\n" for each in texts))
    text.write_text("\n".join(texts))
    pq.write_table(pa.table({"prompt": texts}), table)
    assert contents(jsonl) == contents(text) == contents(table) == [[each] for each in texts]


class TestDatasets:
    @pytest.fixture(autouse=True)
    def library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        self.datasets = datasets

    def test_a_folder_of_data_files_is_read_by_split(self, tmp_path):
        folder = tmp_path / "data"
        folder.mkdir()
        for split, texts in {"train": ["a", "b", "c"], "test": ["d"]}.items():
            (folder / f"{split}.jsonl").write_text("".join(json.dumps({"transcript": f"Human: {t}"}) + "\n" for t in texts))  # fmt: skip  # noqa: E501
        assert contents(f"hf:{folder}") == [["a"], ["b"], ["c"]]
        assert contents(f"hf:{folder}:test") == [["d"]]
        assert contents(f"hf:{folder}:train[1:]") == [["b"], ["c"]]
        with pytest.raises(InputError, match="cannot read the dataset"):
            read_prompts(f"hf:{folder}:nope")

    def test_a_saved_dataset_is_read_and_its_hash_is_of_its_rows(self, tmp_path):
        from solon.sources.datasets_library import dataset_hash

        one, other = f"hf:{tmp_path / 'one'}", f"hf:{tmp_path / 'other'}"
        rows = {"prompt": ["a", " "], "extra": [1, 2]}
        self.datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "one"))
        self.datasets.DatasetDict(test=self.datasets.Dataset.from_dict({"prompt": ["a", " "]})).save_to_disk(str(tmp_path / "other"))  # fmt: skip  # noqa: E501
        assert located(one) == one
        assert dataset_hash(one) == dataset_hash(other) == dataset_hash(f"{other}:test")
        with pytest.raises(InputError, match=r"one, row 2: no human turn"):
            read_prompts(one)
        assert len(list(entries(other))) == 2

    @pytest.mark.parametrize(
        ("name", "cause"),
        [("hf:", "not a name of a dataset"), ("hf:./nowhere", "no such folder"), ("hf:a:", "not a name of a dataset")],
    )
    def test_a_wrong_name_is_one_clear_line(self, name, cause):
        with pytest.raises(InputError, match=cause) as error:
            read_prompts(name)
        assert "\n" not in str(error.value)
