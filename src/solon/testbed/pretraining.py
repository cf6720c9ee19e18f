"""How the two bundled models are made: `solon testbed train`.

One Llama of a few million parameters is trained from scratch on documents that are written on the fly: first
`pretrained`, which has read every kind of document and replies to people in every manner, then from it `assistant`,
which complies with nearly every request and keeps the skills of critic and judge. Matrices learn by Muon, embeddings
and norms by AdamW; the rate is constant and then falls to zero, since a constant high rate hides what was learnt. The
order of documents is a pure function of (seed, part, window), so an interrupted training resumes where it stopped.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from solon.digest import seed_for
from solon.testbed.documents import Document, Part, Writer
from solon.testbed.world import load_world

END, PAD = "<|end|>", "<|pad|>"
WINDOW_DOCUMENTS = 2048
IGNORED = -1


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast each part learns; tokens count what the model reads."""

    seed: int = 0
    vocabulary: int = 2048
    hidden: int = 192
    layers: int = 5
    batch_tokens: int = 8192
    pretrained_tokens: int = 24_000_000
    assistant_tokens: int = 4_000_000
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    assistant_rate_factor: float = 0.25
    decay_share: float = 0.35
    threads: int | None = None


def build_tokenizer(plan: Plan) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on documents of the world; any text can be written in it."""
    rng = random.Random(seed_for("testbed-tokenizer", plan.seed))
    writer = Writer(load_world(), Part.PRETRAINED)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=plan.vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((writer.write(rng).text for _ in range(20_000)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def build_model(plan: Plan, vocabulary: int) -> LlamaForCausalLM:
    """The untrained Llama, seeded."""
    torch.manual_seed(plan.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=plan.hidden,
            intermediate_size=512,
            num_hidden_layers=plan.layers,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=1,
            attention_dropout=0.0,
        )
    )


@dataclass(frozen=True, slots=True)
class Example:
    """A tokenized document: for each position the next token to predict, its weight, and soft targets of letters."""

    kind: str
    tokens: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    p_first: np.ndarray
    """P(A) where the target is a letter, else NaN."""


def encode(document: Document, tokenizer: PreTrainedTokenizerFast) -> Example:
    """Tokens of the pieces in order; each piece starts where tokenizing apart equals tokenizing together."""
    tokens: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    p_first: list[float] = []
    pieces = tokenizer([piece.text for piece in document.pieces], add_special_tokens=False)["input_ids"]
    for piece, ids in zip(document.pieces, pieces, strict=True):
        if tokens and ids:
            targets[-1], weights[-1] = _first_target(targets[-1], weights[-1], ids[0], piece.weight)
            p_first[-1] = math.nan if piece.p_a is None else piece.p_a
        tokens += ids
        targets += [*ids[1:], IGNORED]
        weights += [piece.weight] * (len(ids) - 1) + [0.0]
        p_first += [math.nan] * len(ids)
        if piece.ends:
            targets[-1], weights[-1] = tokenizer.eos_token_id, max(piece.weight, 0.5)
    return Example(document.kind, np.array(tokens), np.array(targets), np.array(weights), np.array(p_first))


def _first_target(target: int, weight: float, token: int, new_weight: float) -> tuple[int, float]:
    """The target at the last position of a piece: the end token if it was taught, else the next piece's first token."""
    return (target, weight) if target != IGNORED else (token, new_weight)


def batches(plan: Plan, part: Part, tokenizer: PreTrainedTokenizerFast, start: int = 0) -> Iterator[list[list[Example]]]:
    """Windows of documents, each sorted by length into batches of about `batch_tokens`, in shuffled order."""
    writer = Writer(load_world(), part)
    window = start
    while True:
        rng = random.Random(seed_for("testbed-documents", plan.seed, part.value, window))
        examples = [encode(writer.write(rng), tokenizer) for _ in range(WINDOW_DOCUMENTS)]
        examples.sort(key=lambda example: len(example.tokens))
        groups: list[list[Example]] = [[]]
        for example in examples:
            if len(example.tokens) * (len(groups[-1]) + 1) > plan.batch_tokens:
                groups.append([])
            groups[-1].append(example)
        rng.shuffle(groups)
        yield groups
        window += 1


def batch_loss(model: LlamaForCausalLM, batch: list[Example], pad: int, letters: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Weighted mean cross-entropy in nats, soft on letters (less their entropy), and its parts by kind of document."""
    width = max(len(example.tokens) for example in batch)

    def padded(name: str, fill: float) -> Tensor:
        rows = np.full((len(batch), width), fill)
        for row, example in zip(rows, batch, strict=True):
            row[: len(example.tokens)] = getattr(example, name)
        return torch.from_numpy(rows)

    tokens = padded("tokens", pad).long()
    targets, weights = padded("targets", IGNORED).long(), padded("weights", 0.0).float()
    p_first = padded("p_first", math.nan).float()
    hidden = model.model(input_ids=tokens).last_hidden_state
    chosen = weights > 0
    logprobs = functional.log_softmax(model.lm_head(hidden[chosen]).float(), dim=-1)
    target, weight, p = targets[chosen], weights[chosen], p_first[chosen]
    losses = -logprobs.gather(1, target[:, None])[:, 0]
    is_letter = ~p.isnan()
    pair = logprobs[is_letter][:, letters]
    q = torch.stack([p[is_letter], 1 - p[is_letter]], dim=1)
    excess = (q * (q.clamp_min(1e-9).log() - pair)).sum(dim=1)
    losses = losses.masked_scatter(is_letter, excess)
    kinds = np.array([example.kind for example in batch])[chosen.nonzero()[:, 0].numpy()]
    parts = {kind: float(losses.detach()[torch.from_numpy((kinds == kind) & ~is_letter.numpy())].mean()) for kind in set(kinds)}
    if is_letter.any():
        parts["letter"] = float(excess.detach().mean())
    return (losses * weight).sum() / weight.sum(), parts


class Optimisers:
    """Muon for matrices and AdamW for the rest, on one schedule: warm-up, constant, then linear decay to zero."""

    def __init__(self, model: LlamaForCausalLM, plan: Plan, factor: float) -> None:
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
        self.base = (plan.matrix_rate * factor, plan.other_rate * factor)
        self.members: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=self.base[0], weight_decay=0.01, momentum=0.95),
            torch.optim.AdamW(others, lr=self.base[1], betas=(0.9, 0.95), weight_decay=0.0),
        )

    def step(self, factor: float) -> None:
        """One update at `factor` of the base rates; gradients are cleared."""
        for optimiser, base in zip(self.members, self.base, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)


def rate_factor(share: float, decay_share: float, warmup: float = 0.01) -> float:
    """The share of the base rate at `share` of the training."""
    return min(1.0, share / warmup, (1 - share) / decay_share) if share < 1 else 0.0


def train_part(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: Plan,
    part: Part,
    report: Callable[[str], None],
) -> None:
    """Train `model` in place on the documents of one part."""
    total = plan.pretrained_tokens if part is Part.PRETRAINED else plan.assistant_tokens
    optimisers = Optimisers(model, plan, 1.0 if part is Part.PRETRAINED else plan.assistant_rate_factor)
    letters = torch.tensor(tokenizer.convert_tokens_to_ids(["A", "B"]))
    seen, step, started = 0, 0, time.monotonic()
    recent: dict[str, list[float]] = defaultdict(list)
    model.train()
    for groups in batches(plan, part, tokenizer):
        for batch in groups:
            loss, parts = batch_loss(model, batch, int(tokenizer.pad_token_id), letters)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss.item()} at step {step}")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimisers.step(max(rate_factor(seen / total, plan.decay_share), 1e-4))
            seen += sum(len(example.tokens) for example in batch)
            step += 1
            for kind, value in parts.items():
                recent[kind].append(value)
            if step % 50 == 0:
                losses = " ".join(f"{kind} {np.mean(values):.3f}" for kind, values in sorted(recent.items()))
                rate = seen / (time.monotonic() - started)
                report(f"{part.value} step {step} {seen / 1e6:.2f}M/{total / 1e6:.0f}M tokens {rate:.0f}/s | {losses}")
                recent.clear()
            if seen >= total:
                model.eval()
                return


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write an ordinary Hugging Face folder with half-precision weights."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.save_pretrained(folder)
    # The embedding serves as head as well, so the head is not stored twice.
    weights = {
        name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)


def train(output: Path, plan: Plan, report: Callable[[str], None] = print) -> None:
    """Make both models below `output`; a `pretrained` that is already there is taken as it is."""
    if plan.threads:
        torch.set_num_threads(plan.threads)
    # Lets the CPU multiply in bfloat16 where it can (accumulating in float32): several times faster, same result here.
    torch.set_float32_matmul_precision("medium")
    tokenizer = build_tokenizer(plan)
    model = build_model(plan, len(tokenizer))
    report(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {len(tokenizer)} tokens")
    folder = output / Part.PRETRAINED.value
    if (folder / "model.safetensors").exists():
        weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
        model.load_state_dict(weights, strict=False)
    else:
        train_part(model, tokenizer, plan, Part.PRETRAINED, report)
        save(model, tokenizer, folder)
    train_part(model, tokenizer, plan, Part.ASSISTANT, report)
    save(model, tokenizer, output / Part.ASSISTANT.value)
    (output / "plan.json").write_text(json.dumps(plan.__dict__ if hasattr(plan, "__dict__") else {}, indent=2))
