"""Which stages a run has, in which order: the stages of the paper, and the plug-ins that a recipe names.

A new stage is one file with a subclass of `Stage` and one line: in `BUILT_IN` for a stage of Solon, or, for another
package, an entry point of the group `solon.stages`:

    [project.entry-points."solon.stages"]
    toy = "toy:Toy"

A plug-in runs when the recipe has `plugins: {toy: {}}`, right after the stage that its class names as `after`.
Names, order and kinds are known without loading a class, so that status and report need no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby

from solon.config.plugins import STAGES as STAGE_PLUGINS
from solon.config.plugins import load_registered
from solon.config.recipe import Algorithm, Method, Recipe
from solon.errors import RecipeError
from solon.stages.stage import Kind, Stage

PROMPTS, RESPONSES, CRITIQUE_REVISION = "prompts", "responses", "critique-revision"
SL_CAI, RESPONSE_PAIRS, AI_FEEDBACK = "sl-cai", "response-pairs", "ai-feedback"
ONLINE_PROMPTS = "online-prompts"
PREFERENCE_MODEL, HELD_OUT_MODEL = "preference-model", "held-out-preference-model"
RL_CAI, RLHF, MEASURE = "rl-cai", "rlhf", "measure"
RED_TEAM, SL_CAI_MEASURE, HELD_OUT_PAIRS = "red-team", "sl-cai-measure", "held-out-pairs"
PREFERENCE_ORDER, SNAPSHOTS, REFUSALS, ATTACK = "preference-order", "snapshots", "refusals", "attack"
_PLUGIN_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*")


def _always(recipe: Recipe) -> bool:
    return True


def _by_principles(recipe: Recipe) -> bool:
    return recipe.method is Method.CAI


def _by_people(recipe: Recipe) -> bool:
    return recipe.method is Method.RLHF


def _with_dpo(recipe: Recipe) -> bool:
    return _by_principles(recipe) and recipe.rl.algorithm is Algorithm.DPO


def _with_rollouts(recipe: Recipe) -> bool:
    return _by_principles(recipe) and recipe.rl.algorithm is not Algorithm.DPO


def _with_refusals(recipe: Recipe) -> bool:
    return recipe.refusals is not None


def _with_online_prompts(recipe: Recipe) -> bool:
    return recipe.online.red_team is not None


def trains_held_out_model(recipe: Recipe) -> bool:
    """Whether a second preference model is trained, which the policy does not learn from; never with DPO."""
    return recipe.rl.held_out_share is not None and recipe.rl.algorithm is not Algorithm.DPO


@dataclass(frozen=True, slots=True)
class Registered:
    """One line of registration."""

    name: str
    target: str
    """Where its class is: module below `solon.stages`, and class."""
    kind: Kind = Kind.ASKS
    when: Callable[[Recipe], bool] = _always
    """Whether a run of a recipe has it."""
    each_round: bool = False
    numbered: bool = True
    """Whether it counts as one of the run's stages; the folder of any other has the number after the last."""

    def stage(self, number: int = 1) -> Stage:
        """The stage in a round."""
        module, _, name = self.target.partition(":")
        kind: type[Stage] = getattr(import_module(f"solon.stages.{module}"), name)
        return kind(in_round(self.name, number), number, self.kind)


BUILT_IN = (
    Registered(PROMPTS, "s01_prompts:Prompts", Kind.READS),
    Registered(RESPONSES, "s02_responses:Responses", when=_by_principles),
    Registered(CRITIQUE_REVISION, "s03_critique_revision:CritiqueRevision", when=_by_principles),
    Registered(SL_CAI, "s04_sl_cai:SlCai", Kind.TRAINS, _by_principles),
    Registered(ONLINE_PROMPTS, "s01_prompts:OnlinePrompts", Kind.READS, when=_with_online_prompts),
    Registered(RESPONSE_PAIRS, "s05_response_pairs:ResponsePairs", when=_by_principles, each_round=True),
    Registered(AI_FEEDBACK, "s06_ai_feedback:AiFeedback", when=_by_principles, each_round=True),
    Registered(PREFERENCE_MODEL, "s07_preference_model:Preferences", Kind.TRAINS, each_round=True),
    Registered(
        HELD_OUT_MODEL,
        "s07_preference_model:HeldOutPreferences",
        Kind.TRAINS,
        trains_held_out_model,
        each_round=True,
        numbered=False,
    ),
    Registered(RL_CAI, "s08_rl_cai:Reinforcement", Kind.TRAINS, _with_rollouts, each_round=True),
    Registered(RL_CAI, "s08_dpo:DirectPreference", Kind.TRAINS, _with_dpo, each_round=True),
    Registered(RLHF, "s08_rl_cai:Reinforcement", Kind.TRAINS, _by_people),
    Registered(REFUSALS, "s09_refusals:Refusals", Kind.MEASURES, _with_refusals, numbered=False),
    Registered(MEASURE, "s09_measure:MeasureModels", Kind.MEASURES),
)
"""The stages of a run in the paper's order; neighbours of each round are gone through once for each round."""
EXTRA = (
    Registered(RED_TEAM, "extra_red_team:RedTeam", numbered=False),
    Registered(SL_CAI_MEASURE, "s09_measure:MeasureSupervised", Kind.MEASURES, numbered=False),
    Registered(HELD_OUT_PAIRS, "s05_response_pairs:HeldOutPairs", numbered=False),
    Registered(PREFERENCE_ORDER, "extra_preference_order:PreferenceOrder", Kind.MEASURES, numbered=False),
    Registered(SNAPSHOTS, "extra_snapshots:Snapshots", Kind.MEASURES, numbered=False),
    Registered(ATTACK, "extra_attack:Attack", numbered=False),
)
"""Stages that a command or an ablation adds to a run's folder."""
STAGES = tuple(each.name for each in BUILT_IN if each.numbered and each.when(Recipe()))
"""The names of the stages of a run by a constitution with one round; `names_of` knows those of any recipe."""
_TRAINING = frozenset(each.name for each in BUILT_IN if each.kind is Kind.TRAINS)


def in_round(name: str, number: int) -> str:
    """The name of a stage in round `number`, counted from one: `rl-cai`, `rl-cai-2`."""
    return name if number == 1 else f"{name}-{number}"


def out_of_round(name: str) -> str:
    """The name of a stage in the first round, whatever the round it is of."""
    plain, _, number = name.rpartition("-")
    return plain if number.isdecimal() else name


def unit_of(name: str, kind: Kind | None = None) -> str:
    """What the rows of a stage are, as a person counts them: `steps` where a model is trained, else `rows`."""
    trains = kind is Kind.TRAINS or out_of_round(name) in _TRAINING
    return "steps" if trains else "rows"


def counted(name: str, rows: int, kind: Kind | None = None) -> str:
    """The rows of a stage with their unit: `300 rows`, `1 step`."""
    return amount_of(rows, unit_of(name, kind))


def amount_of(rows: int, unit: str) -> str:
    """A number with what it counts, given in the plural: `300 rows`, `1 step`."""
    return f"{rows:,} {unit if rows != 1 else unit.removesuffix('s')}"


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a whole run of a recipe, in order, plug-ins included; raises RecipeError for a plug-in."""
    stages = [entry.stage(number) for entry, number in _planned(recipe)]
    for plugin in plugins_of(recipe):
        names = [stage.name for stage in stages]
        stages.insert(_place(plugin, names, stages), plugin)
    return tuple(stages)


def names_of(recipe: Recipe) -> tuple[str, ...]:
    """The names of the numbered stages, in order; a stage's number is its position, counted from one."""
    planned = list(_planned(recipe))
    names = [in_round(entry.name, number) for entry, number in planned]
    hidden = {name for name, (entry, _) in zip(names, planned, strict=True) if not entry.numbered}
    plugins = dict[str, Stage]()
    for plugin in plugins_of(recipe):
        names.insert(_place(plugin, names, [plugins.get(name) for name in names]), plugin.name)
        plugins[plugin.name] = plugin
    return tuple(name for name in names if name not in hidden)


def built_in(name: str) -> Stage:
    """One of Solon's own stages, an extra one perhaps, in its first round."""
    return next(each for each in (*BUILT_IN, *EXTRA) if each.name == name).stage()


def all_stages(recipe: Recipe) -> tuple[Stage, ...]:
    """One of every built-in stage, whether or not a run of the recipe has it, and the recipe's plug-ins."""
    return (*(each.stage() for each in BUILT_IN), *plugins_of(recipe))


def policies_of(recipe: Recipe) -> tuple[str, ...]:
    """The reinforcement learning stages, the final one last."""
    return tuple(in_round(each.name, number) for each, number in _planned(recipe) if each.name in (RL_CAI, RLHF))


def language_models_of(recipe: Recipe) -> tuple[str, ...]:
    """The stages that train a language model, in order."""
    return (*((SL_CAI,) if _by_principles(recipe) else ()), *policies_of(recipe))


def prompts_of(recipe: Recipe, number: int) -> tuple[str, ...]:
    """The stages that read the training prompts of a round."""
    return (PROMPTS, ONLINE_PROMPTS) if number > 1 and _with_online_prompts(recipe) else (PROMPTS,)


def labels_of(recipe: Recipe, rounds: int) -> tuple[str, ...]:
    """The stages that label pairs, up to a round; none by method rlhf."""
    return tuple(in_round(AI_FEEDBACK, number) for number in range(1, rounds + 1)) if _by_principles(recipe) else ()


def plugins_of(recipe: Recipe) -> list[Stage]:
    """The plug-ins that a recipe names; raises RecipeError for an unknown one, and for settings that are not valid."""
    return [_plugin(name, recipe) for name in recipe.plugins]


def _planned(recipe: Recipe) -> Iterator[tuple[Registered, int]]:
    for each_round, group in groupby(BUILT_IN, key=lambda entry: entry.each_round):
        entries = [entry for entry in group if entry.when(recipe)]
        for number in range(1, recipe.rounds + 1) if each_round else (1,):
            yield from ((entry, number) for entry in entries)


def _plugin(name: str, recipe: Recipe) -> Stage:
    place = f"plugins.{name}"
    if not _PLUGIN_NAME.fullmatch(name) or name in {each.name for each in (*BUILT_IN, *EXTRA)}:
        remedy = "Use small letters and hyphens, and no name of a stage of Solon"
        raise RecipeError("not a valid name for the stage of a plug-in", place=place, remedy=remedy)
    stage = load_registered(STAGE_PLUGINS, name, place=place, arguments=(name,))
    if not isinstance(stage, Stage):
        remedy = "Its entry point has to name a subclass of solon.stages.stage.Stage"
        raise RecipeError(f"the plug-in '{name}' is not a stage", place=place, remedy=remedy)
    stage.settings(recipe)
    return stage


def _place(plugin: Stage, names: Sequence[str], stages: Sequence[Stage | None]) -> int:
    """Where a plug-in goes: after the stage that it names, and after the plug-ins that are there already."""
    if plugin.after not in names:
        raise RecipeError(
            f"it comes after the stage '{plugin.after}', which a run of this recipe does not have",
            place=f"plugins.{plugin.name}",
            remedy=f"The run's stages: {', '.join(names)}",
        )
    place = list(names).index(plugin.after) + 1
    while place < len(stages) and (other := stages[place]) is not None and other.after == plugin.after:
        place += 1
    return place
