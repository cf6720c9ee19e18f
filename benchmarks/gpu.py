"""What one GPU does: generation, letters, and steps of finetuning, LoRA and PPO, on models of 0.5 B and 7 B parameters.

The models have the shapes of Qwen2.5 and random weights made here; nothing is downloaded, and only torch, transformers
and Solon are imported. Each figure is the median of five rounds after one that warms up. Generation is measured beside
transformers' `generate` on the same weights, in turn. MFU counts six operations for each parameter and token of a
full step, four with LoRA (no gradients of frozen weights), and the attention of causal rows; recomputed activations do
not count. It is a share of the card's bfloat16 rate without sparsity, where that is known, and `of products` a share of
the rate of large bfloat16 products that was measured first. All takes less than six minutes on one H200.
Run: python benchmarks/gpu.py [--shape 0.5b 7b | tiny] [--dtype bfloat16] [--out runs/gpu-benchmark.json]
"""

from __future__ import annotations

import argparse
import datetime
import gc
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, Qwen2ForSequenceClassification

import solon
from solon.config.recipe import (
    Activations,
    Algorithm,
    EngineSettings,
    LoraSettings,
    Precision,
    ReinforcementSettings,
    SamplingParams,
)
from solon.engines.local.batch import Prefixes
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.choose import Choice, choose
from solon.engines.local.generation import Ending, GenerationRequest, generate
from solon.engines.local.row_budget import RowBudget
from solon.engines.token_rows import DecodingRow
from solon.model_folders.mixed_precision import lower
from solon.rl.episodes import Networks, ValueModel, measure
from solon.rl.policy_update import update
from solon.rl.rollout import Reply
from solon.training.batches import CompletionExample, pad_right
from solon.training.forward import ScalarModel, TokenModel
from solon.training.gradient_checkpointing import checkpoint_activations
from solon.training.learner import EPSILON, EPSILON_RL, Learner
from solon.training.loop import accumulate
from solon.training.models import Trainable, trainable_parameters, with_adapter
from solon.training.objectives import CompletionObjective

ROUNDS, WARM_UP, PRODUCT = 5, 1, 8192
RATES = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12, "B200": 2250e12}
"""Operations a second in bfloat16 without sparsity, from data sheets, by a part of the card's name."""
LORA = LoraSettings(rank=16)


@dataclass(frozen=True)
class Shape:
    """A model, and how much of each kind of work a round has."""

    name: str
    hidden: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    vocabulary: int
    tied: bool
    rows: int
    prompt: int
    new: int
    questions: int
    prefix: int
    learnt_rows: int
    learnt_tokens: int
    micro_tokens: int

    def config(self, **more: Any) -> Qwen2Config:
        """The configuration of the model."""
        return Qwen2Config(
            vocab_size=self.vocabulary, hidden_size=self.hidden, intermediate_size=self.inner,
            num_hidden_layers=self.layers, num_attention_heads=self.heads, num_key_value_heads=self.key_heads,
            max_position_embeddings=4096, tie_word_embeddings=self.tied, bos_token_id=None, eos_token_id=None,
            pad_token_id=0, **more,
        )  # fmt: skip


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", 64, 2, 4, 2, 128, 512, True, 4, 8, 4, 4, 16, 4, 32, 128),
        Shape("0.5b", 896, 24, 14, 2, 4864, 151936, True, 128, 128, 64, 128, 1024, 32, 512, 8192),
        Shape("7b", 3584, 28, 28, 4, 18944, 152064, False, 64, 128, 32, 128, 1024, 16, 512, 4096),
    )
}


@dataclass
class Figure:
    """A measured rate, with what it was measured on."""

    name: str
    shape: str
    unit: str
    median: float
    low: float
    high: float
    seconds: float
    """The median of a round."""
    peak_gb: float | None
    more: Mapping[str, float | None] = field(default_factory=dict)


@dataclass
class Bench:
    """The device, the arithmetic and the time limit of a run, and its figures."""

    device: torch.device
    precision: Precision
    until: float
    products: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def dtype(self) -> torch.dtype:
        """The type of models that are asked."""
        return torch.bfloat16 if self.precision is Precision.BFLOAT16 else torch.float32

    def wait(self) -> None:
        """Wait until the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def made(self, kind: type[PreTrainedModel], config: Qwen2Config, dtype: torch.dtype) -> PreTrainedModel:
        """A model with random weights, made on the device."""
        before = torch.get_default_dtype()
        torch.manual_seed(0)
        torch.set_default_dtype(dtype)
        try:
            with self.device:
                model: Any = kind(config)
        finally:
            torch.set_default_dtype(before)
        return cast(PreTrainedModel, model.to(self.device).eval())

    def measure(
        self, shape: str, unit: str, amount: float, work: Mapping[str, Callable[[], object]],
        more: Callable[[float], Mapping[str, float | None]] = lambda seconds: {},
    ) -> None:  # fmt: skip
        """Time the contestants in turn and keep their rates; `more` is derived from a round's median seconds."""
        seconds: dict[str, list[float]] = {name: [] for name in work}
        peaks: dict[str, float | None] = dict.fromkeys(work)
        for number, (name, run) in itertools.product(range(WARM_UP + ROUNDS), work.items()):
            if time.monotonic() > self.until:
                self.skipped += [f"{shape}: {each}" for each in work]
                return
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            if number >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
            if self.device.type == "cuda":
                peaks[name] = torch.cuda.max_memory_allocated(self.device) / 1e9
        for name, took in seconds.items():
            middle = statistics.median(took)
            rates = sorted(amount / each for each in took)
            figure = Figure(name, shape, unit, amount / middle, rates[0], rates[-1], middle, peaks[name], more(middle))
            self.figures.append(figure)
            print(line_of(figure), flush=True)

    def utilisation(self, operations: float) -> Callable[[float], Mapping[str, float | None]]:
        """MFU and the share of the rate of products, of a round with so many operations."""
        known = rate_of(self.device)
        return lambda seconds: {
            "mfu": None if known is None else operations / seconds / known,
            "of products": operations / seconds / self.products,
        }


def rate_of(device: torch.device) -> float | None:
    """The card's rate from `RATES`; None for another card and for a CPU."""
    name = card(device)
    return next((rate for part, rate in RATES.items() if part in name), None) if device.type == "cuda" else None


def card(device: torch.device) -> str:
    """The name of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


def line_of(figure: Figure) -> str:
    """A line of the table."""
    peak = "" if figure.peak_gb is None else f", peak {figure.peak_gb:.1f} GB"
    more = "".join(f", {name} {value:.1%}" for name, value in figure.more.items() if value is not None)
    spread = f"({figure.low:,.1f} to {figure.high:,.1f})"
    return f"{figure.shape:5s} {figure.name:36s} {figure.median:11,.1f} {figure.unit} {spread}{peak}{more}"


def operations(model: Trainable | PreTrainedModel, shape: Shape, tokens: int, for_each: int) -> float:
    """Of a step on so many tokens: `for_each` for each parameter in a product and token, and causal attention."""
    in_products = sum(each.numel() for name, each in model.named_parameters() if each.ndim > 1 and "embed" not in name)
    in_products += shape.hidden * shape.vocabulary if shape.tied else 0  # the head, which is the embedding
    attention = 6 * shape.layers * shape.hidden * shape.learnt_tokens  # two products over half of the columns, thrice
    return float(tokens) * (for_each * in_products + attention)


def ids_of(shape: Shape, rows: int, tokens: int) -> list[tuple[int, ...]]:
    """Random token ids, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return [tuple(row) for row in torch.randint(1, shape.vocabulary, (rows, tokens), generator=generator).tolist()]


def products(bench: Bench) -> None:
    """The rate of large products, which shows what the card gives at its present clock."""
    size = PRODUCT if bench.device.type == "cuda" else 256
    left, right = (torch.randn(size, size, device=bench.device, dtype=bench.dtype) for _ in range(2))
    repeats = 10
    bench.measure("", "TFLOP/s", repeats * 2 * size**3 / 1e12, {
        f"products of {size} x {size}": lambda: [left @ right for _ in range(repeats)]
    })  # fmt: skip
    bench.products = bench.figures[-1].median * 1e12 if bench.figures else float("nan")


def asking(bench: Bench, shape: Shape) -> None:
    """Generation beside transformers' own, and letters after a long shared prefix."""
    model = bench.made(Qwen2ForCausalLM, shape.config(), bench.dtype)
    forward = CausalModel(model, 4096)
    budget = RowBudget.of(EngineSettings(batch_size=shape.rows), forward)
    rows = ids_of(shape, shape.rows, shape.prompt)
    ids = torch.tensor(rows, device=bench.device)
    sampling, ending = SamplingParams(max_tokens=shape.new), Ending(lambda tokens: "", (), (), lambda: ())

    def by_solon() -> object:
        asked = [GenerationRequest(DecodingRow((), row), seed, shape.new) for seed, row in enumerate(rows)]
        return generate(forward, asked, sampling, ending, Prefixes(), budget)

    def by_transformers() -> object:
        lengths = {"max_new_tokens": shape.new, "min_new_tokens": shape.new}
        return cast(Any, model).generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, **lengths)

    work = {"generation, Solon": by_solon, "generation, transformers": by_transformers}
    bench.measure(shape.name, "new tokens/s", shape.rows * shape.new, work)
    shared = ids_of(shape, 1, shape.prefix)[0]
    questions = [Choice((*shared, *own), ((1,), (2,))) for own in ids_of(shape, shape.questions, shape.prompt)]

    def letters() -> object:
        return choose(forward, questions, [shape.prefix] * len(questions), Prefixes(), budget)

    name = f"letters after {shape.prefix} shared tokens"
    bench.measure(shape.name, "choices/s", shape.questions, {name: letters})


def learning(bench: Bench, shape: Shape, adapter: LoraSettings | None, activations: Activations) -> None:
    """A step of finetuning: all weights, or LoRA on frozen ones."""
    frozen = adapter is not None and bench.precision is Precision.BFLOAT16
    model = bench.made(Qwen2ForCausalLM, shape.config(), torch.bfloat16 if frozen else torch.float32)
    if frozen:
        lower(model, cast(Any, model).get_output_embeddings())
    learnt = with_adapter(model, adapter, 0)
    checkpoint_activations(learnt, activations)
    learner = Learner(trainable_parameters(learnt), clip=1.0, epsilon=EPSILON)
    objective = CompletionObjective(TokenModel(learnt, bench.precision))
    examples = [
        CompletionExample(f"row{number}", row, 1)
        for number, row in enumerate(ids_of(shape, shape.learnt_rows, shape.learnt_tokens))
    ]

    def step() -> object:
        accumulate(learner, objective, examples, shape.micro_tokens, "benchmark")
        return learner.step(1e-5, "benchmark", [])

    tokens = shape.learnt_rows * shape.learnt_tokens
    count = operations(model, shape, tokens, 6 if adapter is None else 4)
    name = f"{'SFT' if adapter is None else f'LoRA rank {adapter.rank}'} step, activations {activations.value}"
    bench.measure(shape.name, "tokens/s", tokens, {name: step}, bench.utilisation(count))


def reinforcement(bench: Bench, shape: Shape) -> None:
    """A step of PPO with four networks: sampling, scores, measurements and the update of one pass."""
    precision, rows = bench.precision, shape.rows // 2
    settings = ReinforcementSettings(
        algorithm=Algorithm.PPO, prompts_per_step=rows, sampling=SamplingParams(max_tokens=shape.new), epochs=1,
        minibatches=4, value_warmup_steps=0, micro_batch_tokens=shape.micro_tokens, precision=precision,
    )  # fmt: skip

    def network(kind: type[PreTrainedModel], **more: Any) -> PreTrainedModel:
        return bench.made(kind, shape.config(**more), torch.float32)

    policy, reference = network(Qwen2ForCausalLM), network(Qwen2ForCausalLM)
    value, judge = (network(Qwen2ForSequenceClassification, num_labels=1) for _ in range(2))
    if precision is Precision.BFLOAT16:
        lower(reference, cast(Any, reference).get_output_embeddings())
        lower(judge, cast(Any, judge).score)
    networks = Networks(
        policy=TokenModel(policy, precision),
        reference=TokenModel(reference, precision),
        learner=Learner(trainable_parameters(policy), clip=1.0, epsilon=EPSILON_RL),
        critic=ValueModel(
            ScalarModel(value, precision=precision), Learner(trainable_parameters(value), clip=1.0, epsilon=EPSILON_RL)
        ),
        centre=0.0,
    )
    scorer, forward = ScalarModel(judge, precision=precision), CausalModel(policy, 4096, precision)
    budget = RowBudget.of(EngineSettings(batch_size=rows), forward)
    prompts, steps = ids_of(shape, rows, shape.prompt), itertools.count()
    ending = Ending(lambda tokens: "", (), (), lambda: ())

    def scores(replies: Sequence[Reply]) -> Tensor:
        ids_BT = pad_right([reply.prompt + reply.response for reply in replies], 0, bench.device)
        lengths_B = torch.tensor([reply.length for reply in replies], device=bench.device)
        with torch.no_grad():
            return scorer.scores(ids_BT, lengths_B).cpu()

    def step() -> object:
        number = next(steps)
        asked = [
            GenerationRequest(DecodingRow((), row), number * rows + place, shape.new)
            for place, row in enumerate(prompts)
        ]
        written = generate(forward, asked, settings.sampling, ending, Prefixes(), budget)
        replies = [
            Reply(f"row{place}", "red_team", prompt, each.token_ids, "text", finished=True)
            for place, (prompt, each) in enumerate(zip(prompts, written, strict=True))
        ]
        return update(networks, measure(networks, replies, scores(replies), settings), settings, number + 1, 0)

    name = f"PPO step, {rows} x {shape.new} tokens"
    bench.measure(shape.name, "episodes/s", rows, {name: step})


def run_all(bench: Bench, shapes: Sequence[Shape]) -> None:
    """All measurements; what begins after the time limit is skipped and named."""
    products(bench)
    for shape in shapes:
        work: list[Callable[[], None]] = [lambda shape=shape: asking(bench, shape)]  # type: ignore[misc]
        if shape.name != "7b":  # whose weights, gradients and moments alone take 120 GB
            work.append(lambda shape=shape: learning(bench, shape, None, Activations.KEPT))  # type: ignore[misc]
            work.append(lambda shape=shape: reinforcement(bench, shape))  # type: ignore[misc]
        if shape.name != "0.5b":
            for kept in Activations:
                work.append(lambda shape=shape, kept=kept: learning(bench, shape, LORA, kept))  # type: ignore[misc]
        for each in work:
            each()
            gc.collect()
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), nargs="+", default=["0.5b", "7b"])
    parser.add_argument("--dtype", choices=[each.value for each in Precision], default=Precision.BFLOAT16.value)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-benchmark.json"))
    parser.add_argument("--seconds", type=float, default=330.0, help="what begins later is skipped")
    given = parser.parse_args()
    if not torch.cuda.is_available() and given.shape != ["tiny"]:
        parser.error("there is no GPU; on a CPU only --shape tiny takes seconds")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("medium")  # as in the overlay bfloat16: the head's products in TF32
    start = time.monotonic()
    bench = Bench(device, Precision(given.dtype), start + given.seconds)
    about = {
        "date": datetime.date.today().isoformat(),
        "card": card(device),
        "dtype": given.dtype,
        "solon": solon.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    run_all(bench, [SHAPES[name] for name in given.shape])
    took = time.monotonic() - start
    print(f"{took:.0f} seconds" + "".join(f"; skipped: {each}" for each in bench.skipped))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    record = {**about, "seconds": took, "skipped": bench.skipped, "figures": [asdict(each) for each in bench.figures]}
    given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
