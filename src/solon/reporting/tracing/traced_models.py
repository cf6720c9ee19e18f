"""The parts of a trace that trained models give: the models themselves, and their replies.

What many rows made has no single row behind it: a model names what it was trained on, and the models it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from solon.evals.judged_answers import COMPARISONS, JUDGEMENTS
from solon.reporting.tracing.run_tables import RunTables
from solon.reporting.tracing.trace_parts import MODEL, TracePart, address, facts_of
from solon.reporting.tracing.traced_prompt import TracedPrompt, labels_in
from solon.runs.evaluation_rows import AnswerRow, BaselineComparison, ReplyJudgement
from solon.runs.training_rows import SampleRow
from solon.stages.s09_measure import answer_seed
from solon.stats.intervals import probability, signed


def samples_of_policy(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """Replies of the policy during reinforcement learning, after the models that it learns from."""
    behind = [each for each in at.tables.artefacts[name].manifest.key if each in trained_in(at.tables)]
    seen: dict[int, int] = {}
    for row in at.tables.rows(name, SampleRow, at.row_id):
        seen[row.step] = count = seen.get(row.step, 0) + 1
        facts = [
            ("written by", f"the policy of {name} before the update of step {row.step}"),
            ("seed", f"of the run's seed {at.tables.run.recipe.seed}, the step and the row"),
            ("score of the preference model", signed(row.score)),
            ("held-out score", None if row.held_out_score is None else signed(row.held_out_score)),
            ("KL to the start", f"{row.kl:.2f}"),
            ("finished", row.finished),
        ]
        for model in behind:
            yield from model_parts(at.tables, model)
        yield TracePart(
            address=address(name, row.row_id, row.step, *([count] if count > 1 else [])),
            title=f"Reply of the policy in step {row.step}",
            stage=name,
            text=row.reply,
            facts=facts_of(facts),
            made_of=(*(address(MODEL, model) for model in behind), at.prompt),
        )


def answers(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """Replies of every measured model to a held-out prompt, with what grader and judge say of them."""
    recipe = at.tables.run.recipe
    given = {"pretrained": recipe.models.pretrained, "assistant": recipe.models.assistant}
    key = at.tables.artefacts[name].manifest.key
    for row in at.tables.rows(name, AnswerRow, at.row_id):
        digest = key.get(row.model)
        named = f"{given.get(row.model, row.model)}{f', digest {digest}' if digest else ''}"
        trained = row.model in at.tables.artefacts
        facts = [
            ("written by", named),
            ("seed", answer_seed(recipe.seed, row.row_id)),
            ("ended by", row.finish),
            ("outcome", row.outcome.value),
            ("topic", row.group),
            ("labels", labels_in(row.labels) if at.tables.artefacts[name].facts.get("grader") else None),
            *_judged(at, name, row),
            ("thinking", row.thinking),
        ]
        yield from model_parts(at.tables, row.model if trained else None)
        yield TracePart(
            address=address(name, row.row_id, row.model),
            title=f"Reply of {row.model} to a held-out prompt",
            stage=name,
            text=row.completion,
            facts=facts_of(facts),
            made_of=(*((address(MODEL, row.model),) if trained else ()), at.prompt),
        )


def _judged(at: TracedPrompt, name: str, row: AnswerRow) -> Iterator[tuple[str, object]]:
    """What a judge said of a measured reply."""
    for judged in at.beside(name, JUDGEMENTS, ReplyJudgement):
        if judged.model == row.model:
            said = f"P(yes) {probability(judged.p_yes)}" if judged.p_yes is not None else f"{judged.unjudged_because}"
            yield f"judge on {judged.question}", said
    for compared in at.beside(name, COMPARISONS, BaselineComparison):
        if compared.model == row.model:
            p = compared.p_better
            said = f"P(better) {probability(p)}" if p is not None else compared.result.value
            yield f"against {compared.baseline}", said


def trained_in(tables: RunTables) -> list[str]:
    """The stages of the run that trained a model."""
    made = tables.artefacts.items()
    return [name for name, each in made if any(file.startswith("model/") for file in each.manifest.files)]


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
    warm = tables.run.recipe.warm_start.models.get(name)
    settings, given = tables.run.recipe.preference, tables.run.recipe.models
    files = {"human": settings.human_helpfulness, "human_harmlessness": settings.human_harmlessness}
    brought = [file for key, file in files.items() if file and key in manifest.key]
    starts = {"pretrained": given.pretrained, "backbone": given.preference or given.pretrained}
    facts = [
        ("trained in", f"stage {name}, {manifest.rows:,} steps"),
        ("trained on", _learnt(artefact.facts, [*(each for each in inputs if each not in models), *brought])),
        ("starts from", next((model for key, model in starts.items() if key in manifest.key), None)),
        ("goes on from", warm.folder if warm is not None else None),
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
    """How many examples a model learns from, and the stages and files that they come from."""
    counts = facts.get("examples") if isinstance(facts, dict) else None
    stages = ", ".join(inputs)
    if isinstance(counts, dict) and counts:
        listed = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
        return f"{listed}, from {stages}"
    return f"the rows of {stages}"
