"""Docstrings that stand under an attribute, which Python itself does not keep, and Markdown helpers.

A class documents a field or an enum's member by a string literal on the lines after it. `attribute_docstrings` reads
these literals from the source of the class.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap

_LINE_END = re.compile(r"\s*\n\s*")


def attribute_docstrings(kind: type) -> dict[str, str]:
    """The docstrings of a class's own attributes, by name, each in one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[str, str] = {}
    for statement, following in itertools.pairwise(body):
        name = _assigned(statement)
        if name and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            found[name] = one_line(str(following.value.value))
    return found


def summary(kind: object) -> str:
    """The docstring of a class or function, cleaned, or an empty text."""
    return inspect.getdoc(kind) or ""


def one_line(text: str) -> str:
    """A text with its line ends as spaces."""
    return _LINE_END.sub(" ", text.strip())


def cell(text: str) -> str:
    """A text as one cell of a Markdown table."""
    return one_line(text).replace("|", "\\|")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table as lines."""
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell(each) for each in line) + " |" for line in lines]


def _assigned(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None
