"""What a stage that trains takes from an earlier run: the weights that it goes on from, and how much it still does.

Only weights come from before. Tokenizer, template and prompts are the run's own, and the reference of reinforcement
learning is the run's own SL-CAI model. The earlier stage's hash and the share are a part of the stage's key; the
folder is not, so that the earlier run can be moved or deleted when the new one is done. Before training begins, the
folder is compared with that hash: the earlier stage may have been trained anew since.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from solon.config.recipe import Recipe, ReinforcementSettings, TrainingSettings
from solon.errors import RunError
from solon.runs import Artefact
from solon.stages.stage import StageDependencies

_ANEW = "start a new run with --set warm_start.run=RUN"


@dataclass(frozen=True, slots=True)
class WarmStart:
    """The model that a stage goes on from, the hash of what made it, and the share of epochs or steps that are done."""

    folder: Path
    hash: str
    share: float

    def model(self) -> Path:
        """The folder, which is the folder `model` of a finished stage, its files compared with the hash.

        Raises RunError when it is not there any more, is damaged, or belongs to a stage of another hash.
        """
        stage = self.folder.parent
        found = Artefact.open(stage)
        if found is None or self.folder.name != "model":
            raise RunError(
                "training goes on from this model, and it is not that of a finished stage",
                place=str(self.folder),
                remedy=f"Put the earlier run back there, or {_ANEW}",
            )
        if found.hash != self.hash:
            raise RunError(
                f"the earlier model is another now: the run was made for the stage with hash {self.hash[:8]}, "
                f"and here is {found.hash[:8]}",
                place=str(stage),
                remedy=f"Restore that stage from a copy, or {_ANEW}",
            )
        return found.model

    def training(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with fewer epochs."""
        return settings.model_copy(update={"epochs": settings.epochs * self.share})

    def reinforcement(self, settings: ReinforcementSettings) -> ReinforcementSettings:
        """The settings with fewer steps, at least one."""
        return settings.model_copy(update={"steps": max(1, round(settings.steps * self.share))})


def warm_start_of(recipe: Recipe, stage: str) -> WarmStart | None:
    """How a stage goes on from an earlier model; None where it trains from the start."""
    model = recipe.warm_start.models.get(stage)
    return None if model is None else WarmStart(Path(model.folder), model.hash, recipe.warm_start.share)


def reads_with(start: WarmStart | None, reads: StageDependencies) -> StageDependencies:
    """What a stage reads, with what it goes on from as a part of its key."""
    if start is None:
        return reads
    return StageDependencies(reads.paths, {**reads.more, "warm_start": {"hash": start.hash, "share": start.share}})
