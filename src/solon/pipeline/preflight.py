"""Checks before the first token is spent, so that no run fails after hours for what could be known at once.

The checks read every model's files, tokenizer, template and architecture, ask servers once, read files of comparisons,
and compare the constitution with the recipe and the memory that is needed with the memory of the machine. They cover
only what the remaining stages use, and write nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from solon import prompts
from solon.config.builtin import PREFIX, source_path
from solon.config.launch import launched
from solon.config.model_spec import ModelSpec, folder_of
from solon.config.recipe import JUDGE_GRADER, Algorithm, Method, Recipe, WeakJudge
from solon.config.served_model import OPENAI
from solon.constitution.reader import load_constitution
from solon.conversation import Conversation, Role, Turn
from solon.engines.registry import open_engine
from solon.engines.tokens import PromptTokenizer
from solon.errors import ModelError, RecipeError, SolonError
from solon.feedback.source_balance import refuse_lone_weights
from solon.model_folders.folder_check import ModelFolder, check_folder
from solon.model_folders.model_kind import refuse_classifier
from solon.pipeline.baselines import refuse_unusable_baseline
from solon.pipeline.constitution_needs import refuse_unmet_needs
from solon.pipeline.judge_settings import refuse_unusable_judge
from solon.pipeline.memory_parts import gigabytes
from solon.pipeline.run_memory import memory_line, run_needs
from solon.reward.remote import RemoteScorer, is_address
from solon.rl.rl_models import refuse_unshareable
from solon.rl.setting_checks import refuse_unusable
from solon.runs.directory import MOST_STAGES
from solon.sources.comparison_files import read_all_comparisons
from solon.sources.entries import located
from solon.sources.prompt_sources import online_sources, sources
from solon.stages import s04_sl_cai
from solon.stages.plan import (
    AI_FEEDBACK,
    CRITIQUE_REVISION,
    HELD_OUT_MODEL,
    MEASURE,
    PREFERENCE_MODEL,
    RL_CAI,
    RLHF,
    names_of,
    out_of_round,
)
from solon.stages.reply_judging import judge_of
from solon.stats.intervals import percent
from solon.training.metrics import refuse_missing_trackers
from solon.training.models import load_tokenizer

PATIENCE = 20.0
"""Seconds to wait for the first answer of a server."""
_ASKED = Conversation((Turn(Role.HUMAN, "Hello?"),))
_ANSWERED = Conversation((*_ASKED.turns, Turn(Role.ASSISTANT, "Hello! How can I help?")))


def refuse_contradictions(recipe: Recipe) -> None:
    """Raise RecipeError, or ModelError, for settings of a recipe that cannot be used together."""
    _refuse_too_many_stages(recipe)
    s04_sl_cai.refuse_missing_steps(recipe.finetune, recipe.revision.steps)
    refuse_unusable(recipe.rl)
    refuse_unshareable(recipe)
    refuse_unusable_baseline(recipe)
    _refuse_unused_prompts(recipe)
    _refuse_unlearnt_labels(recipe)
    refuse_lone_weights(recipe.preference)
    _refuse_spread_processes(recipe)
    refuse_unusable_judge(recipe)


def _refuse_too_many_stages(recipe: Recipe) -> None:
    """Raise RecipeError for a run with more stages than its folders can be numbered."""
    if (count := len(names_of(recipe))) > MOST_STAGES:
        raise RecipeError(
            f"the run would have {count} stages, and a run has {MOST_STAGES} at most",
            place="rounds",
            remedy="Use --set rounds=N with a smaller N",
        )


def _refuse_spread_processes(recipe: Recipe) -> None:
    """Raise RecipeError where several processes train: each has a GPU of its own, and trains whole layers on it."""
    if recipe.engine.device_map is not None and launched()[1] > 1:
        raise RecipeError(
            "a model that is spread over all GPUs can be asked and not trained, and each process has one GPU",
            place="engine.device_map",
            remedy="Use --set engine.device_map=null; FSDP trains a model that one GPU cannot hold "
            "(docs/how-to/several-gpus.md)",
        )


def _refuse_unused_prompts(recipe: Recipe) -> None:
    """Raise RecipeError for prompts that join from the second round on, in a run that has no such round."""
    if recipe.online.red_team is None or (recipe.rounds > 1 and recipe.method is Method.CAI):
        return
    if recipe.method is Method.RLHF:
        cause, remedy = "by method rlhf there is no second round", "Use --set method=cai, or name them in prompts"
    else:
        cause, remedy = "the run has one round", "Use --set rounds=2"
    raise RecipeError(f"these prompts join in the second round, and {cause}", place="online.red_team", remedy=remedy)


def _refuse_unlearnt_labels(recipe: Recipe) -> None:
    """Raise RecipeError where every clamped label is nearer to one half than what is learned from.

    The preference model would silently learn from human comparisons alone.
    """
    bounds, margin = recipe.feedback.bounds, recipe.preference.least_margin
    if recipe.method is Method.RLHF or bounds is None or abs(bounds[1] - 0.5) >= margin:
        return
    raise RecipeError(
        f"labels are clamped to {bounds[0]:g}-{bounds[1]:g}, and all of them are nearer to one half than the least "
        f"margin {margin:g}, so that none would be learned from",
        place="preference.least_margin",
        remedy="Use --set preference.least_margin=0, or --set feedback.clamp=off",
    )


def preflight(
    recipe: Recipe,
    constitution_file: Path,
    finished: Collection[str] = (),
    until: str | None = None,
    absent: Collection[str] = (),
    elsewhere: Collection[str] = (),
) -> tuple[str, ...]:
    """Raise for what would stop the run later; returns notes to show at its start.

    `finished` names stages that are done already, and `until` the last that is wanted. `absent` are models that a dry
    run does without; with them the run is planned for the GPUs in `planning`. `elsewhere` names what needs no memory of
    this machine (`solon.pipeline.memory_needs`). Raises ModelError, InputError,
    RecipeError, ConstitutionError, and EngineError for a server that does not answer.
    """
    stages = names_of(recipe)
    wanted = stages[: stages.index(until) + 1] if until in stages else stages
    coming = frozenset(out_of_round(name) for name in wanted if name not in finished)
    if not coming:
        return ()
    refuse_contradictions(recipe)
    constitution = load_constitution(constitution_file)
    refuse_unmet_needs(recipe, constitution)
    _check_sources(recipe, coming)
    models = _Models(recipe, frozenset(absent))
    parts = dict(opened_models(recipe, coming))
    for part, name in parts.items():
        models.check(part, name)
    if _reinforces(recipe, coming):
        refuse_missing_trackers(recipe.rl.trackers)
        _check_server(recipe.rl.scorer)
    tight = _memory(recipe, coming, parts, models, elsewhere)
    return (*_notes(recipe, coming, parts, models), *([tight] if tight else []))


def opened_models(recipe: Recipe, coming: Collection[str]) -> Iterator[tuple[str, str]]:
    """The models that the stages still to come will open: by the setting that names them."""
    models, policy = recipe.models, recipe.models.policy or recipe.models.pretrained
    yield "models.assistant", models.assistant
    yield "models.pretrained", models.pretrained
    if CRITIQUE_REVISION in coming:
        critic = models.critic or models.assistant
        yield "models.critic", critic
        yield "models.reviser", models.reviser or critic
    if AI_FEEDBACK in coming:
        several = len(models.judges) > 1
        for number, judge in enumerate(models.judges, start=1):
            yield f"models.feedback{f' ({number})' if several else ''}", judge or models.assistant
    if MEASURE in coming and recipe.measure.grader == JUDGE_GRADER:
        yield "measure.judge", judge_of(recipe) or models.assistant
    if {PREFERENCE_MODEL, HELD_OUT_MODEL} & set(coming):
        yield "models.preference", models.preference or models.pretrained
    if RLHF in coming:
        yield "models.policy", policy
    if _reinforces(recipe, coming):
        scorers = {"rl.scorer": recipe.rl.scorer, "rl.held_out_scorer": recipe.rl.held_out_scorer}
        yield from ((setting, name) for setting, name in scorers.items() if name and not is_address(name))


def _reinforces(recipe: Recipe, coming: Collection[str]) -> bool:
    return bool({RL_CAI, RLHF} & set(coming)) and recipe.rl.algorithm is not Algorithm.DPO


@dataclass(slots=True)
class _Models:
    """The models of a run, each folder looked at once."""

    recipe: Recipe
    absent: frozenset[str] = frozenset()
    """Names of models that are not looked at."""
    named: dict[str | None, ModelFolder] = field(default_factory=dict)
    """By the name that the recipe has for them."""
    _found: dict[Path, ModelFolder] = field(default_factory=dict)
    _opened: set[tuple[Path, str]] = field(default_factory=set)
    _reached: set[ModelSpec] = field(default_factory=set)

    def check(self, part: str, name: str) -> None:
        """Raise ModelError, naming the setting, for a model that cannot be used for a part."""
        if name in self.absent:
            return
        try:
            learns = part in ("models.pretrained", "models.policy")
            does = "grows" if part == "models.preference" else "learns" if learns else "writes"
            if part.startswith("rl."):
                does = "scores"
            folder = folder_of(ModelSpec.parse(name))
            if folder is None:  # a model of a server or plug-in
                _refuse_training(does)
                self._reach(name)
                return
            files = self.named[name] = self._files(folder)
            if (folder, does) not in self._opened:
                self._open(folder, files, does)
                self._opened.add((folder, does))
        except ModelError as error:
            models = self.recipe.models
            setting = "model" if name == models.assistant == models.pretrained else part
            place = setting if error.place == setting else f"{setting}: {error.place or name}"
            raise ModelError(error.cause, place=place, remedy=error.remedy) from error

    def _reach(self, name: str) -> None:
        """Ask a served model once; a plug-in's model is opened when it is needed."""
        spec = ModelSpec.parse(name)
        if spec.scheme == OPENAI and spec not in self._reached:
            open_engine(spec, self.recipe.engine)
            self._reached.add(spec)

    def _files(self, folder: Path) -> ModelFolder:
        if folder not in self._found:
            self._found[folder] = check_folder(folder)
        return self._found[folder]

    def _open(self, folder: Path, files: ModelFolder, does: str) -> None:
        _refuse_unknown(folder, files, does)
        if does in ("writes", "learns"):
            refuse_classifier(files)
        tokenizer = load_tokenizer(folder)
        if does == "scores":
            labels = files.config.get("id2label")
            if not isinstance(labels, Mapping) or len(labels) != 1:
                remedy = "Give the model folder of the stage preference-model, or of solon preference"
                raise ModelError("not a preference model: config.json does not have exactly one label", remedy=remedy)
            return
        texts = PromptTokenizer.of(tokenizer, self.recipe.engine)
        texts.text(prompts.reply(_ASKED), "Hello!")
        if does in ("grows", "learns"):
            texts.saved_template()


def _refuse_training(does: str) -> None:
    if does != "writes":
        raise ModelError("only a model folder can be trained or scored with", remedy="Name a model folder here")


def _refuse_unknown(folder: Path, files: ModelFolder, does: str) -> None:
    """Raise ModelError for an architecture that transformers cannot use for a task."""
    from transformers.models.auto import modeling_auto

    known = set(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    causal = does in ("writes", "learns")
    if not causal:
        known = set(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    if files.kind in known:
        return
    code = ", and the code that the folder brings for it is never run" if "auto_map" in files.config else ""
    what = "as a causal language model" if causal else "as a preference model"
    raise ModelError(
        f"transformers cannot use the model type '{files.kind}' {what}{code}",
        place=str(folder),
        remedy="Name a decoder such as Llama, Qwen, Mistral or Gemma"
        if causal
        else "Set models.preference to a decoder such as Llama, Qwen, Mistral or GPT-NeoX",
    )


def _check_sources(recipe: Recipe, coming: frozenset[str]) -> None:
    """Raise InputError for a missing file of prompts, and for comparisons that a stage cannot read."""
    for source in (*sources(recipe.prompts, recipe.measure), *online_sources(recipe.online)):
        for name in source.names:
            try:
                located(name)
            except SolonError as error:
                place = f"{source.setting}: {error.place}"
                raise type(error)(error.cause, place=place, remedy=error.remedy) from error
    people = recipe.preference
    named = {"helpfulness": people.human_helpfulness, "harmlessness": people.human_harmlessness}
    files = {name: source_path(file) for name, file in named.items() if file is not None}
    if coming & {PREFERENCE_MODEL, HELD_OUT_MODEL} and people.human_weight:
        read_all_comparisons(files, people.columns)
    if RL_CAI in coming and recipe.rl.algorithm is Algorithm.DPO and recipe.rl.dpo.human_weight:
        read_all_comparisons({name: file for name, file in files.items() if name == "helpfulness"}, people.columns)


def _check_server(address: str | None) -> None:
    if address is not None and is_address(address):
        RemoteScorer(address, timeout=PATIENCE, pauses=()).scores([_ANSWERED])


def _notes(recipe: Recipe, coming: frozenset[str], parts: Mapping[str, str], models: _Models) -> Iterator[str]:
    """Notes to show before the run begins."""
    yield f"Models: {_models_in_words(parts)}."
    trained = (recipe.models.pretrained, recipe.models.preference, recipe.models.policy)
    for name in dict.fromkeys(named for named in trained if named is not None):
        files = models.named.get(name)
        if files is not None and not name.startswith(PREFIX) and files.contents.dtype in ("bfloat16", "float16"):
            each, dtype = gigabytes(4 * files.contents.elements), files.contents.dtype
            yield f"{name} is stored in {dtype}; each model trained from it is saved in float32 ({each})."
    for stage, model in recipe.warm_start.models.items():
        share = percent(recipe.warm_start.share)
        yield f"{stage} goes on from {model.folder}, for {share} of its epochs or steps (warm_start.share)."
    if recipe.judge_check.weak_judge is WeakJudge.ACCEPT and any(part.startswith("models.feedback") for part in parts):
        yield (
            "A judge that is no better than chance is accepted (judge_check.weak_judge=accept). Labels, preference "
            "model and RL-CAI then show that everything works, and nothing else."
        )


def _models_in_words(parts: Mapping[str, str]) -> str:
    """The model of each part, without those that default to another part: `pretrained a, assistant b`."""
    if len(set(parts.values())) == 1:
        return f"{next(iter(parts.values()))} for every part"
    follows = {
        "models.critic": "models.assistant",
        "models.reviser": "models.critic",
        "models.feedback": "models.assistant",
        "models.preference": "models.pretrained",
        "models.policy": "models.pretrained",
        "measure.judge": "models.feedback",
    }
    named = [
        f"{part.removeprefix('models.')} {name}"
        for part, name in parts.items()
        if part not in follows or parts.get(follows[part]) != name
    ]
    return ", ".join(named)


def _memory(
    recipe: Recipe, coming: frozenset[str], parts: Mapping[str, str], models: _Models, elsewhere: Collection[str]
) -> str | None:
    """Raise RecipeError when the run does not fit into the memory that is there; a line when it will be tight."""
    if launched()[1] > 1:
        return None  # several processes may share a model's parts, on several machines
    planned = bool(models.absent)
    needed = run_needs(recipe, coming, parts.values(), planned=planned)
    here = {what: need for what, need in needed.items() if what not in elsewhere}
    return memory_line(recipe, here, planned=planned)
