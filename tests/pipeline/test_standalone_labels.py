"""Labels outside a run: the same as inside, resumed, refused when something changed, and learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.stages.test_s06_ai_feedback import mixed_pairs, options, oracle
from tests.stages.workbench import CONSTITUTION, Bench, Killed
from tests.training.tiny import save_tiny_model

from solon.config.model_spec import ModelSpec
from solon.config.recipe import FeedbackSettings, PreferenceSettings, Recipe, TrainingSettings
from solon.conversation import Prompt
from solon.engines.base import Choosing, Engine
from solon.engines.scripted import ScriptedEngine
from solon.errors import InputError, RunError
from solon.pipeline.standalone_labels import ToLabel, agreement, label_standalone
from solon.pipeline.standalone_preference import Sources, train_standalone
from solon.runs.rows import LabelRow, PairRow
from solon.sources.label_files import read_labels
from solon.sources.pair_files import read_pairs
from solon.stages import s06_ai_feedback
from solon.stages.s06_ai_feedback import FeedbackInputs

RECIPE = Recipe.model_validate({"seed": 11, "engine": {"batch_size": 5}})


class Given:
    """A file of pairs, a constitution, folders that stand for judges, and how many questions a judge was asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.pairs, self.constitution = folder / "pairs.jsonl", folder / "small.yaml"
        self.pairs.write_text("".join(f"{json.dumps(row)}\n" for row in mixed_pairs()))
        self.constitution.write_text(CONSTITUTION)
        self.judges = tuple(ModelSpec.parse(folder / name) for name in ("one", "two"))
        for name in ("one", "two"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "config.json").write_text(f'{{"name": "{name}"}}')
        self.asked = 0

    def to_label(self, judges: int = 1, dies_after: int = 1 << 30) -> ToLabel:
        def choose(prompt: Prompt, option: str) -> float:
            self.asked += 1
            if self.asked > dies_after:
                raise Killed
            return oracle(prompt, option)

        def load(model: ModelSpec, settings: object) -> Engine:
            if model.name.endswith("two"):
                return ScriptedEngine(vote, choosing=Choosing.VOTES, name="two")
            return ScriptedEngine(choose=choose, name="one")

        return ToLabel(self.pairs, self.constitution, self.judges[:judges], load=load)


def vote(prompt: Prompt, seed: int) -> str:
    return "(A)" if options(prompt)["A"] == "good reply" else "(B)"


def test_a_file_gets_the_labels_that_a_run_would_give_its_pairs(tmp_path: Path) -> None:
    given, bench = Given(tmp_path / "given"), Bench(tmp_path / "bench")
    alone = label_standalone(tmp_path / "labels", RECIPE, given.to_label())
    pairs = bench.artefact("pairs", mixed_pairs(), PairRow)
    inputs = FeedbackInputs(11, bench.constitution, pairs, chunk=5)
    engine = ScriptedEngine(choose=oracle, name="one")
    inside = s06_ai_feedback.run(FeedbackSettings(), inputs, engine, bench.out("ai-feedback", 6))
    assert alone.table().to_pylist() == inside.table().to_pylist()
    assert alone.facts == inside.facts
    names = {path.name for path in (tmp_path / "labels").iterdir()}
    assert {"recipe.yaml", "constitution.yaml", "rows.parquet", "manifest.json", "answers.sqlite"} <= names


def test_killed_it_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    given = Given(tmp_path / "given")
    whole = label_standalone(tmp_path / "whole", RECIPE, given.to_label(judges=2))
    total, given.asked = given.asked, 0
    with pytest.raises(Killed):
        label_standalone(tmp_path / "labels", RECIPE, given.to_label(judges=2, dies_after=total // 2))
    assert label_standalone(tmp_path / "labels", RECIPE, given.to_label(judges=2)).hash == whole.hash
    assert given.asked <= total + 2 * 2 * 5, "at most the chunk in flight, of five pairs in two orders"
    before = given.asked
    assert label_standalone(tmp_path / "labels", RECIPE, given.to_label(judges=2)).hash == whole.hash
    assert given.asked == before
    assert whole.facts["judge"] == "one + two" and whole.facts["read"] == "log-probs + votes"


def test_a_folder_begun_with_something_else_is_refused_by_name(tmp_path: Path) -> None:
    given = Given(tmp_path / "given")
    label_standalone(tmp_path / "labels", RECIPE, given.to_label())
    with pytest.raises(RunError, match=r"order.*both.*one"):
        other = RECIPE.model_copy(update={"feedback": FeedbackSettings.model_validate({"order": "one"})})
        label_standalone(tmp_path / "labels", other, given.to_label())
    with pytest.raises(RunError, match="judges"):
        label_standalone(tmp_path / "labels", RECIPE, given.to_label(judges=2))
    given.constitution.write_text(CONSTITUTION.replace("the safer reply", "the safest reply"))
    with pytest.raises(RunError, match="constitution"):
        label_standalone(tmp_path / "labels", RECIPE, given.to_label())
    given.pairs.write_text("{}\n")
    with pytest.raises(InputError, match="has no two replies"):
        label_standalone(tmp_path / "more", RECIPE, given.to_label())
    assert not (tmp_path / "more").exists()


def test_agreement_with_the_file_s_own_choice_is_counted(tmp_path: Path) -> None:
    given = Given(tmp_path / "given")
    replies = [("good reply", "bad reply"), ("bad reply", "good reply"), ("good reply", "bad reply")]
    rows: list[dict[str, Any]] = [
        {"prompt": f"harm {n}", "chosen": a, "rejected": b} for n, (a, b) in enumerate(replies)
    ]
    rows.append({"prompt": "harm 9", "response_a": "bad reply", "response_b": "good reply"})
    given.pairs.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    artefact = label_standalone(tmp_path / "labels", RECIPE, given.to_label())
    assert agreement(artefact.rows(LabelRow), read_pairs(given.pairs)) == (2, 3)


def test_a_preference_model_learns_from_the_labels_of_one_axis(tmp_path: Path) -> None:
    given = Given(tmp_path / "given")
    recipe = RECIPE.model_copy(update={"feedback": FeedbackSettings(axes={"harmlessness": 1.0})})
    labels = label_standalone(tmp_path / "labels", recipe, given.to_label())
    assert len(read_labels([labels.path]).rows()) == 24
    training = TrainingSettings(batch_size=8, epochs=1, held_out=0.0)
    settings = PreferenceSettings(axis="harmlessness", training=training)
    trained = train_standalone(
        tmp_path / "pm",
        RECIPE.model_copy(update={"preference": settings}),
        Sources(save_tiny_model(tmp_path / "tiny"), (labels.path,)),
    )
    assert trained.facts["examples"] == {"ai": 24}
