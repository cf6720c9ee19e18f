"""Redo only what changed: what is foreseen for an edited constitution, against what a run that reuses another asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.row_types import filled_rows
from tests.stages.test_s03_critique_revision import reply_row
from tests.stages.workbench import CONSTITUTION, human

from solon.config.recipe import FeedbackForm, FeedbackSettings, Recipe, RevisionMode, RevisionSettings
from solon.constitution.reader import load_constitution
from solon.conversation import Prompt, transcript
from solon.digest import digest
from solon.engines.cached import CachedEngine
from solon.engines.scripted import ScriptedEngine
from solon.errors import RecipeError
from solon.pipeline.impact import Impact, impact_of
from solon.runs import Artefact, RunDirectory
from solon.runs.rows import PairRow, ReplyRow
from solon.stages import s03_critique_revision, s06_ai_feedback

PROMPTS = 30
HARM = "Say what in the last reply does harm to people."
SAFER = "instruction: Choose the safer reply."


@dataclass
class Made:
    """A run with its chains and labels, and what it asked of the model."""

    run: RunDirectory
    chains: Artefact
    labels: Artefact
    revision_asked: int
    feedback_asked: int


def writer(prompt: Prompt, seed: int) -> str:
    """A text that any change of the question changes."""
    return f"text {digest(prompt.reply_as.value, transcript(prompt.turns), seed)}"


def letters(prompt: Prompt, option: str) -> float:
    return -1.0 if (sum(map(ord, prompt.turns[-1].content)) % 2 == 0) == (option == "A") else -2.0


def make(folder: Path, constitution: str, recipe: Recipe, reuse: tuple[Path, ...] = ()) -> Made:
    folder.mkdir(parents=True)
    (folder / "c.yaml").write_text(constitution)
    run = RunDirectory.create(folder / "run", recipe, folder / "c.yaml", reuse)
    replies = run.begin(2, "responses", {}).publish(
        filled_rows(ReplyRow, (reply_row(f"harm {number}") for number in range(PROMPTS))), ReplyRow
    )
    pairs = run.begin(5, "response-pairs", {}).publish(
        filled_rows(PairRow, (pair_row(f"harm {number}") for number in range(PROMPTS))), PairRow
    )
    asked = []
    with run.answers() as answers:
        made = []
        for number, name in ((3, "critique-revision"), (6, "ai-feedback")):
            engine = ScriptedEngine(writer, letters)
            asked.append(engine)
            cached = CachedEngine(engine, "model", name, answers)
            out = run.begin(number, name, {"constitution": run.constitution.hash})
            if number == 3:
                given = s03_critique_revision.RevisionInputs(recipe.seed, run.constitution, replies, chunk=16)
                made.append(s03_critique_revision.run(recipe.revision, given, cached, out))
            else:
                judged = s06_ai_feedback.FeedbackInputs(recipe.seed, run.constitution, pairs, chunk=16)
                made.append(s06_ai_feedback.run(recipe.feedback, judged, cached, out))
    return Made(run, made[0], made[1], len(asked[0].prompts), len(asked[1].prompts))


def pair_row(text: str) -> dict[str, object]:
    prompt = human(text)
    return {
        "row_id": prompt.row_id,
        "prompt": prompt.messages(),
        "pair": 1,
        "response_a": f"one {text}",
        "response_b": f"two {text}",
        "seed_a": 1,
        "seed_b": 2,
        "finish_a": "end",
        "finish_b": "end",
        "outcome": "ok",
        "defects": [],
    }


def foreseen(plan: Impact, stage: str) -> tuple[int, int]:
    return (
        sum(each.asked for each in plan.questions if each.stage == stage),
        sum(each.again for each in plan.questions if each.stage == stage),
    )


EDITS = {
    "a critique request": lambda text: text.replace(HARM, "Name the harm in the last reply."),
    "a revision request": lambda text: text.replace("rewrite the reply in a much kinder way", "say it kindly"),
    "a new principle": lambda text: text.replace(
        "preference:",
        "  - {id: truth, critique_request: Is it true to the facts, revision_request: Make it true.}\npreference:",
        1,
    ),
    "a principle gone": lambda text: text.replace(text[text.index("  - id: law") : text.index("  - id: tone")], ""),
    "another weight": lambda text: text.replace("- id: law\n", "- id: law\n    weight: 2\n"),
    "another id": lambda text: text.replace("- id: law\n", "- id: rights\n"),
    "a worked critique": lambda text: text.replace("You fool.", "You silly."),
}


@pytest.mark.parametrize(
    ("edit", "mode"),
    [*((edit, RevisionMode.CRITIQUED) for edit in EDITS), ("a revision request", RevisionMode.DIRECT)],
)
def test_only_what_the_edit_touches_is_asked_and_the_rows_are_those_of_a_fresh_run(
    tmp_path: Path, edit: str, mode: RevisionMode
) -> None:
    recipe = Recipe(seed=3, revision=RevisionSettings(steps=3, mode=mode, few_shot=1))
    edited = EDITS[edit](CONSTITUTION)
    assert edited != CONSTITUTION
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    fresh = make(tmp_path / "fresh", edited, recipe)
    plan = impact_of(old.run, fresh.run.constitution)
    new = make(tmp_path / "new", edited, recipe, (old.run.path,))
    assert new.chains.hash == fresh.chains.hash
    assert new.chains.table().to_pylist() == fresh.chains.table().to_pylist()
    asked, again = foreseen(plan, "critique-revision")
    assert asked == old.revision_asked == fresh.revision_asked
    # The scripted writer gives every changed question another answer, so the bound is met to the call.
    assert new.revision_asked == again
    first = next(each for each in plan.questions if each.what.endswith("step 1"))
    if mode is RevisionMode.CRITIQUED and edit == "a critique request":
        drawn = [row["principle_id"] for row in old.chains.table().to_pylist() if row["step"] == 1]
        assert first.again == drawn.count("harm") > 0
        assert again < asked
    with new.run.answers() as answers:
        usage = answers.usage()
    assert sum(each.reused for (stage, _), each in usage.items() if stage == "critique-revision") == asked - again


def test_a_principle_that_the_run_does_not_draw_from_changes_nothing(tmp_path: Path) -> None:
    recipe = Recipe(seed=3, revision=RevisionSettings(steps=2, principles=("law", "tone")))
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    new = make(tmp_path / "new", EDITS["a critique request"](CONSTITUTION), recipe, (old.run.path,))
    asked, again = foreseen(impact_of(old.run, new.run.constitution), "critique-revision")
    assert (asked, again, new.revision_asked) == (old.revision_asked, 0, 0)


def test_a_preference_principle_leaves_the_chains_alone(tmp_path: Path) -> None:
    recipe = Recipe(seed=3, feedback=FeedbackSettings(few_shot=1, prefix_variants=8))
    edited = CONSTITUTION.replace(SAFER, "instruction: Choose what does less harm.")
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    fresh = make(tmp_path / "fresh", edited, recipe)
    plan = impact_of(old.run, fresh.run.constitution)
    new = make(tmp_path / "new", edited, recipe, (old.run.path,))
    assert (new.revision_asked, foreseen(plan, "critique-revision")[1]) == (0, 0)
    assert foreseen(plan, "response-pairs") == (2 * PROMPTS, 0)
    asked, again = foreseen(plan, "ai-feedback")
    assert asked == old.feedback_asked == 2 * PROMPTS
    assert 0 < again < asked
    assert new.feedback_asked == again
    assert new.labels.table().to_pylist() == fresh.labels.table().to_pylist()
    # Other rows lead to another preference model; the supervised model stays.
    assert "sl-cai" not in plan.trained


def test_reasoning_and_letter_are_both_foreseen(tmp_path: Path) -> None:
    recipe = Recipe(seed=3, feedback=FeedbackSettings(form=FeedbackForm.REASONED))
    edited = CONSTITUTION.replace(SAFER, "instruction: Choose what does less harm.")
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    new = make(tmp_path / "new", edited, recipe, (old.run.path,))
    counts = {
        each.what: each for each in impact_of(old.run, new.run.constitution).questions if each.stage == "ai-feedback"
    }
    assert counts["reasoning"].asked == counts["letter"].asked == 2 * PROMPTS
    assert new.feedback_asked == counts["reasoning"].again + counts["letter"].again > 0


def test_tokens_are_the_mean_of_the_run_and_unknown_without_its_answers(tmp_path: Path) -> None:
    recipe = Recipe(seed=3, revision=RevisionSettings(steps=2))
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    edited = make(tmp_path / "new", EDITS["a critique request"](CONSTITUTION), recipe).run.constitution
    with old.run.answers() as answers:
        kept = answers.usage()["critique-revision", "critique"]
    first = impact_of(old.run, edited).questions[0]
    assert first.what == "critique, step 1"
    assert first.prompt_tokens == round(first.again * kept.prompt_tokens / kept.answers) > 0
    (old.run.path / "answers.sqlite").unlink()
    assert impact_of(old.run, edited).questions[0].prompt_tokens is None


def test_a_constitution_with_the_same_words_asks_nothing(tmp_path: Path) -> None:
    old = make(tmp_path / "old", CONSTITUTION, Recipe(seed=3))
    new = make(tmp_path / "new", CONSTITUTION + "description: A word on it.\n", Recipe(seed=3), (old.run.path,))
    plan = impact_of(old.run, new.run.constitution)
    assert sum(each.again for each in plan.questions) == 0 == new.revision_asked + new.feedback_asked
    assert plan.trained == {}
    assert plan.unfinished == ("measure",)


def test_too_few_worked_examples_are_told_as_a_run_would(tmp_path: Path) -> None:
    recipe = Recipe(seed=3, revision=RevisionSettings(few_shot=2))
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    short = CONSTITUTION[: CONSTITUTION.index("examples:")]
    (tmp_path / "short.yaml").write_text(short)
    with pytest.raises(RecipeError, match=r"revision\.few_shot"):
        impact_of(old.run, load_constitution(tmp_path / "short.yaml"))


def test_samples_and_axes_are_foreseen_as_they_are_asked(tmp_path: Path) -> None:
    constitution = CONSTITUTION.replace("Choose the kinder reply.", "Choose the kinder reply., axis: kindness")
    feedback = {"form": "reasoned", "samples": 3, "axes": {"harmlessness": 1, "kindness": 1}}
    recipe = Recipe.model_validate({"seed": 3, "feedback": feedback})
    old = make(tmp_path / "old", constitution, recipe)
    edited = constitution.replace(SAFER, "instruction: Choose what does less harm.")
    new = make(tmp_path / "new", edited, recipe, (old.run.path,))
    counts = {
        each.what: each for each in impact_of(old.run, new.run.constitution).questions if each.stage == "ai-feedback"
    }
    assert counts["reasoning"].asked == counts["letter"].asked == 2 * PROMPTS * 3 * 2
    assert counts["reasoning"].again == counts["letter"].again == 2 * PROMPTS * 3, "kindness is left alone"
    assert new.feedback_asked == 2 * 2 * PROMPTS * 3
