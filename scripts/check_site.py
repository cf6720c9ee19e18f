"""Check that the built documentation loads nothing from other hosts.

    python scripts/check_site.py build/site

Links to other sites are fine; scripts, styles, images, frames and fonts are not.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

_LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
}
"""Elements that make a browser fetch something, and the attribute that says what."""
_LOADED_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "manifest", "modulepreload"}
_ELSEWHERE = re.compile(r"^(?:https?:)?//")
_CSS_URL = re.compile(r"""(?:url\(\s*|@import\s+)['"]?((?:https?:)?//[^'")\s]+)""")


class _Loads(HTMLParser):
    """Collects what a page loads from other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that loads from another host."""
        values = dict(attrs)
        target = values.get(_LOADING.get(tag, ""), "") or ""
        kinds = set((values.get("rel") or "").split())
        if _ELSEWHERE.match(target) and (tag != "link" or kinds & _LOADED_LINKS):
            self.found.append(target)


def loaded_from_elsewhere(file: Path) -> list[str]:
    """The addresses on other hosts that a page or a style sheet loads."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".css":
        return _CSS_URL.findall(text)
    parser = _Loads()
    parser.feed(text)
    return parser.found + _CSS_URL.findall(text)


def main(folder: str) -> int:
    """Print every such address; 0 when there is none."""
    files = [file for suffix in ("*.html", "*.css") for file in sorted(Path(folder).rglob(suffix))]
    faults = [(file, address) for file in files for address in loaded_from_elsewhere(file)]
    for file, address in faults:
        print(f"{file}: loads {address}", file=sys.stderr)
    if not files:
        print(f"{folder}: there are no pages", file=sys.stderr)
    return 1 if faults or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
