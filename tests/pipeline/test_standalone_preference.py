"""Training outside a run: resumed, kept, refused when something changed; files scored by what came out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.training.tiny import artefact, asked, row_id, said, same_files, save_tiny_model

from solon.config.recipe import EngineSettings, PreferenceSettings, Recipe, TrainingSettings
from solon.errors import InputError, ModelError, RunError, StageError
from solon.pipeline.standalone_preference import Sources, train_standalone
from solon.reward.score_file import read_scorable, scored
from solon.reward.scorer import Zero, open_scorer
from solon.runs import Progress

RECIPE = Recipe(
    preference=PreferenceSettings(
        training=TrainingSettings(batch_size=8, epochs=2, learning_rate=3e-3, checkpoint_every=2, held_out=0.3)
    )
)


class Killed(BaseException):
    """Stands for `kill -9`."""


def pair(number: int) -> dict[str, Any]:
    return {"prompt": asked(f"How {number} ?"), "chosen": said("good good"), "rejected": said("bad bad")}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder = tmp_path_factory.mktemp("alone")
    labels = write(folder / "labels.jsonl", *({**pair(n), "p_chosen": 0.8} for n in range(20)))
    human = write(folder / "human.jsonl", *(pair(n) for n in range(20, 40)))
    return Sources(save_tiny_model(folder / "tiny"), (labels,), human)


@pytest.fixture(scope="module")
def trained(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_standalone(tmp_path_factory.mktemp("alone") / "pm", RECIPE, sources).path


def test_both_kinds_are_learned_and_measured_by_source(trained: Path, sources: Sources) -> None:
    facts = json.loads((trained / "manifest.json").read_text())["facts"]
    assert set(facts["examples"]) == set(facts["ece"]) == set(facts["brier"]) == {"ai", "human"}
    assert facts["labels"] == {"ok": 20} and 0 < facts["golden_scores"] <= 64
    assert facts["examples"]["ai"] + facts["held_out_examples"]["ai"] == 20
    assert open_scorer(trained / "model", EngineSettings()).model.centre == facts["centre"]


def test_the_same_again_is_only_read_and_a_change_is_refused_by_name(trained: Path, sources: Sources) -> None:
    before = (trained / "manifest.json").read_bytes()
    assert train_standalone(trained, RECIPE, sources).path == trained
    assert (trained / "manifest.json").read_bytes() == before
    with pytest.raises(RunError, match="seed: 0 -> 5"):
        train_standalone(trained, RECIPE.model_copy(update={"seed": 5}), sources)
    with pytest.raises(RunError, match="labels"):
        train_standalone(trained, RECIPE, Sources(sources.base, (), sources.human))


def test_killed_and_begun_again_it_ends_with_the_same_bytes(trained: Path, sources: Sources, tmp_path: Path) -> None:
    def die(progress: Progress) -> None:
        if progress.done == 3:
            raise Killed

    with pytest.raises(Killed):
        train_standalone(tmp_path / "pm", RECIPE, sources, die)
    again = train_standalone(tmp_path / "pm", RECIPE, sources)
    assert same_files(again.path / "model", trained / "model")


def test_a_stage_serves_as_labels(sources: Sources, tmp_path: Path) -> None:
    rows = [{"row_id": row_id("x"), **pair(n), "p_chosen": 0.8, "outcome": "ok"} for n in range(10)]
    stage = artefact(tmp_path / "06-ai-feedback", rows)
    done = train_standalone(tmp_path / "pm", RECIPE, Sources(sources.base, (stage.path,)))
    assert set(done.facts["examples"]) == {"ai"}


def test_what_is_no_place_or_no_data_is_refused(sources: Sources, tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", "mine")
    with pytest.raises(RunError, match="is no stage"):
        train_standalone(tmp_path, RECIPE, sources)
    with pytest.raises(StageError, match="nothing to learn from"):
        train_standalone(tmp_path / "pm", RECIPE, Sources(sources.base))
    assert not (tmp_path / "pm").exists()
    with pytest.raises(ModelError, match=r"not a preference model: config\.json is missing"):
        open_scorer(tmp_path)


def test_a_file_is_scored_line_by_line_and_nothing_is_cut(trained: Path, tmp_path: Path) -> None:
    scorer = open_scorer(trained)
    long = {"messages": [*asked("bread " * 200), *said("no")], "note": 7}
    one = {"messages": [*asked("How 3 ?"), *said("good good")], "score": "old"}
    same = {"prompt": asked("How 3 ?"), "completion": said("good good")}
    told = "\n\nHuman: How 3 ?\n\nAssistant: "
    two = {"chosen": f"{told}good good", "rejected": f"{told}bad bad"}
    rows = list(scored(read_scorable(write(tmp_path / "in.jsonl", one, same, two, long)), scorer, Zero.CENTRE))
    assert rows[0]["score"] == pytest.approx(rows[1]["score"], abs=1e-5)
    assert rows[0]["score"] == pytest.approx(rows[2]["score_chosen"], abs=1e-5)
    difference = rows[2]["score_chosen"] - rows[2]["score_rejected"]
    assert rows[2]["p_chosen_scored"] == pytest.approx(1 / (1 + math.exp(-difference))) and difference > 0
    assert rows[3] == {**long, "score": None, "unscored": rows[3]["unscored"]}
    assert rows[3]["unscored"].endswith("tokens, and the window is 128")
    raw = list(scored(read_scorable(tmp_path / "in.jsonl"), scorer, Zero.RAW))
    assert raw[0]["score"] - rows[0]["score"] == pytest.approx(scorer.model.centre, abs=1e-6)


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("{broken", "broken JSON"),
        ({"text": "x"}, "holds no conversation (found 'text')"),
        ({"messages": asked("x")}, "not a prompt with a reply"),
        ({"messages": said("x")}, "not a prompt with a reply"),
        ({"prompt": asked("x"), "completion": 3}, "messages or a transcript"),
    ],
)
def test_a_line_that_cannot_be_scored_is_named(tmp_path: Path, row: object, cause: str) -> None:
    path = write(tmp_path / "in.jsonl", {"messages": [*asked("a"), *said("b")]}, row)
    with pytest.raises(InputError) as error:
        list(read_scorable(path))
    assert str(error.value).startswith(f"{path}:2: ") and cause in str(error.value)
