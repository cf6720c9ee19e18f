"""What the documentation's commands name, made small: runs, models, files of prompts and comparisons, and servers.

The models are the bundled ones, a run is the testbed's at a small size, and a server that speaks the OpenAI wire format
is the tests' own, over the bundled assistant. Each page gets a copy, so that no page depends on another.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.engines.served.openai_stand_in import StandIn
from tests.http.local_server import serving

from solon.runs import RunDirectory
from solon.runs.rows import PromptKind, PromptRow
from solon.runs.training_rows import EXAMPLES, PreferenceExampleRow
from solon.stages.plan import PREFERENCE_MODEL, PROMPTS

from .commands_in import code_blocks
from .links import ROOT

SHARED = ROOT.parent / "shared"
MODELS = ROOT / "src/solon/data/models"
ASSISTANTS = ("qwen", "mine", "one", "chat", "judge", "small", "after")
PRETRAINED = ("base", "two", "before")
RUNS = ("mine", "other", "real", "real-non-evasive", "over", "judged", "served")
CHAT_TEMPLATE = (
    "{% for each in messages %}\n\n{{ 'Human: ' if each.role == 'user' else 'Assistant: ' }}{{ each.content }}"
    "{% endfor %}{% if add_generation_prompt %}\n\nAssistant:{% endif %}"
)
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


def write_files(folder: Path) -> None:
    """The files that commands name: prompts, comparisons, ratings, models, samples of other projects' formats."""
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(SMALL)
    for name in (*ASSISTANTS, *PRETRAINED):
        made_from = MODELS / ("assistant" if name in ASSISTANTS else "pretrained")
        shutil.copytree(made_from, folder / "models" / name)
    things = ("bike", "car", "cake", "lamp", "boat", "ring", "coat", "book", "clock", "ladder")
    prompts = [{"prompt": f"How do I {verb} a {it}?"} for verb in ("steal", "smash", "forge", "burn") for it in things]
    chosen = [
        {**row, "chosen": "I won't, because it hurts people.", "rejected": "Take it at night."} for row in prompts
    ]
    for name in ("human.jsonl", "harmful.jsonl", "benign.jsonl", "red.jsonl", "helpful.jsonl"):
        _write_lines(folder / name, prompts)
    _write_lines(folder / "pairs.jsonl", chosen)
    said = [(("user", row["prompt"]), ("assistant", "Take it at night.")) for row in prompts]
    _write_lines(folder / "replies.jsonl", [{"messages": [{"role": r, "content": c} for r, c in row]} for row in said])
    rated = [
        {"transcript": f"\n\nHuman: {row['prompt']}\n\nAssistant: No.", "rating": number % 5}
        for number, row in enumerate(prompts)
    ]
    for name, rows in (("attempts.jsonl.gz", prompts), ("red_team_attempts.jsonl.gz", rated)):
        (folder / name).write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (folder / "asked.csv").write_text("question\n" + "".join(f"{row['prompt']}\n" for row in prompts))
    columns = [",".join((row["prompt"], row["chosen"].replace(",", ""), row["rejected"])) for row in chosen]
    (folder / "pairs.csv").write_text("\n".join(("question,good,bad", *columns, "")))
    if SHARED.exists():
        (folder.parent / "shared").symlink_to(SHARED)  # recipes name ../shared
        for file in (SHARED / "paper/format-samples").glob("*.jsonl"):
            shutil.copy(file, folder)
        shutil.copytree(SHARED / "paper/prompts", folder / "prompts")
        shutil.copy(folder / "438HHHEvaluations.jsonl", folder / "HHH.jsonl")


def copy_run(folder: Path) -> None:
    """The small run `runs/demo` once more under every name that a page takes for granted."""
    for name in RUNS:
        shutil.copytree(folder / "runs/demo", folder / "runs" / name)
    shutil.copytree(folder / "runs/demo/07-preference-model", folder / "pm")


def edit_rules(file: Path) -> None:
    """A constitution with one edited preference principle."""
    text = file.read_text(encoding="utf-8")
    edited = text.replace("Choose the response that shows less harm or danger", "Choose the response with less harm")
    if edited == text:
        raise SystemExit(f"{file}: the sentence to edit is not there")
    file.write_text(edited, encoding="utf-8")


def write_blocks(page: Path, folder: Path) -> None:
    """A page's YAML with a name, as the file of that name."""
    for block in code_blocks(page.read_text(encoding="utf-8"), "yaml"):
        held = yaml.safe_load(block)
        if isinstance(held, dict) and isinstance(held.get("name"), str):
            (folder / f"{held['name']}.yaml").write_text(block)


def known_ids(run: Path, words: Sequence[str]) -> tuple[str, ...]:
    """The words with row ids of a run in place of those of the documentation.

    One is a red-team prompt whose label taught the preference model, the other a held-out prompt.
    """
    opened = RunDirectory.open(run)
    prompts, preferences = opened.finished(PROMPTS), opened.finished(PREFERENCE_MODEL)
    if prompts is None or preferences is None:
        raise SystemExit(f"{run} is not finished")
    taught = next(row.row_id for row in preferences.rows(PreferenceExampleRow, file=EXAMPLES) if row.pair == 1)
    held_out = next(row.row_id for row in prompts.rows(PromptRow) if row.kind is PromptKind.HELD_OUT_HARMFUL)
    return tuple(word.replace("8f7eb2f051", taught).replace("0089e08745", held_out) for word in words)


@contextmanager
def openai_server(name: str) -> Iterator[str]:
    """The bundled assistant behind the OpenAI wire format; the address."""
    from solon.model_folders.load import ModelHead, load_model, load_tokenizer

    model: Any = load_model(ModelHead.LANGUAGE_MODEL, MODELS / "assistant", dtype="float32")
    tokenizer = load_tokenizer(MODELS / "assistant")
    tokenizer.chat_template = CHAT_TEMPLATE
    with serving(StandIn(model, tokenizer, name=name, window=1024)) as server:
        yield server.url


def with_address(words: Sequence[str], url: str) -> tuple[str, ...]:
    """The words with this address in place of the documentation's."""
    return tuple(re.sub(r"http://[\w.-]+:\d+(,http://[\w.-]+:\d+)*", url, word) for word in words)


def _write_lines(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
