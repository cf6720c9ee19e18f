"""How the virtual environment is made: which torch is asked for, in which order, and what a person is told."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """#!/bin/sh
# Stands in for the interpreter and for pip: notes what is installed, and has the builds of torch named in $HAS.
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip")
    shift 2
    [ "$1" = install ] || exit 0
    for word; do case "$word" in torch==*|-e|.*) echo "$word" >>"$LOG" ;; esac; done
    for word; do case "$word" in torch==*) case " $HAS " in
        *" $word "*) ;;
        *) echo "ERROR: No matching distribution found for $word" >&2; exit 1 ;;
    esac ;; esac; done ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "make_venv.sh", tmp_path / "scripts")
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\ntorch==2.13.0\n")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    uname = tmp_path / "path" / "uname"
    uname.parent.mkdir()
    uname.write_text('#!/bin/sh\necho "$SYSTEM"\n')
    uname.chmod(0o755)
    return tmp_path


def made(checkout: Path, has: str, system: str = "Linux", **more: str) -> tuple[int, list[str], str]:
    """Exit code, what pip was asked for, and what was said."""
    log = checkout / "log"
    environment = {
        "PATH": f"{checkout / 'path'}:{os.environ['PATH']}",
        "PYTHON": str(checkout / "python"),
        "HAS": has,
        "LOG": str(log),
        "SYSTEM": system,
        **more,
    }
    done = subprocess.run(
        ["bash", "scripts/make_venv.sh", ".venv"], cwd=checkout, env=environment, capture_output=True, text=True
    )
    return done.returncode, log.read_text().splitlines(), done.stderr


def test_the_cpu_build_is_taken_where_there_is_one(checkout: Path) -> None:
    code, asked, said = made(checkout, "torch==2.13.0+cpu torch==2.13.0")
    assert (code, said) == (0, "")
    assert asked == ["torch==2.13.0+cpu", "-e", ".[dev,docs]"]


def test_without_a_cpu_build_one_line_says_what_is_fetched_and_the_ordinary_build_is_taken(checkout: Path) -> None:
    code, asked, said = made(checkout, "torch==2.13.0")
    assert code == 0
    assert asked == ["torch==2.13.0+cpu", "torch==2.13.0", "-e", ".[dev,docs]"]
    assert said.count("\n") == 1
    assert "gigabytes of CUDA packages" in said and "PIP_EXTRA_INDEX_URL=INDEX make venv" in said


def test_a_build_that_was_named_is_the_only_one_asked_for(checkout: Path) -> None:
    code, asked, _ = made(checkout, "torch==2.14.0", TORCH="torch==2.14.0")
    assert (code, asked[0]) == (0, "torch==2.14.0")


def test_elsewhere_than_on_linux_the_plain_build_is_the_cpu_build(checkout: Path) -> None:
    code, asked, said = made(checkout, "torch==2.13.0", "Darwin")
    assert (code, asked, said) == (0, ["torch==2.13.0", "-e", ".[dev,docs]"], "")


def test_when_there_is_no_torch_at_all_pip_says_so_and_nothing_else_is_installed(checkout: Path) -> None:
    code, asked, said = made(checkout, "")
    assert code != 0
    assert asked == ["torch==2.13.0+cpu", "torch==2.13.0"]
    assert "ERROR: No matching distribution found for torch==2.13.0" in said
