"""The front ends of a run's progress."""

import pytest

from solon.cli.display import (
    ManagedDisplay,
    PlainDisplay,
    QuietDisplay,
    RichDisplay,
    clock,
    display_for,
    position,
    summary,
)
from solon.runs import Progress


def play(display: ManagedDisplay) -> None:
    with display as shown:
        shown.stage_kept(1, "prompts", 9, 300)
        shown.stage_started(2, "responses", 9)
        shown.progress(Progress("responses", "", 10, 300, "[red]\x1b[2Jnote[/red]", "replies", 2.0))
        shown.progress(Progress("responses", "", 300, 300, "", "replies", 2.0))
        shown.stage_finished("responses", 300, {"ok": 297, "truncated": 3}, 12.3)


def test_plain_lines_say_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 20.0, 20.0, 21.0])
    play(PlainDisplay(now=lambda: next(times)))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "[1/9] prompts: finished before, 300 rows",
        "[2/9] responses",
        "      10/300 replies, 2.0/s, 2:25 left; [red]note[/red]",
        "      responses: 300 rows in 12.3 s: ok 297, truncated 3",
    ]


def test_the_live_display_prints_finished_stages_and_no_control_characters_of_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    play(RichDisplay())
    _, err = capsys.readouterr()
    assert "300 rows in 12.3 s: ok 297, truncated 3" in err
    assert "\x1b[2Jnote" not in err


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    play(QuietDisplay())
    assert capsys.readouterr() == ("", "")


def test_off_a_terminal_the_display_is_plain() -> None:
    assert type(display_for()) is PlainDisplay
    assert type(display_for(quiet=True)) is QuietDisplay


@pytest.mark.parametrize(("seconds", "shown"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (200, "3:20"), (7500, "2:05:00")])
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_summary_without_outcomes_is_rows_and_time() -> None:
    assert summary("prompts", 1200, {}, 3.0) == "1,200 rows in 3.0 s"


@pytest.mark.parametrize(
    ("done", "rate", "shown"),
    [
        (0, None, "0/40 steps, time left unknown"),
        (10, 4.0, "10/40 steps, 4.0/s, 7.5 s left"),
        (10, 0.05, "10/40 steps, 20.0 s each, 10:00 left"),
        (40, 4.0, "40/40 steps"),
    ],
)
def test_a_position_says_what_it_counts_the_rate_and_the_time_left(done: int, rate: float | None, shown: str) -> None:
    assert position(Progress("rl-cai", "", done, 40, unit="steps", rate=rate)) == shown


def test_a_plug_in_that_trains_counts_steps_too(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay() as shown:
        shown.stage_finished("house-tuning", 36, {}, 3.0, "steps")
    assert capsys.readouterr().err == "      house-tuning: 36 steps in 3.0 s\n"


def test_a_stage_that_trains_counts_steps_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay() as shown:
        shown.stage_finished("soft: rl-cai-2", 36, {}, 3.0)
        shown.stage_kept(4, "sl-cai", 9, 1)
    assert capsys.readouterr().err.splitlines() == [
        "      soft: rl-cai-2: 36 steps in 3.0 s",
        "[4/9] sl-cai: finished before, 1 step",
    ]
