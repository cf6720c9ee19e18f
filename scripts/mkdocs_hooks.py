"""Hooks that mkdocs calls while it builds the documentation.

They add the pages that are made from the code (`scripts/reference`), the page "Contributing" from `CONTRIBUTING.md`, and
one page for each source file that a page links to. In a page a link to a source file is a relative path into the
repository, so that it works on a code host as well; here it becomes a link to the page of that file. A link to a file
that does not exist fails the build.
"""

from __future__ import annotations

import importlib
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from reference.commands import commands_page
from reference.python_api import api_page
from reference.settings import settings_page
from reference.tables import tables_page

CONTRIBUTING = "contributing.md"
"""The one page that is a file of the repository's root."""
ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(\]\()([^):#\s]+)(#[^)\s]*)?\)")
"""A relative link of Markdown: no address, and not within the page."""
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "bash"}


def generated_pages() -> dict[str, str]:
    """The pages made from the code, as Markdown by their path in the site."""
    pages = {
        CONTRIBUTING: (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "reference/recipe.md": settings_page(),
        "reference/commands.md": commands_page(),
        "reference/tables.md": tables_page(importlib.import_module("solon.runs.rows")),
        "reference/python.md": api_page(importlib.import_module("solon")),
    }
    return {path: text for path, text in pages.items() if text}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and a page for each linked source file."""
    pages = generated_pages()
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    written = [(file.src_uri, file.content_string) for file in files if file.src_uri.endswith(".md")]
    linked = {target for page, text in written for target in source_files(text, page)}
    for target in sorted(linked):
        if not (ROOT / target).is_file():
            raise PluginError(f"a page links to {target}, which does not exist")
        files.append(File.generated(config, source_page(target), content=source_text(target)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Make links to source files links to their pages."""
    here = page.file.src_uri
    folder = posixpath.dirname(here) or "."

    def replaced(match: re.Match[str]) -> str:
        target = repository_path(match[2], here)
        site = target.removeprefix("docs/") if target.startswith("docs/") else source_page(target)
        return f"{match[1]}{posixpath.relpath(site, folder)}{match[3] or ''})"

    return markdown if here.startswith("source/") else _LINK.sub(replaced, markdown)


def source_files(text: str, page: str) -> set[str]:
    """The source files, as paths in the repository, that a page links to."""
    targets = {repository_path(match[2], page) for match in _LINK.finditer(text)}
    return {target for target in targets if not target.startswith("docs/")}


def repository_path(link: str, page: str) -> str:
    """The path in the repository that a relative link of a page means."""
    folder = "" if page == CONTRIBUTING else posixpath.join("docs", posixpath.dirname(page))
    return posixpath.normpath(posixpath.join(folder, link))


def source_page(path: str) -> str:
    """Where in the site the page of a source file lies."""
    return f"source/{path}.md"


def source_text(path: str) -> str:
    """The page of a source file: its text with line numbers, left out of the search."""
    text = (ROOT / path).read_text(encoding="utf-8")
    fence = "`" * 6
    language = _LANGUAGES.get(Path(path).suffix, "text")
    head = f"---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n\n# {path}\n\n"
    return f'{head}{fence}{language} linenums="1"\n{text.rstrip()}\n{fence}\n'
