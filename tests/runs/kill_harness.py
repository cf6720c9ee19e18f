"""Kills a small run with SIGKILL at its n-th durable operation, for every n, and resumes it; run as a program.

    python kill_harness.py FOLDER FIRST LAST STEP DEPTH

Every attempt is a forked child that sends itself SIGKILL right before its n-th flush, rename, cut or removal, or
halfway through its n-th write, for n = FIRST, FIRST + STEP ... below LAST, or until a child outlives its n. Up to DEPTH
kills in a row hit the run and then its resumes. Prints a JSON list: for each n how often it was killed, the hash of
what came out, the files there, and how often each item was asked.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.row_types import ExampleRow, ScoreRow

from solon.config.recipe import Recipe
from solon.conversation import Conversation, Role, Turn
from solon.digest import digest, digest_file, uniform_for
from solon.runs import Artefact, RunDirectory, StageFolder
from solon.runs.outcome import Outcome
from solon.runs.records import to_record

CONSTITUTION = """\
name: c
revision: [{id: a, critique_request: b, revision_request: c}]
preference: [{id: a, instruction: b}]
"""


def run(folder: Path, asked: Path) -> None:
    """Create or resume a run of two stages; the second one trains a "model" with checkpoints."""
    (folder.parent / "c.yaml").write_text(CONSTITUTION)
    directory = RunDirectory.create(folder, Recipe(), folder.parent / "c.yaml")
    with directory.lock():
        first = directory.finished("first", {"seed": 1}) or write(directory.begin(1, "first", {"seed": 1}), asked)
        key = {"seed": 1, "inputs": {"first": first.hash}}
        if directory.finished("second", key) is None:
            train(directory.begin(2, "second", key), first)


def write(out: StageFolder, asked: Path) -> Artefact:
    def work(phase: str) -> Callable[[Sequence[int]], list[ExampleRow]]:
        def ask(items: Sequence[int]) -> list[ExampleRow]:
            with asked.open("a") as log:
                log.writelines(f"{phase} {item}\n" for item in items)
            return [row(phase, item) for item in items if item % 5]

        return ask

    rows = out.map("reply", range(10), work("reply"), row=ExampleRow, chunk=4)
    rows += out.map("again", range(3), work("again"), row=ExampleRow, chunk=2)
    return out.publish(rows, ExampleRow, facts={"n": len(rows)})


def row(phase: str, item: int) -> ExampleRow:
    prompt = Conversation((Turn(Role.HUMAN, f"{phase} {item} \u2028 é"),))
    return ExampleRow(digest(phase, item), prompt, None, Outcome.OK if item % 2 else Outcome.EMPTY)


def train(out: StageFolder, first: Artefact) -> None:
    scores = [ScoreRow(row.row_id, uniform_for(row.row_id)) for row in first.rows(ExampleRow)]
    checkpoint = out.path / "checkpoints" / "state.json"
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.write_text("1")
    out.report(1, 1)
    (out.path / "model").mkdir(exist_ok=True)
    (out.path / "model" / "weights.json").write_text(json.dumps([to_record(score) for score in scores]))
    out.publish(scores, ScoreRow, files=["model"])


def kill_at(point: int) -> None:
    """Make the `point`-th durable operation from now on the last thing that this process meant to do."""
    left = [point]

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*args, **kwargs)

        return wrapped

    def torn_write(descriptor: int, data: Any) -> int:
        left[0] -= 1
        if left[0] == 0:
            write_half(descriptor, bytes(data)[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write_half(descriptor, data)

    write_half, os.write = os.write, torn_write
    for name in ("fsync", "replace", "ftruncate", "unlink", "rmdir", "pwrite", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def attempt(folder: Path, asked: Path, point: int | None) -> bool:
    """Run in a child, killed at `point`; whether it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if point is not None:
                kill_at(point)
            run(folder, asked)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"the child failed at point {point}")
    return not os.WIFSIGNALED(status)


def outcome(folder: Path, asked: Path) -> dict[str, Any]:
    kept = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.stat().st_size
    )
    hashes = {
        name: json.loads((folder / name).read_text())["hash"]
        if name.endswith("manifest.json")
        else digest_file(folder / name)
        for name in kept
    }
    return {"hash": digest(hashes), "files": kept, "asked": dict(Counter(asked.read_text().splitlines()))}


def main() -> None:
    base, first, last, step, depth = Path(sys.argv[1]), *map(int, sys.argv[2:])
    folder, asked = base / "run", base / "asked"
    results: list[ExampleRow] = []
    for point in range(first, last, step):
        shutil.rmtree(folder, ignore_errors=True)
        asked.write_text("")
        kills = 0
        for again in range(depth):
            # The first kill comes at `point`; the resumes are killed soon after they began, each at another place.
            if attempt(folder, asked, point if again == 0 else 1 + (3 * point + 5 * again) % 17):
                break
            kills += 1
        else:
            attempt(folder, asked, None)
        results.append({"point": point, "kills": kills, **outcome(folder, asked)})
        if kills == 0:
            break
    print(json.dumps(results))


if __name__ == "__main__":
    main()
