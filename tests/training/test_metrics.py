"""Metrics on the way: what a file holds after a kill, and what a tracker hears."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.config.recipe import Tracker
from solon.errors import RecipeError
from solon.training.metrics import JsonLines, Several, Tracked, open_trackers

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


@given(st.lists(TEXT, max_size=5), st.integers(0, 6))
def test_a_file_goes_back_to_the_step_of_the_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], step: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    lines = JsonLines(path)
    lines.begin(0)
    rows = [{"step": n + 1, "text": text} for n, text in enumerate(texts)]
    for row in rows:
        lines.add(row)
    assert read(path) == rows
    with path.open("a") as file:
        file.write('{"step": 1, "text": "torn')
    lines.begin(step)
    assert read(path) == rows[:step]


def test_a_new_run_takes_back_what_an_older_one_left(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n[]\n\xff\n', encoding="latin-1")
    JsonLines(path).begin(0)
    assert path.read_text() == ""


def test_a_tracker_hears_numbers_by_step_and_no_text(tmp_path: Path) -> None:
    from accelerate.state import PartialState
    from accelerate.tracking import GeneralTracker, on_main_process

    heard: list[Any] = []

    class Hearing(GeneralTracker):  # type: ignore[misc]  # accelerate has no types
        name = "hearing"
        requires_logging_directory = False

        @property
        def tracker(self) -> object:
            return heard

        @on_main_process  # type: ignore[untyped-decorator]
        def store_init_configuration(self, values: dict[str, Any]) -> None:
            heard.append(values)

        @on_main_process  # type: ignore[untyped-decorator]
        def log(self, values: dict[str, Any], step: int | None, **more: Any) -> None:
            heard.append((step, values))

    PartialState()
    sink = Several([JsonLines(tmp_path / "metrics.jsonl"), Tracked(Hearing())])
    sink.begin(0)
    sink.add({"step": 1, "kl": 0.5, "score": None, "reply": "<script>", "replies": 3})
    sink.finish()
    assert heard == [(1, {"kl": 0.5, "replies": 3})]
    assert read(tmp_path / "metrics.jsonl")[0]["reply"] == "<script>"


def test_a_tracker_that_is_not_installed_is_named_with_its_remedy(tmp_path: Path) -> None:
    missing = next((each for each in Tracker if importlib.util.find_spec(each.value) is None), None)
    if missing is None:
        pytest.skip("every tracker is installed")
    with pytest.raises(RecipeError, match=rf"rl\.trackers: .*pip install 'solon\[{missing.value}\]'"):
        open_trackers([missing], "run", tmp_path, {})


def test_tensorboard_gets_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tracked,) = open_trackers([Tracker.TENSORBOARD], "run", tmp_path, {"steps": 3, "adapter": None})
    tracked.add({"step": 1, "kl": 0.5})
    tracked.finish()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("kl")] == [(1, 0.5)]
