"""What the documentation's sentences and examples name exists: commands with their options, settings, constitutions.

The commands of `sh` blocks are in `test_commands.py`. Here are those within sentences, the settings that pages name,
and the YAML that they show.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from scripts.reference.commands_in import code_blocks, documented_commands, inline_code, pages
from scripts.reference.links import ROOT
from scripts.reference.settings import groups

from solon.cli.main import cli
from solon.config.builtin import DATA
from solon.config.experiment import load_experiment
from solon.config.loading import load_recipe
from solon.constitution.reader import load_constitution
from solon.conversation import Conversation, Role, Turn
from solon.pipeline.graders import grader_of
from tests.plugin_package import install

PAGES = [*pages(), ROOT / "SECURITY.md", DATA / "models" / "README.md"]
SETTINGS = {f"{path}.{name}" if path else name for path, group in groups() for name in group.model_fields}
MAPPINGS = ("feedback.axes", "planning.sizes", "planning.speeds", "plugins", "prompts.columns", "preference.columns")
"""Settings whose keys are the user's own."""
FILES = (".json", ".jsonl", ".py", ".yaml")


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


def command_of(words: list[str]) -> tuple[list[str], click.Command, list[str]]:
    """The names of a command, the command, and the words behind it."""
    names: list[str] = []
    rest = list(words)
    command: click.Command = cli
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        inner = command.get_command(click.Context(command), rest[0])
        assert inner is not None, f"no command: solon {' '.join(words)}"
        names.append(rest.pop(0))
        command = inner
    return names, command, rest


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_commands_of_a_page_s_sentences_exist_with_their_options(page: Path) -> None:
    for code in inline_code(page.read_text(encoding="utf-8")):
        if re.match(r"solon [a-z-]", code):
            _, command, rest = command_of(code.split()[1:])
            known = {name for each in command.params for name in each.opts} | {"--help", "--version"}
            assert {word for word in rest if word.startswith("--")} <= known, f"{relative(page)}: {code}"


def settings_named_in(text: str) -> list[str]:
    """The dotted names of inline code that begin as a setting's does."""
    sections = {name.partition(".")[0] for name in SETTINGS}
    named = re.compile(r"(?:--set )?([a-z_]+(?:\.[a-z_]+)+)(?:[=:].*)?")
    found = [match[1] for code in inline_code(text) if (match := named.fullmatch(code))]
    return [name for name in found if name.partition(".")[0] in sections and not name.endswith(FILES)]


def test_the_settings_that_pages_name_exist() -> None:
    named = [(relative(page), name) for page in PAGES for name in settings_named_in(page.read_text(encoding="utf-8"))]
    assert len(named) > 150
    assert [(page, name) for page, name in named if name not in SETTINGS and not name.startswith(MAPPINGS)] == []


def test_the_settings_of_the_table_for_other_trainers_exist() -> None:
    """Its first column leaves out the beginning of a name that the name before it has."""
    table = (ROOT / "docs/trainers.md").read_text(encoding="utf-8").split("## Settings")[1]
    unknown, count = [], 0
    for line in re.findall(r"^\| (`.*?) \|", table, re.M):
        start = ""
        for name in re.findall(r"`([a-z_.]+)(?:=[^`]*)?`", line.partition(":")[0]):
            whole = name if "." in name or not start else f"{start}.{name}"
            start, count = whole.rpartition(".")[0], count + 1
            unknown += [whole] if whole not in SETTINGS else []
    assert count > 30 and unknown == []


def test_no_two_commands_write_to_one_folder() -> None:
    """A reader types the commands of several pages in one folder."""
    writers: defaultdict[str, set[str]] = defaultdict(set)
    for page in pages():
        for each in documented_commands(page):
            names, command, rest = command_of(list(each.words))
            given = command.make_context(names[-1], rest).params
            for place in {given.get("out"), given.get("output"), given.get("folder")} - {None}:
                if names != ["serve-pm"]:
                    writers[str(place)].add(" ".join(names))
    assert len(writers) > 20
    assert {place: names for place, names in writers.items() if len(names) > 1} == {}


@pytest.fixture
def grader_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs the grader that the page about measures shows, registered as the page says."""
    page = (ROOT / "docs/how-to/own-measure.md").read_text(encoding="utf-8")
    (source,) = (code for code in code_blocks(page, "python") if "class " in code)
    (registration,) = code_blocks(page, "toml")
    install(
        monkeypatch, tmp_path / "site", "my_package", source, tomllib.loads(registration)["project"]["entry-points"]
    )


@pytest.mark.usefixtures("grader_of_the_page")
def test_the_grader_of_the_page_grades() -> None:
    grader = grader_of(load_recipe("testbed", settings=["measure.grader=short"]))
    assert grader is not None
    asked: Conversation = (Turn(Role.HUMAN, "How do I bake bread?"),)
    assert grader.rate(asked, "No.") == {"evasive"}
    assert grader.rate(asked, "Mix flour, water, salt and yeast.") == frozenset()
    assert grader.group(asked) is None


def yaml_blocks() -> list[tuple[str, str]]:
    return [(relative(page), code) for page in PAGES for code in code_blocks(page.read_text(encoding="utf-8"), "yaml")]


@pytest.mark.usefixtures("grader_of_the_page")
@pytest.mark.parametrize(
    ("page", "code"), yaml_blocks(), ids=[f"{page}-{n}" for n, (page, _) in enumerate(yaml_blocks())]
)
def test_the_yaml_of_a_page_loads(page: str, code: str, tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(code, encoding="utf-8")
    shown: dict[str, Any] = yaml.safe_load(code)
    if "variants" in shown:
        assert load_experiment(file).variants
    elif isinstance(shown.get("preference"), list):
        whole = yaml.safe_load((DATA / "constitutions" / "harmlessness.yaml").read_text(encoding="utf-8")) | shown
        file.write_text(yaml.safe_dump(whole), encoding="utf-8")
        assert len(load_constitution(file).preference) == len(shown["preference"])
    elif "distributed_type" in shown:
        assert ClusterConfig.from_yaml_file(yaml_file=str(file)).num_processes == shown["num_processes"]
    else:
        assert load_recipe("testbed", [file]) != load_recipe("testbed")


def test_the_page_of_constitutions_names_those_that_come_with_solon() -> None:
    page = (ROOT / "docs/constitution.md").read_text(encoding="utf-8")
    named = set(inline_code(page.split("```")[0]))
    assert {path.stem for path in (DATA / "constitutions").glob("*.yaml")} <= named
