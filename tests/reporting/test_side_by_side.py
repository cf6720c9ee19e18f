"""Two runs side by side: differences on the same prompts, settings, constitutions, replies."""

from pathlib import Path

import pytest

from solon.errors import RunError
from solon.reporting.effect.comparable_runs import compared_runs
from solon.reporting.side_by_side import two_runs, write_side_by_side
from solon.runs import RunDirectory
from tests.reporting.test_page import HOSTILE, Page, opened
from tests.synthetic import Plan, build


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, RunDirectory]:
    folder = tmp_path_factory.mktemp("two")
    return build(folder / "one", Plan(red=4, held_out=20)), build(folder / "other", Plan(red=4, held_out=20))


def test_the_page_shows_both_runs_and_their_replies(runs: tuple[RunDirectory, RunDirectory]) -> None:
    path = write_side_by_side(*runs)
    assert path == runs[0].path / "report-against-other.html"
    page = Page(opened(path.read_text(encoding="utf-8")))
    assert page.open == []
    assert {"measures", "settings", "training", "samples"} <= {each["id"] for _, each in page.elements if "id" in each}
    assert page.text.count("Can I believe it?") == 2
    assert "+0.0 points" in page.text and "No setting differs." in page.text
    assert "A, B: assistant" in page.text, "equal models have one row"
    content = two_runs(*runs)
    assert content.shelves[0].total == 40
    assert [version.title for version in content.shelves[0].samples[0].versions] == ["A: rl-cai", "B: rl-cai"]


def test_runs_without_common_measures_say_why(tmp_path: Path, runs: tuple[RunDirectory, RunDirectory]) -> None:
    begun = build(tmp_path / "begun", Plan(red=2, held_out=2, stages=3))
    assert two_runs(runs[0], begun).no_differences == "One of the runs has not measured its models yet."
    ungraded = build(tmp_path / "ungraded", Plan(red=2, held_out=2, rated=False))
    assert "has no grader" in two_runs(runs[0], ungraded).no_differences
    page = Page(write_side_by_side(runs[0], begun, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.open == [] and "not measured its models yet" in page.text


def test_hostile_names_and_texts_stay_text(tmp_path: Path, runs: tuple[RunDirectory, RunDirectory]) -> None:
    plan = Plan(
        red=4, held_out=20, name=" ".join(HOSTILE[:20]), spoil=lambda words: f"{words} {HOSTILE[0]} {HOSTILE[3]}"
    )
    hostile = build(tmp_path / "hostile", plan), build(tmp_path / "more-hostile", plan)
    page = Page(opened(write_side_by_side(*hostile).read_text(encoding="utf-8")))
    plain = Page(opened(write_side_by_side(*runs).read_text(encoding="utf-8")))
    assert page.open == [] and page.shape - plain.shape == set()


def test_a_run_is_not_compared_with_itself(tmp_path: Path, runs: tuple[RunDirectory, RunDirectory]) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(runs[0].path, target_is_directory=True)
    with pytest.raises(RunError, match="both names are of the same run"):
        write_side_by_side(runs[0], RunDirectory.open(linked), tmp_path / "page.html")
    with pytest.raises(RunError, match="both names are of the same run"):
        compared_runs(runs[0], runs[0])
    assert not (tmp_path / "page.html").exists()
