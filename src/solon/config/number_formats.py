"""How the numbers of models are stored and multiplied, and where models that are asked lie."""

from __future__ import annotations

from enum import StrEnum


class Dtype(StrEnum):
    """The number format of a model that is asked. `precision` is that of models in training."""

    AUTO = "auto"
    """Float32 on a CPU; the format of the folder on a GPU."""
    FLOAT32 = "float32"
    """Always float32."""
    BFLOAT16 = "bfloat16"
    """Always bfloat16."""


class DeviceMap(StrEnum):
    """How accelerate spreads the layers of a model that is asked over the GPUs, and main memory after them."""

    AUTO = "auto"
    """Evenly, as `balanced`."""
    BALANCED = "balanced"
    """Evenly over all GPUs."""
    SEQUENTIAL = "sequential"
    """One GPU after the other."""


class Matmul(StrEnum):
    """How exact matrix products are while a model is trained."""

    HIGHEST = "highest"
    """Float32 throughout."""
    MEDIUM = "medium"
    """Factors are rounded to bfloat16, sums stay float32. Faster on processors with such units (AMX, TF32)."""
