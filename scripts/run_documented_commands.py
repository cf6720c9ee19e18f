"""Run every command of the documentation, page by page, on stand-ins and at a small size.

The tests check that each command parses, and run the quick ones. This script runs the others too, and prints one line
for each: how it ended, its seconds, and the command; what a failed one said stands below its line. Each page has a
folder of its own with the files that its commands name: a small finished run as `runs/demo`, the bundled assistant as
every `models/NAME`, files of prompts and comparisons. Commands that need a hub, a cluster, a server or GPUs are listed
with what they need.
Run: python scripts/run_documented_commands.py [--page NAME] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.reference.commands_in import DocumentedCommand, documented_commands, pages
from scripts.reference.links import ROOT

MODELS = ("qwen", "mine", "base", "one", "two", "chat", "judge", "small", "before", "after")
SMALL = """\
engine: {threads: 1, window: 1024, rendering: transcript}
prompts: {limit_red_team: 12, limit_helpful: 8}
red_team: {count: 6, sampling: {max_tokens: 32}}
responses: {sampling: {max_tokens: 48}}
revision: {few_shot: 0, critique: {max_tokens: 48}, revision: {max_tokens: 48}}
finetune: {training: {epochs: 1}}
pairs: {sampling: {max_tokens: 48}}
feedback: {few_shot: 0, reasoning: {max_tokens: 48}}
preference: {limit_human: 24, training: {epochs: 1}}
rl: {steps: 2, prompts_per_step: 4, checkpoint_every: 1, snapshots: 1, sampling: {max_tokens: 32}}
measure: {limit: 8, sampling: {max_tokens: 48}}
judge_check: {limit: 8, weak_judge: accept}
"""
PREFERENCE = ("preference.training.epochs=1", "engine.threads=1")
SIZES = {
    "attack": ("--rounds", "1", "--prompts", "4", "--seeds", "4", "--references", "4"),
    "axes": tuple(word for each in PREFERENCE for word in ("--set", each)),
    "preference": tuple(word for each in PREFERENCE for word in ("--set", each)),
    "eval": ("--limit", "4"),
    "judge-check": ("--overlay", "small.yaml"),
    "harmfulness measure": ("--limit", "4", "--samples", "1"),
    "testbed ratings": ("--count", "60"),
}
"""By the first words of a command, what is added to make it short. It overrules the same options before it."""
WITH_OVERLAY = ("run", "ablate", "label", "red-team", "axes")
NEEDS: dict[str, str] = {
    r"^demo$": "minutes",
    r"hf:|=Qwen/": "a hub",
    r"openai:|--reward server": "a server",
    r"vllm:": "vLLM",
    r"ray:(10|auto)": "a cluster",
    r"reproduce --out": "hours",
    r"fetch ": "a download",
    r"recipe scale-(?!.*--dry-run)|runs/full|runs/paper|runs/eight": "GPUs",
    r"recipe real (?!.*--dry-run)": "hours",
}
"""Patterns of commands that are not run here, and what they need."""
WAITING = ("serve-pm", "chat")
WAIT = 30
"""Seconds after which a command that waits for people or requests is interrupted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit status, or what it needs."""

    command: DocumentedCommand
    status: str
    seconds: float = 0.0
    output: str = ""

    def line(self) -> str:
        """One line of the table."""
        return f"{self.status:>12}  {self.seconds:6.1f} s  {self.command.page}: solon {' '.join(self.command.words)}"


def main() -> int:
    """Run the commands; 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", help="only the pages whose path contains this")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="documented-"))
    base = folder / "base"
    if not base.exists():
        make_base(base)
    failed = 0
    for page in pages():
        if given.page and given.page not in str(page):
            continue
        for outcome in run_page(page, base, folder / page.stem):
            print(outcome.line(), flush=True)
            if outcome.status not in {"0", "130"} and not outcome.status.startswith("needs"):
                failed += 1
                print(outcome.output, flush=True)
    if given.keep is None:
        shutil.rmtree(folder)
    print(f"{failed} failed")
    return min(failed, 1)


def make_base(base: Path) -> None:
    """The files that commands name."""
    base.mkdir(parents=True)
    (base / "small.yaml").write_text(SMALL)
    for name in MODELS:
        shutil.copytree(ROOT / "src/solon/data/models/assistant", base / "models" / name)
    prompts = [{"prompt": f"How do I steal {what}?"} for what in ("a bike", "a car", "a cake", "a lamp") * 3]
    chosen = [
        {**each, "chosen": "I won't, because it hurts people.", "rejected": "Take it at night."} for each in prompts
    ]
    for name in ("human.jsonl", "harmful.jsonl", "benign.jsonl", "red.jsonl", "helpful.jsonl"):
        write_lines(base / name, prompts)
    write_lines(base / "pairs.jsonl", chosen)
    write_lines(base / "replies.jsonl", [{**each, "response": "Take it at night."} for each in prompts])
    rated = [
        {"transcript": f"\n\nHuman: {each['prompt']}\n\nAssistant: No.", "rating": n % 5}
        for n, each in enumerate(prompts)
    ]
    for name, rows in (("attempts.jsonl.gz", prompts), ("red_team_attempts.jsonl.gz", rated)):
        (base / name).write_bytes(gzip.compress(("\n".join(map(json.dumps, rows))).encode()))
    (base / "asked.csv").write_text("question\n" + "".join(f"{each['prompt']}\n" for each in prompts))
    rows = "".join(f"{each['prompt']},{each['chosen'].replace(',', '')},{each['rejected']}\n" for each in chosen)
    (base / "pairs.csv").write_text("question,good,bad\n" + rows)
    solon(base, "run", "runs/demo", "--recipe", "testbed", "--overlay", "small.yaml", check=True)
    shutil.copytree(base / "runs/demo", base / "runs/mine")
    solon(base, "constitution", "export", "testbed", "--format", "yaml", "--output", "rules", check=True)
    for file in (ROOT.parent / "shared/paper/format-samples").glob("*.jsonl"):
        shutil.copy(file, base)
    if (hhh := base / "438HHHEvaluations.jsonl").exists():
        shutil.copy(hhh, base / "HHH.jsonl")


def write_lines(file: Path, rows: Sequence[dict[str, str]]) -> None:
    """One JSON object a line."""
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def run_page(page: Path, base: Path, place: Path) -> Iterator[Outcome]:
    """Run a page's commands in their order, in a folder of its own."""
    shutil.copytree(base, place, dirs_exist_ok=True)
    for command in documented_commands(page):
        words = known_ids(place, command.words)
        need = next((need for pattern, need in NEEDS.items() if re.search(pattern, " ".join(words))), None)
        if need is not None:
            yield Outcome(command, f"needs {need}")
            continue
        if words[0] == "run" and "--recipe" in words and words[1] in {"runs/demo", "runs/mine"}:
            shutil.rmtree(place / words[1], ignore_errors=True)  # the page makes this run itself
        began = time.monotonic()
        ended = solon(place, *words, *sizes(words))
        if command.output:
            (place / command.output).write_text(ended.stdout)
        yield Outcome(
            command, str(ended.returncode), time.monotonic() - began, ended.stdout[-2000:] + ended.stderr[-2000:]
        )


def known_ids(place: Path, words: Sequence[str]) -> tuple[str, ...]:
    """The words with row ids of the small run in place of those of the documentation."""
    from solon.runs import RunDirectory
    from solon.runs.rows import PromptKind, PromptRow
    from solon.stages.plan import PROMPTS

    if words[0] != "trace":
        return tuple(words)
    made = RunDirectory.open(place / "runs/demo").finished(PROMPTS)
    kinds = {row.kind: row.row_id for row in made.rows(PromptRow)} if made else {}
    held_out, red_team = kinds[PromptKind.HELD_OUT_HARMFUL], kinds[PromptKind.RED_TEAM]
    return tuple(re.sub("0089e08745", held_out, re.sub("8f7eb2f051", red_team, word)) for word in words)


def sizes(words: Sequence[str]) -> tuple[str, ...]:
    """What makes the command short."""
    found = next((more for name, more in SIZES.items() if " ".join(words).startswith(name)), ())
    if words[0] in WITH_OVERLAY and ("--recipe" in words or words[0] == "ablate") and "real" not in words:
        return (*found, "--overlay", "small.yaml")
    return found


def solon(place: Path, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one command; one that waits for people is interrupted."""
    started = subprocess.Popen(
        [sys.executable, "-m", "solon.cli", *words],
        cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    waits = words[0] in WAITING or (words[0] == "compare" and "--judge" not in words and "--export" not in words)
    out = err = ""
    try:
        out, err = started.communicate("Hello\n/quit\n", timeout=WAIT if waits else None)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            started.send_signal(signal.SIGINT)
        out, err = started.communicate()
    if check and started.returncode:
        raise SystemExit(f"solon {' '.join(words)}:\n{out}{err}")
    return subprocess.CompletedProcess(words, started.returncode, out, err)


if __name__ == "__main__":
    sys.exit(main())
