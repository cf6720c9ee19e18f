"""The samples of a report as small files, so that a page of any size opens at once.

The page has an index of all samples (kind, principles, outcomes, labels, anchor) and shows a few of them. Their HTML,
made by the same template as the rest of the page, stands in chunks: in the page itself while they are few, else in a
folder of script files beside it. A browser does not let a page from a disk read a file, but lets it run a script; each
file calls one function of the page with a list of texts. The policy admits only scripts that the page's own script asks
for, and a file of another report is refused by its key.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from solon.digest import digest
from solon.errors import RunError
from solon.reporting.samples import Sample, Shelf

PER_CHUNK = 50
INLINE = 6_000_000
"""Characters of samples up to which they stand in the page itself."""
_CHUNK = re.compile(r"chunk-\d+\.js")


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """The index of all samples, and their chunks as JSON lists of HTML texts."""

    index: dict[str, Any]
    chunks: tuple[Markup, ...]

    @property
    def size(self) -> int:
        """Characters of all chunks."""
        return sum(map(len, self.chunks))

    def beside(self, folder: str) -> SampleFiles:
        """The same with the chunks in files of `folder`, beside the page."""
        return SampleFiles({**self.index, "folder": folder}, self.chunks)


def sample_files(shelves: Sequence[Shelf], texts: Sequence[str]) -> SampleFiles:
    """The index and the chunks of the samples of `shelves`; `texts` has the HTML of each, in order."""
    every = [sample for shelf in shelves for sample in shelf.samples]
    words = {name: sorted({word for sample in every for word in getattr(sample, name)}) for name in _NAMES}
    places = {name: {word: place for place, word in enumerate(found)} for name, found in words.items()}
    kinds = {shelf.kind: place for place, shelf in enumerate(shelves)}

    def line(sample: Sample) -> list[Any]:
        return [kinds[sample.kind], *([places[name][word] for word in getattr(sample, name)] for name in _NAMES)]

    chunks = tuple(_json_of_texts(texts[start : start + PER_CHUNK]) for start in range(0, len(texts), PER_CHUNK))
    index = {
        "kinds": [shelf.kind for shelf in shelves],
        **words,
        "samples": [line(sample) for sample in every],
        "anchors": [sample.anchor for sample in every],
        "per": PER_CHUNK,
        "key": digest([str(chunk) for chunk in chunks])[:16],
        "folder": None,
    }
    return SampleFiles(index, chunks)


_NAMES = ("principles", "outcomes", "labels")


def write_chunks(files: SampleFiles, folder: Path) -> None:
    """Write the chunks as scripts to a folder, which holds nothing else afterwards; raises RunError for other content.

    Without chunks to write, a folder of an earlier report is removed.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()) or _others(folder):
        cause = "the folder for the report's samples holds something else"
        raise RunError(cause, place=str(folder), remedy="Move it, or name another page with --output")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if files.index["folder"] is not None:
        part.mkdir(parents=True)
        for number, chunk in enumerate(files.chunks):
            text = f'solonSamples("{files.index["key"]}",{number},{chunk});\n'
            (part / f"chunk-{number}.js").write_text(text, encoding="ascii")
    shutil.rmtree(folder, ignore_errors=True)
    if part.exists():
        part.replace(folder)


def _others(folder: Path) -> bool:
    return folder.is_dir() and any(not _CHUNK.fullmatch(entry.name) for entry in folder.iterdir())


def _json_of_texts(texts: Sequence[str]) -> Markup:
    """HTML texts as JSON: without `<` nothing in it ends a script element or opens a comment."""
    return Markup(json.dumps(texts).replace("<", "\\u003c"))


def json_for_script(value: object) -> Markup:
    """JSON that cannot end the script element or open a comment or another script: `<`, `>` and `&` are escaped."""
    plain = json.dumps(value, ensure_ascii=True, sort_keys=False)
    for character in "<>&":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return Markup(plain)
