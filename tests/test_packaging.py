"""What an installed Solon holds: everything that the checkout's package does."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "solon"


def test_every_file_that_is_no_module_is_among_the_package_data() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["solon"]
    packed = {file for pattern in patterns for file in PACKAGE.glob(pattern) if file.is_file()}
    others = {file for file in PACKAGE.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert others and others <= packed, sorted(map(str, others - packed))


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    data = PACKAGE / "export" / "trainers" / "files"  # copied into exported folders, and never imported
    assert {each for each in folders if not (each / "__init__.py").exists()} <= {data}
