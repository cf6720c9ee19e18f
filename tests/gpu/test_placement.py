"""Every stage that trains, and the engine, on a pretended GPU: each tensor is where the others are, and few waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.config.recipe import (
    Activations,
    Algorithm,
    DpoSettings,
    EngineSettings,
    FinetuneSettings,
    Kept,
    LoraSettings,
    NetworkSharing,
    PreferenceSettings,
    SamplingParams,
    TrainingSettings,
)
from solon.conversation import Prompt, Role, Turn
from solon.engines.local.engine import LocalEngine
from solon.reward.golden import check
from solon.runs import Artefact
from solon.stages import s04_sl_cai, s07_preference_model, s08_dpo, s08_rl_cai
from solon.training import models
from solon.training.batches import micro_batches
from solon.training.forward import TokenModel
from solon.training.learner import EPSILON, Learner
from solon.training.loop import accumulate
from solon.training.objectives import CompletionObjective
from tests.gpu.pretended import GPU, PretendedGpu
from tests.stages.test_s04_sl_cai import inputs
from tests.stages.test_s08_rl_cai import SETTINGS, made  # noqa: F401
from tests.training.test_loop import EXAMPLES
from tests.training.tiny import stage_folder

ENGINE = EngineSettings(memory_gib=0.5)
LORA = LoraSettings(rank=4)
TRAINING = TrainingSettings(batch_size=8, held_out=0.2, checkpoint_every=2)
ADAPTERS = pytest.mark.parametrize("adapter", [None, LORA], ids=["all", "lora"])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, made: dict[str, Any]) -> Iterator[PretendedGpu]:
    """The pretended GPU, which Solon finds; what `made` holds was made without it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: None)
    with PretendedGpu().on() as pretended:
        yield pretended


def test_a_model_is_loaded_onto_the_gpu(gpu: PretendedGpu, tiny: Path) -> None:
    for model in (
        models.load_causal_lm(tiny, ENGINE),
        models.with_adapter(models.load_causal_lm(tiny, ENGINE), LORA, 1),
        models.grow_preference_model(tiny, models.load_tokenizer(tiny), ENGINE, 1),
    ):
        assert {each.device for each in model.parameters()} == {GPU}


@ADAPTERS
def test_finetuning_stays_on_the_gpu(
    gpu: PretendedGpu,
    made: dict[str, Any],
    tmp_path: Path,
    adapter: LoraSettings | None,
) -> None:
    settings = FinetuneSettings(training=TRAINING.model_copy(update={"lora": adapter}))
    given = inputs(tmp_path, made["tiny"])
    given = s04_sl_cai.FinetuneInputs(given.seed, given.pretrained, ENGINE, given.revisions, given.responses)
    s04_sl_cai.run(settings, given, stage_folder(tmp_path / "04"))


@ADAPTERS
def test_the_preference_model_stays_on_the_gpu(
    gpu: PretendedGpu,
    made: dict[str, Any],
    tmp_path: Path,
    adapter: LoraSettings | None,
) -> None:
    done = preferred(made, tmp_path, adapter)
    assert check(done.model, ENGINE).passed


def preferred(made: dict[str, Any], folder: Path, adapter: LoraSettings | None) -> Artefact:
    given = s07_preference_model.PreferenceInputs(1, made["tiny"], ENGINE, made["labels"], None)
    settings = PreferenceSettings(human_helpfulness=None, training=TRAINING.model_copy(update={"lora": adapter}))
    return s07_preference_model.run(settings, given, stage_folder(folder / "07"))


@ADAPTERS
def test_dpo_stays_on_the_gpu(
    gpu: PretendedGpu,
    made: dict[str, Any],
    tmp_path: Path,
    adapter: LoraSettings | None,
) -> None:
    settings = SETTINGS.model_copy(
        update={"algorithm": Algorithm.DPO, "dpo": DpoSettings(training=TRAINING), "lora": adapter}
    )
    given = s08_dpo.DirectInputs(2, made["tiny"], ENGINE, made["labels"])
    s08_dpo.run(settings, given, stage_folder(tmp_path / "08"))


@ADAPTERS
@pytest.mark.parametrize("algorithm", [Algorithm.PPO, Algorithm.RLOO])
@pytest.mark.parametrize("minibatches", [1, 2])
def test_reinforcement_learning_stays_on_the_gpu(
    gpu: PretendedGpu,
    made: dict[str, Any],
    tmp_path: Path,
    adapter: LoraSettings | None,
    algorithm: Algorithm,
    minibatches: int,
) -> None:
    """With kept and with computed log-probabilities, snapshots, the best policy kept, a held-out scorer, resume."""
    settings = SETTINGS.model_copy(
        update={
            "algorithm": algorithm,
            "samples_per_prompt": 2,
            "minibatches": minibatches,
            "lora": adapter,
            "snapshots": 2,
            "keep": Kept.BEST,
            "activations": Activations.RECOMPUTED,
        }
    )
    given = s08_rl_cai.ReinforcementInputs(2, made["tiny"], made["pm"].model, ENGINE, made["prompts"], made["pm"].model)
    for steps in (2, 4):
        part = settings.model_copy(update={"steps": steps})
        folder = stage_folder(tmp_path / "08") if steps == 2 else stage_folder(tmp_path / "again")
        s08_rl_cai.run(part, given, folder)


def test_networks_on_one_backbone_stay_on_the_gpu(
    gpu: PretendedGpu,
    made: dict[str, Any],
    tmp_path: Path,
) -> None:
    finetune = FinetuneSettings(training=TRAINING.model_copy(update={"lora": LORA}))
    sl_cai = s04_sl_cai.run(finetune, inputs(tmp_path, made["tiny"]), stage_folder(tmp_path / "04"))
    scorer = preferred(made, tmp_path, LORA)
    given = s08_rl_cai.ReinforcementInputs(
        2, sl_cai.model, scorer.model, ENGINE, made["prompts"], backbone=made["tiny"]
    )
    settings = SETTINGS.model_copy(update={"networks": NetworkSharing.SHARED, "lora": LORA})
    s08_rl_cai.run(settings, given, stage_folder(tmp_path / "08"))


def asked(count: int) -> list[Prompt]:
    """Prompts of two lengths that share their first turns."""
    first = (Turn(Role.HUMAN, "yes no good bad"), Turn(Role.ASSISTANT, "one two three"))
    return [Prompt((*first, Turn(Role.HUMAN, "How do I bake " + "bread " * (n % 3))), shared=2) for n in range(count)]


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_the_engine_asks_on_the_gpu(gpu: PretendedGpu, tiny: Path, top_p: float) -> None:
    """It waits twice a token, for the tokens and their probabilities, and to drop rows that ended."""
    engine = LocalEngine.load(tiny, ENGINE)
    assert engine.model.device == GPU
    gpu.waits.clear()
    engine.generate(asked(12), list(range(12)), SamplingParams(max_tokens=8, top_p=top_p), ("yes",))
    nucleus = 2 * 8 if top_p < 1 else 0
    assert gpu.waits.pop("copy to the CPU") == 2 * 8
    assert sum(gpu.waits.values()) <= nucleus


def test_letters_are_read_in_one_transfer(gpu: PretendedGpu, tiny: Path) -> None:
    engine = LocalEngine.load(tiny, ENGINE)
    for options in (["a", "b"], [" bread", " flour then"]):
        gpu.waits.clear()
        engine.choose(asked(12), options)
        assert sum(gpu.waits.values()) == 1


@pytest.mark.parametrize("micro_tokens", [16, 100_000])
def test_a_step_reads_its_losses_in_one_transfer(gpu: PretendedGpu, tiny: Path, micro_tokens: int) -> None:
    """Besides, transformers looks at the positions of each pass, and the norm of the gradient is checked."""
    model = models.load_causal_lm(tiny, ENGINE)
    learner = Learner(models.trainable_parameters(model), clip=1.0, epsilon=EPSILON)
    objective = CompletionObjective(TokenModel(model))
    passes = len(list(micro_batches(EXAMPLES, lambda row: row.length, micro_tokens)))
    gpu.waits.clear()
    accumulate(learner, objective, EXAMPLES, micro_tokens, "here")
    assert gpu.waits == {"copy to the CPU": 1, "aten::_local_scalar_dense": passes}
    learner.step(1e-3, "here", [])
    assert gpu.waits["aten::_local_scalar_dense"] == passes + 1
