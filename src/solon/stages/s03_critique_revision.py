"""Stage 03-critique-revision: the supervised half of the method's data (paper, section 3.1).

The reply to a red-team prompt is revised several times. At each step a principle is drawn at random for the prompt, the
model writes a critique of the last reply by that principle, and revises the reply by its critique; in the
direct mode the critique is left out (section 3.5). Worked examples in the same format come first. Every step keeps
its principle, critique and revision. A step that fails keeps its record, with what was written, and the chain goes on
from the last good reply; a critique that fails its checks is not shown to the reviser, and the step has no revision.
Where several candidates are written for a step, the feedback model compares the good ones and the best stays.
Rows stay on the disk (the paper has 182,831 prompts, four steps each): a chunk is made of the same chunk of the step
before it, so no more than a chunk is in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from solon import prompts
from solon.checks.rules import Defect
from solon.checks.texts import Checked
from solon.config.model_spec import ModelSpec
from solon.config.recipe import CutOffReplies, Recipe, RevisionMode, RevisionSettings
from solon.constitution.constitution import (
    Constitution,
    CritiqueExample,
    RevisionPrinciple,
    draw,
    revision_principles,
    worked_critiques,
)
from solon.conversation import Role
from solon.engines.base import Engine, TokenBudget, count_many
from solon.errors import RunError, StageError
from solon.evals.judge_check.critic import CheckCritic
from solon.feedback.ask import STUB, bare_tokens
from solon.feedback.best_of import Choose, choose_best, choose_plan
from solon.feedback.critiques import Link, criticise, critique_failed, revision_request
from solon.feedback.revision_candidates import ChosenRevision, revise, revision_seed
from solon.feedback.soft_labels import Judge
from solon.runs import Artefact, LazySequence, StageFolder
from solon.runs.outcome import Outcome, count_outcomes, most_frequent
from solon.runs.rows import Critique, PromptKind, ReplyRow, RevisionRow
from solon.stages.plan import RESPONSES
from solon.stages.questions import QuestionKind
from solon.stages.stage import Again, ConstitutionEdit, QuestionCount, Stage, StageDependencies, Work


@dataclass(frozen=True, slots=True)
class RevisionInputs:
    """The run's seed, the constitution, the replies (02-responses), how many are asked at once, and a measure."""

    seed: int
    constitution: Constitution
    responses: Artefact
    chunk: int = 128
    assess: CheckCritic | None = None
    """Measures critic and reviser on questions with known answers, for the facts."""
    choose: Choose | None = None
    """Compares the candidates of a step; the first good one stays without it."""


_BEGIN = {CutOffReplies.SKIP: {Outcome.OK}, CutOffReplies.REVISE: {Outcome.OK, Outcome.TRUNCATED}}
"""The outcomes of replies with which a chain begins."""


def run(
    settings: RevisionSettings, inputs: RevisionInputs, critic: Engine, out: StageFolder, reviser: Engine | None = None
) -> Artefact:
    """Critique and revise each good red-team reply `steps` times, a fresh principle each time; publish every step.

    The critic revises too when there is no `reviser`.
    """
    reviser = reviser or critic
    principles = revision_principles(settings, inputs.constitution)
    examples = worked_critiques(settings, inputs.constitution)
    outcomes = _red_team_outcomes(inputs.responses)
    replies = _revisable(inputs.responses, outcomes, settings.cut_off)
    links: Sequence[Link] = _first_links(replies, principles, inputs.seed)
    steps: list[LazySequence[RevisionRow]] = []
    for step in range(1, settings.steps + 1):
        if settings.mode is RevisionMode.CRITIQUED:
            links = _criticise(settings, inputs, links, examples, critic, out)
        steps.append(_revise(settings, inputs, links, examples, reviser, out))
        links = _next_links(steps[-1], step + 1, principles, inputs.seed)
    judge_check = {"judge_check": inputs.assess(critic, reviser)} if inputs.assess else {}
    names = {"critic": critic.name, "reviser": reviser.name}
    left_out = [outcome for outcome in outcomes.values() if outcome not in _BEGIN[settings.cut_off]]
    facts = {**names, **_facts(steps, left_out, principles), **judge_check}
    return out.publish(chain.from_iterable(steps), RevisionRow, facts=facts)


def _revisable(responses: Artefact, outcomes: Mapping[int, Outcome], cut_off: CutOffReplies) -> LazySequence[ReplyRow]:
    """The replies with which a chain begins."""
    begins = _BEGIN[cut_off]
    good = [number for number, outcome in outcomes.items() if outcome in begins]
    if not good:
        counts = count_outcomes(outcomes.values())
        found = ", ".join(f"{outcome} {count}" for outcome, count in counts.items()) or "there are no red-team prompts"
        raise StageError(
            f"no red-team prompt has a good reply to revise: {found}",
            place=str(responses.path),
            remedy="If replies are cut off, raise the limit (--set responses.sampling.max_tokens=512), or revise them "
            "as they are (--set revision.cut_off=revise)",
        )
    return responses.stream(ReplyRow, good)


def _red_team_outcomes(responses: Artefact) -> dict[int, Outcome]:
    """The outcomes of the replies to red-team prompts, by the number of their row."""
    rows = enumerate(responses.stream(ReplyRow))
    return {number: row.outcome for number, row in rows if row.kind is PromptKind.RED_TEAM}


def _first_links(
    replies: LazySequence[ReplyRow], principles: Sequence[RevisionPrinciple], seed: int
) -> LazySequence[Link]:
    """The links of the first step, made of the assistant's replies."""

    def link(row: ReplyRow) -> Link:
        return Link(row.row_id, row.prompt, row.completion, 1, draw(principles, seed, row.row_id, 1))

    return LazySequence(len(replies), lambda start, stop: [link(row) for row in replies[start:stop]])


def _next_links(
    last: LazySequence[RevisionRow], step: int, principles: Sequence[RevisionPrinciple], seed: int
) -> LazySequence[Link]:
    """The links of a step, made of the rows of the step before it; a failed one is left as the reply that it had."""

    def link(row: RevisionRow) -> Link:
        reply = row.completion if row.outcome is Outcome.OK else row.before
        return Link(row.row_id, row.prompt, reply, step, draw(principles, seed, row.row_id, step))

    return LazySequence(len(last), lambda start, stop: [link(row) for row in last[start:stop]])


def _criticise(
    settings: RevisionSettings,
    inputs: RevisionInputs,
    links: Sequence[Link],
    examples: Sequence[CritiqueExample],
    critic: Engine,
    out: StageFolder,
) -> LazySequence[Link]:
    """The links with their critiques."""

    def write(batch: Sequence[Link]) -> list[Critique]:
        return criticise(settings, inputs.seed, batch, examples, critic)

    step = links[0].step
    unit = f"critiques of step {step}/{settings.steps}"
    critiques = out.stream(f"critique-{step}", links, write, row=Critique, chunk=inputs.chunk, unit=unit)

    def criticised(start: int, stop: int) -> list[Link]:
        pairs = zip(links[start:stop], critiques[start:stop], strict=True)
        return [replace(link, critique=critique) for link, critique in pairs]

    return LazySequence(len(links), criticised)


def _revise(
    settings: RevisionSettings,
    inputs: RevisionInputs,
    links: Sequence[Link],
    examples: Sequence[CritiqueExample],
    reviser: Engine,
    out: StageFolder,
) -> LazySequence[RevisionRow]:
    """The rows of one step: a revision where the critique is good, and a record of the other replies."""

    def rows(batch: Sequence[Link]) -> list[RevisionRow]:
        ready = [revision_request(settings, link, examples) for link in batch if critique_failed(link) is None]
        chosen = revise(settings, inputs.seed, ready, reviser, inputs.choose)
        by_row = {request.row_id: each for request, each in zip(ready, chosen, strict=True)}
        return [_row(link, by_row.get(link.row_id), inputs.seed, reviser.name) for link in batch]

    step = links[0].step
    unit = f"revisions of step {step}/{settings.steps}"
    return out.stream(f"revision-{step}", links, rows, row=RevisionRow, chunk=inputs.chunk, unit=unit)


def _row(link: Link, chosen: ChosenRevision | None, seed: int, reviser: str) -> RevisionRow:
    """The record of a step; without a revision its outcome is that of its critique."""
    failed = critique_failed(link) or Outcome.PROVIDER_ERROR
    revision = chosen.revision if chosen else None
    checked = revision.checked if revision else Checked("", failed)
    critique = link.critique or Critique()
    candidates = chosen.candidates if chosen and len(chosen.candidates) > 1 else ()
    return RevisionRow(
        row_id=link.row_id,
        step=link.step,
        prompt=link.conversation,
        before=link.reply,
        principle_id=link.principle.id,
        critique=critique.critique,
        critique_thinking=critique.critique_thinking,
        critique_seed=critique.critique_seed,
        critique_finish=critique.critique_finish,
        critique_outcome=critique.critique_outcome,
        critique_defects=critique.critique_defects,
        completion=checked.text,
        thinking=revision.completion.thinking or None if revision else None,
        finish=revision.completion.finish.value if revision else None,
        seed=revision.seed if revision else revision_seed(seed, link.row_id, link.step),
        critic=critique.critic,
        reviser=reviser,
        outcome=checked.outcome,
        defects=tuple(defect.value for defect in checked.defects),
        candidates=tuple(each.row() for each in candidates),
        chosen_by=chosen.principle_id if chosen else None,
    )


def _facts(
    steps: Iterable[Iterable[RevisionRow]], not_begun: Iterable[Outcome], principles: Sequence[RevisionPrinciple]
) -> Mapping[str, Any]:
    by_step: dict[str, Counter[str]] = {}
    critiques, critique_defects, defects, drawn = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for row in chain.from_iterable(steps):
        by_step.setdefault(str(row.step), Counter())[row.outcome] += 1
        critiques.update([row.critique_outcome] if row.critique_outcome is not None else [])
        critique_defects.update(row.critique_defects)
        defects.update(row.defects)
        drawn[row.principle_id] += 1
    return {
        "not_begun": count_outcomes(not_begun),
        "by_step": {step: count_outcomes(outcomes.elements()) for step, outcomes in by_step.items()},
        "critiques": count_outcomes(critiques.elements()),
        "critique_defects": most_frequent(critique_defects),
        "defects": most_frequent(defects),
        "unchanged": defects[Defect.UNCHANGED],
        "principles": {principle.id: drawn[principle.id] for principle in principles},
    }


@dataclass(frozen=True)
class CritiqueRevision(Stage):
    """The stage as a run has it."""

    by_constitution = True
    section = "revision"
    needs = (RESPONSES,)

    def reads(self, work: Work) -> StageDependencies:
        """Critic and reviser, who chooses among candidates, and what they are measured on."""
        critic, reviser = (work.model(name) for name in _models(work.recipe))
        another = {"reviser": reviser} if reviser != critic else {}
        if work.recipe.revision.candidates > 1:
            another["chooser"] = work.model(_chooser(work.recipe))
        measured = work.judge_check_key() if work.critic_check() is not None else {}
        return StageDependencies({"critic": critic, **another}, measured)

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe = work.recipe
        critic, reviser = (work.model(name) for name in _models(recipe))
        # Critic, reviser and chooser take turns, so all stay loaded for the time of the stage.
        engines = {critic: work.engine(critic)}
        if reviser != critic:
            engines[reviser] = work.second_engine(reviser)
        inputs = RevisionInputs(
            recipe.seed,
            work.constitution,
            work.artefact(RESPONSES),
            recipe.engine.batch_size,
            work.critic_check(),
            _choose(work, engines),
        )
        return run(recipe.revision, inputs, engines[critic], out, engines[reviser])

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """A critique and a revision at each step; in the direct mode only a revision."""
        settings, (critic, reviser), about = recipe.revision, _models(recipe), (PromptKind.RED_TEAM,)
        revision = QuestionKind(
            "revision",
            "revisions",
            Role.REVISION,
            reviser,
            about,
            settings.steps,
            settings.revision.max_tokens,
            lambda constitution, engine: _beyond_prompt(recipe, constitution, engine)[Role.REVISION],
        )
        if settings.mode is RevisionMode.DIRECT:
            return (revision,)
        critique = QuestionKind(
            "critique",
            "critiques",
            Role.CRITIQUE,
            critic,
            about,
            settings.steps,
            settings.critique.max_tokens,
            lambda constitution, engine: _beyond_prompt(recipe, constitution, engine)[Role.CRITIQUE],
        )
        return critique, revision

    def known_answers(self, work: Work) -> Mapping[str, int]:
        """A critique and a revision of every reply with a known fault, where no rater says what revisions did."""
        if work.grader is not None or work.recipe.revision.mode is RevisionMode.DIRECT:
            return {}
        return dict.fromkeys(("critique", "revision"), work.critic_questions())

    def few(self, recipe: Recipe) -> Recipe:
        return recipe.model_copy(update={"revision": recipe.revision.model_copy(update={"steps": 1})})

    def asked_again(self, edit: ConstitutionEdit) -> Again:
        """Each step with another prompt, and all later steps of its chain."""
        return _chains_again(edit, edit.finished[self.name])


def _choose(work: Work, engines: Mapping[ModelSpec, Engine]) -> Choose | None:
    """What compares candidates; None where there is one of each."""
    settings = work.recipe.revision
    if settings.candidates == 1:
        return None
    plan = choose_plan(settings.choose_by, work.constitution, work.recipe.seed)
    chooser = work.model(_chooser(work.recipe))
    judge = Judge.of(engines[chooser] if chooser in engines else work.second_engine(chooser))
    return lambda contests: choose_best(contests, judge, plan)


def _chooser(recipe: Recipe) -> str:
    """The model that compares candidates: the first feedback model."""
    return recipe.models.judges[0] or recipe.models.assistant


def _models(recipe: Recipe) -> tuple[str, str]:
    """Critic and reviser."""
    models = recipe.models
    critic = models.critic or models.assistant
    return critic, models.reviser or critic


def _beyond_prompt(recipe: Recipe, constitution: Constitution, engine: TokenBudget) -> Mapping[Role, int]:
    """What a question holds at most beyond its prompt: examples, the longest principle, a reply and a critique."""
    settings = recipe.revision
    examples = worked_critiques(settings, constitution)
    principles = revision_principles(settings, constitution)
    answer = max(recipe.responses.sampling.max_tokens, settings.revision.max_tokens) - bare_tokens(engine)
    critiqued = settings.mode is RevisionMode.CRITIQUED
    critique = "" if critiqued else None
    revisions = [prompts.revision(STUB, "", each, critique, examples, settings.form) for each in principles]
    revision = max(count_many(engine, revisions))
    if not critiqued:
        return {Role.REVISION: revision + answer}
    critiques = [prompts.critique(STUB, "", each, examples, settings.form) for each in principles]
    asked = max(count_many(engine, critiques))
    return {Role.CRITIQUE: asked + answer, Role.REVISION: revision + settings.critique.max_tokens + answer}


def _chains_again(edit: ConstitutionEdit, revisions: Artefact) -> Again:
    """Critiques and revisions that are asked again, by step; an upper bound, as a changed step may come out equal."""
    recipe, old, new = edit.work.recipe, edit.before, edit.after
    settings = recipe.revision
    examples_changed = worked_critiques(settings, old) != worked_critiques(settings, new)
    before = {principle.id: principle for principle in old.revision}
    candidates = revision_principles(settings, new)
    counts: dict[tuple[int, Role], list[int]] = {}
    touched: set[str] = set()
    renamed = False
    for row in sorted(revisions.rows(RevisionRow), key=lambda row: row.step):
        row_id, step = row.row_id, row.step
        if (was := before.get(row.principle_id)) is None:
            cause = (
                f"row {row_id} names the principle '{row.principle_id}', which is missing from the run's constitution"
            )
            raise RunError(cause, place=str(revisions.path))
        now = draw(candidates, recipe.seed, row_id, step)
        renamed |= now.id != was.id
        earlier = row_id in touched or examples_changed
        criticised = row.critique_outcome is not None
        critique_again = criticised and (earlier or now.critique_request != was.critique_request)
        revision_again = earlier or critique_again or now.revision_request != was.revision_request
        # After a failed critique there was no revision; a new critique may get one.
        revised = row.finish is not None
        revision_again &= revised or critique_again
        for role, asked, again in (
            (Role.CRITIQUE, criticised, critique_again),
            (Role.REVISION, revised or revision_again, revision_again),
        ):
            count = counts.setdefault((step, role), [0, 0])
            count[0] += asked
            count[1] += again
        if revision_again:
            touched.add(row_id)
    found = (
        QuestionCount(f"{role.value}, step {step}", role, asked, again)
        for (step, role), (asked, again) in sorted(counts.items())
        if asked
    )
    return Again(bool(touched) or renamed, tuple(found))
