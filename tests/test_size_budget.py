"""The sizes of CONTRIBUTING.md, kept by a test: short files, short functions, few parameters, a docstring on top."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FILE_LINES, FUNCTION_LINES, PARAMETERS = 500, 80, 8


def test_there_is_something_to_measure() -> None:
    assert len(SOURCES) > 10


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_file_keeps_the_size_budget(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    faults = []
    if (lines := text.count("\n")) > FILE_LINES:
        faults.append(f"{lines} lines")
    tree = ast.parse(text)
    if text.strip() and not ast.get_docstring(tree):
        faults.append("no module docstring")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES:
            faults.append(f"line {node.lineno}: {node.name} has {lines} lines")
        given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        own = [argument for argument in given if argument.arg not in ("self", "cls")]
        commands = {ast.unparse(decorator).split("(")[0].rpartition(".")[2] for decorator in node.decorator_list}
        # A click command's parameters are its options; they are declared, not passed by hand.
        if len(own) > PARAMETERS and not commands & {"command", "option", "argument"}:
            faults.append(f"line {node.lineno}: {node.name} has {len(own)} parameters")
    assert not faults, f"{path.relative_to(ROOT)}: {'; '.join(faults)}"
