"""`solon eval` on the bundled assistant and on a tiny preference model: real engines, rows of our own."""

import json
import re
from pathlib import Path

import pytest

from solon.cli.main import main
from solon.config.builtin import model_path
from solon.config.recipe import EngineSettings
from solon.digest import digest_model
from solon.engines.tokens import PromptTokenizer
from solon.training.models import grow_preference_model, load_tokenizer, save_model
from tests.evals.benchmarks.rows import BEHAVIOUR, classifications, comparisons, write


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(each) for each in ("eval", *arguments)])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path / "HHH.jsonl", comparisons(6)),
        write(tmp_path / "behaviour.jsonl", classifications(BEHAVIOUR, 2)),
    ]


def test_a_causal_model_answers_in_two_forms_and_is_asked_once(files, tmp_path, capsys):
    line = [*files, "--engine", "testbed:assistant", "--form", "letter", "--form", "few-shot", "--examples", "2",
            "--out", tmp_path / "out"]  # fmt: skip
    code, out, err = run(capsys, *line)
    assert code == 0
    assert re.search(r"^  HHH +0-shot +\d+\.\d \[\d+\.\d-\d+\.\d\]", out, re.M)
    assert re.search(r"^  behaviour +few shot \(2 examples\)", out, re.M)
    assert re.search(r"^  HHH +baseline: the longer reply +100\.0", out, re.M)
    assert "[4/4] behaviour-few-shot" in err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [facts["questions"] for facts in results["evaluations"]] == [6, 6, 4, 4]
    assert (tmp_path / "out" / "evaluations.html").read_text().count('class="chart"') == 4
    code, again, err = run(capsys, *line)
    assert (code, again) == (0, out)
    assert err.count("finished before") == 4


def test_chains_of_thought_of_the_bundled_model(files, tmp_path, capsys):
    code, out, _ = run(
        capsys, files[0], "--engine", "testbed:assistant", "--form", "reasoned", "--samples", "2", "--examples", "1",
        "--max-tokens", "8", "--out", tmp_path / "out", "--limit", "2", "-q",
    )  # fmt: skip
    assert code == 0
    assert "reasoned (1 example, 2 samples)" in out


def test_a_preference_model_is_recognised_and_scores(files, tmp_path, capsys):
    base, settings = model_path("testbed:pretrained"), EngineSettings()
    tokenizer = load_tokenizer(base)
    texts = PromptTokenizer.of(tokenizer, settings)
    save_model(grow_preference_model(base, tokenizer, settings, 0), texts, tmp_path / "pm")
    code, out, _ = run(capsys, files[0], "--engine", tmp_path / "pm", "--out", tmp_path / "out", "-q")
    assert code == 0
    assert re.search(r"^pm@[0-9a-f]{12}: share", out)
    assert re.search(r"^  HHH +preference model", out, re.M)
    facts = json.loads((tmp_path / "out" / "results.json").read_text())["evaluations"][0]
    assert facts["model"] == f"pm@{digest_model(tmp_path / 'pm')[:12]}"
    assert facts["undecided"] == 0
    code, _, err = run(capsys, files[1], "--engine", tmp_path / "pm", "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (1, 1)
    assert "can only compare replies" in err


def test_show_prints_the_questions_and_asks_nothing(files, tmp_path, capsys):
    code, out, _ = run(capsys, *files, "--engine", "testbed:assistant", "--form", "few-shot", "--form", "letter",
                       "--out", tmp_path / "out", "--show")  # fmt: skip
    assert code == 0
    assert out.count("== ") == 4
    assert out.rstrip().endswith("The answer is: (")
    assert not (tmp_path / "out").exists()


def test_a_bad_row_is_one_line_with_file_and_row(files, tmp_path, capsys):
    with files[0].open("a") as file:
        file.write('{"prompt": "\\u001b[31mno"}\n')
    code, _, err = run(capsys, files[0], "--engine", "testbed:assistant", "--out", tmp_path / "out")
    assert code == 1
    assert err.startswith(f"Error: {files[0]}:7: the question does not end on 'The answer is:' (1 of 7 rows are bad")
    assert "--bad-rows 1" in err and err.count("\n") == 1
    code, _, err = run(
        capsys, files[0], "--engine", "testbed:assistant", "--out", tmp_path / "out", "--bad-rows", "1", "-q"
    )
    assert code == 0
    assert err.startswith(f"Left out: {files[0]}:7: ")
    assert "1 bad row left out" in (tmp_path / "out" / "evaluations.html").read_text()


@pytest.mark.parametrize("engine", ["testbed:nobody", "no/such/folder"])
def test_an_unknown_model_is_one_line(engine, files, tmp_path, capsys):
    code, _, err = run(capsys, files[0], "--engine", engine, "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (1, 1)
    assert "no such model folder" in err
