from collections import Counter
from typing import Any

import pytest
from tests.stages.workbench import Bench, prompt_row, survives_a_kill

from solon.config.recipe import CutOffReplies, RevisionForm, RevisionMode, RevisionSettings, SamplingParams
from solon.constitution.constitution import draw
from solon.conversation import Prompt, Role
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.errors import RecipeError, StageError
from solon.feedback.best_of import Winner
from solon.runs.outcome import Outcome
from solon.runs.rows import ReplyRow, RevisionRow
from solon.stages import s03_critique_revision
from solon.stages.s03_critique_revision import RevisionInputs

SEED = 5


def reply_in(row: dict[str, Any]) -> str:
    return str(row["completion"][0]["content"])


def reply_row(text: str, reply: str = "first reply", outcome: str = "ok", kind: str = "red_team"):
    prompt = prompt_row(text, kind)
    return {
        "row_id": prompt["row_id"],
        "kind": kind,
        "sample": 0,
        "prompt": prompt["prompt"],
        "completion": [{"role": "assistant", "content": reply}],
        "finish": "end",
        "seed": 1,
        "outcome": outcome,
        "defects": [],
    }


def replies(bench: Bench, rows=None):
    rows = rows or [*(reply_row(f"harm {i}") for i in range(6)), reply_row("helpful", kind="helpful")]
    return bench.run.finished("replies") or bench.artefact("replies", rows, ReplyRow)


def work(bench: Bench, engine: ScriptedEngine, rows=None, reviser=None, **settings):
    inputs = RevisionInputs(SEED, bench.constitution, replies(bench, rows), chunk=4)
    return s03_critique_revision.run(
        RevisionSettings(**{"steps": 3, **settings}), inputs, engine, bench.out("critique-revision", 3), reviser
    )


def writer(prompt: Prompt, seed: int) -> str:
    """Criticises what it read, and counts the revisions."""
    before = next(turn.content for turn in reversed(prompt.turns) if turn.role is Role.ASSISTANT)
    if prompt.reply_as is Role.CRITIQUE:
        return f"fault {seed % 997} of <{before}>"
    return f"better {seed % 997} than {before[:12]}"


def chains(rows) -> dict[str, list[dict]]:
    by_row: dict[str, list[dict]] = {}
    for row in sorted(rows, key=lambda row: row["step"]):
        by_row.setdefault(row["row_id"], []).append(row)
    return by_row


def test_each_step_revises_the_last_revision_in_the_light_of_its_critique(tmp_path):
    engine = ScriptedEngine(writer)
    rows = work(Bench(tmp_path), engine).table().to_pylist()
    assert len(rows) == 6 * 3
    for chain in chains(rows).values():
        assert [row["step"] for row in chain] == [1, 2, 3]
        assert [row["before"] for row in chain] == ["first reply", *map(reply_in, chain[:-1])]
        assert all(row["critique"].endswith(f"<{row['before']}>") for row in chain)
    asked = [prompt for prompt in engine.prompts if prompt.reply_as is Role.REVISION]
    shown = {turn.content for prompt in asked for turn in prompt.turns if turn.role is Role.CRITIQUE}
    assert shown == {row["critique"] for row in rows}


def test_principles_are_drawn_per_row_and_step_and_both_requests_are_those_of_one_principle(tmp_path):
    bench, engine = Bench(tmp_path), ScriptedEngine(writer)
    artefact = work(bench, engine)
    for row in artefact.table().to_pylist():
        drawn = draw(bench.constitution.revision, SEED, row["row_id"], row["step"])
        assert row["principle_id"] == drawn.id
    pairs = {p.critique_request: p.revision_request for p in bench.constitution.revision}
    for prompt in engine.prompts:
        if prompt.reply_as is Role.REVISION:
            asked = {turn.role: turn.content for turn in prompt.turns}
            assert pairs[asked[Role.CRITIQUE_REQUEST]] == asked[Role.REVISION_REQUEST]
    counts = Counter(row["principle_id"] for row in artefact.table().to_pylist())
    assert artefact.facts["principles"] == {"harm": counts["harm"], "law": counts["law"], "tone": counts["tone"]}
    assert len(counts) == 3


def test_the_direct_mode_writes_no_critique(tmp_path):
    engine = ScriptedEngine(writer)
    rows = work(Bench(tmp_path), engine, mode=RevisionMode.DIRECT).table().to_pylist()
    assert {(row["critique"], row["critique_outcome"], row["critique_seed"]) for row in rows} == {(None, None, None)}
    assert {(row["critic"], row["reviser"]) for row in rows} == {(None, "scripted")}
    assert {prompt.reply_as for prompt in engine.prompts} == {Role.REVISION}
    assert all(turn.role is not Role.CRITIQUE for prompt in engine.prompts for turn in prompt.turns)


def test_worked_examples_stand_in_front_of_every_question(tmp_path):
    engine = ScriptedEngine(writer)
    bench = Bench(tmp_path)
    work(bench, engine, few_shot=2)
    assert len({prompt.turns[: prompt.shared] for prompt in engine.prompts}) == 1
    contents = [turn.content for turn in engine.prompts[0].turns[: engine.prompts[0].shared]]
    assert [example.critique in contents for example in bench.constitution.critique_examples] == [True, True]
    with pytest.raises(RecipeError, match=r"revision\.few_shot: 3 worked critiques .* has 2\. .*few_shot=2"):
        work(Bench(tmp_path / "more"), engine, few_shot=3)


def test_a_step_that_fails_is_kept_and_the_chain_goes_on_from_the_last_good_reply(tmp_path):
    def failing(prompt: Prompt, seed: int):
        if prompt.reply_as is Role.REVISION and "better" in str(prompt.turns) and "again" not in str(prompt.turns):
            return Completion("better agai", Finish.LENGTH)
        return writer(prompt, seed)

    rows = work(Bench(tmp_path), ScriptedEngine(failing)).table().to_pylist()
    for chain in chains(rows).values():
        assert [row["outcome"] for row in chain] == ["ok", "truncated", "truncated"]
        assert reply_in(chain[1]) == "better agai"
        assert [row["before"] for row in chain] == ["first reply", reply_in(chain[0]), reply_in(chain[0])]


def test_a_bad_critique_is_not_shown_and_its_step_has_no_revision(tmp_path):
    bench = Bench(tmp_path)
    copied = bench.constitution.critique_examples[0].critique

    def copying(prompt: Prompt, seed: int):
        harm_0 = any(turn.content == "harm 0" for turn in prompt.turns)
        return copied if harm_0 and prompt.reply_as is Role.CRITIQUE else writer(prompt, seed)

    engine = ScriptedEngine(copying)
    artefact = work(bench, engine, few_shot=1)
    bad = next(
        chain for chain in chains(artefact.table().to_pylist()).values() if chain[0]["prompt"][0]["content"] == "harm 0"
    )
    assert [row["critique_outcome"] for row in bad] == ["malformed"] * 3
    assert [(row["outcome"], reply_in(row), row["finish"]) for row in bad] == [("malformed", "", None)] * 3
    assert [row["before"] for row in bad] == ["first reply"] * 3
    assert bad[0]["critique"] == copied
    assert artefact.facts["critique_defects"] == {"copied_example": 3}
    assert artefact.facts["by_step"]["1"] == {"ok": 5, "malformed": 1}
    assert sum(prompt.reply_as is Role.REVISION for prompt in engine.prompts) == 5 * 3


def test_bad_first_replies_begin_no_chain_and_are_counted(tmp_path):
    rows = [reply_row("a"), reply_row("b", outcome="truncated"), reply_row("c", "", outcome="empty")]
    artefact = work(Bench(tmp_path / "some"), ScriptedEngine(writer), rows=rows)
    assert len(chains(artefact.table().to_pylist())) == 1
    assert artefact.facts["not_begun"] == {"empty": 1, "truncated": 1}
    with pytest.raises(StageError, match=r"no red-team prompt has a good reply to revise: truncated 1"):
        work(Bench(tmp_path / "none"), ScriptedEngine(writer), rows=rows[1:2])


def test_unchanged_revisions_are_counted(tmp_path):
    def echo(prompt: Prompt, seed: int):
        return "no fault at all" if prompt.reply_as is Role.CRITIQUE else "first reply"

    assert work(Bench(tmp_path), ScriptedEngine(echo)).facts["unchanged"] == 18


def test_a_chain_that_outgrows_the_window_is_truncated_and_not_asked(tmp_path):
    settings = {"critique": SamplingParams(max_tokens=5), "revision": SamplingParams(max_tokens=5)}
    engine = ScriptedEngine(writer, window=20)
    rows = work(Bench(tmp_path), engine, **settings).table().to_pylist()
    assert {(row["critique_outcome"], row["outcome"]) for row in rows} == {("truncated", "truncated")}
    assert engine.prompts == []


def test_a_killed_stage_resumes_to_the_same_bytes(tmp_path):
    survives_a_kill(tmp_path, work, writer)


def test_critic_and_reviser_may_be_two_models_and_each_row_says_who_wrote_what_from_which_seed(tmp_path):
    asked: dict[int, Prompt] = {}

    def remember(prompt: Prompt, seed: int) -> str:
        asked[seed] = prompt
        return writer(prompt, seed)

    critic, reviser = ScriptedEngine(remember, name="critic"), ScriptedEngine(remember, name="reviser")
    artefact = work(Bench(tmp_path), critic, reviser=reviser)
    assert {prompt.reply_as for prompt in critic.prompts} == {Role.CRITIQUE}
    assert {prompt.reply_as for prompt in reviser.prompts} == {Role.REVISION}
    for row in artefact.table().to_pylist():
        assert (row["critic"], row["reviser"]) == ("critic", "reviser")
        assert writer(asked[row["critique_seed"]], row["critique_seed"]) == row["critique"]
        assert writer(asked[row["seed"]], row["seed"]) == reply_in(row)
    assert (artefact.facts["critic"], artefact.facts["reviser"]) == ("critic", "reviser")


def test_chosen_principles_alone_are_drawn(tmp_path):
    bench = Bench(tmp_path / "two")
    artefact = work(bench, ScriptedEngine(writer), principles=("tone", "harm"))
    assert {row["principle_id"] for row in artefact.table().to_pylist()} == {"tone", "harm"}
    assert set(artefact.facts["principles"]) == {"tone", "harm"}
    both = [principle for principle in bench.constitution.revision if principle.id in {"tone", "harm"}]
    assert all(
        row["principle_id"] == draw(both, SEED, row["row_id"], row["step"]).id for row in artefact.table().to_pylist()
    )
    rows = work(Bench(tmp_path / "one"), ScriptedEngine(writer), number_of_principles=1).table().to_pylist()
    assert {row["principle_id"] for row in rows} == {"harm"}


def test_of_several_candidates_the_chooser_keeps_one_and_the_row_keeps_all(tmp_path):
    def choose(contests):
        return [Winner(max(0, len(each.replies) - 1), "kind") for each in contests]

    bench, engine = Bench(tmp_path), ScriptedEngine(writer)
    inputs = RevisionInputs(SEED, bench.constitution, replies(bench), chunk=4, choose=choose)
    settings = RevisionSettings(steps=2, candidates=3, openings=("", "Well,"))
    done = s03_critique_revision.run(settings, inputs, engine, bench.out("critique-revision", 3))
    rows = done.rows(RevisionRow)
    for row in rows:
        assert [each.opening for each in row.candidates] == ["", "Well,", ""]
        assert row.completion == row.candidates[-1].completion and row.seed == row.candidates[-1].seed
        assert row.candidates[1].completion.startswith("Well, better")
        assert row.chosen_by == "kind"
    first = {row.row_id: row.completion for row in rows if row.step == 1}
    assert all(row.before == first[row.row_id] for row in rows if row.step == 2)


def test_the_quoted_form_asks_one_question_without_the_dialogues_turns(tmp_path):
    def write(prompt: Prompt, seed: int) -> str:
        return "The reply helps with harm." if prompt.reply_as is Role.CRITIQUE else f"better {seed % 997}"

    engine = ScriptedEngine(write)
    done = work(Bench(tmp_path), engine, form=RevisionForm.QUOTED, steps=1)
    assert {row.outcome for row in done.rows(RevisionRow)} == {Outcome.OK}
    assert all(turn.role not in (Role.HUMAN, Role.ASSISTANT) for prompt in engine.prompts for turn in prompt.turns)
    assert all("Human: harm" in prompt.turns[0].content for prompt in engine.prompts)


def test_replies_that_were_cut_off_begin_a_chain_on_request(tmp_path):
    rows = [reply_row("harm whole"), reply_row("harm cut", "first reply that", outcome="truncated")]
    skipped = work(Bench(tmp_path / "skip"), ScriptedEngine(writer), rows, steps=1)
    assert skipped.manifest.rows == 1 and skipped.facts["not_begun"] == {"truncated": 1}
    revised = work(Bench(tmp_path / "revise"), ScriptedEngine(writer), rows, steps=1, cut_off=CutOffReplies.REVISE)
    assert {row.before for row in revised.rows(RevisionRow)} == {"first reply", "first reply that"}
    assert revised.facts["not_begun"] == {}
