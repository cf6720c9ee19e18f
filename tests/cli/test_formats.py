"""`solon constitution` and `solon chains`: conversions by command, with what is not kept named."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from solon.cli.main import main
from solon.config.builtin import constitution_path
from solon.constitution.formats.paper_chains import read_chains
from solon.constitution.reader import load_constitution
from solon.runs import RunDirectory
from tests.constitution.formats import samples
from tests.synthetic import Plan, build


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return build(tmp_path_factory.mktemp("formats") / "run", Plan(red=6, held_out=6))


def test_import_writes_a_constitution_and_names_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm = written(tmp_path / "swarm.json", {**samples.SWARM, "author\x1b[31m": "x"})
    code, out, err = run(capsys, "constitution", "import", swarm, "--output", tmp_path / "house.yaml")
    assert code == 1 and "--complete-with harmlessness" in err
    options = ["--complete-with", "harmlessness", "--output", tmp_path / "house.yaml"]
    code, out, err = run(capsys, "constitution", "import", swarm, *options)
    assert (code, err) == (0, "")
    assert "a constitution of llm-swarm: 2 revision principles, 1 worked critique" in out
    assert "  not kept: 'author': not supported, and left out" in out
    assert "\x1b" not in out
    made = load_constitution(tmp_path / "house.yaml")
    assert (made.name, len(made.revision), len(made.critique_examples)) == ("house", 2, 1)
    assert made.preference == load_constitution(constitution_path("harmlessness")).preference
    code, _, err = run(capsys, "constitution", "import", swarm, *options)
    assert code == 1 and "the file exists" in err


def test_export_and_import_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "paper"
    code, out, _ = run(capsys, "constitution", "export", "harmlessness", "--format", "paper", "--output", folder)
    assert code == 0 and "  not kept: the name 'harmlessness'" in out
    code, out, _ = run(capsys, "constitution", "import", *sorted(folder.iterdir()), "--output", tmp_path / "again.yaml")
    assert code == 0 and "not kept" not in out
    old = load_constitution(constitution_path("harmlessness"))
    new = load_constitution(tmp_path / "again.yaml")
    assert [p.critique_request for p in new.revision] == [p.critique_request for p in old.revision]
    assert [p.instruction for p in new.preference] == [p.instruction for p in old.preference]
    assert new.critique_examples == old.critique_examples
    assert new.comparison_examples == old.comparison_examples
    code, _, err = run(capsys, "constitution", "export", "harmlessness", "--format", "paper", "--output", folder)
    assert code == 1 and "the file exists" in err


def test_show_prints_what_solon_show_prints(capsys: pytest.CaptureFixture[str]) -> None:
    _, one, _ = run(capsys, "constitution", "show", "testbed")
    _, other, _ = run(capsys, "show", "constitution", "testbed")
    assert one == other and "Revision principles (16)" in one


def test_diff_names_each_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = constitution_path("testbed").read_text(encoding="utf-8")
    (tmp_path / "new.yaml").write_text(text.replace("goes along with wrongdoing", "serves evil"), encoding="utf-8")
    code, out, _ = run(capsys, "constitution", "diff", "testbed", tmp_path / "new.yaml")
    assert code == 0
    assert out.splitlines() == [
        "revision principle general-wrongdoing: changed",
        "  - critique_request: Point out where the assistant's reply goes along with wrongdoing.",
        "  + critique_request: Point out where the assistant's reply serves evil.",
    ]
    assert run(capsys, "constitution", "diff", "testbed", "testbed")[1] == "The two constitutions are the same.\n"


def test_diff_with_a_run_counts_its_calls(
    tmp_path: Path, finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = finished.path / "constitution.yaml"
    code, _, err = run(capsys, "constitution", "diff", "testbed", stored, "--run", finished.path)
    assert code == 1 and f"solon constitution diff {stored} {stored} --run {finished.path}" in err
    first = finished.constitution.revision[0].critique_request
    text = stored.read_text(encoding="utf-8")
    assert first in text
    (tmp_path / "new.yaml").write_text(text.replace(first, "Say it otherwise.", 1), encoding="utf-8")
    code, out, _ = run(capsys, "constitution", "diff", stored, tmp_path / "new.yaml", "--run", finished.path)
    assert code == 0
    assert "critique-revision, critique, step 1" in out and "Trained again: sl-cai" in out
    assert f"solon run NEWRUN --reuse {finished.path} --set constitution={tmp_path / 'new.yaml'}" in out


def test_chains_go_into_a_table_and_out_of_a_run(
    tmp_path: Path, finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "OURS_SLMADISON.jsonl"
    lines.write_text("".join(json.dumps(samples.chain(steps)) + "\n" for steps in (4, 2)), encoding="utf-8")
    code, out, _ = run(capsys, "chains", "import", lines, "--output", tmp_path / "ours.parquet")
    assert code == 0 and "2 chains, 6 steps: ok 6" in out
    rows = pq.read_table(tmp_path / "ours.parquet").to_pylist()
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 1, 2] and rows[0]["critic"] == "OURS_SLMADISON"
    code, out, _ = run(capsys, "chains", "export", finished.path, "--output", tmp_path / "run.jsonl")
    assert code == 0
    chains = read_chains(tmp_path / "run.jsonl")
    assert f"Wrote {len(chains)} chains" in out and len(chains) > 0


def test_reuse_starts_from_the_recipe_of_the_other_run(
    tmp_path: Path, finished: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from solon.cli.run import print_reused
    from solon.pipeline.open_run import open_or_create

    file = Path(finished.recipe.constitution)
    edited = tmp_path / "edited.yaml"
    edited.write_text(file.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    new = open_or_create(tmp_path / "new", None, (), ("rl.steps=7", f"constitution={edited}"), (finished.path,))
    assert (new.recipe.rl.steps, new.recipe.name) == (7, finished.recipe.name)
    assert new.reuses == (finished.path.resolve(),)
    assert open_or_create(new.path, None, (), ()) == new
    assert new.adopt(1, "prompts", {}) is not None
    print_reused(new)
    assert f"From {finished.path.resolve()}: stages prompts; 0 of 0 answers" in capsys.readouterr().out
