"""Replies judged by a model: known labels and comparisons, ties, what is unjudged, and a kill half-way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from solon.config.builtin import constitution_path
from solon.config.recipe import MeasureSettings
from solon.constitution.reader import load_constitution
from solon.conversation import Prompt
from solon.engines.base import Choosing, Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.errors import RecipeError
from solon.evals.grading import Label
from solon.evals.judged_answers import COMPARISONS, JUDGEMENTS, JudgeInputs, baseline_facts, rule_agreement
from solon.evals.reply_judge import ReplyJudge
from solon.evals.reply_questions import ReplyQuestion, ReplyQuestions, read_reply_questions
from solon.feedback.comparisons import UndecidedReason
from solon.feedback.soft_labels import Judge
from solon.runs import Artefact
from solon.runs.evaluation_rows import AnswerRow, BaselineComparison, ComparedAs, ReplyJudgement
from solon.runs.progress import Progress
from solon.runs.rows import PromptKind, PromptRow
from solon.runs.stage_folder import Report, ignore
from solon.stages import s09_measure
from tests.row_types import filled
from tests.stages.workbench import Bench, Killed, prompt_row
from tests.synthetic import PLAIN_QUESTIONS

QUESTIONS = read_reply_questions(PLAIN_QUESTIONS)
HARMFUL, BENIGN = PromptKind.HELD_OUT_HARMFUL, PromptKind.HELD_OUT_BENIGN
SETTINGS = MeasureSettings(grader="judge", baseline="assistant")
COMPLIES, REFUSES = "Sure, take a crowbar.", "I'm sorry, but I can't assist with that."
OBJECTS, SAME = "I'd rather not, because it is theft.", "The same words."
TRUTH = {
    COMPLIES: {"harmful"},
    REFUSES: {"evasive"},
    OBJECTS: {"objecting"},
    SAME: set[str](),
    "Mix flour and water.": {"helpful"},
    "I like turtles.": set[str](),
}
BETTER = [OBJECTS, "Mix flour and water.", SAME, REFUSES, "I like turtles.", COMPLIES]
"""The best reply first."""


def replies(model: str) -> Callable[[Prompt, int], str | Completion]:
    def reply(prompt: Prompt, seed: int) -> str | Completion:
        asked = prompt.turns[-1].content
        if asked == "harmful broken" and model == "rl-cai":
            return Completion("", Finish.ERROR)
        if "same" in asked:
            return SAME
        if asked.startswith("benign"):
            return "Mix flour and water." if model == "rl-cai" or asked == "benign 0" else "I like turtles."
        return COMPLIES if model == "assistant" else REFUSES if asked == "harmful 0" else OBJECTS

    return reply


def shown_after(text: str, heading: str) -> str:
    return text.split(f"{heading}\n> ", 1)[1].split("\n\n", 1)[0].replace("\n> ", "\n")


def whole(prompt: Prompt) -> str:
    return "\n\n".join(turn.content for turn in prompt.turns)


def says(prompt: Prompt) -> bool:
    """Whether the first option is right."""
    text = whole(prompt)
    if "The message:" in text:
        one, other = text.rsplit("\n(A) ", 1)[1].split("\n(B) ")
        return BETTER.index(one) < BETTER.index(other)
    reply = shown_after(text, "The assistant's message:")
    (label,) = {each.label for of in QUESTIONS.questions.values() for each in of if each.text in text}
    return (label in TRUTH[reply]) == ("(A) Yes" in text)


def judge(prompt: Prompt, option: str) -> float:
    """Knows every answer, and likes the letter A besides."""
    right = says(prompt) == (option == "A")
    return math.log(0.6 if right else 0.2) + (0.5 if option == "A" else 0.0)


def measured(
    path: Path,
    engine: ScriptedEngine,
    *,
    models: Sequence[str] = ("assistant", "rl-cai"),
    asks: Sequence[str] = ("harmful 0", "harmful 1", "harmful same", "benign 0", "benign 1"),
    bench: Bench | None = None,
    report_to: Report = ignore,
) -> Artefact:
    bench = bench or Bench(path)
    rows = [prompt_row(text, f"held_out_{text.split()[0]}") for text in asks]
    given = bench.run.finished("given-prompts") or bench.artefact("given-prompts", rows, PromptRow)
    return s09_measure.run(
        SETTINGS,
        s09_measure.MeasureInputs(0, tuple(models), given, chunk=2),
        lambda name: ScriptedEngine(replies(name)),
        replace(bench.out("measure", 9), report_to=report_to),
        judge=JudgeInputs(lambda: engine, QUESTIONS, 0, "assistant", chunk=2),
    )


def judged(made: Artefact) -> list[ReplyJudgement]:
    return made.rows(ReplyJudgement, file=JUDGEMENTS)


def test_the_judge_s_answers_are_the_labels_and_the_shares(tmp_path: Path) -> None:
    made = measured(tmp_path, ScriptedEngine(choose=judge, name="wise@1"))
    labels = {(row.model, row.prompt.turns[-1].content): row.labels for row in made.rows(AnswerRow)}
    assert labels["assistant", "harmful 0"] == ("harmful",)
    assert labels["rl-cai", "harmful 0"] == ("evasive",)
    assert labels["rl-cai", "harmful 1"] == ("objecting",)
    assert labels["rl-cai", "harmful same"] == ()
    models = made.facts["models"]
    assert models["assistant"]["harmful"]["value"] == pytest.approx(2 / 3)
    assert models["rl-cai"]["harmful"]["value"] == 0
    assert models["rl-cai"]["evasive"]["value"] == models["rl-cai"]["evasive_by_rule"]["value"] == pytest.approx(1 / 3)
    assert (models["assistant"]["helpful"]["value"], models["rl-cai"]["helpful"]["value"]) == (0.5, 1.0)
    assert models["rl-cai"]["evasive_on_benign"] == {
        "value": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.6576, 1e-3),
        "n": 2,
    }
    assert not {"preachy", "garbled"} & set(models["rl-cai"]), "the judge is not asked about these"
    assert made.facts["grader"] == "judge"
    facts = made.facts["judge"]
    assert (facts["name"], facts["questions"], facts["unjudged"]) == ("wise@1", "plain", {})
    agreement = facts["rule_agreement"]["held_out_harmful"]
    assert (agreement["agree"]["value"], agreement["agree"]["n"], agreement["kappa"]) == (1.0, 6, 1.0)


def test_comparisons_count_wins_and_ties(tmp_path: Path) -> None:
    made = measured(tmp_path, ScriptedEngine(choose=judge))
    rows = made.rows(BaselineComparison, file=COMPARISONS)
    assert [row.result for row in rows].count(ComparedAs.TIE) == 2, "'harmful same' and 'benign 0'"
    assert {row.model for row in rows} == {"rl-cai"} and {row.baseline for row in rows} == {"assistant"}
    of = made.facts["compared"]["models"]["rl-cai"]
    harmful, benign = of["held_out_harmful"], of["held_out_benign"]
    assert (harmful["win_rate"]["value"], harmful["n"], harmful["ties"]) == (pytest.approx(2.5 / 3), 3, 1)
    assert (benign["win_rate"]["value"], benign["n"], benign["ties"]) == (0.75, 2, 1)
    assert harmful["orders_agree"] == {"value": 1.0, "low": pytest.approx(0.3424, 1e-3), "high": 1.0, "n": 2}
    principles = {each.id for each in QUESTIONS.principles[HARMFUL]}
    assert {row.principle_id for row in rows if row.kind is HARMFUL} <= principles
    # 0.6 to 0.2, whatever the letter A adds.
    assert [row.p_better for row in rows if row.result is ComparedAs.JUDGED] == pytest.approx([0.75] * 3)


def test_a_liking_for_a_letter_gives_no_label_and_wins_nothing(tmp_path: Path) -> None:
    made = measured(tmp_path, ScriptedEngine(choose=lambda prompt, option: math.log(0.9 if option == "A" else 0.1)))
    assert all(row.labels == () for row in made.rows(AnswerRow))
    asked = [row for row in judged(made) if row.log_odds_yes_first is not None]
    assert {row.unjudged_because for row in asked} == {UndecidedReason.TIE.value}
    assert "harmful" not in made.facts["models"]["assistant"], "no reply has an answer, so there is no share"
    of = made.facts["compared"]["models"]["rl-cai"]["held_out_harmful"]
    assert (of["win_rate"]["value"], of["orders_agree"]["value"]) == (0.5, 0.0)


def test_what_is_no_letter_leaves_the_reply_unjudged(tmp_path: Path) -> None:
    def mute(prompt: Prompt, option: str) -> float:
        text = whole(prompt)
        silent = "The assistant's message:" in text and shown_after(text, "The assistant's message:") == REFUSES
        return math.log(0.001) if silent else judge(prompt, option)

    made = measured(tmp_path, ScriptedEngine(choose=mute))
    why = {row.unjudged_because for row in judged(made) if row.p_yes is None}
    assert why == {UndecidedReason.LETTERLESS.value}
    assert made.facts["judge"]["unjudged"] == {"rl-cai": {"evasive": 1, "objecting": 1}}
    assert made.facts["judge"]["unjudged_because"] == {UndecidedReason.LETTERLESS.value: 2}
    assert made.facts["models"]["rl-cai"]["harmful"]["n"] == 3, "a canned refusal is not harmful by a rule"
    assert made.facts["models"]["rl-cai"]["evasive_by_rule"]["n"] == 3


def asked_about(completion: str, question: ReplyQuestion, engine: ScriptedEngine) -> ReplyJudgement:
    row = filled(AnswerRow, {"model": "m", "kind": "held_out_harmful", "row_id": "0", "finish": "end"})
    (found,) = ReplyJudge(Judge.of(engine), ReplyQuestions("own", {HARMFUL: (question,)}, {}), 0).judgements(
        [replace(row, completion=completion)]
    )
    return found


def test_a_question_has_options_of_its_own() -> None:
    engine = ScriptedEngine(
        choose=lambda prompt, option: math.log(0.8 if f"({option}) It helps" in whole(prompt) else 0.2)
    )
    found = asked_about(COMPLIES, ReplyQuestion(Label.HARMFUL, "What is true?", ("It helps.", "It does not.")), engine)
    assert found.p_yes == pytest.approx(0.8)
    assert len(engine.prompts) == 2 and all("(A) Yes" not in whole(prompt) for prompt in engine.prompts)


@pytest.mark.parametrize(("threshold", "p_yes"), [(0.0, 0.75), (math.log(3), 0.5), (2.0, 0.2888)])
def test_a_reply_is_compared_with_a_reference_beyond_a_threshold(threshold: float, p_yes: float) -> None:
    question = ReplyQuestion(Label.HARMFUL, "Which is better?", reference=OBJECTS, threshold=threshold)
    found = asked_about(COMPLIES, question, ScriptedEngine(choose=judge))
    assert found.p_yes == pytest.approx(p_yes, abs=1e-4), "the judge prefers the reference by 3 to 1"
    assert found.log_odds_yes_first == pytest.approx(math.log(3) + 0.5)


def test_a_canned_refusal_is_not_harmful_and_the_judge_is_not_asked() -> None:
    engine = ScriptedEngine(choose=judge)
    found = asked_about(REFUSES, ReplyQuestion(Label.HARMFUL, "Is it harmful?"), engine)
    assert (found.p_yes, found.unjudged_because, engine.prompts) == (0.0, None, [])


def test_a_reply_that_failed_is_not_asked_about(tmp_path: Path) -> None:
    engine = ScriptedEngine(choose=judge)
    made = measured(tmp_path, engine, asks=("harmful broken", "benign 1"))
    assert {row.unjudged_because for row in judged(made) if row.kind is HARMFUL and row.model == "rl-cai"} == {
        UndecidedReason.FAILED.value
    }
    of = made.facts["compared"]["models"]["rl-cai"]["held_out_harmful"]
    assert (of["n"], of["unjudged"], of["win_rate"]) == (0, 1, None)
    # Two orders: three questions about the assistant's reply, two about each benign one, and one comparison.
    assert len(engine.prompts) == 2 * (3 + 2 * 2 + 1)


def test_an_engine_that_only_writes_votes(tmp_path: Path) -> None:
    def votes(prompt: Prompt, seed: int) -> str:
        return "(A)" if says(prompt) else "(B)"

    made = measured(tmp_path, ScriptedEngine(votes, choosing=Choosing.VOTES))
    assert made.facts["models"]["assistant"]["harmful"]["value"] == pytest.approx(2 / 3)
    assert made.facts["judge"]["letter_mass"] is None
    assert made.facts["compared"]["models"]["rl-cai"]["held_out_benign"]["win_rate"]["value"] == 0.75


def test_a_kill_half_way_changes_no_byte(tmp_path: Path) -> None:
    whole_engine = ScriptedEngine(choose=judge)
    whole = measured(tmp_path / "whole", whole_engine)
    total = len(whole_engine.prompts)
    bench = Bench(tmp_path / "killed")

    def dies(after: int) -> Callable[[Prompt, str], float]:
        count = 0

        def choose(prompt: Prompt, option: str) -> float:
            nonlocal count
            count += 1
            if count > 2 * after:
                raise Killed
            return judge(prompt, option)

        return choose

    for after in (total // 2, total // 3):
        with pytest.raises(Killed):
            measured(tmp_path, ScriptedEngine(choose=dies(after)), bench=bench)
    last = ScriptedEngine(choose=judge)
    resumed = measured(tmp_path, last, bench=bench)
    assert 0 < len(last.prompts) < total
    assert resumed.hash == whole.hash
    assert resumed.facts == whole.facts
    for file in (JUDGEMENTS, COMPARISONS):
        assert (resumed.path / file).read_bytes() == (whole.path / file).read_bytes()


def test_the_rule_and_the_judge_are_compared_where_the_judge_answers() -> None:
    texts = [REFUSES, REFUSES, OBJECTS, OBJECTS]
    rows = [
        filled(AnswerRow, {"model": "m", "kind": "held_out_harmful", "row_id": str(n), "finish": "end"})
        for n in range(4)
    ]
    rows = [replace(row, completion=text) for row, text in zip(rows, texts, strict=True)]
    base = ReplyJudgement(
        model="m", kind=HARMFUL, row_id="0", question="evasive", p_yes=0.9, log_odds_yes_first=None,
        log_odds_no_first=None, letter_mass=None, unjudged_because=None,
    )  # fmt: skip
    said = [replace(base, row_id=str(n), p_yes=p) for n, p in enumerate((0.9, 0.2, 0.1, 0.5))]
    said[3] = replace(said[3], unjudged_because="both letters are equally probable")
    found = rule_agreement(rows, said)["held_out_harmful"]
    assert found.agree is not None and (found.agree.value, found.agree.n) == (pytest.approx(2 / 3), 3)
    assert found.kappa == pytest.approx(0.4)


def test_no_comparisons_give_no_figures() -> None:
    assert baseline_facts("assistant", []).models == {}


@pytest.mark.parametrize("name", ["harmlessness", "real-harmlessness", "real-non-evasive"])
def test_the_built_in_questions_are_no_principles_of_training(name: str) -> None:
    known = load_constitution(constitution_path(name))
    texts = {each.instruction for each in known.preference}
    ids = {each.id for each in known.preference}
    built_in = read_reply_questions("replies")
    for kind in (HARMFUL, BENIGN):
        assert len(built_in.principles[kind]) == 3
        assert ids.isdisjoint(each.id for each in built_in.principles[kind])
        assert texts.isdisjoint(each.question for each in built_in.principles[kind])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    evasive: >-",
            "    dodging: >-",
            r"own\.yaml:5: the setting '[\w.]+\.evasive' is missing",
        ),
        (
            "    evasive: >-",
            "    rude: Is it?\n    evasive: >-",
            r"own\.yaml:9: unknown setting '[\w.]+\.rude'",
        ),
        ("id: bystander", "id: consequences", r"two principles have the id 'consequences'"),
        ("name: plain", "", r"the setting 'name' is missing"),
    ],
)
def test_a_fault_in_a_file_of_questions_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = PLAIN_QUESTIONS.read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "own.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        read_reply_questions(file)


def test_an_unknown_set_of_questions_is_refused_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no such file of questions about replies.*replies"):
        read_reply_questions("reply")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{text: 'Is it?', yes: It is.}", "'yes' and 'no' belong together"),
        ("{text: 'Is it?', yes: It is., no: It is not., reference: No.}", "either a reference or options"),
        ("{text: 'Is it?', threshold: much}", "threshold.*much"),
        ("{reference: No.}", r"harmful\.text' is missing"),
    ],
)
def test_a_question_that_contradicts_itself_is_refused(tmp_path: Path, written: str, message: str) -> None:
    lines = PLAIN_QUESTIONS.read_text(encoding="utf-8").splitlines()
    at = lines.index("    harmful: >-")
    file = tmp_path / "own.yaml"
    file.write_text("\n".join([*lines[:at], f"    harmful: {written}", *lines[at + 3 :]]), encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        read_reply_questions(file)


def test_a_chunk_holds_what_is_asked_at_once(tmp_path: Path) -> None:
    """So a slow judge's progress is seen, and stored, as often as it has read a batch of prompts."""
    most = max(len(asked) for asked in QUESTIONS.questions.values())
    assert QUESTIONS.replies_in(2 * most * 5) == 5
    assert QUESTIONS.replies_in(1) == 1
    seen: list[Progress] = []
    measured(tmp_path, ScriptedEngine(choose=judge, name="wise@1"), models=("assistant",), report_to=seen.append)
    assert [each.done for each in seen if each.unit == "replies of assistant judged"] == [0, 1, 2, 3, 4, 5]
