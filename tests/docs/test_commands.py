"""Every command in the documentation parses, its settings exist, and the quick ones run, page by page."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from scripts.reference.commands_in import DocumentedCommand, code_blocks, documented_commands, pages
from scripts.reference.links import ROOT

from solon.api import check_constitution
from solon.cli.main import cli, main
from solon.config.experiment import load_experiment
from solon.config.loading import load_recipe
from solon.constitution.reader import load_constitution
from tests.synthetic import Plan, build

COMMANDS = [command for page in pages() for command in documented_commands(page)]
QUICK = ("status", "results", "report", "show", "constitution", "testbed words")
"""Commands that take a second and no model; each page's run in its order, in a folder of its own."""
NEEDS = {"paper.yaml", "swarm.json", "prompts/*.json", "house.yaml"}
"""What a reader has and a test has not."""


def text_of(command: DocumentedCommand) -> str:
    return " ".join(command.words)


def context_of(command: DocumentedCommand) -> click.Context:
    found: click.Command = cli
    words = list(command.words)
    while isinstance(found, click.Group):
        inner = found.get_command(click.Context(found), words.pop(0))
        assert inner is not None, f"{command.page}: solon {text_of(command)}"
        found = inner
    return found.make_context(found.name, words)


def make_run(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    build(path, Plan(red=6, held_out=6))


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 80
    assert {command.words[0] for command in COMMANDS} == set(cli.list_commands(click.Context(cli)))


@pytest.mark.parametrize("command", COMMANDS, ids=text_of)
def test_a_command_parses_and_its_settings_exist(command: DocumentedCommand) -> None:
    context = context_of(command)
    given = context.params
    if not given.get("settings") and not given.get("overlays"):
        return
    recipe = given.get("recipe") or "testbed"
    overlays = given.get("overlays") or ()
    # A file of the reader's own can hold anything; the recipe for a model of one's own stands in for it.
    settings = [each for each in given.get("settings", ()) if not each.startswith("constitution=")]
    loaded = load_recipe("own" if recipe.endswith(".yaml") else recipe, overlays, settings)
    if command.words[0] == "run":
        found = check_constitution(loaded.constitution, recipe=loaded)
        assert found.faults == (), "the constitution has not what these settings need"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_quick_commands_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [each for each in documented_commands(page) if text_of(each).startswith(QUICK)]
    quick = [each for each in quick if not NEEDS & set(each.words)]
    if not quick:
        pytest.skip("it has no quick commands")
    monkeypatch.chdir(tmp_path)
    for name in {word.split("/")[1] for each in quick for word in each.words if word.startswith("runs/")}:
        make_run(tmp_path / "runs" / name)
    for command in quick:
        with pytest.raises(SystemExit) as stop:
            main(command.words)
        out, err = capsys.readouterr()
        assert stop.value.code == 0, f"solon {text_of(command)}: {err}"
        if command.output:
            (tmp_path / command.output).write_text(out, encoding="utf-8")


@pytest.mark.slow
def test_a_dry_run_of_the_quickstart_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    dry = [each for each in documented_commands(ROOT / "docs/quickstart.md") if "--dry-run" in each.words]
    assert dry
    for command in dry:
        with pytest.raises(SystemExit) as stop:
            main([*command.words, "--set", "engine.threads=1"])
        out, err = capsys.readouterr()
        assert stop.value.code == 0, err
        assert "tokens" in out and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in [ROOT / "docs/quickstart.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]
        if code_blocks(page.read_text(encoding="utf-8"), "python")
    ],
    ids=lambda page: page.stem,
)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs/demo")
    monkeypatch.chdir(tmp_path)
    for code in code_blocks(page.read_text(encoding="utf-8"), "python"):
        exec(compile(code, str(page), "exec"), {"__name__": "documented"})
    assert not capsys.readouterr().err


def test_the_example_constitution_is_one(tmp_path: Path) -> None:
    (example,) = code_blocks((ROOT / "docs/constitution.md").read_text(encoding="utf-8"), "yaml")
    file = tmp_path / "example.yaml"
    file.write_text(example, encoding="utf-8")
    constitution = load_constitution(file)
    assert [each.id for each in constitution.revision] == [each.id for each in constitution.preference]


def test_the_example_ablation_is_one(tmp_path: Path) -> None:
    (example,) = code_blocks((ROOT / "docs/how-to/compare-variants.md").read_text(encoding="utf-8"), "yaml")
    file = tmp_path / "kl.yaml"
    file.write_text(example, encoding="utf-8")
    assert [variant.name for variant in load_experiment(file).variants] == ["weak", "strong"]
