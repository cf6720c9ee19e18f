"""Checks of the settings of reinforcement learning that need no model, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from solon.config.addresses import read_token
from solon.config.builtin import model_path
from solon.config.recipe import Algorithm, ReinforcementSettings, SamplingParams
from solon.conversation import Conversation
from solon.errors import RecipeError
from solon.reward.remote import RemoteScorer, is_address
from solon.rl.advantage import refuse_missing_samples

Scores = Callable[[Sequence[Conversation]], Sequence[float]]
"""One number for each conversation that ends on a reply, in order; higher is better, 0 an ordinary reply."""


def refuse_unusable(settings: ReinforcementSettings) -> None:
    """Raise RecipeError for settings that no run of the chosen algorithm can use, before anything is spent.

    Raises ModelError when a scorer's folder is not a model folder.
    """
    if settings.algorithm is Algorithm.DPO:
        return
    check_sampling(settings.sampling)
    refuse_missing_samples(settings)
    scorer_named(settings.scorer)
    if settings.held_out_scorer is not None:
        model_path(settings.held_out_scorer)


def scorer_named(name: str | None) -> Path | Scores | None:
    """What a recipe names as `rl.scorer`: a folder, or the scores of a server; None for the run's preference model.

    Raises ModelError, RecipeError and InputError when the folder, the address or the token in the environment is not
    valid.
    """
    if name is None:
        return None
    return RemoteScorer(name, token=read_token()).scores if is_address(name) else model_path(name)


def check_sampling(sampling: SamplingParams) -> None:
    """Raise RecipeError for sampling that a policy gradient cannot learn from."""
    if sampling.temperature == 0:
        raise RecipeError(
            "a policy gradient needs sampled replies, and temperature 0 does not sample",
            place="rl.sampling.temperature",
            remedy="Use --set rl.sampling.temperature=1",
        )
    if sampling.top_p < 1:
        raise RecipeError(
            "a policy gradient needs the whole distribution: with top_p below 1 replies are not drawn from the policy",
            place="rl.sampling.top_p",
            remedy="Use --set rl.sampling.top_p=1",
        )
