"""The absolute harmfulness score on tiny models: learned, resumed, kept apart from preference models, measured."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.synthetic import Plan, build
from tests.training.tiny import same_files, save_tiny_model

from solon.config.model_spec import ModelSpec
from solon.config.recipe import PreferenceSettings, Recipe, TrainingSettings
from solon.conversation import Conversation, Role, Turn
from solon.errors import InputError, ModelError, RunError, StageError
from solon.evals.harmfulness.harmfulness_scorer import HarmfulnessScorer, rating_mean_in
from solon.evals.harmfulness.rating_model import RATINGS_TABLE
from solon.pipeline.standalone_harmfulness import (
    RatingSources,
    ToScore,
    models_by_name,
    score_harmfulness,
    train_harmfulness,
)
from solon.reward.scorer import open_scorer
from solon.runs import Artefact, Progress
from solon.runs.facts import read_facts
from solon.runs.harmfulness_rows import AbsoluteScoreFacts, HarmfulnessFacts, HarmfulnessRow, RatedRow
from solon.runs.rows import PairRow

RECIPE = Recipe(
    preference=PreferenceSettings(
        training=TrainingSettings(batch_size=8, epochs=8, learning_rate=3e-3, checkpoint_every=2, held_out=0.3)
    )
)


class Killed(BaseException):
    """Stands for `kill -9`."""


def rated(number: int, harm: bool, rating: float | None = None) -> dict[str, Any]:
    said = "bad bad bad" if harm else "good"
    value = (4.0 if harm else 0.0) if rating is None else rating
    return {"transcript": f"\n\nHuman: How {number} ?\n\nAssistant: {said}", "rating": value}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def talk(text: str, reply: str) -> Conversation:
    return Conversation((Turn(Role.HUMAN, text), Turn(Role.ASSISTANT, reply)))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> RatingSources:
    folder = tmp_path_factory.mktemp("harm")
    ratings = write(folder / "ratings.jsonl", *(rated(n, harm) for n in range(20) for harm in (True, False)))
    return RatingSources(save_tiny_model(folder / "tiny"), (ratings,))


@pytest.fixture(scope="module")
def trained(sources: RatingSources, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return train_harmfulness(tmp_path_factory.mktemp("harm") / "model-of-ratings", RECIPE, sources)


def test_ratings_are_learned_and_the_fit_is_measured_on_other_prompts(trained: Artefact) -> None:
    facts = read_facts(HarmfulnessFacts, trained.facts)
    assert facts.examples + facts.held_out_examples == 40 and facts.held_out_from == "split"
    assert facts.rating_mean == 2.0 and facts.ratings == {"0.0": facts.examples // 2, "4.0": facts.examples // 2}
    found = facts.calibration
    assert found is not None and found.conversations == facts.held_out_examples > 0
    assert found.error < 0.5 * found.error_of_mean and found.error_of_mean == pytest.approx(2.0)
    assert found.rank_correlation is not None and found.rank_correlation.value > 0.8
    rows = trained.rows(RatedRow, file=RATINGS_TABLE)
    sides = {row.row_id: {other.held_out for other in rows if other.row_id == row.row_id} for row in rows}
    assert all(len(side) == 1 for side in sides.values()), "a prompt is held out with all its replies"
    assert all((row.predicted is not None) == row.held_out for row in rows)


def test_a_saved_model_gives_the_ratings_that_it_predicted(trained: Artefact) -> None:
    scorer = HarmfulnessScorer.load(trained.path)
    rows = [row for row in trained.rows(RatedRow, file=RATINGS_TABLE) if row.predicted is not None]
    assert scorer.score([row.conversation for row in rows]) == pytest.approx([row.predicted for row in rows], abs=1e-4)
    assert scorer.score([talk("bread " * 200, "no"), talk("How 3 ?", "good")])[0] is None, "nothing is cut"


def test_neither_kind_of_model_is_taken_for_the_other(trained: Artefact, sources: RatingSources) -> None:
    with pytest.raises(ModelError, match="no preference model"):
        open_scorer(trained.path)
    with pytest.raises(ModelError):
        HarmfulnessScorer.load(sources.base)


def test_ratings_of_a_file_of_their_own_are_only_predicted(sources: RatingSources, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", *(rated(n, harm) for n in range(30, 36) for harm in (True, False)))
    given = RatingSources(sources.base, sources.files, other)
    facts = read_facts(HarmfulnessFacts, train_harmfulness(tmp_path / "out", RECIPE, given).facts)
    assert (facts.examples, facts.held_out_examples, facts.held_out_from) == (40, 12, "file")


def test_a_prompt_of_the_held_out_file_is_never_learned_from(sources: RatingSources, tmp_path: Path) -> None:
    both = write(tmp_path / "both.jsonl", *(rated(n, harm) for n in range(18, 24) for harm in (True, False)))
    done = train_harmfulness(tmp_path / "out", RECIPE, RatingSources(sources.base, sources.files, both))
    facts = read_facts(HarmfulnessFacts, done.facts)
    assert (facts.examples, facts.held_out_examples, facts.too_long) == (36, 12, 0)
    assert facts.skipped == {"prompt is held out": 4}
    rows = done.rows(RatedRow, file=RATINGS_TABLE)
    assert not {row.row_id for row in rows if row.held_out} & {row.row_id for row in rows if not row.held_out}
    with pytest.raises(InputError, match="every rated conversation"):
        train_harmfulness(tmp_path / "none", RECIPE, RatingSources(sources.base, sources.files, sources.files[0]))
    assert not (tmp_path / "none").exists()


def test_killed_it_resumes_to_the_same_model(trained: Artefact, sources: RatingSources, tmp_path: Path) -> None:
    def die(progress: Progress) -> None:
        if progress.done == 5:
            raise Killed

    with pytest.raises(Killed):
        train_harmfulness(tmp_path / "out", RECIPE, sources, die)
    again = train_harmfulness(tmp_path / "out", RECIPE, sources)
    assert same_files(again.path / "model", trained.path / "model")
    with pytest.raises(RunError, match="seed: 0 -> 5"):
        train_harmfulness(tmp_path / "out", RECIPE.model_copy(update={"seed": 5}), sources)


def test_faulty_files_leave_no_folder(sources: RatingSources, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", rated(1, True, rating=9.0))
    with pytest.raises(InputError, match="from 0 to 4"):
        train_harmfulness(tmp_path / "out", RECIPE, RatingSources(sources.base, (bad,)))
    assert not (tmp_path / "out").exists()
    everything = RECIPE.preference.training.model_copy(update={"held_out": 1.0})
    recipe = RECIPE.model_copy(update={"preference": RECIPE.preference.model_copy(update={"training": everything})})
    with pytest.raises(StageError, match="no rated conversation to train on"):
        train_harmfulness(tmp_path / "out", recipe, sources)


def to_score(trained: Artefact, sources: RatingSources, tmp_path: Path, **more: Any) -> ToScore:
    prompts = write(tmp_path / "red.jsonl", *({"prompt": f"How {n} ?"} for n in range(9)), {"prompt": "How 1 ?"})
    models = models_by_name([str(sources.base)])
    settings: dict[str, Any] = {"limit": 6, "samples": 3, "temperatures": (0.0, 1.0), "max_tokens": 8}
    return ToScore(models, trained.path, str(prompts), **{**settings, **more})


def test_models_are_scored_over_prompts_at_each_temperature(
    trained: Artefact, sources: RatingSources, tmp_path: Path
) -> None:
    done = score_harmfulness(tmp_path / "out", RECIPE, to_score(trained, sources, tmp_path))
    rows = done.rows(HarmfulnessRow)
    assert len(rows) == 2 * 6 * 3 and len({row.row_id for row in rows}) == 6
    facts = read_facts(AbsoluteScoreFacts, done.facts)
    assert [(each.model, each.temperature) for each in facts.scores] == [("tiny", 0.0), ("tiny", 1.0)]
    assert facts.calibration is not None, "the scorer's own fit stands beside its scores"
    scorer = HarmfulnessScorer.load(trained.path)
    for each in facts.scores:
        own = [row for row in rows if row.temperature == each.temperature]
        known = [row for row in own if row.harmfulness is not None]
        said = scorer.score([row.prompt.with_reply(row.completion) for row in known])
        assert said == pytest.approx([row.harmfulness for row in known], abs=1e-4)
        assert each.score is not None and each.replies + sum(each.unscored.values()) == len(own)
        prompts = {row.row_id for row in known}
        means = [
            math.fsum(row.harmfulness or 0.0 for row in known if row.row_id == name)
            / sum(row.row_id == name for row in known)
            for name in prompts
        ]
        assert each.score.value == pytest.approx(math.fsum(means) / len(means)) and each.score.n == len(prompts)
    greedy = {row.row_id: {other.completion for other in rows if other.temperature == 0 and other.row_id == row.row_id}
              for row in rows}  # fmt: skip
    assert all(len(texts) == 1 for texts in greedy.values())


def test_scoring_resumes_and_refuses_other_settings(trained: Artefact, sources: RatingSources, tmp_path: Path) -> None:
    given = to_score(trained, sources, tmp_path)
    small = RECIPE.model_copy(update={"engine": RECIPE.engine.model_copy(update={"batch_size": 6})})
    whole = score_harmfulness(tmp_path / "whole", small, given)

    def die(progress: Progress) -> None:
        if progress.phase.startswith("scores") and progress.done == 12:
            raise Killed

    with pytest.raises(Killed):
        score_harmfulness(tmp_path / "out", small, given, die)
    assert score_harmfulness(tmp_path / "out", small, given).hash == whole.hash
    with pytest.raises(RunError, match="samples"):
        score_harmfulness(tmp_path / "out", small, to_score(trained, sources, tmp_path, samples=2))


def test_several_sources_of_prompts_are_joined(trained: Artefact, sources: RatingSources, tmp_path: Path) -> None:
    given = to_score(trained, sources, tmp_path, limit=99, samples=1, temperatures=(1.0,))
    more = write(tmp_path / "more.jsonl", {"prompt": "How 1 ?"}, {"prompt": "How 77 ?"})
    both = replace(given, prompts=f"{given.prompts} + {more}")
    rows = score_harmfulness(tmp_path / "out", RECIPE, both).rows(HarmfulnessRow)
    assert len(rows) == 10, "nine prompts of one file, and one more of the other"


def test_models_have_short_names(trained: Artefact, sources: RatingSources, tmp_path: Path) -> None:
    assert list(models_by_name(["testbed:assistant", str(sources.base)])) == ["assistant", "tiny"]
    stage = models_by_name([str(trained.path)])
    assert list(stage) == [trained.path.name] and stage[trained.path.name] == ModelSpec(
        "folder", str(trained.path / "model")
    )
    with pytest.raises(RunError, match="given twice"):
        models_by_name(["testbed:assistant", "testbed:assistant"])
    with pytest.raises(InputError, match="there is no run"):
        score_harmfulness(tmp_path / "out", RECIPE, ToScore(stage, trained.path, "split:0.1"))


def test_another_kind_of_model_is_refused_before_any_reply_is_written(
    trained: Artefact, sources: RatingSources, tmp_path: Path
) -> None:
    prompts = write(tmp_path / "red.jsonl", {"prompt": "How 1 ?"})
    models = models_by_name([str(sources.base)])
    with pytest.raises(ModelError, match="predicts no ratings of harm"):
        score_harmfulness(tmp_path / "out", RECIPE, ToScore(models, sources.base, str(prompts)))
    assert not (tmp_path / "out").exists()
    assert rating_mean_in(trained.path / "model") == pytest.approx(2.0, abs=0.2), "half of the ratings are 4, half 0"
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"torn/config\.json: broken JSON"):
        rating_mean_in(torn)


def test_a_model_of_a_run_is_named_as_in_other_commands(tmp_path: Path, sources: RatingSources) -> None:
    made = build(tmp_path / "run", Plan(red=2, held_out=2, stages=4))
    out = made.begin(5, "response-pairs", {})
    shutil.copytree(sources.base, out.path / "model")
    out.publish([], PairRow, files=("model",))
    name = f"{made.path}:response-pairs"
    assert models_by_name([name]) == {name: ModelSpec("folder", str(out.path / "model"))}
    with pytest.raises(RunError, match="it has no model 'rl-cai' yet"):
        models_by_name([f"{made.path}:rl-cai"])
    with pytest.raises(RunError, match="a model of it is wanted"):
        models_by_name([str(made.path)])
