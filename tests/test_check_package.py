"""What scripts/check_package.py refuses in a wheel and an sdist. `make package` runs it on the real ones."""

import importlib.util
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
TRACKED = ["LICENSE", "pyproject.toml", "src/solon/__init__.py", "src/solon/data/prompts.txt", "tests/test_a.py"]
METADATA = ["solon-1.dist-info/METADATA", "solon-1.dist-info/RECORD", "solon-1.dist-info/licenses/LICENSE"]
WHEEL = ["solon/__init__.py", "solon/data/prompts.txt", *METADATA]


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_package", ROOT / "scripts" / "check_package.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_sdist_of_the_tracked_files_and_what_the_build_writes_has_no_fault(check: ModuleType) -> None:
    written = ["PKG-INFO", "setup.cfg", "src/solon.egg-info/SOURCES.txt"]
    assert check.sdist_faults(TRACKED, [*TRACKED, *written]) == []


def test_an_sdist_that_lacks_a_tracked_file_or_holds_another_is_refused(check: ModuleType) -> None:
    lacking = check.sdist_faults(TRACKED, TRACKED[1:])
    assert [fault.split(".")[0] for fault in lacking] == ["the sdist lacks LICENSE"]
    (stray,) = check.sdist_faults(TRACKED, [*TRACKED, "models/testbed/model.safetensors"])
    assert stray.startswith("the sdist holds models/testbed/model.safetensors") and "MANIFEST.in" in stray


def test_a_wheel_holds_the_package_its_data_and_its_licence_and_nothing_else(check: ModuleType) -> None:
    assert check.wheel_faults(TRACKED, WHEEL) == []
    (data,) = check.wheel_faults(TRACKED, [name for name in WHEEL if "prompts" not in name])
    assert "lacks solon/data/prompts.txt" in data and "package-data" in data
    (test,) = check.wheel_faults(TRACKED, [*WHEEL, "tests/test_a.py"])
    assert "holds tests/test_a.py" in test
    (licence,) = check.wheel_faults(TRACKED, WHEEL[:-1])
    assert "lacks LICENSE" in licence


def test_wheels_of_the_checkout_and_of_the_sdist_are_compared_by_their_bytes(check: ModuleType, tmp_path: Path) -> None:
    wheels = [tmp_path / "one.whl", tmp_path / "two.whl"]
    for wheel, text in zip(wheels, ("a", "b"), strict=True):
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("solon/same.py", "same")
            archive.writestr("solon/other.py", text)
    one, two = (check.wheel_contents(wheel) for wheel in wheels)
    assert check.differences(one, one) == []
    assert [fault.split()[0] for fault in check.differences(one, two)] == ["solon/other.py"]
    assert [fault.split()[0] for fault in check.differences(one, {})] == ["solon/other.py", "solon/same.py"]


def test_the_names_in_an_sdist_are_read_without_its_top_folder(check: ModuleType, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        folder = tarfile.TarInfo("solon-1/tests")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("solon-1/tests/test_a.py"), io.BytesIO())
    assert check.sdist_names(tmp_path / "a.tar.gz") == ["tests/test_a.py"]


@pytest.mark.parametrize("is_checkout", [True, False])
def test_ignored_files_are_not_packed_in_a_checkout_or_outside_one(
    check: ModuleType, tmp_path: Path, is_checkout: bool
) -> None:
    (tmp_path / ".gitignore").write_text("/models/\n")
    (tmp_path / "models").mkdir()
    for name in ("a.py", "removed.py", "models/weights"):
        (tmp_path / name).write_text("")
    if is_checkout:
        for command in (["init", "--quiet"], ["add", "."]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        (tmp_path / "scratch.txt").write_text("")  # never added
    (tmp_path / "removed.py").unlink()
    assert check.tracked_files(tmp_path) == [".gitignore", "a.py"]


def test_a_command_that_fails_ends_the_check_with_what_it_printed(check: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        check.execute(["sh", "-c", "echo the cause >&2; exit 3"], tmp_path)
    assert "the cause" in str(ended.value) and "exit code 3" in str(ended.value)
