"""Comparisons without people: a prompt file takes the place of the user, and a judge that of the voter.

Which prompts are used in which conversation depends only on the seed, the mode, the models and the judge. So do the ids
of the conversations: the same command continues where it stopped, and a larger number adds to what is there. Work goes
in chunks: all turns of a chunk are saved, then all replies, then all votes, each model asked in one call. The file of
votes keeps the prompts, the sampling and what the judge chooses by; the same judge with others needs another file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from solon.comparisons.comparison_judges import ComparisonJudge, ReplyPairAsked
from solon.comparisons.hidden_models import HiddenModels
from solon.comparisons.pair_draws import drawn_order
from solon.comparisons.turn_taking import Course, CourseStep, SentTurn, TurnTaking
from solon.comparisons.vote_rows import ComparedTurn, KeptSetting, VoteMode
from solon.digest import digest
from solon.errors import InputError
from solon.runs import Progress, Report
from solon.runs.progress import Pace


@dataclass(frozen=True, slots=True)
class SimulatedPlan:
    """How many conversations of each mode, with how many turns."""

    modes: tuple[VoteMode, ...]
    conversations: int = 100
    turns: int = 1
    chunk: int = 32
    """Conversations that go on together."""


def simulate(
    taking: TurnTaking, models: HiddenModels, judge: ComparisonJudge, plan: SimulatedPlan, report: Report
) -> list[ComparedTurn]:
    """Hold the conversations and cast every vote that is missing; returns the turns on which conversations ended early.

    `report` is told how many of all votes there are. Raises InputError for a mode without prompts, or with other
    prompts, sampling or principle than the judge's votes that are there, and what the engines raise.
    """
    if without := [mode for mode in plan.modes if not taking.prompts.get(mode)]:
        raise InputError(f"there are no prompts for {without[0]}", remedy=f"Give --prompts {without[0]}=FILE")
    taking.store.keep([models.kept_sampling(), *(each for mode in plan.modes for each in _kept(taking, judge, mode))])
    pace, done = Pace(), 0
    ended: list[ComparedTurn] = []

    def show() -> None:
        total = len(plan.modes) * plan.conversations * plan.turns
        report(Progress(votes_by(judge), "", done, total, unit="votes", rate=pace.rate(done)))

    show()
    for mode in plan.modes:
        ids = [
            digest(taking.seed, "simulated conversation", mode, sorted(taking.models), judge.name, place)[:16]
            for place in range(plan.conversations)
        ]
        texts = _SimulatedUser(taking, mode)
        for start in range(0, len(ids), plan.chunk):
            chunk = range(start, min(start + plan.chunk, len(ids)))
            for place in chunk:
                taking.begin(mode, judge.kind, judge.name, ids[place])
            for number in range(1, plan.turns + 1):
                asked = {ids[place]: place * plan.turns + number - 1 for place in chunk}
                _one_turn(taking, models, judge, number, {id_: texts.turn(place) for id_, place in asked.items()})
                done += len(chunk)
                show()
            courses = (taking.course(ids[place]) for place in chunk)
            ended += [each.open for each in courses if each.step is CourseStep.FAILED and each.open is not None]
    return ended


def _kept(taking: TurnTaking, judge: ComparisonJudge, mode: VoteMode) -> list[KeptSetting]:
    """What decides the votes of a mode beside the models."""
    prompts = [each.conversation.row_id for each in taking.prompts[mode]]
    whose = f"of {judge.name} for {mode}"
    return [
        KeptSetting(name=f"choice {whose}", value=judge.chooses_by(mode)),
        KeptSetting(name=f"set of prompts {whose}", value=f"{len(prompts)} prompts, {digest(*prompts)[:12]}"),
    ]


def votes_by(judge: ComparisonJudge) -> str:
    """The name of this work, as a display shows it."""
    return f"votes by {judge.name}"


class _SimulatedUser:
    """Takes the prompts of a mode in a drawn order, again from the first one after the last."""

    def __init__(self, taking: TurnTaking, mode: VoteMode) -> None:
        self.prompts = taking.prompts[mode]
        self.order = drawn_order([each.conversation.row_id for each in self.prompts], taking.seed, mode)

    def turn(self, place: int) -> SentTurn:
        prompt = self.prompts[self.order[place % len(self.order)]]
        return SentTurn(0, prompt.conversation.turns[-1].content, prompt)


def _one_turn(
    taking: TurnTaking, models: HiddenModels, judge: ComparisonJudge, number: int, texts: Mapping[str, SentTurn]
) -> None:
    """Turn `number` of each conversation that has come so far: what is missing of turn, replies and vote."""
    for id_, sent in texts.items():
        course = taking.course(id_)
        if course.step is CourseStep.WRITE and course.number == number:
            taking.send(id_, SentTurn(number, sent.text, sent.prompt))
    waiting = _at(taking, texts, number, CourseStep.WAIT)
    for turn in models.answered([course.asked() for course in waiting]):
        taking.store.fill(turn)
    open_ = _at(taking, texts, number, CourseStep.VOTE)
    pairs = [_pair(course) for course in open_]
    if not pairs:
        return
    for course, decision in zip(open_, judge.decide(open_[0].conversation.mode, pairs), strict=True):
        taking.vote(course.conversation.id, number, decision)


def _at(taking: TurnTaking, ids: Iterable[str], number: int, step: CourseStep) -> list[Course]:
    courses = (taking.course(id_) for id_ in ids)
    return [course for course in courses if course.step is step and course.number == number]


def _pair(course: Course) -> ReplyPairAsked:
    asked = course.asked()
    return ReplyPairAsked(asked.prompt, asked.turn.reply_a or "", asked.turn.reply_b or "")
