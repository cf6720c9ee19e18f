"""Settings of training that goes on from the models of an earlier run, after an edit of the constitution."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from solon.config.settings import Settings


class EarlierModel(Settings):
    """A model that a stage of an earlier run trained."""

    folder: str
    """Its folder, which is read when training begins and not needed any more when it is done."""
    hash: str
    """The hash of the stage that made it."""


class WarmStartSettings(Settings):
    """Training that goes on from an earlier run's models."""

    run: str | None = None
    """An earlier run, when a new one is made: the stages that the edited constitution changes go on from its models.
    The new run records them in `models`, and null here."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.34
    """The share of their epochs, or steps of reinforcement learning, that these stages still do."""
    models: dict[str, EarlierModel] = Field(default_factory=dict)
    """Stages that go on from an earlier model, each with that model."""
