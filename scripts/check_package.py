"""Build the wheel and the sdist, and check that they hold the right files and that the wheel is enough to run Solon.

Both are built in a copy of the files that git tracks, to which files are added as a used checkout has them: models,
runs, byte code. Then three things must hold. The sdist has each tracked file and no other. The wheel has each tracked
file of `src/solon` and no other, and the wheel that is built from the sdist has the same bytes. When the wheel is
installed in an empty virtual environment, outside the checkout and without the model hub, each module can be imported
and a small run goes through all stages.

    python scripts/check_package.py [--out dist]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
LEFT_BEHIND = (
    "models/testbed/model.safetensors",
    "runs/demo/run.json",
    ".venv/pyvenv.cfg",
    "src/solon/__pycache__/removed.cpython-311.pyc",
    "tests/__pycache__/removed.cpython-311.pyc",
)
"""Untracked files of a used checkout. No package may contain them."""
SMALL = (
    "prompts.limit_red_team=4",
    "prompts.limit_helpful=4",
    "judge_check.limit=8",
    "preference.limit_human=8",
    "rl.steps=1",
    "measure.limit=8",
)
"""Settings by which a run of the testbed takes half a minute. Its stages are those of `solon demo`."""
IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys, solon
assert pathlib.Path(solon.__file__).is_relative_to(sys.prefix), f"{solon.__file__} is not the installed Solon"
names = [module.name for module in pkgutil.walk_packages(solon.__path__, "solon.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def main() -> None:
    """Check the packages of this checkout; exit with a message at the first fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="copy the wheel and the sdist to this folder")
    out: Path | None = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="solon-package-") as folder:
        work = Path(folder)
        tracked = tracked_files(ROOT)
        start = time.monotonic()
        sdist, wheel = build(ROOT, tracked, work)
        say(f"built {sdist.name} and {wheel.name}; their files are the tracked ones", start)
        start = time.monotonic()
        python = install(wheel, work / "venv")
        say("installed the wheel in an empty environment", start)
        start = time.monotonic()
        exercise(python.parent, wheel.name.split("-")[1], work / "elsewhere")
        say("ran all stages with the installed wheel", start)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for package in (sdist, wheel):
                shutil.copy(package, out)


def tracked_files(root: Path) -> list[str]:
    """The files that git tracks and that exist, as paths from the root, sorted.

    In a folder that is no checkout, such as an unpacked sdist, all files that `.gitignore` does not name.
    """
    if not shutil.which("git"):
        fail("git is not installed, and says which files belong to the package. Install git")
    if (root / ".git").exists():
        listed = execute(["git", "ls-files", "-z"], root)
    else:
        with tempfile.TemporaryDirectory() as folder:
            git = ["git", f"--git-dir={folder}", f"--work-tree={root}"]
            execute([*git, "init", "--quiet"], root)
            listed = execute([*git, "ls-files", "-z", "--others", "--exclude-standard"], root)
    return sorted(name for name in listed.split("\0") if name and (root / name).is_file())


def build(root: Path, tracked: Sequence[str], work: Path) -> tuple[Path, Path]:
    """The checked sdist and the checked wheel."""
    source = work / "source"
    for name in (*tracked, *LEFT_BEHIND):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if name in LEFT_BEHIND:
            (source / name).write_bytes(b"left behind")
        else:
            shutil.copy(root / name, source / name)
    # The backend that pip fetches for the build is pinned, too.
    pinned = {**os.environ, "PIP_CONSTRAINT": str(root / "constraints.txt")}
    for folder, what in (("from-sdist", ()), ("from-tree", ("--wheel",))):
        command = [sys.executable, "-m", "build", "--outdir", str(work / folder), *what, str(source)]
        execute(command, work, pinned)
    sdist = only(work / "from-sdist", "*.tar.gz")
    wheels = [only(work / folder, "*.whl") for folder in ("from-tree", "from-sdist")]
    contents = [wheel_contents(wheel) for wheel in wheels]
    faults = [
        *sdist_faults(tracked, sdist_names(sdist)),
        *wheel_faults(tracked, contents[0]),
        *differences(contents[0], contents[1]),
    ]
    if faults:
        fail("\n".join(faults))
    return sdist, wheels[0]


def only(folder: Path, pattern: str) -> Path:
    """The one file of a folder that a pattern fits."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        fail(f"{folder} holds {len(found)} files {pattern}, and should hold one")
    return found[0]


def sdist_names(sdist: Path) -> list[str]:
    """The files of an sdist, without its top folder."""
    with tarfile.open(sdist) as archive:
        return [str(PurePosixPath(*PurePosixPath(each.name).parts[1:])) for each in archive if not each.isdir()]


def wheel_contents(wheel: Path) -> dict[str, str]:
    """The files of a wheel, with the digest of each."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}


def sdist_faults(tracked: Iterable[str], packed: Iterable[str]) -> list[str]:
    """Where an sdist differs from the tracked files, other than by what the build itself writes."""
    written = {"PKG-INFO", "setup.cfg"}
    found = {name for name in packed if name not in written and not name.startswith("src/solon.egg-info/")}
    return _compared("sdist", set(tracked), found, "Change MANIFEST.in")


def wheel_faults(tracked: Iterable[str], packed: Iterable[str]) -> list[str]:
    """Where a wheel differs from the tracked files of `src`, other than by its metadata and the licence."""
    names = list(packed)
    wanted = {name.removeprefix("src/") for name in tracked if name.startswith("src/solon/")}
    metadata = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    faults = _compared("wheel", wanted, set(names) - metadata, "Change MANIFEST.in, or package-data in pyproject.toml")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in metadata):
        faults.append("the wheel lacks LICENSE. Change license-files in pyproject.toml")
    return faults


def _compared(package: str, wanted: set[str], found: set[str], remedy: str) -> list[str]:
    lacking = [f"the {package} lacks {name}. {remedy}" for name in sorted(wanted - found)]
    strays = [f"the {package} holds {name}, which git does not track. {remedy}" for name in sorted(found - wanted)]
    return lacking + strays


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The files by which the wheel of the checkout and the wheel of the sdist differ."""
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return [f"{name} differs between the wheel of the checkout and that of the sdist" for name in names]


def install(wheel: Path, venv: Path) -> Path:
    """Install a wheel and its dependencies, as `make venv` does, in a new virtual environment; its interpreter."""
    base = Path(sys.base_prefix) / "bin" / "python3"
    execute(["bash", "scripts/make_venv.sh", str(venv), str(wheel)], ROOT, {**os.environ, "PYTHON": str(base)})
    python = venv / "bin" / "python"
    execute([str(python), "-m", "pip", "check"], venv)
    return python


def exercise(programs: Path, version: str, elsewhere: Path) -> None:
    """Use the installed Solon in a new folder, without the checkout."""
    elsewhere.mkdir()
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    own |= {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    solon = str(programs / "solon")
    execute([str(programs / "python"), "-c", IMPORT_ALL], elsewhere, own)
    said = execute([solon, "--version"], elsewhere, own).strip()
    if said != f"solon, version {version}":
        fail(f"solon --version prints {said!r}, and the wheel is of version {version}")
    for command in (["--help"], ["demo", "--help"], ["show", "recipe", "testbed"]):
        execute([solon, *command], elsewhere, own)
    settings = [word for setting in SMALL for word in ("--set", setting)]
    execute([solon, "run", "small", "--recipe", "testbed", "--quiet", *settings], elsewhere, own)
    execute([solon, "results", "small"], elsewhere, own)
    if not (elsewhere / "small" / "report.html").is_file():
        fail("the run wrote no report.html")


def execute(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints; when it fails, show all of it and exit."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        shown = " ".join(word for word in command if "\n" not in word)
        fail(f"{shown} fails with exit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def say(text: str, start: float) -> None:
    """Print what is done, and how long it took."""
    print(f"package: {text} ({time.monotonic() - start:.0f} s)", flush=True)


def fail(text: str) -> None:
    """End with a message."""
    sys.exit(f"package: {text}")


if __name__ == "__main__":
    main()
