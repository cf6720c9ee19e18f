"""A tiny Llama with its tokenizer, saved as an ordinary model folder, and stage folders to train in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from solon.config.recipe import EngineSettings
from solon.digest import digest
from solon.engines.tokens import PromptTokenizer
from solon.runs import Artefact, StageFolder
from solon.runs.journal import Journal
from solon.runs.rows import LabelRow, PromptRow, ReplyRow, RevisionRow
from tests.row_types import filled_rows

WORDS = (
    "How do I bake bread ? Tell me how to repair a flat tyre please . First mix the flour , then wait . "
    "It would hurt people to steal ; ask for help instead . Human : Assistant : yes no good bad one two three"
)


def texts_of(tokenizer: Any) -> PromptTokenizer:
    """A tokenizer with the rendering that an ordinary recipe gives it."""
    return PromptTokenizer.of(tokenizer, EngineSettings())


def save_tiny_model(folder: Path, *, pad: str | None = "<|pad|>", layers: int = 2, seed: int = 0) -> Path:
    """A random two-layer Llama over a byte-level vocabulary; `pad=None` leaves the tokenizer without padding."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|end|>", *([pad] if pad and pad != "<|end|>" else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    inner.train_from_iterator([WORDS] * 4, trainer)
    names = {"pad_token": pad} if pad else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", **names)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=0, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def stage_folder(path: Path, **more: Any) -> StageFolder:
    """A stage's folder outside of any run."""
    path.mkdir(parents=True, exist_ok=True)
    return StageFolder(path, 1, path.name, {}, Journal.open(path / "journal.jsonl"), **more)


def artefact(path: Path, rows: Sequence[dict[str, Any]]) -> Artefact:
    """Rows as a finished stage: of 06 when they have a label, of 03 when they have a step, of 02 or of 01."""
    kinds: dict[str, type] = {"p_chosen": LabelRow, "step": RevisionRow, "completion": ReplyRow}
    row = next((row for column, row in kinds.items() if column in rows[0]), PromptRow)
    return stage_folder(path).publish(filled_rows(row, rows), row)


def asked(text: str) -> list[dict[str, str]]:
    """A prompt."""
    return [{"role": "user", "content": text}]


def said(text: str) -> list[dict[str, str]]:
    """A reply."""
    return [{"role": "assistant", "content": text}]


def row_id(text: str) -> str:
    """A name for a prompt."""
    return digest(text)


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same bytes."""
    names = sorted(str(file.relative_to(one)) for file in one.rglob("*") if file.is_file())
    assert names == sorted(str(file.relative_to(other)) for file in other.rglob("*") if file.is_file())
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)
