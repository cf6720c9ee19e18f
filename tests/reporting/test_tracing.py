"""Traces: each row leads back to its prompt with what the tables hold, and a principle forward to what it changed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from solon.cli.main import cli
from solon.constitution.constitution import draw
from solon.conversation import Conversation, Role, Turn
from solon.digest import seed_for
from solon.errors import RunError
from solon.reporting.samples import Ratings
from solon.reporting.tracing.find_trace import PrincipleTrace, trace_of
from solon.reporting.tracing.principle_reach import LEAST_OTHERS, Repetition, preference_reach
from solon.reporting.tracing.run_tables import preference_key
from solon.reporting.tracing.trace_parts import RowTrace, TracePart
from solon.reporting.tracing.trace_principles import RunPrinciples
from solon.reporting.tracing.trace_sentences import outcome_sentences
from solon.runs import Artefact, RunDirectory
from solon.runs.evaluation_rows import AnswerRow, PairRating
from solon.runs.rows import LabelRow, PairRow, PromptRow, ReplyRow, RevisionRow
from solon.runs.training_rows import EXAMPLES, SAMPLES, PreferenceExampleRow, SftExampleRow
from tests.reporting.conftest import EditedRuns
from tests.row_types import filled_rows
from tests.synthetic import Plan, build


def stage(run: RunDirectory, name: str) -> Artefact:
    found = run.finished(name)
    assert found is not None
    return found


def back(run: RunDirectory, address: str) -> list[TracePart]:
    found = trace_of(run, address)
    assert isinstance(found, RowTrace) and found.of == address
    return list(found.parts)


def fact(part: TracePart, name: str) -> str:
    return next(each.value for each in part.facts if each.name == name)


def test_a_training_example_of_sl_cai_leads_back_through_every_step(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    example = next(
        row for row in stage(run, "sl-cai").rows(SftExampleRow, file=EXAMPLES)
        if row.stage == "critique-revision" and row.step == 2
    )  # fmt: skip
    steps = {row.step: row for row in stage(run, "critique-revision").rows(RevisionRow) if row.row_id == example.row_id}
    parts = back(run, f"sl-cai/{example.row_id}/2")
    of = example.row_id
    wanted = [
        f"sl-cai/{of}/2", f"critique-revision/{of}/2", f"critique-revision/{of}/2/critique",
        f"critique-revision/{of}/1", f"critique-revision/{of}/1/critique", f"responses/{of}/0", f"prompts/{of}",
    ]  # fmt: skip
    assert [part.address for part in parts if not part.address.startswith("revision/")] == wanted
    assert {f"revision/{row.principle_id}" for row in steps.values()} <= {part.address for part in parts}
    found = {part.address: part for part in parts}
    for step, row in steps.items():
        revision, critique = found[f"critique-revision/{of}/{step}"], found[f"critique-revision/{of}/{step}/critique"]
        assert (revision.text, critique.text) == (row.completion, row.critique)
        assert fact(revision, "seed") == str(seed_for(run.recipe.seed, "revision", of, step)) == str(row.seed)
        assert fact(critique, "seed") == str(seed_for(run.recipe.seed, "critique", of, step))
    (reply,) = [row for row in stage(run, "responses").rows(ReplyRow) if row.row_id == of]
    assert found[f"responses/{of}/0"].text == reply.completion
    assert fact(found[f"prompts/{of}"], "source").startswith("testbed:red-team, line ")


def test_a_principle_is_shown_with_its_place_in_the_file(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    row = stage(run, "critique-revision").rows(RevisionRow)[0]
    part = next(
        part for part in back(run, f"critique-revision/{row.row_id}/{row.step}")
        if part.address == f"revision/{row.principle_id}"
    )  # fmt: skip
    name, _, line = fact(part, "place").partition(":")
    lines = (run.path / name).read_text(encoding="utf-8").splitlines()
    assert row.principle_id in lines[int(line) - 1]
    principle = next(each for each in run.constitution.revision if each.id == row.principle_id)
    assert part.text == f"{principle.critique_request}\n{principle.revision_request}"


def test_the_stages_behind_a_row_are_named_with_code_seed_and_inputs(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    row = stage(run, "ai-feedback").rows(LabelRow)[0]
    found = trace_of(run, f"ai-feedback/{row.row_id}/{row.pair}")
    assert [each.stage for each in found.stages] == [
        "prompts", "responses", "critique-revision", "sl-cai", "response-pairs", "ai-feedback",
    ]  # fmt: skip
    for record in found.stages:
        manifest = stage(run, record.stage).manifest
        assert record.code == manifest.key["code"] and record.hash == manifest.hash
        assert record.seed == run.recipe.seed and record.made_on
    by_name = {record.stage: record.reads for record in found.stages}
    assert by_name["ai-feedback"]["constitution"] == run.constitution.hash
    assert by_name["sl-cai"]["critique-revision"] == stage(run, "critique-revision").hash


def test_a_label_and_its_training_example_lead_back_to_the_pair(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    examples = stage(run, "preference-model").rows(PreferenceExampleRow, file=EXAMPLES)
    example = next(row for row in examples if row.source == "ai")
    label = next(row for row in stage(run, "ai-feedback").rows(LabelRow) if row.row_id == example.row_id)
    pair = next(row for row in stage(run, "response-pairs").rows(PairRow) if row.row_id == example.row_id)
    parts = back(run, f"preference-model/{example.row_id}/{example.pair}")
    assert [part.address.split("/")[0] for part in parts] == [
        "preference-model", "ai-feedback", "preference", "response-pairs", "model", "prompts",
    ]  # fmt: skip
    found = {part.address.split("/")[0]: part for part in parts}
    assert fact(found["ai-feedback"], "principle") == label.principle_id
    assert found["response-pairs"].text == f"A: {pair.response_a}\nB: {pair.response_b}"
    assert fact(found["response-pairs"], "seed of A") == str(pair.seed_a)
    assert f"sl-cai/{example.row_id}/1" in fact(found["response-pairs"], "what the model learned of this prompt")
    seed = fact(found["ai-feedback"], "seed of the reasoning, A shown first")
    assert seed == str(seed_for(run.recipe.seed, "reasoning", label.row_id, label.pair, "ab"))


def test_a_human_comparison_names_its_file_and_line(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    examples = stage(run, "preference-model").rows(PreferenceExampleRow, file=EXAMPLES)
    example = next(row for row in examples if row.source == "human")
    (part,) = back(run, f"preference-model/{example.row_id}/human-{example.line}")
    assert fact(part, "source") == f"testbed:helpfulness, line {example.line}"
    assert example.prompt.turns[-1].content in fact(part, "prompt")


def test_comparisons_of_one_prompt_in_two_files_and_its_label_have_addresses_of_their_own(
    edited_runs: EditedRuns,
) -> None:
    examples = stage(edited_runs.old, "preference-model").rows(PreferenceExampleRow, file=EXAMPLES)
    row = replace(next(row for row in examples if row.source == "human"), line=3)
    same_prompt = [row, replace(row, source="human-harmlessness"), replace(row, source="ai", line=None, pair=3)]
    assert len({str(preference_key(each)) for each in same_prompt}) == 3


def test_replies_of_the_policy_lead_back_to_the_models(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    sample = json.loads((stage(run, "rl-cai").path / SAMPLES).read_text(encoding="utf-8").splitlines()[-1])
    parts = back(run, f"rl-cai/{sample['row_id']}/{sample['step']}")
    assert parts[0].text == sample["reply"]
    found = {part.address: part for part in parts}
    assert {"model/preference-model", "model/sl-cai", f"prompts/{sample['row_id']}"} <= found.keys()
    scorer = found["model/preference-model"]
    assert fact(scorer, "trained on").endswith(" human, from ai-feedback, testbed:helpfulness")
    assert fact(scorer, "starts from") == "testbed:pretrained"
    answer = next(row for row in stage(run, "measure").rows(AnswerRow) if row.model == "rl-cai")
    parts = back(run, f"measure/{answer.row_id}/rl-cai")
    assert parts[0].text == answer.completion
    assert fact(parts[0], "seed") == str(seed_for(run.recipe.seed, "measure", answer.row_id, 0))
    assert [part.address for part in parts[1:-1]] == ["model/rl-cai", "model/preference-model", "model/sl-cai"]


def test_a_row_id_alone_shows_all_that_was_made_of_the_prompt_in_order(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    row = next(row for row in stage(run, "prompts").rows(PromptRow) if row.kind == "red_team")
    found = trace_of(run, row.row_id[:12])
    assert isinstance(found, RowTrace) and found.of == row.row_id
    addresses = [part.address for part in found.parts]
    assert addresses[0] == f"prompts/{row.row_id}" and len(set(addresses)) == len(addresses)
    assert {f"critique-revision/{row.row_id}/{step}" for step in (1, 2)} <= set(addresses)
    for place, part in enumerate(found.parts):
        assert set(part.made_of) <= set(addresses[:place]), f"{part.address} stands before what it is made of"
    for address in addresses:
        if address.split("/")[0] not in ("revision", "preference", "model"):
            assert trace_of(run, address).of == address


def test_every_table_of_a_run_can_be_traced(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    for name, row, file in (
        ("responses", ReplyRow, "rows.parquet"), ("critique-revision", RevisionRow, "rows.parquet"),
        ("sl-cai", SftExampleRow, EXAMPLES), ("ai-feedback", LabelRow, "rows.parquet"),
        ("preference-model", PreferenceExampleRow, EXAMPLES), ("measure", AnswerRow, "rows.parquet"),
    ):  # fmt: skip
        ids = {each.row_id for each in stage(run, name).rows(row, file=file)}  # type: ignore[attr-defined]
        for row_id in sorted(ids)[:3]:
            found = trace_of(run, row_id)
            assert isinstance(found, RowTrace) and any(part.stage == name for part in found.parts)


def test_a_principle_leads_forward_to_its_draws_and_examples(edited_runs: EditedRuns) -> None:
    run, id = edited_runs.old, edited_runs.principle
    labels = stage(run, "ai-feedback").rows(LabelRow)
    examples = stage(run, "preference-model").rows(PreferenceExampleRow, file=EXAMPLES)
    found = trace_of(run, f"preference/{id}")
    assert isinstance(found, PrincipleTrace)
    (outcome,) = found.outcomes
    reach = outcome.preference
    assert reach is not None and outcome.revision is None
    own = [row for row in labels if row.principle_id == id]
    assert (reach.draws, reach.of) == (len(own), len(labels))
    assert set(reach.rows) == {f"ai-feedback/{row.row_id}/{row.pair}" for row in own}
    others = [each for each in run.constitution.preference if each.id != id]
    wanted = Counter(draw(others, run.recipe.seed, row.row_id, row.pair).id for row in own)
    assert reach.next_in_draw == dict(wanted)
    (learnt,) = outcome.examples
    assert learnt.examples + learnt.held_out == sum(row.principle_id == id for row in examples)
    assert learnt.of == len(examples)


def test_a_number_names_the_principles_of_both_lists(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    found = trace_of(run, "2")
    assert isinstance(found, PrincipleTrace)
    revision, preference = found.outcomes
    assert revision.principle.id == run.constitution.revision[1].id
    assert preference.principle.id == run.constitution.preference[1].id
    assert revision.revision is not None
    rows = [
        row for row in stage(run, "critique-revision").rows(RevisionRow)
        if row.principle_id == revision.principle.id
    ]  # fmt: skip
    assert revision.revision.draws == len(rows)
    assert revision.revision.rewritten == sum(row.completion != row.before for row in rows)
    assert next(outcome_sentences(revision)).startswith(f"Drawn for {len(rows)} of 24 revisions")


def label_row(number: int, principle: str, p_a: float) -> dict[str, Any]:
    prompt = Conversation((Turn(Role.HUMAN, f"prompt {number}"),))
    return {
        "row_id": prompt.row_id, "pair": 1, "prompt": prompt.messages(), "response_a": "bad", "response_b": "good",
        "p_a": p_a, "principle_id": principle, "outcome": "ok",
    }  # fmt: skip


def reach_of(run: RunDirectory, labels: list[dict[str, Any]]) -> Any:
    """What the principle `own` changed, where A is harmful and B objects in every pair."""
    rows = filled_rows(LabelRow, labels)
    rated = Ratings(
        pairs=tuple(PairRating(row_id=row.row_id, pair=1, a=("harmful",), b=("objecting",)) for row in rows)
    )
    return preference_reach(
        RunPrinciples(run), "own", [("ai-feedback", row) for row in rows], rated, repetition=Repetition.NONE
    )


def test_a_label_flips_where_it_goes_against_most_alike_pairs_of_other_principles(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2, stages=1))
    others = [label_row(number, "other", 0.1) for number in range(LEAST_OTHERS - 1)]
    own = [label_row(100, "own", 0.9), label_row(101, "own", 0.2), label_row(102, "own", 0.5)]
    few = reach_of(run, [*others, *own])
    assert (few.compared, few.flips) == (0, ()), "too few pairs of others to say"
    enough = reach_of(run, [*others, label_row(50, "other", 0.7), *own])
    assert enough.compared == 2 and enough.decided == 3
    assert enough.flips == (f"ai-feedback/{label_row(100, 'own', 0.9)['row_id']}/1",)
    even = reach_of(run, [*others, *(label_row(number, "other", 0.9) for number in range(60, 64)), *own])
    assert even.compared == 2 and even.flips == (), "half of the others are no majority"
    assert enough.wins.value == pytest.approx(1 / 3) and enough.wins.n == 3
    assert enough.others_win.value == pytest.approx(4 / 5)


def test_an_axis_flips_where_the_others_prefer_the_other_reply(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2, stages=1))
    row = label_row(1, "own + other", 0.6) | {
        "axes": [
            {"axis": "harm", "weight": 3.0, "principle_id": "own", "p_a": 0.7},
            {"axis": "tone", "weight": 1.0, "principle_id": "other", "p_a": 0.3},
        ]
    }
    found = reach_of(run, [row])
    assert len(found.axis_flips) == found.draws == 1 and found.of == 2
    agreeing = row | {"axes": [row["axes"][0], {**row["axes"][1], "p_a": 0.55}]}
    assert reach_of(run, [agreeing]).axis_flips == ()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("nothing-of-the-kind", r"no row and no principle.*responses \(6\).*principles: no-harmful"),
        ("less-harmfull", "Did you mean the principle 'less-harmful'"),
        ("harbour/abc", "no finished stage 'harbour'.*critique-revision"),
        ("9", "no row and no principle '9'"),
    ],
)
def test_an_unknown_id_names_what_is_there(tmp_path: Path, word: str, told: str) -> None:
    run = build(tmp_path / "run", Plan(red=6, held_out=6, stages=3))
    with pytest.raises(RunError, match=told):
        trace_of(run, word)


def test_an_unknown_row_id_names_near_ones_and_an_ambiguous_one_asks_for_more(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=6, held_out=6, stages=3))
    row_id = stage(run, "responses").rows(ReplyRow)[0].row_id
    with pytest.raises(RunError, match=f"begin like it: .*{row_id}"):
        trace_of(run, row_id[:8] + "zz")
    with pytest.raises(RunError, match=f"Name one by its step: critique-revision/{row_id}/1"):
        trace_of(run, f"critique-revision/{row_id}")
    with pytest.raises(RunError, match=f"no row {row_id} with the number 9"):
        trace_of(run, f"critique-revision/{row_id}/9")
    held_out = next(row for row in stage(run, "prompts").rows(PromptRow) if row.kind == "held_out_harmful").row_id
    with pytest.raises(RunError, match=f"stage 'responses' has no row {held_out}. It is in prompts"):
        trace_of(run, f"responses/{held_out}")


def test_an_unfinished_run_says_what_is_not_known(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=6, held_out=6, stages=3))
    found = trace_of(run, "1")
    assert isinstance(found, PrincipleTrace)
    assert found.unfinished[:2] == ("sl-cai", "response-pairs")
    revision, preference = found.outcomes
    assert revision.revision is not None and revision.revision.mended is None
    assert any("no grader rated them" in sentence for sentence in outcome_sentences(revision))
    assert preference.preference is not None and preference.preference.draws == 0


def test_a_failed_step_leaves_the_next_one_at_the_reply_before_it(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=6, held_out=6, stages=3))
    failed = next(row for row in stage(run, "critique-revision").rows(RevisionRow) if row.outcome != "ok")
    parts = {part.address: part for part in back(run, f"critique-revision/{failed.row_id}/{failed.step + 1}")}
    after = parts[f"critique-revision/{failed.row_id}/{failed.step + 1}"]
    assert f"critique-revision/{failed.row_id}/{failed.step - 1}" in after.made_of
    assert f"critique-revision/{failed.row_id}/{failed.step}" not in parts


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=3, held_out=3, stages=2))
    row_id = stage(run, "responses").rows(ReplyRow)[0].row_id
    file = run.path / "02-responses" / "rows.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(RunError, match="has changed since it was published"):
        trace_of(run, row_id)


def test_the_command_prints_text_and_exact_json(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    row = stage(run, "critique-revision").rows(RevisionRow)[0]
    address = f"critique-revision/{row.row_id}/{row.step}"
    printed = CliRunner().invoke(cli, ["trace", str(run.path), address]).output
    for words in ("Revision 1", "Critique 1", f"revision/{row.principle_id}", "reads critic", "stage 1", "Solon"):
        assert words in printed
    found = json.loads(CliRunner().invoke(cli, ["trace", str(run.path), address, "--json"]).output)
    assert found["parts"][0]["text"] == row.completion
    assert found["stages"][-1]["stage"] == "critique-revision"
    told = CliRunner().invoke(cli, ["trace", str(run.path), edited_runs.principle]).output
    assert "Preference principle" in told and "Without it these draws go to" in told


def test_a_hostile_text_moves_no_cursor(tmp_path: Path) -> None:
    run = build(
        tmp_path / "run", Plan(red=2, held_out=2, stages=2, spoil=lambda words: f"{words} \x1b[2J\x1b]0;x\x07end")
    )
    row_id = stage(run, "responses").rows(ReplyRow)[0].row_id
    printed = CliRunner().invoke(cli, ["trace", str(run.path), row_id]).output
    assert "\x1b" not in printed and "end" in printed
