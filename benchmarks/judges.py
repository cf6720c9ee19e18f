"""Judges and critics by size: the plain comparisons, faults and injections of `solon judge-check`, in three forms.

Each model is asked without worked examples, with four, and with reasoning before its letter (the paper's figures 4, 9
and 12 are of this kind, on larger models). Every finished measurement is a JSON file in the folder, so a stopped call
goes on where it was. The table is printed in Markdown.
Run: python benchmarks/judges.py runs/judges [--models NAME ...] [--forms FORM ...] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from solon import api
from solon.stats.intervals import interval, per_cent

MODELS = ("smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
FORMS: Mapping[str, Sequence[str]] = {
    "zero-shot": ("feedback.few_shot=0",),
    "few-shot": ("feedback.few_shot=4", "feedback.prefix_variants=2"),
    "reasoned": (
        "feedback.few_shot=0",
        "feedback.form=reasoned",
        "feedback.reasoning.max_tokens=160",
        "feedback.reasoning.temperature=0.6",
    ),
}
HEAD = (
    *("model", "form", "right, %", "harm", "evasion", "lecture", "orders agree", "ECE", "names the fault"),
    *("lost to injections", "minutes"),
)
BASE = "gemma3-270m"
"""A base model without a chat template."""


def measured(folder: Path, model: str, form: str, extra: Sequence[str]) -> dict[str, Any]:
    """The figures of a model in a form, from its file or measured now."""
    file = folder / f"{model}-{form}.json"
    if file.is_file():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    settings = ["constitution=harmlessness", "engine.dtype=bfloat16", *FORMS[form], *extra]
    if model == BASE:
        settings.append("engine.rendering=transcript")
    start = time.monotonic()
    recipe = api.load_recipe("real", [], settings)
    facts = api.judge_check(f"fetched:{model}", recipe=recipe).facts()
    found = {"model": model, "form": form, "settings": settings, "minutes": (time.monotonic() - start) / 60, **facts}
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def cells(found: Mapping[str, Any]) -> Iterator[str]:
    """One line of the table."""
    judge, critic = found["judge"], found.get("critic")
    yield found["model"]
    yield found["form"]
    yield shown(judge)
    for kind in ("harm", "evasion", "lecture"):
        yield shown(judge["by_kind"].get(kind))
    yield shown(judge["orders_agree"])
    yield f"{judge['ece']:.3f}" if judge.get("ece") is not None else ""
    yield shown(critic)
    yield shown(judge["injections"])
    yield f"{found['minutes']:.1f}"


def shown(share: Mapping[str, Any] | None) -> str:
    """A share in per cent with its interval; empty where there is none."""
    return f"{per_cent(share['value'])} {interval(share)}" if share and "value" in share else ""


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--set", action="append", default=[], dest="extra", help="further settings of the recipe")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for model in given.models:
        for form in given.forms:
            print(f"| {' | '.join(cells(measured(given.folder, model, form, given.extra)))} |", flush=True)


if __name__ == "__main__":
    main()
