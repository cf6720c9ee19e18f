"""What the tests of several processes run: stages that train, on a tiny model, by one process or by each of several.

    python -m tests.training.launched FOLDER OUT CASE...        # under a launcher, or without one

`prepare(FOLDER)` makes what the cases read. A case `kill-NAME` ends as if killed after its second step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from solon.config.recipe import (
    Activations,
    Algorithm,
    DpoSettings,
    EngineSettings,
    FinetuneSettings,
    Kept,
    LoraSettings,
    NetworkSharing,
    PairLayout,
    Precision,
    PreferenceSettings,
    ReinforcementSettings,
    SamplingParams,
    TrainingSettings,
    ValueFunction,
)
from solon.runs import Artefact, StageFolder
from solon.runs.journal import Journal
from solon.runs.processes import Processes
from solon.stages import s04_sl_cai, s07_preference_model, s08_dpo, s08_rl_cai
from solon.training.distributed.launched import joined
from tests.training.tiny import artefact, asked, row_id, said, save_tiny_model, stage_folder

TRAINING = TrainingSettings(
    batch_size=8, epochs=3, held_out=0.2, checkpoint_every=1, learning_rate=1e-3, micro_batch_tokens=96
)
LEARNING = ReinforcementSettings(
    steps=3,
    prompts_per_step=7,
    value_warmup_steps=1,
    checkpoint_every=1,
    learning_rate=1e-4,
    sampling=SamplingParams(max_tokens=8),
    red_team_share=0.5,
    micro_batch_tokens=128,
)
LORA = {"lora": LoraSettings(rank=4)}
HALF = {"precision": Precision.BFLOAT16, "activations": Activations.RECOMPUTED}
HEAD = {"value_function": ValueFunction.POLICY_BACKBONE}
RLOO = {"algorithm": Algorithm.RLOO, "samples_per_prompt": 2}
ENGINE = EngineSettings(threads=1)


class Killed(BaseException):
    """Ends a case as `kill -9` would."""


def prepare(folder: Path) -> None:
    """The model, revisions, replies, labels and prompts that the cases read, and a preference model."""
    save_tiny_model(folder / "tiny")
    texts = [f"How do I bake {'bread ' * (n % 5)}{n} ?" for n in range(19)]
    pairs = [
        {"row_id": row_id(text), "prompt": asked(text), "chosen": said("yes good " * (1 + n % 3)),
         "rejected": said("no bad"), "p_chosen": (0.9, 0.6, 0.5)[n % 3], "outcome": "ok"}
        for n, text in enumerate(texts)
    ]  # fmt: skip
    artefact(folder / "06", pairs)
    revised = [
        {"row_id": row_id(text), "step": 1, "prompt": asked(text), "completion": said("It would hurt . " * (1 + n % 4)),
         "outcome": "ok"}
        for n, text in enumerate(texts)
    ]  # fmt: skip
    artefact(folder / "03", revised)
    replies = [{**row, "kind": "helpful", "sample": 0} for row in revised[:5]]
    artefact(folder / "02", [{name: value for name, value in row.items() if name != "step"} for row in replies])
    prompts = [
        {"row_id": row_id(f"{kind} {n}"), "kind": kind, "prompt": asked(f"{kind} {'please ' * n}{n} ?"),
         "outcome": "ok"}
        for kind in ("red_team", "helpful") for n in range(6)
    ]  # fmt: skip
    artefact(folder / "01", prompts)
    sft(folder, stage_folder(folder / "04"), {})
    pm(folder, stage_folder(folder / "07"), {})
    sft(folder, stage_folder(folder / "04-lora"), LORA)
    pm(folder, stage_folder(folder / "07-lora"), LORA)


def opened(folder: Path) -> Artefact:
    found = Artefact.open(folder)
    assert found is not None
    return found


def sft(folder: Path, out: StageFolder, changed: Mapping[str, Any]) -> Artefact:
    settings = FinetuneSettings(training=TRAINING.model_copy(update=changed))
    inputs = s04_sl_cai.FinetuneInputs(3, folder / "tiny", ENGINE, opened(folder / "03"), opened(folder / "02"))
    return s04_sl_cai.run(settings, inputs, out)


def pm(folder: Path, out: StageFolder, changed: Mapping[str, Any], pairs: PairLayout = PairLayout.SEPARATE) -> Artefact:
    training = TRAINING.model_copy(update=changed)
    settings = PreferenceSettings(human_helpfulness=None, pairs=pairs, training=training)
    inputs = s07_preference_model.PreferenceInputs(3, folder / "tiny", ENGINE, opened(folder / "06"), None)
    return s07_preference_model.run(settings, inputs, out)


def pm_pairs(folder: Path, out: StageFolder, changed: Mapping[str, Any]) -> Artefact:
    return pm(folder, out, changed, PairLayout.SHARED_PREFIX)


def rl(folder: Path, out: StageFolder, changed: Mapping[str, Any]) -> Artefact:
    settings = LEARNING.model_copy(update=changed)
    if settings.algorithm is Algorithm.DPO:
        precise = {"precision": settings.precision, "activations": settings.activations}
        settings = settings.model_copy(update={"dpo": DpoSettings(training=TRAINING.model_copy(update=precise))})
        pairs = s08_dpo.DirectInputs(3, folder / "tiny", ENGINE, opened(folder / "06"))
        return s08_dpo.run(settings, pairs, out)
    shared = settings.networks is NetworkSharing.SHARED
    kind = "-lora" if shared else ""
    inputs = s08_rl_cai.ReinforcementInputs(
        3, opened(folder / f"04{kind}").model, opened(folder / f"07{kind}").model, ENGINE, opened(folder / "01"),
        held_out=opened(folder / "07").model, backbone=folder / "tiny" if shared else None,
    )  # fmt: skip
    return s08_rl_cai.run(settings, inputs, out)


CASES: Mapping[str, tuple[Callable[[Path, StageFolder, Mapping[str, Any]], Artefact], Mapping[str, Any]]] = {
    "sft": (sft, {}),
    "sft-lora": (sft, LORA),
    "sft-decay": (sft, {"weight_decay": 0.1, "batch_size": 3}),
    "pm": (pm, {}),
    "pm-lora": (pm, LORA),
    "pm-pairs": (pm_pairs, LORA),
    "ppo": (rl, {}),
    "ppo-lora": (rl, LORA),
    "ppo-shared": (rl, {"networks": NetworkSharing.SHARED}),
    "ppo-head": (rl, HEAD),
    "ppo-head-lora": (rl, {**HEAD, **LORA}),
    "ppo-head-shared": (rl, {**HEAD, "networks": NetworkSharing.SHARED}),
    "ppo-head-half": (rl, {**HEAD, **LORA, **HALF}),
    "rloo": (rl, RLOO),
    "rloo-lora": (rl, {**RLOO, **LORA}),
    "dpo": (rl, {"algorithm": Algorithm.DPO}),
    "dpo-lora": (rl, {"algorithm": Algorithm.DPO, **LORA}),
    "ppo-best": (rl, {"keep": Kept.BEST, "snapshots": 2}),
    "sft-half": (sft, HALF),
    "pm-lora-half": (pm, {**LORA, **HALF}),
    "dpo-lora-half": (rl, {"algorithm": Algorithm.DPO, **LORA, **HALF}),
    "ppo-lora-half": (rl, {**LORA, **HALF}),
    # Fewer prompts than processes: one of them has nothing to do.
    "ppo-one-prompt": (rl, {"prompts_per_step": 1, "minibatches": 1}),
}


def die(progress: Any) -> None:
    if progress.done == 2:
        raise Killed


def stage_of(path: Path, processes: Processes, **more: Any) -> StageFolder:
    if processes.rank:
        return StageFolder(path, 1, path.name, {}, Journal(path / "journal.jsonl"), processes=processes, **more)
    out = stage_folder(path, processes=processes, **more)
    processes.broadcast(True)  # the folder is there
    return out


def run(folder: Path, out: Path, names: list[str], processes: Processes) -> None:
    for name in names:
        killed = name.startswith("kill-")
        case, changed = CASES[name.removeprefix("kill-")]
        path = out / name.removeprefix("kill-")
        if processes.rank:
            processes.broadcast(True)
        stage = stage_of(path, processes, **({"report_to": die} if killed else {}))
        try:
            case(folder, stage, changed)
        except Killed:
            stage.journal.close()


if __name__ == "__main__":
    with joined() as these:
        run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], these)
