"""What the tests of hostile model folders share: ways to load one, and ways to spoil one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from solon.config.recipe import EngineSettings
from solon.engines.local.engine import LocalEngine
from solon.errors import ModelError
from solon.reward import golden
from solon.reward.scorer import open_scorer
from solon.training import models

SETTINGS = EngineSettings()
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer_config.json"
ELSEWHERE = "models--a--b"

Load = Callable[[Path], object]


def grow(folder: Path) -> object:
    tokenizer = models.load_tokenizer(folder)
    return models.grow_preference_model(folder, tokenizer, SETTINGS, seed=1)


ASKED: dict[str, Load] = {
    "asked": lambda folder: LocalEngine.load(folder, device="cpu"),
    "trained": lambda folder: models.load_causal_lm(folder, SETTINGS),
    "grown": grow,
}
SCORING: dict[str, Load] = {
    "scored": lambda folder: open_scorer(folder, SETTINGS),
    "checked": lambda folder: golden.plain_scores(folder, [[1, 2, 0]]),
}


def edit(file: Path, **changes: Any) -> None:
    """Set keys of a JSON file, made if need be."""
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, **changes}))


def bring_code(folder: Path, marks: Path, *, model_type: str | None) -> None:
    """Code for configuration, models, tokenizer and generation; `model_type` None keeps one that the library knows."""
    classes = {
        "AutoConfig": "evil_c.Config",
        "AutoModelForCausalLM": "evil_m.Model",
        "AutoModelForSequenceClassification": "evil_m.Model",
        "AutoTokenizer": ["evil_t.Tok", "evil_t.Tok"],
        "AutoProcessor": "evil_p.Proc",
    }
    edit(folder / CONFIG, auto_map=classes, **({"model_type": model_type} if model_type else {}))
    own = {"tokenizer_class": "Tok"} if model_type else {}
    edit(folder / TOKENIZER, auto_map={"AutoTokenizer": classes["AutoTokenizer"]}, **own)
    edit(folder / "processor_config.json", auto_map={"AutoProcessor": "evil_p.Proc"})
    edit(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil_p.Proc"})
    edit(folder / "generation_config.json", custom_generate="custom_generate", eos_token_id=0)
    (folder / "custom_generate").mkdir()
    names = ["evil_c.py", "evil_m.py", "evil_t.py", "evil_p.py", "custom_generate/generate.py", "__init__.py"]
    for number, name in enumerate(names):
        (folder / name).write_text(f"open({str(marks / str(number))!r}, 'w').write('ran')\n")


def refused(load: Load, folder: Path, *words: str) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(ModelError) as caught:
        load(folder)
    line = str(caught.value)
    assert str(folder) in line and "\n" not in line and caught.value.remedy
    for each in words:
        assert each in line, line
    return line


def spoil(folder: Path, value: float) -> str:
    """Put a number into the last weight of a model; the weight's name."""
    weights = load_file(folder / WEIGHTS)
    name = "model.layers.0.mlp.down_proj.weight"
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    return name
