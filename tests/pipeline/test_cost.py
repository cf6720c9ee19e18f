"""Counts, tokens and time against sums done by hand."""

import pytest

from solon.config.recipe import Recipe, ValueFunction
from solon.pipeline.cost import Calls, CostInputs, Range, Seen, Speed, calls_of, learning_of
from solon.runs.rows import PromptKind
from solon.stages.questions import Size

RECIPE = Recipe.model_validate(
    {
        "responses": {"sampling": {"max_tokens": 20}, "helpful_samples": 3},
        "revision": {"steps": 4, "critique": {"max_tokens": 30}, "revision": {"max_tokens": 40}},
        "pairs": {"sampling": {"max_tokens": 50}},
        "feedback": {"form": "reasoned", "order": "both", "reasoning": {"max_tokens": 60}},
        "rl": {"steps": 5, "prompts_per_step": 6, "samples_per_prompt": 2, "sampling": {"max_tokens": 70}},
        "measure": {"sampling": {"max_tokens": 80}},
    }
)
SPEED = Speed(reading=1000.0, writing=100.0)
MEASURED = CostInputs(
    sizes={
        PromptKind.RED_TEAM: Size(10, 200, 25),
        PromptKind.HELPFUL: Size(4, 40, 12),
        PromptKind.HELD_OUT_HARMFUL: Size(3, 33, 15),
        PromptKind.HELD_OUT_BENIGN: Size(2, 14, 9),
    },
    overhead={"critique": 100, "revision": 140, "reasoning": 200, "comparison": 260},
    seen={
        "reply": Seen(0.0, 0.0, 15.0),
        "critique": Seen(80.0, 50.0, 25.0),
        "revision": Seen(110.0, 50.0, 45.0),
        "reasoning": Seen(150.0, 0.0, 30.0),
        "comparison": Seen(190.0, 0.0, 0.0),
    },
    speeds=dict.fromkeys(("reply", "critique", "revision", "reasoning", "comparison"), SPEED),
    known_answers={},
    human_comparisons=8,
)


def found(recipe: Recipe = RECIPE, measured: CostInputs = MEASURED) -> dict[str, Calls]:
    return {f"{each.stage} {each.what}": each for each in calls_of(recipe, measured)}


def test_every_kind_of_call_is_counted_with_its_tokens() -> None:
    calls = found()
    assert {name: each.calls for name, each in calls.items()} == {
        "responses replies to red-team prompts": 10,
        "responses replies to helpful prompts": 12,
        "critique-revision critiques": 40,
        "critique-revision revisions": 40,
        "response-pairs replies": 20,
        "ai-feedback reasonings": 20,
        "ai-feedback letters": 20,
        "rl-cai replies": 60,
        "measure replies to held-out harmful prompts": 12,
        "measure replies to held-out benign prompts": 8,
    }
    assert calls["responses replies to helpful prompts"].prompt == Range(120, 120)
    assert calls["responses replies to helpful prompts"].completion == Range(180, 240)
    assert calls["critique-revision critiques"].prompt == Range(800 + 40 * 80, 800 + 40 * 100)
    assert calls["critique-revision critiques"].completion == Range(1000, 1200)
    # What was seen beyond a limit, in tokens of another engine, is held to the limit.
    assert calls["critique-revision revisions"].completion == Range(1600, 1600)
    assert calls["ai-feedback letters"].completion == Range(0, 0)
    assert calls["rl-cai replies"].prompt == Range(60 * 15, 60 * 25)


def test_time_is_tokens_over_speed_and_worked_examples_are_read_once() -> None:
    critiques = found()["critique-revision critiques"]
    assert critiques.seconds == (4000 - 40 * 50) / 1000 + 1000 / 100


def test_what_the_recipe_does_not_ask_is_left_out() -> None:
    recipe = RECIPE.model_validate({"revision": {"mode": "direct"}, "feedback": {"order": "one"}})
    calls = found(recipe)
    assert "critique-revision critiques" not in calls
    assert "ai-feedback reasonings" not in calls
    assert calls["ai-feedback letters"].calls == 10


def test_plain_questions_are_added_and_an_unseen_kind_is_taken_at_its_limits() -> None:
    seen = {role: each for role, each in MEASURED.seen.items() if role != "revision"}
    measured = CostInputs(
        MEASURED.sizes, MEASURED.overhead, seen, MEASURED.speeds, {"critique": 5}, MEASURED.human_comparisons
    )
    calls = found(measured=measured)
    assert calls["critique-revision critiques"].calls == 45
    revisions = calls["critique-revision revisions"]
    assert revisions.prompt.estimate == revisions.prompt.bound == 800 + 40 * 140
    assert revisions.completion.estimate == revisions.completion.bound


def test_learning_counts_every_row_once_per_epoch() -> None:
    learning = {each.stage: each for each in learning_of(RECIPE, MEASURED)}
    assert learning["sl-cai"].tokens == 40 * (20 + 15) + 12 * (10 + 15)
    assert learning["preference-model"].tokens == 2 * (10 * 35 + 8 * 25)
    assert learning["rl-cai"].tokens == 2 * 60 * (15 + 15)
    assert learning["sl-cai"].seconds == 3 * learning["sl-cai"].tokens / 1000


def test_several_pairs_for_each_prompt_and_a_part_of_the_revisions_are_counted_as_such() -> None:
    recipe = RECIPE.model_validate(
        {**RECIPE.model_dump(), "pairs": {"per_prompt": 3}, "finetune": {"revisions": 2, "helpful_ratio": 0.5}}
    )
    calls = found(recipe)
    assert calls["response-pairs replies"].calls == 60
    assert calls["ai-feedback letters"].calls == 60
    learning = {each.stage: each.tokens for each in learning_of(recipe, MEASURED)}
    assert learning["sl-cai"] == 20 * 35 + 10 * 25
    assert learning["preference-model"] == 2 * (30 * 35 + 8 * 25)


def test_samples_axes_and_judges_multiply_the_questions() -> None:
    feedback = {**RECIPE.feedback.model_dump(), "samples": 5, "axes": {"harmlessness": 1.0, "kindness": 0.5}}
    recipe = RECIPE.model_validate(
        {**RECIPE.model_dump(), "feedback": feedback, "models": {"feedback": ("one", "two", "three")}}
    )
    calls = found(recipe)
    assert calls["ai-feedback reasonings"].calls == calls["ai-feedback letters"].calls == 20 * 5 * 2 * 3


def test_rloo_reads_a_rollout_once_less_and_dpo_has_none() -> None:
    def with_algorithm(name: str) -> Recipe:
        rl = {**RECIPE.rl.model_dump(), "algorithm": name}
        return RECIPE.model_validate({**RECIPE.model_dump(), "rl": rl})

    ppo, rloo, dpo = (
        next(each for each in learning_of(with_algorithm(name), MEASURED) if each.stage == "rl-cai")
        for name in ("ppo", "rloo", "dpo")
    )
    assert ppo.tokens == rloo.tokens
    # The value network reads each of 60 rollouts of 30 tokens once and learns from it twice.
    assert ppo.seconds - rloo.seconds == pytest.approx(60 * 30 * (1 + 3 * 2) / 1000)
    rl = RECIPE.rl.model_copy(update={"value_function": ValueFunction.POLICY_BACKBONE})
    head = next(each for each in learning_of(RECIPE.model_copy(update={"rl": rl}), MEASURED) if each.stage == "rl-cai")
    assert head == rloo
    assert dpo.tokens == 2 * 10 * (20 + 15), "both sides of every AI label, for one epoch"
    assert "rl-cai replies" not in found(with_algorithm("dpo"))


def test_a_further_round_asks_again_and_learns_from_all_labels() -> None:
    recipe = RECIPE.model_copy(update={"rounds": 2})
    counts = {(each.stage, each.what): each.calls for each in calls_of(recipe, MEASURED)}
    for stage, what in (("response-pairs", "replies"), ("ai-feedback", "letters"), ("rl-cai", "replies")):
        assert counts[f"{stage}-2", what] == counts[stage, what]
    # Pretrained, assistant, SL-CAI and two policies.
    assert counts["measure", "replies to held-out harmful prompts"] == 5 * 3
    learning = {each.stage: each.tokens for each in learning_of(recipe, MEASURED)}
    human = 2 * 8 * (10 + 15)
    assert learning["preference-model-2"] - human == 2 * (learning["preference-model"] - human)
    assert learning["rl-cai-2"] == learning["rl-cai"]


def test_a_baseline_asks_nothing_of_a_critic_or_judge() -> None:
    recipe = Recipe.model_validate({**RECIPE.model_dump(mode="json"), "method": "rlhf"})
    calls = calls_of(recipe, MEASURED)
    assert [(each.stage, each.calls) for each in calls] == [("rlhf", 60), ("measure", 9), ("measure", 6)]
    learning = {each.stage: each.tokens for each in learning_of(recipe, MEASURED)}
    assert list(learning) == ["preference-model", "rlhf"]
    assert learning["preference-model"] == 2 * 8 * (10 + 15) * recipe.preference.training.epochs


def test_a_held_out_preference_model_takes_its_share_of_the_pairs() -> None:
    rl = RECIPE.rl.model_copy(update={"held_out_share": 0.25})
    whole = next(each.tokens for each in learning_of(RECIPE, MEASURED) if each.stage == "preference-model")
    learning = {each.stage: each.tokens for each in learning_of(RECIPE.model_copy(update={"rl": rl}), MEASURED)}
    assert learning["preference-model"] == round(0.75 * whole)
    assert learning["held-out-preference-model"] == round(0.25 * whole)


def test_only_what_a_server_answers_is_paid_for() -> None:
    """SL-CAI and the policy answer in this process, and so do all measured models but the assistant, one of four."""
    given = {
        **RECIPE.model_dump(mode="json"),
        "models": {"assistant": "openai:helper@http://127.0.0.1:9"},
        "engine": {"server": {"prompt_price": 3.0, "completion_price": 5.0}},
        "refusals": {"limit": 5},
    }
    calls = found(Recipe.model_validate(given))
    whole = {name: (3.0 * each.prompt.estimate + 5.0 * each.completion.estimate) / 1e6 for name, each in calls.items()}
    assert {name: each.price / whole[name] for name, each in calls.items()} == pytest.approx(
        {
            "responses replies to red-team prompts": 1,
            "responses replies to helpful prompts": 1,
            "critique-revision critiques": 1,
            "critique-revision revisions": 1,
            "response-pairs replies": 0,
            "ai-feedback reasonings": 1,
            "ai-feedback letters": 1,
            "rl-cai replies": 0,
            "refusals replies to benign prompts that sound harmful": 1 / 4,
            "measure replies to held-out harmful prompts": 1 / 4,
            "measure replies to held-out benign prompts": 1 / 4,
        }
    )
