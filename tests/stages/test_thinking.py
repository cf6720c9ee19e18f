"""Thoughts of reasoning models in the stages: cut before anything reads them, and kept in columns of their own."""

from __future__ import annotations

from pathlib import Path

from tests.stages.test_s06_ai_feedback import mixed_pairs
from tests.stages.workbench import Bench

from solon.checks.rules import RULES, Defect
from solon.config.recipe import FeedbackForm, FeedbackSettings, PairSettings, ResponseSettings, RevisionSettings
from solon.conversation import Prompt, Role
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.runs.rows import PairRow
from solon.stages import s02_responses, s03_critique_revision, s05_response_pairs, s06_ai_feedback

WORDS = {
    Role.ASSISTANT: "Here is a plan for you.",
    Role.CRITIQUE: "The reply helps with harm to other people.",
    Role.REVISION: "I would rather help you in a fair way.",
    Role.REASONING: "The first reply is kinder to people.",
}


def thinking(prompt: Prompt, seed: int) -> str:
    return f"<think>so {seed % 1000}\n\nwait</think>\n\n{WORDS[prompt.reply_as]} {seed % 97}"


def never_ending(prompt: Prompt, seed: int) -> Completion:
    return Completion("<think>so\n\nwait", Finish.END)


def test_replies_critiques_and_revisions_are_read_without_thoughts(tmp_path: Path) -> None:
    bench, engine = Bench(tmp_path), ScriptedEngine(thinking)
    given = s02_responses.ResponseInputs(7, bench.prompts("harm 1", "harm 2"))
    replies = s02_responses.run(ResponseSettings(), given, engine, bench.out("responses", 2))
    inputs = s03_critique_revision.RevisionInputs(7, bench.constitution, replies)
    rows = (
        s03_critique_revision.run(RevisionSettings(steps=2), inputs, engine, bench.out("revision", 3))
        .table()
        .to_pylist()
    )
    assert {row["outcome"] for row in rows} == {row["critique_outcome"] for row in rows} == {"ok"}
    for row in (*replies.table().to_pylist(), *rows):
        assert row["thinking"].startswith("so ") and Defect.THOUGHTS_CUT in row["defects"]
        assert "think" not in row["completion"][0]["content"] and "wait" not in row["completion"][0]["content"]
    assert all(row["critique_thinking"].endswith("wait") and "wait" not in row["critique"] for row in rows)
    # What a model is shown of an earlier text has no thoughts either.
    assert not any("wait" in turn.content for prompt in engine.prompts for turn in prompt.turns)


def test_pairs_and_judgements_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    engine = ScriptedEngine(thinking, lambda prompt, option: -0.5 if option == "A" else -1.5)
    drawn = s05_response_pairs.PairInputs(7, bench.prompts("harm 1", "harm 2"))
    pairs = s05_response_pairs.run(PairSettings(), drawn, engine, bench.out("response-pairs", 5))
    assert all(
        row["thinking_a"] != row["thinking_b"] and "think" not in row["response_a"] for row in pairs.table().to_pylist()
    )
    given = bench.artefact("pairs", mixed_pairs(4), PairRow)
    settings = FeedbackSettings(form=FeedbackForm.REASONED)
    inputs = s06_ai_feedback.FeedbackInputs(7, bench.constitution, given)
    for row in s06_ai_feedback.run(settings, inputs, engine, bench.out("ai-feedback", 6)).table().to_pylist():
        (judgement,) = row["judgements"]
        assert all(text.startswith(WORDS[Role.REASONING]) for text in judgement["reasoning_ab"])
        assert all(text.endswith("wait") for text in judgement["thinking_ba"])


def test_thoughts_that_never_end_make_the_row_truncated(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    given = s02_responses.ResponseInputs(7, bench.prompts("harm 1"))
    (row,) = (
        s02_responses.run(ResponseSettings(), given, ScriptedEngine(never_ending), bench.out("responses", 2))
        .table()
        .to_pylist()
    )
    assert (row["outcome"], row["completion"][0]["content"], row["thinking"]) == ("truncated", "", "so\n\nwait")


def test_the_rule_is_listed() -> None:
    assert RULES[0].name == Defect.THOUGHTS_CUT and "<think>" in RULES[0].sentence
