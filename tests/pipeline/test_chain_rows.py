"""Foreign chains as rows of stage 03, and a run's rows as chains of the paper's form."""

import json
from dataclasses import replace

from tests.constitution.formats import samples
from tests.stages.test_s03_critique_revision import work, writer
from tests.stages.workbench import Bench

from solon.constitution.formats.paper_chains import parse_chain, write_chain
from solon.engines.scripted import ScriptedEngine
from solon.pipeline.chain_rows import chains_of_rows, rows_of_chains
from solon.runs.outcome import Outcome
from solon.runs.rows import RevisionRow


def test_chains_become_rows_of_the_stage() -> None:
    chain = parse_chain(json.dumps(samples.chain()), "file", 1)
    rows = rows_of_chains([chain], "ours")
    assert len(rows) == 4
    assert [row.step for row in rows] == [1, 2, 3, 4]
    assert {row.row_id for row in rows} == {chain.conversation.row_id}
    assert rows[0].before == chain.reply
    assert [row.before for row in rows[1:]] == [row.completion for row in rows[:-1]]
    assert {row.outcome for row in rows} == {"ok"}


def test_foreign_texts_pass_the_same_checks() -> None:
    told = samples.chain(3)
    told["cst"][0]["revision"]["sample"] = " Here is the revised response: Speak with them first."
    told["cst"][1]["revision"]["sample"] = ""
    told["cst"][2]["critique"]["sample"] = " Fine.\n\nHuman: And now?"
    rows = rows_of_chains([parse_chain(json.dumps(told), "file", 1)], "ours")
    assert [row.outcome for row in rows] == ["ok", "empty", "malformed"]
    assert rows[0].completion == "Speak with them first."
    assert rows[2].critique_defects == ("other_speaker",)


def test_a_runs_chains_are_written_in_the_papers_form_and_read_back(tmp_path) -> None:
    bench = Bench(tmp_path)
    rows = work(bench, ScriptedEngine(writer)).rows(RevisionRow)
    chains, left_out = chains_of_rows(rows, bench.constitution, "small")
    assert (len(chains), left_out) == (6, 0)
    lines = [json.dumps(write_chain(chain)) for chain in chains]
    again = rows_of_chains([parse_chain(line, "file", 1) for line in lines], "small")
    kept = ("row_id", "step", "prompt", "before", "principle_id", "critique", "completion", "outcome")
    expected = sorted(rows, key=lambda row: (row.row_id, row.step))
    assert [[getattr(row, key) for key in kept] for row in sorted(again, key=lambda row: (row.row_id, row.step))] == [
        [getattr(row, key) for key in kept] for row in expected
    ]
    texts = {p.id: p.critique_request for p in bench.constitution.revision}
    for chain in chains:
        assert all(step.principle.critique_request == texts[step.key] for step in chain.steps)


def test_chains_with_a_failed_step_are_left_out_and_counted(tmp_path) -> None:
    bench = Bench(tmp_path)
    rows = work(bench, ScriptedEngine(writer)).rows(RevisionRow)
    rows[0] = replace(rows[0], outcome=Outcome.TRUNCATED)
    chains, left_out = chains_of_rows(rows, bench.constitution, "small")
    assert (len(chains), left_out) == (5, 1)
