"""How many calls a run makes, of how many tokens, and how long they take: arithmetic on a recipe and a few measures.

Calls are counted as if every text passed its checks, so their number is an upper bound; the bound on tokens takes every
text of a model at its limit, the estimate takes the lengths that a rehearsal saw. Time is tokens over measured speed.
Worked examples count as tokens of every prompt, because a server bills them, but the local engine reads them once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from solon.config.recipe import Algorithm, FeedbackForm, Method, OptionOrder, Recipe, RevisionMode, RevisionsUsed
from solon.conversation import Role
from solon.evals.results import (
    AI_FEEDBACK,
    CRITIQUE_REVISION,
    HELD_OUT_MODEL,
    MEASURE,
    OF_A_ROUND,
    PREFERENCE_MODEL,
    RESPONSE_PAIRS,
    RESPONSES,
    RL_CAI,
    RLHF,
    SL_CAI,
    in_round,
    policies_of,
    stages_of,
)
from solon.runs.rows import HELD_OUT_KINDS, TRAINING_KINDS, PromptKind

GIVEN = 2
"""Models that are measured and not trained: pretrained and assistant."""
LEARNING_COST = 3
"""A token that is learnt takes as long as so many that are read: the forward pass once, the backward pass twice."""
RL_READS = {Algorithm.PPO: 3, Algorithm.RLOO: 2}
"""Times that a rollout is read beside being learned from: by preference model, reference and, for PPO, value model."""


@dataclass(frozen=True, slots=True)
class Size:
    """The prompts of one kind: how many, their tokens together, and the tokens of the longest."""

    count: int
    tokens: int
    longest: int

    @property
    def mean(self) -> float:
        """Tokens of a prompt."""
        return self.tokens / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Mean lengths that a rehearsal saw of one kind of question, in tokens."""

    beside: float
    """What a question holds beside the prompt that it is about, worked examples included."""
    shared: float
    """Worked examples alone."""
    completion: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second of one model, at the recipe's batch size."""

    reading: float
    writing: float


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate and an upper bound."""

    estimate: int
    bound: int


@dataclass(frozen=True, slots=True)
class Calls:
    """One kind of call of one stage."""

    stage: str
    what: str
    calls: int
    prompt: Range
    completion: Range
    seconds: float


@dataclass(frozen=True, slots=True)
class Learning:
    """What one stage learns from: tokens, counted once per epoch, and the time that takes."""

    stage: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CostInputs:
    """All that the arithmetic needs to know beside the recipe."""

    sizes: Mapping[PromptKind, Size]
    beside: Mapping[Role, int]
    """The most that a question holds beside its prompt (`solon.pipeline.token_budget.tokens_beside`)."""
    seen: Mapping[Role, Seen]
    speeds: Mapping[Role, Speed]
    """Of the model that answers in a role."""
    plain_questions: Mapping[Role, int]
    """Questions with known answers that are asked of a critic and a judge where no rater knows the truth."""
    human_comparisons: int


def calls_of(recipe: Recipe, measured: CostInputs) -> list[Calls]:
    """Every kind of call of a whole run, in the order of the stages."""
    red, helpful = (measured.sizes[kind] for kind in TRAINING_KINDS)
    held_out = [measured.sizes[kind] for kind in HELD_OUT_KINDS]
    replies, pairs, rl, last = recipe.responses, recipe.pairs, recipe.rl, recipe.measure
    steps = recipe.revision.steps
    feedback = recipe.feedback
    judged = len(recipe.models.judges) * (len(feedback.axes) if feedback.axes else 1) * feedback.samples
    asked = pairs.per_prompt * (2 if feedback.order is OptionOrder.BOTH else 1) * judged
    share = rl.red_team_share
    rollouts = _rollouts(recipe)
    drawn = round(rollouts * (share * red.mean + (1 - share) * helpful.mean))
    longest = rollouts * max(red.longest, helpful.longest)
    measured_models = GIVEN + len(policies_of(recipe)) + (recipe.method is Method.CAI)
    count = _Counter(recipe, measured)
    every = [
        count.replies(RESPONSES, "replies to red-team prompts", red, 1, replies.sampling.max_tokens),
        count.replies(
            RESPONSES, "replies to helpful prompts", helpful, replies.helpful_samples, replies.sampling.max_tokens
        ),
        count.questions(CRITIQUE_REVISION, "critiques", Role.CRITIQUE, steps, recipe.revision.critique.max_tokens),
        count.questions(CRITIQUE_REVISION, "revisions", Role.REVISION, steps, recipe.revision.revision.max_tokens),
        count.replies(RESPONSE_PAIRS, "replies", red, 2 * pairs.per_prompt, pairs.sampling.max_tokens),
        count.questions(AI_FEEDBACK, "reasonings", Role.REASONING, asked, feedback.reasoning.max_tokens),
        count.questions(AI_FEEDBACK, "letters", Role.ANSWER, asked, 0),
        count.made(RL_CAI, "replies", Role.ASSISTANT, (rollouts, drawn, longest), rl.sampling.max_tokens),
        *(
            count.replies(
                MEASURE, f"replies to held-out {what} prompts", size, measured_models, last.sampling.max_tokens
            )
            for what, size in zip(("harmful", "benign"), held_out, strict=True)
        ),
    ]
    every += [
        replace(each, stage=in_round(each.stage, number))
        for number in range(2, recipe.rounds + 1)
        for each in every
        if each.stage in OF_A_ROUND
    ]
    if recipe.method is Method.RLHF:
        every = [replace(each, stage=RLHF) if each.stage == RL_CAI else each for each in every]
    unasked = {"critiques"} if recipe.revision.mode is RevisionMode.DIRECT else set()
    unasked |= {"reasonings"} if feedback.form is FeedbackForm.LETTER else set()
    asked_in = stages_of(recipe)
    asked_for = [each for each in every if each.what not in unasked and each.calls and each.stage in asked_in]
    return sorted(asked_for, key=lambda each: asked_in.index(each.stage))


@dataclass(frozen=True, slots=True)
class _Counter:
    recipe: Recipe
    measured: CostInputs

    def replies(self, stage: str, what: str, size: Size, each: int, limit: int) -> Calls:
        """`each` replies to every prompt of a size."""
        return self.made(
            stage, what, Role.ASSISTANT, (size.count * each, size.tokens * each, size.tokens * each), limit
        )

    def questions(self, stage: str, what: str, role: Role, each: int, limit: int) -> Calls:
        """`each` questions about every red-team prompt, and the plain ones."""
        size, plain = self.measured.sizes[PromptKind.RED_TEAM], self.measured.plain_questions.get(role, 0)
        tokens = size.tokens * each + round(plain * size.mean)
        return self.made(stage, what, role, (size.count * each + plain, tokens, tokens), limit)

    def made(self, stage: str, what: str, role: Role, about: tuple[int, int, int], limit: int) -> Calls:
        """`about`: calls, and the tokens of the prompts that they are about, as an estimate and at most."""
        calls, tokens, most = about
        beside = self.measured.beside.get(role, 0)
        seen = self.measured.seen.get(role) or Seen(beside, 0.0, limit)
        prompt = Range(round(tokens + calls * seen.beside), most + calls * beside)
        completion = Range(round(calls * min(seen.completion, limit)), calls * limit)
        speed = self.measured.speeds.get(role)
        seconds = 0.0
        if speed is not None:
            seconds = (prompt.estimate - calls * seen.shared) / speed.reading + completion.estimate / speed.writing
        return Calls(stage, what, calls, prompt, completion, seconds)


def learning_of(recipe: Recipe, measured: CostInputs) -> list[Learning]:
    """What the trained models learn from, roughly: every prompt with a reply of the length that was seen."""
    red, helpful = (measured.sizes[kind] for kind in TRAINING_KINDS)
    reply = measured.seen[Role.ASSISTANT].completion
    revisions = red.count * _revisions_used(recipe)
    samples = helpful.count * recipe.responses.helpful_samples
    if recipe.finetune.helpful_ratio is not None:
        samples = min(samples, round(recipe.finetune.helpful_ratio * revisions))
    supervised = revisions * (red.mean + reply) + samples * (helpful.mean + reply)
    labels = red.count * recipe.pairs.per_prompt if recipe.method is Method.CAI else 0
    people = measured.human_comparisons * (helpful.mean + reply)
    rolled = _rollouts(recipe) * ((red.mean + helpful.mean) / 2 + reply)
    reading = measured.speeds[Role.ASSISTANT].reading
    learnt = [(SL_CAI, supervised * recipe.finetune.training.epochs, 0.0)] if recipe.method is Method.CAI else []
    for number, policy in enumerate(policies_of(recipe), start=1):
        # A round learns from the labels of all rounds before it as well.
        labelled = number * labels * (red.mean + reply)
        epochs = recipe.preference.training.epochs
        watched = recipe.rl.held_out_share if recipe.rl.algorithm is not Algorithm.DPO else None
        for name, share in ((PREFERENCE_MODEL, 1 - (watched or 0.0)), (HELD_OUT_MODEL, watched or 0.0)):
            if share:
                learnt.append((in_round(name, number), 2 * share * (labelled + people) * epochs, 0.0))
        if recipe.rl.algorithm is Algorithm.DPO:
            paired = 2 * (labelled + (people if recipe.rl.dpo.human_weight else 0))
            learnt.append((policy, paired * recipe.rl.dpo.training.epochs, paired))
        else:
            learnt.append((policy, rolled * recipe.rl.epochs, rolled * RL_READS[recipe.rl.algorithm]))
    return [Learning(name, round(n), (LEARNING_COST * n + also) / reading) for name, n, also in learnt]


def _rollouts(recipe: Recipe) -> int:
    """Replies that the policy writes while it learns; none by DPO, which learns from labelled pairs."""
    rl = recipe.rl
    return 0 if rl.algorithm is Algorithm.DPO else rl.steps * rl.prompts_per_step * rl.samples_per_prompt


def _revisions_used(recipe: Recipe) -> int:
    """Revisions of each prompt that SL-CAI learns from, at most."""
    used = recipe.finetune.revisions
    if isinstance(used, int):
        return used
    return recipe.revision.steps if used is RevisionsUsed.ALL else 1
