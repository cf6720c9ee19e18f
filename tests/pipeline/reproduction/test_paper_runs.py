"""The plan of the reproduction: every model of the paper is in it, and stages are shared and not done twice."""

from __future__ import annotations

from itertools import pairwise

import pytest

from solon.config.recipe import FeedbackForm, Method, Recipe
from solon.pipeline.reproduction.paper_runs import SIZES, PlannedRun, planned_runs, recipe_of, revisions_of
from solon.stages.plan import CRITIQUE_REVISION, RESPONSES, SL_CAI, built_in, names_of

RUNS = {run.name: run for run in planned_runs(4)}


def recipe(name: str) -> Recipe:
    return recipe_of(RUNS[name], SIZES["full"])


def test_every_model_of_the_paper_is_trained() -> None:
    assert [f"sl-cai-{n}" for n in (1, 2, 3)] == [name for name in RUNS if name.startswith("sl-cai")]
    assert [recipe(f"sl-cai-{n}").finetune.revisions for n in (1, 2, 3)] == [1, 2, 3]
    assert recipe("helpful-rlhf").method is Method.RLHF and recipe("helpful-rlhf").rl.red_team_share == 0
    assert recipe("helpful-rlhf").preference.human_harmlessness is None
    assert recipe("hh-rlhf").preference.human_harmlessness and recipe("hh-rlhf").preference.human_helpfulness
    assert recipe("rl-cai-cot").feedback.form is FeedbackForm.REASONED
    assert recipe("rl-cai-letter").feedback.form is FeedbackForm.LETTER
    assert recipe("rl-cai-letter").preference.least_margin == 0, "its labels lie near one half"
    assert recipe("harmlessness-pm").preference.human_helpfulness is None


@pytest.mark.parametrize("name", list(RUNS))
def test_a_run_reuses_only_what_comes_before_it(name: str) -> None:
    before = list(RUNS)[: list(RUNS).index(name)]
    assert set(RUNS[name].reuses) <= set(before)
    assert RUNS[name].until in names_of(recipe(name))
    # Whatever is not the first run takes its prompts from it.
    assert not before or "rl-cai-cot" in RUNS[name].reuses


def same_settings(one: PlannedRun, other: PlannedRun, stage: str) -> bool:
    found = [built_in(stage).settings(recipe(each.name)) for each in (one, other)]
    return found[0] == found[1]


def test_runs_share_the_stages_that_their_settings_do_not_touch() -> None:
    whole = RUNS["rl-cai-cot"]
    for name in ("rl-cai-letter", "sl-cai-1", "sl-cai-2", "sl-cai-3"):
        assert same_settings(whole, RUNS[name], CRITIQUE_REVISION)
    assert same_settings(whole, RUNS["rl-cai-letter"], SL_CAI)
    for name in ("direct-revisions", "principles-1", "principles-8"):
        assert same_settings(whole, RUNS[name], RESPONSES) and not same_settings(whole, RUNS[name], CRITIQUE_REVISION)
    for one, other in pairwise([RUNS[f"sl-cai-{n}"] for n in (1, 2, 3)]):
        assert not same_settings(one, other, SL_CAI)


def test_sizes_keep_snapshots_and_users_settings_come_after_them() -> None:
    for size in SIZES.values():
        found = recipe_of(RUNS["hh-rlhf"], size)
        assert found.rl.snapshots and found.rl.steps // found.rl.snapshots >= 4
    small = recipe_of(RUNS["hh-rlhf"], SIZES["small"], ["rl.steps=5", "method=cai"])
    assert small.rl.steps == 5 and small.method is Method.RLHF
    assert revisions_of(SIZES["full"]) == 4 and revisions_of(SIZES["small"], ["revision.steps=2"]) == 2
