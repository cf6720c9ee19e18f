"""The parts of a trace that the labels give: pairs, AI labels, and what the preference model learns from."""

from __future__ import annotations

from collections.abc import Iterator

from solon.evals.grading import RATINGS
from solon.feedback.comparisons import ShownOrder
from solon.feedback.soft_labels import axes_in
from solon.reporting.tracing.run_tables import preference_key, records_of
from solon.reporting.tracing.trace_parts import MODEL, PrincipleKind, TracePart, address, facts_of
from solon.reporting.tracing.traced_models import model_parts
from solon.reporting.tracing.traced_prompt import TracedPrompt, labels_in, said, with_defects
from solon.runs.rows import Judgement, LabelRow, PairRow
from solon.runs.training_rows import PreferenceExampleRow
from solon.stages import plan
from solon.stats.intervals import probability, signed


def pairs(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """Pairs of replies, each after the model that wrote them."""
    artefact = at.tables.artefacts[name]
    policy = next(
        (each for each in artefact.manifest.key if each in plan.language_models_of(at.tables.run.recipe)), None
    )
    for row in at.tables.rows(name, PairRow, at.row_id):
        facts = [
            ("written by", artefact.facts.get("engine")),
            ("seed of A", row.seed_a),
            ("seed of B", row.seed_b),
            ("what the model learned of this prompt", _learnt_from(at, policy)),
            ("ended by", ", ".join(dict.fromkeys(each for each in (row.finish_a, row.finish_b) if each))),
            ("outcome", with_defects(row.outcome.value, row.defects)),
        ]
        yield from model_parts(at.tables, policy)
        yield TracePart(
            address=address(name, row.row_id, row.pair),
            title=f"Pair {row.pair}",
            stage=name,
            text=f"A: {row.response_a}\nB: {row.response_b}",
            facts=facts_of(facts),
            made_of=(*([address(MODEL, policy)] if policy else []), at.prompt),
        )


def _learnt_from(at: TracedPrompt, model: str | None) -> str | None:
    """The addresses of the training examples that a model has of this prompt."""
    keys = at.tables.keys(model, at.row_id) if model == plan.SL_CAI else []
    return ", ".join(address(model, at.row_id, key) for key in keys) or None


def labels(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """AI labels, each after the principles that it drew."""
    for row in at.tables.rows(name, LabelRow, at.row_id):
        drawn = [axis.principle_id for axis in axes_in(row) if axis.principle_id]
        for id in drawn:
            yield at.principles.part(PrincipleKind.PREFERENCE, id)
        pairs = _round_of(name, plan.RESPONSE_PAIRS)
        yield TracePart(
            address=address(name, row.row_id, row.pair),
            title=f"Label of pair {row.pair}",
            stage=name,
            text=_verdict(row),
            facts=facts_of(_label_facts(at, row)),
            made_of=(
                *(address(PrincipleKind.PREFERENCE, id) for id in drawn),
                address(pairs, row.row_id, row.pair),
            ),
        )


def _label_facts(at: TracedPrompt, row: LabelRow) -> Iterator[tuple[str, object]]:
    for axis in axes_in(row):
        name = f" on {axis.axis}" if len(row.axes) > 1 else ""
        yield f"principle{name}", axis.principle_id
        following = at.principles.next_for_label(axis.principle_id, axis.axis, row.row_id, row.pair)
        yield f"without this principle{name}", following and f"the draw gives {following}"
        yield f"P(A better){name}", axis.p_a if axis.p_a is None else probability(axis.p_a)
    yield "undecided because", row.undecided_because
    for words, log_odds in (("A shown first", row.log_odds_ab), ("B shown first", row.log_odds_ba)):
        yield f"log-odds for A, {words}", log_odds if log_odds is None else signed(log_odds)
    yield "judge", row.judge
    for rated in records_of(at.tables, RATINGS, row.row_id):
        if rated.get("of") == "pair" and rated.get("pair") == row.pair:
            yield "grader's labels", f"A {labels_in(rated.get('a'))}; B {labels_in(rated.get('b'))}"
    for judgement in row.judgements:
        yield from _judgement_facts(at, row, judgement)


def _judgement_facts(at: TracedPrompt, row: LabelRow, judgement: Judgement) -> Iterator[tuple[str, object]]:
    of = f", {judgement.judge} on {judgement.axis}" if len(row.judgements) > 1 else ""
    mass = judgement.letter_mass
    yield f"P of both letters{of}", mass if mass is None else probability(mass)
    for order, words, texts in (
        (ShownOrder.AB, "A shown first", judgement.reasoning_ab),
        (ShownOrder.BA, "B shown first", judgement.reasoning_ba),
    ):
        for number, text in enumerate(texts or ()):
            which = f", {words}{of}{f', sample {number + 1}' if number else ''}"
            yield f"reasoning{which}", text
            yield (
                f"seed of the reasoning{which}",
                at.principles.reasoning_seed(row, judgement.axis, order, number),
            )


def preferences(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """Training examples of a preference model: AI labels, and comparisons by people."""
    labels = {row.pair: each for each in _label_stages(at) for row in at.tables.rows(each, LabelRow, at.row_id)}
    recipe = at.tables.run.recipe.preference
    files = {"human": recipe.human_helpfulness, "human-harmlessness": recipe.human_harmlessness}
    for row in at.tables.rows(name, PreferenceExampleRow, at.row_id):
        of = labels.get(row.pair) if row.pair is not None else None
        file = files.get(row.source)
        facts = [
            ("principle", row.principle_id),
            ("compared by", "the feedback model" if row.source == "ai" else f"people ({row.source})"),
            ("source", file and f"{file}, line {row.line}"),
            ("P(chosen better)", probability(row.p_chosen)),
            ("used for", "the evaluation" if row.held_out else "training"),
            ("weight", row.weight),
            ("tokens", row.tokens),
            ("prompt", said(row.prompt) if of is None else None),
        ]
        yield TracePart(
            address=address(name, row.row_id, preference_key(row)),
            title=f"Training example of {name}",
            stage=name,
            text=f"chosen: {row.chosen}\nrejected: {row.rejected}",
            facts=facts_of(facts),
            made_of=(address(of, row.row_id, row.pair),) if of else (),
        )


def _label_stages(at: TracedPrompt) -> list[str]:
    return [name for name in at.tables.artefacts if plan.out_of_round(name) == plan.AI_FEEDBACK]


def _round_of(name: str, other: str) -> str:
    """The stage `other` in the round that `name` is of."""
    number = name.rpartition("-")[2]
    return f"{other}-{number}" if number.isdecimal() else other


def _verdict(row: LabelRow) -> str:
    if row.p_chosen is None or row.chosen is None:
        return "No label."
    letter = "A" if row.chosen == row.response_a else "B"
    return f"{letter} is better with probability {probability(row.p_chosen)}: {row.chosen}"
