"""Chunks give the same rows in the same order wherever they are worked on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runs.picklable import Square, SquareRow, reply
from tests.stages.workbench import Bench

from solon.config.recipe import PairSettings, ResponseSettings
from solon.engines.scripted import ScriptedEngine
from solon.errors import EngineError, RunError
from solon.runs import Artefact
from solon.runs.executor import Executor, InProcess, ProcessPool
from solon.runs.rows import ReplyRow
from solon.stages import s02_responses, s05_response_pairs

NUMBERS = list(range(11))
CHUNKS = [NUMBERS[start : start + 2] for start in range(0, 11, 2)]


def test_a_process_takes_a_chunk_when_its_result_is_asked_for() -> None:
    taken: list[int] = []

    def chunks() -> Iterator[list[int]]:
        for number, chunk in enumerate(CHUNKS):
            taken.append(number)
            yield chunk

    results = InProcess().map(Square(), chunks())
    assert taken == []
    for number in range(6):
        next(results)
        assert taken == list(range(number + 1))


def test_several_processes_give_the_results_in_order() -> None:
    results = list(ProcessPool(2).map(Square(), iter(CHUNKS)))
    assert [row.square for chunk in results for row in chunk] == [number**2 for number in NUMBERS]
    processes = {row.process for chunk in results for row in chunk}
    assert len(processes) == 2 and os.getpid() not in processes


def test_an_error_comes_at_its_chunk_s_turn_and_whole() -> None:
    results = ProcessPool(2).map(Square(fails_at=5), iter(CHUNKS))
    assert [row.number for row in (*next(results), *next(results))] == [0, 1, 2, 3]
    with pytest.raises(EngineError, match=r"^toy: no answer\. Ask again"):
        next(results)


def test_a_process_that_dies_is_an_error_with_a_remedy() -> None:
    with pytest.raises(RunError, match=r"a process that worked on a chunk died \(exit code 9\)"):
        list(ProcessPool(1).map(Square(dies_at=0), iter(CHUNKS)))


@pytest.mark.parametrize("executor", [InProcess(), ProcessPool(2)])
def test_finished_chunks_are_kept_and_the_others_worked_on(tmp_path: Path, executor: Executor) -> None:
    bench = Bench(tmp_path)
    out = bench.out("squares")
    out.executor = executor
    with pytest.raises(EngineError):
        out.map("squares", NUMBERS, Square(fails_at=6), row=SquareRow, chunk=2)
    again = bench.out("squares")
    again.executor = InProcess()
    rows = again.map("squares", NUMBERS, Square(fails_at=4), row=SquareRow, chunk=2)
    assert [row.square for row in rows] == [number**2 for number in NUMBERS]
    assert [row.process == os.getpid() for row in rows[:6]] == [isinstance(executor, InProcess)] * 6


def stages(folder: Path, executor: Executor) -> list[Artefact]:
    bench, engine = Bench(folder), ScriptedEngine(reply)
    given = bench.prompts(*(f"harm {number}" for number in range(7)))
    responses, pairs = bench.out("responses", 2), bench.out("pairs", 5)
    responses.executor = pairs.executor = executor
    return [
        s02_responses.run(ResponseSettings(), s02_responses.ResponseInputs(7, given, chunk=2), engine, responses),
        s05_response_pairs.run(PairSettings(), s05_response_pairs.PairInputs(7, given, chunk=2), engine, pairs),
    ]


def test_stages_publish_the_same_bytes_from_several_processes(tmp_path: Path) -> None:
    here, there = stages(tmp_path / "here", InProcess()), stages(tmp_path / "there", ProcessPool(2))
    assert [each.hash for each in here] == [each.hash for each in there]
    assert len(here[0].rows(ReplyRow)) == 7
