"""Lays the content out as one HTML file that trusts nothing in it.

Autoescape is always on, and every string of a run is first made visible (`visible_text.visible`), so data can add
neither an element nor an attribute nor a hidden character. As a second wall the page forbids itself everything: its
content security policy is `default-src 'none'` and admits only the one style sheet and the one script that it carries,
by hash.
"""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from solon.reporting import visible_text
from solon.reporting.content import Content, content_of, json_for_script
from solon.runs import RunDirectory
from solon.stats import intervals

REPORT = "report.html"


def write(run: RunDirectory, output: Path | None = None) -> Path:
    """Write the report of `run`, as `report.html` in its folder unless `output` says otherwise; returns its path.

    The page appears whole or not at all: it is written beside its place and then moved there.
    """
    return write_page(output if output is not None else run.path / REPORT, render(run))


def write_page(path: Path, text: str) -> Path:
    """Write a page whole or not at all; returns its path."""
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path


def render(run: RunDirectory) -> str:
    """The report of `run`, finished or not, as HTML text."""
    return render_content(content_of(run))


def render_content(content: Content) -> str:
    """The page for `content`; a pure function."""
    return fill("report.html", script=_asset("report.js"), page=content, results=json_for_script(content.results))


def fill(template: str, *, script: str = "", **content: object) -> str:
    """A page from one of our templates, with the style sheet, our own `script`, and a policy that admits both alone."""
    style = _asset("report.css")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src {_source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # Style and script are our own files; nothing else may skip the escaping.
    ours = {"policy": policy, "style": Markup(style), "script": Markup(script)}
    return _environment().get_template(template).render(**ours, **content)


def _source(script: str) -> str:
    return f"'{_hash(script)}'" if script else "'none'"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters.update(
        percent=intervals.percent,
        interval=intervals.interval,
        duration=visible_text.duration,
        heading=partial(visible_text.one_line, limit=120),
        clip=visible_text.clip,
    )
    return environment


def _shown(value: Any) -> Any:
    """What the template prints for a value: strings with their hidden characters written out."""
    return visible_text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    """One of the report's own files: template, style or script."""
    return (resources.files("solon.reporting") / "templates" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """A content security policy's name for an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
