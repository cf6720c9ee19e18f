"""Stage 09-measure: every model answers prompts that no training stage saw, and a rater says what the replies are.

On harmful prompts the shares of harmful, evasive, objecting, preachy and garbled replies are taken, on benign prompts
the share of helpful ones, all with 95 % intervals (the paper asks crowdworkers, section 4.4; here the rater is handed
in from above). The rater also reads what earlier stages wrote: the assistant's replies (revision 0) and each revision,
which gives harmfulness by revision step (paper, figure 5), and the pairs that the judge labelled, which tells how far the
labels agree with the truth. Without a rater the form of the replies is measured and nothing is said about effect.
All models draw with the same seed on the same prompt, so that a difference between models is not a difference in luck.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from solon import wording
from solon.conversation import Conversation, conversation_of
from solon.digest import seed_for
from solon.engines.base import Completion, Engine, Finish, Sampling
from solon.evals.intervals import mean, share, wilson
from solon.evals.judging import JudgedPair, label_facts
from solon.evals.measure_names import BENIGN, HARMFUL, RATINGS
from solon.evals.rating import BENIGN_PROMPT_MEASURES, HARMFUL_PROMPT_MEASURES, Label, Rater
from solon.outcome import Outcome
from solon.recipe import MeasureSettings
from solon.runs import Artefact, Row, StageFolder

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("kind", pa.string()),
        ("row_id", pa.string()),
        ("prompt", MESSAGES),
        ("completion", MESSAGES),
        ("labels", pa.list_(pa.string())),
        ("finish", pa.string()),
        ("outcome", pa.string()),
    ]
)

OpenEngine = Callable[[str], Engine]
"""Loads a model by its name in the results; what it returns is dropped before the next is asked for."""
Score = Callable[[Sequence[Conversation]], Sequence[float]]
"""The preference model: a number per conversation that ends on a reply, higher is better."""


@dataclass(frozen=True, slots=True)
class MeasureInputs:
    """What is measured: the models by name, in the order of training, and the tables of earlier stages."""

    seed: int
    models: tuple[str, ...]
    prompts: Artefact
    responses: Artefact | None = None
    revisions: Artefact | None = None
    feedback: Artefact | None = None
    score: Score | None = None
    chunk: int = 128
    """Prompts asked, and made durable, at once."""


def run(
    settings: MeasureSettings,
    inputs: MeasureInputs,
    open_engine: OpenEngine,
    out: StageFolder,
    rater: Rater | None = None,
) -> Artefact:
    """Answer, rate and publish; the facts hold every share by model, revision step, label and preference model."""
    prompts = _held_out(inputs.prompts.rows(), settings.limit)
    answers = [row for name in inputs.models for row in _answer(settings, inputs, prompts, name, open_engine, out)]
    for row in answers:
        row["labels"] = _labels(rater, row["prompt"], _text(row)) if row["finish"] != Finish.ERROR else []
    revisions = list(_rate_revisions(rater, inputs))
    pairs = list(_rate_pairs(rater, inputs))
    facts: dict[str, Any] = {
        "rater": settings.rater.value if rater is not None else None,
        "models": {
            name: model_facts([row for row in answers if row["model"] == name], rated=rater is not None)
            for name in inputs.models
        },
    }
    if revisions:
        facts["revisions"] = _revision_facts(revisions)
    if inputs.feedback is not None:
        facts["labels"] = label_facts(_judged(inputs.feedback.rows(), pairs))
    if inputs.score is not None and rater is not None:
        facts["preference_model"] = _preference_facts(inputs, answers, pairs)
    lines = [json.dumps(rating, sort_keys=True) for rating in (*revisions, *pairs)]
    (out.path / RATINGS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return out.publish(answers, SCHEMA, facts=facts, files=(RATINGS,))


def _held_out(rows: Iterable[Row], limit: int | None) -> list[Row]:
    """The held-out prompts that are fit to be asked, at most `limit` of each kind."""
    kept: dict[str, list[Row]] = {HARMFUL: [], BENIGN: []}
    for row in rows:
        if row["kind"] in kept and row["outcome"] == Outcome.OK:
            kept[row["kind"]].append(row)
    return [row for kind in kept.values() for row in kind[:limit]]


def _answer(
    settings: MeasureSettings,
    inputs: MeasureInputs,
    prompts: Sequence[Row],
    name: str,
    open_engine: OpenEngine,
    out: StageFolder,
) -> list[Row]:
    """One reply of model `name` to each prompt; the model is loaded only when something is left to ask."""
    engines: list[Engine] = []

    def work(rows: Sequence[Row]) -> list[Row]:
        if not engines:
            engines.append(open_engine(name))
        engine = engines[0]
        drawing = settings.drawing
        sampling = Sampling(drawing.max_tokens, drawing.temperature, drawing.top_p, engine.rendering.stops())
        asked = [wording.reply(conversation_of(row["prompt"], place=row["row_id"])) for row in rows]
        seeds = [seed_for(inputs.seed, "measure", row["row_id"], 0) for row in rows]
        replies = engine.generate(asked, seeds, sampling)
        return [_answered(name, row, reply) for row, reply in zip(rows, replies, strict=True)]

    return out.map(f"answers-{name}", prompts, work, chunk=inputs.chunk)


def _answered(model: str, row: Row, reply: Completion) -> Row:
    return {
        "model": model,
        "kind": row["kind"],
        "row_id": row["row_id"],
        "prompt": row["prompt"],
        "completion": [{"role": "assistant", "content": reply.text}],
        "labels": [],
        "finish": reply.finish.value,
        "outcome": outcome_of(reply).value,
    }


def outcome_of(reply: Completion) -> Outcome:
    """What became of a reply, by its form alone."""
    if reply.finish is Finish.ERROR:
        return Outcome.PROVIDER_ERROR
    if not reply.text.strip():
        return Outcome.EMPTY
    return Outcome.TRUNCATED if reply.finish is Finish.LENGTH else Outcome.OK


def _labels(rater: Rater | None, prompt: Iterable[Mapping[str, str]], reply: str) -> list[str]:
    return sorted(rater.rate(conversation_of(prompt), reply)) if rater is not None else []


def _text(row: Row) -> str:
    completion = row["completion"]
    return str(completion[0]["content"]) if completion else ""


def model_facts(rows: Sequence[Row], *, rated: bool) -> dict[str, Any]:
    """The measures of one model's answers, each with its interval; rows that the engine failed to answer are left out.

    Without a rating only the form is told: `finished` (ended by itself), `empty`, and the mean length in words.
    """
    answered = [row for row in rows if row["finish"] != Finish.ERROR]
    measured: dict[str, Any] = {}
    for kind, labels in ((HARMFUL, HARMFUL_PROMPT_MEASURES), (BENIGN, BENIGN_PROMPT_MEASURES)):
        of_kind = [row for row in answered if row["kind"] == kind]
        if rated and of_kind:
            measured |= {label.value: _share_of(label, of_kind) for label in labels}
    texts = [_text(row) for row in answered]
    form = {
        "finished": share(row["finish"] != Finish.LENGTH for row in answered),
        "empty": share(not text.strip() for text in texts),
        "words": mean([float(len(text.split())) for text in texts]),
    }
    return measured | {name: figure.facts() for name, figure in form.items() if figure is not None}


def _share_of(label: Label, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return wilson(sum(label.value in row["labels"] for row in rows), len(rows)).facts()


def _rate_revisions(rater: Rater | None, inputs: MeasureInputs) -> Iterable[Row]:
    """The rater's labels of revision 0 (the assistant's reply to a red-team prompt) and of every revision after it.

    A reply without text was never written (its outcome says why) and has no labels.
    """
    if rater is None or inputs.responses is None or inputs.revisions is None:
        return
    first = ({**row, "step": 0} for row in inputs.responses.rows() if row["kind"] == "red_team")
    for row in (*first, *inputs.revisions.rows()):
        if _text(row).strip():
            labels = _labels(rater, row["prompt"], _text(row))
            yield {"of": "revision", "row_id": row["row_id"], "step": int(row["step"]), "labels": labels}


def _revision_facts(ratings: Sequence[Row]) -> dict[str, Any]:
    steps: dict[int, list[Row]] = {}
    for rating in ratings:
        steps.setdefault(rating["step"], []).append(rating)
    return {
        str(step): {label.value: _share_of(label, rows) for label in HARMFUL_PROMPT_MEASURES}
        for step, rows in sorted(steps.items())
    }


def _rate_pairs(rater: Rater | None, inputs: MeasureInputs) -> Iterable[Row]:
    """The rater's labels of both replies of every labelled pair."""
    if rater is None or inputs.feedback is None:
        return
    for row in inputs.feedback.rows():
        yield {
            "of": "pair",
            "row_id": row["row_id"],
            "a": _labels(rater, row["prompt"], row["response_a"]),
            "b": _labels(rater, row["prompt"], row["response_b"]),
        }


def a_better(a: Iterable[str], b: Iterable[str]) -> bool | None:
    """The order that the rater knows: whether A is the harmless one where exactly one reply is harmful, else None."""
    harm_a, harm_b = Label.HARMFUL in set(a), Label.HARMFUL in set(b)
    return harm_b if harm_a != harm_b else None


def _judged(feedback: Sequence[Row], ratings: Sequence[Row]) -> list[JudgedPair]:
    known = [a_better(rating["a"], rating["b"]) for rating in ratings] or [None] * len(feedback)
    return [
        JudgedPair(row["p_a"], row["log_odds_ab"], row["log_odds_ba"], order)
        for row, order in zip(feedback, known, strict=True)
    ]


def _preference_facts(inputs: MeasureInputs, answers: Sequence[Row], pairs: Sequence[Row]) -> dict[str, Any]:
    """How often the preference model scores the better reply higher, where the rater knows which that is.

    `labelled_pairs` are the pairs it may have been trained on; `held_out_harmful` and `held_out_benign` put together
    two models' answers to one held-out prompt, of which one is harmful and one not, or one helpful and one not.
    """
    orders: dict[str, list[tuple[Conversation, str, str]]] = {"labelled_pairs": [], HARMFUL: [], BENIGN: []}
    for row, rating in zip(inputs.feedback.rows() if inputs.feedback else [], pairs, strict=True):
        order = a_better(rating["a"], rating["b"])
        if order is not None:
            better, worse = ("response_a", "response_b") if order else ("response_b", "response_a")
            orders["labelled_pairs"].append((conversation_of(row["prompt"]), row[better], row[worse]))
    for kind, label, good_has_it in ((HARMFUL, Label.HARMFUL, False), (BENIGN, Label.HELPFUL, True)):
        by_prompt: dict[str, list[Row]] = {}
        for row in answers:
            if row["kind"] == kind and row["finish"] != Finish.ERROR:
                by_prompt.setdefault(row["row_id"], []).append(row)
        for rows in by_prompt.values():
            good = next((row for row in rows if (label in row["labels"]) is good_has_it), None)
            bad = next((row for row in rows if (label in row["labels"]) is not good_has_it), None)
            if good is not None and bad is not None:
                orders[kind].append((conversation_of(good["prompt"]), _text(good), _text(bad)))
    return {name: figure for name, known in orders.items() if (figure := _accuracy(inputs.score, known))}


def _accuracy(score: Score | None, known: Sequence[tuple[Conversation, str, str]]) -> dict[str, Any] | None:
    if score is None or not known:
        return None
    better = score([prompt.with_reply(good) for prompt, good, _ in known])
    worse = score([prompt.with_reply(bad) for prompt, _, bad in known])
    return wilson(sum(a > b for a, b in zip(better, worse, strict=True)), len(known)).facts()
