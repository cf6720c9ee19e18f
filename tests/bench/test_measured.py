"""Ratios and their intervals; the least operations that a work needs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bench import limits
from benchmarks.bench.limits import Demand, Machine
from benchmarks.bench.machine import cpu_name
from benchmarks.bench.measured import Measure, ratio_of
from benchmarks.peers.protocol import Answer
from benchmarks.peers.tasks import AskingTask, LearningTask, Phase
from solon.config.builtin import model_path
from solon.config.recipe import EngineSettings
from solon.model_folders.model_shape import shape_in
from solon.training.models import load_causal_lm

BUNDLED = model_path("testbed:assistant")


def test_the_ratio_says_how_many_times_better_solon_is() -> None:
    assert ratio_of(Measure.RATE, [20.0, 30.0, 25.0], [10.0, 10.0, 10.0]).value == 2.5
    assert ratio_of(Measure.SECONDS, [2.0, 2.0, 2.0], [5.0, 5.0, 6.0]).value == 2.5
    assert ratio_of(Measure.MEMORY, [200.0], [100.0]).value == 0.5


def test_the_interval_is_of_pairs_of_repeats() -> None:
    """A machine that slows down slows both: the ratio of every pair is 2, and so are the bounds."""
    load = [1.0, 0.5, 0.9, 0.4, 0.7]
    drifting = ratio_of(Measure.RATE, [2 * each for each in load], load)
    assert (drifting.value, drifting.low, drifting.high) == (2.0, 2.0, 2.0)
    noisy = ratio_of(Measure.RATE, [1.0, 2.0, 3.0, 2.0, 1.5], [1.0] * 5)
    assert 1.0 <= noisy.low < noisy.value < noisy.high <= 3.0


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    chance, held = random.Random(1), 0
    for _ in range(200):
        solon, peer = ([mean * chance.lognormvariate(0, 0.1) for _ in range(9)] for mean in (1.5, 1.0))
        found = ratio_of(Measure.RATE, solon, peer, draws=400)
        held += found.low <= 1.5 <= found.high
    assert held >= 176


def test_repeats_come_in_pairs() -> None:
    with pytest.raises(ValueError):
        ratio_of(Measure.RATE, [1.0, 2.0], [1.0])
    with pytest.raises(ValueError):
        ratio_of(Measure.RATE, [], [])


def test_a_measure_reads_its_part_of_an_answer() -> None:
    answer = Answer(2.0, 10.0, 300.0)
    assert [measure.of(answer) for measure in Measure] == [5.0, 2.0, 300.0]


def counted(work: Any) -> int:
    # Torch counts the products of attention in this form alone.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("tokens", [8, 200])
def test_operations_of_a_forward_pass_are_those_that_torch_counts(tokens: int) -> None:
    model, shape = load_causal_lm(BUNDLED, EngineSettings()), shape_in(BUNDLED)
    with torch.inference_mode():
        total = counted(lambda: model(input_ids=torch.ones(1, tokens, dtype=torch.long)))
    # It computes attention over the whole square, of which a causal row needs half.
    attention = limits.forward_attention(shape, tokens)
    assert limits.forward(shape, tokens, 0, tokens) + attention == pytest.approx(total, rel=1e-3)


def test_operations_of_training_are_those_that_torch_counts() -> None:
    model, shape = load_causal_lm(BUNDLED, EngineSettings()), shape_in(BUNDLED)
    ids = torch.ones(1, 8, dtype=torch.long)
    total = counted(lambda: model(input_ids=ids).logits.sum().backward())
    task = LearningTask(str(BUNDLED), 1, 1, 0, 0, 1, rows=[[1] * 8], starts=[0])
    assert limits.learning(shape, task).operations == pytest.approx(total, rel=0.02)
    frozen = LearningTask(str(BUNDLED), 1, 1, 0, 8, 1, rows=[[1] * 8], starts=[0])
    assert limits.learning(shape, frozen).operations == pytest.approx(total * 2 / 3, rel=0.02)


def test_a_prefix_is_read_once_and_weights_at_every_step() -> None:
    shape = shape_in(BUNDLED)
    shared, own = [1] * 100, [[2] * 10] * 4
    phase = Phase(shared, own, [5] * 4, (), (), "assistant")
    task = AskingTask(str(BUNDLED), 1, 200, [phase])
    labels = limits.labelling(
        shape, AskingTask(str(BUNDLED), 1, 200, [Phase(shared, own, (), (), (), "answer")]), "float32"
    )
    once = limits.forward(shape, 100, 0)
    assert labels.operations == once + 4 * limits.forward(shape, 10, 100, 1)
    writing = limits.writing(shape, task, "float32")
    assert writing.bytes > 5 * labels.bytes and writing.operations > labels.operations
    assert limits.writing(shape, task, "bfloat16").bytes == writing.bytes / 2


def test_what_was_read_before_is_not_counted_again() -> None:
    """A revision's question begins with its critique's, and both sides of a pair with their prompt."""
    shape = shape_in(BUNDLED)
    critique = Phase([1] * 100, [[2] * 10] * 4, [5] * 4, (), (), "critique")
    revision = Phase([1] * 100, [[2] * 10 + [3] * 6] * 4, [5] * 4, (), (), "revision")
    both = limits.writing(shape, AskingTask(str(BUNDLED), 1, 200, [critique, revision]), "float32").operations
    first = limits.writing(shape, AskingTask(str(BUNDLED), 1, 200, [critique]), "float32").operations
    again = 4 * (limits.forward(shape, 6, 110, 1) + limits.forward(shape, 5, 116, 5))
    assert both == pytest.approx(first + again)
    pair = LearningTask(str(BUNDLED), 1, 1, 0, 0, 1, chosen=[[1] * 6 + [2] * 4], rejected=[[1] * 6 + [3] * 4])
    apart = LearningTask(str(BUNDLED), 1, 1, 0, 0, 1, chosen=[[1] * 10], rejected=[[4] * 10])
    prompt = LearningTask(str(BUNDLED), 1, 1, 0, 0, 1, rows=[[1] * 6], starts=[6])
    saved = limits.learning(shape, apart).operations - limits.learning(shape, pair).operations
    assert saved == pytest.approx(limits.learning(shape, prompt).operations)


def test_the_limit_is_what_the_machine_is_short_of() -> None:
    machine = Machine(operations=100.0, bandwidth=10.0)
    assert Demand(200.0, 5.0).seconds(machine) == 2.0 and Demand(200.0, 5.0).bound(machine) == "operations"
    assert Demand(200.0, 50.0).seconds(machine) == 5.0 and Demand(200.0, 50.0).bound(machine) == "bytes"


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nmodel name\t: A Processor 9000\n")
    assert cpu_name(file) == "A Processor 9000"
    assert cpu_name(tmp_path / "none")
