import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runs.descriptors import opened_in

from solon.errors import RunError, StageError
from solon.runs.journal import Chunk, Journal, JournalLine, journal_line, read_lines
from solon.runs.outcome import Outcome

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
rows = st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=3), max_size=3)

BODIES = [b'{"phase":"a","chunk":%d,"rows":[{"text":"x\\ny\\u0000"}]}' % number for number in range(3)]
LINES = [journal_line(body) for body in BODIES]


def parse_journal(content: bytes, place: str) -> tuple[list[JournalLine], int]:
    """The whole lines, and how many of the bytes they fill."""
    lines = list(read_lines(io.BytesIO(content), place))
    return lines, lines[-1].end if lines else 0


def fill(path: Path, count: int) -> None:
    journal = Journal.open(path)
    for number in range(count):
        journal.append(Chunk("a", number, 2, 2 * count), [{"n": number, "text": "x\ny\0é\u2028"}], 1.5)
    journal.close()


@given(st.lists(rows, min_size=1, max_size=4))
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, chunks: list[list[Any]]) -> None:
    path = tmp_path_factory.mktemp("j") / "journal.jsonl"
    journal = Journal.open(path)
    places = [Chunk("a", number, 1, len(chunks)) for number in range(len(chunks))]
    returned = [journal.append(place, chunk, 0.5) for place, chunk in zip(places, chunks, strict=True)]
    journal.close()
    again = Journal.open(path)
    assert returned == chunks == [again.rows(place) for place in places]
    assert again.seconds == 0.5 * len(chunks)
    assert not again.torn
    again.close()


def test_values_read_the_same_now_and_after_a_resume(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j")
    now = journal.append(Chunk("a", 0, 1, 1), [{"pair": ("x", "y"), "outcome": Outcome.OK, "bad": "\ud800"}], 0)
    journal.close()
    after = Journal.open(tmp_path / "j")
    assert now == after.rows(Chunk("a", 0, 1, 1)) == [{"pair": ["x", "y"], "outcome": "ok", "bad": "\ud800"}]
    assert type(now[0]["outcome"]) is str
    after.close()


def test_a_journal_torn_at_any_byte_owes_only_its_last_chunk() -> None:
    content = b"".join(LINES)
    ends = [0, *(len(b"".join(LINES[:count])) for count in (1, 2, 3))]
    for length in range(len(content) + 1):
        records, durable = parse_journal(content[:length], "j")
        whole = max(count for count, end in enumerate(ends) if end <= length)
        assert (len(records), durable) == (whole, ends[whole])


@given(st.integers(0, len(LINES[-1])), st.integers(0, 9000))
def test_a_tail_filled_with_nul_is_owed_again(kept: int, nuls: int) -> None:
    before = b"".join(LINES[:2])
    records, durable = parse_journal(before + LINES[2][:kept] + b"\0" * nuls, "j")
    whole = kept == len(LINES[2])
    assert (len(records), durable) == ((3, len(before + LINES[2])) if whole else (2, len(before)))


@given(st.integers(0, len(LINES[2]) - 1), st.integers(1, 255))
def test_any_changed_byte_of_the_last_line_is_noticed(position: int, change: int) -> None:
    last = bytearray(LINES[2])
    last[position] ^= change
    # A changed byte may become a line break and so leave something after the broken line.
    try:
        records, durable = parse_journal(b"".join(LINES[:2]) + bytes(last), "j")
    except RunError:
        assert last[position] == ord("\n")
    else:
        assert (len(records), durable) == (2, len(b"".join(LINES[:2])))


@given(st.integers(0, len(LINES[1]) - 1), st.integers(1, 255))
def test_damage_in_the_middle_is_an_error_that_names_the_line(position: int, change: int) -> None:
    middle = bytearray(LINES[1])
    middle[position] ^= change
    with pytest.raises(RunError, match=r"^run/03-x/journal\.jsonl:2: the journal is damaged") as caught:
        parse_journal(LINES[0] + bytes(middle) + LINES[2], "run/03-x/journal.jsonl")
    assert "delete run/03-x to do the stage again" in str(caught.value)


def test_a_torn_line_followed_by_good_ones_is_an_error() -> None:
    with pytest.raises(RunError, match="j:2: "):
        parse_journal(LINES[0] + LINES[1][:20] + b"\n" + LINES[2], "j")


def test_opening_cuts_the_torn_tail_off_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    fill(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    journal = Journal.open(path)
    assert journal.torn
    assert journal.rows(Chunk("a", 1, 2, 6)) is not None
    assert journal.rows(Chunk("a", 2, 2, 6)) is None
    journal.append(Chunk("a", 2, 2, 6), [{"n": 2, "text": "x\ny\0é\u2028"}], 1.5)
    journal.close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\n\n"])
def test_an_empty_journal_owes_everything(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    journal = Journal.open(path)
    assert journal.rows(Chunk("a", 0, 1, 1)) is None
    journal.close()
    assert path.read_bytes() == b""


def test_other_items_than_before_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "j", 1)
    journal = Journal.open(tmp_path / "j")
    with pytest.raises(RunError, match="chunk 0 of phase 'a' has 2 of 2 items, and now it would have 2 of 9"):
        journal.rows(Chunk("a", 0, 2, 9))
    journal.close()


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x"])
def test_a_row_that_is_no_json_is_refused_and_nothing_written(tmp_path: Path, value: object) -> None:
    journal = Journal.open(tmp_path / "j")
    with pytest.raises(StageError, match="phase 'a', chunk 0: cannot write a row as JSON"):
        journal.append(Chunk("a", 0, 1, 1), [{"x": value}], 0)
    journal.close()
    assert (tmp_path / "j").read_bytes() == b""


@pytest.mark.parametrize("operation", ["write", "fsync"])
def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    path = tmp_path / "j"
    fill(path, 2)
    before = path.read_bytes()
    journal = Journal.open(path)
    write: Callable[..., int] = os.write

    def full(descriptor: int, *data: Any) -> None:
        if data:
            write(descriptor, bytes(data[0])[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, operation, full)
        with pytest.raises(
            RunError, match=r"j: cannot write: No space left on device \(.* are needed\)\. Free disk space"
        ):
            journal.append(Chunk("a", 2, 2, 6), [{}], 0)
    assert path.read_bytes() == before
    journal.append(Chunk("a", 2, 2, 6), [{}], 0)
    journal.close()
    again = Journal.open(path)
    assert again.rows(Chunk("a", 2, 2, 6)) == [{}] and not again.torn
    again.close()


def test_seconds_of_checkpointed_work_add_up(tmp_path: Path) -> None:
    fill(tmp_path / "j", 2)
    journal = Journal.open(tmp_path / "j")
    journal.append_worked(4.0)
    journal.close()
    again = Journal.open(tmp_path / "j")
    assert again.seconds == 7.0
    again.close()


def test_rows_that_changed_on_the_disk_are_not_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "j"
    fill(path, 2)
    journal = Journal.open(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"n":1', b'"n":7'))
    assert journal.rows(Chunk("a", 0, 2, 4)) is not None
    with pytest.raises(RunError, match="chunk 1 of phase 'a' has changed on the disk"):
        journal.rows(Chunk("a", 1, 2, 4))
    journal.close()


def test_texts_that_look_like_the_record_are_only_texts(tmp_path: Path) -> None:
    tricky = [{"text": '","rows":[', "rows": [1], "phase": "b"}]
    journal = Journal.open(tmp_path / "j")
    journal.append(Chunk(',"rows":[', 0, 1, 1), tricky, 2.0)
    journal.close()
    again = Journal.open(tmp_path / "j")
    assert again.rows(Chunk(',"rows":[', 0, 1, 1)) == tricky and again.seconds == 2.0
    again.close()


def test_a_journal_that_cannot_be_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(LINES[0] + b"damaged\n" + LINES[1])
    with pytest.raises(RunError):
        Journal.open(path)
    assert not opened_in(tmp_path)
