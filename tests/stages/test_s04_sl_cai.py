"""SL-CAI on a tiny model: which rows it is made of, what it leaves behind, and that a kill changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.row_types import filled
from tests.training.tiny import asked, row_id, said, same_files, save_tiny_model, stage_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from solon.config.recipe import EngineSettings, FinetuneSettings, LoraSettings, RevisionsUsed, TrainingSettings
from solon.errors import RecipeError, StageError
from solon.runs import Artefact
from solon.runs.rows import ReplyRow, RevisionRow
from solon.runs.training_rows import SftExampleRow
from solon.stages import s04_sl_cai
from solon.training.loop import is_held_out

SETTINGS = FinetuneSettings(training=TrainingSettings(batch_size=4, epochs=2, checkpoint_every=2, held_out=0.3))


class Killed(BaseException):
    """Stands for `kill -9`."""


def revision(prompt: str, step: int, outcome: str = "ok", text: str = "It would hurt people .") -> RevisionRow:
    record = {"row_id": row_id(prompt), "step": step, "prompt": asked(prompt), "completion": said(text),
              "principle_id": f"principle of {prompt}, step {step}", "outcome": outcome}  # fmt: skip
    return filled(RevisionRow, record)


def response(prompt: str, kind: str, outcome: str = "ok", sample: int = 0) -> ReplyRow:
    record = {"row_id": row_id(prompt), "kind": kind, "sample": sample, "prompt": asked(prompt),
              "completion": said("First mix ."), "outcome": outcome}  # fmt: skip
    return filled(ReplyRow, record)


REVISIONS = [revision(f"How do I steal {n} ?", step) for n in range(8) for step in (1, 2)]
RESPONSES = [response(f"How do I bake {n} ?", "helpful") for n in range(8)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("finetune") / "tiny")


def inputs(folder: Path, model: Path, revisions: list[RevisionRow] = REVISIONS) -> s04_sl_cai.FinetuneInputs:
    made = stage_folder(folder / "03").publish(revisions, RevisionRow)
    replies = stage_folder(folder / "02").publish(RESPONSES, ReplyRow)
    return s04_sl_cai.FinetuneInputs(3, model, EngineSettings(), made, replies)


def words(row: RevisionRow | ReplyRow) -> str:
    return row.prompt.turns[0].content


def place(row: RevisionRow | ReplyRow) -> tuple[str, int]:
    return row.row_id, row.step if isinstance(row, RevisionRow) else row.sample


def test_failed_rows_and_red_team_replies_are_no_examples() -> None:
    revisions = [
        revision("a", 1), revision("a", 2, "truncated"), revision("b", 1, "empty"), revision("c", 2), revision("c", 1),
    ]  # fmt: skip
    responses = [response("h", "helpful"), response("i", "helpful", "truncated"), response("a", "red_team")]
    chosen, mixture = s04_sl_cai.chosen_rows(revisions, responses, FinetuneSettings(), 1)
    assert [(words(row), place(row)[1]) for row in chosen if isinstance(row, ReplyRow)] == [("h", 0)]
    assert sorted((words(row), place(row)[1]) for row in chosen if isinstance(row, RevisionRow)) == [
        ("a", 1), ("c", 1), ("c", 2),
    ]  # fmt: skip
    assert mixture == s04_sl_cai.Mixture({"1": 2, "2": 1}, 0.3333)


def test_last_is_the_last_good_revision_of_each_prompt() -> None:
    revisions = [revision("a", 1), revision("a", 2), revision("a", 3, "empty"), revision("b", 1, "empty")]
    chosen, _ = s04_sl_cai.chosen_rows(revisions, [], FinetuneSettings(revisions=RevisionsUsed.LAST), 1)
    assert [(words(row), place(row)[1]) for row in chosen] == [("a", 2)]


def test_without_a_good_revision_there_is_no_sl_cai() -> None:
    with pytest.raises(StageError, match="no revision has the outcome ok"):
        s04_sl_cai.chosen_rows([revision("a", 1, "empty")], RESPONSES, FinetuneSettings(), 1)


@pytest.mark.parametrize(("n", "steps"), [(1, [1]), (2, [1, 2, 2]), (3, [1, 2, 2, 3])])
def test_sl_cai_n_is_made_of_the_first_n_steps(n: int, steps: list[int]) -> None:
    revisions = [revision("a", 1), revision("a", 2), revision("a", 3), revision("b", 1, "empty"), revision("b", 2)]
    chosen, mixture = s04_sl_cai.chosen_rows(revisions, [], FinetuneSettings(revisions=n), 1)
    assert sorted(place(row)[1] for row in chosen) == steps
    assert mixture.revisions_by_step == {str(step): steps.count(step) for step in sorted(set(steps))}


def test_more_steps_than_there_are_is_refused_before_anything_is_asked() -> None:
    s04_sl_cai.refuse_missing_steps(FinetuneSettings(revisions=2), 2)
    s04_sl_cai.refuse_missing_steps(FinetuneSettings(), 1)
    with pytest.raises(RecipeError, match=r"finetune\.revisions: the first 4 revisions .* there are 2 steps"):
        s04_sl_cai.refuse_missing_steps(FinetuneSettings(revisions=4), 2)


def test_helpful_replies_are_drawn_at_the_stated_ratio(caplog: pytest.LogCaptureFixture) -> None:
    responses = [response(f"h{n}", "helpful", sample=sample) for n in range(20) for sample in (0, 1)]
    drawn: dict[float, list[tuple[str, int]]] = {}
    for ratio in (0.0, 0.5, 1.0):
        settings = FinetuneSettings(helpful_ratio=ratio)
        chosen, mixture = s04_sl_cai.chosen_rows(REVISIONS, responses, settings, 1)
        drawn[ratio] = [place(row) for row in chosen if isinstance(row, ReplyRow)]
        assert len(drawn[ratio]) == ratio * len(REVISIONS) and mixture.helpful_ratio == ratio
        assert chosen == s04_sl_cai.chosen_rows(REVISIONS, responses, settings, 1)[0]
    assert set(drawn[0.5]) < set(drawn[1.0])
    other = s04_sl_cai.chosen_rows(REVISIONS, responses, FinetuneSettings(helpful_ratio=0.5), 2)[0]
    assert drawn[0.5] != [place(row) for row in other if isinstance(row, ReplyRow)]
    assert not caplog.records
    chosen, mixture = s04_sl_cai.chosen_rows(REVISIONS, responses, FinetuneSettings(helpful_ratio=9), 1)
    assert len(chosen) == len(REVISIONS) + len(responses) and mixture.helpful_ratio == 2.5
    assert "asks for 144 replies to helpfulness prompts, but 40 came out well" in caplog.text


def test_prompts_are_held_out_whole_and_alike_everywhere() -> None:
    ids = [row_id(str(n)) for n in range(2000)]
    held = [is_held_out(each, 0.1, seed=1) for each in ids]
    assert held == [is_held_out(each, 0.1, seed=1) for each in ids]
    assert 140 < sum(held) < 260
    assert not any(is_held_out(each, 0.0, seed=1) for each in ids)


@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)])
def test_it_leaves_a_model_that_anyone_loads(tiny: Path, tmp_path: Path, adapter: LoraSettings | None) -> None:
    training = SETTINGS.training.model_copy(update={"lora": adapter, "learning_rate": 5e-3, "epochs": 12})
    done = s04_sl_cai.run(
        SETTINGS.model_copy(update={"training": training}), inputs(tmp_path, tiny), stage_folder(tmp_path / "04")
    )
    model, tokenizer = AutoModelForCausalLM.from_pretrained(done.model), AutoTokenizer.from_pretrained(done.model)
    prompt = tokenizer("\n\nHuman: How do I steal 3 ?\n\nAssistant:", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=30, do_sample=False, pad_token_id=1)
    assert tokenizer.decode(written[0, prompt["input_ids"].shape[1] :]) == " It would hurt people .<|end|>"
    facts, rows = done.facts, done.table().to_pylist()
    held_out = facts["held_out_examples"]
    assert sum(facts["examples"].values()) + held_out == len(REVISIONS) + len(RESPONSES) and held_out > 0
    assert facts["held_out_loss"] == rows[-1]["held_out_loss"] < rows[0]["loss"]
    assert facts["held_out_loss"] < facts["held_out_loss_before"]
    assert (done.path / "model" / "adapter").exists() is (adapter is not None)


def test_a_killed_stage_ends_with_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    given = inputs(tmp_path, tiny)

    def run(name: str, kill: int | None) -> Artefact:
        def die(progress: Any) -> None:
            if progress.done == kill:
                raise Killed

        return s04_sl_cai.run(SETTINGS, given, stage_folder(tmp_path / name, report_to=die))

    whole = run("whole", None)
    for kill in (1, 3):
        with pytest.raises(Killed):
            run("killed", kill)
    resumed = run("killed", None)
    assert whole.table().to_pylist() == resumed.table().to_pylist() and whole.hash == resumed.hash
    assert same_files(whole.model, resumed.model)
    assert not (resumed.path / "checkpoints").exists()


def test_every_example_leads_back_to_its_row_and_its_principle(tiny: Path, tmp_path: Path) -> None:
    given = inputs(tmp_path, tiny)
    done = s04_sl_cai.run(SETTINGS, given, stage_folder(tmp_path / "04"))
    examples = done.rows(SftExampleRow, file=s04_sl_cai.EXAMPLES)
    assert s04_sl_cai.EXAMPLES in done.manifest.files
    revisions = {place(row): row for row in given.revisions.rows(RevisionRow)}
    replies = {place(row): row for row in given.responses.rows(ReplyRow)}
    for example in examples:
        if example.stage == "critique-revision":
            row: RevisionRow | ReplyRow = revisions.pop((example.row_id, example.step or 0))
            assert isinstance(row, RevisionRow) and example.principle_id == row.principle_id
        else:
            assert example.stage == "responses" and example.principle_id is None and example.sample is not None
            row = replies.pop((example.row_id, example.sample))
        assert (example.prompt, example.completion) == (row.prompt, row.completion)
        assert example.held_out is is_held_out(example.row_id, SETTINGS.training.held_out, 3)
    assert not revisions and not replies, "each row was learned from once, or is held out"
    facts = done.facts
    assert sum(example.held_out for example in examples) == facts["held_out_examples"]
    assert len(examples) == sum(facts["examples"].values()) + facts["held_out_examples"]


def test_an_example_longer_than_the_window_is_counted_and_left_out(tiny: Path, tmp_path: Path) -> None:
    long = revision("How do I steal ?", 1, text="flour " * 200)
    done = s04_sl_cai.run(SETTINGS, inputs(tmp_path, tiny, [*REVISIONS, long]), stage_folder(tmp_path / "04"))
    assert done.facts["too_long"] == 1
