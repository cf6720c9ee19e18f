"""The measure stage on a planned run: exact counts, resume, failed answers, no rater."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.row_types import filled
from tests.synthetic import FirstWordRater, Plan, PlannedEngine, build, measure_inputs, replies_of

from solon.conversation import Conversation
from solon.digest import seed_for
from solon.engines.base import Finish
from solon.errors import StageError
from solon.evals.grading import RATINGS
from solon.evals.measures import group_facts
from solon.runs import RunDirectory
from solon.runs.evaluation_rows import AnswerRow
from solon.runs.rows import PromptKind
from solon.stages import s09_measure
from solon.stages.plan import MEASURE
from solon.stages.stage import Work

PLAN = Plan(red=20, held_out=20, stages=8)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return build(tmp_path / "run", PLAN)


def engines(run: RunDirectory, opened: list[str] | None = None):  # type: ignore[no-untyped-def]
    def open_engine(name: str) -> PlannedEngine:
        if opened is not None:
            opened.append(name)
        return PlannedEngine(replies_of(run, PLAN, name))

    return open_engine


def test_shares_are_what_was_planned(run: RunDirectory) -> None:
    out = run.begin(9, "measure", {})
    artefact = s09_measure.run(run.recipe.measure, measure_inputs(run), engines(run), out, FirstWordRater())
    models = artefact.facts["models"]
    assert models["assistant"]["harmful"]["value"] == pytest.approx(0.95)
    assert models["sl-cai"]["harmful"]["value"] == pytest.approx(0.40)
    assert models["sl-cai"]["objecting"]["value"] == pytest.approx(0.55), "a preachy reply objects as well"
    assert models["sl-cai"]["preachy"]["value"] == pytest.approx(0.10)
    assert models["rl-cai"]["harmful"]["value"] == pytest.approx(0.05)
    assert models["rl-cai"]["helpful"]["value"] == pytest.approx(0.90)
    assert models["rl-cai"]["harmful"]["n"] == models["rl-cai"]["helpful"]["n"] == 20
    assert [artefact.facts["revisions"][step]["harmful"]["value"] for step in "013"] == pytest.approx([0.95, 0.5, 0.15])
    # One revision of step 2 was cut off; it is no reply, so the share is over the other 19.
    assert artefact.facts["revisions"]["2"]["harmful"]["n"] == 19
    assert artefact.facts["revisions"]["2"]["harmful"]["value"] == pytest.approx(4 / 19)


def test_rows_hold_every_answer_with_its_labels(run: RunDirectory) -> None:
    out = run.begin(9, "measure", {})
    artefact = s09_measure.run(
        run.recipe.measure, measure_inputs(run, ("rl-cai",)), engines(run), out, FirstWordRater()
    )
    rows = artefact.table().to_pylist()
    assert len(rows) == 40
    assert {row["kind"] for row in rows} == {"held_out_harmful", "held_out_benign"}
    assert sum("objecting" in row["labels"] for row in rows) == 19
    assert (artefact.path / RATINGS).is_file()
    assert RATINGS in artefact.manifest.files


def test_one_engine_is_open_at_a_time_and_in_order(run: RunDirectory) -> None:
    opened: list[str] = []
    out = run.begin(9, "measure", {})
    s09_measure.run(run.recipe.measure, measure_inputs(run), engines(run, opened), out, FirstWordRater())
    assert opened == ["pretrained", "assistant", "sl-cai", "rl-cai"]


def test_a_stopped_stage_asks_only_for_what_is_left(run: RunDirectory) -> None:
    def dies(name: str) -> PlannedEngine:
        if name == "sl-cai":
            raise KeyboardInterrupt
        return PlannedEngine(replies_of(run, PLAN, name))

    with pytest.raises(KeyboardInterrupt):
        s09_measure.run(run.recipe.measure, measure_inputs(run), dies, run.begin(9, "measure", {}), FirstWordRater())
    opened: list[str] = []
    out = run.begin(9, "measure", {})
    artefact = s09_measure.run(run.recipe.measure, measure_inputs(run), engines(run, opened), out, FirstWordRater())
    assert opened == ["sl-cai", "rl-cai"]
    assert artefact.manifest.rows == 160


def test_failed_answers_are_kept_and_not_measured(run: RunDirectory) -> None:
    replies = replies_of(run, PLAN, "rl-cai")
    harmful = [key for key, text in replies.items() if text.startswith("Sure")]
    empty, long = [key for key, text in replies.items() if text.startswith("Happily")][:2]
    replies |= {harmful[0]: "<error>", empty: "", long: "Happily and on<length>"}
    inputs, out = measure_inputs(run, ("rl-cai",)), run.begin(9, "measure", {})
    artefact = s09_measure.run(run.recipe.measure, inputs, lambda name: PlannedEngine(replies), out, FirstWordRater())
    facts = artefact.facts["models"]["rl-cai"]
    assert artefact.manifest.outcomes == {"ok": 37, "empty": 1, "truncated": 1, "provider_error": 1}
    assert (facts["harmful"]["value"], facts["harmful"]["n"]) == (0.0, 19)
    assert facts["helpful"]["n"] == 20
    assert facts["finished"]["value"] == pytest.approx(38 / 39)
    assert facts["empty"]["value"] == pytest.approx(1 / 39)


def test_without_a_rater_only_form_is_told(run: RunDirectory) -> None:
    out = run.begin(9, "measure", {})
    artefact = s09_measure.run(run.recipe.measure, measure_inputs(run), engines(run), out)
    assert artefact.facts["grader"] is None
    assert set(artefact.facts["models"]["rl-cai"]) == {
        "finished", "empty", "words", "evasive_by_rule", "evasive_by_rule_on_benign",
        "declining_by_rule_on_benign", "repetition", "distinct_2",
    }  # fmt: skip
    assert set(artefact.manifest.files) == {"rows.parquet", RATINGS}
    assert "revisions" not in artefact.facts
    assert "preference_model" not in artefact.facts
    assert artefact.facts["labels"]["agreement"] is None
    assert artefact.facts["labels"]["pairs"] == 20


def test_labels_and_preference_model_are_checked_against_the_known_order(run: RunDirectory) -> None:
    out = run.begin(9, "measure", {})
    artefact = s09_measure.run(run.recipe.measure, measure_inputs(run), engines(run), out, FirstWordRater())
    labels = artefact.facts["labels"]
    # Of 20 pairs, 15 have exactly one harmful reply, and all have labels.
    assert labels["known_order"] == 15
    assert labels["agreement"]["n"] == 15
    assert labels["first_shown_log_odds"]["value"] == pytest.approx(0.2)
    # The scorer of the fixture likes what objects with an offer; so it is right on every labelled pair.
    assert artefact.facts["preference_model"]["labelled_pairs"]["value"] == 1.0
    assert artefact.facts["preference_model"]["held_out_benign"]["value"] == 1.0


def test_every_model_draws_with_the_same_seeds(run: RunDirectory) -> None:
    seen: dict[str, list[int]] = {}

    class Noting(PlannedEngine):
        def generate(self, prompts, seeds, sampling, stop=()):  # type: ignore[no-untyped-def]
            seen.setdefault(self.name, []).extend(seeds)
            return super().generate(prompts, seeds, sampling, stop)

    out = run.begin(9, "measure", {})
    inputs = measure_inputs(run, ("assistant", "rl-cai"))
    s09_measure.run(run.recipe.measure, inputs, lambda name: Noting(replies_of(run, PLAN, name), name), out)
    assert seen["assistant"] == seen["rl-cai"]
    first = next(row for row in inputs.prompts.table().to_pylist() if row["kind"] == "held_out_harmful")
    assert seen["assistant"][0] == seed_for(run.recipe.seed, "measure", first["row_id"], 0)


def test_a_limit_takes_the_first_prompts_of_each_kind(run: RunDirectory) -> None:
    settings = run.recipe.measure.model_copy(update={"limit": 3})
    out = run.begin(9, "measure", {})
    artefact = s09_measure.run(settings, measure_inputs(run, ("rl-cai",)), engines(run), out, FirstWordRater())
    assert artefact.facts["models"]["rl-cai"]["harmful"]["n"] == 3
    assert artefact.manifest.rows == 6


def test_harmful_replies_are_told_apart_by_group() -> None:
    rows = [
        filled(AnswerRow, {"kind": "held_out_harmful", "group": group, "labels": labels, "finish": finish})
        for group, labels, finish in [
            ("theft", ["harmful"], "end"),
            ("theft", ["objecting"], "end"),
            ("fraud", ["harmful"], "end"),
            ("fraud", ["harmful"], Finish.ERROR),
            (None, ["harmful"], "end"),
        ]
    ]
    found = group_facts([*rows, replace(rows[0], kind=PromptKind.HELD_OUT_BENIGN)])
    assert {group: (share["value"], share["n"]) for group, share in found.items()} == {
        "fraud": (1.0, 1),
        "theft": (0.5, 2),
    }


class KnowsQuick(FirstWordRater):
    """A grader that knows prompts with some words only."""

    def __init__(self, words: str) -> None:
        self.words = words

    def knows(self, conversation: Conversation) -> bool:
        """Whether the last turn holds the words."""
        return self.words in conversation.turns[-1].content


def test_held_out_prompts_unknown_to_the_grader_are_refused_before_a_model_answers(run: RunDirectory) -> None:
    """As where a run of another grader is reused, whose prompts were read without this one."""
    opened: list[str] = []
    out = run.begin(9, "measure", {})
    with pytest.raises(StageError, match="does not know 40 of the 40 held-out prompts") as error:
        s09_measure.run(run.recipe.measure, measure_inputs(run), engines(run, opened), out, KnowsQuick("no such words"))
    assert opened == [] and error.value.place == "testbed:held_out_harmful:1"


def test_revisions_and_pairs_of_unknown_prompts_are_left_out(run: RunDirectory) -> None:
    """The planned held-out prompts end with words that no red-team prompt has."""
    out = run.begin(9, "measure", {})
    artefact = s09_measure.run(run.recipe.measure, measure_inputs(run), engines(run), out, KnowsQuick("Be quick."))
    assert artefact.facts["models"]["assistant"]["harmful"]["value"] == pytest.approx(0.95)
    assert artefact.facts["revisions"] == {} and (artefact.path / RATINGS).read_text(encoding="utf-8") == ""
    assert artefact.facts["labels"]["known_order"] == 0
    assert "labelled_pairs" not in artefact.facts["preference_model"]


class Measured(SimpleNamespace):
    """The work of the stage on a planned run, noting in `loaded` which models are loaded, in order."""

    def __init__(self, run: RunDirectory, grader: FirstWordRater | None) -> None:
        settings = run.recipe.measure.model_copy(update={"grader": "none"})
        recipe = run.recipe.model_copy(update={"measure": settings})
        super().__init__(planned=run, recipe=recipe, grader=grader, loaded=[], pretrained="pretrained")
        self.assistant = "assistant"

    def artefact(self, name: str) -> Any:
        """See `Work`."""
        return self.planned.finished(name)

    def policy(self, name: str) -> str:
        """See `Work`."""
        return name

    trained = policy

    def engine(self, model: object) -> PlannedEngine:
        """See `Work`."""
        self.loaded.append(str(model))
        return PlannedEngine(replies_of(self.planned, PLAN, str(model)))

    def scorer(self, folder: str) -> Callable[[Sequence[Conversation]], list[float]]:
        """See `Work`."""
        self.loaded.append(folder)
        return lambda conversations: [0.0] * len(conversations)


@pytest.mark.parametrize("graded", [False, True])
def test_the_preference_model_is_loaded_after_the_replies_and_only_for_a_grader(
    run: RunDirectory, graded: bool
) -> None:
    work = Measured(run, FirstWordRater() if graded else None)
    artefact = s09_measure.MeasureModels(MEASURE).run(cast(Work, work), run.begin(9, "measure", {}))
    scored = ["preference-model"] if graded else []
    assert work.loaded == ["pretrained", "assistant", "sl-cai", "rl-cai", *scored]
    assert ("preference_model" in artefact.facts) == graded
