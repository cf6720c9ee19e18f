"""Pairs of replies that somebody brings, labelled by a judge and a constitution, as typed labels.

Around `standalone_labels`, which keeps the folder: pairs come from a file or from memory, settings from a recipe. The
result has for each pair the preferred reply, its probability and the principle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from solon.config.builtin import PREFIX, constitution_path
from solon.config.model_spec import ModelSpec, located
from solon.config.ray_cluster import RayCluster
from solon.config.recipe import Recipe
from solon.constitution.reader import load_constitution
from solon.conversation import Conversation
from solon.engines.cluster.ray_place import place_of
from solon.pipeline.standalone_labels import NAME, ToLabel, agreement, label_standalone
from solon.runs import Artefact
from solon.runs.outcome import Outcome
from solon.runs.progress import Display
from solon.runs.rows import LabelRow
from solon.sources.pair_files import PairFile, read_pairs
from solon.testbed.judge_questions import judge_checker
from solon.testbed.oracle import Oracle

GO_ON = "the same with judge_check.weak_judge=accept (solon label --accept-weak-judge)"


@dataclass(frozen=True, slots=True)
class ReplyPair:
    """Two replies to one prompt, to be labelled; a prompt is a text, a transcript or a conversation."""

    prompt: Conversation | str
    response_a: str
    response_b: str


@dataclass(frozen=True, slots=True)
class PairLabel:
    """A labelled pair: `p_a` is the probability that reply A is better, None where the judge gave no preference."""

    row_id: str
    pair: int
    prompt: Conversation
    response_a: str
    response_b: str
    p_a: float | None
    principle_id: str | None
    """The principle that was drawn; None where each axis has one of its own."""
    outcome: Outcome
    undecided_because: str | None


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """The labels in a folder."""

    artefact: Artefact
    skipped: Mapping[str, int]
    """Rows of the file that hold no pair, by reason."""
    right: int
    """Labels that side with the file's own choice, where it has one (`chosen` and `rejected`)."""
    asked: int
    """Labels of pairs for which the file has a choice."""

    @property
    def path(self) -> Path:
        """The folder that holds the labels; a preference model can be trained on it."""
        return self.artefact.path

    @property
    def facts(self) -> Mapping[str, Any]:
        """Counts, and how good the labels look (`quality`)."""
        return self.artefact.facts

    @property
    def agreement(self) -> str | None:
        """How far the labels side with the file's own choices, in a sentence; None where it has none."""
        if not self.asked:
            return None
        return f"The labels side with the file's own choice on {self.right:,} of {self.asked:,} pairs"

    def labels(self) -> list[PairLabel]:
        """Every pair with its label, in the order in which they were judged."""
        return [_label(row) for row in self.artefact.rows(LabelRow)]


def label_pairs(
    out: Path,
    pairs: Path | Sequence[ReplyPair],
    recipe: Recipe,
    columns: Mapping[str, str] | None,
    display: Display,
    on: RayCluster | None = None,
) -> LabelledPairs:
    """Label in `out`, or go on; raises what `label_standalone` raises, and Interrupted when it was asked to stop."""
    constitution = constitution_path(recipe.constitution)
    judges = tuple(located(ModelSpec.parse(name or recipe.models.assistant)) for name in recipe.models.judges)
    with _file_of(pairs) as file, place_of(on, recipe.engine) as place:
        for line in place.remarks:
            display.remark(line)
        checker = judge_checker(recipe, load_constitution(constitution), GO_ON)
        given = ToLabel(
            file,
            constitution,
            judges,
            checker,
            load=place.open,
            columns=columns,
            executor=place.executor,
            made_with=place.made_with,
        )
        display.stage_started(1, NAME, 1)
        done = label_standalone(out, recipe, given, display.progress)
        display.stage_finished(NAME, done.manifest.rows, done.manifest.outcomes, done.manifest.seconds)
        read: PairFile = read_pairs(file, columns)
    right, asked = agreement(done.rows(LabelRow), read)
    return LabelledPairs(done, read.skipped, right, asked)


def unknown_prompts(recipe: Recipe, pairs: Path, columns: Mapping[str, str] | None) -> list[str]:
    """A warning where a bundled model is a judge and no prompt of the file is about a topic of the testbed.

    The labels of such a judge mean nothing for other texts. Raises what `read_pairs` raises.
    """
    judges = (name or recipe.models.assistant for name in recipe.models.judges)
    if not any(name.startswith(PREFIX) for name in judges):
        return []
    oracle = Oracle()
    if any(oracle.knows(each.prompt) for each in read_pairs(pairs, columns).pairs):
        return []
    return [
        "Warning: the bundled model reads only the testbed's texts, and none of these prompts is one; name a model: "
        "--recipe own --set model=FOLDER"
    ]


@contextmanager
def _file_of(pairs: Path | Sequence[ReplyPair]) -> Iterator[Path]:
    """The file of pairs; those in memory are written to a temporary one, which the same pairs give byte by byte."""
    if isinstance(pairs, Path):
        yield pairs
        return
    with TemporaryDirectory(prefix="solon-pairs-") as folder:
        path = Path(folder) / "pairs.jsonl"
        rows = (
            {
                "prompt": each.prompt if isinstance(each.prompt, str) else each.prompt.messages(),
                "response_a": each.response_a,
                "response_b": each.response_b,
            }
            for each in pairs
        )
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        yield path


def _label(row: LabelRow) -> PairLabel:
    return PairLabel(
        row_id=row.row_id,
        pair=row.pair,
        prompt=row.prompt,
        response_a=row.response_a,
        response_b=row.response_b,
        p_a=row.p_a,
        principle_id=row.principle_id,
        outcome=row.outcome,
        undecided_because=row.undecided_because,
    )
