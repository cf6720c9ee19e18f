import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.errors import RunError
from solon.runs.response_cache import ANSWERS, CachedAnswer, ResponseCache, Usage, response_cache_in


def answer(key: str, value: object = "v", stage: str = "s", role: str = "critique") -> CachedAnswer:
    return CachedAnswer(key, value, stage, role, 10, 3)


def test_what_is_kept_is_found_in_another_session(tmp_path: Path) -> None:
    with response_cache_in(tmp_path) as answers:
        assert answers.find(["a", "b"], "s") == {}
        assert not (tmp_path / ANSWERS).exists(), "looking makes no file"
        answers.keep([answer("a", ["text", "end"]), answer("b", [0.1, -math.inf])])
    with response_cache_in(tmp_path) as answers:
        assert answers.find(["b", "c", "a"], "s") == {"a": ["text", "end"], "b": [0.1, -math.inf]}


@given(texts=st.lists(st.text(st.characters(), max_size=20), max_size=5), number=st.floats(allow_nan=False))
def test_any_text_and_any_number_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], number: float
) -> None:
    with response_cache_in(tmp_path_factory.mktemp("a")) as answers:
        answers.keep([answer(str(place), [text, number]) for place, text in enumerate(texts)])
        keys = [str(place) for place in range(len(texts))]
        assert answers.find(keys, "s") == {key: [text, number] for key, text in zip(keys, texts, strict=True)}


def test_more_keys_than_one_query_takes(tmp_path: Path) -> None:
    with response_cache_in(tmp_path) as answers:
        answers.keep(answer(str(number), number) for number in range(1203))
        assert answers.find([str(number) for number in range(2000)], "s") == {str(n): n for n in range(1203)}


def test_answers_of_an_earlier_run_become_this_runs_own(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    with response_cache_in(old) as answers:
        answers.keep([answer("a", 1, "old stage"), answer("b", 2, "old stage")])
    before = (old / ANSWERS).read_bytes()
    with response_cache_in(new, [old]) as answers:
        answers.keep([answer("c", 3)])
        assert answers.find(["a", "c", "d"], "stage") == {"a": 1, "c": 3}
        assert answers.usage() == {
            ("stage", "critique"): Usage(1, 1, 10, 3),
            ("s", "critique"): Usage(1, 0, 10, 3),
        }
    assert (old / ANSWERS).read_bytes() == before
    (old / ANSWERS).unlink()
    with response_cache_in(new, [old]) as answers:
        assert answers.find(["a", "b"], "stage") == {"a": 1}, "without the old run, what was found stays"
    assert not (old / ANSWERS).exists()


def test_a_key_is_kept_once(tmp_path: Path) -> None:
    with response_cache_in(tmp_path) as answers:
        answers.keep([answer("a", "first"), answer("a", "second")])
        answers.keep([answer("a", "third")])
        assert answers.find(["a"], "s") == {"a": "first"}
        assert answers.usage()["s", "critique"].answers == 1


def test_a_damaged_or_newer_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / ANSWERS).write_bytes(b"this is no database, and long enough to be looked at" * 9)
    with pytest.raises(RunError, match=rf"{ANSWERS}: the cached answers are damaged.*Delete the file"):
        ResponseCache(tmp_path / ANSWERS).find(["a"], "s")
    (tmp_path / ANSWERS).unlink()
    with sqlite3.connect(tmp_path / ANSWERS) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RunError, match="newer version"):
        ResponseCache(tmp_path / ANSWERS).find(["a"], "s")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with response_cache_in(tmp_path) as answers, pytest.raises(RunError, match="nothing finished is lost"):
        answers.keep([answer("a")])


def test_a_kill_leaves_whole_batches(tmp_path: Path) -> None:
    """A process that dies at once after `keep` has lost nothing, and one that dies in it has kept all or none."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from solon.runs.response_cache import CachedAnswer, response_cache_in\n"
        "with response_cache_in(Path(sys.argv[1])) as answers:\n"
        "    for batch in range(100):\n"
        "        print(batch, flush=True)\n"
        "        answers.keep(CachedAnswer(f'{batch}-{n}', 'x' * 5000, 's', 'r', 1, 1) for n in range(20))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "7":
            process.kill()
            break
    process.stdout.read()
    process.stdout.close()
    process.wait()
    with response_cache_in(tmp_path) as answers:
        kept = [len(answers.find([f"{batch}-{n}" for n in range(20)], "s")) for batch in range(100)]
    assert kept[:7] == [20] * 7
    assert set(kept) <= {0, 20}


# Damage ---------------------------------------------------------------------------------------------------------------


def change(file: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(file)
    with connection:
        connection.execute(statement, values)
    connection.close()


def kept(folder: Path) -> Path:
    folder.mkdir()
    with response_cache_in(folder) as answers:
        answers.keep(answer(str(number), ["The same long text of an answer", "end"]) for number in range(9))
    return folder / ANSWERS


@pytest.mark.parametrize("place", range(0, 31, 5))
@pytest.mark.parametrize("to", [b"X", b"\xff", b"\0"])
def test_a_byte_that_flipped_in_an_answer_is_told_and_the_others_are_kept(
    tmp_path: Path, place: int, to: bytes
) -> None:
    file = kept(tmp_path / "run")
    content = bytearray(file.read_bytes())
    start = content.index(b"The same long text")
    content[start + place : start + place + 1] = to
    file.write_bytes(content)
    keys = [str(number) for number in range(9)]
    with response_cache_in(file.parent) as answers, pytest.raises(RunError) as caught:
        answers.find(keys, "s")
    assert f"{ANSWERS}: the cached answer" in str(caught.value) and "is damaged. Run the same command" in str(
        caught.value
    )
    with response_cache_in(file.parent) as answers:
        assert len(answers.find(keys, "s")) == 8


@pytest.mark.parametrize(
    "column", ["value = '[\"other\", \"end\"]'", "value = '{'", "value = x'00'", "stage = 't'", "prompt_tokens = 'x'",
               "checksum = ''", "reply_as = 'revision'"]
)  # fmt: skip
def test_every_column_is_covered(tmp_path: Path, column: str) -> None:
    file = kept(tmp_path / "run")
    change(file, f"UPDATE answers SET {column} WHERE key = '3'")
    with response_cache_in(file.parent) as answers:
        assert len(answers.find(["2"], "s")) == 1
        with pytest.raises(RunError, match="the cached answer 3 is damaged"):
            answers.find(["2", "3"], "s")


def test_many_damaged_answers_are_told_and_removed_at_once(tmp_path: Path) -> None:
    file = kept(tmp_path / "run")
    change(file, "UPDATE answers SET value = '[]' WHERE key < '4'")
    with response_cache_in(file.parent) as answers:
        with pytest.raises(RunError, match="the cached answer 1 is damaged, and 3 more"):
            answers.find(["1"], "s")
        assert len(answers.find([str(number) for number in range(9)], "s")) == 5


def test_an_answer_of_another_shape_is_told(tmp_path: Path) -> None:
    with response_cache_in(tmp_path) as answers:
        answers.keep([answer("a", {"text": 1}), answer("b", [1.5])])
        assert answers.find(["b"], "s", lambda value: isinstance(value, list)) == {"b": [1.5]}
        with pytest.raises(RunError, match="the cached answer a is damaged"):
            answers.find(["a", "b"], "s", lambda value: isinstance(value, list))
        assert answers.find(["a"], "s") == {}


def test_what_is_damaged_in_an_earlier_run_is_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = kept(tmp_path / "old")
    change(file, "UPDATE answers SET value = '[1]' WHERE key = '3'")
    before = file.read_bytes()
    (tmp_path / "new").mkdir()
    with response_cache_in(tmp_path / "new", [file.parent]) as answers:
        assert set(answers.find(["2", "3"], "s")) == {"2"}
    assert "the answer 3 is damaged; the model is asked again" in caplog.text
    assert file.read_bytes() == before


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / ANSWERS).symlink_to(tmp_path / "elsewhere")
    with response_cache_in(tmp_path) as answers, pytest.raises(RunError, match="this is a link"):
        answers.keep([answer("a")])
    assert (tmp_path / "elsewhere").read_bytes() == b""
