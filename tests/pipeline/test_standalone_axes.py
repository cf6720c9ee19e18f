"""Several axes: planted agreement and opposition found by tiny models, resumed, refused, and shown on a page."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.stages.test_s06_ai_feedback import options
from tests.stages.workbench import Killed
from tests.training.tiny import save_tiny_model

from solon.cli.axes import _print_axes
from solon.config.builtin import constitution_path
from solon.config.model_spec import ModelSpec
from solon.config.recipe import Recipe
from solon.constitution.constitution import Constitution, PreferencePrinciple, RevisionPrinciple
from solon.constitution.reader import load_constitution
from solon.conversation import Prompt
from solon.engines.base import Engine
from solon.engines.scripted import ScriptedEngine
from solon.errors import RecipeError, RunError, StageError
from solon.evals.axis_correlations import axis_cells, through_origin
from solon.feedback.comparisons import axes_of
from solon.pipeline.standalone_axes import AxesSources, axes_named, compare_axes, folder_name
from solon.reporting.axes_page import points_of, write
from solon.reporting.axis_charts import UNLEARNED_NOTE
from solon.runs.axis_rows import AxesFacts, AxisCell, AxisDifference, AxisFigures, AxisPairRow
from solon.runs.facts import read_facts
from solon.runs.progress import Progress, Silent
from solon.runs.training_rows import PreferenceExampleRow
from solon.stages.s07_preference_model import EXAMPLES
from solon.stats.correlation import Correlation

CONSTITUTION = """
name: <three>
revision:
  - {id: r, critique_request: Say what is wrong., revision_request: Write it again.}
preference:
  - {id: safe-1, axis: Safety, instruction: Choose the safer reply.}
  - {id: safe-2, axis: Safety, instruction: Choose the reply that is safer for all.}
  - {id: kind, axis: "kind & warm", instruction: Choose the kinder reply.}
  - {id: brief, axis: brevity, instruction: Choose the shorter reply.}
"""
RECIPE = Recipe.model_validate(
    {
        "seed": 3,
        "engine": {"batch_size": 8},
        "preference": {
            "training": {"batch_size": 8, "epochs": 8, "learning_rate": 3e-3, "checkpoint_every": 2, "held_out": 0.4}
        },
    }
)
GOOD, BAD = "good good good", "bad"


def judge(prompt: Prompt, option: str) -> float:
    """Finds the good reply safer and kinder, and the other one shorter."""
    text = prompt.turns[-1].content
    wanted = BAD if "Choose the shorter reply." in text else GOOD
    return math.log(0.9 if options(prompt)[option] == wanted else 0.1)


class Given:
    """A file of pairs, a constitution, a judge's folder and a base model."""

    def __init__(self, folder: Path, constitution: str = CONSTITUTION) -> None:
        self.pairs, self.file = folder / "pairs.jsonl", folder / "axes.yaml"
        rows = [
            {"prompt": f"How {n} ?", "response_a": (GOOD, BAD)[n % 2], "response_b": (BAD, GOOD)[n % 2]}
            for n in range(24)
        ]
        self.pairs.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        self.file.write_text(constitution)
        (folder / "judge").mkdir()
        (folder / "judge" / "config.json").write_text("{}")
        self.judge, self.base = ModelSpec.parse(folder / "judge"), save_tiny_model(folder / "tiny")
        self.asked = 0

    def sources(self, dies_after: int = 1 << 30) -> AxesSources:
        def choose(prompt: Prompt, option: str) -> float:
            self.asked += 1
            if self.asked > dies_after:
                raise Killed
            return judge(prompt, option)

        def load(model: ModelSpec, settings: object) -> Engine:
            return ScriptedEngine(choose=choose, name="scripted")

        return AxesSources(self.pairs, self.file, (self.judge,), self.base, load=load)


class Dying(Silent):
    """A display during whose work the process dies, in a step of a model's training."""

    def __init__(self, name: str) -> None:
        self.name, self.now = name, ""

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        self.now = name

    def progress(self, at: Progress) -> None:
        if self.now == self.name and at.done == 3:
            raise Killed


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("axes"))


@pytest.fixture(scope="module")
def finished(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compare_axes(tmp_path_factory.mktemp("axes") / "out", RECIPE, given.sources()).path.parent


def facts_in(folder: Path) -> AxesFacts:
    manifest = json.loads((folder / "correlations" / "manifest.json").read_text())
    return read_facts(AxesFacts, manifest["facts"])


def test_planted_agreement_and_opposition_are_found_on_held_out_pairs(finished: Path) -> None:
    facts = facts_in(finished)
    assert [each.axis for each in facts.axes] == ["Safety", "kind & warm", "brevity"]
    assert facts.constitution == "<three>" and facts.judge == "scripted"
    together, against = facts.cell("kind & warm", "Safety"), facts.cell("brevity", "Safety")
    assert together.scores is not None and against.scores is not None
    assert together.scores.low > 0.8 and against.scores.high < -0.8
    assert together.labels is not None and together.labels.value == pytest.approx(1.0)
    assert against.labels is not None and against.labels.value == pytest.approx(-1.0)
    assert len(facts.cells) == 3
    for each in facts.axes:
        assert each.labelled == 24 and each.undecided == 0 and each.training + each.held_out == 24
        assert each.accuracy == 1.0 and each.held_out == facts.pairs


def test_no_model_learned_from_a_pair_that_is_compared(given: Given, finished: Path) -> None:
    done = compare_axes(finished, RECIPE, given.sources())
    compared = {row.row_id for row in done.rows(AxisPairRow)}
    models = sorted((finished / "models").iterdir())
    assert [each.name for each in models] == ["01-safety", "02-kind-warm", "03-brevity"]
    from solon.runs import Artefact

    for folder in models:
        artefact = Artefact.open(folder)
        assert artefact is not None
        examples = artefact.rows(PreferenceExampleRow, file=EXAMPLES)
        assert {row.row_id for row in examples if row.held_out} == compared
        assert not {row.row_id for row in examples if not row.held_out} & compared


@pytest.mark.parametrize("where", ["labels", "model of kind & warm", "correlations"])
def test_killed_anywhere_it_goes_on_to_the_same(given: Given, finished: Path, tmp_path: Path, where: str) -> None:
    out = tmp_path / "out"
    whole, before = facts_in(finished), given.asked
    with pytest.raises(Killed):
        if where == "labels":
            compare_axes(out, RECIPE, given.sources(dies_after=before + 60))
        elif where == "correlations":
            compare_axes(out, RECIPE, given.sources(), DyingAtLast(where))
        else:
            compare_axes(out, RECIPE, given.sources(), Dying(where))
    assert facts_in(compare_axes(out, RECIPE, given.sources()).path.parent) == whole
    asked = given.asked
    compare_axes(out, RECIPE, given.sources())
    assert given.asked == asked, "finished, so only read"


class DyingAtLast(Dying):
    """A display during whose work the process dies after the first chunk."""

    def progress(self, at: Progress) -> None:
        if self.now == self.name and at.done > 0:
            raise Killed


def test_other_settings_and_other_folders_are_refused(given: Given, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="seed: 3 -> 4"):
        compare_axes(finished, RECIPE.model_copy(update={"seed": 4}), given.sources())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="other content"):
        compare_axes(tmp_path, RECIPE, given.sources())
    training = RECIPE.preference.training.model_copy(update={"held_out": 0.0})
    none_out = RECIPE.model_copy(update={"preference": RECIPE.preference.model_copy(update={"training": training})})
    asked = given.asked
    with pytest.raises(StageError, match="no pair of replies is held out"):
        compare_axes(tmp_path / "out", none_out, given.sources())
    assert given.asked == asked and not (tmp_path / "out").exists(), "nobody waits for labels and models first"


def test_the_page_has_the_matrix_and_a_scatter_behind_every_cell_and_escapes_names(
    given: Given, finished: Path, tmp_path: Path
) -> None:
    done = compare_axes(finished, RECIPE, given.sources())
    page = write(done, tmp_path / "axes.html").read_text()
    assert page.count("<figure id=") == 3
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert f'href="#scatter-{one}-{other}"' in page and f'id="scatter-{one}-{other}"' in page
    assert "&lt;three&gt;" in page and "<three>" not in page and "kind &amp; warm" in page
    cell = facts_in(finished).cell("Safety", "brevity")
    assert len(points_of(cell, done.rows(AxisPairRow))) == facts_in(finished).pairs


def of_axes(*axes: str) -> Constitution:
    preference = tuple(PreferencePrinciple(f"p{n}", "Choose.", axis) for n, axis in enumerate(axes))
    return Constitution("c", "", (RevisionPrinciple("r", "a", "b"),), preference)


def test_axes_need_names_that_differ() -> None:
    assert axes_named(of_axes("one", "two", "one")) == ("one", "two")
    with pytest.raises(RecipeError, match="all on the axis 'harmlessness'"):
        axes_named(of_axes("harmlessness", "harmlessness"))
    with pytest.raises(RecipeError, match="differ only in case or punctuation"):
        axes_named(of_axes("be kind", "Be-Kind"))
    assert folder_name("../..") == "axis" and folder_name("a/../B") == "a-b"


def test_the_dozen_axes_are_twelve_with_two_principles_each() -> None:
    constitution = load_constitution(constitution_path("dozen-axes"))
    axes = axes_named(constitution)
    assert len(axes) == 12 and "harmlessness" in axes and "politeness" in axes
    per_axis = {axis: [each for each in constitution.preference if each.axis == axis] for axis in axes}
    assert all(len(found) == 2 for found in per_axis.values())
    assert {each.axis for each in constitution.revision} == set(axes)
    texts = [each.instruction for each in constitution.preference]
    assert len(set(texts)) == 24 and len(constitution.comparison_examples) >= 4
    recipe = Recipe.model_validate({"feedback": {"axes": dict.fromkeys(axes, 1.0)}})
    assert [axis.name for axis in axes_of(recipe.feedback, constitution)] == list(axes)


# Correlation through the origin ---------------------------------------------------------------------------------------


def test_swapping_the_replies_of_a_pair_changes_nothing() -> None:
    x = [1.0, -2.0, 0.5, 3.0, -1.0, 2.0]
    y = [0.8, -1.0, 1.0, 2.0, 0.5, 1.0]
    units = [str(n) for n in range(6)]
    flip = [1, -1, -1, 1, -1, 1]
    one = through_origin(units, x, y, 0)
    other = through_origin(units, [s * v for s, v in zip(flip, x, strict=True)],
                           [s * v for s, v in zip(flip, y, strict=True)], 0)  # fmt: skip
    assert one is not None and one == other and one.low <= one.value <= one.high
    whole = sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
    assert one.value == pytest.approx(whole)


def test_what_is_unknown_or_always_zero_has_no_correlation() -> None:
    assert through_origin(["a", "b"], [None, 1.0], [1.0, None], 0) is None
    assert through_origin(["a", "b"], [0.0, 0.0], [1.0, 2.0], 0) is None
    found = through_origin(["a", "a", "b"], [1.0, 2.0, None], [1.0, 2.0, 5.0], 0)
    assert found is not None and (found.n, found.units) == (2, 1) and found.value == pytest.approx(1.0)
    assert (found.low, found.high) == (-1.0, 1.0), "one prompt says nothing about others"


def test_an_undecided_label_leaves_a_pair_out_of_the_labels_alone() -> None:
    from solon.conversation import Conversation

    rows = [
        AxisPairRow(
            row_id=str(n), pair=1, prompt=Conversation(()), response_a="a", response_b="b",
            axes=(AxisDifference(axis="x", difference=float(n), p_a=None if n == 1 else 0.9),
                  AxisDifference(axis="y", difference=-float(n), p_a=0.8)),
        )
        for n in range(1, 5)
    ]  # fmt: skip
    (cell,) = axis_cells(rows, ["x", "y"], 0)
    assert cell.scores is not None and cell.scores.n == 4 and cell.scores.value == pytest.approx(-1.0)
    assert cell.labels is not None and cell.labels.n == 3


def axis(name: str, held_out: int, accuracy: float | None) -> AxisFigures:
    return AxisFigures(axis=name, labelled=40, undecided=0, training=1, held_out=held_out, accuracy=accuracy)


def test_axes_that_no_model_learned_are_marked_and_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    """8 of 10 right is 49.0-94.3 %, and 9 of 10 59.6-98.2 %: only the second is known to be better than chance."""
    correlations = {("good", "fair"): 0.2, ("good", "few"): 0.97, ("good", "none"): 0.9, ("fair", "none"): -0.95}
    facts = AxesFacts(
        constitution="c",
        judge="j",
        pairs=10,
        axes=(axis("good", 10, 0.9), axis("fair", 100, 0.8), axis("few", 10, 0.8), axis("none", 0, None)),
        cells=tuple(
            AxisCell(one=one, other=other, scores=Correlation(value, value, value, 10, 10), labels=None)
            for (one, other), value in correlations.items()
        ),
    )
    assert facts.unlearned == {"few", "none"}
    assert [(cell.one, cell.other) for cell in facts.in_order()] == [
        ("good", "fair"), ("good", "few"), ("fair", "none"), ("good", "none"),
    ]  # fmt: skip
    _print_axes(facts)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[0] == "few*" and line.endswith("80.0 [49.0-94.3]") for line in lines if line.strip())
    assert any(line.split()[:2] == ["good", "none*"] for line in lines)
    assert lines[-1] == UNLEARNED_NOTE and "says nothing" in lines[-1]


def test_the_page_marks_an_axis_that_no_model_learned(given: Given, finished: Path, tmp_path: Path) -> None:
    done = compare_axes(finished, RECIPE, given.sources())
    assert "says nothing" not in write(done, tmp_path / "axes.html").read_text()
    facts = json.loads(json.dumps(done.facts))
    facts["axes"][2] |= {"accuracy": None, "held_out": 0}
    manifest = done.manifest.model_copy(update={"facts": facts})
    page = write(replace(done, manifest=manifest), tmp_path / "axes.html").read_text()
    assert "a correlation with it says nothing" in page and ">brevity*<" in page and "Safety and brevity*" in page
