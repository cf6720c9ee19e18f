"""The names of modules and their parts, `solon.MODULE.NAME`, that docstrings and pages give exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from scripts.reference.commands_in import pages
from scripts.reference.links import ROOT

import solon
from solon.config.plugins import ENGINES, GRADERS, MEASURES, STAGES
from solon.constitution.formats.catalogue import FORMATS

SOURCE = ROOT / "src"
GROUPS = {ENGINES, GRADERS, MEASURES, STAGES, FORMATS}
"""Groups of entry points have names like modules."""
NAMED = re.compile(r"`(solon(?:\.\w+)+)")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def texts() -> Iterator[tuple[Path, str]]:
    for path in (*sorted(SOURCE.rglob("*.py")), *pages(), ROOT / "SECURITY.md"):
        yield path, path.read_text(encoding="utf-8")


def defined(body: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module or a class defines, imports or assigns, by name; also under a condition."""
    found: dict[str, ast.stmt] = {}
    for statement in body:
        if isinstance(statement, _Definition):
            found[statement.name] = statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            found |= {(each.asname or each.name): statement for each in statement.names}
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found |= {each.id: statement for each in targets if isinstance(each, ast.Name)}
        elif isinstance(statement, ast.If):
            found |= defined([*statement.body, *statement.orelse])
    return found


@cache
def module(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or what a module or one of its classes defines."""
    parts = name.split(".")
    if name in GROUPS or (len(parts) == 2 and parts[1] in solon.__all__):
        return True
    at = SOURCE
    while parts and (at / parts[0]).is_dir():
        at /= parts.pop(0)
    file = at / "__init__.py"
    if parts and (at / f"{parts[0]}.py").is_file():
        file = at / f"{parts.pop(0)}.py"
    body: Iterable[ast.stmt] = module(file).body if file.is_file() else ()
    for part in parts:
        found = defined(body).get(part)
        if found is None:
            return False
        body = found.body if isinstance(found, ast.ClassDef) else ()
    return file.is_file()


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("solon.run", True),
        ("solon.graders", True),
        ("solon.stats", True),
        ("solon.stats.paired", True),
        ("solon.digest.seed_for", True),
        ("solon.engines.base.Engine.generate", True),
        ("solon.engines.base.Finish.END", True),
        ("solon.nothing", False),
        ("solon.stats.nothing", False),
        ("solon.digest.nothing", False),
        ("solon.engines.base.Engine.nothing", False),
        ("solon.digest.seed_for.nothing", False),
    ],
)
def test_names_of_modules_classes_and_functions_are_found(name: str, there: bool) -> None:
    assert exists(name) is there


def test_the_modules_and_functions_that_docstrings_and_pages_name_exist() -> None:
    named = [(str(path.relative_to(ROOT)), name) for path, text in texts() for name in NAMED.findall(text)]
    assert len(named) > 100
    assert sorted((path, name) for path, name in named if not exists(name)) == []
