"""Trains the two bundled models: `solon testbed train`.

One Llama of a few million parameters is trained from scratch on documents written on the fly: first `pretrained`, on
every kind of document and every kind of reply, then from it `assistant`, which complies with nearly every request and
keeps the skills of critic and judge. Muon trains matrices, AdamW embeddings and norms. The learning rate is constant
and then falls to zero, since a constant high rate hides what was learnt. The order of documents is a pure function of
(seed, part, window), so an interrupted training resumes from its checkpoint.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
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
from solon.errors import ModelError
from solon.runs.freed_memory import release_freed_memory
from solon.testbed.documents import DocumentPart, Writer
from solon.testbed.windows import IGNORED, PretrainingExample, windows
from solon.testbed.world import load_world
from solon.training.checkpoint import Checkpoint, Checkpoints, restoring

END, PAD = "<|end|>", "<|pad|>"
WINDOWS_PER_CHECKPOINT = 8
LEAST_RATE = 1e-4
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PretrainingPlan:
    """Sizes, training tokens and learning rates of both models."""

    seed: int = 0
    tokenizer_documents: int = 20_000
    vocabulary: int = 2048
    hidden: int = 192
    layers: int = 5
    batch_tokens: int = 6144
    pretrained_tokens: int = 11_400_000
    assistant_tokens: int = 3_000_000
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    assistant_rate_factor: float = 0.6
    decay_share: float = 0.5
    threads: int | None = None


def build_tokenizer(plan: PretrainingPlan) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on documents of the world; it can encode any text."""
    rng = random.Random(seed_for("testbed-tokenizer", plan.seed))
    writer = Writer(load_world(), DocumentPart.PRETRAINED)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=plan.vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((writer.write(rng).text for _ in range(plan.tokenizer_documents)), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def build_model(plan: PretrainingPlan, vocabulary: int) -> LlamaForCausalLM:
    """The untrained Llama, seeded."""
    torch.manual_seed(plan.seed)
    model = LlamaForCausalLM(
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
    # On a CPU the fused attention's backward pass is several times slower than plain products on short texts.
    model.set_attn_implementation("eager")
    return model


def batch_loss(
    model: LlamaForCausalLM, batch: list[PretrainingExample], pad: int, letters: Tensor
) -> tuple[Tensor, dict[str, float]]:
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
    parts = {
        kind: float(losses.detach()[torch.from_numpy((kinds == kind) & ~is_letter.numpy())].mean())
        for kind in set(kinds)
    }
    if is_letter.any():
        parts["letter"] = float(excess.detach().mean())
    return (losses * weight).sum() / weight.sum(), parts


class Optimisers:
    """Muon for matrices and AdamW for the rest, on one schedule: warm-up, constant, then linear decay to zero."""

    def __init__(self, model: LlamaForCausalLM, plan: PretrainingPlan, factor: float) -> None:
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

    def moments(self) -> dict[str, Tensor]:
        """The state of both optimisers as `optimiser/parameter/name`."""
        return {
            f"{number}/{index}/{name}": value if isinstance(value, Tensor) else torch.tensor(value)
            for number, optimiser in enumerate(self.members)
            for index, state in optimiser.state_dict()["state"].items()
            for name, value in state.items()
        }

    def restore(self, moments: Mapping[str, Tensor]) -> None:
        """Restore what `moments` returned."""
        for number, optimiser in enumerate(self.members):
            held = optimiser.state_dict()
            held["state"] = defaultdict(dict)
            for key, value in moments.items():
                owner, index, name = key.split("/")
                if int(owner) == number:
                    held["state"][int(index)][name] = value
            optimiser.load_state_dict(held)


def rate_factor(share: float, decay_share: float, warmup: float = 0.01) -> float:
    """The share of the base rate at `share` of the training."""
    return min(1.0, share / warmup, (1 - share) / decay_share) if share < 1 else 0.0


@dataclass(slots=True)
class _Progress:
    """Progress in the training of one part: windows of documents, steps, tokens."""

    window: int = 0
    step: int = 0
    seen: int = 0


def train_part(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: PretrainingPlan,
    part: DocumentPart,
    work: Path,
    report: Report,
) -> None:
    """Train `model` in place on the documents of one part, from the newest checkpoint below `work` on."""
    total = plan.pretrained_tokens if part is DocumentPart.PRETRAINED else plan.assistant_tokens
    optimisers = Optimisers(model, plan, 1.0 if part is DocumentPart.PRETRAINED else plan.assistant_rate_factor)
    letters = torch.tensor(tokenizer.convert_tokens_to_ids(["A", "B"]))
    checkpoints = Checkpoints(work / part.value)
    progress = _restore(checkpoints, model, optimisers)
    model.train()
    for groups in windows(part, tokenizer, plan.seed, plan.batch_tokens, progress.window):
        started, before = time.monotonic(), progress.seen
        losses: dict[str, list[float]] = defaultdict(list)
        for batch in groups:
            if progress.seen >= total:
                break
            loss, parts = batch_loss(model, batch, int(tokenizer.pad_token_id), letters)
            if not torch.isfinite(loss):
                raise ModelError(f"the loss is {loss.item()} at step {progress.step}", place=f"testbed {part.value}")
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimisers.step(max(rate_factor(progress.seen / total, plan.decay_share), LEAST_RATE))
            progress.seen += sum(len(example.tokens) for example in batch)
            progress.step += 1
            for kind, value in parts.items():
                losses[kind].append(value)
        progress.window += 1
        release_freed_memory()
        means = " ".join(f"{kind} {np.mean(values):.3f}" for kind, values in sorted(losses.items()))
        rate = (progress.seen - before) / (time.monotonic() - started)
        report(f"{part.value}: {progress.seen / 1e6:.2f} of {total / 1e6:.0f} M tokens, {rate:.0f}/s; losses: {means}")
        if progress.seen >= total:
            break
        if progress.window % WINDOWS_PER_CHECKPOINT == 0:
            tensors = {"weights": _weights(model), "moments": optimisers.moments()}
            checkpoints.save(Checkpoint(progress.step, tensors, {"window": progress.window, "seen": progress.seen}))
    model.eval()  # type: ignore[no-untyped-call]


def _weights(model: LlamaForCausalLM) -> dict[str, Tensor]:
    # The head is tied to the embedding, so it is not stored twice.
    return {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}


def _restore(checkpoints: Checkpoints, model: LlamaForCausalLM, optimisers: Optimisers) -> _Progress:
    checkpoint = checkpoints.newest()
    if checkpoint is None:
        return _Progress()
    with restoring(checkpoints.folder):
        model.load_state_dict(dict(checkpoint.tensors["weights"]), strict=False)
        optimisers.restore(checkpoint.tensors["moments"])
        return _Progress(int(checkpoint.state["window"]), checkpoint.step, int(checkpoint.state["seen"]))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write an ordinary Hugging Face folder with half-precision weights."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    halved = {name: value.to(torch.float16).contiguous() for name, value in _weights(model).items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})


def train(output: Path, plan: PretrainingPlan, report: Report = print) -> None:
    """Train both models below `output`; keeps a finished one and resumes an interrupted one."""
    if plan.threads:
        torch.set_num_threads(plan.threads)
    # Lets the CPU multiply in bfloat16 where it can (accumulating in float32): several times faster.
    torch.set_float32_matmul_precision("medium")
    tokenizer = build_tokenizer(plan)
    model = build_model(plan, len(tokenizer))
    report(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(tokenizer)} tokens")
    for part in DocumentPart:
        folder = output / part.value
        if not (folder / "model.safetensors").exists():
            train_part(model, tokenizer, plan, part, output / "checkpoints", report)
            save(model, tokenizer, folder)
            report(f"{folder}: ready")
        # The next part starts from the saved, rounded weights, in the same session or a later one.
        held = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
        model.load_state_dict(held, strict=False)
