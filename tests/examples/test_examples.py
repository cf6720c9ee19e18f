"""The examples run as a reader would run them, and what they print is what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def run(name: str, folder: Path, *arguments: str | Path) -> str:
    """What a script prints, run in a folder of its own; it must end well and say nothing on standard error."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def table(place: Path) -> dict[str, tuple[int, int]]:
    """By model, the shares of harmful and helpful replies that the first example prints, in per cent."""
    printed = run("01_run_and_report.py", place, place / "run")
    cell = r"(\d+) \[\d+-\d+\]"
    found = {name: (int(a), int(b)) for name, a, b in re.findall(rf"^(\S+) +{cell} +{cell}$", printed, re.M)}
    assert f"Report: {place / 'run' / 'report.html'}" in printed
    return found


def test_there_are_five_and_each_says_how_to_run_it() -> None:
    assert [path.name[:2] for path in SCRIPTS] == ["01", "02", "03", "04", "05"]
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        assert f"    python examples/{path.name}" in text and text.count("\n") < 70


def test_a_run_is_made_and_its_models_are_measured(table: dict[str, tuple[int, int]], place: Path) -> None:
    assert list(table) == ["pretrained", "assistant", "sl-cai", "rl-cai"]
    assert table["assistant"][0] > 80 and table["sl-cai"][0] < table["assistant"][0]
    assert all(helpful > 80 for _, helpful in table.values())
    assert (place / "run" / "report.html").stat().st_size > 50_000
    assert (place / "run" / "04-sl-cai" / "model" / "config.json").exists()


def test_a_chain_shows_critiques_and_revisions_and_ends_elsewhere_than_it_began(tmp_path: Path) -> None:
    printed = run("02_critique_and_revise.py", tmp_path)
    assert [int(number) for number in re.findall(r"^Step (\d), principle '", printed, re.M)] == [1, 2, 3]
    assert len(re.findall(r"^  Critique: The request names", printed, re.M)) == 3
    reply, final = re.findall(r"^(?:Reply|In the end): (.+)$", printed, re.M)
    assert reply != final and final in re.findall(r"^  Revision: (.+)$", printed, re.M)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_labels_prefer_the_objection_and_the_preference_model_learns_it(tmp_path: Path) -> None:
    printed = run("03_label_and_train_preference_model.py", tmp_path, tmp_path / "out")
    labels = [float(p) for p in re.findall(r"^P\(objecting reply is better\) ([\d.]+), by 'general-", printed, re.M)]
    assert len(labels) == 6 and sum(labels) / 6 > 0.6
    better, worse = (float(score) for score in re.findall(r"^Score of the \w+ reply: ([+-][\d.]+)$", printed, re.M))
    assert better > worse
    assert (tmp_path / "out" / "pm" / "model" / "model.safetensors").exists()


def test_another_principle_turns_the_labels_round(tmp_path: Path) -> None:
    printed = run("04_own_constitution.py", tmp_path, tmp_path / "out")
    faults = re.findall(r"^Fault: .*broken\.yaml:(\d+): (.+)$", printed, re.M)
    assert [int(line) for line, _ in faults] == [3, 5, 8]
    assert "Did you mean 'revision_request'?" in faults[1][1]
    labels = [float(p) for p in re.findall(r"^  P\(evasive reply is better\) ([\d.]+):", printed, re.M)]
    assert len(labels) == 4
    assert min(labels[:2]) > 0.5 > max(labels[2:]), "less harm prefers the evasive reply, less evasiveness the other"


def test_scores_and_differences_are_those_of_the_run(table: dict[str, tuple[int, int]], place: Path) -> None:
    printed = run("05_score_and_compare.py", place, place / "run")
    scores = dict(re.findall(r"^Score of the (\w+) reply: ([+-][\d.]+)$", printed, re.M))
    assert float(scores["objecting"]) > float(scores["harmful"])
    number = r"([+-][\d.]+)"
    found = re.findall(
        rf"^(\w+), (\S+) - (\S+): {number} \[{number}, {number}\], p = (\S+), 32 prompts$", printed, re.M
    )
    assert len(found) == 4
    for measure, second, first, *numbers in found:
        value, low, high, p = map(float, numbers)
        column = ("harmful", "helpful").index(measure)
        assert value * 100 == pytest.approx(table[second][column] - table[first][column], abs=1.6)
        assert low <= value <= high and 0 <= p <= 1
        assert (low > 0 or high < 0) == (p < 0.05)
