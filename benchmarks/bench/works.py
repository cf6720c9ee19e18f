"""What is measured: a registry of works, each with its peers and the ratio that the project asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.bench import asking_tasks, learning_tasks, limits
from benchmarks.bench.learning_tasks import Replies
from benchmarks.bench.limits import Demand
from benchmarks.bench.measured import Measure
from benchmarks.bench.sizes import BUNDLED, Setting
from benchmarks.peers.tasks import CourseTask, ReinforcementTask, Task
from solon.model_folders.model_shape import shape_in

OWN, HF, TRL_PPO, VLLM = "own", "hf", "trl-1.12", "vllm"
"""The environment of this project, and those of the peers (benchmarks/peers/NAME.txt)."""
SMOLLM2, QWEN = "fetched:smollm2-135m", "fetched:qwen2.5-coder-0.5b"
FLOAT32, BFLOAT16 = "float32", "bfloat16"
LORA_RANK = 16


@dataclass(frozen=True)
class Peer:
    """A contestant beside Solon: a module of an environment, or a figure that is asked for.

    `way` and `dtype` are what the module is told. `bar` is the ratio that the project asks for.
    """

    name: str
    title: str
    environment: str = HF
    module: str = ""
    way: str = ""
    bar: float | None = None
    dtype: str | None = None
    figure: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A task, and the least that it needs of the machine, where that can be counted."""

    task: Task
    demand: Demand | None = None


@dataclass(frozen=True)
class Work:
    """One kind of work, on one model in one dtype.

    `prepare` makes the task; it gets a folder for what the task needs. `tolerance` is how far apart the values of two
    contestants may be on average, where the work has values. `minutes` is about how long all repeats take on two cores.
    """

    name: str
    title: str
    unit: str
    module: str
    way: str
    dtype: str
    peers: tuple[Peer, ...]
    prepare: Callable[[Setting, Path], Prepared]
    minutes: float
    measure: Measure = Measure.RATE
    tolerance: float | None = None


def works() -> tuple[Work, ...]:
    """All works, in the order in which they are measured."""
    return (*_labels(), *_texts(), *_revisions(), *_learning(), *_reinforcement(), *_courses())


ASKING, LEARNING = "benchmarks.bench.solon_asking", "benchmarks.bench.solon_learning"
REINFORCEMENT, COURSES = "benchmarks.bench.solon_reinforcement", "benchmarks.bench.solon_courses"
HF_LABELS, HF_TEXTS, VLLM_ASKING = (f"benchmarks.peers.{each}" for each in ("hf_labels", "hf_texts", "vllm_asking"))
TOLERANCE = {FLOAT32: 0.01, BFLOAT16: 0.5}
"""Mean distance of two contestants' log-odds. Contestants round in other orders, bfloat16 more so."""
MODELS = ((SMOLLM2, "smollm2", "SmolLM2-135M"), (QWEN, "qwen-0.5b", "Qwen2.5-Coder-0.5B"))
REPEATED = "transformers that keeps the prefix"


def _labels() -> Sequence[Work]:
    found = []
    for (model, short, title), dtype in ((each, dtype) for each in MODELS for dtype in (FLOAT32, BFLOAT16)):
        peers = [
            Peer("hf-forward", "a plain forward pass of transformers", HF, HF_LABELS, "forward", 7.5),
            Peer("hf-prefix", REPEATED, HF, HF_LABELS, "prefix", 1.2),
            Peer("vllm", "vLLM with prefix caching", VLLM, VLLM_ASKING, "labels", 1.8),
        ]
        if dtype == BFLOAT16:
            peers.append(Peer("solon-float32", "Solon in float32", OWN, ASKING, "labels", 1.7, FLOAT32))

        def prepare(setting: Setting, folder: Path, model: str = model, dtype: str = dtype) -> Prepared:
            task = asking_tasks.labels(model, setting)
            return Prepared(task, limits.labelling(shape_in(Path(task.model)), task, dtype))

        name, title = f"labels-{short}-{dtype}", f"Labels after a prefix of 1,650 tokens, {title}"
        minutes = (10 if short == "smollm2" else 36) * (1 if dtype == FLOAT32 else 0.7)
        found.append(
            Work(
                name, title, "questions/s", ASKING, "labels", dtype, tuple(peers), prepare, minutes,
                tolerance=TOLERANCE[dtype],
            )
        )  # fmt: skip
    return found


def _texts() -> Sequence[Work]:
    found = []
    shapes = (("fixed", "64 x 64 tokens", asking_tasks.fixed(64), 1.25),
              ("ragged", "64 texts of 8 to 128 tokens", asking_tasks.even(8, 128), 2.5))  # fmt: skip
    for (model, short, title), (kind, what, lengths, bar), dtype in (
        (model, shape, dtype) for model in MODELS for shape in shapes for dtype in (FLOAT32, BFLOAT16)
    ):
        peers = (
            Peer("hf-generate", "transformers generate", HF, HF_TEXTS, "generate", bar),
            Peer("hf-continuous", "transformers continuous batching", HF, HF_TEXTS, "continuous"),
            Peer("vllm", "vLLM", VLLM, VLLM_ASKING, "texts", 1.0),
        )
        minutes = (6 if short == "smollm2" else 18) * (1 if kind == "fixed" else 1.6)
        found.append(_rollout(f"{short}-{kind}", f"{what}, {title}", model, 64, lengths, peers, dtype, minutes))
    bundled = (("fixed", "128 x 32 tokens", asking_tasks.fixed(32), 1.7),
               ("exponential", "128 texts of about 32 tokens", asking_tasks.exponential(32, 192), 4.0))  # fmt: skip
    for kind, what, lengths, bar in bundled:
        peer = Peer("hf-generate", "transformers generate", HF, HF_TEXTS, "generate", bar)
        title = f"{what}, bundled model"
        found.append(_rollout(f"testbed-{kind}", title, BUNDLED, 128, lengths, (peer,), FLOAT32, 1))
    return found


def _rollout(
    name: str, title: str, model: str, count: int, lengths: asking_tasks.Lengths, peers: tuple[Peer, ...], dtype: str,
    minutes: float,
) -> Work:  # fmt: skip
    def prepare(setting: Setting, folder: Path) -> Prepared:
        task = asking_tasks.texts(model, setting, count, lengths)
        return Prepared(task, limits.writing(shape_in(Path(task.model)), task, dtype))

    return Work(
        f"rollout-{name}-{dtype}",
        f"Rollout of {title}",
        "new tokens/s",
        ASKING,
        "texts",
        dtype,
        peers,
        prepare,
        minutes,
    )


def _revisions() -> Sequence[Work]:
    peers = (
        Peer("hf-single", "transformers generate, a row at a time", HF, HF_TEXTS, "single", 6.0),
        Peer("hf-prefix", REPEATED, HF, HF_TEXTS, "prefix", 1.7),
        Peer("vllm", "vLLM with prefix caching", VLLM, VLLM_ASKING, "texts"),
    )
    found = []
    for dtype in (FLOAT32, BFLOAT16):

        def prepare(setting: Setting, folder: Path, dtype: str = dtype) -> Prepared:
            task = asking_tasks.revision(SMOLLM2, setting)
            return Prepared(task, limits.writing(shape_in(Path(task.model)), task, dtype))

        title = "Critiques and revisions after worked examples, SmolLM2-135M"
        found.append(
            Work(f"revision-smollm2-{dtype}", title, "new tokens/s", ASKING, "texts", dtype, peers, prepare, 16)
        )
    return found


def _learning() -> Sequence[Work]:
    found = []
    cases = (("smollm2-lora", "SmolLM2-135M with LoRA", SMOLLM2, LORA_RANK, FLOAT32, 6),
             ("smollm2-lora", "SmolLM2-135M with LoRA", SMOLLM2, LORA_RANK, BFLOAT16, 5),
             ("testbed", "all weights of the bundled model", BUNDLED, 0, FLOAT32, 1))  # fmt: skip
    for short, title, model, rank, dtype, minutes in cases:

        def sft(setting: Setting, folder: Path, model: str = model, rank: int = rank) -> Prepared:
            task = learning_tasks.finetuning(model, setting, rank)
            return Prepared(task, limits.learning(shape_in(Path(task.model)), task))

        def pm(setting: Setting, folder: Path, model: str = model, rank: int = rank) -> Prepared:
            task = learning_tasks.preferring(model, setting, rank, folder)
            return Prepared(task, limits.learning(shape_in(Path(task.model)), task))

        for way, prepare, what, trainer in (
            ("sft", sft, "Finetuning", "SFTTrainer"), ("pm", pm, "Preference model", "RewardTrainer")
        ):  # fmt: skip
            peer = Peer("trl", f"TRL 1.16 {trainer}", HF, "benchmarks.peers.trl_learning", way, 2.0)
            name, times = f"{way}-{short}-{dtype}", 1 if way == "sft" else 2
            found.append(
                Work(
                    name, f"{what} on ragged rows, {title}", "tokens/s", LEARNING, way, dtype, (peer,), prepare,
                    minutes * times,
                )
            )  # fmt: skip
    return found


def _reinforcement() -> Sequence[Work]:
    """The bundled model with replies of full length, with its own ends, and with TRL's four passes over a rollout."""
    found = []
    cases = (("smollm2-lora", "SmolLM2-135M's shape with LoRA, full replies", SMOLLM2, LORA_RANK, Replies.FULL, 1, 12),
             ("testbed-full", "bundled model, full replies", BUNDLED, 0, Replies.FULL, 1, 2),
             ("testbed-own", "bundled model, its own replies", BUNDLED, 0, Replies.OWN, 1, 2),
             ("testbed-full-4", "bundled model, full replies, 4 passes", BUNDLED, 0, Replies.FULL, 4, 5))  # fmt: skip
    trainers = {
        "ppo": ("PPO", Peer("trl", "TRL 1.12 PPOTrainer", TRL_PPO, "benchmarks.peers.trl_ppo", "ppo", 1.3)),
        "rloo": ("RLOO", Peer("trl", "TRL 1.16 RLOOTrainer", HF, "benchmarks.peers.trl_rloo", "rloo", 1.5)),
    }
    for (short, title, model, rank, replies, passes, minutes), (way, (what, peer)) in (
        (case, trainer) for case in cases for trainer in trainers.items()
    ):
        beside = replace(peer, bar=1.8) if way == "ppo" and model == SMOLLM2 else peer
        make = partial(learning_tasks.reinforcement, model, replies, rank, passes)

        def prepare(
            setting: Setting, folder: Path, way: str = way, lengths: Replies = replies,
            make: Callable[..., ReinforcementTask] = make,
        ) -> Prepared:  # fmt: skip
            task = make(setting, folder)
            if lengths is Replies.OWN:  # how long they are is not known
                return Prepared(task)
            return Prepared(task, limits.reinforcement(shape_in(Path(task.policy)), task, way, FLOAT32))

        found.append(
            Work(
                f"{way}-{short}-{FLOAT32}", f"{what}, {title}", "episodes/s", REINFORCEMENT, way, FLOAT32, (beside,),
                prepare, minutes,
            )
        )  # fmt: skip
    return found


SMALL_RUN = (
    "prompts.limit_red_team=160", "prompts.limit_helpful=160", "revision.steps=2", "judge_check.limit=12",
    "judge_check.weak_judge=accept", "preference.limit_human=320", "rl.steps=14", "rl.prompts_per_step=48",
    "measure.limit=64",
)  # fmt: skip
QUICK_RUN = (
    "prompts.limit_red_team=24", "prompts.limit_helpful=24", "revision.steps=1", "judge_check.limit=2",
    "judge_check.weak_judge=accept", "preference.limit_human=24", "rl.steps=1", "rl.prompts_per_step=8",
    "measure.limit=8",
)  # fmt: skip


def _courses() -> Sequence[Work]:
    def run(setting: Setting, folder: Path) -> Prepared:
        settings = SMALL_RUN if setting.pick(1, 0) else QUICK_RUN
        return Prepared(CourseTask(0, setting.threads, (*settings, f"engine.threads={setting.threads}")))

    def rows(full: int, quick: int) -> Callable[[Setting, Path], Prepared]:
        return lambda setting, folder: Prepared(CourseTask(setting.pick(full, quick), setting.threads))

    whole = Peer("first-run", "the first run", OWN, COURSES, "whole", 2.5)
    asked = Peer("asked", "5,000 rows/s", bar=1.0, figure=5000.0)
    tenth = Peer("a-tenth", "Solon with a tenth of the rows", OWN, COURSES, "memory-of-a-tenth", 0.9)
    return (
        Work(
            "edit-testbed", "One of sixteen principles edited: new model and effect, small testbed run", "s", COURSES,
            "edited", FLOAT32, (whole,), run, 30, Measure.SECONDS,
        ),
        Work(
            "stage-labels", "Stage 06 over 20,000 pairs, answers at once", "rows/s", COURSES, "labels", "-", (asked,),
            rows(20_000, 200), 3,
        ),
        Work(
            "stage-revision", "Stage 03 over 10,000 prompts, two steps, answers at once", "rows/s", COURSES, "revision",
            "-", (asked,), rows(10_000, 100), 3,
        ),
        Work(
            "memory-labels", "Peak memory of stage 06 over 100,000 pairs, answers at once", "MB", COURSES, "memory",
            "-", (tenth,), rows(100_000, 500), 12, Measure.MEMORY,
        ),
    )  # fmt: skip
