"""The report's traces: every address in it can be traced, and its links lead to what they name."""

from __future__ import annotations

import re
from pathlib import Path

from solon.reporting.content import content_of
from solon.reporting.page import render
from solon.reporting.tracing.find_trace import trace_of
from solon.runs.rows import ReplyRow, RevisionRow
from tests.reporting.conftest import EditedRuns
from tests.reporting.test_page import Page
from tests.synthetic import Plan, build


def test_every_address_of_the_report_can_be_traced_and_has_its_seed(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    shelves = {shelf.kind: shelf for shelf in content_of(run).shelves}
    assert set(shelves) == {"revision", "pair", "answer"}
    for shelf in shelves.values():
        for sample in shelf.samples[:3]:
            assert sample.trace is not None and sample.trace.source.startswith("testbed:")
            for text in sample.trace.texts:
                found = trace_of(run, text.address)
                facts = {fact.name: fact.value for fact in found.parts[0].facts}  # type: ignore[union-attr]
                if text.title != "Both replies" and text.seed:
                    assert facts["seed"] == text.seed
    titles = [text.title for text in shelves["revision"].samples[0].trace.texts]  # type: ignore[union-attr]
    assert titles == ["Reply", "Critique 1", "Revision 1", "Critique 2", "Revision 2"]


def test_samples_of_one_prompt_and_their_principles_are_linked(edited_runs: EditedRuns) -> None:
    content = content_of(edited_runs.old)
    by_anchor = {sample.anchor: sample for shelf in content.shelves for sample in shelf.samples}
    linked = 0
    for sample in by_anchor.values():
        assert sample.trace is not None
        for _, anchor in sample.trace.also:
            linked += 1
            assert by_anchor[anchor].row_id == sample.row_id and by_anchor[anchor].kind != sample.kind
        for id, anchor in sample.trace.principles:
            assert anchor in {reach.anchor for (_, known), reach in content.reaches.items() if known == id}
    assert linked > 0
    edited = content.reaches["preference", edited_runs.principle]
    own = content.samples_by_principle()[edited.anchor]
    wanted = [
        sample.anchor for sample in by_anchor.values()
        if sample.kind == "pair" and dict(sample.facts)["principle"].startswith(f"{edited_runs.principle}:")
    ]  # fmt: skip
    assert sorted(own) == sorted(wanted) and own


def test_the_page_says_what_a_principle_changed_and_what_a_stage_was_made_with(edited_runs: EditedRuns) -> None:
    run = edited_runs.old
    text = Page(render(run)).text
    chains = run.finished("critique-revision")
    assert chains is not None
    id = chains.rows(RevisionRow)[0].principle_id
    draws = sum(row.principle_id == id for row in chains.rows(RevisionRow))
    assert re.search(rf"{id}\s.*?Drawn for {draws} of 24 revisions", text, re.S)
    assert f"critic {chains.manifest.key['critic']}" in text and chains.hash in text
    assert "Without it these draws go to" not in text, "the report repeats no draws"


def test_a_run_without_its_prompts_table_has_samples_all_the_same(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=3, held_out=3))
    (run.path / "01-prompts" / "manifest.json").unlink()
    shelves = content_of(run).shelves
    assert all(sample.trace is not None and sample.trace.source == "" for shelf in shelves for sample in shelf.samples)
    page = Page(render(run))
    responses = run.finished("responses")
    assert responses is not None
    assert f"responses/{responses.rows(ReplyRow)[0].row_id}/0" in page.text
