"""The public names of `solon`: what they are called, what they take, that they cost nothing, and that they work."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import solon
from solon import api
from solon.engines.scripted import ScriptedEngine
from solon.errors import ConstitutionError, InputError, RecipeError, RunError
from solon.runs.outcome import Outcome
from tests.synthetic import Plan, build

SIGNATURES = {
    "run": "(recipe: 'Recipe | str | Path | None', folder: 'str | Path', *, overlays: 'Sequence[str | Path]' = (), "
    "settings: 'Sequence[str]' = (), until: 'str | None' = None, reuse: 'Sequence[Run | str | Path]' = (), "
    "display: 'Display | None' = None, on: 'RayCluster | None' = None) -> 'Run'",
    "resume": "(folder: 'Run | str | Path', *, until: 'str | None' = None, display: 'Display | None' = None) -> 'Run'",
    "open_run": "(folder: 'Run | str | Path') -> 'Run'",
    "load_recipe": "(name: 'str | Path', overlays: 'Sequence[str | Path]' = (), settings: 'Sequence[str]' = ()) "
    "-> 'Recipe'",
    "load_constitution": "(name: 'str | Path') -> 'Constitution'",
    "check_constitution": "(name: 'str | Path', recipe: 'Recipe | str | Path | None' = None) -> 'ConstitutionCheck'",
    "critique_and_revise": "(model: 'Engine | str | Path', prompts: 'Conversation | str | Sequence[Conversation | "
    "str]', constitution: 'Constitution | str | Path', *, steps: 'int' = 4, mode: 'RevisionMode | str' = 'critiqued', "
    "few_shot: 'int' = 0, sampling: 'SamplingParams | None' = None, seed: 'int' = 0) -> 'list[RevisionChain]'",
    "label": "(pairs: 'str | Path | Sequence[ReplyPair]', constitution: 'str | Path | None' = None, judge: 'str | "
    "Path | Sequence[str | Path] | None' = None, *, out: 'str | Path', recipe: 'Recipe | str | Path' = 'testbed', "
    "columns: 'Mapping[str, str] | None' = None, display: 'Display | None' = None, on: 'RayCluster | None' = None) "
    "-> 'LabelledPairs'",
    "train_preference_model": "(labels: 'LabelledPairs | Run | str | Path | Sequence[LabelledPairs | Run | str | "
    "Path]', base: 'str | Path', out: 'str | Path', *, human: 'str | Path | None' = None, recipe: 'Recipe | str | "
    "Path | None' = None, display: 'Display | None' = None) -> 'PreferenceTraining'",
    "evaluate": "(model: 'str | Path', files: 'str | Path | Sequence[str | Path]', settings: 'EvaluationSettings | "
    "None' = None, *, out: 'str | Path | None' = None, display: 'Display | None' = None, on: 'RayCluster | None' = "
    "None) -> 'Evaluation'",
    "judge_check": "(model: 'Engine | str | Path', *, recipe: 'Recipe | str | Path | None' = None) -> 'ModelCheck'",
    "compare": "(runs: 'Run | str | Path | Mapping[str, Run | str | Path]', between: 'Sequence[tuple[str, str]] | "
    "None' = None) -> 'ModelComparison'",
    "report": "(run: 'Run | str | Path', output: 'str | Path | None' = None) -> 'Path'",
}
METHODS = {
    "Run": {"path", "recipe", "constitution", "finished", "results", "report", "artefact", "rows", "model"},
    "PreferenceModel": {"load", "name", "score", "prefers", "score_file"},
}
HEAVY = ("torch", "transformers", "pydantic", "yaml", "pyarrow", "numpy", "scipy", "click", "rich", "jinja2")


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_kept(name: str) -> None:
    """A change here is a change of the public interface, and belongs into the change log."""
    assert str(inspect.signature(getattr(solon, name))) == SIGNATURES[name]


def test_every_public_name_is_there_and_documented_with_an_example() -> None:
    assert sorted(solon.__all__) == solon.__all__
    assert set(SIGNATURES) <= set(solon.__all__) <= set(dir(solon))
    for name in solon.__all__:
        found = getattr(solon, name)
        assert found.__doc__, name
        if name in SIGNATURES:
            assert "Example:\n" in found.__doc__ and ">>> " in found.__doc__, name
    for kind, methods in METHODS.items():
        assert methods <= {name for name in dir(getattr(solon, kind)) if not name.startswith("_")}
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        _ = solon.frobnicate  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", ["import solon; dir(solon)", "import solon; solon.run, solon.compare, solon.Turn"])
def test_importing_it_loads_nothing_heavy(line: str) -> None:
    check = f"{line}; import sys; print(*[each for each in {HEAVY!r} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_functions_are_still_functions_once_everything_is_imported() -> None:
    """A subpackage that is called like a function would take its place."""
    import solon.cli.main
    import solon.pipeline.run_stages

    assert [name for name in SIGNATURES if not callable(getattr(solon, name))] == []


def test_a_run_is_opened_read_and_reported(tmp_path: Path) -> None:
    folder = build(tmp_path / "run", Plan(red=4, held_out=8)).path
    run = solon.open_run(folder)
    assert run.finished[0] == "prompts" and run.finished[-1] == "measure"
    assert run.results()["models"]["assistant"]["harmful"]["n"] == 8
    assert {row["model"] for row in run.rows("measure")} == {"pretrained", "assistant", "sl-cai", "rl-cai"}
    assert run.artefact("prompts").manifest.rows == len(run.rows("prompts"))
    assert api.report(run) == folder / "report.html"
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert run.report(tmp_path / "elsewhere.html").exists()
    found = solon.compare(folder, [("sl-cai", "rl-cai")])
    assert found.difference("harmful", "sl-cai", "rl-cai").n == 8
    with pytest.raises(RunError, match="no stage 'mesure' is finished") as error:
        run.artefact("mesure")
    assert "measure" in error.value.remedy


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda at: solon.open_run(at / "none"), RunError, "no such run"),
        (lambda at: solon.resume(at / "none"), RunError, "no such run"),
        (lambda at: solon.run("testbed", at / "r", settings=["rl.stepps=2"]), RecipeError, "unknown setting"),
        (lambda at: solon.run("testbed", at / "r", until="sl-cay"), RecipeError, "no such stage"),
        (lambda at: solon.run(solon.load_recipe("testbed"), at / "r", settings=["seed=1"]), RecipeError, "loaded"),
        (lambda at: solon.load_constitution("harmlesness"), ConstitutionError, "no such constitution"),
        (lambda at: solon.critique_and_revise("testbed:assistant", " ", "testbed"), InputError, "no human turn"),
        (lambda at: solon.critique_and_revise("testbed:assistant", "Hi", "testbed", few_shot=99), RecipeError, "99"),
        (lambda at: solon.label(at / "none.jsonl", out=at / "l"), InputError, "no such"),
        (lambda at: solon.evaluate("testbed:assistant", at / "none.jsonl"), InputError, "no such"),
    ],
)
def test_mistakes_are_kinds_of_error_and_leave_nothing_behind(
    tmp_path: Path, call: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_chain_keeps_every_step_with_its_outcome() -> None:
    """The checks are the stage's: a critique that is cut off gives no revision, and the reply stays as it was."""
    texts = iter(
        [
            "Sure, wait until nobody is near and take the letters.",
            "The reply helps with reading letters that belong to somebody else.",
            "I would rather not, since letters are private. Why not ask your neighbour?",
            "",
        ]
    )
    engine = ScriptedEngine(lambda prompt, seed: next(texts))
    [chain] = solon.critique_and_revise(engine, "How do I read my neighbour's letters?", "harmlessness", steps=2)
    first, second = chain.steps
    assert (first.outcome, second.critique_outcome, second.outcome) == (Outcome.OK, Outcome.EMPTY, Outcome.EMPTY)
    assert first.critique is not None and first.critique.startswith("The reply helps") and second.revision == ""
    assert chain.final == first.revision and chain.reply.startswith("Sure")
    ids = {principle.id for principle in solon.load_constitution("harmlessness").revision}
    assert {first.principle_id, second.principle_id} <= ids


def test_chains_come_in_the_order_of_the_prompts_and_a_failed_reply_has_no_step() -> None:
    engine = ScriptedEngine(lambda prompt, seed: "" if "two" in prompt.turns[-1].content else "A plain reply to that.")
    chains = solon.critique_and_revise(engine, ["one?", "two?", "one?"], "testbed", steps=1, mode="direct")
    assert [chain.prompt.turns[-1].content for chain in chains] == ["one?", "two?", "one?"]
    assert (chains[1].reply_outcome, chains[1].steps) == (Outcome.EMPTY, ())
    assert chains[0].steps[0].critique is None
    only_failed = solon.critique_and_revise(engine, "two?", "testbed", steps=1)
    assert only_failed[0].steps == () and only_failed[0].final == ""
