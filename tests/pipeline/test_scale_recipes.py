"""The recipes for scale: each loads, and its dry run without any model prints memory, time and a cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from solon.cli.main import main
from solon.config.builtin import DATA, built_in
from solon.config.loading import load_recipe
from solon.pipeline.preflight import refuse_contradictions

RECIPES = sorted(name for name in built_in(DATA / "recipes", (".yaml",)) if name.startswith("scale-"))
PAPER_CALLS = {"replies to red-team prompts": 182_831, "critiques": 4 * 182_831, "revisions": 4 * 182_831}
CHECKED = 40
"""Replies with known faults that the critic is measured on."""


def dry_run(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["run", "runs/x", "--dry-run", *more])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # whoever looks there fails


def test_there_are_recipes_for_each_size() -> None:
    sizes = ("scale-eight-billion-full", "scale-eight-billion-lora", "scale-half-billion", "scale-paper")
    assert [*sizes, "scale-seventy-billion-judge"] == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_the_dry_run_prints_memory_time_and_a_cost(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    refuse_contradictions(recipe)
    code, out, err = dry_run(capsys, "--recipe", name)
    assert code == 0, err
    cost = re.search(r"It would cost about ([\d,.]+) by the prices in the recipe", out)
    assert cost and float(cost[1].replace(",", "")) > 0
    assert re.search(r"The whole run would take about \d+:\d\d:\d\d, by the assumptions below", out)
    assert "Memory of one process, about" in out and "Assumed:" in out and "Measured:" not in out
    for part in ("asking models", "finetuning", "the preference model", "reinforcement learning"):
        assert re.search(rf"{part} .* GB", out)
    assert "needs about" not in err, "it fits the GPU that it is for"
    assert list(tmp_path.iterdir()) == [], "nothing is fetched or written"


def test_the_paper_s_plan_counts_its_calls_and_follows_the_rates(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = dry_run(capsys, "--recipe", "scale-paper")
    for what, number in PAPER_CALLS.items():
        row = re.search(rf": {what} +([\d,]+)", out)
        assert row and number <= int(row[1].replace(",", "")) <= number + CHECKED
    served = "openai:your-52b@http://127.0.0.1:8000"
    assert f"Assumed: {served} reads 100,000 and writes 20,000 tokens a second" in out
    faster = f'planning.speeds={{"{served}": {{reading: 1.0e+12, writing: 1.0e+12}}}}'
    _, quick, _ = dry_run(capsys, "--recipe", "scale-paper", "--set", faster)
    taken = [re.search(r"would take about (\d+):(\d\d):(\d\d)", text) for text in (out, quick)]
    hours = [int(found[1]) + int(found[2]) / 60 for found in taken if found]
    assert len(hours) == 2 and hours[1] < hours[0] / 4


def test_a_model_of_unknown_speed_is_named_and_its_time_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = dry_run(capsys, "--recipe", "scale-half-billion", "--set", "model=hf:some-org/unheard-of")
    assert code == 0, err
    assert "Its speed is not known, so its time is not counted; planning.speeds names one for hf:some-org" in out
    assert "How long the whole run would take is not known." in out and "0.0 s" not in out
    assert re.search(r"^ +sl-cai +[\d,]+ +not known$", out, re.M) and "would cost" not in out
    assert "Memory of one process" not in out or "finetuning" not in out


def test_a_time_without_that_of_a_model_of_unknown_speed_is_a_lower_bound(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = dry_run(
        capsys, "--recipe", "scale-half-billion", "--set", "models.feedback=hf:some-org/unheard-of"
    )
    assert code == 0, err
    assert re.search(r"The whole run would take about \d\S* and more, by the assumptions below", out)
    assert re.search(r"It would cost about [\d.]+ and more by the prices", out)
    assert re.search(r"ai-feedback: \w+ .* not known$", out, re.M) and re.search(r"^ +all .* and more$", out, re.M)


def test_a_plan_that_does_not_fit_its_gpu_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = dry_run(
        capsys, "--recipe", "scale-eight-billion-lora", "--set", "planning.gpu.memory_gb=12", "--set", "rl.steps=9"
    )
    assert code == 1
    assert re.search(r"memory: .* needs [\d.]+ GB of memory at least, and the planned 80 GB GPU has 12.0 GB", err)


def test_server_prices_are_part_of_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    free = ("--recipe", "scale-seventy-billion-judge", "--set", "planning.gpu.price_per_hour=0")
    _, out, _ = dry_run(capsys, *free)
    assert "It would cost" not in out
    _, out, _ = dry_run(
        capsys, *free, "--set", "engine.server.prompt_price=1", "--set", "engine.server.completion_price=2"
    )
    rows = re.findall(r"(?m)^ +(?:critique-revision|ai-feedback|measure): (?!replies).*?((?: +[\d,]+){5}) ", out)
    assert rows
    tokens = [[int(each.replace(",", "")) for each in row.split()] for row in rows]
    price = sum(row[1] * 1 + row[3] * 2 for row in tokens) / 1e6
    told = re.search(r"It would cost about ([\d,.]+) ", out)
    assert told and float(told[1].replace(",", "")) == pytest.approx(price, rel=1e-3)
