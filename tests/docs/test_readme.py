"""README is short, and its links lead to files."""

from __future__ import annotations

import re

from scripts.reference.links import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_fits_in_120_lines() -> None:
    assert len(README.splitlines()) <= 120


def test_every_relative_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^):#\s]+)(?:#[^)]*)?\)", README)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).is_file()] == []
