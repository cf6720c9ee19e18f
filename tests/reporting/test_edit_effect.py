"""The effect of an edit: what two runs differ in, counted again by hand, and what makes them not comparable."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from solon.cli.main import cli
from solon.config.builtin import constitution_path
from solon.config.recipe import Recipe, RevisionSettings
from solon.constitution.diff import Change, EditKind, changes
from solon.engines.scripted import ScriptedEngine
from solon.errors import RunError
from solon.evals.judged_answers import COMPARISONS, JudgeInputs
from solon.evals.reply_questions import read_reply_questions
from solon.reporting.effect.changed_replies import MOST, changed_replies, distance
from solon.reporting.effect.comparable_runs import ComparedRuns, compared_runs
from solon.reporting.effect.edit_cost import StageState
from solon.reporting.effect.edit_effect import EditEffect, effect_of, headline
from solon.reporting.effect.effect_page import render_effect
from solon.reporting.effect.row_changes import ChangeCause, LabelFlip, label_changes, revision_changes
from solon.runs import Artefact, RunDirectory
from solon.runs.evaluation_rows import AnswerRow, BaselineComparison
from solon.runs.rows import LabelRow, PromptRow, RevisionRow
from solon.stages import s09_measure
from tests.pipeline.test_impact import EDITS, make
from tests.reporting.conftest import EditedRuns
from tests.reporting.test_judged_section import prefers_offers
from tests.reporting.test_page import HOSTILE, Page
from tests.row_types import filled_rows
from tests.stages.workbench import CONSTITUTION
from tests.synthetic import PLAIN_QUESTIONS, FirstWordRater, Plan, PlannedEngine, build, measure_inputs, replies_of


def rows_by_key(run: RunDirectory, name: str, row: type) -> dict[tuple[object, ...], object]:
    found = run.finished(name)
    assert found is not None
    last = {RevisionRow: "step", LabelRow: "pair", AnswerRow: "model"}[row]
    return {(each.row_id, getattr(each, last)): each for each in found.rows(row)}


def compared(old: RunDirectory, new: RunDirectory) -> ComparedRuns:
    """The runs, unchecked: those of scripted tests have no table of prompts."""
    stages: list[Mapping[str, Artefact]] = [{each.name: each for each in run.artefacts()} for run in (old, new)]
    return ComparedRuns(old, new, stages[0], stages[1], tuple(changes(old.constitution, new.constitution)))


# A whole pair of runs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def effect(edited_runs: EditedRuns) -> EditEffect:
    return effect_of(edited_runs.old, edited_runs.new)


def test_the_edit_is_the_one_principle(effect: EditEffect, edited_runs: EditedRuns) -> None:
    (edit,) = effect.edits
    assert (edit.section, edit.id, edit.edit) == ("preference principle", edited_runs.principle, "changed")
    assert effect.remarks == ()
    assert next(headline(effect)) == f"The edit: preference principle {edited_runs.principle} changed."


def test_the_labels_that_changed_are_those_of_the_edited_principle(effect: EditEffect, edited_runs: EditedRuns) -> None:
    old, new = (rows_by_key(run, "ai-feedback", LabelRow) for run in (edited_runs.old, edited_runs.new))
    (found,) = effect.labels
    assert found.compared == found.same_replies == len(old) == len(new)
    assert found.draws_moved == 0 and found.moves == ()
    flipped = set()
    for (row_id, pair), before in old.items():
        after = new[row_id, pair]
        if before.p_a is not None and after.p_a is not None and (before.p_a > 0.5) != (after.p_a > 0.5):
            flipped.add(f"ai-feedback/{row_id}/{pair}")
        if before.principle_id != edited_runs.principle:
            assert before == after
    assert {flip.row for flip in found.flips} == flipped
    (shift,) = found.by_principle
    assert shift.id == edited_runs.principle and shift.flips == len(flipped)
    assert shift.changed > 0 and set(shift.causes) == {ChangeCause.EDIT.value}


@pytest.mark.parametrize(
    ("old", "new", "clear"), [(0.6, 0.4, True), (0.1, 0.99, True), (0.51, 0.1, False), (0.9, 0.41, False)]
)
def test_a_flip_is_clear_when_both_labels_are(old: float, new: float, clear: bool, effect: EditEffect) -> None:
    flip = LabelFlip(
        row="ai-feedback/1/1", principle_old="a", principle_new="a", p_a_old=old, p_a_new=new, cause=ChangeCause.EDIT
    )
    (labels,) = effect.labels
    assert replace(labels, flips=(flip, flip)).clear_flips == (2 if clear else 0)


def test_revisions_stay_and_shares_are_paired_by_prompt(effect: EditEffect, edited_runs: EditedRuns) -> None:
    assert effect.revisions is not None and effect.revisions.changed == 0
    assert effect.behaviour is not None and effect.behaviour.graded_by == "testbed"
    old, new = (rows_by_key(run, "measure", AnswerRow) for run in (edited_runs.old, edited_runs.new))
    for model in ("sl-cai", "rl-cai"):
        harmful = next(each for each in effect.behaviour.of(model) if each.measure == "harmful")
        keys = [key for key in old if key[1] == model and old[key].kind == "held_out_harmful"]
        lost = sum("harmful" in old[key].labels and "harmful" not in new[key].labels for key in keys)
        won = sum("harmful" not in old[key].labels and "harmful" in new[key].labels for key in keys)
        assert harmful.difference.n == len(keys) == 6
        assert (harmful.difference.first_only, harmful.difference.second_only) == (lost, won)
        topics = [each for each in effect.behaviour.topics if each.model == model and each.measure == "harmful"]
        assert sum(each.difference.n for each in topics) == 6
        assert {each.topic for each in topics} == {old[key].group for key in keys}
    unchanged = {each.model: each.changed for each in effect.behaviour.models}
    assert unchanged["pretrained"] == unchanged["assistant"] == unchanged["sl-cai"] == 0


def test_the_cost_counts_stages_seconds_and_questions(effect: EditEffect, edited_runs: EditedRuns) -> None:
    stages = {each.stage: each for each in effect.cost.stages}
    assert [name for name, each in stages.items() if each.state is StageState.REUSED] == [
        "prompts", "responses", "sl-cai", "response-pairs",
    ]  # fmt: skip
    assert stages["critique-revision"].state is StageState.ALL_ANSWERS
    assert stages["critique-revision"].questions == 48 and stages["critique-revision"].asked == 0
    assert 0 < stages["ai-feedback"].asked < stages["ai-feedback"].questions
    assert stages["sl-cai"].seconds == 0 < stages["sl-cai"].seconds_from_nothing
    manifests = {each.name: each.manifest for each in edited_runs.old.artefacts()}
    assert effect.cost.seconds_from_nothing == pytest.approx(sum(each.seconds for each in manifests.values()))
    assert effect.cost.share == pytest.approx(effect.cost.seconds / effect.cost.seconds_from_nothing)
    with edited_runs.new.answers() as answers:
        usage = answers.usage()
    asked = sum(each.answers - each.reused for each in usage.values())
    assert effect.cost.asked == asked and effect.cost.remarks == ()


def test_the_page_is_closed_and_says_what_the_text_says(effect: EditEffect, tmp_path: Path) -> None:
    page = Page(render_effect(effect))
    assert page.open == [] and page.comments == []
    for sentence in headline(effect):
        assert sentence in page.text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    linked = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert linked and all(link[1:] in ids for link in linked)
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "script"} and "style" not in attributes
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src 'none'" in policy and "unsafe" not in policy


def test_the_command_prints_writes_the_page_and_gives_json(edited_runs: EditedRuns, tmp_path: Path) -> None:
    words = ["effect", str(edited_runs.old.path), str(edited_runs.new.path)]
    printed = CliRunner().invoke(cli, [*words, "--output", str(tmp_path / "page.html")]).output
    assert "The edit: preference principle" in printed and "Cost by stage" in printed
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    found = json.loads(CliRunner().invoke(cli, [*words, "--json"]).output)
    assert found["labels"][0]["by_principle"][0]["id"] == edited_runs.principle
    assert 0 < found["cost"]["share"] < 1.5 and found["cost"]["taken_over"] == 4
    assert not (edited_runs.new.path / "effect.html").exists()
    told = CliRunner().invoke(cli, [*words, "--model", "rl-cay"])
    assert isinstance(told.exception, RunError) and "Did you mean 'rl-cai'" in str(told.exception)


# Draws, chains and replies, scripted ----------------------------------------------------------------------------------


def test_draws_move_to_a_new_principle_and_later_steps_follow(tmp_path: Path) -> None:
    recipe = Recipe(seed=3, revision=RevisionSettings(steps=3))
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    new = make(tmp_path / "new", EDITS["a new principle"](CONSTITUTION), recipe, (old.run.path,))
    found = revision_changes(compared(old.run, new.run))
    assert found is not None
    before, after = (rows_by_key(each.run, "critique-revision", RevisionRow) for each in (old, new))
    moved = Counter(
        (before[key].principle_id, row.principle_id)
        for key, row in after.items()
        if before[key].principle_id != row.principle_id
    )
    assert {(each.old, each.new): each.count for each in found.moves} == dict(moved)
    assert found.draws_moved == sum(moved.values()) > 0 and {new for _, new in moved} == {"truth"}
    # The scripted writer answers every other question otherwise: a row changes by its draw or by an earlier step.
    by_draw = sum(moved.values())
    later = sum(
        before[key].principle_id == row.principle_id and before[key].before != row.before for key, row in after.items()
    )
    assert found.causes == {ChangeCause.DRAW.value: by_draw, ChangeCause.BEFORE.value: later}
    assert found.by_principle[0].id == "truth" and found.by_principle[0].draws_old == 0
    assert found.by_principle[0].changed == by_draw


def test_an_edited_revision_principle_is_the_cause_where_it_was_drawn(tmp_path: Path) -> None:
    recipe = Recipe(seed=3, revision=RevisionSettings(steps=2))
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    new = make(tmp_path / "new", EDITS["a critique request"](CONSTITUTION), recipe, (old.run.path,))
    found = revision_changes(compared(old.run, new.run))
    assert found is not None and found.draws_moved == 0
    drawn = [row.principle_id for row in rows_by_key(old.run, "critique-revision", RevisionRow).values()]
    assert found.causes[ChangeCause.EDIT.value] == drawn.count("harm") > 0
    assert set(found.causes) == {ChangeCause.EDIT.value, ChangeCause.BEFORE.value}


def test_a_worked_comparison_is_a_cause_of_its_own(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"seed": 3, "feedback": {"few_shot": 3, "prefix_variants": 2}})
    old = make(tmp_path / "old", CONSTITUTION, recipe)
    edited = CONSTITUTION.replace("better: better one", "better: another one")
    new = make(tmp_path / "new", edited, recipe, (old.run.path,))
    (found,) = label_changes(compared(old.run, new.run))
    causes = Counter[str]()
    for shift in found.by_principle:
        causes.update(shift.causes)
    assert set(causes) <= {ChangeCause.EXAMPLES.value}
    before, after = (rows_by_key(each.run, "ai-feedback", LabelRow) for each in (old, new))
    assert sum(causes.values()) == sum(before[key].p_a != after[key].p_a for key in before)


def test_labels_that_change_come_before_words_that_change(tmp_path: Path) -> None:
    old, new = (build(tmp_path / name, Plan(red=2, held_out=30)) for name in ("old", "new"))
    measure_as(new, "pretrained")
    found = changed_replies(compared(old, new))
    assert found is not None and found.of == "rl-cai" and len(found.most) == MOST < found.changed
    order = [(-each.labels_moved, -each.distance) for each in found.most]
    assert order == sorted(order) and found.most[0].labels_moved > 0
    assert found.labels_changed == sum(
        set(before.labels) != set(after.labels)
        for key, before in rows_by_key(old, "measure", AnswerRow).items()
        if key[1] == "rl-cai" and (after := rows_by_key(new, "measure", AnswerRow)[key])
    )


def test_the_distance_of_texts() -> None:
    assert distance("a b c", "a b c") == 0 and distance("a b", "c d") == 1 and distance("", "") == 0
    assert distance("a b c d", "a b x y") == pytest.approx(0.5)


def measure_as(run: RunDirectory, other: str, judge: JudgeInputs | None = None, plan: Plan | None = None) -> None:
    """Measure again with a final policy that answers as another model does."""
    plan = plan or Plan(red=2, held_out=30)
    folder = run.path / "09-measure"
    for file in folder.iterdir() if folder.exists() else ():
        file.unlink()
    s09_measure.run(
        run.recipe.measure.model_copy(update={"grader": "judge" if judge else "testbed"}),
        measure_inputs(run),
        lambda name: PlannedEngine(replies_of(run, plan, other if name == "rl-cai" else name)),
        run.begin(9, "measure", {}),
        None if judge else FirstWordRater(),
        judge,
    )


# A judge in place of a grader -----------------------------------------------------------------------------------------


def test_a_judge_names_itself_leaves_unjudged_replies_out_and_compares_win_rates(tmp_path: Path) -> None:
    judge = JudgeInputs(
        lambda: ScriptedEngine(choose=prefers_offers, name="wise"),
        read_reply_questions(PLAIN_QUESTIONS),
        0,
        "assistant",
    )
    old, new = (build(tmp_path / name, Plan(red=2, held_out=30, stages=8)) for name in ("old", "new"))
    measure_as(old, "rl-cai", judge)
    measure_as(new, "sl-cai", judge)
    found = effect_of(old, new)
    behaviour = found.behaviour
    assert behaviour is not None and behaviour.graded_by == "the judge wise" and behaviour.topics == ()
    harmful = next(each for each in behaviour.of("rl-cai") if each.measure == "harmful")
    # Of a sermon the judge says nothing, in either run: such prompts are in neither share.
    assert harmful.difference.n < 30 and harmful.difference.value > 0
    assert any("by the judge wise" in sentence for sentence in headline(found))
    win = next(each for each in behaviour.win_rates if each.model == "rl-cai" and each.prompts == "held_out_harmful")
    tables = [
        {
            (row.model, row.kind, row.row_id): row.p_better
            for row in run.artefacts()[-1].rows(BaselineComparison, file=COMPARISONS)
        }
        for run in (old, new)
    ]
    known = [
        (tables[0][key], p) for key, p in tables[1].items()
        if key[:2] == ("rl-cai", "held_out_harmful") and p is not None and tables[0][key] is not None
    ]  # fmt: skip
    assert win.difference.value == pytest.approx(sum(b - a for a, b in known) / len(known))
    assert win.baseline == "assistant" and win.difference.value < 0
    page = Page(render_effect(found))
    assert page.open == [] and "labels by the judge wise" in page.text and "rl-cai against assistant" in page.text


def test_without_a_grader_nothing_is_said_of_harm(tmp_path: Path) -> None:
    old, new = (build(tmp_path / name, Plan(red=2, held_out=3, rated=False)) for name in ("old", "new"))
    found = effect_of(old, new)
    assert found.behaviour is not None and found.behaviour.measures == () and found.behaviour.graded_by is None
    page = Page(render_effect(found))
    assert "have no grader" in page.text and page.open == []


# What is not comparable, and what is not there ------------------------------------------------------------------------


def bare_run(folder: Path, texts: tuple[str, ...], recipe: Recipe, files: Mapping[str, str]) -> RunDirectory:
    folder.mkdir()
    run = RunDirectory.create(folder / "run", recipe, constitution_path("testbed"))
    rows = filled_rows(
        PromptRow,
        ({"row_id": text, "kind": "held_out_harmful", "prompt": [{"role": "user", "content": text}]} for text in texts),
    )
    run.begin(1, "prompts", {"files": dict(files)}).publish(rows, PromptRow)
    return run


@pytest.mark.parametrize(
    ("texts", "other", "files", "told"),
    [
        (("a",), {"seed": 2}, {"p": "1"}, r"other settings \(seed: 0 -> 2\).*solon ablate"),
        (("a",), {"rounds": 2}, {"p": "1"}, r"other settings \(rounds: 1 -> 2\)"),
        (("a",), {}, {"p": "2"}, r"other models or files \(prompts, files.p: 1 -> 2\)"),
        (("b",), {}, {"p": "1"}, r"no prompt is in both \(1 in the first, 1 in the second\)"),
    ],
)
def test_runs_that_are_not_comparable_name_what_differs(
    tmp_path: Path, texts: tuple[str, ...], other: dict[str, object], files: dict[str, str], told: str
) -> None:
    old = bare_run(tmp_path / "old", ("a",), Recipe(), {"p": "1"})
    new = bare_run(tmp_path / "new", texts, Recipe().model_copy(update=other), files)
    with pytest.raises(RunError, match=told):
        compared_runs(old, new)


def test_rounding_names_and_constitutions_may_differ(tmp_path: Path) -> None:
    old = bare_run(tmp_path / "old", ("a", "b"), Recipe(), {"p": "1"})
    recipe = Recipe.model_validate({"name": "other", "engine": {"batch_size": 3, "threads": 1}})
    new = bare_run(tmp_path / "new", ("b", "c"), recipe, {"p": "1"})
    found = compared_runs(old, new)
    assert any("1 prompts are in the old run only and 1 in the new run only" in each for each in found.remarks)
    assert any("The two constitutions are the same" in each for each in found.remarks)


def test_a_run_that_was_edited_in_its_folder_is_refused(tmp_path: Path) -> None:
    old, new = (build(tmp_path / name, Plan(red=2, held_out=2, stages=3)) for name in ("old", "new"))
    file = new.path / "constitution.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("prying", "curious"), encoding="utf-8")
    with pytest.raises(RunError, match=r"constitution\.yaml was edited"):
        effect_of(old, RunDirectory.open(new.path))


@pytest.mark.parametrize("stages", [1, 3, 6, 8])
def test_what_one_run_has_not_finished_is_named_and_the_rest_is_compared(tmp_path: Path, stages: int) -> None:
    old = build(tmp_path / "old", Plan(red=4, held_out=4))
    new = build(tmp_path / "new", Plan(red=4, held_out=4, stages=stages))
    found = effect_of(old, new)
    assert any(re.search(r"new has not finished .*measure", each) for each in found.remarks)
    assert found.behaviour is None and (found.revisions is not None) == (stages >= 3)
    assert bool(found.labels) == (stages >= 6)
    assert [each.stage for each in found.cost.stages] == [each.name for each in new.artefacts()]
    assert any("measured nothing yet" in sentence for sentence in headline(found))
    page = Page(render_effect(found))
    assert page.open == [] and "has not finished" in page.text
    with pytest.raises(RunError, match="no model's replies are there"):
        effect_of(old, new, "rl-cai")


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    old = build(tmp_path / "old", Plan(red=2, held_out=2, stages=2))
    new = build(tmp_path / "new", Plan(red=2, held_out=2, stages=0))
    with pytest.raises(RunError, match="has not finished its first stage"):
        effect_of(old, new)


def test_hostile_text_adds_no_element_and_no_attribute(tmp_path: Path) -> None:
    corpus = " ".join(text.encode("utf-8", "replace").decode("utf-8") for text in HOSTILE[:-1])
    pages = []
    for name, more in (("plain", "more"), ("hostile", corpus)):
        (tmp_path / name).mkdir()
        plan = Plan(red=4, held_out=4, spoil=partial(spoilt, more))
        old, new = (build(tmp_path / name / each, plan) for each in ("old", "new"))
        measure_as(new, "pretrained", plan=plan)
        edit = Change(
            "revision principle", more, EditKind.CHANGED, {"critique_request": (f"old {more}", f"new {more}")}
        )
        pages.append(Page(render_effect(replace(effect_of(old, new), edits=(edit,), remarks=(more,)))))
    plain, hostile = pages
    assert hostile.open == [] and hostile.comments == []
    assert hostile.shape - plain.shape == set()
    assert "<script>alert(1)</script>" in hostile.text and "\u202e" not in hostile.text


def spoilt(more: str, words: str) -> str:
    return f"{words} {more}"
