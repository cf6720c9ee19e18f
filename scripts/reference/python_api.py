"""The reference of the Python API: signatures and docstrings of what `import solon` offers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType

from .docstrings import summary

_INTRODUCTION = """# Python API

This page lists what `import solon` offers. It is made from the signatures and docstrings when the site is built. The
command line calls the same functions. The folder `examples` has five programs that CI runs:

- [Run the whole method and print what it measured](../../examples/01_run_and_report.py)
- [Critique and revise](../../examples/02_critique_and_revise.py)
- [Label pairs and train a preference model](../../examples/03_label_and_train_preference_model.py)
- [Write a constitution](../../examples/04_own_constitution.py)
- [Score and compare replies](../../examples/05_score_and_compare.py)

Every failure is a `solon.SolonError` or one of its kinds, with `cause`, `place` and `remedy`; see
[`solon.errors`](../../src/solon/errors.py).
"""


def api_page(module: ModuleType) -> str:
    """The page as Markdown; empty when the module names nothing in `__all__`."""
    names = getattr(module, "__all__", ())
    lines = [_INTRODUCTION]
    for name in names:
        lines += _entry(f"solon.{name}", getattr(module, name))
    return "\n".join(lines) + "\n" if names else ""


def _entry(name: str, value: object) -> list[str]:
    lines = ["", f"## {name}", ""]
    if inspect.isclass(value) or inspect.isfunction(value):
        lines += ["```python", _signature(name, value), "```", ""]
    lines.append(_text(value))
    if inspect.isclass(value) and not issubclass(value, BaseException):
        for method, function in _methods(value):
            lines += ["", f"### {name}.{method}", "", "```python", _signature(f"{name}.{method}", function), "```", ""]
            lines.append(_text(function))
    return lines


def _methods(kind: type) -> Iterator[tuple[str, object]]:
    for name, value in vars(kind).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if not name.startswith("_") and (inspect.isfunction(function) or isinstance(function, property)):
            yield name, function


def _signature(name: str, value: object) -> str:
    """A call with its parameters, one on a line where they are many."""
    if isinstance(value, property) or not callable(value):
        return name
    try:
        signature = inspect.signature(value)
    except ValueError:
        return name
    shown = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    returns = signature.return_annotation
    end = "" if inspect.isclass(value) or returns is inspect.Signature.empty else f" -> {_annotation(returns)}"
    short = f"{name}({', '.join(map(_parameter, shown))}){end}"
    if len(short) <= 88:
        return short
    return "\n".join([f"{name}(", *(f"    {_parameter(each)}," for each in shown), f"){end}"])


def _parameter(parameter: inspect.Parameter) -> str:
    written = parameter.name
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        written = f"*{written}"
    elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
        written = f"**{written}"
    if parameter.annotation is not parameter.empty:
        written += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        written += f" = {parameter.default!r}"
    return written


def _annotation(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    return str(inspect.formatannotation(annotation))


def _text(value: object) -> str:
    """A docstring with the sections of Google's style as bold words."""
    text = summary(value)
    for section in ("Args", "Returns", "Raises", "Yields", "Example", "Examples"):
        text = text.replace(f"\n{section}:\n", f"\n**{section}**\n\n")
    return text
