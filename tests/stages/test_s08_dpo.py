"""DPO as stage 08: from labels to a model, resumed to the same bytes, and told in its facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.training.tiny import artefact, asked, row_id, said, same_files, save_tiny_model, stage_folder
from transformers import AutoModelForCausalLM

from solon.config.recipe import (
    Algorithm,
    DpoSettings,
    EngineSettings,
    LoraSettings,
    ReinforcementSettings,
    TrainingSettings,
)
from solon.errors import StageError
from solon.runs import Artefact
from solon.stages import s08_dpo

TRAINING = TrainingSettings(batch_size=4, epochs=2, held_out=0.25, checkpoint_every=2, learning_rate=1e-3)
SETTINGS = ReinforcementSettings(algorithm=Algorithm.DPO, dpo=DpoSettings(training=TRAINING))


class Killed(BaseException):
    """Stands for `kill -9`."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("direct")
    rows: list[dict[str, Any]] = [
        {"row_id": row_id(f"q{n}"), "prompt": asked(f"How do I bake {n} ?"), "chosen": said("yes good"),
         "rejected": said("no bad"), "p_chosen": 0.9, "outcome": "ok"}
        for n in range(16)
    ]  # fmt: skip
    rows.append({**rows[0], "row_id": row_id("none"), "p_chosen": None, "outcome": "undecided"})
    rows.append({**rows[0], "row_id": row_id("long"), "prompt": asked("bread " * 200)})
    return {"tiny": save_tiny_model(folder / "tiny"), "labels": artefact(folder / "06", rows)}


def run(made: dict[str, Any], folder: Path, settings: ReinforcementSettings = SETTINGS, **more: Any) -> Artefact:
    given = s08_dpo.DirectInputs(2, made["tiny"], EngineSettings(), made["labels"])
    return s08_dpo.run(settings, given, stage_folder(folder, **more))


@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)])
def test_a_run_learns_from_labels_alone(made: dict[str, Any], tmp_path: Path, adapter: LoraSettings | None) -> None:
    done = run(made, tmp_path / "08", SETTINGS.model_copy(update={"lora": adapter}))
    rows, facts = done.table().to_pylist(), done.facts
    assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-3), "at first the policy is its reference"
    assert rows[-1]["loss"] < rows[0]["loss"] and rows[-1]["margin"] > 0
    assert facts["held_out_loss"] < facts["held_out_loss_before"] == pytest.approx(0.6931, abs=1e-3)
    assert facts["held_out_accuracy"] == 1.0 and facts["algorithm"] == "dpo"
    assert facts["too_long"] == 1 and facts["labels"] == {"ok": 17, "undecided": 1}
    assert facts["examples"] + facts["held_out_examples"] == 16
    assert (done.model / "adapter").is_dir() == (adapter is not None)
    assert len((done.path / "metrics.jsonl").read_text().splitlines()) == len(rows)
    assert json.loads((done.path / "metrics.jsonl").read_text().splitlines()[0])["loss"] == rows[0]["loss"]
    AutoModelForCausalLM.from_pretrained(done.model)


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_pair_with_an_empty_reply_is_not_learned_from(made: dict[str, Any], tmp_path: Path, side: str) -> None:
    rows = made["labels"].table().to_pylist()
    empty = [{**row, side: said(text)} for row, text in zip(rows[:2], ("", " \n"), strict=True)]
    with_empty = {**made, "labels": artefact(tmp_path / "06", [*empty, *rows[2:]])}
    without = {**made, "labels": artefact(tmp_path / "absent", rows[2:])}
    one, other = run(with_empty, tmp_path / "one"), run(without, tmp_path / "other")
    assert (one.facts["empty"], other.facts["empty"]) == (2, 0)
    assert one.table().to_pylist() == other.table().to_pylist() and same_files(one.model, other.model)


def test_a_killed_stage_ends_with_the_same_bytes(made: dict[str, Any], tmp_path: Path) -> None:
    def killing(at: int) -> Any:
        def die(progress: Any) -> None:
            if progress.done == at:
                raise Killed

        return die

    whole = run(made, tmp_path / "whole")
    for at in (1, 3):
        with pytest.raises(Killed):
            run(made, tmp_path / "killed", report_to=killing(at))
    resumed = run(made, tmp_path / "killed")
    assert whole.hash == resumed.hash and same_files(whole.model, resumed.model)


def test_labels_that_all_are_held_out_are_told(made: dict[str, Any], tmp_path: Path) -> None:
    training = TRAINING.model_copy(update={"held_out": 1.0})
    with pytest.raises(StageError, match="no labelled pair"):
        run(made, tmp_path / "08", SETTINGS.model_copy(update={"dpo": DpoSettings(training=training)}))


def test_human_comparisons_count_as_certain_and_by_their_weight(made: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "human.jsonl"
    lines = [
        {"prompt": asked(f"How do I repair {n} ?"), "chosen": said("First wait ."), "rejected": said("no")}
        for n in range(6)
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def with_weight(weight: float, name: str) -> Artefact:
        direct = DpoSettings(training=TRAINING.model_copy(update={"held_out": 0.0}), human_weight=weight)
        given = s08_dpo.DirectInputs(2, made["tiny"], EngineSettings(), made["labels"], file, 4)
        return s08_dpo.run(SETTINGS.model_copy(update={"dpo": direct}), given, stage_folder(tmp_path / name))

    mixed, alone = with_weight(3.0, "mixed"), with_weight(0.0, "alone")
    assert (mixed.facts["human"], mixed.facts["examples"]) == (4, 20)
    assert (alone.facts["human"], alone.facts["examples"]) == (0, 16)
    assert mixed.table().to_pylist()[0]["loss"] == pytest.approx(0.6931, abs=1e-3), "a mean by weight"
