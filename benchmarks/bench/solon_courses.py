"""Solon as a contestant in work without a peer, or beside itself: an edit, and stages at the speed of a script.

`whole` runs the testbed's recipe from nothing and `edited` runs it again after one of sixteen principles was edited,
reusing the first run, with the report of the effect. `labels` and `revisions` run the stages 06 and 03 over many rows
with an engine that answers at once. `memory` does so in a process of its own and reports that one's peak.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import solon
from benchmarks.peers.protocol import Floor
from benchmarks.peers.tasks import CourseTask, read_task
from solon.config.builtin import constitution_path
from solon.config.recipe import FeedbackSettings, Recipe, RevisionSettings, SamplingParams
from solon.constitution.writer import write_constitution
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.base import Completion
from solon.engines.scripted import ScriptedEngine
from solon.reporting.effect.effect_page import write_effect
from solon.runs import RunDirectory
from solon.runs.outcome import Outcome
from solon.runs.rows import PairRow, PromptKind, ReplyRow
from solon.stages import s03_critique_revision, s06_ai_feedback
from solon.stages.s03_critique_revision import RevisionInputs
from solon.stages.s06_ai_feedback import FeedbackInputs

TEXT = (
    "people would be hurt by this because it helps someone to take what is not theirs and there are ways to ask "
    "for help that do no harm to anybody so it is better to speak with a friend or with those who know"
)
WORDS = tuple(TEXT.split())
STEPS = 2
EDITED = "Choose the response that is less likely to lead to any harm to other people."


class Script(ScriptedEngine):
    """Writes texts of 20 to 39 words by seed, has a liking for one of two letters, and forgets what it was asked."""

    def __init__(self) -> None:
        super().__init__(_written, _liked)

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """See `ScriptedEngine.generate`."""
        self.prompts.clear()
        return super().generate(prompts, seeds, sampling, stop)

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        """See `ScriptedEngine.choose`."""
        self.prompts.clear()
        return super().choose(prompts, options)


def _liked(prompt: Prompt, option: str) -> float:
    """A log-probability that depends on question and letter."""
    return -0.7 - 0.1 * ((len(prompt.turns[-1].content) + ord(option[-1])) % 7)


def _written(prompt: Prompt, seed: int) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choices(WORDS, k=chance.randint(20, 39))) + "."


def _conversation(number: int) -> Conversation:
    turns = (Turn(Role.HUMAN, f"I have a plan, number {number}."), Turn(Role.ASSISTANT, "Which plan is that?"),
             Turn(Role.HUMAN, f"To take {number} letters from my neighbour's box. How?"))  # fmt: skip
    return Conversation(turns)


def _pairs(count: int) -> Iterator[PairRow]:
    for number in range(count):
        prompt = _conversation(number)
        yield PairRow(
            row_id=prompt.row_id, pair=1, prompt=prompt, response_a=f"No, that is theft: {' '.join(WORDS[:20])}.",
            response_b=f"Use a bent wire, number {number}.", outcome=Outcome.OK,
        )  # fmt: skip


def _replies(count: int) -> Iterator[ReplyRow]:
    for number in range(count):
        prompt = _conversation(number)
        yield ReplyRow(
            row_id=prompt.row_id, kind=PromptKind.RED_TEAM, sample=0, prompt=prompt, finish="end", seed=number,
            completion=f"Use a bent wire, {' '.join(WORDS[:20])} {number}.", outcome=Outcome.OK,
        )  # fmt: skip


def stage(way: str, rows: int) -> float:
    """Run a stage over so many rows in a new folder; returns how many rows it made."""
    with tempfile.TemporaryDirectory() as name:
        run = RunDirectory.create(Path(name) / "run", Recipe(), constitution_path("harmlessness"))
        engine = Script()
        if way == "labels":
            pairs = run.begin(5, "response-pairs", {}).publish(_pairs(rows), PairRow)
            given = FeedbackInputs(1, run.constitution, pairs)
            s06_ai_feedback.run(FeedbackSettings(), given, engine, run.begin(6, "ai-feedback", {}))
            return rows
        replies = run.begin(2, "responses", {}).publish(_replies(rows), ReplyRow)
        inputs = RevisionInputs(1, run.constitution, replies)
        out = run.begin(3, "critique-revision", {})
        s03_critique_revision.run(RevisionSettings(steps=STEPS), inputs, engine, out)
        return rows * STEPS


def edited_constitution(folder: Path) -> Path:
    """The testbed's constitution with other words in its first preference principle."""
    given = solon.load_constitution("testbed")
    first, *others = given.preference
    changed = replace(given, preference=(replace(first, instruction=EDITED), *others))
    path = folder / "edited.yaml"
    path.write_text(write_constitution(changed), encoding="utf-8")
    return path


class Course:
    """Runs of the testbed's recipe, each in a new folder."""

    def __init__(self, settings: tuple[str, ...], folder: Path) -> None:
        self.settings, self.folder, self.count = settings, folder, 0

    def whole(self) -> solon.Run:
        """A run from nothing."""
        self.count += 1
        return solon.run("testbed", self.folder / f"whole-{self.count}", settings=self.settings)

    def edited(self, first: solon.Run) -> None:
        """A run that reuses `first` after the edit, and the page of the effect."""
        self.count += 1
        path = self.folder / f"edited-{self.count}"
        settings = (*self.settings, f"constitution={edited_constitution(self.folder)}")
        found = solon.effect(first, solon.run("testbed", path, settings=settings, reuse=[first]))
        write_effect(found, path / "effect.html")


def peak_of(rows: int) -> float:
    """The peak memory of labelling so many rows, in a process of its own, in MB."""
    words = [sys.executable, "-m", "benchmarks.bench.solon_courses", "--peak", str(rows)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout))


def main() -> None:
    """Arguments: the task's file, the way, the dtype; or --peak and a number of rows."""
    if sys.argv[1] == "--peak":
        stage("labels", int(sys.argv[2]))
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
        return
    floor = Floor()
    path, way, _ = sys.argv[1:]
    task = read_task(CourseTask, path)
    with tempfile.TemporaryDirectory() as name:
        course = Course(tuple(task.settings), Path(name))
        first = course.whole() if way == "edited" else None
        floor.ready("solon", "torch", "transformers")
        while floor.asked():
            if first is not None:
                course.edited(first)
                floor.answer(1)
            elif way == "whole":
                course.whole()
                floor.answer(1)
            elif way.startswith("memory"):
                rows = task.rows if way == "memory" else task.rows // 10
                floor.answer(rows, peak_mb=peak_of(rows))
            else:
                floor.answer(stage(way, task.rows))


if __name__ == "__main__":
    main()
