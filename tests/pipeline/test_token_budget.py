import pytest
from tests.stages.workbench import Bench

from solon.config.builtin import constitution_path, source_path
from solon.config.loading import load_recipe
from solon.config.recipe import Recipe
from solon.constitution.constitution import worked_critiques
from solon.constitution.reader import load_constitution, place_of
from solon.engines.scripted import ScriptedEngine
from solon.errors import ConstitutionError, RecipeError
from solon.feedback.best_of import choose_plan
from solon.feedback.comparisons import few_shot_variants
from solon.pipeline.token_budget import SLACK, reserved_tokens
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind
from solon.stages import s02_responses, s03_critique_revision, s05_response_pairs, s06_ai_feedback
from solon.stages.s02_responses import ResponseInputs
from solon.stages.s03_critique_revision import RevisionInputs
from solon.stages.s05_response_pairs import PairInputs
from solon.stages.s06_ai_feedback import FeedbackInputs

RECIPE = Recipe.model_validate(
    {
        "responses": {"sampling": {"max_tokens": 11}},
        "revision": {"steps": 2, "few_shot": 1, "critique": {"max_tokens": 7}, "revision": {"max_tokens": 13}},
        "pairs": {"sampling": {"max_tokens": 9}},
        "feedback": {"few_shot": 2, "prefix_variants": 3},
        "rl": {"sampling": {"max_tokens": 12}},
        "measure": {"sampling": {"max_tokens": 15}},
    }
)


BARE = {"revision": {"few_shot": 0}, "feedback": {"few_shot": 0}}


def longest(prompt, seed: int) -> str:
    """Uses up every token limit, and ends."""
    limits = {"assistant": 9, "critique": 7, "revision": 13}
    return " ".join(f"w{seed % 89 + i}" for i in range(limits[prompt.reply_as.value]))


def test_what_is_reserved_is_enough_for_every_question_and_not_much_more(tmp_path):
    bench = Bench(tmp_path)
    counter = ScriptedEngine()
    reserved = reserved_tokens(RECIPE, bench.constitution, counter)
    assert reserved[PromptKind.HELPFUL] == 12 + SLACK
    assert reserved[PromptKind.HELD_OUT_BENIGN] == 15 + SLACK
    prompt_tokens = 2 + 6
    window = prompt_tokens + reserved[PromptKind.RED_TEAM]
    given = bench.prompts("one two three four five six")
    engine = ScriptedEngine(longest, lambda prompt, option: -float(option == "B"), window=window)
    replies = s02_responses.run(RECIPE.responses, ResponseInputs(1, given), engine, bench.out("responses", 2))
    revised = s03_critique_revision.run(
        RECIPE.revision, RevisionInputs(1, bench.constitution, replies), engine, bench.out("critique-revision", 3)
    )
    pairs = s05_response_pairs.run(RECIPE.pairs, PairInputs(1, given), engine, bench.out("response-pairs", 5))
    labels = s06_ai_feedback.run(
        RECIPE.feedback, FeedbackInputs(1, bench.constitution, pairs), engine, bench.out("ai-feedback", 6)
    )
    for artefact in (replies, revised, pairs, labels):
        assert artefact.manifest.outcomes == {Outcome.OK.value: artefact.manifest.rows}
    most = max(counter.count_tokens(prompt) for prompt in engine.prompts)
    assert window - 3 * SLACK < most + 13 <= window


@pytest.mark.parametrize("name", ["own", "real", "real-non-evasive"])
def test_recipes_for_real_models_have_the_worked_examples_and_prompts_that_they_ask_for(name):
    recipe = load_recipe(name)
    constitution = load_constitution(constitution_path(recipe.constitution))
    assert len(worked_critiques(recipe.revision, constitution)) == recipe.revision.few_shot
    assert len(few_shot_variants(recipe.feedback, constitution, 0)[0]) == recipe.feedback.few_shot
    if recipe.revision.candidates > 1:
        assert choose_plan(recipe.revision.choose_by, constitution, 0).axes[0].principles
    assert source_path(recipe.prompts.helpful).exists() and source_path(recipe.measure.benign).exists()
    assert recipe.preference.human_helpfulness is None, "hh-rlhf's harmlessness comparisons must not teach harmlessness"
    reserved = reserved_tokens(recipe, constitution, ScriptedEngine())
    assert reserved[PromptKind.RED_TEAM] * 1.4 < (recipe.engine.window or 8192)


@pytest.mark.parametrize(
    ("section", "key"),
    [("revision", "critique_request"), ("revision", "revision_request"), ("preference", "instruction")],
)
def test_a_principle_that_leaves_no_room_is_named_with_file_and_line(tmp_path, section, key):
    file = tmp_path / "mine.yaml"
    lines = constitution_path("testbed").read_text().splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{section}:"))
    number = next(number for number in range(start, len(lines)) if f"{key}:" in lines[number])
    lines[number] = f"{lines[number].split(key)[0]}{key}: {'word ' * 5000}\n"
    file.write_text("".join(lines))
    constitution = load_constitution(file)
    with pytest.raises(ConstitutionError) as caught:
        reserved_tokens(Recipe.model_validate(BARE), constitution, ScriptedEngine(window=400), file)
    named = getattr(constitution, section)[0].id
    assert f"'{key}' of principle '{named}' has 4999 tokens" in str(caught.value)
    assert caught.value.place == place_of(file, section, 0) and caught.value.place.startswith(f"{file}:")


def test_questions_that_leave_no_room_together_are_told_as_such(tmp_path):
    with pytest.raises(RecipeError, match=r"engine\.window: questions about a prompt need .* the window is 60"):
        reserved_tokens(RECIPE, Bench(tmp_path).constitution, ScriptedEngine(window=60))
