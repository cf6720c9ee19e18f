"""The settings of a LoRA adapter that Solon saved next to a merged model, read as plain JSON.

peft's own reader trusts more: names of modules to import, patterns, the name of a base model on the hub. Solon needs
three values, so it reads only these and refuses an adapter that needs others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.errors import ModelError
from solon.model_folders.folder_check import check_files, read_json

_PLAIN = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "layer_replication", "megatron_config")
"""Options that must be off, so that rank, alpha and targets are enough."""
_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Rank, alpha and the names of the adapted layers."""

    rank: int
    alpha: float
    targets: tuple[str, ...]


def adapter_settings(folder: Path) -> AdapterSettings:
    """The settings in an adapter's folder; raises ModelError naming the file for anything but a plain LoRA adapter."""
    check_files(folder)
    file = folder / "adapter_config.json"
    given = read_json(file)
    rank: Any = given.get("r")
    alpha: Any = given.get("lora_alpha")
    targets: Any = given.get("target_modules")
    sound = (
        given.get("peft_type") == "LORA"
        and type(rank) is int
        and 0 < rank <= _MOST
        and type(alpha) in (int, float)
        and 0 < alpha <= _MOST
        and _names(targets)
    )
    used = [name for name in _PLAIN if given.get(name)]
    if not sound or used:
        why = f"it uses {used[0]}" if used else "rank, alpha or target modules are missing or wrong"
        raise ModelError(
            f"not a plain LoRA adapter: {why}",
            place=str(file),
            remedy="Train SL-CAI and the preference model again with LoRA, or use --set rl.networks=separate",
        )
    return AdapterSettings(rank, alpha, tuple(targets))


def _names(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(isinstance(each, str) for each in given)
