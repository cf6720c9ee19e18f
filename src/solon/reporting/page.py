"""Renders the content as one HTML file and treats all of it as untrusted.

Autoescape is always on, and hidden characters in the strings of a run are made visible (`visible_text.visible`). So
data cannot add an element, an attribute or a hidden character. As a second protection the page's content security
policy is `default-src 'none'`; it allows only the page's own style sheet and script, by hash.
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
    """Write the report of `run` to `output`, `report.html` in its folder when None; returns its path."""
    return write_page(output if output is not None else run.path / REPORT, render(run))


def write_page(path: Path, text: str) -> Path:
    """Write a page through a temporary file, so that it is there whole or not at all; returns its path."""
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
    return fill(
        "report.html",
        script=_asset("report.js"),
        page=content,
        samples_by=content.samples_by_principle(),
        results=json_for_script(content.results),
    )


def fill(template: str, *, script: str = "", **content: object) -> str:
    """A page from one of the templates, with the style sheet, our own `script`, and a policy that allows only these."""
    style = _asset("report.css")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src {_source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # Style and script are our own files; everything else is escaped.
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
    """The value as the template prints it: strings with visible control characters."""
    return visible_text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return (resources.files("solon.reporting") / "templates" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """A content security policy's name for an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
