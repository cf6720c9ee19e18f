"""The trace of each sample of the report: where its texts come from, and links to the rest of the page.

A sample links to the stages that made it, to its principles, and to the other samples of the same prompt. The address
of each text is what `solon trace RUN ADDRESS` takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from solon.config.recipe import Recipe
from solon.feedback.soft_labels import axes_in
from solon.reporting.samples import Sample, SampleTrace, Shelf, TracedText
from solon.reporting.tracing.trace_parts import PrincipleKind, address
from solon.runs import Artefact
from solon.runs.rows import LabelRow, PairRow, PromptRow, ReplyRow, RevisionRow
from solon.stages import plan
from solon.stages.s09_measure import answer_seed

R = TypeVar("R")
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _SampleRows:
    """The rows behind the samples, by row id and number."""

    recipe: Recipe
    stages: Mapping[str, Artefact]
    prompts: Mapping[str, PromptRow]
    replies: Mapping[str, ReplyRow]
    revisions: Mapping[str, Sequence[RevisionRow]]
    """By row id alone."""
    pairs: Mapping[Key, tuple[str, PairRow]]
    """With the stage of each, since a prompt's pairs are numbered on from round to round."""
    labels: Mapping[Key, tuple[str, LabelRow]]

    def traced(self, sample: Sample) -> Iterator[TracedText]:
        """The texts of a sample with their addresses, and who wrote them."""
        row_id = sample.row_id
        if sample.kind == "revision":
            yield from self._chain(row_id)
        elif sample.kind == "pair":
            yield from self._pair(row_id, sample.number or 1)
        else:
            seed = str(answer_seed(self.recipe.seed, row_id))
            given = self.recipe.models.model_dump()
            for version in sample.versions:
                name = str(given.get(version.title) or version.title)
                yield TracedText(version.title, plan.MEASURE, address(plan.MEASURE, row_id, version.title), name, seed)

    def _chain(self, row_id: str) -> Iterator[TracedText]:
        if (reply := self.replies.get(row_id)) is not None:
            where = address(plan.RESPONSES, row_id, reply.sample)
            yield TracedText("Reply", plan.RESPONSES, where, self._engine(plan.RESPONSES), _seed(reply.seed))
        for row in self.revisions.get(row_id, ()):
            step, stage = row.step, plan.CRITIQUE_REVISION
            where = address(stage, row_id, step)
            if row.critique is not None:
                own = address(where, "critique")
                yield TracedText(f"Critique {step}", stage, own, row.critic or "", _seed(row.critique_seed))
            yield TracedText(f"Revision {step}", stage, where, row.reviser or "", _seed(row.seed))

    def _pair(self, row_id: str, number: int) -> Iterator[TracedText]:
        if (found := self.pairs.get((row_id, number))) is not None:
            stage, pair = found
            where, by = address(stage, row_id, number), self._engine(stage)
            seeds = " and ".join(_seed(seed) for seed in (pair.seed_a, pair.seed_b) if seed is not None)
            yield TracedText("Both replies", stage, where, by, seeds)
        if (labelled := self.labels.get((row_id, number))) is not None:
            stage, label = labelled
            yield TracedText("Label", stage, address(stage, row_id, number), label.judge, "")

    def _engine(self, stage: str) -> str:
        return str(self.stages[stage].facts.get("engine", "")) if stage in self.stages else ""

    def source(self, row_id: str) -> str:
        """Where the prompt comes from."""
        row = self.prompts.get(row_id)
        if row is None:
            return ""
        return row.source if row.line is None else f"{row.source}, line {row.line}"

    def principles(self, sample: Sample) -> Iterator[tuple[PrincipleKind, str]]:
        """The principles that a sample's rows drew."""
        if sample.kind == "revision":
            for version in sample.versions:
                if version.principle_id:
                    yield PrincipleKind.REVISION, version.principle_id
        elif sample.kind == "pair" and (found := self.labels.get((sample.row_id, sample.number or 1))) is not None:
            yield from ((PrincipleKind.PREFERENCE, axis.principle_id) for axis in axes_in(found[1]))


def with_traces(
    shelves: Sequence[Shelf],
    stages: Mapping[str, Artefact],
    recipe: Recipe,
    revisions: Sequence[RevisionRow],
    labels: Sequence[tuple[str, LabelRow]],
    anchors: Mapping[tuple[str, str], str],
) -> tuple[Shelf, ...]:
    """The shelves, each sample with its trace.

    `labels` are those of all rounds, with the stage of each; `anchors` are those of the principles, by list and id.
    """
    wanted = {sample.row_id for shelf in shelves for sample in shelf.samples}
    steps: dict[str, list[RevisionRow]] = {}
    for row in revisions:
        if row.row_id in wanted:
            steps.setdefault(row.row_id, []).append(row)
    rows = _SampleRows(
        recipe,
        stages,
        {row.row_id: row for row in _read(stages, plan.PROMPTS, PromptRow) if row.row_id in wanted},
        {row.row_id: row for row in _read(stages, plan.RESPONSES, ReplyRow) if row.row_id in wanted},
        steps,
        {
            (row.row_id, row.pair): (name, row)
            for name in stages
            if plan.out_of_round(name) == plan.RESPONSE_PAIRS
            for row in _read(stages, name, PairRow)
            if row.row_id in wanted
        },
        {(row.row_id, row.pair): (name, row) for name, row in labels if row.row_id in wanted},
    )
    same: dict[str, list[tuple[str, str]]] = {}
    for shelf in shelves:
        for sample in shelf.samples:
            same.setdefault(sample.row_id, []).append((shelf.title, sample.anchor))

    def trace(sample: Sample) -> SampleTrace:
        drawn = [(id, anchors.get((kind.value, id), "")) for kind, id in dict.fromkeys(rows.principles(sample))]
        also = tuple(each for each in same[sample.row_id] if each[1] != sample.anchor)
        return SampleTrace(rows.source(sample.row_id), tuple(rows.traced(sample)), tuple(drawn), also)

    return tuple(
        replace(shelf, samples=tuple(replace(sample, trace=trace(sample)) for sample in shelf.samples))
        for shelf in shelves
    )


def _read(stages: Mapping[str, Artefact], name: str, row: type[R]) -> Sequence[R]:
    return stages[name].stream(row) if name in stages else ()


def _seed(seed: int | None) -> str:
    return "" if seed is None else str(seed)
