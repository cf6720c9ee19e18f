"""Run every command of the documentation, page by page, on stand-ins and at a small size.

The tests check that each command parses, and run the quick ones. This script runs the others too, and prints one line
for each: how it ended, its seconds, and the command; what a failed one said stands below its line. Each page has a
folder of its own with what its commands name (scripts/reference/stand_ins.py). Commands that need a hub, a cluster,
vLLM or GPUs are listed with what they need.
Run: python scripts/run_documented_commands.py [--page NAME] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.reference.commands_in import DocumentedCommand, documented_commands, pages
from scripts.reference.stand_ins import (
    RUNS,
    copy_run,
    edit_rules,
    known_ids,
    openai_server,
    with_address,
    write_blocks,
    write_files,
)
from tests.engines.served.llama_server import free_port

from solon.config.fetchable import fetched_directory

PREFERENCE = ("preference.training.epochs=1", "engine.threads=1")
SETTINGS = ("--set", "engine.window=1024", "--set", "engine.rendering=transcript")
"""What the bundled models need, as small.yaml has it, for commands without overlays."""
SIZES = {
    "attack": ("--rounds", "1", "--prompts", "4", "--seeds", "4", "--references", "4"),
    "axes": tuple(word for each in PREFERENCE for word in ("--set", each)),
    "compare": ("--count", "16", "--turns", "1"),
    "preference": tuple(word for each in PREFERENCE for word in ("--set", each)),
    "eval": ("--limit", "4"),
    "judge-check": ("--overlay", "small.yaml"),
    "harmfulness measure": ("--limit", "4", "--samples", "1", *SETTINGS),
    "testbed ratings": ("--count", "60"),
}
"""By the first words of a command, what is added to make it short. It overrules the same options before it."""
WITH_OVERLAY = ("run", "ablate", "label", "red-team", "axes")
NEEDS = {
    r"^demo$": "minutes",
    r"^reproduce --out": "hours",
    r"^(run|label|axes) .*--recipe real": "hours",
    r"^(?!.*--dry-run).*(hf:|=Qwen/)": "a hub",
    r"^models fetch ": "a download",
    r"vllm:": "vLLM",
    r"^elo .*runs/blind|comparison/helpfulness.jsonl": "people's votes",
    r"ray:": "a cluster",
    r"^run .*(--recipe scale-|runs/full)": "GPUs",
}
"""Patterns of commands that are not run here, and what they need. A dry run needs nothing."""
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

    @property
    def failed(self) -> bool:
        """Whether it ended badly; 130 is an interrupt of this script's."""
        return self.status not in {"0", "130"} and not self.status.startswith("needs")


def main() -> int:
    """Run the commands; 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", help="only the pages whose path contains this")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="documented-"))
    base = folder / "base"
    if not base.exists():
        write_files(base)
        solon(base, "run", "runs/demo", "--recipe", "testbed", "--overlay", "small.yaml", check=True)
        solon(base, "constitution", "export", "harmlessness", "--format", "llm-swarm", "--output", "swarm", check=True)
        shutil.copy(next((base / "swarm").glob("*.json")), base / "swarm.json")
        solon(base, "constitution", "export", "testbed", "--format", "yaml", "--output", "rules", check=True)
        edit_rules(base / "rules/testbed.yaml")
        copy_run(base)
    outcomes: list[Outcome] = []
    for page in pages():
        if not given.page or given.page in str(page):
            for outcome in run_page(page, base, folder / page.stem):
                outcomes.append(outcome)
                print(outcome.line(), *([outcome.output] if outcome.failed else []), sep="\n", flush=True)
    if given.keep is None:
        shutil.rmtree(folder)
    needing = sum(each.status.startswith("needs") for each in outcomes)
    failed = sum(each.failed for each in outcomes)
    print(f"{len(outcomes) - needing - failed} ran, {needing} need what is not here, {failed} failed")
    return min(failed, 1)


def run_page(page: Path, base: Path, place: Path) -> Iterator[Outcome]:
    """Run a page's commands in their order, in a folder of its own."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, place)
    write_blocks(page, place)
    stand_ins = {f"runs/{name}" for name in ("demo", *RUNS)} | {"pm", "rules"}
    for command in documented_commands(page):
        if need := needs(command.words):
            yield Outcome(command, f"needs {need}")
            continue
        made_here, aside = made_folder(command.words), place / "aside"
        if made_here in stand_ins:
            (place / made_here).rename(aside)  # the page makes it itself
        began = time.monotonic()
        ended = run_command(command, place)
        if aside.exists() and not (place / made_here).exists():
            aside.rename(place / made_here)  # it was only planned
        elif aside.exists():
            shutil.rmtree(aside)
            stand_ins.discard(made_here)
        output = ended.stdout[-2000:] + ended.stderr[-2000:]
        yield Outcome(command, str(ended.returncode), time.monotonic() - began, output)


def needs(words: Sequence[str]) -> str | None:
    """What a command needs that is not here; None where it can be run."""
    if "--dry-run" in words:
        return None
    line = " ".join(words)
    if any(not (fetched_directory() / name).exists() for name in re.findall(r"fetched:([\w.-]+)", line)):
        return "a download"
    return next((need for pattern, need in NEEDS.items() if re.search(pattern, line)), None)


def made_folder(words: Sequence[str]) -> str | None:
    """The folder that a command makes, or plans to make, where it may name a stand-in."""
    if words[0] in {"preference", "label"}:
        return words[1]
    if words[:2] == ("constitution", "export"):
        return words[words.index("--output") + 1]
    if words[0] == "run" and {"--recipe", "--reuse"} & set(words):
        return words[1]
    return None


def run_command(command: DocumentedCommand, place: Path) -> subprocess.CompletedProcess[str]:
    """Run one command in a page's folder, with a server beside it where it names one."""
    words = tuple(word.replace("rl-cai/20", "rl-cai/2") for word in command.words)  # a snapshot that the small run has
    words = known_ids(place / "runs/demo", words) if words[0] == "trace" else words
    words = tuple(name for word in words for name in (sorted(map(str, place.glob(word))) if "*" in word else [word]))
    with served(place, words) as words:
        ended = solon(place, *words, *sizes(words))
    if command.output:
        (place / command.output).write_text(ended.stdout)
    return ended


@contextmanager
def served(place: Path, words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The command with the address of a running server in place of the one that it names."""
    line = " ".join(words)
    if model := re.search(r"openai:([\w.-]+)@", line):
        with openai_server(model[1]) as url:
            yield with_address(words, url)
    elif "rl.scorer=http" in line:
        port = free_port()
        scorer = started(place, "serve-pm", "pm", "--port", str(port))
        try:
            yield with_address(words, f"http://127.0.0.1:{port}")
        finally:
            scorer.send_signal(signal.SIGINT)
            scorer.communicate()
    else:
        yield tuple(words)


def sizes(words: Sequence[str]) -> tuple[str, ...]:
    """What makes the command short."""
    if words[0] == "compare" and "--judge" not in words:
        return ()
    found = next((more for name, more in SIZES.items() if " ".join(words).startswith(name)), ())
    recipe = words[words.index("--recipe") + 1] if "--recipe" in words else "testbed" if words[0] == "ablate" else None
    if words[0] in WITH_OVERLAY and recipe in {"testbed", "own", "mine.yaml"}:
        return (*found, "--overlay", "small.yaml")
    return found


def solon(place: Path, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one command; one that waits for people is interrupted."""
    process = started(place, *words)
    waits = words[0] in WAITING or (words[0] == "compare" and "--judge" not in words and "--export" not in words)
    try:
        out, err = process.communicate("Hello\n/quit\n", timeout=WAIT if waits else None)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    if check and process.returncode:
        raise SystemExit(f"solon {' '.join(words)}:\n{out}{err}")
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def started(place: Path, *words: str) -> subprocess.Popen[str]:
    """One command of Solon in its folder, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "solon.cli", *words],
        cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
