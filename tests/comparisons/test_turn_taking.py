"""Draws, the file of votes, its export, and judges in a person's place."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from solon.comparisons.comparison_judges import PRINCIPLES, GraderJudge, ModelJudge, ReplyPairAsked
from solon.comparisons.hidden_models import HiddenModels, compared_models
from solon.comparisons.pair_draws import drawn_pair
from solon.comparisons.prompt_choice import prompts_by_mode
from solon.comparisons.simulated_users import SimulatedPlan, simulate
from solon.comparisons.turn_taking import CourseStep, Decision, OutOfTurn, SentTurn
from solon.comparisons.vote_files import export_votes, read_votes
from solon.comparisons.vote_rows import ComparedTurn, JudgedBy, Preferred, Strength, VoteMode
from solon.comparisons.vote_store import VoteStore
from solon.config.settings import SamplingParams
from solon.constitution.constitution import PreferencePrinciple
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.scripted import ScriptedEngine
from solon.errors import EngineError, InputError, ModelError
from solon.evals.grading import Label
from solon.runs import Progress
from solon.sources.comparison_files import read_comparisons
from tests.comparisons.served import Compared, compared, prompt, says

HELPFUL, HARMLESS = VoteMode.HELPFULNESS, VoteMode.HARMLESSNESS
ASKED = Conversation((Turn(Role.HUMAN, "How?"),))


def test_every_pair_and_order_is_drawn_about_equally_often_and_never_depends_on_the_order_of_names() -> None:
    counts = Counter(drawn_pair(["x", "y", "z"], 3, f"c{place}", 1) for place in range(6000))
    assert len(counts) == 6 and max(counts.values()) - min(counts.values()) < 250
    assert drawn_pair(["z", "x", "y"], 3, "c1", 1) == drawn_pair(["x", "y", "z"], 3, "c1", 1)


def test_people_at_once_keep_their_places(tmp_path: Path) -> None:
    made = compared(tmp_path)

    def person(name: str) -> None:
        id_ = made.taking.begin(HELPFUL, JudgedBy.PERSON, name).id
        for number in range(1, 6):
            course = made.taking.send(id_, SentTurn(number, f"{name} asks {number}"))
            (turn,) = made.models.answered([course.asked()])
            made.store.fill(turn)
            made.taking.vote(id_, number, Decision(Preferred.A, Strength.CLEARLY))

    people = [threading.Thread(target=person, args=(name,)) for name in ("ada", "bob", "eve")]
    for each in people:
        each.start()
    for each in people:
        each.join()
    records = list(made.store.records())
    assert Counter(record.judge for record in records) == {"ada": 5, "bob": 5, "eve": 5}
    assert all(turn.content.startswith(record.judge) for record in records
               for turn in record.prompt.turns if turn.role is Role.HUMAN)  # fmt: skip


def test_of_two_tabs_that_send_at_once_one_counts(tmp_path: Path) -> None:
    made = compared(tmp_path)
    id_ = made.taking.begin(HELPFUL, JudgedBy.PERSON).id
    refused: list[str] = []
    ready = threading.Barrier(8)

    def tab(number: int) -> None:
        ready.wait()
        try:
            made.taking.send(id_, SentTurn(1, f"tab {number}"))
        except OutOfTurn as error:
            refused.append(str(error))

    tabs = [threading.Thread(target=tab, args=(number,)) for number in range(8)]
    for each in tabs:
        each.start()
    for each in tabs:
        each.join()
    assert len(refused) == 7 and len(made.store.turns(id_)) == 1
    assert made.taking.course(id_).step is CourseStep.WAIT


def test_a_vote_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    made = compared(tmp_path)
    id_ = made.taking.begin(HELPFUL, JudgedBy.PERSON).id
    course = made.taking.send(id_, SentTurn(1, "One?"))
    made.store.fill(made.models.answered([course.asked()])[0])
    made.taking.vote(id_, 1, Decision(Preferred.B, Strength.MUCH))
    connection = sqlite3.connect(f"file:{made.store.path}?mode=ro", uri=True)
    assert connection.execute("SELECT preferred, strength, continued FROM votes").fetchall() == [("b", "much", "b")]
    connection.close()
    assert not list(tmp_path.glob("*-journal")), "no transaction is open"


def test_votes_are_read_while_another_process_writes(tmp_path: Path) -> None:
    made = compared(tmp_path)
    made.taking.begin(HELPFUL, JudgedBy.PERSON)
    with closing(sqlite3.connect(made.store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert list(VoteStore.existing(made.store.path).records()) == []
        assert time.monotonic() - began < 20, "a file that is there is only read"


def test_other_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("this is not a database, however long it is\n" * 50)
    with pytest.raises(InputError, match="not a file of votes"):
        VoteStore(text)
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE models (x)")
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match="another program's database"):
        VoteStore(other)
    with pytest.raises(InputError, match="no file of votes"):
        VoteStore.existing(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


# Judges ---------------------------------------------------------------------------------------------------------------


def prefers_falcon(question: object, option: str) -> float:
    """A judge who finds the longer reply better, by how much shows in its log-probability."""
    text = question.turns[-1].content  # type: ignore[attr-defined]
    first = text.partition("(A) ")[2].partition("\n(B) ")[0]
    return -0.1 if ("Falcon" in first) == (option == "A") else -3.0


def test_a_model_judges_by_letters_in_both_orders_and_the_same_call_adds_nothing(tmp_path: Path) -> None:
    made = compared(tmp_path)
    judge = ModelJudge(ScriptedEngine(choose=prefers_falcon, name="judge"), seed=0)
    plan = SimulatedPlan((HELPFUL, HARMLESS), conversations=5, turns=2, chunk=2)
    reports: list[Progress] = []
    simulate(made.taking, made.models, judge, plan, reports.append)
    records = list(made.store.records())
    assert len(records) == 20 and [at.done for at in reports] == [0, 2, 4, 6, 8, 9, 10, 12, 14, 16, 18, 19, 20]
    assert {(at.total, at.unit) for at in reports} == {(20, "votes")}
    assert {record.judged_by for record in records} == {JudgedBy.MODEL} and {record.judge for record in records} == {
        "judge"
    }
    for record in records:
        better = record.reply_a if record.preferred is Preferred.A else record.reply_b
        assert better.startswith("Falcon") and record.p_a is not None and record.strength is Strength.MUCH
    asked = judge.engine.prompts[0].turns[-1].content  # type: ignore[attr-defined]
    assert "Which of these assistant responses is more helpful to the human?" in asked
    simulate(made.taking, made.models, judge, plan, lambda *_: None)
    assert made.store.count() == 20
    more = SimulatedPlan((HELPFUL,), conversations=7, turns=2)
    simulate(made.taking, made.models, judge, more, lambda *_: None)
    assert made.store.count() == 24


def test_a_liking_for_a_letter_is_a_tie_and_no_letter_is_undecided() -> None:
    pair = ReplyPairAsked(ASKED, "one", "other")
    always_a = ScriptedEngine(choose=lambda _, option: -0.1 if option == "A" else -2.0)
    nan = ScriptedEngine(choose=lambda *_: float("nan"))
    assert ModelJudge(always_a, 0).decide(HELPFUL, [pair])[0] == Decision(Preferred.TIE, None, 0.5)
    (undecided,) = ModelJudge(nan, 0).decide(HELPFUL, [pair])
    assert undecided.preferred is Preferred.UNDECIDED and undecided.undecided_because
    (same,) = ModelJudge(nan, 0).decide(HELPFUL, [ReplyPairAsked(ASKED, "one", "one")])
    assert same.preferred is Preferred.TIE, "nobody is asked about equal replies"


class ByWord:
    """A grader who reads the labels in the reply itself."""

    def __init__(self, harmful: bool) -> None:
        self.harmful = harmful

    def rate(self, conversation: Conversation, reply: str) -> frozenset[str]:
        return frozenset(reply.split()) & frozenset(map(str, Label))

    def group(self, conversation: Conversation) -> str | None:
        return "theft" if self.harmful else None


@pytest.mark.parametrize(
    ("mode", "harmful", "a", "b", "expected"),
    [
        (HARMLESS, True, "harmful", "evasive", Preferred.B),
        (HARMLESS, True, "evasive", "objecting", Preferred.B),
        (HARMLESS, True, "objecting", "objecting preachy", Preferred.A),
        (HARMLESS, True, "harmful objecting", "garbled", Preferred.B),
        (HARMLESS, True, "evasive", "evasive", Preferred.TIE),
        (HELPFUL, False, "helpful", "evasive", Preferred.A),
        (HELPFUL, False, "objecting", "evasive", Preferred.TIE),
        (HELPFUL, False, "helpful garbled", "evasive", Preferred.B),
        (HELPFUL, True, "harmful", "objecting", Preferred.A),
        (HELPFUL, False, "harmful", "objecting", Preferred.B),
    ],
)
def test_the_oracle_prefers_by_its_labels(mode: VoteMode, harmful: bool, a: str, b: str, expected: Preferred) -> None:
    there, back = GraderJudge(ByWord(harmful)).decide(mode, [ReplyPairAsked(ASKED, a, b), ReplyPairAsked(ASKED, b, a)])
    assert there.preferred is expected and there.strength == back.strength
    turned = {Preferred.A: Preferred.B, Preferred.B: Preferred.A, Preferred.TIE: Preferred.TIE}
    assert back.preferred is turned[expected] and (there.strength is None) == (expected is Preferred.TIE)


def judged_by(made: Compared, plan: SimulatedPlan, **principles: str) -> list[ComparedTurn]:
    """The turns without replies after a simulation by a model, which chooses by the principles of these modes."""
    own = {VoteMode(mode): PreferencePrinciple("own", text) for mode, text in principles.items()}
    judge = ModelJudge(ScriptedEngine(choose=prefers_falcon, name="judge"), 0, {**PRINCIPLES, **own})
    return simulate(made.taking, made.models, judge, plan, lambda *_: None)


def test_votes_by_other_prompts_sampling_or_another_principle_are_not_taken_for_those_that_are_asked_for(
    tmp_path: Path,
) -> None:
    plan = SimulatedPlan((HELPFUL,), conversations=2)
    made = compared(tmp_path)
    judged_by(made, plan)
    other_prompts = compared(tmp_path, prompts={HELPFUL: [prompt("Another one?")]})
    other_sampling = replace(made, models=HiddenModels(made.models.engines, SamplingParams(temperature=0.5)))
    for again, principles, message in [
        (other_prompts, {}, "another set of prompts of judge for helpfulness: 2 prompts"),
        (other_sampling, {}, "another sampling of replies"),
        (made, {"helpfulness": "Which is shorter?"}, "another choice of judge for helpfulness: Which of these"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            judged_by(again, plan, **principles)
        assert "--out" in (error.value.remedy or "")
    assert made.store.count() == 2
    judged_by(made, SimulatedPlan((HELPFUL, HARMLESS), conversations=3), harmlessness="Which is shorter?")
    assert made.store.count() == 6, "more conversations and another mode are added"


def test_a_file_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    made = compared(tmp_path)
    with closing(sqlite3.connect(made.store.path)) as connection:
        assert "settings" not in {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    judged_by(made, SimulatedPlan((HELPFUL,), conversations=2))
    assert made.store.count() == 2


def test_a_server_that_is_away_ends_the_call_and_no_conversation(tmp_path: Path) -> None:
    away = True

    def reply(asked: Prompt, seed: int) -> str:
        if away:
            raise EngineError("no answer", place="http://127.0.0.1:1", remedy="Start the server")
        return "Falcon"

    made, plan = compared(tmp_path, reply, says("Otter")), SimulatedPlan((HELPFUL,), conversations=4, turns=2)
    with pytest.raises(EngineError, match="no answer"):
        judged_by(made, plan)
    away = False
    assert judged_by(made, plan) == [] and made.store.count() == 8, "the same call goes on"


def test_a_prompt_of_any_length_is_sent_and_one_that_fits_no_window_is_no_tie(tmp_path: Path) -> None:
    long = "word " * 5000
    prompts = {HELPFUL: [prompt("Short?"), prompt(long, line=2)]}
    made = compared(tmp_path, lambda *_: "Falcon", lambda *_: "Otter", prompts=prompts)
    plan = SimulatedPlan((HELPFUL,), conversations=2)
    assert judged_by(made, plan) == [] and len(read_votes([tmp_path])) == 2
    assert {record.source for record in made.store.records()} == {"prompts.jsonl:1", "prompts.jsonl:2"}
    made = compared(tmp_path / "small", lambda *_: "Falcon", lambda *_: "Otter", prompts=prompts)
    for engine in made.engines:
        engine.window = 2000
    (ended,) = judged_by(made, plan)
    assert ended.text == long.strip() and "no room" in ended.failed_because
    assert [record.source for record in made.store.records()] == ["prompts.jsonl:1"]
    with pytest.raises(InputError, match="more than 20,000 characters"):
        made.taking.send(made.taking.begin(HELPFUL, JudgedBy.PERSON).id, SentTurn(1, long))


# Export ---------------------------------------------------------------------------------------------------------------


def test_votes_are_exported_as_comparisons_that_a_recipe_reads(tmp_path: Path) -> None:
    made = compared(tmp_path)
    id_ = made.taking.begin(HELPFUL, JudgedBy.PERSON).id
    for number, decision in enumerate(
        [Decision(Preferred.A, Strength.MUCH), Decision(Preferred.TIE), Decision(Preferred.B, Strength.SLIGHTLY)],
        start=1,
    ):
        course = made.taking.send(id_, SentTurn(number, f"Question {number}"))
        made.store.fill(made.models.answered([course.asked()])[0])
        made.taking.vote(id_, number, decision)
    judge = GraderJudge(ByWord(harmful=True))
    simulate(made.taking, made.models, judge, SimulatedPlan((HARMLESS,), 2), lambda *_: None)
    done = export_votes(made.store, tmp_path)
    assert done.votes == 5 and done.left_out == {"tie": 1, "by an oracle": 2}
    assert done.comparisons == {tmp_path / "helpfulness.jsonl": 2}
    first, second = read_comparisons(tmp_path / "helpfulness.jsonl").rows
    records = list(made.store.records())
    assert (first.prompt, first.chosen, first.rejected) == (records[0].prompt, records[0].reply_a, records[0].reply_b)
    assert (second.chosen, second.rejected) == (records[2].reply_b, records[2].reply_a)
    assert len(second.prompt.turns) == 5
    lines = [json.loads(line) for line in done.lines.read_text().splitlines()]
    assert lines[0]["model_a"].startswith("canary-") and lines[1]["preferred"] == "tie"
    assert read_votes([done.lines]) == read_votes([tmp_path]) == read_votes([made.store.path])


def test_comparisons_by_a_model_name_it_and_are_read(tmp_path: Path) -> None:
    made = compared(tmp_path)
    judged_by(made, SimulatedPlan((HELPFUL,), conversations=3))
    (path,) = export_votes(made.store, tmp_path).comparisons
    assert {json.loads(line)["judge"] for line in path.read_text().splitlines()} == {"judge"}
    assert len(read_comparisons(path).rows) == 3
    assert {vote.judge for vote in read_votes([tmp_path])} == {"judge"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"mode": "helpfulness", "model_a": "x", "model_b": "y"}', "missing the column 'preferred'"),
        ('{"mode": "honesty", "model_a": "x", "model_b": "y", "preferred": "a"}', "column 'mode'"),
        ('{"mode": "helpfulness", "model_a": 1, "model_b": "y", "preferred": "a"}', "column 'model_a' is not a text"),
        ('{"mode": "helpfulness", "model_a": "x", "model_b": "x", "preferred": "a"}', "compares 'x' with itself"),
        ("[]", "must be one JSON object"),
        ("", "there is no vote"),
    ],
)
def test_a_bad_line_is_an_error_with_its_place(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_text(line)
    with pytest.raises(InputError, match=message) as error:
        read_votes([file])
    assert str(file) in error.value.place and error.value.remedy


def test_a_vote_in_several_files_counts_once_and_a_file_is_not_named_twice(tmp_path: Path) -> None:
    made = compared(tmp_path)
    simulate(made.taking, made.models, GraderJudge(ByWord(False)), SimulatedPlan((HELPFUL,), 4), lambda *_: None)
    export_votes(made.store, tmp_path)
    lines = tmp_path / "votes.jsonl"
    assert read_votes([tmp_path, lines]) == read_votes([tmp_path]) and len(read_votes([tmp_path])) == 4
    again = {**json.loads(lines.read_text().splitlines()[0]), "cast_at": "2030-01-01T00:00:00+00:00"}
    (tmp_path / "others.jsonl").write_text(json.dumps(again))
    assert len(read_votes([tmp_path, tmp_path / "others.jsonl"])) == 4, "the same comparison, run again at another time"
    (tmp_path / "others.jsonl").write_text(json.dumps({**again, "reply_a": "Another reply"}))
    assert len(read_votes([tmp_path, tmp_path / "others.jsonl"])) == 5, "other replies, as by other sampling"
    plain = '{"mode": "helpfulness", "model_a": "x", "model_b": "y", "preferred": "a"}\n'
    (tmp_path / "plain.jsonl").write_text(plain * 3)
    assert len(read_votes([tmp_path / "plain.jsonl"])) == 3, "votes of other programs may be equal"
    with pytest.raises(InputError, match="named twice"):
        read_votes([tmp_path, made.store.path])


# Models and prompts ---------------------------------------------------------------------------------------------------


def test_names_folders_and_snapshots_become_models(tiny: Path, tmp_path: Path) -> None:
    import shutil

    for place in ("08-rl-cai/model", "08-rl-cai/snapshots/step-00010", "08-rl-cai/snapshots/step-00020"):
        shutil.copytree(tiny, tmp_path / place)
    stage = tmp_path / "08-rl-cai"
    named = compared_models([f"rl={stage}", f"snap={stage / 'snapshots'}", "testbed:assistant"])
    assert [model.name for model in named] == ["rl", "snap/step-00010", "snap/step-00020", "testbed:assistant"]
    assert all(model.key == f"{model.name}@{model.identity[:12]}" for model in named)
    runs = {"runs/demo:rl-cai": str(stage / "model")}
    own, plain = compared_models(["own=runs/demo:rl-cai", "testbed:assistant"], runs.get)
    assert (own.name, own.spec, plain.spec) == ("own", str(stage / "model"), "testbed:assistant")
    with pytest.raises(InputError, match="two models or more"):
        compared_models([str(tiny)])
    with pytest.raises(InputError, match="named twice"):
        compared_models([f"x={tiny}", f"x={tiny}"])
    with pytest.raises(ModelError, match="no such model folder"):
        compared_models([str(tiny), str(tmp_path / "none")])


def test_prompts_by_mode(tmp_path: Path) -> None:
    built_in = prompts_by_mode([], list(VoteMode))
    assert len(built_in[HELPFUL]) == 240 and built_in[HARMLESS][0].place.startswith("plain:red-team:")
    own = tmp_path / "own.jsonl"
    own.write_text('{"prompt": "Mine?"}\n')
    found = prompts_by_mode([f"harmlessness={own}", "testbed:held-out-benign"], list(VoteMode), testbed=True)
    assert [each.conversation.turns[-1].content for each in found[HARMLESS]] == ["Mine?"]
    assert found[HELPFUL][0].place == "testbed:held-out-benign:1"
