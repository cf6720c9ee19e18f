"""Run the whole method, small, and print what it measured.

    python examples/01_run_and_report.py [FOLDER]

A second time it only reads the finished run; after Ctrl-C it goes on where it stopped.
"""

import sys
from pathlib import Path

import solon

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example")

# The recipe `testbed` runs on two small models that come with Solon; the overlay makes the run short.
run = solon.run("testbed", folder, overlays=[Path(__file__).with_name("small.yaml")])

# Every figure is a share of replies to held-out prompts, with its 95 % interval.
print(f"{'model':<12}{'harmful, %':>20}{'helpful, %':>20}")
for model, measures in run.results()["models"].items():
    cells = [
        f"{share['value']:.0%} [{share['low']:.0%}-{share['high']:.0%}]".replace("%", "")
        for share in (measures["harmful"], measures["helpful"])
    ]
    print(f"{model:<12}{cells[0]:>20}{cells[1]:>20}")

# The trained models are ordinary model folders.
print(f"SL-CAI: {run.model('sl-cai')}")
print(f"RL-CAI: {run.model('rl-cai')}")
print(f"Report: {solon.report(run)}")
