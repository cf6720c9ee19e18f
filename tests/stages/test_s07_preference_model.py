"""The preference model's stage on a tiny model: sources, weights, measures, centre."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.tiny import artefact, asked, row_id, said, same_files, save_tiny_model, stage_folder

from solon.config.recipe import (
    Balance,
    EngineSettings,
    LabelsUsed,
    PairLayout,
    PreferenceSettings,
    TrainingSettings,
)
from solon.conversation import conversation_of
from solon.errors import StageError
from solon.feedback.preference_examples import PromptPart, Side, label_used
from solon.reward.scorer import open_scorer
from solon.runs import Artefact
from solon.runs.rows import LabelRow
from solon.runs.training_rows import PreferenceExampleRow
from solon.stages import s07_preference_model
from solon.training.loop import is_held_out

SETTINGS = PreferenceSettings(
    training=TrainingSettings(batch_size=8, epochs=6, learning_rate=3e-3, checkpoint_every=3, held_out=0.3)
)
GOOD, BAD = "good good", "bad bad"


class Killed(BaseException):
    """Stands for `kill -9`."""


def labelled(number: int, p_chosen: float = 0.8, outcome: str = "ok") -> dict[str, Any]:
    prompt = f"How do I bake {number} ?"
    return {"row_id": row_id(prompt), "prompt": asked(prompt), "chosen": said(GOOD), "rejected": said(BAD),
            "p_chosen": p_chosen, "outcome": outcome}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("preference") / "tiny", pad="<|end|>")


@pytest.fixture
def human(tmp_path: Path) -> Path:
    rows = [{"prompt": asked(f"Tell me {n}"), "chosen": said("yes yes"), "rejected": said("no no")} for n in range(30)]
    path = tmp_path / "human.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def run(
    folder: Path, model: Path, human: Path | None, settings: PreferenceSettings = SETTINGS, **more: Any
) -> Artefact:
    feedback = more.pop("feedback", None) or artefact(folder / "06", [labelled(n) for n in range(30)])
    name = more.pop("name", "07")
    part = more.pop("part", None)
    inputs = s07_preference_model.PreferenceInputs(3, model, EngineSettings(), feedback, human, part=part)
    return s07_preference_model.run(settings, inputs, stage_folder(folder / name, **more))


def test_both_sources_are_learned_and_measured_apart(tiny: Path, tmp_path: Path, human: Path) -> None:
    done = run(tmp_path, tiny, human)
    facts = done.facts
    assert facts["accuracy"] == {"ai": 1.0, "human": 1.0}
    # labels of 0.8 are met and not overshot, choices of people are near certain
    assert facts["brier"]["ai"] < 0.04 and facts["brier"]["human"] < 0.04
    assert set(facts["examples"]) == set(facts["held_out_examples"]) == {"ai", "human"}
    scorer = open_scorer(done.model, EngineSettings()).model
    assert scorer.centre == facts["centre"]
    good, bad = (conversation_of(asked("How do I bake 7 ?")).with_reply(text) for text in (GOOD, BAD))
    difference = float(torch.sub(*scorer.score([good, bad])))
    assert 1 / (1 + torch.tensor(-difference).exp()) == pytest.approx(0.8, abs=0.1)
    assert done.table().to_pylist()[-1]["accuracy"] == 1.0


def test_a_pair_with_an_empty_reply_is_not_learned_from(tiny: Path, tmp_path: Path) -> None:
    empty = [{**labelled(40), "chosen": said("")}, {**labelled(41), "rejected": said(" \n")}]
    pairs = [labelled(n) for n in range(30)]
    one = run(tmp_path, tiny, None, feedback=artefact(tmp_path / "with", [*pairs, *empty]), name="one")
    other = run(tmp_path, tiny, None, feedback=artefact(tmp_path / "without", pairs), name="other")
    assert (one.facts["empty"], other.facts["empty"]) == (2, 0)
    assert one.table().to_pylist() == other.table().to_pylist()


def test_the_centre_is_the_mean_over_held_out_replies(tiny: Path, tmp_path: Path) -> None:
    done = run(tmp_path, tiny, None)
    scorer = open_scorer(done.model, EngineSettings()).model
    held_out = [row for row in (labelled(n) for n in range(30)) if is_held_out(row["row_id"], 0.3, 3)]
    replies = [conversation_of(row["prompt"]).with_reply(text) for row in held_out for text in (GOOD, BAD)]
    assert float(scorer.score(replies).mean()) == pytest.approx(done.facts["centre"], abs=1e-5)
    assert done.facts["centre_from"] == "held_out"


@pytest.mark.parametrize(
    ("p_chosen", "used", "learnt"),
    [(0.8, "soft", 0.8), (0.8, "hard", 1.0), (0.5, "soft", 0.5), (0.5, "hard", 0.5), (0.3, "hard", 0.0)],
)
def test_a_hard_label_is_certain_and_a_tie_stays_a_tie(p_chosen: float, used: str, learnt: float) -> None:
    assert label_used(p_chosen, LabelsUsed(used)) == learnt


def test_every_example_leads_back_to_its_label_or_its_line(tiny: Path, tmp_path: Path, human: Path) -> None:
    rows = [{**labelled(n), "pair": 1 + n % 3, "principle_id": f"principle {n}"} for n in range(30)]
    feedback = artefact(tmp_path / "06", rows)
    done = run(tmp_path, tiny, human, feedback=feedback)
    examples = done.rows(PreferenceExampleRow, file=s07_preference_model.EXAMPLES)
    assert s07_preference_model.EXAMPLES in done.manifest.files
    labels = {(row.row_id, row.pair): row for row in feedback.rows(LabelRow)}
    lines = human.read_text().splitlines()
    for example in examples:
        if example.source == "ai":
            assert example.pair is not None and example.line is None
            label = labels.pop((example.row_id, example.pair))
            assert (example.principle_id, example.p_chosen) == (label.principle_id, label.p_chosen)
            assert (example.prompt, example.chosen, example.rejected) == (label.prompt, label.chosen, label.rejected)
        else:
            assert example.line is not None and (example.pair, example.principle_id) == (None, None)
            assert json.loads(lines[example.line - 1])["prompt"] == example.prompt.messages()
            assert (example.p_chosen, example.weight) == (1.0, SETTINGS.human_weight)
        assert example.held_out is is_held_out(example.row_id, 0.3, 3)
    assert not labels, "each label was learned from, or is held out"
    counted = Counter((example.source, example.held_out) for example in examples)
    for source in ("ai", "human"):
        assert counted[source, False] == done.facts["examples"][source]
        assert counted[source, True] == done.facts["held_out_examples"][source]


def test_failed_labels_teach_nothing(tiny: Path, tmp_path: Path) -> None:
    rows = [labelled(n, outcome="undecided" if n % 2 else "ok") for n in range(20)]
    done = run(tmp_path, tiny, None, feedback=artefact(tmp_path / "06", rows))
    assert sum(done.facts["examples"].values()) + sum(done.facts["held_out_examples"].values()) == 10
    nothing = artefact(tmp_path / "06b", [labelled(1, outcome="undecided")])
    with pytest.raises(StageError, match="no labelled pair"):
        run(tmp_path, tiny, None, feedback=nothing, name="07b")


def test_people_who_compared_harmlessness_are_a_source_of_their_own(tiny: Path, tmp_path: Path, human: Path) -> None:
    rows = [{"prompt": asked(f"Ask me {n}"), "chosen": said(GOOD), "rejected": said(BAD)} for n in range(20)]
    file = tmp_path / "harmlessness.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    nothing = artefact(tmp_path / "06", [labelled(1, outcome="undecided")])
    given = s07_preference_model.PreferenceInputs(3, tiny, EngineSettings(), nothing, human, file)
    done = s07_preference_model.run(SETTINGS, given, stage_folder(tmp_path / "07"))
    examples = {
        source: done.facts["examples"][source] + done.facts["held_out_examples"][source]
        for source in ("human", "human-harmlessness")
    }
    assert examples == {"human": 30, "human-harmlessness": 20} and "ai" not in done.facts["examples"]
    assert done.facts["accuracy"] == {"human": 1.0, "human-harmlessness": 1.0}


@pytest.mark.parametrize(("balance", "weight"), [("off", 0.5), ("weight", 0.5), ("pull", 0.5 * 0.6)])
def test_balanced_human_comparisons_weigh_as_much_as_labels_times_the_human_weight(
    tiny: Path, tmp_path: Path, human: Path, balance: str, weight: float
) -> None:
    changed = {"human_weight": 0.5, "balance": Balance(balance)}
    done = run(tmp_path, tiny, human, SETTINGS.model_copy(update=changed))
    examples = done.rows(PreferenceExampleRow, file=s07_preference_model.EXAMPLES)
    weights = {source: {each.weight for each in examples if each.source == source} for source in ("ai", "human")}
    assert weights["ai"] == {1.0}
    assert [*weights["human"]] == [pytest.approx(weight)], "30 labels of 0.8 against 30 certain choices"


@pytest.mark.parametrize(("margin", "kept"), [(0.0, 30), (0.01, 20), (0.1, 20), (0.3, 10), (0.45, 0)])
def test_labels_near_one_half_are_left_out_by_the_least_margin(
    tiny: Path, tmp_path: Path, human: Path, margin: float, kept: int
) -> None:
    rows = [labelled(n, p_chosen=(0.5, 0.7, 0.9)[n % 3]) for n in range(30)]
    feedback = artefact(tmp_path / "06", rows)
    done = run(tmp_path, tiny, human, SETTINGS.model_copy(update={"least_margin": margin}), feedback=feedback)
    examples = [x for x in done.rows(PreferenceExampleRow, file=s07_preference_model.EXAMPLES) if x.source == "ai"]
    assert (len(examples), done.facts["near_even"]) == (kept, 30 - kept)
    assert all(abs(example.p_chosen - 0.5) >= margin for example in examples)


def test_human_choices_are_learned_as_sure_as_the_recipe_says(tiny: Path, tmp_path: Path, human: Path) -> None:
    done = run(tmp_path, tiny, human, SETTINGS.model_copy(update={"human_certainty": 0.6, "balance": Balance.PULL}))
    examples = [x for x in done.rows(PreferenceExampleRow, file=s07_preference_model.EXAMPLES) if x.source == "human"]
    assert {(example.p_chosen, round(example.weight, 9)) for example in examples} == {(0.6, 3.0)}
    scorer = open_scorer(done.model, EngineSettings()).model
    yes, no = (conversation_of(asked("Tell me 7")).with_reply(text) for text in ("yes yes", "no no"))
    difference = float(torch.sub(*scorer.score([yes, no])))
    assert 1 / (1 + torch.tensor(-difference).exp()) == pytest.approx(0.6, abs=0.1)


def test_no_weight_means_no_human_comparisons(tiny: Path, tmp_path: Path, human: Path) -> None:
    done = run(tmp_path, tiny, human, SETTINGS.model_copy(update={"human_weight": 0.0}))
    assert set(done.facts["examples"]) == {"ai"}


def test_a_limit_draws_comparisons_by_content(tiny: Path, tmp_path: Path, human: Path) -> None:
    done = run(tmp_path, tiny, human, SETTINGS.model_copy(update={"limit_human": 10}))
    assert done.facts["examples"]["human"] + done.facts["held_out_examples"].get("human", 0) == 10


def test_pairs_in_one_row_teach_the_same(tiny: Path, tmp_path: Path, human: Path) -> None:
    settings = SETTINGS.model_copy(update={"pairs": PairLayout.SHARED_PREFIX})
    apart, together = (
        run(tmp_path / name, tiny, human, each) for name, each in (("apart", SETTINGS), ("together", settings))
    )
    rows, found = apart.table().to_pylist(), together.table().to_pylist()
    for name in ("loss", "gradient_norm", "accuracy"):
        # rounding, which AdamW enlarges from step to step
        assert [row[name] for row in found[:4]] == pytest.approx([row[name] for row in rows[:4]], rel=1e-3, abs=1e-4)
    assert together.facts["held_out_loss"] == pytest.approx(apart.facts["held_out_loss"], rel=0.05)
    assert 0 <= together.facts["padding"] < 0.5 and 0 <= apart.facts["padding"] < 0.5
    assert [row["tokens"] for row in found] == [row["tokens"] for row in rows]
    assert together.facts["accuracy"] == apart.facts["accuracy"]


def test_a_killed_stage_ends_with_the_same_bytes(tiny: Path, tmp_path: Path, human: Path) -> None:
    def killing(at: int) -> Any:
        def die(progress: Any) -> None:
            if progress.done == at:
                raise Killed

        return die

    feedback = artefact(tmp_path / "06", [labelled(n) for n in range(30)])
    whole = run(tmp_path, tiny, human, name="whole", feedback=feedback)
    for at in (2, 5):
        with pytest.raises(Killed):
            run(tmp_path, tiny, human, name="killed", feedback=feedback, report_to=killing(at))
    resumed = run(tmp_path, tiny, human, name="killed", feedback=feedback)
    assert whole.table().to_pylist() == resumed.table().to_pylist() and whole.hash == resumed.hash
    assert same_files(whole.model, resumed.model)


@given(prompt=st.text(), share=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_a_prompt_belongs_to_one_of_two_models(prompt: str, share: float, seed: int) -> None:
    name = row_id(prompt)
    sides = [side for side in Side if PromptPart(side, share).holds(name, seed)]
    assert len(sides) == 1


def test_the_held_out_model_learns_what_the_other_does_not(tiny: Path, tmp_path: Path, human: Path) -> None:
    both = {side: run(tmp_path, tiny, human, name=side.value, part=PromptPart(side, 0.4)) for side in Side}
    for source in ("ai", "human"):
        counts = [done.facts["examples"][source] + done.facts["held_out_examples"][source] for done in both.values()]
        assert sum(counts) == 30 and min(counts) > 5
    scored = [
        {
            json.dumps(json.loads(line)["messages"][:-1])
            for line in (done.model / "golden_scores.jsonl").read_text().splitlines()
        }
        for done in both.values()
    ]
    assert scored[0] and scored[1] and not scored[0] & scored[1], "no prompt in common"
