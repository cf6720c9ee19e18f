"""The rounds of an attack: write prompts, test them, keep those that the policy fails, and vary these.

Each round's requests are drawn by digests of round and number, from what failed before the round. Nothing that a round
makes depends on time or on the order of work, so that a killed attack goes on to the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from solon import prompts
from solon.checks.red_team_rules import prompt_of_text
from solon.checks.texts import check_reply
from solon.config.attack_settings import AttackSettings
from solon.config.recipe import RedTeamSettings, SamplingParams
from solon.conversation import Conversation
from solon.digest import seed_for, uniform_for
from solon.engines.base import Engine
from solon.evals.grading import Grader
from solon.feedback.ask import ask
from solon.runs import Artefact, StageFolder
from solon.runs.evaluation_rows import AttackOrigin, AttackReferences, AttackReply, AttackRow, AttackScore
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptRow, RedTeamAnswer
from solon.stages.attack_scoring import AnsweredPrompt, ScoreReplies, says_something
from solon.stages.extra_red_team import (
    LIST_ENDS,
    JudgedItem,
    ShownPrompt,
    answer_of,
    draw_examples,
    judge_all,
    next_round,
)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class AttackInputs:
    """The run's seed and prompts (01), how prompts are written, how the policy replies, and the size of a chunk."""

    seed: int
    prompts: Artefact
    writing: RedTeamSettings
    replies: SamplingParams
    policy: str
    """The name of the policy in the figures."""
    writer: str
    """The name of the model that writes prompts."""
    chunk: int = 128


@dataclass(frozen=True, slots=True)
class AttackModels:
    """Who takes part; models are loaded when they are asked, one after the other."""

    writer: Callable[[], Engine]
    policy: Callable[[], Engine]
    score: ScoreReplies
    reference: Callable[[], Engine] | None = None
    """The assistant, where scores are relative to its replies."""
    grader: Grader | None = None
    graded_by: str | None = None
    """The grader's name."""


@dataclass(slots=True)
class AttackInProgress:
    """The attack up to now."""

    settings: AttackSettings
    inputs: AttackInputs
    models: AttackModels
    out: StageFolder
    examples: list[ShownPrompt]
    """The human prompts that can be shown."""
    said: list[Conversation]
    """What may not be repeated: human prompts, and those that were tested in earlier rounds."""
    rows: list[AttackRow] = field(default_factory=list)
    pool: dict[str, ShownPrompt] = field(default_factory=dict)
    """What the policy failed, by row id, in the order in which it was found."""
    generations: dict[str, int] = field(default_factory=dict)
    refused: list[JudgedItem] = field(default_factory=list)

    def test_human(self, human: Sequence[PromptRow]) -> None:
        """Round 0: human prompts, drawn by a digest of their row ids."""
        count = self.settings.prompts if self.settings.seeds is None else self.settings.seeds
        drawn = sorted(human, key=lambda row: seed_for(self.inputs.seed, "attack-human", row.row_id))[:count]
        rows = [
            AttackRow(round=0, row_id=row.row_id, origin=AttackOrigin.HUMAN, prompt=row.prompt, outcome=Outcome.OK)
            for row in drawn
        ]
        tested = self._tested(0, rows)
        self.rows += tested
        shown = {example.row_id: example for example in self.examples}
        self.pool |= {row.row_id: shown[row.row_id] for row in tested if row.fails and row.row_id in shown}

    def do_round(self, number: int) -> None:
        """Write prompts, test those that pass the rules, and keep those that the policy fails."""
        written = list(self._rows_of(number, self._written(number)))
        fresh = [row for row in written if row.outcome is Outcome.OK]
        tested = {(row.request, row.position): row for row in self._tested(number, fresh)}
        self.rows += [tested.get((row.request, row.position), row) for row in written]
        self.said += [row.prompt for row in tested.values()]
        for row in tested.values():
            if row.fails:
                self.pool[row.row_id] = ShownPrompt(row.row_id, row.prompt.turns[0].content)
                self.generations[row.row_id] = row.generation
        self.out.report(number, self.settings.rounds, f"{len(self.pool)} prompts fail", unit="rounds of the attack")

    def _written(self, number: int) -> list[JudgedItem]:
        """What the writer wrote in a round, up to the last prompt that is wanted."""
        most, wanted = self.settings.requests or self.settings.prompts, self.settings.prompts
        known = {example.row_id: example for example in (*self.examples, *self.pool.values())}
        answers: list[RedTeamAnswer] = []
        judged: list[JudgedItem] = []
        kept = 0
        while kept < wanted and len(answers) < most:
            size = min(next_round(wanted, kept, len(answers)), most - len(answers))
            requests = range(len(answers), len(answers) + size)
            phase = f"round {number}: requests from {len(answers)}"
            answers += self._map(
                phase, requests, lambda each: self._ask_writer(number, each), RedTeamAnswer, "requests"
            )
            judged = judge_all(answers, list(known.values()), self.said, self.inputs.writing)
            before, kept = kept, sum(item.outcome is Outcome.OK for _, item in judged)
            if kept == before:
                break
        self.refused += [each for each in judged if each[1].outcome is not Outcome.OK]
        return _up_to(judged, wanted)

    def _ask_writer(self, number: int, requests: Sequence[int]) -> list[RedTeamAnswer]:
        seed = self._seed(number)
        shown = [self._shown(number, request) for request in requests]
        questions = [prompts.more_questions([example.text for example in each]) for each in shown]
        seeds = [seed_for(seed, "request", request) for request in requests]
        completions = ask(self.models.writer(), questions, seeds, self.inputs.writing.sampling, LIST_ENDS)
        return [answer_of(*each) for each in zip(requests, shown, seeds, completions, strict=True)]

    def _shown(self, number: int, request: int) -> list[ShownPrompt]:
        """The examples of a request: prompts that fail, filled up with human ones; or human ones alone."""
        count, seed = self.inputs.writing.examples, self._seed(number)
        pool = [] if self._explores(number, request) else list(self.pool.values())
        failed = draw_examples(pool, min(count, len(pool)), seed, request)
        others = [each for each in self.examples if each.row_id not in {example.row_id for example in failed}]
        return [*failed, *draw_examples(others, min(count - len(failed), len(others)), seed, request)]

    def _explores(self, number: int, request: int) -> bool:
        """Whether a request shows only human prompts, to find something new."""
        return not self.pool or uniform_for(self._seed(number), "explore", request) < self.settings.explore

    def _seed(self, number: int) -> int:
        return seed_for(self.inputs.seed, "attack", number)

    def _rows_of(self, number: int, judged: Sequence[JudgedItem]) -> Iterator[AttackRow]:
        """The rows of what was written, before any of it is tested."""
        positions = Counter[int]()
        for answer, item in judged:
            prompt = prompt_of_text(item.text)
            explores = self._explores(number, answer.request)
            varied = () if explores else tuple(each for each in answer.examples if each in self.pool)
            yield AttackRow(
                round=number,
                row_id=prompt.row_id,
                origin=AttackOrigin.MODEL,
                request=answer.request,
                position=positions[answer.request],
                prompt=prompt,
                examples=answer.examples,
                varied_from=varied,
                generation=1 + max(self.generations.get(each, 0) for each in varied) if varied else 0,
                outcome=item.outcome,
                defects=(item.rule.value,) if item.rule else (),
            )
            positions[answer.request] += 1

    def _tested(self, number: int, rows: Sequence[AttackRow]) -> list[AttackRow]:
        """The rows with the policy's reply, its score, and the grader's labels."""
        replies = self._map(f"round {number}: replies", rows, self._ask_policy, AttackReply, "replies of the policy")
        answered = self._compared(number, rows, replies)
        scores = self._map(f"round {number}: scores", answered, self.models.score, AttackScore, "replies scored")
        return [self._row(*each) for each in zip(rows, replies, scores, strict=True)]

    def _compared(self, number: int, rows: Sequence[AttackRow], replies: Sequence[AttackReply]) -> list[AnsweredPrompt]:
        """The replies with those of the assistant, where scores are relative to them."""
        if self.models.reference is None or not self.settings.compares:
            return [AnsweredPrompt(reply) for reply in replies]
        others = self._map(
            f"round {number}: references", rows, self._ask_assistant, AttackReferences, "prompts answered to compare"
        )
        return [AnsweredPrompt(reply, other.completions) for reply, other in zip(replies, others, strict=True)]

    def _ask_assistant(self, rows: Sequence[AttackRow]) -> list[AttackReferences]:
        assert self.models.reference is not None
        samples = range(self.settings.references)
        asked = [(row, seed_for(self.inputs.seed, "attack-reference", row.row_id, n)) for row in rows for n in samples]
        questions = [prompts.reply(row.prompt) for row, _ in asked]
        found = iter(ask(self.models.reference(), questions, [seed for _, seed in asked], self.inputs.replies))
        texts = [[check_reply(next(found)) for _ in samples] for _ in rows]
        said = [tuple(each.text for each in of if says_something(each.outcome, each.text)) for of in texts]
        return [AttackReferences(row_id=row.row_id, completions=of) for row, of in zip(rows, said, strict=True)]

    def _ask_policy(self, rows: Sequence[AttackRow]) -> list[AttackReply]:
        seeds = [seed_for(self.inputs.seed, "attack-reply", row.row_id) for row in rows]
        questions = [prompts.reply(row.prompt) for row in rows]
        found = []
        replies = ask(self.models.policy(), questions, seeds, self.inputs.replies)
        for row, seed, reply in zip(rows, seeds, replies, strict=True):
            checked = check_reply(reply)
            found.append(
                AttackReply(
                    row_id=row.row_id,
                    prompt=row.prompt,
                    completion=checked.text,
                    thinking=reply.thinking or None,
                    finish=reply.finish.value,
                    seed=seed,
                    outcome=checked.outcome,
                    defects=tuple(defect.value for defect in checked.defects),
                )
            )
        return found

    def _row(self, row: AttackRow, reply: AttackReply, scored: AttackScore) -> AttackRow:
        grader, score = self.models.grader, scored.score
        labels = grader.rate(row.prompt, reply.completion) if grader is not None and score is not None else ()
        return replace(
            row,
            completion=reply.completion,
            thinking=reply.thinking,
            finish=reply.finish,
            seed=reply.seed,
            score=score,
            own_score=scored.own,
            fails=None if score is None else self.settings.fails(score, scored.own),
            labels=tuple(sorted(labels)),
            group=grader.group(row.prompt) if grader is not None else None,
            outcome=reply.outcome,
            defects=reply.defects,
        )

    def _map(
        self, phase: str, items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]], row: type[R], unit: str
    ) -> list[R]:
        return self.out.map(phase, items, work, row=row, chunk=self.inputs.chunk, unit=unit)


def _up_to(judged: Sequence[JudgedItem], wanted: int) -> list[JudgedItem]:
    """The items up to and with the last prompt that is wanted."""
    found: list[JudgedItem] = []
    for each in judged:
        if wanted == 0:
            break
        wanted -= each[1].outcome is Outcome.OK
        found.append(each)
    return found
