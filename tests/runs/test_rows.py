"""Every table's schema as it has always been, and the way from rows to records and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.conversation import Conversation, Role, Turn
from solon.errors import RunError
from solon.runs import evaluation_rows, rows, training_rows
from solon.runs.outcome import Outcome
from solon.runs.records import Reply, from_record, schema_of, to_record
from solon.runs.rows import AxisLabel, Judgement, LabelRow, PromptKind, PromptRow

S, N, F = pa.string(), pa.int64(), pa.float64()
STRINGS = pa.list_(S)
MESSAGES = pa.list_(pa.struct([("role", S), ("content", S)]))
CANDIDATE = pa.struct(
    [("opening", S), ("completion", S), ("finish", S), ("seed", N), ("outcome", S), ("defects", STRINGS)]
)
AXIS = pa.struct(
    [("axis", S), ("weight", F), ("principle_id", S), ("p_a", F), ("p_a_unclamped", F), ("undecided_because", S)]
)
JUDGEMENT = pa.struct(
    [
        ("judge", S), ("axis", S), ("principle_id", S), ("p_a", F), ("log_odds_ab", F), ("log_odds_ba", F),
        ("letter_mass", F), ("votes_ab", pa.list_(N)), ("votes_ba", pa.list_(N)), ("reasoning_ab", STRINGS),
        ("reasoning_ba", STRINGS), ("thinking_ab", STRINGS), ("thinking_ba", STRINGS), ("undecided_because", S),
    ]
)  # fmt: skip
TRAINING = [
    ("step", N), ("epoch", F), ("loss", F), ("learning_rate", F), ("gradient_norm", F), ("rows", N), ("tokens", N),
    ("held_out_loss", F),
]  # fmt: skip
ANSWER = [
    ("model", S), ("kind", S), ("group", S), ("row_id", S), ("prompt", MESSAGES), ("completion", MESSAGES),
    ("thinking", S), ("labels", STRINGS), ("finish", S), ("outcome", S),
]  # fmt: skip
RL = (
    "score", "score_deviation", "score_red_team", "score_helpful", "held_out_score", "reward", "kl", "kl_k3",
    "kl_coefficient", "entropy", "length", "unfinished", "empty", "common_opening", "distinct_trigrams",
    "score_by_length", "explained_variance", "policy_loss", "value_loss", "clip_fraction", "first_ratio_error",
    "policy_gradient_norm", "value_gradient_norm",
)  # fmt: skip
NESTED = pa.list_(pa.list_(pa.list_(F)))
SCHEMAS: dict[type, list[tuple[str, pa.DataType]]] = {
    rows.PromptRow: [
        ("row_id", S), ("kind", S), ("prompt", MESSAGES), ("source", S), ("line", N), ("outcome", S),
    ],
    rows.ReplyRow: [
        ("row_id", S), ("kind", S), ("sample", N), ("prompt", MESSAGES), ("completion", MESSAGES), ("thinking", S),
        ("finish", S), ("seed", N), ("outcome", S), ("defects", STRINGS),
    ],
    rows.RevisionRow: [
        ("row_id", S), ("step", N), ("prompt", MESSAGES), ("before", S), ("principle_id", S), ("critique", S),
        ("critique_thinking", S), ("critique_seed", N), ("critique_finish", S), ("critique_outcome", S),
        ("critique_defects", STRINGS), ("completion", MESSAGES), ("thinking", S), ("finish", S), ("seed", N),
        ("critic", S), ("reviser", S), ("outcome", S), ("defects", STRINGS), ("candidates", pa.list_(CANDIDATE)),
        ("chosen_by", S),
    ],
    training_rows.SftExampleRow: [
        ("row_id", S), ("stage", S), ("step", N), ("sample", N), ("principle_id", S), ("prompt", MESSAGES),
        ("completion", MESSAGES), ("weight", F), ("held_out", pa.bool_()), ("tokens", N),
    ],
    rows.PairRow: [
        ("row_id", S), ("pair", N), ("prompt", MESSAGES), ("kind", S), ("response_a", S), ("response_b", S),
        ("thinking_a", S), ("thinking_b", S), ("seed_a", N), ("seed_b", N), ("finish_a", S), ("finish_b", S),
        ("outcome", S), ("defects", STRINGS),
    ],
    rows.LabelRow: [
        ("row_id", S), ("pair", N), ("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES),
        ("p_chosen", F), ("response_a", S), ("response_b", S), ("p_a", F), ("p_a_unclamped", F), ("log_odds_ab", F),
        ("log_odds_ba", F), ("principle_id", S), ("judge", S), ("axes", pa.list_(AXIS)),
        ("judgements", pa.list_(JUDGEMENT)), ("outcome", S), ("undecided_because", S),
    ],
    training_rows.PreferenceExampleRow: [
        ("row_id", S), ("source", S), ("pair", N), ("line", N), ("principle_id", S), ("prompt", MESSAGES),
        ("chosen", MESSAGES), ("rejected", MESSAGES), ("p_chosen", F), ("weight", F), ("held_out", pa.bool_()),
        ("tokens", N),
    ],
    training_rows.TrainingStepRow: TRAINING,
    training_rows.PreferenceStepRow: [*TRAINING, ("accuracy", F)],
    training_rows.DpoStepRow: [*TRAINING, ("accuracy", F), ("margin", F)],
    training_rows.RlStepRow: [("step", N), *((name, F) for name in RL), ("replies", N), ("policy_updates", N)],
    evaluation_rows.AnswerRow: ANSWER,
    evaluation_rows.SnapshotRow: [("step", N), *ANSWER, ("score", F), ("held_out_score", F)],
    evaluation_rows.AttackRow: [
        ("round", N), ("row_id", S), ("origin", S), ("request", N), ("position", N), ("prompt", MESSAGES),
        ("examples", STRINGS), ("varied_from", STRINGS), ("generation", N), ("completion", MESSAGES), ("thinking", S),
        ("finish", S), ("seed", N), ("score", F), ("own_score", F), ("fails", pa.bool_()), ("labels", STRINGS),
        ("group", S), ("outcome", S), ("defects", STRINGS),
    ],
    evaluation_rows.OrderRow: [
        ("row_id", S), ("pair", N), ("measure", S), ("prompt", MESSAGES), ("better", S), ("worse", S),
        ("score_better", F), ("score_worse", F),
    ],
    rows.RedTeamRow: [
        ("row_id", S), ("request", N), ("position", N), ("prompt", MESSAGES), ("examples", STRINGS), ("finish", S),
        ("seed", N), ("outcome", S), ("defects", STRINGS),
    ],
    evaluation_rows.EvaluationRow: [
        ("line", N), ("correct", N), ("probabilities", pa.list_(F)), ("credit", F), ("rotations", pa.list_(N)),
        ("log_probs", NESTED), ("reasoning", pa.list_(STRINGS)), ("scores", pa.list_(F)), ("outcome", S),
        ("unanswered_because", S),
    ],
}  # fmt: skip
"""The columns of every published table, written out: what other programs read."""


@pytest.mark.parametrize("row", SCHEMAS, ids=lambda row: row.__name__)
def test_the_schema_of_a_row_has_the_published_columns(row: type) -> None:
    assert schema_of(row).equals(pa.schema(SCHEMAS[row]), check_metadata=True)


def test_rows_are_importable_without_arrow() -> None:
    modules = "solon.runs.training_rows, solon.runs.evaluation_rows"
    code = f"import sys, {modules}; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PROMPT = Conversation((Turn(Role.HUMAN, "How?"),))
LABEL = LabelRow(
    row_id="a",
    pair=1,
    prompt=PROMPT,
    chosen="yes",
    rejected="no",
    p_chosen=0.75,
    response_a="no",
    response_b="yes",
    p_a=0.25,
    axes=(AxisLabel(axis="kind", principle_id="p", p_a=0.25),),
    judgements=(Judgement(judge="j", axis="kind", principle_id="p", votes_ab=(1, 8), reasoning_ab=("so",)),),
    outcome=Outcome.OK,
)


def test_a_record_holds_messages_structs_and_the_values_of_enums() -> None:
    record = to_record(LABEL)
    assert list(record) == schema_of(LabelRow).names
    assert record["prompt"] == [{"role": "user", "content": "How?"}]
    assert record["chosen"] == [{"role": "assistant", "content": "yes"}] and record["outcome"] == "ok"
    assert record["axes"][0]["p_a"] == 0.25 and record["judgements"][0]["votes_ab"] == [1, 8]
    assert record["judgements"][0]["votes_ba"] is None and type(record["outcome"]) is str
    assert from_record(LabelRow, record) == LABEL


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
conversations = st.lists(st.builds(Turn, st.sampled_from([Role.HUMAN, Role.ASSISTANT]), texts)).map(
    lambda turns: Conversation(tuple(turns))
)
prompt_rows = st.builds(
    PromptRow,
    row_id=texts,
    kind=st.sampled_from(PromptKind),
    prompt=conversations,
    source=texts,
    line=st.integers(-(2**63), 2**63 - 1),
    outcome=st.sampled_from(Outcome),
)


@given(row=prompt_rows)
def test_any_row_survives_the_way_through_arrow(row: PromptRow) -> None:
    (record,) = pa.Table.from_pylist([to_record(row)], schema=schema_of(PromptRow)).to_pylist()
    assert from_record(PromptRow, record) == row


def test_a_column_that_an_earlier_version_lacked_gets_its_default() -> None:
    record = to_record(LABEL)
    for name in ("axes", "judgements", "p_a_unclamped"):
        del record[name]
    found = from_record(LabelRow, record)
    assert (found.axes, found.judgements, found.p_a_unclamped) == ((), (), None)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"prompt": None}, "a row is missing the column 'prompt'"),
        ({"outcome": "fine"}, "cannot read column 'outcome' of a row: 'fine' is not a valid Outcome"),
        ({"prompt": [{"role": "judge", "content": "x"}]}, "cannot read column 'prompt' of a row: message 1 needs"),
        ({"chosen": []}, "cannot read column 'chosen' of a row"),
        ({"axes": [{"axis": None}]}, "a row is missing the column 'axis'"),
    ],
)
def test_a_record_of_another_form_is_an_error_that_names_place_and_column(change: dict[str, Any], cause: str) -> None:
    with pytest.raises(RunError) as caught:
        from_record(LabelRow, to_record(LABEL) | change, "somewhere")
    assert cause in str(caught.value)


@dataclass(frozen=True, slots=True)
class Figures:
    """Values that only JSON holds."""

    by_name: Mapping[str, AxisLabel]
    free: Mapping[str, Any]


def test_names_with_values_go_to_json_and_to_no_table() -> None:
    figures = Figures({"a": AxisLabel(axis="b")}, {"n": [1, None]})
    record = to_record(figures)
    assert record["by_name"]["a"]["axis"] == "b" and record["free"] == {"n": [1, None]}
    assert from_record(Figures, record) == figures
    with pytest.raises(TypeError, match="not a column type"):
        schema_of(Figures)


@dataclass(frozen=True, slots=True)
class Replied:
    """A reply that may be missing."""

    reply: Reply | None


def test_a_missing_reply_is_null() -> None:
    assert schema_of(Replied).field("reply").type == MESSAGES
    assert to_record(Replied(None)) == {"reply": None} and from_record(Replied, {"reply": None}) == Replied(None)
