"""Characters that hide or reorder text: controls, bidirectional overrides, zero-width marks, broken surrogates.

A page that shows texts of models and data writes them out, so that a reader sees all that a model wrote.
"""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(text: str) -> str:
    """`text` with invisible and reordering characters written out as `[U+202E]`; line ends become newlines."""
    plain = text.replace("\r\n", "\n")
    return _HIDDEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", plain)
