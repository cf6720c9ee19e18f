"""The files for contributors agree with the code: versions, pinned tools, hooks, workflow and issue forms."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import solon

ROOT = Path(__file__).parents[1]


def read(name: str) -> Any:
    text = (ROOT / name).read_text(encoding="utf-8")
    return tomllib.loads(text) if name.endswith(".toml") else yaml.safe_load(text)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_version_and_the_licence_are_the_same_in_all_files() -> None:
    project, citation = read("pyproject.toml")["project"], read("CITATION.cff")
    assert citation["version"] == project["version"] == solon.__version__
    assert citation["license"] == project["license"]


def test_the_citation_names_the_paper() -> None:
    (paper,) = read("CITATION.cff")["references"]
    assert paper["title"] == "Constitutional AI: Harmlessness from AI Feedback"
    assert paper["authors"][0] == {"family-names": "Bai", "given-names": "Yuntao"}
    assert "2212.08073" in paper["url"]


def test_each_package_that_make_venv_installs_is_pinned() -> None:
    pinned = {normal(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().split()}
    project = read("pyproject.toml")["project"]
    wanted = (
        project["dependencies"]
        + project["optional-dependencies"]["dev"]
        + read("pyproject.toml")["build-system"]["requires"]
    )
    names = {normal(re.split(r"[>=<\[;]", each)[0]) for each in wanted}
    assert len(names) > 20 and names <= pinned


def test_hooks_run_from_the_virtual_environment_and_fetch_nothing() -> None:
    repositories = read(".pre-commit-config.yaml")["repos"]
    hooks = [hook for each in repositories for hook in each["hooks"]]
    assert {each["repo"] for each in repositories} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    programs = {hook["entry"].split()[0] for hook in hooks}
    assert all(program.startswith(".venv/bin/") for program in programs)
    assert {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/lint-imports", ".venv/bin/detect-private-key"} <= programs


def test_the_workflow_runs_the_script_of_this_checkout_and_may_only_read() -> None:
    workflow = read(".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    (script,) = [step["run"] for step in job["steps"] if "run" in step]
    assert os.access(ROOT / script, os.X_OK)
    versions = job["strategy"]["matrix"]["python"]
    lowest = read("pyproject.toml")["project"]["requires-python"].removeprefix(">=")
    assert all(isinstance(version, str) for version in versions), "3.10 without quotes is the number 3.1"
    assert lowest in versions


def test_the_bug_form_asks_for_what_a_maintainer_needs_and_warns_of_secrets() -> None:
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    fields = {field["id"]: field for field in yaml.safe_load(text)["body"] if "id" in field}
    assert {"versions", "command", "error", "debug"} <= fields.keys()
    assert all(fields[name]["validations"]["required"] for name in ("versions", "command", "error"))
    assert all(word in text for word in ("solon --version", "solon --debug", "API keys", "private"))
