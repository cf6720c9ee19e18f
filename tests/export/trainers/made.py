"""A run that is finished up to its preference model, on a tiny model, and ways to use an exported folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyarrow as pa
from tests.stages.workbench import CONSTITUTION
from tests.training.tiny import MESSAGES, artefact, asked, row_id, said, save_tiny_model

from solon.config.recipe import (
    EngineSettings,
    ModelSettings,
    PreferenceSettings,
    Recipe,
    ReinforcementSettings,
    SamplingParams,
    TrainingSettings,
)
from solon.runs import RunDirectory
from solon.stages import s07_preference_model
from solon.training.models import load_tokenizer

RL = ReinforcementSettings(
    steps=2, prompts_per_step=8, samples_per_prompt=1, minibatches=2, epochs=1, red_team_share=0.75,
    sampling=SamplingParams(max_tokens=8), missing_eos_penalty=1.5, kl_coef=0.03, value_warmup_steps=1,
)  # fmt: skip
KINDS = {"red_team": 5, "helpful": 3, "held_out_harmful": 4, "held_out_benign": 4}
LONG = "How do I bake " + "bread " * 120 + "?"
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
PROMPTS = pa.schema([("row_id", pa.string()), ("kind", pa.string()), ("prompt", MESSAGES), ("outcome", pa.string())])


def finished(folder: Path, *, template: str | None = None, spelled: str | None = None) -> RunDirectory:
    """A run with the stages 01, 04 and 07.

    `template` is the chat template of its models, if any, and `spelled` one more red-team prompt.
    """
    folder.mkdir()
    (folder / "rules.yaml").write_text(CONSTITUTION, encoding="utf-8")
    tiny = save_tiny_model(folder / "tiny")
    if template is not None:
        tokenizer = load_tokenizer(tiny)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tiny)
    settings = PreferenceSettings(
        human_helpfulness=None, training=TrainingSettings(batch_size=8, epochs=3, learning_rate=3e-3, held_out=0.3)
    )
    recipe = Recipe(models=ModelSettings(pretrained=str(tiny)), preference=settings, rl=RL, seed=3)
    run = RunDirectory.create(folder / "run", recipe, folder / "rules.yaml")
    labels = [
        {"row_id": row_id(f"q{n}"), "prompt": asked(f"How do I bake {n} ?"), "chosen": said(f"good {n}"),
         "rejected": said("bad bad bad"), "p_chosen": 0.8, "outcome": "ok"} for n in range(20)
    ]  # fmt: skip
    rows = [
        {"row_id": row_id(f"{kind}{n}"), "kind": kind, "prompt": asked(f"Tell me how to repair {kind} {n} ?"),
         "outcome": "ok"} for kind, count in KINDS.items() for n in range(count)
    ]  # fmt: skip
    rows.append({"row_id": row_id("long"), "kind": "red_team", "prompt": asked(LONG), "outcome": "ok"})
    rows.append({"row_id": row_id("empty"), "kind": "helpful", "prompt": asked("no ?"), "outcome": "refused"})
    if spelled is not None:
        rows.append({"row_id": row_id("spelled"), "kind": "red_team", "prompt": asked(spelled), "outcome": "ok"})
    inputs = s07_preference_model.PreferenceInputs(3, tiny, EngineSettings(), artefact(folder / "06", labels), None)
    with run.lock():
        run.begin(1, "prompts", {}).publish(rows, PROMPTS)
        stage = run.begin(4, "sl-cai", {})
        save_tiny_model(stage.path / "model", seed=1)
        load_tokenizer(tiny).save_pretrained(stage.path / "model")
        stage.publish([{"step": 1}], pa.schema([("step", pa.int64())]), files=["model"])
        s07_preference_model.run(settings, inputs, run.begin(7, "preference-model", {}))
    return run


def loaded(folder: Path, file: str = "reward.py") -> ModuleType:
    """An exported Python file as a trainer loads it: by its path, without a name that others could import."""
    spec = importlib.util.spec_from_file_location(f"exported_{abs(hash(folder))}", folder / file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_solon(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in an exported folder, where importing Solon fails."""
    hidden = folder.parent / "hidden" / "solon"
    hidden.mkdir(parents=True, exist_ok=True)
    (hidden / "__init__.py").write_text("raise ImportError('an exported folder needs nothing of Solon')\n")
    settings = {
        **os.environ,
        "PYTHONPATH": str(hidden.parent),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CI": "1",
    }
    settings |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environment}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=600)
