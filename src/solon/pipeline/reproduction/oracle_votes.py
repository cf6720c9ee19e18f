"""Votes on every model by simulated users and the oracle (figures 2, 3 and 8), as crowdworkers' votes in the paper.

All models and snapshots are in one pool, and each pair is drawn equally often, so that all ratings compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from solon.comparisons.comparison_judges import GraderJudge
from solon.comparisons.hidden_models import HiddenModels, compared_models
from solon.comparisons.prompt_choice import prompts_by_mode
from solon.comparisons.simulated_users import SimulatedPlan, simulate
from solon.comparisons.turn_taking import TurnTaking
from solon.comparisons.vote_files import read_votes
from solon.comparisons.vote_rows import RatedVote, VoteMode
from solon.comparisons.vote_store import VOTES, VoteStore
from solon.config.recipe import TESTBED_GRADER, Recipe
from solon.pipeline.graders import GRADERS
from solon.pipeline.reproduction.paper_models import PaperModel
from solon.runs import Report

CHUNK = 512
"""Conversations that go on together: with this many, every model gets batches that are worth their name."""


def cast_votes(
    folder: Path, recipe: Recipe, models: Sequence[PaperModel], conversations: int, report: Report
) -> list[RatedVote]:
    """All votes of both modes, those that are missing cast now; every vote stays in `folder`."""
    store = VoteStore(folder / VOTES)
    modes = tuple(VoteMode)
    if store.count() < len(modes) * conversations:
        compared = compared_models([f"{model.name}={model.folder}" for model in models])
        opened = HiddenModels.opened(compared, recipe.measure.sampling, recipe.engine)
        store.add_models(compared)
        prompts = prompts_by_mode((), modes, testbed=True)
        taking = TurnTaking(store, [model.key for model in compared], prompts, recipe.seed)
        plan = SimulatedPlan(modes, conversations, chunk=CHUNK)
        simulate(taking, opened, GraderJudge(GRADERS[TESTBED_GRADER]()), plan, report)
    return read_votes([folder])
