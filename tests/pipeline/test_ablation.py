"""An ablation on the bundled model, small: variants share what they can, resume, and are measured by the oracle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solon.config.experiment import AblationMeasure, Experiment, LabelledBy, Variant, trials_of
from solon.errors import RunError
from solon.pipeline.ablation import ablate, over_seeds
from solon.runs import RunDirectory
from solon.runs.progress import Silent
from solon.stages.s05_response_pairs import PAIRS_MEASURED

SMALL = [
    "prompts.limit_red_team=6", "prompts.limit_helpful=4", "engine.batch_size=6", "engine.threads=1",
    "revision.steps=2",
    "finetune.training.batch_size=8", "measure.limit=4",
]  # fmt: skip


def of(measure: AblationMeasure, **variants: dict[str, object]) -> Experiment:
    named = tuple(Variant(name=name, settings=settings) for name, settings in variants.items())
    return Experiment(name="small", question="?", measure=measure, variants=named)


def test_sl_cai_n_is_trained_and_measured_on_shared_revisions(tmp_path: Path) -> None:
    experiment = of(AblationMeasure.SL_CAI, one={"finetune.revisions": 1}, two={"finetune.revisions": 2})
    trials = trials_of(experiment, "testbed", settings=SMALL)
    figures = ablate(experiment, trials, tmp_path / "out", Silent())
    assert json.loads((tmp_path / "out" / "ablation.json").read_text()) == figures
    assert {"harmful", "helpful"} <= set(figures["variants"]["two"])
    assert figures["variants"]["one"]["harmful"]["n"] == 4
    one, two = (
        {each.name: each for each in RunDirectory.open(tmp_path / "out" / name).artefacts()} for name in ("one", "two")
    )
    assert list(two) == ["prompts", "responses", "critique-revision", "sl-cai", "sl-cai-measure"]
    assert two["critique-revision"].manifest.adopted_from and not one["critique-revision"].manifest.adopted_from
    assert two["critique-revision"].hash == one["critique-revision"].hash
    assert one["sl-cai"].facts["revisions_by_step"].keys() == {"1"} and one["sl-cai"].hash != two["sl-cai"].hash
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    assert ablate(experiment, trials, tmp_path / "out", Silent()) == figures
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before


def test_revisions_are_rated_step_by_step_and_nothing_is_trained(tmp_path: Path) -> None:
    experiment = of(AblationMeasure.REVISIONS, critiqued={}, direct={"revision.mode": "direct"})
    trials = trials_of(experiment, "testbed", settings=SMALL)
    figures = ablate(experiment, trials, tmp_path / "out", Silent())
    for shares in figures["variants"].values():
        assert list(shares) == ["0", "1", "2"]
        assert shares["0"]["harmful"]["n"] <= 6
    assert figures["variants"]["critiqued"]["0"] == figures["variants"]["direct"]["0"]
    assert not (tmp_path / "out" / "direct" / "04-sl-cai").exists()


def test_preference_models_are_compared_on_the_same_fresh_pairs(tmp_path: Path) -> None:
    experiment = of(AblationMeasure.PREFERENCE_MODEL, soft={}, hard={"preference.labels": "hard"})
    oracle = Variant(name="oracle", labelled_by=LabelledBy.ORACLE)
    experiment = experiment.model_copy(update={"variants": (*experiment.variants, oracle)})
    small = ["finetune.training.epochs=1", "preference.limit_human=8", "preference.training.epochs=1"]
    trials = trials_of(experiment, "testbed", settings=[*SMALL, *small])
    figures = ablate(experiment, trials, tmp_path / "out", Silent())
    soft, hard, known = (
        {each.name: each for each in RunDirectory.open(tmp_path / "out" / name).artefacts()}
        for name in ("soft", "hard", "oracle")
    )
    # Only the preference model and what it says differ; the pairs were made once.
    assert hard["held-out-pairs"].manifest.adopted_from and hard["held-out-pairs"].hash == soft["held-out-pairs"].hash
    assert hard["ai-feedback"].hash == soft["ai-feedback"].hash
    assert hard["preference-model"].hash != soft["preference-model"].hash
    assert soft["held-out-pairs"].manifest.rows == 2 * 4 * PAIRS_MEASURED
    assert known["response-pairs"].hash == soft["response-pairs"].hash
    assert {row["judge"] for row in known["ai-feedback"].table().to_pylist()} == {"oracle"}
    for name, found in (("soft", soft), ("hard", hard), ("oracle", known)):
        assert figures["variants"][name] == found["preference-order"].facts["order"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    experiment, other = of(AblationMeasure.REVISIONS, a={}), of(AblationMeasure.REVISIONS, b={})
    trials = trials_of(experiment, "testbed", settings=SMALL)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="the folder is not empty"):
        ablate(experiment, trials, tmp_path, Silent())
    (tmp_path / "notes.txt").unlink()
    ablate(experiment, trials, tmp_path, Silent())
    with pytest.raises(RunError, match="the folder holds another ablation"):
        ablate(other, trials_of(other, "testbed", settings=SMALL), tmp_path, Silent())


def test_with_several_seeds_every_variant_runs_with_each_and_means_are_told(tmp_path: Path) -> None:
    experiment = of(AblationMeasure.REVISIONS, critiqued={}, direct={"revision.mode": "direct"})
    experiment = experiment.model_copy(update={"seeds": (3, 4)})
    small = [*SMALL, "prompts.limit_red_team=4", "revision.steps=1"]
    figures = ablate(experiment, trials_of(experiment, "testbed", settings=small), tmp_path / "out", Silent())
    runs = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert runs == {"critiqued-seed-3", "direct-seed-3", "critiqued-seed-4", "direct-seed-4"}
    assert RunDirectory.open(tmp_path / "out" / "direct-seed-4").recipe.seed == 4
    told = figures["variants"]["critiqued"]["0"]["harmful"]
    assert told["n"] == 2 and told["value"] == sum(told["by_seed"]) / 2
    assert figures["seeds"] == [3, 4]


def test_the_mean_over_seeds_has_a_t_interval_inside_what_a_share_can_be() -> None:
    runs = [{"rl-cai": {"harmful": {"value": value, "low": 0.0, "high": 1.0, "n": 10}}} for value in (0.2, 0.4, 0.6)]
    told = over_seeds(runs)["rl-cai"]["harmful"]
    half = 4.3026527 * 0.2 / 3**0.5
    assert told["value"] == pytest.approx(0.4) and told["by_seed"] == [0.2, 0.4, 0.6] and told["n"] == 3
    assert (told["low"], told["high"]) == (0.0, pytest.approx(0.4 + half))
    assert over_seeds(runs[:1]) == runs[0]
    # A measure that one run lacks has no mean.
    assert over_seeds([*runs, {"rl-cai": {}}]) == {"rl-cai": {}}
