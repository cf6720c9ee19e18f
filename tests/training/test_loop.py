"""The supervised loop on a tiny model: exact accumulation, refusal of bad numbers, resume, and that it learns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from solon.config.recipe import EngineSettings, LoraSettings, Schedule, TrainingSettings
from solon.errors import DivergedError, StageError
from solon.runs.interrupt import Interrupted, StopRequest
from solon.runs.progress import Progress
from solon.training import models
from solon.training.batches import CompletionExample, PairExample, batch_at, pass_cost
from solon.training.checkpoint import Checkpoints
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import EPSILON, Learner, learning_rate_at
from solon.training.loop import (
    Log,
    Objective,
    TrainingSession,
    accumulate,
    mean_loss,
    padding_share,
    session_in,
    train,
)
from solon.training.objectives import CompletionObjective, PreferenceObjective
from tests.training.tiny import stage_folder

EXAMPLES = [
    CompletionExample(f"row{n}", tuple((7 * n + 3 * t) % 200 + 2 for t in range(4 + n % 9)), 1 + n % 3)
    for n in range(24)
]
PAIRS = [
    PairExample(f"pair{n}", (*EXAMPLES[n].token_ids, 11, 0), (*EXAMPLES[n].token_ids, 12, 13, 0), 0.9 - n % 3 * 0.2,
                1.0 + n % 2, "ai")
    for n in range(24)
]  # fmt: skip


class Killed(BaseException):
    """Stands for `kill -9`."""


def learner_of(model: models.Trainable) -> Learner:
    return Learner(models.trainable_parameters(model), clip=1.0, epsilon=EPSILON)


def sft(folder: Path, adapter: LoraSettings | None = None) -> tuple[Learner, Objective[CompletionExample]]:
    model = models.with_adapter(models.load_causal_lm(folder, EngineSettings()), adapter, seed=1)
    return Learner(models.trainable_parameters(model), clip=1.0, epsilon=EPSILON), CompletionObjective(
        TokenModel(model)
    )


def preference(folder: Path) -> tuple[Learner, Objective[PairExample]]:
    model = models.grow_preference_model(folder, models.load_tokenizer(folder), EngineSettings(), seed=1)
    return Learner(models.trainable_parameters(model), clip=1.0, epsilon=EPSILON), PreferenceObjective(
        ScalarModel(model)
    )


def gradients(learner: Learner) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in learner.parameters.values() if p.grad is not None])


@pytest.mark.parametrize("micro_tokens", [1, 30, 64, 100_000])
def test_gradients_are_equal_for_any_micro_batch_size(tiny: Path, micro_tokens: int) -> None:
    for make, rows in ((sft, EXAMPLES), (preference, PAIRS)):
        whole, objective = make(tiny)
        total, _ = accumulate(whole, objective, rows, 10**9, "here")  # type: ignore[arg-type]
        parts, objective = make(tiny)
        summed, _ = accumulate(parts, objective, rows, micro_tokens, "here")  # type: ignore[arg-type]
        assert summed.loss == pytest.approx(total.loss, rel=1e-5)
        assert summed.counts == total.counts
        torch.testing.assert_close(gradients(parts), gradients(whole), rtol=1e-4, atol=1e-6)


@dataclass(frozen=True)
class OfSize(CompletionObjective):
    """As for a model of another size."""

    cost: int = 512

    @property
    def pass_cost(self) -> int:
        return self.cost


def test_padding_is_counted_as_the_passes_of_an_epoch_read_it(tiny: Path) -> None:
    settings = TrainingSettings(batch_size=3, micro_batch_tokens=1000)
    rows = [CompletionExample("", tuple(range(length)), 0) for length in (10, 4, 4, 7)]
    model = TokenModel(models.load_causal_lm(tiny, EngineSettings()))
    # two batches: whichever three rows come first are read together
    first = batch_at(0, 4, 3, seed=5)
    read = 3 * max(rows[index].length for index in first) + rows[batch_at(1, 4, 3, seed=5)[0]].length
    assert padding_share(CompletionObjective(model), rows, settings, 5) == round(1 - 25 / read, 4) > 0
    assert padding_share(CompletionObjective(model), rows[:1], settings, 5) == 0.0
    pairs = [PairExample("", (1,) * 10, (1,) * 6, 1.0, 1.0, "ai")]
    scores = ScalarModel(models.grow_preference_model(tiny, models.load_tokenizer(tiny), EngineSettings(), seed=1))
    assert padding_share(PreferenceObjective(scores), pairs, settings, 5) == 0.2


def test_a_large_model_reads_little_padding(tiny: Path) -> None:
    """Lengths as those of dialogues, 20 to 300 tokens: a quarter of what a large model would read was padding."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 300, (256,), generator=generator).tolist()
    rows = [CompletionExample("", (1,) * length, 0) for length in lengths]
    model, settings = TokenModel(models.load_causal_lm(tiny, EngineSettings())), TrainingSettings(batch_size=32)
    small, large = (
        padding_share(OfSize(model, cost=cost), rows, settings, 0) for cost in (512, pass_cost(135_000_000))
    )
    assert small > 0.15 and large < 0.08


def test_the_loss_of_a_batch_is_the_mean_over_its_tokens(tiny: Path) -> None:
    learner, objective = sft(tiny)
    totals, tokens = accumulate(learner, objective, EXAMPLES, 64, "here")
    model = models.load_causal_lm(tiny, EngineSettings())
    losses = []
    with torch.no_grad():
        for row in EXAMPLES:
            logprobs_TV = model(torch.tensor([row.token_ids])).logits[0].log_softmax(-1)
            losses += [-float(logprobs_TV[t - 1, row.token_ids[t]]) for t in range(row.start, row.length)]
    assert tokens == len(losses) == totals.counts["tokens"]
    assert totals.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert mean_loss(objective, EXAMPLES, 64) == pytest.approx(totals.loss, rel=1e-5)
    assert mean_loss(objective, [], 64) is None


def test_learning_rates() -> None:
    constant = [learning_rate_at(step, 10, 1.0, Schedule.CONSTANT, 0.2) for step in range(10)]
    assert constant == [0.5, 1.0] + [1.0] * 8
    linear = [learning_rate_at(step, 10, 1.0, Schedule.LINEAR, 0.2) for step in range(10)]
    assert linear == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert learning_rate_at(0, 5, 1.0, Schedule.LINEAR, 0.0) == 1.0
    assert learning_rate_at(4, 5, 1.0, Schedule.LINEAR, 1.0) == 1.0


@pytest.mark.parametrize("where", ["weight", "gradient"])
def test_a_number_that_is_not_finite_stops_before_the_step(tiny: Path, tmp_path: Path, where: str) -> None:
    learner, objective = sft(tiny)
    norm = learner.parameters["model.norm.weight"]
    if where == "weight":
        with torch.no_grad():
            norm[0] = float("nan")
    else:
        norm.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: weight.clone() for name, weight in learner.weights().items()}
    with pytest.raises(StageError) as error:
        train(learner, objective, EXAMPLES[:2], [], TrainingSettings(), 0, TrainingSession(Checkpoints(tmp_path)))
    assert "training step 1" in str(error.value) and "row0, row1" in str(error.value)
    for name, weight in learner.weights().items():
        assert torch.equal(weight, before[name]) or name == "model.norm.weight"


def test_nothing_to_train_on_is_an_error(tiny: Path, tmp_path: Path) -> None:
    learner, objective = sft(tiny)
    with pytest.raises(StageError, match="nothing to train on"):
        train(learner, objective, [], [], TrainingSettings(), 0, TrainingSession(Checkpoints(tmp_path)))


SETTINGS = TrainingSettings(batch_size=5, epochs=2.5, checkpoint_every=3, schedule=Schedule.LINEAR, weight_decay=0.01)


def kill_at(step: int) -> object:
    def progress(done: int, total: int, note: str) -> None:
        if done == step:
            raise Killed

    return progress


def run(make: object, rows: Sequence[object], folder: Path, checkpoints: Path, kill: int | None) -> tuple[Learner, Log]:
    learner, objective = make(folder)  # type: ignore[operator]
    progress = {"progress": kill_at(kill)} if kill else {}
    session = TrainingSession(Checkpoints(checkpoints), **progress)  # type: ignore[arg-type]
    return learner, train(learner, objective, rows[:20], rows[20:], SETTINGS, 4, session)


def lora(folder: Path) -> tuple[Learner, Objective[CompletionExample]]:
    return sft(folder, LoraSettings(rank=4))


@pytest.mark.parametrize(("make", "rows"), [(sft, EXAMPLES), (lora, EXAMPLES), (preference, PAIRS)])
def test_a_killed_run_goes_on_to_the_same_bytes(tiny: Path, tmp_path: Path, make: object, rows: list[object]) -> None:
    whole, log = run(make, rows, tiny, tmp_path / "whole", None)
    for kill in (2, 4, 8):  # before the first checkpoint, and twice after one
        with pytest.raises(Killed):
            run(make, rows, tiny, tmp_path / "killed", kill)
    resumed, log_again = run(make, rows, tiny, tmp_path / "killed", None)
    assert json.dumps(log.rows) == json.dumps(log_again.rows)
    assert len(log.rows) == 10 and [row["held_out_loss"] is not None for row in log.rows] == [
        step in (4, 8, 10) for step in range(1, 11)
    ]
    for one, other in ((whole.weights(), resumed.weights()), (whole.moments(), resumed.moments())):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_request_to_stop_saves_a_checkpoint_at_once(tiny: Path, tmp_path: Path) -> None:
    learner, objective = sft(tiny)
    stopping = TrainingSession(Checkpoints(tmp_path), kill_at(2), lambda: True)  # type: ignore[arg-type]
    with pytest.raises(Killed):
        train(learner, objective, EXAMPLES, [], SETTINGS, 4, stopping)
    found = Checkpoints(tmp_path).newest()
    assert found is not None and found.step == 2


def test_a_request_between_checkpoint_and_report_is_obeyed_after_the_next_step(tiny: Path, tmp_path: Path) -> None:
    stop = StopRequest()

    def shown(progress: Progress) -> None:
        stop.made = stop.made or progress.done == 1

    out = stage_folder(tmp_path / "stage", report_to=shown, stop=stop)
    learner, objective = sft(tiny)
    with pytest.raises(Interrupted):
        train(learner, objective, EXAMPLES, [], SETTINGS, 4, session_in(out))
    found = Checkpoints(out.path / "checkpoints").newest()
    assert found is not None and found.step == 2, "no step that was done is lost"


def test_the_last_step_has_a_checkpoint(tiny: Path, tmp_path: Path) -> None:
    _, log = run(sft, EXAMPLES, tiny, tmp_path, None)
    found = Checkpoints(tmp_path).newest()
    assert found is not None and found.step == len(log.rows) == 10
    _, again = run(sft, EXAMPLES, tiny, tmp_path, None)
    assert again.rows == log.rows


def test_a_checkpoint_of_another_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    run(sft, EXAMPLES, tiny, tmp_path, None)
    with pytest.raises(StageError, match="other weights"):
        run(lora, EXAMPLES, tiny, tmp_path, None)


def test_finetuning_learns_a_few_examples_by_heart(tiny: Path, tmp_path: Path) -> None:
    learner, objective = sft(tiny)
    settings = TrainingSettings(batch_size=8, epochs=60, learning_rate=1e-2, schedule=Schedule.LINEAR)
    log = train(learner, objective, EXAMPLES[:8], [], settings, 0, TrainingSession(Checkpoints(tmp_path)))
    assert log.rows[0]["loss"] > 5
    assert log.rows[-1]["loss"] < 0.15


def test_the_preference_model_learns_a_planted_preference(tiny: Path, tmp_path: Path) -> None:
    # the better reply says 50 where the worse says 60; prompts at the end were never trained on
    rows = [PairExample(f"p{n}", (2 + n, 9, 50, 3 + n, 0), (2 + n, 9, 60, 3 + n, 0), 0.9, 1.0, "ai") for n in range(40)]
    learner, objective = preference(tiny)
    settings = TrainingSettings(batch_size=16, epochs=12, learning_rate=3e-3)
    log = train(learner, objective, rows[:32], rows[32:], settings, 0, TrainingSession(Checkpoints(tmp_path)))
    assert isinstance(objective, PreferenceObjective)
    with torch.no_grad():
        chosen_B, rejected_B = objective.scores(rows[32:])
    assert (chosen_B > rejected_B).all()
    # soft labels are met, not overshot: sigmoid(d) is near 0.9
    assert float((chosen_B - rejected_B).sigmoid().mean()) == pytest.approx(0.9, abs=0.05)
    assert log.rows[-1]["held_out_loss"] == pytest.approx(0.325, abs=0.03)  # the entropy of a 0.9 coin


def test_the_learning_rate_is_not_blamed_before_anything_was_learnt(tiny: Path) -> None:
    learner, objective = sft(tiny)
    with pytest.raises(DivergedError, match="start from another model") as early:
        learner.checked(float("nan"), "training step 1", ["row1"])
    assert "rate" not in early.value.remedy and early.value.place == "training step 1"
    accumulate(learner, objective, EXAMPLES[:2], 100, "training step 1")
    learner.step(1e-3, "training step 1", [])
    with pytest.raises(DivergedError, match="lower the learning rate"):
        learner.checked(float("nan"), "training step 2", ["row1"])
