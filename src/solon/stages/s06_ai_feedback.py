"""Stage 06-ai-feedback: a model says which of two replies is better (paper, section 4.1).

For each pair a principle is drawn at random; the feedback model reads the conversation, the principle and the replies
as options (A) and (B), behind worked examples that each carry a principle of their own; the log-probabilities of the
two letters, normalised against each other, are the label. In the reasoned form the model first thinks step by step, as
often as the recipe says, and its letters are read after what it wrote. A pair is shown in both orders and the two
log-odds are averaged, which takes out a judge's liking for a letter (or in one order, drawn per pair, as in the paper).
There may be several judges, asked one after another, and several axes, each with a principle of its own and a label of
its own beside the pair's. Nothing is made up: a pair that failed or whose replies are the same is not asked, and where
a judge gave no usable preference, a letter's probability missing or both letters equal to the last bit, the pair is
undecided and has no label.

What is asked is built in `comparison_questions`, letters are read in `letters`, a judge's answers are gathered in
`judgements`, and `labelling` makes them one label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pyarrow as pa

from solon import prompts
from solon.config.recipe import FeedbackForm, FeedbackSettings, OptionOrder, Recipe
from solon.constitution.constitution import Constitution
from solon.conversation import Role
from solon.engines.base import Engine
from solon.errors import StageError
from solon.evals.judge_check.as_judge import JudgeSetup, prompts_of
from solon.evals.judge_check.judge import CheckJudge
from solon.feedback.ask import STUB, bare_tokens
from solon.feedback.comparison_questions import (
    ComparisonPlan,
    UndecidedReason,
    few_shot_variants,
    orders,
    pair_key,
    why_not_asked,
    worked_reasoning,
)
from solon.feedback.judgements import JUDGEMENT, Judge, judge_pairs
from solon.feedback.label_quality import label_quality
from solon.feedback.label_quality import summary as quality_summary
from solon.feedback.labelling import AXIS_LABEL, axes_in, joined, label_of
from solon.feedback.letters import letter_tokens
from solon.runs import Artefact, Row, StageFolder
from solon.runs.rows import MESSAGES, STRING, PromptKind
from solon.stages.questions import QuestionKind
from solon.stages.registry import RESPONSE_PAIRS, in_round
from solon.stages.stage import Again, Edit, QuestionCount, Reads, Stage, Work

CODE = 1
"""The version of this stage's code; raised with every change that makes other rows of the same inputs."""
SCHEMA = pa.schema(
    [
        ("row_id", STRING),
        ("pair", pa.int64()),
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("p_chosen", pa.float64()),
        ("response_a", STRING),
        ("response_b", STRING),
        ("p_a", pa.float64()),
        ("p_a_unclamped", pa.float64()),
        ("log_odds_ab", pa.float64()),
        ("log_odds_ba", pa.float64()),
        ("principle_id", STRING),
        ("judge", STRING),
        ("axes", pa.list_(AXIS_LABEL)),
        ("judgements", pa.list_(JUDGEMENT)),
        ("outcome", STRING),
        ("undecided_because", STRING),
    ]
)
"""`judgements` holds what every judge said on every axis, `axes` the label of each axis."""
Load = Callable[[], Engine]
"""Loads a judge when its turn comes."""


class Pairs(Protocol):
    """Pairs of replies: the artefact of the stage response-pairs, or a file read from elsewhere."""

    def rows(self) -> list[Row]:
        """Rows with `row_id`, `pair`, `prompt`, `response_a`, `response_b` and `outcome`."""
        ...


@dataclass(frozen=True, slots=True)
class FeedbackInputs:
    """The run's seed, the constitution, the pairs (05-response-pairs), how many are judged at once, and a measure."""

    seed: int
    constitution: Constitution
    pairs: Pairs
    chunk: int = 128
    assess: CheckJudge | None = None
    """Measures a judge on questions with known answers, before its labels are asked; it may refuse the judge."""


def run(
    settings: FeedbackSettings, inputs: FeedbackInputs, judges: Engine | Sequence[Load], out: StageFolder
) -> Artefact:
    """Draw principles for each pair, ask every judge for the letters as `settings` say, publish the soft labels.

    Of several judges one is loaded at a time. Raises RecipeError for too few worked examples or an unknown axis, and
    StageError for a judge whose letters cannot be read.
    """
    questionnaire = ComparisonPlan.of(settings, inputs.constitution, inputs.seed)
    # Pairs with the same worked examples are judged together, so that an engine reads those once.
    pairs = sorted(inputs.pairs.rows(), key=questionnaire.variant)
    loads = judges if isinstance(judges, Sequence) else (lambda: judges,)
    said = [_ask_one(number, load, pairs, questionnaire, inputs, out) for number, load in enumerate(loads)]
    rows = [
        label_of(pair, [judgements[number] for judgements, _ in said], questionnaire)
        for number, pair in enumerate(pairs)
    ]
    told = [facts for _, facts in said]
    facts = {
        "judge": joined(each["name"] for each in told),
        "read": joined(each["read"] for each in told),
        "judges": told,
        "clamp": settings.bounds,
        "samples": settings.samples,
        "prefix_variants": settings.prefix_variants if settings.few_shot else 1,
        **label_facts(rows, inputs.constitution),
        **({"axes": axis_facts(rows)} if settings.axes else {}),
        **({"judge_check": told[0]["judge_check"]} if len(told) == 1 and "judge_check" in told[0] else {}),
    }
    return out.publish(rows, SCHEMA, facts=facts)


Said = tuple[list[list[Row]], dict[str, Any]]
"""A judge's judgements of every pair, one for each axis, and what is to be known of the judge."""


def _ask_one(
    number: int,
    load: Load,
    pairs: Sequence[Row],
    questionnaire: ComparisonPlan,
    inputs: FeedbackInputs,
    out: StageFolder,
) -> Said:
    """Have one judge measured, then asked about all pairs; both are durable."""
    judge = Judge.of(load())
    phase = "" if number == 0 else f" {number + 1}"
    facts: dict[str, Any] = {"name": judge.engine.name, "read": judge.engine.choosing, "letter_form": judge.form}
    if assess := inputs.assess:
        # Before the first label, so that nothing is spent on a judge that is refused; once done it is not done again.
        facts["judge_check"] = out.map(f"judge check{phase}", [0], lambda _: [dict(assess(judge.engine))], chunk=1)[0]

    def work(batch: Sequence[Row]) -> list[Row]:
        found = judge_pairs(batch, questionnaire, judge)
        if batch[0] is pairs[0]:
            _refuse_letterless(found, judge)
        return found

    rows = out.map(f"labels{phase}", pairs, work, chunk=inputs.chunk)
    judgements = [row["judgements"] for row in rows]
    masses = [each["letter_mass"] for row in judgements for each in row]
    facts["letter_mass"] = _mean([mass for mass in masses if mass is not None])
    return judgements, facts


def _refuse_letterless(rows: Sequence[Row], judge: Judge) -> None:
    """Raises StageError when none of the first pairs was answered by a letter, though the engine could tell."""
    asked = [each for row in rows for each in row["judgements"] if each["letter_mass"] is not None]
    if asked and all(each["undecided_because"] == UndecidedReason.LETTERLESS for each in asked):
        most = max(each["letter_mass"] for each in asked)
        raise StageError(
            f"the judge answers with no letter: after the first {len(rows)} pairs A and B have "
            f"at most {most:.2g} of the probability together",
            place=judge.engine.name,
            remedy="Show worked examples (--set feedback.few_shot=4), or take another (--set models.feedback=...)",
        )


def label_facts(rows: Sequence[Row], constitution: Constitution) -> dict[str, Any]:
    """Counts of labels: by why there is none, and by principle; `quality` says how good they look."""
    drawn = [axis["principle_id"] for row in rows for axis in axes_in(row)]
    whys = [row["undecided_because"] for row in rows if row["undecided_because"]]
    return {
        "pairs": len(rows),
        "undecided_because": {why.value: whys.count(why.value) for why in UndecidedReason if why.value in whys},
        "principles": {p.id: drawn.count(p.id) for p in constitution.preference},
        "quality": label_quality(rows, constitution),
    }


def axis_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """By axis: weight, how sure its labels are, the share undecided, how often it agrees with the pair's label."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(axis["axis"] for row in rows for axis in row["axes"]):
        labels = [(axis, row["p_a"]) for row in rows for axis in row["axes"] if axis["axis"] == name]
        told = [(axis["p_a"], p) for axis, p in labels if axis["p_a"] is not None]
        found[name] = {
            "weight": labels[0][0]["weight"],
            "undecided": 1 - len(told) / len(labels),
            "mean_p_chosen": _mean([max(own, 1 - own) for own, _ in told]),
            "agrees_with_the_pair": _mean([float((own > 0.5) == (p > 0.5)) for own, p in told if p is not None]),
        }
    return found


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


@dataclass(frozen=True, slots=True)
class LabelOverride:
    """Labels from elsewhere than a feedback model, for ablations that ask what other labels would do."""

    name: str
    label: Callable[[ComparisonPlan, FeedbackInputs, StageFolder], Artefact]


@dataclass(frozen=True)
class AiFeedback(Stage):
    """The stage as a run has it; `override` labels in place of the recipe's judges."""

    override: LabelOverride | None = None
    code = CODE
    by_constitution = True

    def settings(self, recipe: Recipe) -> FeedbackSettings:
        """See `Stage.settings`."""
        return recipe.feedback

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        """See `Stage.inputs`."""
        return (in_round(RESPONSE_PAIRS, self.round),)

    def reads(self, work: Work) -> Reads:
        """The judges, and what they are measured on."""
        if self.override is not None:
            return Reads(more={"labels": self.override.name})
        judges = enumerate(work.recipe.models.judges, start=1)
        named = {f"judge {n}" if n > 1 else "judge": work.model(judge) for n, judge in judges}
        return Reads(named, work.judge_check_key())

    def run(self, work: Work, out: StageFolder) -> Artefact:
        """See `Stage.run`."""
        recipe, pairs = work.recipe, work.artefact(in_round(RESPONSE_PAIRS, self.round))
        inputs = FeedbackInputs(recipe.seed, work.constitution, pairs, recipe.engine.batch_size, work.judge_check())
        if self.override is not None:
            plan = ComparisonPlan.of(recipe.feedback, work.constitution, recipe.seed)
            return self.override.label(plan, inputs, out)
        judges = [work.model(judge) for judge in recipe.models.judges]
        return run(recipe.feedback, inputs, [partial(work.engine, judge) for judge in judges], out)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        """See `Stage.summary`."""
        return () if self.override is not None else quality_summary(facts)

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """A letter for each pair, order, axis, sample and judge, and in the reasoned form a reasoning before it."""
        settings, models = recipe.feedback, recipe.models
        number = recipe.pairs.per_prompt * (2 if settings.order is OptionOrder.BOTH else 1)
        number *= len(models.judges) * (len(settings.axes) if settings.axes else 1) * settings.samples
        # The first of several judges stands for all.
        judge, about = models.judges[0] or models.assistant, (PromptKind.RED_TEAM,)
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
        """See `Stage.few`."""
        return recipe.model_copy(
            update={"models": recipe.models.model_copy(update={"feedback": recipe.models.judges[0]})}
        )

    def asked_again(self, edit: Edit) -> Again:
        """The pairs whose question changes; all of them when the pairs do."""
        everything = edit.touches(self.inputs(edit.work.recipe))
        pairs = edit.finished.get(in_round(RESPONSE_PAIRS, self.round))
        if pairs is None:
            return Again(everything)
        found = _labels_again(edit, pairs, everything=everything)
        # Later rounds have the judge's answers to questions with known answers from the first.
        if self.round > 1 or not (edit.finished[self.name].facts.get("judge_check") or {}).get("judge"):
            return found
        return Again(found.changed, tuple(_with_judge_check(edit, found.counts)))


def _beyond_prompt(recipe: Recipe, constitution: Constitution, engine: Engine) -> Mapping[Role, int]:
    """What a question holds at most beyond its prompt: examples, the longest principle, two replies, a reasoning."""
    replies = 2 * recipe.pairs.sampling.max_tokens - bare_tokens(engine)
    variants = few_shot_variants(recipe.feedback, constitution, recipe.seed)
    thoughts = worked_reasoning(recipe.feedback, constitution, recipe.seed)
    if thoughts is not None:
        asked = [prompts.reasoning(STUB, each, "", "", thoughts) for each in constitution.preference]
        verdict = max(engine.count_tokens(prompts.verdict(each, "")) for each in asked)
        return {
            Role.REASONING: max(map(engine.count_tokens, asked)) + replies,
            Role.ANSWER: verdict + recipe.feedback.reasoning.max_tokens + replies,
        }
    words = max(
        engine.count_tokens(prompts.comparison(STUB, principle, "", "", examples))
        for principle in constitution.preference
        for examples in variants
    )
    return {Role.ANSWER: words + replies}


def _labels_again(edit: Edit, pairs: Artefact, *, everything: bool) -> Again:
    """Questions to the judges that are asked again, by kind, and whether any label may change."""
    recipe = edit.work.recipe
    seed, settings = recipe.seed, recipe.feedback
    before, after = (ComparisonPlan.of(settings, each, seed) for each in (edit.before, edit.after))
    reasoned = settings.form is FeedbackForm.REASONED
    asked = again = 0
    changed = everything
    for pair in pairs.rows():
        variant = before.variant(pair)
        shown = before.reasoned != after.reasoned if reasoned else before.variants[variant] != after.variants[variant]
        count = len(orders(settings.order, seed, *pair_key(pair))) * settings.samples * len(recipe.models.judges)
        for drawn, now in zip(before.draws(pair), after.draws(pair), strict=True):
            changed |= drawn.principle.id != now.principle.id
            if why_not_asked(pair) is None:
                asked += count
                again += count if everything or shown or drawn.principle.instruction != now.principle.instruction else 0
    counts = [QuestionCount("letter", Role.ANSWER, asked, again)]
    if reasoned:
        counts.insert(0, QuestionCount("reasoning", Role.REASONING, asked, again))
    return Again(changed or again > 0, tuple(counts))


def _with_judge_check(edit: Edit, counts: Sequence[QuestionCount]) -> list[QuestionCount]:
    """The questions to the judge, those with known answers that it is measured on included."""
    recipe = edit.work.recipe
    before, after = (
        prompts_of(JudgeSetup(recipe.feedback, each, recipe.seed), edit.work.judge_questions(each))
        for each in (edit.before, edit.after)
    )
    more = len(after - before)
    return [QuestionCount(each.what, each.role, each.asked + len(before), each.again + more) for each in counts]
