"""Links of the documentation's pages to files of the repository.

A page links to a source file by a relative path into the repository, so that the link works on a code host as well. In
the site each linked file has a page of its own, which shows its text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = "contributing.md"
"""The one page that is a file of the repository's root."""
LINK = re.compile(r"(\]\()([^):#\s]+)(#[^)\s]*)?\)")
"""A relative link of Markdown: no address, and not within the page."""
FENCE = re.compile(r"^(`{3,}).*?^\1[ \t]*$", re.M | re.S)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "bash"}


def source_files(text: str, page: str) -> set[str]:
    """The files outside the documentation, as paths in the repository, that a page links to."""
    targets = {repository_path(match[2], page) for match in LINK.finditer(FENCE.sub("", text))}
    return {target for target in targets if not target.startswith("docs/")}


def with_site_links(text: str, page: str) -> str:
    """A page with its links to files of the repository changed to pages of the site; code blocks stay as they are."""
    folder = posixpath.dirname(page) or "."

    def replaced(match: re.Match[str]) -> str:
        target = repository_path(match[2], page)
        site = target.removeprefix("docs/") if target.startswith("docs/") else source_page(target)
        return f"{match[1]}{posixpath.relpath(site, folder)}{match[3] or ''})"

    done, parts = 0, []
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(replaced, text[done : fence.start()]), fence[0]]
        done = fence.end()
    return "".join([*parts, LINK.sub(replaced, text[done:])])


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
