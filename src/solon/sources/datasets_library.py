"""Rows of a Hugging Face dataset, on the hub or in a local folder: `hf:NAME[/FOLDER][:SPLIT]`.

`hf:Anthropic/hh-rlhf/red-team-attempts:train` is the folder `red-team-attempts` of a dataset of the hub, and
`hf:./folder` is a local one (data files, or a folder from `save_to_disk`). A split may be sliced (`train[:1000]`);
without a split, the only one or `train` is read. The `datasets` library is an extra, and is imported only here and only
when it is used. Code in a dataset never runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from solon.errors import InputError
from solon.sources.columns import Columns

_NAME = re.compile(r"hf:(?P<path>[^:]+)(?::(?P<split>.+))?")
_SAVED = ("state.json", "dataset_dict.json")
"""Files that `save_to_disk` writes into the folder of one split, or of several."""
_BATCH = 1024


def dataset_rows(name: str, columns: Columns) -> Iterator[Mapping[str, Any]]:
    """The rows of a dataset in order, with the columns to read.

    Raises InputError when the name is malformed, the library is not installed, or the dataset, split or columns do not
    exist.
    """
    dataset = _load(name)
    known = columns.of_table(list(dataset.column_names), name)
    for batch in dataset.select_columns(known).iter(_BATCH):
        for values in zip(*(batch[column] for column in known), strict=True):
            yield dict(zip(known, values, strict=True))


def dataset_hash(name: str, called: Mapping[str, str] | None = None) -> str:
    """SHA-256 over the rows of a dataset, for a stage's key; it does not depend on where the dataset is cached."""
    state, columns = hashlib.sha256(), Columns(called=called)
    for row in dataset_rows(name, columns):
        state.update(json.dumps(columns.taken(row), sort_keys=True, default=str).encode() + b"\n")
    return state.hexdigest()


def _load(name: str) -> Any:
    match = _NAME.fullmatch(name)
    if not match:
        raise InputError("not a name of a dataset", place=name, remedy="Write hf:NAME[/FOLDER][:SPLIT]")
    try:
        from datasets import DatasetDict
    except ImportError:
        raise InputError(
            "reading a Hugging Face dataset needs the `datasets` library",
            place=name,
            remedy="Install it with: pip install 'solon[hub]'",
        ) from None
    try:
        found = _open(match["path"], match["split"])
    except (OSError, ValueError, RuntimeError) as error:
        # The library's errors derive from these; some have many lines.
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "Check name and split, and the network when the dataset is not on this machine"
        raise InputError(f"cannot read the dataset: {why}", place=name, remedy=remedy) from error
    if not isinstance(found, DatasetDict):
        return found
    splits = list(found)
    if len(splits) > 1 and "train" not in splits:
        raise InputError(
            f"the dataset has several splits: {', '.join(splits)}", place=name, remedy=f"Write {name}:{splits[0]}"
        )
    return found[splits[0] if len(splits) == 1 else "train"]


def _open(path: str, split: str | None) -> Any:
    from datasets import load_dataset, load_from_disk

    if path.startswith((".", "/", "~")):
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise ValueError("no such folder")
        if any((folder / mark).exists() for mark in _SAVED):
            return _saved(load_from_disk(str(folder)), split)
        return load_dataset(str(folder), split=split)
    parts = path.split("/")
    return load_dataset("/".join(parts[:2]), data_dir="/".join(parts[2:]) or None, split=split)


def _saved(found: Any, split: str | None) -> Any:
    """A split of a folder from `save_to_disk`; only data files can be sliced."""
    if split is None:
        return found
    if hasattr(found, "features") and not hasattr(found, "keys"):
        raise ValueError("the folder has one split, without a name")
    if split not in found:
        raise ValueError(f"no split '{split}' (there is {', '.join(found)})")
    return found[split]
