"""Errors for lack of memory in training, with the settings that reduce the need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from solon.errors import StageError
from solon.model_folders.system_memory import is_out_of_memory


@contextmanager
def within_memory(setting: str, micro_tokens: int) -> Iterator[None]:
    """Turn a lack of memory into a StageError that names `setting`, the tokens of one pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fewer, adapter = max(1, micro_tokens // 2), setting.replace("micro_batch_tokens", "lora.rank")
        kept = setting.replace("micro_batch_tokens", "activations")
        raise StageError(
            f"out of memory while training with {setting}={micro_tokens}",
            place=setting,
            remedy=f"In a new run: --set {setting}={fewer}, --set {kept}=recomputed, LoRA by --set {adapter}=16, "
            "or a smaller model",
        ) from error
