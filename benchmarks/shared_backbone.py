"""Twenty steps of PPO with LoRA on SmolLM2 and real prompts, all networks on one frozen backbone: reward, KL, memory.

The overlay `shared-backbone` is laid over the recipe `real`, and the preference model learns from the short ones of
hh-rlhf's comparisons, too. Stages 01 to 07 run in one child process and stage 08 in another, and the peak
resident memory of each is printed. An existing run is resumed, or its figures are printed again.
Run: python benchmarks/shared_backbone.py runs/shared [FILE_OF_COMPARISONS]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DIALOGUES = Path("../shared/hh-rlhf/harmless-base-test-part.jsonl.gz")
LONGEST = 500
"""Characters of a line of the file, which holds a dialogue twice: about 120 tokens in both."""
WINDOW = 5
"""Steps at each end that are compared."""


def short_comparisons(dialogues: Path, out: Path) -> int:
    """Write the comparisons of a gzipped JSONL file that are short enough, and count them."""
    with gzip.open(dialogues, "rt", encoding="utf-8") as lines:
        short = [line for line in lines if len(line) < LONGEST]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(short), encoding="utf-8")
    return len(short)


def peak_of(arguments: Sequence[str]) -> float:
    """Run `solon` with the arguments in a child process; its peak resident memory in MB. Exits when it fails."""
    child = subprocess.Popen([sys.executable, "-m", "solon.cli", *arguments])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(os.waitstatus_to_exitcode(status))
    return usage.ru_maxrss / 1024


def summary(metrics: Sequence[dict[str, float]], name: str) -> str:
    """Mean and standard deviation of a figure over the first and the last steps."""
    figures = [float(row[name]) for row in metrics]
    ends = (figures[:WINDOW], figures[-WINDOW:])
    first, last = (f"{statistics.mean(end):7.3f} ± {statistics.stdev(end):.3f}" for end in ends)
    return f"{name:10} first {WINDOW} steps {first}   last {WINDOW} steps {last}   greatest {max(figures):.3f}"


def main() -> None:
    """Run the unfinished stages and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("comparisons", type=Path, nargs="?", default=DIALOGUES, help="hh-rlhf's file")
    parser.add_argument("--reuse", type=Path, help="an earlier run; its equal stages are reused")
    parser.add_argument("--set", action="append", default=[], help="further settings, as for `solon run`")
    given = parser.parse_args()
    if not (given.run / "run.json").exists():
        short = given.run.with_name("short-comparisons.jsonl")  # the same for all runs in this folder, for --reuse
        print(f"{short_comparisons(given.comparisons, short)} short comparisons")
        sources = (f"prompts.red_team={given.comparisons}", f"measure.harmful={given.comparisons}")
        settings = [*sources, f"preference.human_helpfulness={short}", *given.set]
        begin = ["run", str(given.run), "--recipe", "real", "--overlay", "shared-backbone"]
        begin += [word for each in settings for word in ("--set", each)]
        begin += ["--reuse", str(given.reuse)] if given.reuse else []
        print(f"stages 01 to 07: peak {peak_of([*begin, '--until', 'preference-model']):,.0f} MB")
    print(f"stage 08: peak {peak_of(['run', str(given.run), '--until', 'rl-cai']):,.0f} MB")
    folder = given.run / "08-rl-cai"
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for name in ("score", "reward", "kl", "entropy", "length"):
        print(summary(metrics, name))
    facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["facts"]
    seconds = {name: round(figure / len(metrics), 1) for name, figure in facts["seconds"].items()}
    print(f"{len(metrics)} steps, seconds of each: {sum(seconds.values()):.1f} {seconds}")


if __name__ == "__main__":
    main()
