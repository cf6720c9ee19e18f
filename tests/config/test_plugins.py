"""Plug-ins are found by their entry points, and every way in which one can be wrong has its own line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.plugin_package import install

from solon.config.plugins import load_registered, registered
from solon.errors import RecipeError

GROUP = "solon.tests"


def test_a_registered_object_is_imported_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "class Made:\n    pass\n\nGIVEN = 7\n"
    install(
        monkeypatch, tmp_path, "solon_some", source, {GROUP: {"made": "solon_some:Made", "given": "solon_some:GIVEN"}}
    )
    assert set(registered(GROUP)) == {"made", "given"}
    assert load_registered(GROUP, "given") == 7
    assert type(load_registered(GROUP, "made")).__name__ == "Made"


def test_an_unknown_name_is_refused_with_the_nearest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path, "solon_words", "X = 1\n", {GROUP: {"words": "solon_words:X"}})
    with pytest.raises(RecipeError, match=r"measure\.grader: no plug-in 'wordz' .* 'words'\? Known: none, words"):
        load_registered(GROUP, "wordz", ("none",), place="measure.grader")


def test_a_name_that_two_packages_register_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("solon_one", "solon_two"):
        install(monkeypatch, tmp_path / package, package, "X = 1\n", {GROUP: {"same": f"{package}:X"}})
    with pytest.raises(RecipeError, match=r"two packages register 'same': solon_two and solon_one"):
        registered(GROUP)


def test_a_built_in_name_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path, "solon_bold", "X = 1\n", {GROUP: {"none": "solon_bold:X"}})
    with pytest.raises(RecipeError, match=r"'none' is built in, and the package solon_bold registers it again"):
        registered(GROUP, ("none",))


@pytest.mark.parametrize("source", ["raise ValueError('no licence')\n", "import not_installed_anywhere\n", "Y = 1\n"])
def test_a_plug_in_that_cannot_be_loaded_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    name = f"solon_broken_{len(source)}"
    install(monkeypatch, tmp_path, name, source, {GROUP: {"broken": f"{name}:X"}})
    with pytest.raises(RecipeError, match=rf"the plug-in 'broken' of {name} cannot be loaded: \w+: ") as caught:
        load_registered(GROUP, "broken")
    assert "\n" not in str(caught.value)
