"""Chains of thought of a judge differ, whatever the recipe draws its labels at."""

from __future__ import annotations

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.config.recipe import FeedbackForm
from solon.constitution.reader import load_constitution
from solon.feedback.comparisons import ShownOrder
from solon.pipeline.reproduction.asked_comparisons import judge_setup
from solon.testbed.judge_questions import judge_questions


def test_several_chains_of_thought_are_drawn_at_the_papers_temperature_each_by_its_own_seed() -> None:
    recipe = load_recipe("testbed")
    assert recipe.feedback.reasoning.temperature == 0, "the labels of a run come from the most probable chain"
    constitution = load_constitution(constitution_path(recipe.constitution))
    setups = [judge_setup(recipe, constitution, FeedbackForm.REASONED, number) for number in range(5)]
    assert {each.settings.reasoning.temperature for each in setups} == {1.0}, "at 0 five chains would be one"
    assert {each.settings.samples for each in setups} == {1}
    pair = judge_questions(recipe, constitution).comparisons[0].pair(better_is_a=True)
    assert len({each.reasoning_seed(pair, ShownOrder.AB) for each in setups}) == 5
