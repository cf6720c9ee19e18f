"""Models that a dry run does without: not in the cache of the hub, or behind a server that does not answer.

A dry run fetches nothing and waits for nobody. A stand-in is asked in place of such a model: it counts tokens by
characters, and its answers have a stated share of their limits. Its speed follows from the shape of the model and the
figures of a GPU in `planning`, all of them assumptions.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from solon.config.builtin import hub_model
from solon.config.hub_models import cached_snapshot
from solon.config.known_shapes import KNOWN_SHAPES
from solon.config.model_pins import named_models
from solon.config.model_spec import ModelSpec, folder_of
from solon.config.planning_settings import Layout, PlanningSettings
from solon.config.recipe import Dtype, Recipe
from solon.config.served_model import OPENAI, ServedModel
from solon.config.settings import SamplingParams
from solon.conversation import Prompt
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.model_folders.model_shape import ModelShape, shape_in
from solon.pipeline.cost import Speed

_PATIENCE = 2.0
"""Seconds to wait for a server."""
_WORD = "word "
"""Written again and again; of about as many characters as a token."""


def absent_models(recipe: Recipe) -> Mapping[str, str]:
    """Why each model that is not here is not, by its name in the recipe; raises ModelError for impossible names."""
    found = {}
    for name in dict.fromkeys(named_models(recipe)):
        if (why := _absent(name)) is not None:
            found[name] = why
    return found


def _absent(name: str) -> str | None:
    spec = ModelSpec.parse(name)
    if spec.scheme == OPENAI:
        silent = [address for address in ServedModel.parse(spec.name).addresses if not _answers(address)]
        return f"nothing answers at {', '.join(silent)}" if silent else None
    on_hub = hub_model(name)
    if on_hub is None or cached_snapshot(on_hub) is not None:
        return None
    return "not in the cache of the hub, and a dry run fetches nothing"


def _answers(address: str) -> bool:
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _PATIENCE).close()
    except OSError:
        return False
    return True


def shape_of(name: str, recipe: Recipe) -> ModelShape | None:
    """The shape of a model: of its folder, or, where it is not here, by its name or its planned size; else None.

    Fetches nothing. Raises ModelError for a folder that does not exist or is damaged.
    """
    on_hub = hub_model(name)
    if on_hub is not None:
        folder = cached_snapshot(on_hub)
        if folder is None and on_hub.repository in KNOWN_SHAPES:
            return ModelShape.known(KNOWN_SHAPES[on_hub.repository])
    else:
        folder = folder_of(ModelSpec.parse(name))
    if folder is not None:
        return shape_in(folder)
    return ModelShape.typical(recipe.planning.sizes[name]) if name in recipe.planning.sizes else None


def planned_speed(name: str, recipe: Recipe) -> Speed | None:
    """Tokens a second of a model that is not here, as `planning` has it; None where it does not say enough."""
    planning = recipe.planning
    if (given := planning.speeds.get(name)) is not None:
        return Speed(given.reading, given.writing)
    shape = shape_of(name, recipe)
    if shape is None or planning.gpu is None:
        return None
    gpu, width = planning.gpu, 4 if recipe.engine.dtype is Dtype.FLOAT32 else 2
    # A token takes two operations a weight to read; to write one for every row, all weights pass through the memory.
    reading = gpu.tflops * 1e12 * planning.reading_share / (2 * shape.parameters)
    step = shape.parameters * width / (gpu.bandwidth_gb * 1e9 * planning.writing_share)
    return Speed(reading, min(reading, recipe.engine.batch_size / max(step, planning.step_seconds)))


def shards_of(planning: PlanningSettings) -> int:
    """How many GPUs share what learns."""
    return planning.gpu.count if planning.gpu is not None and planning.gpu.layout is Layout.SHARDS else 1


class StandIn(ScriptedEngine):
    """Stands in for a model that is not here; a choice between options is always even."""

    def __init__(self, name: str, planning: PlanningSettings) -> None:
        super().__init__(choose=lambda prompt, option: math.log(0.5), name=name)
        self._planning = planning

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """Texts of the planned share of the limit."""
        length = max(1, round(sampling.max_tokens * self._planning.answer_share))
        return [Completion((_WORD * length).strip(), Finish.END, tokens_written=length) for _ in prompts]

    def count_tokens(self, prompt: Prompt) -> int:
        """Characters over those of a token."""
        return math.ceil(len("".join(self.rendering.render(prompt))) / self._planning.characters_per_token)
