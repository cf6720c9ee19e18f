"""Stage 06-ai-feedback: a model says which of two replies is better (paper, section 4.1).

For each pair a principle is drawn at random; the feedback model reads the conversation, the principle and the replies
as options (A) and (B), behind worked examples that each carry a principle of their own; the log-probabilities of the
two letters, normalised against each other, are the label. In the reasoned form the model first thinks step by step, as
often as the recipe says, and its letters are read after what it wrote. A pair is shown in both orders and the two
log-odds are averaged, which takes out a judge's liking for a letter (or in one order, drawn per pair, as in the paper).
There may be several judges, asked one after another, and several axes, each with a principle of its own and a label of
its own besides the pair's. Nothing is made up: the judge is not asked about a pair that failed or has two equal
replies. Where a judge gives no usable preference (a letter has no probability, or both have exactly the same), the pair
is undecided and has no label.

What is asked is built in `solon.feedback.comparisons`, letters are read in `solon.feedback.letters`, and
`solon.feedback.soft_labels` makes a label of a judge's answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from solon import prompts
from solon.config.recipe import FeedbackForm, FeedbackSettings, OptionOrder, Recipe
from solon.constitution.constitution import Constitution
from solon.conversation import Role
from solon.engines.base import Engine, TokenBudget, count_many
from solon.errors import StageError
from solon.evals.judge_check.as_judge import JudgeSetup, prompts_of
from solon.evals.judge_check.judge import CheckJudge
from solon.feedback.ask import STUB, bare_tokens
from solon.feedback.comparisons import ComparisonPlan, PlannedPair, UndecidedReason, few_shot_variants, worked_reasoning
from solon.feedback.label_quality import axis_facts, label_quality, mean_or_none
from solon.feedback.label_quality import summary as quality_summary
from solon.feedback.letters import letter_tokens
from solon.feedback.soft_labels import Judge, axes_in, joined, judge_pairs, label_of
from solon.runs import Artefact, StageFolder
from solon.runs.facts import FeedbackFacts, JudgeFacts
from solon.runs.records import from_record
from solon.runs.rows import JudgeCheckRow, JudgedRow, Judgement, LabelRow, PairRow, Rows
from solon.stages.plan import RESPONSE_PAIRS, in_round
from solon.stages.questions import QuestionKind
from solon.stages.s05_response_pairs import paired_kinds
from solon.stages.stage import Again, ConstitutionEdit, QuestionCount, Stage, StageDependencies, Work

Load = Callable[[], Engine]
"""Loads a judge when its turn comes."""


@dataclass(frozen=True, slots=True)
class FeedbackInputs:
    """The run's seed, the constitution, the pairs (05-response-pairs, or a file's), how many are judged at once.

    `assess` measures a judge on questions with known answers, before its labels are asked; it may refuse the judge.
    """

    seed: int
    constitution: Constitution
    pairs: Rows[PairRow]
    chunk: int = 128
    assess: CheckJudge | None = None


def run(
    settings: FeedbackSettings, inputs: FeedbackInputs, judges: Engine | Sequence[Load], out: StageFolder
) -> Artefact:
    """Draw principles for each pair, ask every judge for the letters as `settings` say, publish the soft labels.

    Of several judges one is loaded at a time. Raises RecipeError for too few worked examples or an unknown axis, and
    StageError when the letters of a judge cannot be read.
    """
    plan = ComparisonPlan.of(settings, inputs.constitution, inputs.seed)
    # Pairs with the same worked examples are judged together, so that an engine reads those once.
    pairs = sorted(map(plan.planned, inputs.pairs.rows(PairRow)), key=lambda planned: planned.variant)
    loads = judges if isinstance(judges, Sequence) else (lambda: judges,)
    asked = [_ask_one(number, load, pairs, plan, inputs, out) for number, load in enumerate(loads)]
    rows = [
        label_of(planned, [judgements[number] for judgements, _ in asked], plan) for number, planned in enumerate(pairs)
    ]
    return out.publish(rows, LabelRow, facts=_facts(settings, rows, [each for _, each in asked], inputs).record())


def _facts(
    settings: FeedbackSettings, rows: Sequence[LabelRow], judges: Sequence[JudgeFacts], inputs: FeedbackInputs
) -> FeedbackFacts:
    drawn = Counter(axis.principle_id for row in rows for axis in axes_in(row))
    reasons = Counter(row.undecided_because for row in rows if row.undecided_because)
    return FeedbackFacts(
        judge=joined(each.name for each in judges),
        read=joined(each.read for each in judges),
        judges=tuple(judges),
        clamp=settings.bounds,
        samples=settings.samples,
        prefix_variants=settings.prefix_variants if settings.few_shot else 1,
        pairs=len(rows),
        undecided_because={why.value: reasons[why.value] for why in UndecidedReason if reasons[why.value]},
        principles={principle.id: drawn[principle.id] for principle in inputs.constitution.preference},
        quality=label_quality(rows, inputs.constitution),
        axes=axis_facts(rows) if settings.axes else None,
        judge_check=judges[0].judge_check if len(judges) == 1 else None,
    )


JudgedPairs = tuple[list[tuple[Judgement, ...]], JudgeFacts]
"""A judge's judgements of every pair, one for each axis, and the facts about the judge."""


def _ask_one(
    number: int,
    load: Load,
    pairs: Sequence[PlannedPair],
    plan: ComparisonPlan,
    inputs: FeedbackInputs,
    out: StageFolder,
) -> JudgedPairs:
    """Have one judge measured, then asked about all pairs; both are durable."""
    judge = Judge.of(load())
    phase = "" if number == 0 else f" {number + 1}"
    by = phase and f" by judge{phase}"
    checked: Mapping[str, Any] | None = None
    if assess := inputs.assess:
        # Before the first label, so that nothing is spent on a judge that is refused; it is done once.
        def check(_: Sequence[int]) -> list[JudgeCheckRow]:
            return [from_record(JudgeCheckRow, assess(judge.engine))]

        checked = out.map(f"judge check{phase}", [0], check, row=JudgeCheckRow, chunk=1, unit="judge checks")[0].facts()

    def work(batch: Sequence[PlannedPair]) -> list[JudgedRow]:
        rows = judge_pairs(batch, plan, judge)
        if batch[0] is pairs[0]:
            _refuse_letterless(rows, judge)
        return rows

    rows = out.map(f"labels{phase}", pairs, work, row=JudgedRow, chunk=inputs.chunk, unit=f"pairs judged{by}")
    judgements = [row.judgements for row in rows]
    masses = [each.letter_mass for of_pair in judgements for each in of_pair]
    return judgements, JudgeFacts(
        name=judge.engine.name,
        read=judge.engine.choosing.value,
        letter_form=judge.form.value,
        judge_check=checked,
        letter_mass=mean_or_none([mass for mass in masses if mass is not None]),
    )


def _refuse_letterless(rows: Sequence[JudgedRow], judge: Judge) -> None:
    """Raises StageError when none of the first pairs was answered by a letter, though the engine has log-probs."""
    read = [(each, each.letter_mass) for row in rows for each in row.judgements if each.letter_mass is not None]
    if read and all(each.undecided_because == UndecidedReason.LETTERLESS for each, _ in read):
        raise StageError(
            f"the judge does not answer with a letter: after the first {len(rows)} pairs A and B have "
            f"at most {max(mass for _, mass in read):.2g} of the probability together",
            place=judge.engine.name,
            remedy="Show worked examples (--set feedback.few_shot=4), or take another (--set models.feedback=...)",
        )


@dataclass(frozen=True, slots=True)
class LabelOverride:
    """Labels that no feedback model made, for ablations that compare labels."""

    name: str
    label: Callable[[ComparisonPlan, FeedbackInputs, StageFolder], Artefact]


@dataclass(frozen=True)
class AiFeedback(Stage):
    """The stage as a run has it; `override` labels in place of the recipe's judges."""

    override: LabelOverride | None = None
    by_constitution = True
    section = "feedback"

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        return (in_round(RESPONSE_PAIRS, self.round),)

    def reads(self, work: Work) -> StageDependencies:
        """The judges, and what they are measured on."""
        if self.override is not None:
            return StageDependencies(more={"labels": self.override.name})
        judges = enumerate(work.recipe.models.judges, start=1)
        named = {f"judge {n}" if n > 1 else "judge": work.model(judge) for n, judge in judges}
        return StageDependencies(named, work.judge_check_key())

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe, pairs = work.recipe, work.artefact(in_round(RESPONSE_PAIRS, self.round))
        inputs = FeedbackInputs(recipe.seed, work.constitution, pairs, recipe.engine.batch_size, work.judge_check())
        if self.override is not None:
            plan = ComparisonPlan.of(recipe.feedback, work.constitution, recipe.seed)
            return self.override.label(plan, inputs, out)
        judges = [work.model(judge) for judge in recipe.models.judges]
        return run(recipe.feedback, inputs, [partial(work.engine, judge) for judge in judges], out)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        return () if self.override is not None else quality_summary(facts)

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """A letter for each pair, order, axis, sample and judge, and in the reasoned form a reasoning before it."""
        settings, models = recipe.feedback, recipe.models
        number = recipe.pairs.per_prompt * (2 if settings.order is OptionOrder.BOTH else 1)
        number *= len(models.judges) * (len(settings.axes) if settings.axes else 1) * settings.samples
        # The first of several judges stands for all.
        judge, about = models.judges[0] or models.assistant, paired_kinds(recipe)
        letter = QuestionKind(
            "comparison",
            "letters",
            Role.ANSWER,
            judge,
            about,
            number,
            0,
            lambda constitution, engine: _beyond_prompt(recipe, constitution, engine)[Role.ANSWER],
            letter_tokens,
        )
        if settings.form is FeedbackForm.LETTER:
            return (letter,)
        reasoning = QuestionKind(
            "reasoning",
            "reasonings",
            Role.REASONING,
            judge,
            about,
            number,
            settings.reasoning.max_tokens,
            lambda constitution, engine: _beyond_prompt(recipe, constitution, engine)[Role.REASONING],
        )
        return reasoning, letter

    def known_answers(self, work: Work) -> Mapping[str, int]:
        """The comparisons that the judge is measured on."""
        settings = work.recipe.feedback
        asked = work.judge_questions(work.constitution).count(2 if settings.order is OptionOrder.BOTH else 1)
        return dict.fromkeys((kind.name for kind in self.questions(work.recipe)), asked)

    def few(self, recipe: Recipe) -> Recipe:
        return recipe.model_copy(
            update={"models": recipe.models.model_copy(update={"feedback": recipe.models.judges[0]})}
        )

    def asked_again(self, edit: ConstitutionEdit) -> Again:
        """The pairs that get another question; all of them when the pairs change."""
        everything = edit.touches(self.inputs(edit.work.recipe))
        pairs = edit.finished.get(in_round(RESPONSE_PAIRS, self.round))
        if pairs is None:
            return Again(everything)
        found = _labels_again(edit, pairs, everything=everything)
        # Later rounds have the judge's answers to questions with known answers from the first.
        if self.round > 1 or not (edit.finished[self.name].facts.get("judge_check") or {}).get("judge"):
            return found
        return Again(found.changed, tuple(_with_judge_check(edit, found.counts)))


def _beyond_prompt(recipe: Recipe, constitution: Constitution, engine: TokenBudget) -> Mapping[Role, int]:
    """What a question holds at most beyond its prompt: examples, the longest principle, two replies, a reasoning."""
    replies = 2 * recipe.pairs.sampling.max_tokens - bare_tokens(engine)
    variants = few_shot_variants(recipe.feedback, constitution, recipe.seed)
    thoughts = worked_reasoning(recipe.feedback, constitution, recipe.seed)
    if thoughts is not None:
        asked = [prompts.reasoning(STUB, each, "", "", thoughts) for each in constitution.preference]
        verdict = max(count_many(engine, [prompts.verdict(each, "") for each in asked]))
        return {
            Role.REASONING: max(count_many(engine, asked)) + replies,
            Role.ANSWER: verdict + recipe.feedback.reasoning.max_tokens + replies,
        }
    compared = [
        prompts.comparison(STUB, principle, "", "", examples)
        for principle in constitution.preference
        for examples in variants
    ]
    return {Role.ANSWER: max(count_many(engine, compared)) + replies}


def _labels_again(edit: ConstitutionEdit, pairs: Artefact, *, everything: bool) -> Again:
    """Questions to the judges that are asked again, by kind, and whether any label may change."""
    recipe = edit.work.recipe
    seed, settings = recipe.seed, recipe.feedback
    before, after = (ComparisonPlan.of(settings, each, seed) for each in (edit.before, edit.after))
    reasoned = settings.form is FeedbackForm.REASONED
    asked = again = 0
    changed = everything
    for pair in pairs.rows(PairRow):
        old, new = before.planned(pair), after.planned(pair)
        variant = old.variant
        shown = before.reasoned != after.reasoned if reasoned else before.variants[variant] != after.variants[variant]
        count = len(old.orders) * settings.samples * len(recipe.models.judges)
        for drawn, now in zip(old.draws, new.draws, strict=True):
            changed |= drawn.principle.id != now.principle.id
            if old.undecided is None:
                asked += count
                again += count if everything or shown or drawn.principle.instruction != now.principle.instruction else 0
    counts = [QuestionCount("letter", Role.ANSWER, asked, again)]
    if reasoned:
        counts.insert(0, QuestionCount("reasoning", Role.REASONING, asked, again))
    return Again(changed or again > 0, tuple(counts))


def _with_judge_check(edit: ConstitutionEdit, counts: Sequence[QuestionCount]) -> list[QuestionCount]:
    """The questions to the judge, those with known answers that it is measured on included."""
    recipe = edit.work.recipe
    before, after = (
        prompts_of(JudgeSetup(recipe.feedback, each, recipe.seed), edit.work.judge_questions(each))
        for each in (edit.before, edit.after)
    )
    more = len(after - before)
    return [QuestionCount(each.what, each.role, each.asked + len(before), each.again + more) for each in counts]
