"""How vLLM runs a model in this process: settings of the engine `vllm:PATH`. They change rows by rounding only."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from solon.config.settings import Positive, Settings


class VllmSettings(Settings):
    """How vLLM runs a model."""

    tensor_parallel: Positive = 1
    """GPUs that share each layer."""
    memory_share: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The share of each GPU's memory for weights, keys and values."""
