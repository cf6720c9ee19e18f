"""An attack on a small run of the bundled models, and a further round of training on what it found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline.test_run_stages import SMALL

from solon.config.attack_settings import AttackSettings, ScoredBy
from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.errors import RunError
from solon.pipeline.extra_stages import AttackOrder, attack
from solon.pipeline.run_stages import run_stages
from solon.reporting import write
from solon.reporting.results import results
from solon.runs import RunDirectory
from solon.runs.attack_facts import AttackFacts
from solon.runs.evaluation_rows import AttackRow
from solon.runs.facts import read_facts
from solon.runs.progress import Silent
from solon.runs.rows import PairRow, PromptRow
from solon.stages.extra_attack import KEPT_FILE
from solon.stages.plan import stages_of

pytestmark = pytest.mark.slow
SETTINGS = AttackSettings(rounds=2, prompts=8, seeds=6)


def made(folder: Path, *settings: str, reuse: Path | None = None) -> RunDirectory:
    recipe = load_recipe("testbed", (), [*SMALL, *settings])
    run = RunDirectory.create(folder, recipe, constitution_path(recipe.constitution), [reuse] if reuse else [])
    with run.lock():
        run_stages(run, Silent())
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return made(tmp_path_factory.mktemp("attacked") / "run")


def test_the_helpful_assistant_fails_and_what_it_fails_trains_a_further_round(
    run: RunDirectory, tmp_path: Path
) -> None:
    with run.lock():
        artefact = attack(run, AttackOrder(SETTINGS, "assistant"), Silent())
        again = attack(run, AttackOrder(SETTINGS, "assistant"), Silent())
    assert artefact.path.name == "10-attack-assistant" and again.hash == artefact.hash
    facts = read_facts(AttackFacts, artefact.facts)
    assert facts.kept > 0 and facts.grader == "testbed" and facts.topics
    assert [each.round for each in facts.rounds] == [0, 1, 2]
    assert all(each.harmful is not None for each in facts.rounds)
    assert results(run)["attacks"]["assistant"]["kept"] == facts.kept
    assert "Attack on assistant" in write(run).read_text(encoding="utf-8")

    file = artefact.path / KEPT_FILE
    further = made(tmp_path / "further", "rounds=2", f"online.red_team={file}", reuse=run.path)
    stages = {each.name: each for each in further.artefacts()}
    assert set(stages) == {stage.name for stage in stages_of(further.recipe)}
    for name in ("prompts", "sl-cai", "response-pairs", "ai-feedback", "preference-model", "rl-cai"):
        assert stages[name].manifest.adopted_from, f"{name} is the first round's"
    joined = {row.row_id for row in stages["online-prompts"].rows(PromptRow)}
    read = stages["online-prompts"].facts["red_team"]
    # A prompt that is among the helpful ones too joins neither side.
    assert read["lines"] == facts.kept and len(joined) == read["kept"] == facts.kept - sum(read["overlaps"].values())
    assert not joined & {row.row_id for row in stages["response-pairs"].rows(PairRow)}
    assert joined <= {row.row_id for row in stages["response-pairs-2"].rows(PairRow)}
    assert stages["rl-cai-2"].facts["prompts"]["red_team"] == stages["rl-cai"].facts["prompts"]["red_team"] + len(
        joined
    )


def test_a_judge_may_score_and_other_settings_need_another_name(run: RunDirectory) -> None:
    judged = SETTINGS.model_copy(update={"scored_by": ScoredBy.JUDGE, "rounds": 1})
    with run.lock():
        artefact = attack(run, AttackOrder(judged, "sl-cai", "judged"), Silent())
        with pytest.raises(RunError, match=r"settings\.rounds: 1 -> 3"):
            attack(run, AttackOrder(judged.model_copy(update={"rounds": 3}), "sl-cai", "judged"), Silent())
    assert artefact.path.name == "10-attack-judged"
    scores = [row.score for row in artefact.rows(AttackRow) if row.score is not None]
    assert scores and all(0 <= score <= 1 for score in scores)
