"""Peak memory, time and resume of critique-revision by the number of prompts, on the scripted engine.

For each number a child process makes the replies, a second one runs four steps of critique and revision over them until
most answers are there, and a third one resumes. Each prints its peak resident memory. The seconds to the first new
answer after the interruption are the cost of a resume.
Run: python benchmarks/revision_scale.py [10000 25000 100000]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from solon.config.builtin import constitution_path
from solon.config.recipe import Recipe, RevisionSettings, SamplingParams
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.base import Completion
from solon.engines.scripted import ScriptedEngine
from solon.runs import RunDirectory
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind, ReplyRow
from solon.stages import s03_critique_revision
from solon.stages.s03_critique_revision import RevisionInputs

STEPS = 4
RESUMED_AT = 0.9
"""Share of saved answers when the interrupted run stops."""
TEXT = (
    "people would be hurt by this because it helps someone to take what is not theirs and there are ways to ask "
    "for help that do no harm to anybody so it is better to speak with a friend or with those who know the matter "
    "well"
)
WORDS = tuple(TEXT.split())


class Stopped(BaseException):
    """Ends the stage as `kill -9` would."""


class Writer(ScriptedEngine):
    """Writes texts of 20 to 39 words by seed; forgets its prompts, and stops after `most` of them."""

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__(written)
        self.left = most
        self.first: float | None = None

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """See `ScriptedEngine.generate`."""
        self.first = self.first or time.monotonic()
        if self.left <= 0:
            raise Stopped
        self.left -= len(prompts)
        completions = super().generate(prompts, seeds, sampling, stop)
        self.prompts.clear()
        return completions


def written(prompt: Prompt, seed: int) -> str:
    """A different text for every seed."""
    draw = random.Random(seed)
    return " ".join(draw.choices(WORDS, k=draw.randint(20, 39))) + "."


def replies(count: int) -> Iterator[ReplyRow]:
    """`count` replies to red-team prompts of two turns."""
    for number in range(count):
        turns = (Turn(Role.HUMAN, f"I have a plan, number {number}."), Turn(Role.ASSISTANT, "Which plan is that?"),
                 Turn(Role.HUMAN, f"To take {number} letters from my neighbour's box. How?"))  # fmt: skip
        prompt = Conversation(turns)
        yield ReplyRow(
            row_id=prompt.row_id,
            kind=PromptKind.RED_TEAM,
            sample=0,
            prompt=prompt,
            completion=f"Use a bent wire, {' '.join(WORDS[:20])} {number}.",
            finish="end",
            seed=number,
            outcome=Outcome.OK,
        )


def child(work: str, folder: Path, count: int) -> dict[str, float]:
    """Do one process's part; returns its figures."""
    constitution = constitution_path("harmlessness")
    run = RunDirectory.create(folder, Recipe(), constitution)
    begun = time.monotonic()
    if work == "prepare":
        run.begin(2, "responses", {}).publish(replies(count), ReplyRow)
        return {"seconds": time.monotonic() - begun}
    made = run.finished("responses")
    assert made is not None
    engine = Writer(count * STEPS * 2 * RESUMED_AT if work == "interrupted" else float("inf"))
    inputs = RevisionInputs(1, run.constitution, made)
    try:
        out = run.begin(3, "critique-revision", {})
        s03_critique_revision.run(RevisionSettings(steps=STEPS), inputs, engine, out)
    except Stopped:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": time.monotonic() - begun,
        "processor_seconds": time.process_time(),
        "to_first_answer": (engine.first or begun) - begun,
        "peak_mb": peak,
    }


def measured(work: str, folder: Path, count: int) -> dict[str, float]:
    """`child` in a process of its own."""
    words = [sys.executable, __file__, "--child", work, "--folder", str(folder), str(count)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure and print a line per number of prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", nargs="*", type=int, default=[10_000, 25_000, 100_000])
    parser.add_argument("--child")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child, given.folder, given.prompts[0])))
        return
    print(f"{'prompts':>8} {'peak MB':>8} {'seconds':>8} {'processor ms/answer':>18} {'resume s':>9}", flush=True)
    for count in given.prompts:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            path = Path(folder) / "run"
            measured("prepare", path, count)
            first, second = (measured(work, path, count) for work in ("interrupted", "resumed"))
            peak = max(first["peak_mb"], second["peak_mb"])
            seconds = first["seconds"] + second["seconds"]
            each = (first["processor_seconds"] + second["processor_seconds"]) / (count * STEPS * 2) * 1000
            print(f"{count:8d} {peak:8.0f} {seconds:8.0f} {each:18.3f} {second['to_first_answer']:9.1f}", flush=True)


if __name__ == "__main__":
    main()
