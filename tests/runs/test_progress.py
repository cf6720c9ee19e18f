"""How far a stage is, how fast, and what a second process reads of it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.row_types import IdRow

from solon.runs import Report, StageFolder, begin_folder, ignore
from solon.runs.interrupt import StopRequest
from solon.runs.progress import PROGRESS, Pace, Progress, saved_progress


def begin(folder: Path, report: Report = ignore) -> StageFolder:
    return begin_folder(folder, (1, "prompts"), {}, report, StopRequest())


def number_rows(items: Sequence[int]) -> list[IdRow]:
    return [IdRow(str(item)) for item in items]


def pace_at(*times: float) -> Pace:
    clock = iter(times)
    return Pace(now=lambda: next(clock))


def test_there_is_no_rate_before_the_second_report() -> None:
    pace = pace_at(10.0, 14.0)
    assert pace.rate(100) is None
    assert pace.rate(108) == pytest.approx(2.0)


def test_the_rate_forgets_a_slow_start() -> None:
    times = [0.0, *(1000.0 + 10 * n for n in range(20))]
    pace = pace_at(*times)
    rates = [pace.rate(10 * n) for n in range(len(times))]
    assert rates[1] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(1.0), "from the start it would be 200 in 1190 s"


def test_rare_reports_give_a_rate_too() -> None:
    pace = pace_at(*(600.0 * n for n in range(6)))
    assert [pace.rate(128 * n) for n in range(6)][-1] == pytest.approx(128 / 600)


def test_a_count_that_falls_begins_anew() -> None:
    pace = pace_at(0.0, 1.0, 2.0, 3.0)
    pace.rate(0)
    pace.rate(50)
    assert pace.rate(10) is None
    assert pace.rate(20) == pytest.approx(10.0)


def test_time_left_is_unknown_until_there_is_a_rate() -> None:
    assert Progress("sl-cai", "", 3, 10).seconds_left is None
    assert Progress("sl-cai", "", 4, 10, rate=2.0).seconds_left == 3.0
    assert Progress("sl-cai", "", 10, 10).seconds_left == 0.0


def test_chunks_of_an_earlier_session_are_not_counted_as_fast_work(tmp_path: Path) -> None:
    def fail_at_four(items: Sequence[int]) -> list[IdRow]:
        if 4 in items:
            raise ValueError
        return number_rows(items)

    with pytest.raises(ValueError):
        begin(tmp_path / "stage").map("reply", range(6), fail_at_four, row=IdRow, chunk=2)
    told: list[Progress] = []
    begin(tmp_path / "stage", told.append).map("reply", range(6), number_rows, row=IdRow, chunk=2, unit="replies")
    assert [(each.done, each.unit) for each in told] == [(4, "replies"), (6, "replies")]
    assert told[0].rate is None


def test_another_process_reads_the_progress_and_a_finished_stage_has_none(tmp_path: Path) -> None:
    out = begin(tmp_path / "stage")
    out.report(3, 8, "loss 0.1", unit="steps")
    saved = saved_progress(out.path)
    assert saved is not None
    assert saved.progress == Progress("prompts", "", 3, 8, "loss 0.1", "steps")
    out.publish(number_rows([1]), IdRow)
    assert not (out.path / PROGRESS).exists()
    assert saved_progress(out.path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"progress": {"done": "x"}, "at": 0}', '{"at": NaN}', "[" * 100_000])
def test_a_damaged_file_is_no_progress(tmp_path: Path, content: str) -> None:
    (tmp_path / PROGRESS).write_text(content)
    assert saved_progress(tmp_path) is None


def test_a_link_is_no_progress(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / PROGRESS).symlink_to(tmp_path / "elsewhere")
    assert saved_progress(tmp_path) is None
