"""An evaluation folder: killed and resumed to the same bytes, never asked twice, never mixed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from solon.config.builtin import constitution_path
from solon.constitution.reader import load_constitution
from solon.engines.scripted import ScriptedEngine
from solon.errors import InputError, ModelError, RunError
from solon.evals.benchmarks.evaluation import (
    RESULTS,
    AnswersAs,
    EvaluationPlan,
    Subject,
    drawn,
    evaluate,
    formulation_of,
    results_of,
)
from solon.evals.benchmarks.multiple_choice import Form, QuestionSetup
from solon.evals.benchmarks.question_files import read_questions
from solon.runs import Artefact
from solon.runs.progress import Silent
from tests.evals.benchmarks.rows import classifications, comparisons, is_right, write

CONSTITUTION = load_constitution(constitution_path("harmlessness"))


class Killed(BaseException):
    """Stands for `kill -9`."""


def engine(after: int | None = None) -> ScriptedEngine:
    asked = 0

    def choose(prompt, letter):
        nonlocal asked
        asked += 1
        if after is not None and asked > after:
            raise Killed
        return -1.0 + is_right(prompt, letter) - 0.3 * (letter == "A")

    return ScriptedEngine(lambda prompt, seed: f"thought {seed}", choose, name="scripted@0")


def subject(asked: ScriptedEngine) -> Subject:
    return Subject("scripted@0", AnswersAs.MULTIPLE_CHOICE, load_engine=lambda: asked)


@pytest.fixture
def plan(tmp_path) -> EvaluationPlan:
    files = [
        read_questions(write(tmp_path / "HHH Evaluations.jsonl", comparisons(40))),
        read_questions(write(tmp_path / "types.jsonl", classifications(rounds=1))),
    ]
    return EvaluationPlan(files, [Form.LETTER, Form.REASONED], QuestionSetup(samples=2), 3, CONSTITUTION)


def run(out: Path, plan: EvaluationPlan, asked: ScriptedEngine) -> dict:
    return evaluate(out, subject(asked), plan.tasks(AnswersAs.MULTIPLE_CHOICE), Silent())


def test_all_files_in_all_forms_are_answered_and_written(plan, tmp_path):
    results = run(tmp_path / "out", plan, engine())
    named = [(facts["evaluation"], facts["form"], facts["questions"]) for facts in results["evaluations"]]
    assert named == [
        ("HHH Evaluations", "letter", 40), ("HHH Evaluations", "reasoned", 40),
        ("types", "letter", 9), ("types", "reasoned", 9),
    ]  # fmt: skip
    assert all(facts["accuracy"]["value"] == 1 for facts in results["evaluations"])
    assert json.loads((tmp_path / "out" / RESULTS).read_text()) == results == results_of(tmp_path / "out")
    rows = Artefact.open(tmp_path / "out" / "hhh-evaluations-reasoned").table().to_pylist()
    assert [row["line"] for row in rows] == list(range(1, 41))
    assert len(rows[0]["reasoning"]) == len(rows[0]["reasoning"][0]) == 2
    assert {row["outcome"] for row in rows} == {"ok"}


def test_a_killed_evaluation_resumes_to_the_same_bytes_and_asks_nothing_twice(plan, tmp_path):
    whole = engine()
    expected = run(tmp_path / "whole", plan, whole)
    total = len(whole.prompts)
    for after in (70, 75, 1200):
        with pytest.raises(Killed):
            run(tmp_path / "killed", plan, engine(after))
    last = engine()
    assert run(tmp_path / "killed", plan, last) == expected
    assert 0 < len(last.prompts) < total
    for folder in ("hhh-evaluations-letter", "hhh-evaluations-reasoned", "types-reasoned"):
        one, other = (Artefact.open(tmp_path / name / folder) for name in ("whole", "killed"))
        assert one.hash == other.hash
    again = engine()
    assert run(tmp_path / "killed", plan, again) == expected
    assert not again.prompts


def test_a_form_is_added_to_a_folder_and_the_others_are_kept(plan, tmp_path):
    run(tmp_path / "out", replace(plan, forms=[Form.LETTER]), engine())
    later = engine()
    results = run(tmp_path / "out", replace(plan, forms=[Form.FEW_SHOT]), later)
    assert [facts["form"] for facts in results["evaluations"]] == ["letter", "few-shot"] * 2
    assert all(prompt.shared == 6 for prompt in later.prompts)


@pytest.mark.parametrize("change", [{"examples": 2}, {"manner": QuestionSetup(samples=2, seed=1)}])
def test_other_settings_are_refused(change, plan, tmp_path):
    plan = replace(plan, forms=[Form.FEW_SHOT])
    run(tmp_path / "out", plan, engine())
    with pytest.raises(RunError, match="made with other settings"):
        run(tmp_path / "out", replace(plan, **change), engine())


def test_a_changed_file_and_another_model_are_refused(plan, tmp_path):
    plan = replace(plan, forms=[Form.LETTER])
    run(tmp_path / "out", plan, engine())
    other = Subject("other@1", AnswersAs.MULTIPLE_CHOICE, load_engine=engine)
    with pytest.raises(RunError, match="another model"):
        evaluate(tmp_path / "out", other, plan.tasks(AnswersAs.MULTIPLE_CHOICE), Silent())
    path = write(tmp_path / "types.jsonl", classifications(rounds=2))
    with pytest.raises(RunError, match="file: "):
        run(tmp_path / "out", replace(plan, files=[read_questions(path)]), engine())


def test_a_folder_with_other_things_is_left_alone(plan, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="holds no evaluations"):
        run(tmp_path / "out", plan, engine())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_preference_model_takes_comparisons_alone(plan, tmp_path):
    with pytest.raises(InputError, match="can only compare replies"):
        plan.tasks(AnswersAs.PREFERENCE_MODEL)
    tasks = replace(plan, files=plan.files[:1]).tasks(AnswersAs.PREFERENCE_MODEL)
    scorer = Subject("pm@0", AnswersAs.PREFERENCE_MODEL, load_scores=lambda: _length)
    results = evaluate(tmp_path / "out", scorer, tasks, Silent())
    (facts,) = results["evaluations"]
    assert (facts["form"], facts["examples"], facts["letters"]) == ("preference-model", 0, None)
    # The right replies of these rows are the longer ones.
    assert facts["accuracy"]["value"] == facts["baselines"]["longer"]["value"] == 1


def _length(conversations):
    return [float(len(each.turns[-1].content)) for each in conversations]


def test_two_files_of_one_name_are_refused(plan, tmp_path):
    (tmp_path / "sub").mkdir()
    twin = read_questions(write(tmp_path / "sub" / "types.jsonl", classifications()))
    with pytest.raises(InputError, match="share the folder 'types-letter'"):
        replace(plan, files=[*plan.files, twin]).tasks(AnswersAs.MULTIPLE_CHOICE)


def test_too_many_worked_examples_are_refused_with_the_number_there_is(plan):
    with pytest.raises(InputError, match="Use --examples 5"):
        replace(plan, examples=6, forms=[Form.FEW_SHOT]).tasks(AnswersAs.MULTIPLE_CHOICE)


def test_a_limit_draws_by_content_and_keeps_the_order(plan):
    few = drawn(plan.files[0], 7, 0)
    more = drawn(plan.files[0], 9, 0)
    assert [q.line for q in few.questions] == sorted(q.line for q in few.questions)
    assert set(few.questions) < set(more.questions)
    assert drawn(plan.files[0], None, 0) is plan.files[0]


def test_the_formulation_is_read_off_the_configuration(tmp_path):
    for architecture, expected in (
        ("LlamaForCausalLM", AnswersAs.MULTIPLE_CHOICE),
        ("LlamaForSequenceClassification", AnswersAs.PREFERENCE_MODEL),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
        assert formulation_of(tmp_path) is expected
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ModelError, match="cannot be read"):
        formulation_of(tmp_path)
