"""Bounds the memory that oneDNN keeps between matrix products.

torch multiplies with oneDNN on a CPU where it may use bfloat16. oneDNN keeps the kernels of the last 1,024 shapes.
Texts differ in length, so nearly every batch brings new ones, and small blocks that stay keep the large buffers
around them from being used again: 300 products of different sizes, forward and backward, held 4.3 GB, and 1.5 GB with
this bound. Equal shapes follow each other within a step, from layer to layer, so a few kernels are enough.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

CAPACITY = 32
"""Kernels to keep: more than a step of a model has different shapes."""
VARIABLES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")
"""oneDNN reads the first that is set, once, at its first product; the second is its older name."""


def bound_kernel_cache(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the bound, unless the user has set one; it holds if oneDNN has not multiplied yet in this process."""
    if not any(name in environment for name in VARIABLES):
        environment[VARIABLES[0]] = str(CAPACITY)
