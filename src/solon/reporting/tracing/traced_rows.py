"""The parts of a trace that rows of the tables give, in the order of the work: one function for each kind of row.

A part names what it is made of by address, so that the trace of one row follows from the parts of its prompt
(`trace_parts.behind`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from solon.conversation import Conversation, transcript
from solon.evals.grading import RATINGS
from solon.evals.judged_answers import COMPARISONS, JUDGEMENTS
from solon.feedback.comparisons import ShownOrder
from solon.feedback.soft_labels import axes_in
from solon.reporting.tracing.run_tables import RunTables, records_of
from solon.reporting.tracing.trace_parts import (
    CRITIQUE,
    MODEL,
    PrincipleKind,
    TracePart,
    address,
    facts_of,
)
from solon.reporting.tracing.trace_principles import RunPrinciples
from solon.runs.evaluation_rows import AnswerRow, BaselineComparison, ReplyJudgement
from solon.runs.rows import Judgement, LabelRow, PairRow, PromptRow, ReplyRow, RevisionRow
from solon.runs.table import column_of, rows_of
from solon.runs.training_rows import PreferenceExampleRow, SampleRow, SftExampleRow
from solon.stages import plan
from solon.stages.s09_measure import answer_seed

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class PromptParts:
    """Makes the parts of all rows of one prompt."""

    tables: RunTables
    principles: RunPrinciples
    row_id: str

    def parts(self) -> list[TracePart]:
        """All of them, those of earlier stages first; a principle stands before the first row that drew it."""
        makers = {
            plan.PROMPTS: self._prompts,
            plan.RESPONSES: self._replies,
            plan.CRITIQUE_REVISION: self._revisions,
            plan.SL_CAI: self._examples,
            plan.RESPONSE_PAIRS: self._pairs,
            plan.AI_FEEDBACK: self._labels,
            plan.PREFERENCE_MODEL: self._preferences,
            plan.HELD_OUT_MODEL: self._preferences,
            plan.RL_CAI: self._samples,
            plan.RLHF: self._samples,
            plan.MEASURE: self._answers,
        }
        found: dict[str, TracePart] = {}
        for name in self.tables.names():
            for part in makers[plan.out_of_round(name)](name):
                found.setdefault(part.address, part)
        return list(found.values())

    # Prompts, replies and revisions -----------------------------------------------------------------------------------

    def _prompts(self, name: str) -> Iterator[TracePart]:
        for row in self.tables.rows(name, PromptRow, self.row_id):
            files = self.tables.artefacts[name].manifest.key.get("files") or {}
            yield TracePart(
                address=self._prompt,
                title="Prompt",
                stage=name,
                text=said(row.prompt),
                facts=facts_of(
                    [
                        ("kind", row.kind.value.replace("_", " ")),
                        ("source", row.source if row.line is None else f"{row.source}, line {row.line}"),
                        ("digest of the source", files.get(row.source)),
                        ("row id", f"{row.row_id}, the digest of the conversation"),
                        ("outcome", row.outcome.value),
                    ]
                ),
            )

    def _replies(self, name: str) -> Iterator[TracePart]:
        by = self.tables.artefacts[name].facts.get("engine")
        rated = self._ratings("revision")
        for row in self.tables.rows(name, ReplyRow, self.row_id):
            facts = [
                ("written by", by),
                ("seed", row.seed),
                ("ended by", row.finish),
                ("outcome", with_defects(row.outcome.value, row.defects)),
                ("grader's labels", labels_in(rated.get(0))),
                ("thinking", row.thinking),
            ]
            yield TracePart(
                address=address(name, row.row_id, row.sample),
                title=f"Reply {row.sample}",
                stage=name,
                text=row.completion,
                facts=facts_of(facts),
                made_of=(self._prompt,),
            )

    def _revisions(self, name: str) -> Iterator[TracePart]:
        rated = self._ratings("revision")
        before = address(plan.RESPONSES, self.row_id, 0)
        for row in sorted(self.tables.rows(name, RevisionRow, self.row_id), key=lambda row: row.step):
            principle = address(PrincipleKind.REVISION, row.principle_id)
            yield self.principles.part(PrincipleKind.REVISION, row.principle_id)
            own = address(name, row.row_id, row.step)
            made_of = [before, principle]
            if row.critique is not None:
                made_of.insert(0, address(own, CRITIQUE))
                yield self._critique(row, own, (before, principle))
            following = self.principles.next_for_revision(row.principle_id, row.row_id, row.step)
            facts = [
                ("principle", row.principle_id),
                ("without this principle", following and f"the draw gives {following}"),
                ("written by", row.reviser),
                ("seed", row.seed),
                ("ended by", row.finish),
                ("outcome", with_defects(row.outcome.value, row.defects)),
                ("text", "same as before" if row.completion == row.before else None),
                ("grader's labels", labels_in(rated.get(row.step))),
                ("candidates", len(row.candidates) or None),
                ("chosen by", row.chosen_by),
                ("thinking", row.thinking),
            ]
            if row.chosen_by:
                yield self.principles.part(PrincipleKind.PREFERENCE, row.chosen_by)
                made_of.append(address(PrincipleKind.PREFERENCE, row.chosen_by))
            yield TracePart(
                address=own,
                title=f"Revision {row.step}",
                stage=name,
                text=row.completion,
                facts=facts_of(facts),
                made_of=tuple(made_of),
            )
            # A failed step leaves the reply as it was.
            before = own if row.outcome.value == "ok" else before

    def _critique(self, row: RevisionRow, own: str, made_of: tuple[str, ...]) -> TracePart:
        outcome = row.critique_outcome.value if row.critique_outcome else ""
        facts = [
            ("principle", row.principle_id),
            ("written by", row.critic),
            ("seed", row.critique_seed),
            ("ended by", row.critique_finish),
            ("outcome", with_defects(outcome, row.critique_defects)),
            ("thinking", row.critique_thinking),
        ]
        return TracePart(
            address=address(own, CRITIQUE),
            title=f"Critique {row.step}",
            stage=plan.CRITIQUE_REVISION,
            text=row.critique,
            facts=facts_of(facts),
            made_of=made_of,
        )

    def _examples(self, name: str) -> Iterator[TracePart]:
        for row in self.tables.rows(name, SftExampleRow, self.row_id):
            number = row.sample if row.step is None else row.step
            facts = [
                ("principle", row.principle_id),
                ("used for", "the evaluation loss" if row.held_out else "training"),
                ("weight", row.weight),
                ("tokens", row.tokens),
            ]
            yield TracePart(
                address=address(name, row.row_id, number),
                title=f"Training example of {name}",
                stage=name,
                text=row.completion,
                facts=facts_of(facts),
                made_of=(address(row.stage, row.row_id, number),),
            )

    # Pairs, labels and what the preference model learns ---------------------------------------------------------------

    def _pairs(self, name: str) -> Iterator[TracePart]:
        artefact = self.tables.artefacts[name]
        policy = next((each for each in artefact.manifest.key if each in self._policies()), None)
        for row in self.tables.rows(name, PairRow, self.row_id):
            facts = [
                ("written by", artefact.facts.get("engine")),
                ("seed of A", row.seed_a),
                ("seed of B", row.seed_b),
                ("what the model learned of this prompt", self._learnt_from(policy)),
                ("ended by", ", ".join(dict.fromkeys(each for each in (row.finish_a, row.finish_b) if each))),
                ("outcome", with_defects(row.outcome.value, row.defects)),
            ]
            yield from model_parts(self.tables, policy)
            yield TracePart(
                address=address(name, row.row_id, row.pair),
                title=f"Pair {row.pair}",
                stage=name,
                text=f"A: {row.response_a}\nB: {row.response_b}",
                facts=facts_of(facts),
                made_of=(*([address(MODEL, policy)] if policy else []), self._prompt),
            )

    def _learnt_from(self, model: str | None) -> str | None:
        """The addresses of the training examples that a model has of this prompt."""
        keys = self.tables.keys(model, self.row_id) if model == plan.SL_CAI else []
        return ", ".join(address(model, self.row_id, key) for key in keys) or None

    def _labels(self, name: str) -> Iterator[TracePart]:
        for row in self.tables.rows(name, LabelRow, self.row_id):
            drawn = [axis.principle_id for axis in axes_in(row) if axis.principle_id]
            for id in drawn:
                yield self.principles.part(PrincipleKind.PREFERENCE, id)
            pairs = self._round_of(name, plan.RESPONSE_PAIRS)
            yield TracePart(
                address=address(name, row.row_id, row.pair),
                title=f"Label of pair {row.pair}",
                stage=name,
                text=_verdict(row),
                facts=facts_of(self._label_facts(row)),
                made_of=(
                    *(address(PrincipleKind.PREFERENCE, id) for id in drawn),
                    address(pairs, row.row_id, row.pair),
                ),
            )

    def _label_facts(self, row: LabelRow) -> Iterator[tuple[str, object]]:
        for axis in axes_in(row):
            name = f" on {axis.axis}" if len(row.axes) > 1 else ""
            yield f"principle{name}", axis.principle_id
            following = self.principles.next_for_label(axis.principle_id, axis.axis, row.row_id, row.pair)
            yield f"without this principle{name}", following and f"the draw gives {following}"
            yield f"P(A better){name}", axis.p_a
        yield "undecided because", row.undecided_because
        yield "log-odds for A, A shown first", row.log_odds_ab
        yield "log-odds for A, B shown first", row.log_odds_ba
        yield "judge", row.judge
        for rated in records_of(self.tables, RATINGS, row.row_id):
            if rated.get("of") == "pair" and rated.get("pair") == row.pair:
                yield "grader's labels", f"A {labels_in(rated.get('a'))}; B {labels_in(rated.get('b'))}"
        for judgement in row.judgements:
            yield from self._judgement_facts(row, judgement)

    def _judgement_facts(self, row: LabelRow, judgement: Judgement) -> Iterator[tuple[str, object]]:
        of = f", {judgement.judge} on {judgement.axis}" if len(row.judgements) > 1 else ""
        yield f"P of both letters{of}", judgement.letter_mass
        for order, words, texts in (
            (ShownOrder.AB, "A shown first", judgement.reasoning_ab),
            (ShownOrder.BA, "B shown first", judgement.reasoning_ba),
        ):
            for number, text in enumerate(texts or ()):
                which = f", {words}{of}{f', sample {number + 1}' if number else ''}"
                yield f"reasoning{which}", text
                yield (
                    f"seed of the reasoning{which}",
                    self.principles.reasoning_seed(row, judgement.axis, order, number),
                )

    def _preferences(self, name: str) -> Iterator[TracePart]:
        labels = {row.pair: each for each in self._label_stages() for row in self._labels_in(each)}
        recipe = self.tables.run.recipe.preference
        files = {"human": recipe.human_helpfulness, "human-harmlessness": recipe.human_harmlessness}
        for row in self.tables.rows(name, PreferenceExampleRow, self.row_id):
            of = labels.get(row.pair) if row.pair is not None else None
            file = files.get(row.source)
            facts = [
                ("principle", row.principle_id),
                ("compared by", "the feedback model" if row.source == "ai" else f"people ({row.source})"),
                ("source", file and f"{file}, line {row.line}"),
                ("P(chosen better)", row.p_chosen),
                ("used for", "the evaluation" if row.held_out else "training"),
                ("weight", row.weight),
                ("tokens", row.tokens),
                ("prompt", said(row.prompt) if of is None else None),
            ]
            yield TracePart(
                address=address(name, row.row_id, row.line if row.pair is None else row.pair),
                title=f"Training example of {name}",
                stage=name,
                text=f"chosen: {row.chosen}\nrejected: {row.rejected}",
                facts=facts_of(facts),
                made_of=(address(of, row.row_id, row.pair),) if of else (),
            )

    # Replies of trained models ----------------------------------------------------------------------------------------

    def _samples(self, name: str) -> Iterator[TracePart]:
        behind = [each for each in self.tables.artefacts[name].manifest.key if each in self._trained()]
        seen: dict[int, int] = {}
        for row in self.tables.rows(name, SampleRow, self.row_id):
            seen[row.step] = count = seen.get(row.step, 0) + 1
            facts = [
                ("written by", f"the policy of {name} before the update of step {row.step}"),
                ("seed", f"of the run's seed {self.tables.run.recipe.seed}, the step and the row"),
                ("score of the preference model", row.score),
                ("held-out score", row.held_out_score),
                ("KL to the start", row.kl),
                ("finished", row.finished),
            ]
            for model in behind:
                yield from model_parts(self.tables, model)
            yield TracePart(
                address=address(name, row.row_id, row.step, *([count] if count > 1 else [])),
                title=f"Reply of the policy in step {row.step}",
                stage=name,
                text=row.reply,
                facts=facts_of(facts),
                made_of=(*(address(MODEL, model) for model in behind), self._prompt),
            )

    def _answers(self, name: str) -> Iterator[TracePart]:
        recipe = self.tables.run.recipe
        given = {"pretrained": recipe.models.pretrained, "assistant": recipe.models.assistant}
        key = self.tables.artefacts[name].manifest.key
        for row in self.tables.rows(name, AnswerRow, self.row_id):
            digest = key.get(row.model)
            named = f"{given.get(row.model, row.model)}{f', digest {digest}' if digest else ''}"
            trained = row.model in self.tables.artefacts
            facts = [
                ("written by", named),
                ("seed", answer_seed(recipe.seed, row.row_id)),
                ("ended by", row.finish),
                ("outcome", row.outcome.value),
                ("topic", row.group),
                ("labels", labels_in(row.labels) if self.tables.artefacts[name].facts.get("grader") else None),
                *self._judged(name, row),
                ("thinking", row.thinking),
            ]
            yield from model_parts(self.tables, row.model if trained else None)
            yield TracePart(
                address=address(name, row.row_id, row.model),
                title=f"Reply of {row.model} to a held-out prompt",
                stage=name,
                text=row.completion,
                facts=facts_of(facts),
                made_of=(*((address(MODEL, row.model),) if trained else ()), self._prompt),
            )

    def _judged(self, name: str, row: AnswerRow) -> Iterator[tuple[str, object]]:
        """What a judge said of a measured reply."""
        for judged in self._beside(name, JUDGEMENTS, ReplyJudgement):
            if judged.model == row.model:
                said = f"P(yes) {judged.p_yes:.2f}" if judged.p_yes is not None else f"{judged.unjudged_because}"
                yield f"judge on {judged.question}", said
        for compared in self._beside(name, COMPARISONS, BaselineComparison):
            if compared.model == row.model:
                p = f"P(better) {compared.p_better:.2f}" if compared.p_better is not None else compared.result.value
                yield f"against {compared.baseline}", p

    # What they need ---------------------------------------------------------------------------------------------------

    @property
    def _prompt(self) -> str:
        return address(plan.PROMPTS, self.row_id)

    def _ratings(self, of: str) -> dict[int, Sequence[str]]:
        """The grader's labels of the reply (0) and of its revisions, by step."""
        found = (each for each in records_of(self.tables, RATINGS, self.row_id) if each.get("of") == of)
        return {int(each["step"]): each.get("labels") or () for each in found}

    def _beside(self, name: str, file: str, row: type[R]) -> list[R]:
        path = self.tables.beside(name, file)
        if path is None:
            return []
        numbers = [number for number, each in enumerate(column_of(path, "row_id")) if each == self.row_id]
        return list(rows_of(path, row, numbers)) if numbers else []

    def _policies(self) -> tuple[str, ...]:
        return plan.language_models_of(self.tables.run.recipe)

    def _trained(self) -> list[str]:
        """The stages of the run that trained a model."""
        made = self.tables.artefacts.items()
        return [name for name, each in made if any(file.startswith("model/") for file in each.manifest.files)]

    def _label_stages(self) -> list[str]:
        return [name for name in self.tables.artefacts if plan.out_of_round(name) == plan.AI_FEEDBACK]

    def _labels_in(self, name: str) -> list[LabelRow]:
        return self.tables.rows(name, LabelRow, self.row_id)

    @staticmethod
    def _round_of(name: str, other: str) -> str:
        """The stage `other` in the round that `name` is of."""
        number = name.rpartition("-")[2]
        return f"{other}-{number}" if number.isdecimal() else other


def model_parts(tables: RunTables, name: str | None, above: tuple[str, ...] = ()) -> Iterator[TracePart]:
    """A trained model, after the models that it comes from; what many rows made has no single row behind it."""
    artefact = tables.artefacts.get(name) if name is not None else None
    if name is None or artefact is None or name in above:
        return
    manifest = artefact.manifest
    inputs = [each for each in manifest.key if each in tables.artefacts]
    models = [
        each for each in inputs if any(file.startswith("model/") for file in tables.artefacts[each].manifest.files)
    ]
    for model in models:
        yield from model_parts(tables, model, (*above, name))
    facts = [
        ("trained in", f"stage {name}, {manifest.rows:,} steps"),
        ("trained on", _learnt(artefact.facts, [each for each in inputs if each not in models])),
        ("starts from", tables.run.recipe.models.pretrained if "pretrained" in manifest.key else None),
        ("kept", f"step {artefact.facts['kept_step']}" if "kept_step" in artefact.facts else None),
        ("hash of the stage", manifest.hash),
    ]
    yield TracePart(
        address=address(MODEL, name),
        title=f"Model {name}",
        stage=name,
        text=None,
        facts=facts_of(facts),
        made_of=tuple(address(MODEL, model) for model in models),
    )


def _learnt(facts: object, inputs: Iterable[str]) -> str:
    """How many examples a model learns from, and the stages that they come from."""
    counts = facts.get("examples") if isinstance(facts, dict) else None
    stages = ", ".join(inputs)
    if isinstance(counts, dict) and counts:
        listed = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
        return f"{listed}, from {stages}"
    return f"the rows of {stages}"


def said(prompt: Conversation) -> str:
    """A prompt as text: its one turn, or a transcript of several."""
    return prompt.turns[0].content if len(prompt.turns) == 1 else transcript(prompt.turns).strip()


def labels_in(labels: Iterable[str] | None) -> str | None:
    """Labels in a line; None where nothing was rated."""
    return None if labels is None else ", ".join(labels) or "none"


def with_defects(outcome: str, defects: Sequence[str]) -> str:
    """An outcome with what the rules for texts found."""
    return f"{outcome} ({', '.join(defects)})" if defects else outcome


def _verdict(row: LabelRow) -> str:
    if row.p_a is None or row.chosen is None:
        return "No label."
    letter = "A" if row.chosen == row.response_a else "B"
    return f"{letter} is better with probability {row.p_chosen:.3f}: {row.chosen}"
