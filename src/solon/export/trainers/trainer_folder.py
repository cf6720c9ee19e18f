"""The folder that a trainer is handed: it stands on its own, and appears whole or not at all.

    README.md  launch.sh  reward.py  reward.json  check.py  constitution.yaml
    prompts/            train and held-out apart, and golden prompts
    policy/             the SL-CAI model, with a chat template that writes what it was trained on
    preference-model/   with its golden scores

Models are copied, not linked: a trainer that wrote into its copy would change the run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jinja2
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

import solon
from solon.config.addresses import address_fault
from solon.config.recipe import EngineSettings, Method
from solon.engines.local.engine import end_tokens_of
from solon.engines.rendering import special_texts
from solon.engines.tokens import PromptTokenizer
from solon.errors import InputError, RecipeError, RunError
from solon.export.trainers.openrlhf import OPENRLHF
from solon.export.trainers.trainer_plan import Plan, Trainer, Value, left_by_all, step_shape
from solon.export.trainers.trainer_prompts import HandoffPrompt, Reader, Selection, schedule, select
from solon.export.trainers.trl import TRL
from solon.export.trainers.verl import VERL
from solon.model_folders.load import load_config, load_generation_config
from solon.reward.golden import read_golden
from solon.reward.model import CENTRE
from solon.runs import Artefact, RunDirectory
from solon.runs.files import assembling, write_atomically
from solon.stages.registry import PREFERENCE_MODEL, PROMPTS, SL_CAI, in_round
from solon.stages.s08_rl_cai import check_drawing
from solon.training.encoding import Encoding
from solon.training.models import load_tokenizer, window_in

TRAINERS: Mapping[str, Trainer] = {each.name: each for each in (OPENRLHF, VERL, TRL)}
GOLDEN_PROMPTS = 16
_ADAPTER = "adapter"


class RewardSource(StrEnum):
    """Where a trainer's rewards are from."""

    FOLDER = "folder"
    """The preference model's folder, read by the trainer's own processes."""
    SERVER = "server"
    """A server that `solon serve-pm` runs."""


@dataclass(frozen=True, slots=True)
class Handoff:
    """What was written: the folder, how many prompts it holds, and how many of the run's it could not take, and why."""

    folder: Path
    training: int
    held_out: int
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Model:
    """A model folder of the run as it is handed on."""

    folder: Path
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    encoding: Encoding

    @property
    def reader(self) -> Reader:
        return Reader(self.tokenizer, self.encoding)

    @property
    def ends(self) -> list[int]:
        """The tokens that end a reply."""
        known = SimpleNamespace(config=self.config, generation_config=load_generation_config(self.folder))
        return sorted(end_tokens_of(known, self.encoding.tokenizer.ends))


def export_handoff(
    run: RunDirectory, trainer: Trainer, folder: Path, *, url: str | None = None, steps: int | None = None
) -> Handoff:
    """Write what `trainer` needs to go on from the run's SL-CAI model with its preference model into a new folder.

    Rewards are from the folder's own preference model, or from the server at `url`. The training prompts are those of
    `steps` steps, the recipe's number when None. Raises RunError when a stage up to the preference model is not
    finished or damaged, when recipe or constitution were edited since, when the folder holds something, and when no
    prompt can be handed on, RecipeError when the recipe draws replies as no policy gradient can use them, and
    InputError for a `url` with a password in it.
    """
    if url is not None and (fault := address_fault(url)):
        raise InputError(fault, place="--url")  # it stands in several of the folder's files
    run.refuse_edits()  # its settings go into the folder as those that its models were made with
    _refuse_drawing(run)
    if run.recipe.method is Method.RLHF:
        cause = "a hand-off goes on from SL-CAI, and a run by method rlhf has none"
        raise RunError(cause, place=str(run.path), remedy="Name a run by method cai")
    # The preference model of the last round has learnt from the labels of all.
    last = in_round(PREFERENCE_MODEL, run.recipe.rounds)
    prompts, sl_cai, preference = (_finished(run, name) for name in (PROMPTS, SL_CAI, last))
    golden = len(read_golden(preference.model))
    recipe, rl = run.recipe, run.recipe.rl
    policy, scorer = _policy(sl_cai, recipe.engine), _opened(preference.model, recipe.engine)
    selection = select(prompts, policy.reader, scorer.reader, rl.sampling.max_tokens)
    shape = step_shape(rl, trainer.least_samples)
    training = schedule(selection, rl.red_team_share, shape.prompts, steps or rl.steps, recipe.seed)
    if not training:
        why = ", ".join(f"{count} {reason}" for reason, count in selection.left_out.items() if count)
        raise RunError(
            f"no training prompt can be handed on: {why or 'there is none'}",
            place=str(run.path),
            remedy="Give replies less room with --set rl.sampling.max_tokens=N in a new run",
        )
    plan = Plan(
        rl=rl,
        seed=recipe.seed,
        steps=steps or rl.steps,
        shape=shape,
        longest_prompt=max(len(prompt.tokens) for prompt in (*training, *selection.held_out)),
        window=policy.encoding.window,
        shared_tokens=policy.tokenizer.get_vocab().items() <= scorer.tokenizer.get_vocab().items(),
    )
    with assembling(folder) as part:
        shutil.copyfile(run.path / "constitution.yaml", part / "constitution.yaml")
        _write_policy(policy, part / "policy")
        shutil.copytree(preference.model, part / "preference-model", ignore=shutil.ignore_patterns(_ADAPTER))
        (part / "prompts").mkdir()
        trainer.write_prompts(training, part / "prompts" / f"train{trainer.suffix}")
        trainer.write_prompts(selection.held_out, part / "prompts" / f"held-out{trainer.suffix}")
        _write_golden_prompts(selection, part / "prompts" / "golden_prompts.jsonl")
        reward = _reward_settings(plan, policy, scorer, trainer, url)
        write_atomically(part / "reward.json", json.dumps(reward, indent=2) + "\n")
        for name in trainer.files:
            write_atomically(part / name, _asset(f"files/{name}"))
        told = {"run": run, "plan": plan, "trainer": trainer, "reward": reward, "golden": golden}
        told |= {
            "training": len(training),
            "selection": selection,
            "hashes": {SL_CAI: sl_cai.hash, PREFERENCE_MODEL: preference.hash},
        }
        for name, template in trainer.templates.items():
            write_atomically(part / name, _filled(template, told))
        (part / "launch.sh").chmod(0o755)
    return Handoff(folder, len(training), len(selection.held_out), selection.left_out)


def _refuse_drawing(run: RunDirectory) -> None:
    """Stage 08's own check, with what helps for a run that exists."""
    try:
        check_drawing(run.recipe.rl.sampling)
    except RecipeError as error:
        remedy = f"In a new run: solon run NEW --reuse {run.path} --set {error.place}=1 --until preference-model"
        raise RecipeError(error.cause, place=error.place, remedy=remedy) from None


def _finished(run: RunDirectory, name: str) -> Artefact:
    artefact = run.finished(name)
    if artefact is None:
        raise RunError(
            f"'{name}' is not finished, and a hand-off begins after the preference model",
            place=str(run.path),
            remedy=f"Go on with: solon run {run.path} --until {in_round(PREFERENCE_MODEL, run.recipe.rounds)}",
        )
    return artefact


def _opened(folder: Path, settings: EngineSettings) -> _Model:
    config, tokenizer = load_config(folder), load_tokenizer(folder)
    texts = PromptTokenizer.of(tokenizer, settings)
    return _Model(folder, config, tokenizer, Encoding(texts, window_in(config, settings)))


def _policy(sl_cai: Artefact, settings: EngineSettings) -> _Model:
    """SL-CAI with a chat template that shows a trainer's prompts as the model was trained to read them."""
    model = _opened(sl_cai.model, settings)
    model.tokenizer.chat_template = model.encoding.tokenizer.saved_template()
    return model


def _write_policy(policy: _Model, folder: Path) -> None:
    shutil.copytree(policy.folder, folder, ignore=shutil.ignore_patterns(_ADAPTER))
    policy.tokenizer.save_pretrained(folder)
    # Trainers stop at the end tokens that this file names, and some take sampling settings from it, so it has no more.
    generation = cast(Any, GenerationConfig)(
        eos_token_id=policy.ends,
        bos_token_id=policy.tokenizer.bos_token_id,
        pad_token_id=policy.tokenizer.pad_token_id,
    )
    generation.save_pretrained(folder)


def _write_golden_prompts(selection: Selection, path: Path) -> None:
    every = selection.prompts
    spread: Sequence[HandoffPrompt] = every[:: max(1, len(every) // GOLDEN_PROMPTS)][:GOLDEN_PROMPTS]
    lines = [
        json.dumps({"messages": prompt.messages, "text": prompt.text, "input_ids": prompt.tokens}) for prompt in spread
    ]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def _reward_settings(plan: Plan, policy: _Model, scorer: _Model, trainer: Trainer, url: str | None) -> dict[str, Any]:
    """What `reward.py` has to know."""
    rendering = policy.encoding.tokenizer.rendering
    return {
        "mode": (RewardSource.SERVER if url else RewardSource.FOLDER).value,
        "url": url,
        "device": trainer.device,
        "centre": float(getattr(scorer.config, CENTRE, 0.0)),
        "unfinished_penalty": plan.rl.missing_eos_penalty,
        "limit": plan.rl.clip_score,
        "max_tokens": plan.rl.sampling.max_tokens,
        "window": scorer.encoding.window,
        "marks": special_texts(scorer.tokenizer),
        "stops": list(rendering.stops()),
        "ends": [str(policy.tokenizer.decode([end])) for end in policy.ends],
        "end_ids": policy.ends,
    }


def _filled(template: str, told: Mapping[str, object]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _asset(f"templates/{name}")),
        autoescape=False,  # shell, YAML and Markdown; only numbers, hashes and the checked address are filled in
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(option=option, override=override, field=field, share=lambda value: f"{value:g}")
    plan, trainer = told["plan"], told["trainer"]
    assert isinstance(plan, Plan) and isinstance(trainer, Trainer)
    left = [*left_by_all(plan), *trainer.left(plan)]
    return environment.get_template(template).render(
        solon=solon.__version__, settings=trainer.settings(plan), left=left, **told
    )


def option(value: Value) -> str:
    """A value on a command line of argparse: nothing for a switch that is on, a space between several."""
    if value is True:
        return ""
    if isinstance(value, str):
        return f'"{value}"'
    return " ".join(map(_shown, value)) if isinstance(value, tuple) else _shown(value)


def override(value: Value) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_shown(each)}" for key, each in value.items()) + "}"
    return f"[{','.join(map(_shown, value))}]" if isinstance(value, tuple) else _shown(value)


def field(value: Value) -> str:
    """A value in YAML."""
    return _shown(value)


def _shown(value: object) -> str:
    # YAML takes 1e-05 for a word where 1.0e-05 is a number, and Hydra and argparse take both.
    if isinstance(value, float):
        text = repr(value)
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _asset(name: str) -> str:
    return (resources.files("solon.export.trainers") / name).read_text(encoding="utf-8")
