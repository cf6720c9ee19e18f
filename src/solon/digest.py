"""Stable digests: the source of every row id, seed and draw.

Nothing random in Solon depends on the order of work. A seed is a digest of its purpose (run seed, stage, row id,
attempt), so batching, concurrency and resuming cannot change a result. Python's `hash` has a salt for each process
and is never used.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def digest(*parts: object) -> str:
    """32 hexadecimal digits over the canonical JSON of `parts` (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # `surrogatepass`: text with lone surrogates has a digest too.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def seed_for(*parts: object) -> int:
    """A seed in [0, 2**63) that depends only on `parts`: run seed, stage, row id, attempt ..."""
    return int(digest(*parts)[:16], 16) >> 1


def uniform_for(*parts: object) -> float:
    """A number in the open interval (0, 1) that depends only on `parts`, with 52 random bits."""
    return ((seed_for(*parts) >> 11) + 0.5) / 2**52


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Stamp = tuple[tuple[str, int, int], ...]
"""Names, sizes and times of change of the files that a hash was taken of."""


def stamp_of(path: Path) -> Stamp:
    """What changes when `digest_source` does, and takes no reading; files that do not exist are left out."""
    files = _files_read(path) if path.is_dir() else {"": path}
    found = []
    for name, file in files.items():
        if file.exists():
            about = file.stat()
            found.append((name, about.st_size, about.st_mtime_ns))
    return tuple(found)


def _files_read(folder: Path, above: tuple[Path, ...] = ()) -> dict[str, Path]:
    """The files of a model folder, and of the base model of an adapter, as `digest_model` reads them."""
    found, base = model_files(folder), adapter_base(folder)
    if base is not None and base not in (*above, folder.resolve()):
        below = _files_read(base, (*above, folder.resolve()))
        found.update({f"the base model/{name}": file for name, file in below.items()})
    return found


def digest_source(path: Path) -> str:
    """The digest of a file, or of all files in a model folder that can change the model's output."""
    return digest_model(path) if path.is_dir() else digest([("", digest_file(path))])


def digest_model(folder: Path, above: tuple[Path, ...] = ()) -> str:
    """The digest of a model folder: names and contents of all its files but those that `cannot_change_model`.

    Every kind of file counts (configuration, weights, tokenizer, chat templates, adapters): a new kind that is left out
    could change rows unnoticed. The base model of an adapter counts too; `above` are the folders that led to this one.
    """
    found = [(name, digest_file(file)) for name, file in model_files(folder).items()]
    base = adapter_base(folder)
    if base is not None and base not in (*above, folder.resolve()):
        found.append(("the base model", digest_model(base, (*above, folder.resolve()))))
    return digest(found)


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a model folder that count, at any depth, by name with forward slashes, sorted.

    Links are followed, as the libraries that read the folder do; each folder is read once.
    """
    found: dict[str, Path] = {}
    walked: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        walked.add(os.path.realpath(parent))
        folders[:] = [
            each
            for each in folders
            if not cannot_change_model(each) and os.path.realpath(os.path.join(parent, each)) not in walked
        ]
        for file in (Path(parent) / each for each in files if not cannot_change_model(each)):
            if file.is_file():
                found[file.relative_to(folder).as_posix()] = file
    return dict(sorted(found.items()))


def cannot_change_model(name: str) -> bool:
    """Whether a file or folder of that name cannot change a model's output: it is hidden, or documentation."""
    plain = name.upper().removesuffix(".TXT")
    return name.startswith(".") or plain.endswith(".MD") or plain in ("LICENSE", "NOTICE", "README")


def adapter_base(folder: Path) -> Path | None:
    """The folder of an adapter's base model, if it is on this machine."""
    config = folder / "adapter_config.json"
    if not config.is_file():
        return None
    try:
        named = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
        base = Path(named)
        return base.resolve() if base.is_dir() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
