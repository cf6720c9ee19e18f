"""Renders the content as HTML and treats all of it as untrusted.

The page is one file, and with more samples than it can hold a folder of scripts beside it.

Autoescape is always on, and hidden characters in the strings of a run are made visible (`visible_text.visible`). So
data cannot add an element, an attribute or a hidden character. As a second protection the page's content security
policy is `default-src 'none'`; it allows only the page's own style sheet and script, by hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from solon.reporting import visible_text
from solon.reporting.attack_section import ROUND_HEAD
from solon.reporting.content import Content, content_of
from solon.reporting.sample_files import INLINE, SampleFiles, json_for_script, sample_files, write_chunks
from solon.reporting.samples import Shelf
from solon.runs import RunDirectory
from solon.stats import intervals

REPORT = TEMPLATE = "report.html"


def write(run: RunDirectory, output: Path | None = None) -> Path:
    """Write the report of `run` to `output`, `report.html` in its folder when None; returns its path.

    Many samples are written to the folder PAGE-samples beside it. Raises RunError when that folder holds anything else.
    """
    content = content_of(run)
    path = output if output is not None else run.path / REPORT
    return write_with_samples(path, TEMPLATE, content.shelves, **_filling(content))


def write_with_samples(path: Path, template: str, shelves: Sequence[Shelf], **content: object) -> Path:
    """Write a page that shows samples, and their files beside it where they are many; returns the page's path."""
    files = files_of(shelves)
    folder = path.with_name(f"{path.stem}-samples")
    if files.size > INLINE:
        files = files.beside(folder.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_chunks(files, folder)
    return write_page(path, fill_with_samples(template, files, **content))


def write_page(path: Path, text: str) -> Path:
    """Write a page through a temporary file, so that it is there whole or not at all; returns its path.

    It ends with a newline, which templates lose, as every text file should that people commit.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    part.replace(path)
    return path


def render(run: RunDirectory) -> str:
    """The report of `run`, finished or not, as HTML text with all its samples."""
    content = content_of(run)
    return render_content(content, files_of(content.shelves))


def render_content(content: Content, files: SampleFiles) -> str:
    """The page for `content`; a pure function."""
    return fill_with_samples(TEMPLATE, files, **_filling(content))


def _filling(content: Content) -> dict[str, object]:
    return {
        "page": content,
        "samples_by": content.samples_by_principle(),
        "results": json_for_script(content.results),
        "attack_head": ROUND_HEAD,
    }


def files_of(shelves: Sequence[Shelf]) -> SampleFiles:
    """The samples as HTML texts in chunks."""
    template = _environment().get_template("sample.html")
    return sample_files(shelves, [template.render(sample=sample) for shelf in shelves for sample in shelf.samples])


def fill_with_samples(template: str, files: SampleFiles, **content: object) -> str:
    """A page from one of the templates that show samples."""
    beside = files.index["folder"]
    return fill(
        template,
        script=_asset("report.js"),
        loads=beside,
        sample_index=json_for_script(files.index),
        chunks=() if beside is not None else files.chunks,
        **content,
    )


def fill(template: str, *, script: str = "", loads: str | None = None, **content: object) -> str:
    """A page from one of the templates, with the style sheet, our own `script`, and a policy that allows only these.

    `loads` names the folder of scripts that our own script loads.
    """
    style = _asset("report.css")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src {_source(script, dynamic=bool(loads))}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # Style and script are our own files; everything else is escaped.
    ours = {"policy": policy, "style": Markup(style), "script": Markup(script)}
    return _environment().get_template(template).render(**ours, **content)


def _source(script: str, *, dynamic: bool) -> str:
    """The policy's sources of scripts: ours by its hash, and, if it loads some, those that it asks for itself."""
    own = f"'{_hash(script)}'" if script else "'none'"
    return f"{own} 'strict-dynamic'" if dynamic else own


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
        probability=intervals.probability,
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
