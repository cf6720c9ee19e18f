"""Training in several processes: data-parallel, with the same curves as in one process.

`accelerate launch` starts the same command several times, and `joined` connects the processes through
accelerate's `PartialState`: gloo on CPUs, NCCL on GPUs, one GPU per process. The loss of a batch is a
sum over its rows divided by a size counted over the whole batch, so the result is the same up to the order in
which floats are added. Each process takes its share of a batch's rows; gradients and totals are summed, not averaged;
then every process clips and takes the same optimiser step, so the replicas stay equal without being copied.
Reinforcement learning shares sampling, scoring and measuring, and gathers the whole rollout in every process before
whitening, the KL controller, monitors and stop rules use it. Seeds depend on row ids, so it does not matter which
process samples a row. Checkpoints do not depend on the number of processes.

Processes exchange tensors and JSON, never pickle. They wait in gloo, which sleeps, and the time limit is longer than
any stage. When a process ends, its connections close, and the others raise `Lost` at their next exchange. A process
that fails writes one line into the launcher's store, and the main process reports it.
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
"""Numbers summed at a time: few enough not to double the memory of the gradients."""
_FAILURE = "solon/failed"


class Lost(Exception):
    """Another process has ended, or does not answer."""


@dataclass(frozen=True, slots=True)
class Launched:
    """One of several processes; see `Processes` for what they do together."""

    rank: int
    count: int
    sharding: Sharding
    control: Any
    """The gloo group for JSON and for tensors on CPUs; the default group sums tensors on GPUs."""

    def share(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.rank :: self.count]

    def gather(self, items: Sequence[T]) -> list[T]:
        held = [list(json.loads(each)) for each in self._all(json.dumps(list(items)).encode())]
        longest = max(map(len, held))
        return [part[place] for place in range(longest) for part in held if place < len(part)]

    def broadcast(self, value: T) -> T:
        received: T = json.loads(self._all(json.dumps(value if self.rank == 0 else None).encode())[0])
        return received

    def any(self, flag: bool) -> bool:
        flags = torch.tensor([int(flag)])
        self._sum(flags, self.control)
        return bool(flags.item())

    def add(self, tensors: Sequence[Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self._sum(flat, None if flat.is_cuda else self.control)
            for tensor, part in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def _all(self, own: bytes) -> list[bytes]:
        """The bytes of every process, by rank."""
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
    """Tensors in order, grouped into buckets of one type and device."""
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

    When one process fails, all end: the main process raises the failure, and the others exit with 1 silently. Raises
    RunError when they cannot connect, or for settings of accelerate that Solon does not support.
    """
    rank, count = launched()
    if count == 1:
        _warn_of_single_process()
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
        raise RunError(
            f"the {count} processes cannot connect to each other ({reason})", place="accelerate launch"
        ) from error
    if rank:
        logging.getLogger("solon").setLevel(logging.ERROR)  # the main process reports it
    with _one_failure_for_all(rank):
        yield Launched(rank, count, sharding, control)
    # Not after a failure: the others notice the end of this process, and destroying the group could hang.
    torch_distributed.destroy_process_group()


@contextmanager
def _one_failure_for_all(rank: int) -> Iterator[None]:
    store = torch_distributed.distributed_c10d._get_default_store()
    try:
        yield
    except Lost as lost:
        if rank:
            raise SystemExit(1) from lost
        raise _failure_in(store) from lost
    except Exception as error:
        if rank:
            line = str(error) if isinstance(error, SolonError) else f"{type(error).__name__}: {error}"
            store.compare_set(_FAILURE, "", json.dumps([rank, line]))  # keeps the first failure
        elif isinstance(error, RuntimeError) and store.check([_FAILURE]):  # lost within a sharded model's pass
            raise _failure_in(store) from error
        raise


def _failure_in(store: Any) -> StageError:
    """The error of the process that ended, from the store."""
    try:
        if store.check([_FAILURE]):
            rank, line = json.loads(store.get(_FAILURE))
            return StageError(f"process {rank} failed: {line}")
    except RuntimeError:  # the store is gone as well
        pass
    return StageError(
        "another process ended without a message",
        place="accelerate launch",
        remedy="Look at the launcher's output (memory, a signal); the same command resumes",
    )


def _sharding() -> Sharding:
    """Whether accelerate was configured for FSDP."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return Sharding.REPLICATED
    refuse_other_settings()
    # Every process reads the weights and then keeps its part; else only the first would read them.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    return Sharding.SHARDED


def _refuse_other_launches() -> None:
    """Raise RunError for settings of accelerate that Solon does not support, rather than ignore them."""
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
            f"the recipe decides about the precision of training, not the launcher ('{precision}')",
            place="accelerate launch",
            remedy="Use --mixed_precision no, and --overlay bfloat16 for mixed precision",
        )


def _warn_of_single_process() -> None:
    """Warn that `accelerate launch --cpu --num_processes 2` starts only one process."""
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in os.environ:
        logging.getLogger(__name__).warning(
            "accelerate launch --cpu started one process only; on CPUs use --multi_gpu, or torchrun --nproc_per_node N"
        )
