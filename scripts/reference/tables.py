"""The reference of tables: every column of a run's Parquet files, from the dataclasses of their rows.

`solon.runs.rows`, `training_rows` and `evaluation_rows` hold one frozen dataclass for each table. A class's docstring
says what a row is, and the docstrings under its fields say what the columns are.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from types import ModuleType

from .docstrings import attribute_docstrings, summary, table

_MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")
"""The module in front of a class."""
_INTRODUCTION = """# Table reference

Every stage writes a Parquet table into its folder of the run directory. This page lists the columns. It is made from
the row classes in [`solon.runs.rows`](../../src/solon/runs/rows.py),
[`training_rows`](../../src/solon/runs/training_rows.py) and
[`evaluation_rows`](../../src/solon/runs/evaluation_rows.py) when the site is built; the same classes give the Parquet
schemas. A type is that of the field in Python.

[The run directory](../run-directory.md) says which table lies where.
"""


def tables_page(*modules: ModuleType) -> str:
    """The page as Markdown; empty when the modules have no row class."""
    rows = [kind for module in modules for kind in vars(module).values() if _is_row(kind, module)]
    lines = [_INTRODUCTION]
    for kind in rows:
        hints = typing.get_type_hints(kind)
        explained = attribute_docstrings(kind)
        lines += ["", f"## {kind.__name__}", "", summary(kind), ""]
        columns = [
            (f"`{field.name}`", f"`{_type(hints[field.name])}`", explained.get(field.name, ""))
            for field in dataclasses.fields(kind)
        ]
        # Where the names say enough, a class documents none of its columns.
        shown = 3 if explained else 2
        lines += table(("Column", "Type", "Meaning")[:shown], [each[:shown] for each in columns])
    return "\n".join(lines) + "\n" if rows else ""


def _is_row(kind: object, module: ModuleType) -> bool:
    public = inspect.isclass(kind) and kind.__module__ == module.__name__ and not kind.__name__.startswith("_")
    return public and dataclasses.is_dataclass(kind)


def _type(hint: object) -> str:
    if inspect.isclass(hint) and not typing.get_args(hint):
        return hint.__name__
    return _MODULE.sub("", str(hint))
