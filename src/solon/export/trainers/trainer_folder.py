"""Writes the folder that TRL trains from. The folder does not need Solon; it is written whole or not at all.

    README.md  launch.sh  train.py  config.yaml  reward.py  reward.json  check_folder.py  constitution.yaml
    prompts/            training and held-out prompts, and golden prompts
    policy/             the SL-CAI model, with a chat template that renders prompts as in its training
    preference-model/   the preference model, with its golden scores

Models are copied, not linked: a trainer that writes to a link would change the run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from solon.config.addresses import address_fault
from solon.config.recipe import Method
from solon.config.version import __version__
from solon.engines.rendering import special_texts
from solon.errors import InputError, RecipeError, RunError
from solon.export.trainers.trainer_model import ExportedModel, copy_model, open_model, open_policy, write_policy
from solon.export.trainers.trainer_prompts import ExportedPrompt, PromptSelection, schedule, select, write_prompts
from solon.export.trainers.trl import TRL_VERSION, TrlPlan, config_yaml, unsupported
from solon.reward.conversation_scorer import CENTRE
from solon.reward.golden import read_golden
from solon.rl.setting_checks import check_sampling
from solon.runs import Artefact, RunDirectory
from solon.runs.files import assembling, write_atomically
from solon.stages.plan import PREFERENCE_MODEL, PROMPTS, SL_CAI, in_round

FILES = ("reward.py", "check_folder.py", "train.py")


@dataclass(frozen=True, slots=True)
class TrainerFolder:
    """The written folder, its numbers of prompts, and how many of the run's prompts are excluded, by reason."""

    folder: Path
    training: int
    held_out: int
    excluded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Export:
    """What the export reads from a run: finished stages, their models, and the prompts to export."""

    sl_cai: Artefact
    preference: Artefact
    policy: ExportedModel
    scorer: ExportedModel
    selection: PromptSelection
    plan: TrlPlan
    training: Sequence[ExportedPrompt]


def export_for_trl(
    run: RunDirectory, folder: Path, *, url: str | None = None, steps: int | None = None
) -> TrainerFolder:
    """Write everything that TRL needs to train the run's SL-CAI model by its preference model to a new folder.

    Scores are from the folder's own preference model, or from the server at `url`. The training prompts are those of
    `steps` steps, the recipe's number when None. Raises RunError when a stage up to the preference model is not
    finished or damaged, when recipe or constitution were edited since, when the folder is not empty, and when no
    prompt can be exported; RecipeError when no policy gradient can use the recipe's sampling parameters; and
    InputError for a `url` with a password.
    """
    if url is not None and (fault := address_fault(url)):
        raise InputError(fault, place="--url")  # the address is written into the folder's files
    export = _read(run, steps)
    selection = export.selection
    with assembling(folder) as part:
        shutil.copyfile(run.path / "constitution.yaml", part / "constitution.yaml")
        write_policy(export.policy, part / "policy")
        copy_model(export.preference.model, part / "preference-model")
        write_prompts(export.training, selection, part / "prompts")
        reward = _reward_settings(export, url)
        write_atomically(part / "reward.json", json.dumps(reward, indent=2) + "\n")
        for name in FILES:
            write_atomically(part / name, _text(f"files/{name}"))
        write_atomically(part / "config.yaml", config_yaml(export.plan))
        for name, template in (("launch.sh", "launch.sh"), ("README.md", "readme.md")):
            write_atomically(part / name, _filled(template, run, export, reward))
        (part / "launch.sh").chmod(0o755)
    return TrainerFolder(folder, len(export.training), len(selection.held_out), selection.excluded)


def _read(run: RunDirectory, steps: int | None) -> _Export:
    run.refuse_edits()  # the exported settings must be those of the models
    recipe, rl = run.recipe, run.recipe.rl
    _check_sampling(run)
    if recipe.method is Method.RLHF:
        cause = "the export starts from SL-CAI, and a run with method=rlhf has no SL-CAI"
        raise RunError(cause, place=str(run.path), remedy="Name a run with method=cai")
    # The preference model of the last round is trained on the labels of all rounds.
    last = in_round(PREFERENCE_MODEL, recipe.rounds)
    prompts, sl_cai, preference = (_finished(run, name) for name in (PROMPTS, SL_CAI, last))
    policy, scorer = open_policy(sl_cai.model, recipe.engine), open_model(preference.model, recipe.engine)
    selection = select(prompts, policy, scorer, rl.sampling.max_tokens)
    plan = TrlPlan(rl, recipe.seed, steps or rl.steps)
    training = schedule(selection, rl.red_team_share, plan.shape.prompts, plan.steps, plan.seed)
    if not training:
        why = ", ".join(f"{count} {reason}" for reason, count in selection.excluded.items() if count)
        raise RunError(
            f"no training prompt can be exported: {why or 'the run has none'}",
            place=str(run.path),
            remedy="Allow shorter replies with --set rl.sampling.max_tokens=N in a new run",
        )
    return _Export(sl_cai, preference, policy, scorer, selection, plan, training)


def _check_sampling(run: RunDirectory) -> None:
    """Stage 08's check, with a remedy for a finished run."""
    try:
        check_sampling(run.recipe.rl.sampling)
    except RecipeError as error:
        remedy = f"In a new run: solon run NEW --reuse {run.path} --set {error.place}=1 --until preference-model"
        raise RecipeError(error.cause, place=error.place, remedy=remedy) from None


def _finished(run: RunDirectory, name: str) -> Artefact:
    artefact = run.finished(name)
    if artefact is None:
        raise RunError(
            f"'{name}' is not finished, and the export needs all stages up to the preference model",
            place=str(run.path),
            remedy=f"Continue with: solon run {run.path} --until {in_round(PREFERENCE_MODEL, run.recipe.rounds)}",
        )
    return artefact


def _reward_settings(export: _Export, url: str | None) -> dict[str, Any]:
    """What `reward.py` reads."""
    policy, scorer, rl = export.policy, export.scorer, export.plan.rl
    return {
        "mode": "server" if url else "folder",
        "url": url,
        "centre": float(getattr(scorer.config, CENTRE, 0.0)),
        "missing_eos_penalty": rl.missing_eos_penalty,
        "limit": rl.clip_score,
        "window": scorer.encoding.window,
        "marks": special_texts(scorer.tokenizer),
        "stops": list(policy.encoding.tokenizer.rendering.stops()),
        "ends": [str(policy.tokenizer.decode([end])) for end in policy.ends],
        "end_ids": policy.ends,
    }


def _filled(template: str, run: RunDirectory, export: _Export, reward: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        autoescape=False,  # shell and Markdown; only numbers, hashes and the checked address are filled in
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: f"{value:g}"
    return environment.from_string(_text(f"templates/{template}")).render(
        solon=__version__,
        trl=TRL_VERSION,
        constitution=run.constitution.hash,
        export=export,
        plan=export.plan,
        selection=export.selection,
        golden=len(read_golden(export.preference.model)),
        reward=reward,
        unsupported=unsupported(export.plan),
    )


def _text(name: str) -> str:
    return (resources.files("solon.export.trainers") / name).read_text(encoding="utf-8")
