"""Training in several processes at once: data-parallel, with the curves of one process.

`accelerate launch` starts the same command several times, and `joined` binds the processes together through
accelerate's `PartialState`: gloo on CPUs, NCCL on GPUs, each process with a GPU of its own. The loss of a batch is a
sum over its rows divided by a size counted over the whole batch, so sharing is exact up to the order in which floats
are added: each process takes its share of a batch's rows, cut into micro-batches of its own; gradients and totals are
summed, not averaged; and then every process clips and takes the same optimiser step, so that the replicas stay alike
without ever being copied. Reinforcement learning shares a step's prompts, replies to score, and replies to measure, and
puts the rollout together again before anything is made of it: whitening, the KL controller, monitors and stop rules
see the whole, in every process. Seeds hang on row ids, so it does not matter who samples what. Checkpoints hold nothing
that depends on the number of processes.

What passes between processes is tensors and JSON, never pickle. Waiting is done in gloo, which sleeps, and has no time
limit that a long stage could meet. When a process ends, its connections close, and the others meet `Lost` at their next
exchange: a process that fails leaves its one line in the launcher's store, and the main process says it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as torch_distributed

from solon.config.launch import launched
from solon.errors import RunError, SolonError, StageError
from solon.runs.processes import SINGLE_PROCESS, Processes, Sharding
from solon.training.distributed.sharded import refuse_other_settings

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a process waits for another; a stage that asks models takes as long as it takes."""
BUCKET = 1 << 24
"""Numbers that are summed at a time: few enough not to double the memory of the gradients."""
_LAST_WORDS = "solon/failed"


class Lost(Exception):
    """Another process has ended, or does not answer."""


@dataclass(frozen=True, slots=True)
class Launched:
    """One of several processes; see `Processes` for what they do together."""

    rank: int
    count: int
    sharding: Sharding
    control: Any
    """The gloo group through which words pass; tensors on GPUs are summed by the default group."""

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """See `Processes`."""
        return items[self.rank :: self.count]

    def gather(self, items: Sequence[T]) -> list[T]:
        """See `Processes`."""
        held = [list(json.loads(each)) for each in self._all(json.dumps(list(items)).encode())]
        longest = max(map(len, held))
        return [part[place] for place in range(longest) for part in held if place < len(part)]

    def broadcast(self, value: T) -> T:
        """See `Processes`."""
        told: T = json.loads(self._all(json.dumps(value if self.rank == 0 else None).encode())[0])
        return told

    def any(self, flag: bool) -> bool:
        """See `Processes`."""
        flags = torch.tensor([int(flag)])
        self._sum(flags, self.control)
        return bool(flags.item())

    def add(self, tensors: Sequence[Tensor]) -> None:
        """See `Processes`."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self._sum(flat, None if flat.is_cuda else self.control)
            for tensor, part in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def _all(self, own: bytes) -> list[bytes]:
        """What every process gave, in their order."""
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        with _losing():
            torch_distributed.all_gather(sizes, torch.tensor([len(own)]), group=self.control)
            longest = int(max(size.item() for size in sizes))
            padded = torch.frombuffer(bytearray(own.ljust(longest)), dtype=torch.uint8)
            held = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
            torch_distributed.all_gather(held, padded, group=self.control)
        return [bytes(each[: int(size)].numpy()) for each, size in zip(held, sizes, strict=True)]

    @staticmethod
    def _sum(tensor: Tensor, group: Any) -> None:
        with _losing():
            torch_distributed.all_reduce(tensor, group=group)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors in their order, as many together as make a bucket; of one type and device each."""
    held: list[Tensor] = []
    numbers = 0
    for tensor in tensors:
        alike = not held or (tensor.dtype, tensor.device) == (held[0].dtype, held[0].device)
        if held and (numbers + tensor.numel() > BUCKET or not alike):
            yield held
            held, numbers = [], 0
        held.append(tensor)
        numbers += tensor.numel()
    if held:
        yield held


@contextmanager
def _losing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what torch raises when a connection is closed
        raise Lost(str(error)) from error


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that a launcher started, connected inside the block; `SINGLE_PROCESS` without a launcher.

    Ends every process when one fails: the failure is raised in the main process, and the others exit with 1 and say
    nothing. Raises RunError when they cannot be bound together, or when accelerate is to shard what Solon would not.
    """
    rank, count = launched()
    if count == 1:
        _warn_of_a_lonely_launch()
        yield SINGLE_PROCESS
        return
    _refuse_other_launches()
    sharding = _sharding()
    from accelerate import PartialState

    try:
        PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        control = torch_distributed.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"the {count} processes do not find each other ({reason})", place="accelerate launch") from error
    if rank:
        logging.getLogger("solon").setLevel(logging.ERROR)  # the main process says it
    with _one_failure_for_all(rank):
        yield Launched(rank, count, sharding, control)
    # Not after a failure: the end of the process is what tells the others, and a group that lost one may wait for it.
    torch_distributed.destroy_process_group()


@contextmanager
def _one_failure_for_all(rank: int) -> Iterator[None]:
    store = torch_distributed.distributed_c10d._get_default_store()
    try:
        yield
    except Lost as lost:
        if rank:
            raise SystemExit(1) from lost
        raise _what_happened(store) from lost
    except Exception as error:
        if rank:
            line = str(error) if isinstance(error, SolonError) else f"{type(error).__name__}: {error}"
            store.compare_set(_LAST_WORDS, "", json.dumps([rank, line]))  # the first one's words stay
        elif isinstance(error, RuntimeError) and store.check([_LAST_WORDS]):  # lost within a sharded model's pass
            raise _what_happened(store) from error
        raise


def _what_happened(store: Any) -> StageError:
    """What the process that ended left as its last words."""
    try:
        if store.check([_LAST_WORDS]):
            rank, line = json.loads(store.get(_LAST_WORDS))
            return StageError(f"process {rank} failed: {line}")
    except RuntimeError:  # the store is gone as well
        pass
    return StageError(
        "another process ended without a message",
        place="accelerate launch",
        remedy="See what the launcher says of it (memory, a signal); the same command resumes",
    )


def _sharding() -> Sharding:
    """Whether accelerate was configured for FSDP."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return Sharding.REPLICATED
    refuse_other_settings()
    # Every process reads the weights and then keeps its part; else transformers would read them in the first alone.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    return Sharding.SHARDED


def _refuse_other_launches() -> None:
    """Raise RunError for what accelerate was set to do and Solon would not; nothing is quietly left out."""
    for name, what in (("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"), ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM")):
        if os.environ.get(name, "false").lower() == "true":
            raise RunError(
                f"{what} cannot be used",
                place="accelerate launch",
                remedy="Use --multi_gpu, or export the RL stage to another trainer with: solon export trl",
            )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("", "no"):
        raise RunError(
            f"weights are trained in float32, not in mixed precision '{precision}'",
            place="accelerate launch",
            remedy="Use --mixed_precision no, and --set engine.matmul=medium for faster products",
        )


def _warn_of_a_lonely_launch() -> None:
    """`accelerate launch --cpu --num_processes 2` starts one process; say so, for nobody else does."""
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in os.environ:
        logging.getLogger(__name__).warning(
            "accelerate launch --cpu started one process only; on CPUs use --multi_gpu, or torchrun --nproc_per_node N"
        )
