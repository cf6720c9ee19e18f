"""The page of `solon eval`: every figure is there, and hostile texts of files stay texts."""

import re

from solon.engines.scripted import ScriptedEngine
from solon.evals.benchmarks.accuracy import figures
from solon.evals.benchmarks.multiple_choice import QuestionSetup, ask_choices
from solon.evals.benchmarks.question_files import read_questions
from solon.evals.benchmarks.worked_examples import Worked
from solon.reporting.benchmark_section import lines, render, sentences, write
from solon.runs.facts import EvaluationFacts
from solon.runs.records import to_record
from tests.evals.benchmarks.rows import classifications, comparisons, is_right
from tests.evals.benchmarks.rows import write as write_rows

EVIL = '<script>alert(1)</script>"\u202e'


def facts_of(tmp_path, rows, name="HHH", samples=1, **about):
    file = read_questions(write_rows(tmp_path / "rows.jsonl", rows))
    engine = ScriptedEngine(choose=lambda prompt, letter: 1.5 * is_right(prompt, letter))
    found = figures(file.questions, ask_choices(engine, file.questions, QuestionSetup(), Worked()), samples)
    kind = {"evaluation": name, "kind": file.kind.value, "options": len(file.questions[0].options), "model": "m@0"}
    return {
        **kind,
        "form": "letter",
        "order": "both",
        "samples": samples,
        "examples": 0,
        "bad_rows": [],
        **to_record(found),
        **about,
    }


def test_the_page_shows_accuracy_baselines_and_the_calibration_figure(tmp_path):
    facts = facts_of(tmp_path, comparisons(20))
    page = render({"model": "m@0", "evaluations": [facts]})
    assert page.count('class="chart"') == 1
    assert "Calibration on HHH, 0-shot" in page
    assert re.search(r"Of the 20 answered, 100\.0 % \[83\.9-100\.0\]: better than chance, which is 50\.0 %", page)
    assert "baseline: the longer reply" in page and "baseline: always (A)" in page
    assert "both orders" in page


def test_lines_tell_one_sample_from_several_and_end_with_the_baselines(tmp_path):
    facts = facts_of(tmp_path, classifications(), samples=5, form="reasoned", examples=4)
    found = [(line.form, line.undecided) for line in lines([EvaluationFacts.read(facts)])]
    assert found == [
        ("reasoned (4 examples, 1 sample)", 0), ("reasoned (4 examples, 5 samples)", 0), ("baseline: always (A)", None)
    ]  # fmt: skip
    assert any("all 9 rotations" in sentence for sentence in sentences(EvaluationFacts.read(facts)))


def test_texts_of_files_cannot_become_markup(tmp_path):
    rows = classifications((f"Theft {EVIL}", "Discrimination <b>"), 3)
    facts = facts_of(tmp_path, rows, name=EVIL, bad_rows=[f"x:1: {EVIL}"], model=EVIL)
    page = render({"model": EVIL, "evaluations": [facts]})
    assert "<script" not in page
    assert "<b>Calibration" in page and "Discrimination <b>" not in page
    assert "\u202e" not in page
    assert "script-src &#39;none&#39;" in page


def test_a_page_without_evaluations_is_still_a_page(tmp_path):
    assert write(tmp_path, {"model": None, "evaluations": []}).read_text().startswith("<!doctype html>")


def test_questions_without_answers_are_counted(tmp_path):
    facts = facts_of(tmp_path, comparisons(4), undecided=2, undecided_because={"no room": 2}, unfinished_samples=2)
    assert "Without an answer, which counts as wrong: 2 (no room: 2)." in sentences(EvaluationFacts.read(facts))
    assert not any("chains of thought" in sentence for sentence in sentences(EvaluationFacts.read(facts)))
