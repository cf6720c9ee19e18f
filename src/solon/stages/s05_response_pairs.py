"""Stage 05-response-pairs: the SL-CAI model answers red-team prompts, or all prompts, twice (paper, section 4.1).

Both replies are sampled in the same way and differ only in their seeds, so the place in the pair says nothing about
quality. A prompt may get several pairs, numbered from 1: few prompts then still give many labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.recipe import PairedPrompts, PairSettings, Recipe, SamplingParams
from solon.conversation import Role
from solon.digest import seed_for
from solon.engines.base import Completion, Engine
from solon.feedback.ask import ask
from solon.runs import Artefact, StageFolder
from solon.runs.outcome import Outcome, count_defects
from solon.runs.rows import HELD_OUT_KINDS, TRAINING_KINDS, PairRow, PromptKind, PromptRow, Rows, good, good_of
from solon.stages.plan import PROMPTS, SL_CAI, policies_of, prompts_of
from solon.stages.questions import REPLY, QuestionKind
from solon.stages.stage import Again, ConstitutionEdit, JoinedRows, QuestionCount, Stage, Work


@dataclass(frozen=True, slots=True)
class PairInputs:
    """The run's seed, the prompts (01-prompts and later ones), how many are made durable at once, and which kinds.

    `first` is the number of a prompt's first pair: a later round goes on counting, and so draws other replies.
    """

    seed: int
    prompts: Rows[PromptRow]
    chunk: int = 128
    kinds: tuple[PromptKind, ...] = (PromptKind.RED_TEAM,)
    first: int = 1


@dataclass(frozen=True, slots=True)
class AnswerTwice:
    """Answers each prompt twice, a chunk at a time; it can be sent to another process where the engine can."""

    engine: Engine
    sampling: SamplingParams
    seed: int

    def __call__(self, batch: Sequence[tuple[PromptRow, int]]) -> list[PairRow]:
        """The rows of these prompts' pairs."""
        questions = [prompts.reply(row.prompt) for row, _ in batch for _ in "ab"]
        drawn = [(row.row_id, number, place) for row, number in batch for place in "ab"]
        seeds = [seed_for(self.seed, "response-pairs", *each) for each in drawn]
        replies = ask(self.engine, questions, seeds, self.sampling)
        return [_row(*each, seeds[2 * i : 2 * i + 2], replies[2 * i : 2 * i + 2]) for i, each in enumerate(batch)]


def paired_kinds(recipe: Recipe) -> tuple[PromptKind, ...]:
    """The kinds of the training prompts that get pairs."""
    return TRAINING_KINDS if recipe.pairs.prompts is PairedPrompts.ALL else (PromptKind.RED_TEAM,)


def run(settings: PairSettings, inputs: PairInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Draw two replies for each pair of each prompt of the kinds in question, check both, publish the pairs."""
    numbers = range(inputs.first, inputs.first + settings.per_prompt)
    wanted = [(row, number) for row in good_of(inputs.prompts.rows(PromptRow), *inputs.kinds) for number in numbers]
    work = AnswerTwice(engine, settings.sampling, inputs.seed)
    rows = out.map("pairs", wanted, work, row=PairRow, chunk=inputs.chunk, unit="pairs of replies")
    same = sum(row.response_a == row.response_b for row in good(rows))
    facts = {"engine": engine.name, "identical": same, "defects": count_defects(row.defects for row in rows)}
    return out.publish(rows, PairRow, facts=facts)


def _row(prompt: PromptRow, number: int, seeds: Sequence[int], replies: Sequence[Completion]) -> PairRow:
    a, b = (check_reply(reply) for reply in replies)
    failed = [checked.outcome for checked in (a, b) if checked.outcome is not Outcome.OK]
    return PairRow(
        row_id=prompt.row_id,
        pair=number,
        prompt=prompt.prompt,
        kind=prompt.kind,
        response_a=a.text,
        response_b=b.text,
        thinking_a=replies[0].thinking or None,
        thinking_b=replies[1].thinking or None,
        seed_a=seeds[0],
        seed_b=seeds[1],
        finish_a=replies[0].finish.value,
        finish_b=replies[1].finish.value,
        outcome=failed[0] if failed else Outcome.OK,
        defects=tuple(defect.value for checked in (a, b) for defect in checked.defects),
    )


@dataclass(frozen=True)
class ResponsePairs(Stage):
    """The stage as a run has it: replies of SL-CAI, and from the second round on of the policy of the round before."""

    section = "pairs"

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        policy = SL_CAI if self.round == 1 else policies_of(recipe)[self.round - 2]
        return *prompts_of(recipe, self.round), policy

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe = work.recipe
        first = 1 + (self.round - 1) * recipe.pairs.per_prompt
        asked = JoinedRows([work.artefact(name) for name in prompts_of(recipe, self.round)])
        inputs = PairInputs(recipe.seed, asked, recipe.engine.batch_size, paired_kinds(recipe), first)
        policy = work.policy(self.inputs(recipe)[-1])
        return run(recipe.pairs, inputs, work.engine(policy), out)

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """Every prompt by itself, twice for each pair, to the policy; the assistant stands in for it."""
        settings, about = recipe.pairs, paired_kinds(recipe)
        number, most, assistant = 2 * settings.per_prompt, settings.sampling.max_tokens, recipe.models.assistant
        return (QuestionKind(REPLY, "replies", Role.ASSISTANT, assistant, about, number, most, own_share=0.0),)

    def asked_again(self, edit: ConstitutionEdit) -> Again:
        """All replies when the policy changes."""
        changed = edit.touches(self.inputs(edit.work.recipe))
        replies = 2 * edit.finished[self.name].manifest.rows
        return Again(changed, (QuestionCount(REPLY, Role.ASSISTANT, replies, replies if changed else 0),))


PAIRS_MEASURED = 4
"""Pairs of replies to each held-out prompt that preference models are compared on."""


@dataclass(frozen=True)
class HeldOutPairs(Stage):
    """An extra stage: pairs of replies of SL-CAI to held-out prompts."""

    def settings(self, recipe: Recipe) -> PairSettings:
        return recipe.pairs.model_copy(update={"per_prompt": PAIRS_MEASURED})

    needs = PROMPTS, SL_CAI

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe = work.recipe
        inputs = PairInputs(recipe.seed, work.artefact(PROMPTS), recipe.engine.batch_size, HELD_OUT_KINDS)
        return run(self.settings(recipe), inputs, work.engine(work.policy(SL_CAI)), out)
