"""Hooks that mkdocs calls while it builds the documentation.

They add the pages that are made from the code (`scripts/reference`), the page "Contributing" from `CONTRIBUTING.md`,
and one page for each source file that a page links to (`scripts/reference/links.py`). A link to a file that does not
exist fails the build.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.reference.commands import commands_page
from scripts.reference.links import CONTRIBUTING, ROOT, source_files, source_page, source_text, with_site_links
from scripts.reference.python_api import api_page
from scripts.reference.settings import settings_page
from scripts.reference.tables import tables_page

TABLES, PYTHON_API = "reference/tables.md", "reference/python.md"
ROW_MODULES = ("rows", "training_rows", "evaluation_rows")
"""The modules of the row classes, in the order of the page of tables."""


def generated_pages() -> dict[str, str]:
    """The pages made from the code, as Markdown by their path in the site."""
    return {
        CONTRIBUTING: (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "reference/recipe.md": settings_page(),
        "reference/commands.md": commands_page(),
        TABLES: tables_page(*(importlib.import_module(f"solon.runs.{name}") for name in ROW_MODULES)),
        PYTHON_API: api_page(importlib.import_module("solon")),
    }


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and a page for each linked source file."""
    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    pages = [(file.src_uri, file.content_string) for file in files if file.src_uri.endswith(".md")]
    linked = {target: page for page, text in pages for target in source_files(text, page)}
    for target, page in sorted(linked.items()):
        if not (ROOT / target).is_file():
            raise PluginError(f"{page} links to {target}, which does not exist")
        files.append(File.generated(config, source_page(target), content=source_text(target)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Make links to source files links to their pages."""
    name = page.file.src_uri
    return markdown if name.startswith("source/") else with_site_links(markdown, name)
