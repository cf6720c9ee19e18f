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
from collections.abc import Callable, Iterator, Sequence
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


class StageRows:
    """A stage over so many rows, which are written before it is measured; each time in a folder of its own."""

    def __init__(self, way: str, rows: int, folder: Path) -> None:
        self.way, self.count = way, 0
        self.run = RunDirectory.create(folder / "run", Recipe(), constitution_path("harmlessness"))
        if way == "labels":
            self.given = self.run.begin(5, "response-pairs", {}).publish(_pairs(rows), PairRow)
        else:
            self.given = self.run.begin(2, "responses", {}).publish(_replies(rows), ReplyRow)
        self.made = rows if way == "labels" else rows * STEPS

    def once(self) -> int:
        """Run the stage; returns how many rows it made."""
        self.count += 1
        engine, constitution = Script(), self.run.constitution
        if self.way == "labels":
            out = self.run.begin(6, f"ai-feedback-{self.count}", {})
            s06_ai_feedback.run(FeedbackSettings(), FeedbackInputs(1, constitution, self.given), engine, out)
        else:
            out = self.run.begin(3, f"critique-revision-{self.count}", {})
            inputs = RevisionInputs(1, constitution, self.given)
            s03_critique_revision.run(RevisionSettings(steps=STEPS), inputs, engine, out)
        return self.made


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

    def edited(self, first: solon.Run) -> Path:
        """A run that reuses `first` after the edit; returns the page of the effect."""
        self.count += 1
        path = self.folder / f"edited-{self.count}"
        settings = (*self.settings, f"constitution={edited_constitution(self.folder)}")
        found = solon.effect(first, solon.run("testbed", path, settings=settings, reuse=[first]))
        return write_effect(found, path / "effect.html")


def peak_of(rows: int) -> float:
    """The peak memory of labelling so many rows, in a process of its own, in MB."""
    words = [sys.executable, "-m", "benchmarks.bench.solon_courses", "--peak", str(rows)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout))


def work_of(way: str, task: CourseTask, folder: Path) -> Callable[[], tuple[float, float | None]]:
    """What a repeat does; it returns the amount, and the peak memory of another process if one did the work."""
    course = Course(tuple(task.settings), folder)
    if way == "whole":
        return lambda: (len([course.whole()]), None)
    if way == "edited":
        first = course.whole()
        return lambda: (len([course.edited(first)]), None)
    if way.startswith("memory"):
        rows = task.rows if way == "memory" else task.rows // 10
        return lambda: (rows, peak_of(rows))
    stage = StageRows(way, task.rows, folder)
    return lambda: (stage.once(), None)


def main() -> None:
    """Arguments: the task's file, the way, the dtype; or --peak and a number of rows."""
    with tempfile.TemporaryDirectory() as name:
        if sys.argv[1] == "--peak":
            StageRows("labels", int(sys.argv[2]), Path(name)).once()
            print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
            return
        floor = Floor()
        path, way, _ = sys.argv[1:]
        work = work_of(way, read_task(CourseTask, path), Path(name))
        floor.ready("solon", "torch", "transformers")
        while floor.asked():
            amount, peak = work()
            floor.answer(amount, peak_mb=peak)


if __name__ == "__main__":
    main()
