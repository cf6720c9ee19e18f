"""Stable digests: the source of every row id, seed and draw.

Nothing random in Solon depends on the order of work. A seed is a digest of what it is for (run seed, stage, row id,
attempt), so batching, concurrency and resume cannot change a result (DESIGN section 4). Python's own `hash` is salted
per process and is never used.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def digest(*parts: object) -> str:
    """32 hexadecimal digits over the canonical JSON of `parts` (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # `surrogatepass` keeps damaged input text addressable instead of failing on it.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def seed_for(*parts: object) -> int:
    """A seed in [0, 2**63) that depends on `parts` alone: run seed, stage, row id, attempt ..."""
    return int(digest(*parts)[:16], 16) >> 1


def uniform_for(*parts: object) -> float:
    """A number in the open interval (0, 1) that depends on `parts` alone, with 52 random bits."""
    return ((seed_for(*parts) >> 11) + 0.5) / 2**52


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits, read in pieces of one MiB."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()


def digest_source(path: Path) -> str:
    """The digest of a file, or of a model folder's configuration, tokenizer and weights."""
    files = sorted([*path.glob("*.json"), *path.glob("*.safetensors")]) if path.is_dir() else [path]
    return digest([(each.name if path.is_dir() else "", digest_file(each)) for each in files])
