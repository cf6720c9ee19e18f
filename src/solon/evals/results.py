"""Everything a run has measured, as one JSON-able dictionary.

`solon results RUN --json` prints it and the report draws it; neither computes anything of its own. Figures come from
the facts of the stages' manifests, so that a result can be read without a table being opened. A stage that has not
finished is absent, as is a figure that was never taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from solon.config.recipe import Method, Recipe
from solon.runs import Artefact, RunDirectory

PROMPTS, RESPONSES, CRITIQUE_REVISION = "prompts", "responses", "critique-revision"
SL_CAI, RESPONSE_PAIRS, AI_FEEDBACK = "sl-cai", "response-pairs", "ai-feedback"
PREFERENCE_MODEL, RL_CAI, MEASURE = "preference-model", "rl-cai", "measure"
SL_CAI_MEASURE = "sl-cai-measure"
"""Beside the stages of a whole run: what SL-CAI alone replies to held-out prompts, for ablations."""
HELD_OUT_PAIRS, PREFERENCE_ORDER = "held-out-pairs", "preference-order"
"""Likewise: pairs of its replies to held-out prompts, and whether the preference model orders them right."""
HELD_OUT_MODEL, SNAPSHOTS = "held-out-preference-model", "snapshots"
"""A preference model that the policy does not learn from, and what its snapshots reply to held-out prompts."""
STAGES = (
    PROMPTS, RESPONSES, CRITIQUE_REVISION, SL_CAI, RESPONSE_PAIRS, AI_FEEDBACK, PREFERENCE_MODEL, RL_CAI, MEASURE
)  # fmt: skip
"""The stages of a run by a constitution with one round, in order; `stages_of` knows those of any recipe."""
RED_TEAM = "red-team"
"""What `solon red-team` makes beside them."""
RLHF = "rlhf"
"""The policy of a run by `method: rlhf`."""
OF_A_ROUND = (RESPONSE_PAIRS, AI_FEEDBACK, PREFERENCE_MODEL, RL_CAI)
"""The stages that every round of a run goes through."""

TRAINING = frozenset({SL_CAI, PREFERENCE_MODEL, HELD_OUT_MODEL, RL_CAI, RLHF})
"""The stages that change a model; each of their rows tells of one step of the optimiser."""


def in_round(name: str, number: int) -> str:
    """The name of a stage in round `number`, counted from one: `rl-cai`, `rl-cai-2`."""
    return name if number == 1 else f"{name}-{number}"


def out_of_round(name: str) -> str:
    """The name of a stage in the first round, whatever the round it is of."""
    plain, _, number = name.rpartition("-")
    return plain if number.isdecimal() else name


def counted(name: str, rows: int) -> str:
    """The rows of a stage as a person counts them, steps where a model is trained: `300 rows`, `36 steps`."""
    unit = "step" if out_of_round(name) in TRAINING else "row"
    return f"{rows:,} {unit}{'' if rows == 1 else 's'}"


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """The stages of a whole run of a recipe, in order; a stage's number is its position, counted from one."""
    if recipe.method is Method.RLHF:
        return PROMPTS, PREFERENCE_MODEL, RLHF, MEASURE
    later = (in_round(name, number) for number in range(2, recipe.rounds + 1) for name in OF_A_ROUND)
    return (*STAGES[:-1], *later, MEASURE)


def policies_of(recipe: Recipe) -> tuple[str, ...]:
    """The stages whose models reinforcement learning made, the final one last."""
    if recipe.method is Method.RLHF:
        return (RLHF,)
    return tuple(in_round(RL_CAI, number) for number in range(1, recipe.rounds + 1))


_REINFORCEMENT = ("algorithm", "steps", "steps_asked", "stopped_because", "kept_step", "warning", "signs")


def results(run: RunDirectory) -> dict[str, Any]:
    """The figures of a run.

    `{"models": {NAME: {MEASURE: {"value", "low", "high", "n"}}}, "stages": {NAME: {"seconds", "rows", "outcomes"}}}`,
    `unfinished` with the names of the stages still to come, and where they were measured `revisions` (by step, then by
    measure), `groups` (by model, then by what the prompt is about: the share of harmful replies), `label_quality` (AI
    labels by themselves, `solon.feedback.label_quality`), `labels` (AI labels against the known order),
    `preference_model`, `reinforcement` (algorithm, steps, why it stopped early, signs of over-training; of the last
    round), `snapshots` (of the policy: measures by step, signs of over-training) and `judge_check` (of the critic and
    the judge on questions with known answers), and `remarks` where something was edited or is damaged. A run of several
    rounds has `rounds`: for each what was labelled and learnt in it.
    """
    stages: dict[str, Any] = {}
    models: Mapping[str, Any] = {}
    further: dict[str, Any] = {}
    judge_check: dict[str, Any] = {}
    policies = policies_of(run.recipe)
    scorers = {in_round(PREFERENCE_MODEL, number) for number in range(1, run.recipe.rounds + 1)}
    artefacts = {artefact.name: artefact for artefact in run.artefacts()}
    for artefact in artefacts.values():
        name, manifest, facts = artefact.name, artefact.manifest, artefact.facts
        stages[name] = {"seconds": manifest.seconds, "rows": manifest.rows, "outcomes": dict(manifest.outcomes)}
        judge_check |= facts.get("judge_check") or {}
        if name == AI_FEEDBACK and facts.get("quality"):
            further["label_quality"] = facts["quality"]
        if name == AI_FEEDBACK and facts.get("undecided_because"):
            further["labels"] = {"undecided_because": facts["undecided_because"]}
        if name in scorers:
            further["preference_model"] = {**facts, **further.get("preference_model", {})}
        if name in policies and "algorithm" in facts:
            further["reinforcement"] = {key: facts[key] for key in _REINFORCEMENT if facts.get(key) is not None}
        if name == SNAPSHOTS:
            further["snapshots"] = {"steps": facts["snapshots"], "signs": facts["signs"]}
        if name == MEASURE:
            models = facts.get("models") or {}
            further |= {name: facts[name] for name in ("revisions", "groups") if facts.get(name)}
            further |= {"labels": {**further.get("labels", {}), **facts["labels"]}} if facts.get("labels") else {}
            if facts.get("preference_model"):
                further["preference_model"] = {**further.get("preference_model", {}), **facts["preference_model"]}
    if judge_check:
        further["judge_check"] = judge_check
    if remarks := run.remarks():
        further["remarks"] = remarks
    if run.recipe.rounds > 1:
        further["rounds"] = [_round(artefacts, number) for number in range(1, run.recipe.rounds + 1)]
    return {
        "models": {name: dict(measures) for name, measures in models.items()},
        "stages": stages,
        "unfinished": [name for name in stages_of(run.recipe) if name not in stages],
        **further,
    }


def _round(found_in: Mapping[str, Artefact], number: int) -> dict[str, Any]:
    """What one round labelled and learnt, as far as it is finished; `labels` and `accuracy` are of that round."""
    found: dict[str, Any] = {"round": number}
    if (labels := found_in.get(in_round(AI_FEEDBACK, number))) is not None:
        found["outcomes"] = dict(labels.manifest.outcomes)
    if (preferences := found_in.get(in_round(PREFERENCE_MODEL, number))) is not None:
        found |= {key: preferences.facts[key] for key in ("examples", "accuracy") if key in preferences.facts}
    if (policy := found_in.get(in_round(RL_CAI, number))) is not None:
        found |= {key: policy.facts[key] for key in ("score", "kl", "length") if policy.facts.get(key) is not None}
    return found
