"""All measures of a run, as one dictionary of JSON values.

`solon results RUN --json` prints it and the report plots it; neither computes other figures. The figures come from the
facts in the stages' manifests, so reading them opens no table; only the labels of several rounds are read, because
their quality is that of all of them together. Unfinished stages and missing figures are absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from solon.feedback.label_quality import label_quality
from solon.runs import Artefact, RunDirectory
from solon.runs.facts import facts_record
from solon.runs.rows import LabelRow
from solon.stages.plan import (
    AI_FEEDBACK,
    ATTACK,
    MEASURE,
    PREFERENCE_MODEL,
    REFUSALS,
    RL_CAI,
    SNAPSHOTS,
    in_round,
    names_of,
    out_of_round,
    plugins_of,
    policies_of,
)

_REINFORCEMENT = (
    "algorithm",
    "steps",
    "steps_asked",
    "stopped_because",
    "kept_step",
    "warning",
    "signs",
    "examples",
    "human",
)


def results(run: RunDirectory) -> dict[str, Any]:
    """The figures of a run.

    `{"models": {NAME: {MEASURE: {"value", "low", "high", "n"}}}, "stages": {NAME: {"seconds", "rows", "outcomes"}}}`,
    `unfinished` lists the stages that are not finished. If measured: `revisions` (by step, then by measure), `groups`
    (by model, then by the prompt's subject: the share of harmful replies), `reply_judge` (the model that judged the
    replies, where one did), `compared` (win rates against the baseline, by model and kind of prompt), `label_quality`
    (measures of the AI labels that need no known answer, `solon.feedback.label_quality`), `labels` (AI labels against
    known answers), `preference_model` and `reinforcement` (of the last round: algorithm, steps, why it stopped early,
    signs of over-training), `snapshots` (of the policy: measures by step, signs of over-training), `refusals` (replies
    to benign prompts that sound harmful) and `judge_check` (critic and judge on questions with known answers).
    `attacks` has the figures of each attack (`solon attack`), by name. `remarks` lists edits and damage. A run of
    several rounds has `rounds`: the labels, preference model and policy of each. `plugins` has the facts of each
    plug-in's stage.
    """
    stages: dict[str, Any] = {}
    models: Mapping[str, Any] = {}
    further: dict[str, Any] = {}
    judge_check: dict[str, Any] = {}
    further |= _labels(run)
    policies = policies_of(run.recipe)
    scorers = {in_round(PREFERENCE_MODEL, number) for number in range(1, run.recipe.rounds + 1)}
    artefacts = {artefact.name: artefact for artefact in run.artefacts()}
    for artefact in artefacts.values():
        name, manifest, facts = artefact.name, artefact.manifest, artefact.facts
        stages[name] = {"seconds": manifest.seconds, "rows": manifest.rows, "outcomes": dict(manifest.outcomes)}
        judge_check |= facts.get("judge_check") or {}
        if name in scorers:
            # Those of the last round, which learns from the labels of all rounds.
            further["preference_model"] = dict(facts)
        if name in policies and "algorithm" in facts:
            further["reinforcement"] = {key: facts[key] for key in _REINFORCEMENT if facts.get(key) is not None}
        if name == SNAPSHOTS:
            further["snapshots"] = {"steps": facts["snapshots"], "signs": facts["signs"]}
        if name == REFUSALS:
            further["refusals"] = dict(facts)
        if name.startswith(f"{ATTACK}-"):
            further.setdefault("attacks", {})[name.removeprefix(f"{ATTACK}-")] = dict(facts)
        if name == MEASURE:
            models = facts.get("models") or {}
            further |= {name: facts[name] for name in ("revisions", "groups", "compared") if facts.get(name)}
            further |= {"reply_judge": facts["judge"]} if facts.get("judge") else {}
            further |= {"labels": {**further.get("labels", {}), **facts["labels"]}} if facts.get("labels") else {}
            if facts.get("preference_model"):
                further["preference_model"] = {**further.get("preference_model", {}), **facts["preference_model"]}
    if judge_check:
        further["judge_check"] = judge_check
    plugins = [each.name for each in plugins_of(run.recipe) if each.name in artefacts]
    if plugins:
        further["plugins"] = {name: dict(artefacts[name].facts) for name in plugins}
    if remarks := run.remarks():
        further["remarks"] = remarks
    if run.recipe.rounds > 1:
        further["rounds"] = [_round(artefacts, number) for number in range(1, run.recipe.rounds + 1)]
    return {
        "models": {name: dict(measures) for name, measures in models.items()},
        "stages": stages,
        "unfinished": [name for name in names_of(run.recipe) if name not in stages],
        **further,
    }


def _labels(run: RunDirectory) -> dict[str, Any]:
    """`label_quality`, and why pairs have no label, over the labels of all rounds."""
    found: dict[str, Any] = {}
    labels = [artefact for artefact in run.artefacts() if out_of_round(artefact.name) == AI_FEEDBACK]
    because: Counter[str] = Counter()
    for artefact in labels:
        because.update(artefact.facts.get("undecided_because") or {})
    if because:
        found["labels"] = {"undecided_because": dict(because)}
    if len(labels) > 1:
        whole = [artefact for artefact in run.artefacts(verified=True) if out_of_round(artefact.name) == AI_FEEDBACK]
        rows = [row for artefact in whole for row in artefact.rows(LabelRow)]
        found["label_quality"] = facts_record(label_quality(rows, run.constitution))
    elif labels and labels[0].facts.get("quality"):
        found["label_quality"] = labels[0].facts["quality"]
    return found


def _round(artefacts: Mapping[str, Artefact], number: int) -> dict[str, Any]:
    """The finished part of one round: outcomes of its labels, accuracy of its preference model, its policy."""
    found: dict[str, Any] = {"round": number}
    if (labels := artefacts.get(in_round(AI_FEEDBACK, number))) is not None:
        found["outcomes"] = dict(labels.manifest.outcomes)
    if (preferences := artefacts.get(in_round(PREFERENCE_MODEL, number))) is not None:
        kept = ("examples", "accuracy", "held_out_decided")
        found |= {key: preferences.facts[key] for key in kept if key in preferences.facts}
    if (policy := artefacts.get(in_round(RL_CAI, number))) is not None:
        found |= {key: policy.facts[key] for key in ("score", "kl", "length") if policy.facts.get(key) is not None}
    return found
