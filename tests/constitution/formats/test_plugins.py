"""A format that another package registers: read, written, and refused in words when it does not do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.cli.test_cli import run

from solon.constitution.constitution import Constitution, PreferencePrinciple, RevisionPrinciple
from solon.constitution.formats.catalogue import export_formats, read_parts, write_constitution_as
from solon.errors import InputError, RecipeError

HOUSE = '''
"""Rules of a house: {"house": [{"never": TEXT, "instead": TEXT}, ...]}."""

from solon.constitution.constitution import RevisionPrinciple
from solon.constitution.formats.catalogue import ConstitutionFormat
from solon.constitution.formats.parts import Parts


def read(node):
    rules = node.at("house").each()
    return Parts(
        revision=tuple(
            RevisionPrinciple(f"rule-{n}", rule.at("never").text(), rule.at("instead").text())
            for n, rule in enumerate(rules, start=1)
        )
    )


def write(principles):
    return {"house": [{"never": p.critique_request, "instead": p.revision_request} for p in principles]}


FORMAT = ConstitutionFormat(
    "rules of a house",
    lambda value: isinstance(value, dict) and "house" in value,
    read,
    lambda node, parts: write(parts.revision),
    export=lambda constitution: write(constitution.revision),
)
NUMBER = 7
'''
CONSTITUTION = Constitution(
    "mine",
    "",
    (RevisionPrinciple("rule-1", "Say where the reply is loud.", "Rewrite it in a low voice."),),
    (PreferencePrinciple("quiet", "Choose the quieter reply."),),
)


def register(folder: Path, line: str) -> None:
    """A package with one entry point, as an installer would leave it in a folder of the search path."""
    about = folder / "house-1.0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: house\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[solon.constitution_formats]\n{line}\n")
    (folder / "house_rules.py").write_text(HOUSE)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "house_rules", raising=False)
    return folder


def test_a_registered_format_is_read_and_written(packages: Path, tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"house": [{"never": "shout", "instead": "whisper"}], "since": 1999}))
    with pytest.raises(InputError, match="unknown format"):
        read_parts(file)
    register(packages, "house = house_rules:FORMAT")
    name, parts = read_parts(file)
    assert name == "rules of a house"
    assert parts.revision == (RevisionPrinciple("rule-1", "shout", "whisper"),)
    assert parts.losses == ("'since': not supported, and left out",)
    assert export_formats() == ("paper", "llm-swarm", "langchain", "house")
    files, losses = write_constitution_as("house", CONSTITUTION)
    assert json.loads(files["house.json"]) == {
        "house": [{"never": "Say where the reply is loud.", "instead": "Rewrite it in a low voice."}]
    }
    assert losses == ["the name 'mine'", "the 1 preference principles as they are"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("house = house_rules:NUMBER", "the plug-in 'house' is not a ConstitutionFormat but int"),
        ("house = no_such_module:FORMAT", "No module named 'no_such_module'"),
        ("paper = house_rules:FORMAT", "'paper' is built in"),
    ],
)
def test_a_plugin_that_does_not_do_is_named(packages: Path, tmp_path: Path, line: str, told: str) -> None:
    register(packages, line)
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"house": []}))
    with pytest.raises(RecipeError, match=told):
        read_parts(file)
    # Solon's own formats need no plug-in.
    file.write_text(json.dumps([{"name": "a", "critique_request": "b", "revision_request": "c"}]))
    assert read_parts(file)[0] == "principles of LangChain"


def test_the_command_knows_registered_formats(
    packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("constitution", "export", "testbed", "--format", "house", "--output", tmp_path / "out")
    code, _, err = run(capsys, *line)
    assert code == 2 and "'house' is not one of yaml, paper, llm-swarm, langchain" in err
    register(packages, "house = house_rules:FORMAT")
    code, out, _ = run(capsys, *line)
    assert code == 0 and (tmp_path / "out" / "house.json").exists()
    assert "not kept: the name 'testbed'" in out
