"""Model folders are loaded in one place, without code and without pickle: read off the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADER = "src/solon/model_folders/load.py"
GGUF = "src/solon/model_folders/gguf.py"
STANDALONE = {
    "src/solon/export/trainers/files/check_folder.py",
    "src/solon/export/trainers/files/reward.py",
    "src/solon/export/trainers/files/train.py",
    "benchmarks/peers/models.py",
}
"""Programs that run where Solon is not installed, and therefore load by themselves."""
SOURCES = [path for part in ("src", "benchmarks", "scripts") for path in sorted((ROOT / part).rglob("*.py"))]
UNPICKLING = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
BY_CODE = {"torch.load", "torch.hub", "numpy.load", "np.load"}

CARD = "src/solon/export/model_card.py"
"""Prints code for its reader, and runs none."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def loads(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in ("from_pretrained", "from_config"):
            yield node


def test_only_the_loader_loads() -> None:
    found = {name(path) for path in SOURCES if "from_pretrained" in path.read_text(encoding="utf-8")}
    assert found == {LOADER, GGUF, *STANDALONE, CARD}


@pytest.mark.parametrize("file", [LOADER, GGUF, *sorted(STANDALONE)])
def test_every_load_is_local_and_without_code(file: str) -> None:
    calls = list(loads(ROOT / file))
    assert calls
    for call in calls:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("trust_remote_code") == "False", ast.unparse(call)
        called = ast.unparse(call.func)
        if called.endswith("from_config"):  # makes a model from settings at hand, and reads nothing
            continue
        assert given.get("local_files_only") == "True", ast.unparse(call)
        if "Model" in called or "library" in called:
            assert given.get("use_safetensors") == "True" or "gguf_file" in given, ast.unparse(call)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_is_unpickled(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not UNPICKLING & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in UNPICKLING
            assert not {f"{node.module}.{alias.name}" for alias in node.names} & BY_CODE
        elif isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in BY_CODE, f"line {node.lineno}"
