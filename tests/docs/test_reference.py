"""The generated pages hold every setting, command, column and function, and every linked file exists."""

from __future__ import annotations

import types
from dataclasses import dataclass
from pathlib import Path

import pytest
from scripts.check_site import loaded_from_elsewhere
from scripts.check_site import main as check_site
from scripts.reference.commands import all_commands, commands_page
from scripts.reference.commands_in import pages
from scripts.reference.links import FENCE, LINK, ROOT, repository_path, source_files, source_text, with_site_links
from scripts.reference.python_api import api_page
from scripts.reference.settings import explanation, group_of, groups, settings_page, type_name
from scripts.reference.tables import tables_page

import solon
from solon.config.recipe import EngineSettings, Recipe
from solon.config.renamed import RENAMED

SETTINGS = [
    (f"{path}.{name}" if path else name, group, name)
    for path, group in groups()
    for name, field in group.model_fields.items()
    if not group_of(field)
]


def test_the_recipe_page_has_every_setting_and_every_old_name() -> None:
    page = settings_page()
    assert len(SETTINGS) > 120
    assert [dotted for dotted, _, _ in SETTINGS if f"| `{dotted}`<br>" not in page] == []
    assert [old for old in RENAMED if f"| `{old}` |" not in page] == []


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting[0])
def test_every_setting_is_explained(setting: tuple[str, type, str]) -> None:
    dotted, group, name = setting
    assert explanation(group, name), f"{dotted} has no docstring"


def test_types_and_defaults_are_told_in_words() -> None:
    page = settings_page()
    assert "`rl.steps`<br>integer&nbsp;≥&nbsp;1<br>default&nbsp;`40` |" in page
    assert "`feedback.order`<br>one of `both`, `one`<br>default&nbsp;`both` |" in page
    assert "*Paper: section 3.4.*" in page and "testbed `36`" in page
    assert type_name(EngineSettings.model_fields["window"].annotation) == "integer&nbsp;≥&nbsp;1 or null"
    assert type_name(Recipe.model_fields["name"].annotation) == "text"


def test_the_command_page_has_every_command_and_option() -> None:
    page = commands_page()
    for path, command in all_commands():
        assert f"# solon {' '.join(path)}\n" in page
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or f"`{parameter.opts[0]}`" in page


@dataclass(frozen=True)
class ToyRow:
    """A row of a toy table."""

    row_id: str
    """The hash of the conversation."""
    p_chosen: float | None


def test_the_page_of_tables_shows_row_classes_of_the_module_alone() -> None:
    module = types.ModuleType(__name__)
    module.ToyRow, module.other = ToyRow, Path  # type: ignore[attr-defined]
    page = tables_page(module)
    assert "## ToyRow\n\nA row of a toy table." in page
    assert "| `row_id` | `str` | The hash of the conversation. |" in page
    assert "| `p_chosen` | `float \\| None` |" in page and "Path" not in page
    assert tables_page(types.ModuleType("empty")) == ""


def train(recipe: str, *, steps: int = 3) -> list[str]:
    """Train a model.

    Raises:
        ValueError: never.
    """
    return [recipe] * steps


def test_the_page_of_the_api_shows_signatures_and_docstrings() -> None:
    module = types.ModuleType("solon")
    module.__all__ = ["train"]  # type: ignore[attr-defined]
    module.train = train  # type: ignore[attr-defined]
    page = api_page(module)
    assert "## solon.train" in page and "solon.train(recipe: str, steps: int = 3) -> list[str]" in page
    assert "Train a model." in page and "**Raises**" in page
    assert api_page(types.ModuleType("empty")) == ""


def test_every_linked_file_of_the_repository_exists() -> None:
    linked = set()
    for page in pages():
        if page.is_relative_to(ROOT / "docs"):
            linked |= source_files(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT / "docs")))
    linked |= source_files(settings_page(), "reference/recipe.md")
    assert len(linked) > 20
    assert sorted(target for target in linked if not (ROOT / target).is_file()) == []


def test_the_pages_of_this_code_are_made() -> None:
    page = api_page(solon)
    assert [name for name in solon.__all__ if f"\n## solon.{name}\n" not in page] == []
    assert sorted(target for target in source_files(page, "reference/python.md") if not (ROOT / target).is_file()) == []


def test_links_lead_to_pages_of_the_site_and_code_stays() -> None:
    text = "[a](../src/solon/errors.py) [b](models.md) [c](https://example.org)\n\n```md\n[d](../src/x.py)\n```\n"
    shown = with_site_links(text, "paper.md")
    assert shown == text.replace("(../src/solon/errors.py)", "(source/src/solon/errors.py.md)")
    assert "(../source/src/a.py.md#x)" in with_site_links("[a](../../src/a.py#x)", "reference/recipe.md")
    assert with_site_links("[a](docs/log.md)", "contributing.md") == "[a](log.md)"
    assert repository_path("../src/a.py", "paper.md") == "src/a.py"


@pytest.mark.parametrize("page", [page for page in pages() if page.parent != ROOT], ids=lambda page: page.stem)
def test_relative_links_lead_to_files_of_a_clone(page: Path) -> None:
    """Pages that only `make docs` writes are named by the file that it makes, not linked."""
    name = page.relative_to(ROOT / "docs").as_posix()
    text = page.read_text(encoding="utf-8")
    links = [match[2] for match in LINK.finditer(FENCE.sub("", text))]
    assert [link for link in links if not (ROOT / repository_path(link, name)).exists()] == []


def test_a_source_page_shows_the_file() -> None:
    page = source_text("src/solon/errors.py")
    assert "# src/solon/errors.py" in page and "class SolonError(Exception):" in page and "exclude: true" in page


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<a href="https://example.org">x</a><link rel="canonical" href="https://example.org">', []),
        ('<script src="https://cdn.example.org/a.js"></script>', ["https://cdn.example.org/a.js"]),
        ('<link rel="stylesheet" href="//fonts.example.org/a.css">', ["//fonts.example.org/a.css"]),
        ("<style>@font-face { src: url(https://x.example.org/f.woff) }</style>", ["https://x.example.org/f.woff"]),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(page: str, found: list[str], tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(page, encoding="utf-8")
    assert loaded_from_elsewhere(file) == found
    assert check_site(str(tmp_path)) == (1 if found else 0)


def test_a_folder_without_pages_is_no_site(tmp_path: Path) -> None:
    assert check_site(str(tmp_path)) == 1
