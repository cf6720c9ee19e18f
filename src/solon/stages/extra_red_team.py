"""Stage red-team: a pretrained model writes more red-team prompts from human ones (paper, section 3.2).

Each request shows a few human prompts as a numbered list, drawn by a digest of the request's number, and the model goes
on with the list (few-shot prompting; Perez et al. 2022 call it few-shot red teaming). What it writes is judged by the
rules of `solon.checks.red_team_rules`; all of it is kept in the table, and what passed is written as a source of
prompts.
Requests are made in rounds, each as large as the yield so far says, so that repeats are looked for a few times and not
after every batch. The human prompts are those of 01-prompts: nothing that is held out is shown.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon import prompts
from solon.checks.red_team_rules import Item, asks, items_of, judge, prompt_of_text, without_repeats
from solon.config.model_spec import ModelSpec
from solon.config.recipe import RedTeamSettings
from solon.conversation import Conversation, Role
from solon.digest import seed_for
from solon.engines.base import Completion, Engine, Finish
from solon.errors import StageError
from solon.feedback.ask import ask
from solon.runs import Artefact, StageFolder
from solon.runs.files import write_atomically
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind, PromptRow, RedTeamAnswer, RedTeamRow, good
from solon.sources.near_duplicates import distinct_runs
from solon.stages.plan import PROMPTS
from solon.stages.stage import Stage, StageDependencies, Work

PROMPTS_FILE = "prompts.jsonl"
LIST_ENDS = ("\n\n",)
"""A blank line ends a list."""
FIRST_YIELD = 2
"""Prompts that a request is taken to give before any was made."""


@dataclass(frozen=True, slots=True)
class RedTeamInputs:
    """The run's seed, the prompts (01-prompts), and how many requests are made and made durable at once."""

    seed: int
    prompts: Artefact
    chunk: int = 128


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """A human prompt as it is shown: its row, and its first human turn on one line."""

    row_id: str
    text: str


def run(settings: RedTeamSettings, inputs: RedTeamInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Ask in rounds until `count` prompts pass all rules or the requests run out; publish all that was written.

    Raises StageError when too few human prompts can be shown, or when a round gives no prompt at all.
    """
    readable = good(inputs.prompts.rows(PromptRow))
    human = [row.prompt for row in readable if row.kind is not PromptKind.HELPFUL]
    examples = examples_in([row for row in readable if row.kind is PromptKind.RED_TEAM], settings)
    most = settings.requests or settings.count

    def write(requests: Sequence[int]) -> list[RedTeamAnswer]:
        shown = [draw_examples(examples, settings.examples, inputs.seed, request) for request in requests]
        questions = [prompts.more_questions([example.text for example in each]) for each in shown]
        seeds = [seed_for(inputs.seed, "red-team", request) for request in requests]
        completions = ask(engine, questions, seeds, settings.sampling, LIST_ENDS)
        return [answer_of(*each) for each in zip(requests, shown, seeds, completions, strict=True)]

    answers: list[RedTeamAnswer] = []
    judged: list[JudgedItem] = []
    kept = 0
    while kept < settings.count and len(answers) < most:
        size = min(next_round(settings.count, kept, len(answers)), most - len(answers))
        requests = range(len(answers), len(answers) + size)
        answers += out.map(
            f"requests from {len(answers)}", requests, write, row=RedTeamAnswer, chunk=inputs.chunk, unit="requests"
        )
        judged = judge_all(answers, examples, human, settings)
        before, kept = kept, sum(item.outcome is Outcome.OK for _, item in judged)
        out.report(min(kept, settings.count), settings.count, f"of {len(judged)} written", unit="prompts kept")
        if kept == before:
            break
    if not kept:
        raise nothing_kept(judged, out)
    return _publish(judged, [prompt_of_text(example.text) for example in examples], settings, engine, out)


def examples_in(rows: Sequence[PromptRow], settings: RedTeamSettings) -> list[ShownPrompt]:
    """What can be shown of the red-team prompts, in the order of their row ids: openings that pass the same rules.

    A dialogue's first human turn stands by itself; later ones ("And then?") mean nothing on a list. Raises StageError
    when there are fewer than a request shows.
    """
    texts: dict[str, ShownPrompt] = {}
    for row in sorted(rows, key=lambda row: row.row_id):
        opening = next(turn.content for turn in row.prompt.turns if turn.role is Role.HUMAN)
        text = " ".join(opening.split())
        if settings.min_words <= len(text.split()) <= settings.max_words and asks(text):
            texts.setdefault(text.casefold(), ShownPrompt(row.row_id, text))
    if len(texts) < settings.examples:
        raise StageError(
            f"only {len(texts)} human prompts can be shown as examples, and a request shows {settings.examples}",
            place="red_team.examples",
            remedy="Name more prompts: --set prompts.red_team=FILE, or show fewer: --set red_team.examples=1",
        )
    return list(texts.values())


def draw_examples(examples: Sequence[ShownPrompt], count: int, seed: int, request: int) -> list[ShownPrompt]:
    """`count` different examples for a request, drawn by a digest of the request's number."""
    drawn: dict[int, ShownPrompt] = {}
    attempt = 0
    while len(drawn) < count:
        place = seed_for(seed, "red-team-example", request, attempt) % len(examples)
        drawn.setdefault(place, examples[place])
        attempt += 1
    return list(drawn.values())


def next_round(wanted: int, kept: int, asked: int) -> int:
    """How many requests to make next: what the yield so far asks for, and a tenth more; at least eight."""
    per_request = kept / asked if kept else FIRST_YIELD
    return max(8, math.ceil(1.1 * (wanted - kept) / per_request))


def summary(facts: Mapping[str, Any]) -> list[str]:
    """What became of all that was written, and how varied it is, in words, from the stage's facts."""
    rules = ", ".join(f"{count:,} {rule.replace('_', ' ')}" for rule, count in facts["rules"].items())
    lines = [f"{facts['kept']:,} of {facts['wanted']:,} prompts from {facts['requests']:,} requests"]
    lines += [f"refused by rule: {rules}"] if rules else []
    pairs = ((n, share, facts["distinct_human"][n]) for n, share in facts["distinct"].items())
    shares = ", ".join(f"{n} word{'s' * (n != '1')} {own:.2f} ({human:.2f})" for n, own, human in pairs)
    return [*lines, f"distinct runs of {shares}; in brackets {facts['compared']:,} human prompts, as many as compared"]


def answer_of(request: int, shown: Sequence[ShownPrompt], seed: int, completion: Completion) -> RedTeamAnswer:
    """The journal's row of a request."""
    return RedTeamAnswer(
        request=request,
        examples=tuple(example.row_id for example in shown),
        seed=seed,
        text=completion.text,
        finish=completion.finish.value,
    )


JudgedItem = tuple[RedTeamAnswer, Item]
"""An item that was written, with the answer that it stands in."""


def judge_all(
    answers: Sequence[RedTeamAnswer],
    examples: Sequence[ShownPrompt],
    human: Sequence[Conversation],
    settings: RedTeamSettings,
) -> list[JudgedItem]:
    """Every item that was written, with the answer that it stands in.

    `examples` are all prompts that a request may have shown; none of them, and none of `human`, may be repeated.
    """
    texts = {example.row_id: example.text for example in examples}
    found = []
    for answer in answers:
        shown = [texts[row_id] for row_id in answer.examples]
        completion = Completion(answer.text, Finish(answer.finish))
        found += [(answer, judge(item, shown, settings)) for item in items_of(completion, len(shown) + 1)]
    shown_ones = [prompt_of_text(text) for text in texts.values()]
    items = without_repeats([item for _, item in found], [*human, *shown_ones], settings)
    return [(answer, item) for (answer, _), item in zip(found, items, strict=True)]


def _publish(
    judged: Sequence[JudgedItem],
    examples: Sequence[Conversation],
    settings: RedTeamSettings,
    engine: Engine,
    out: StageFolder,
) -> Artefact:
    rows = _rows(judged, settings.count)
    kept = [row.prompt for row in good(rows)]
    lines = (json.dumps({"prompt": prompt.messages()}, ensure_ascii=False) for prompt in kept)
    write_atomically(out.path / PROMPTS_FILE, "\n".join(lines) + "\n")
    compared = min(len(kept), len(examples))
    facts = {
        "engine": engine.name,
        "wanted": settings.count,
        "kept": len(kept),
        "requests": len({row.request for row in rows}),
        "rules": dict(Counter(defect for row in rows for defect in row.defects).most_common()),
        "compared": compared,
        "distinct": distinct_runs(kept[:compared]),
        "distinct_human": distinct_runs(examples[:compared]),
    }
    return out.publish(rows, RedTeamRow, facts=facts, files=[PROMPTS_FILE])


def _rows(judged: Sequence[JudgedItem], count: int) -> list[RedTeamRow]:
    """The table's rows, up to and with the last prompt that is wanted."""
    rows: list[RedTeamRow] = []
    positions = Counter[int]()
    for answer, item in judged:
        if count == 0:
            break
        count -= item.outcome is Outcome.OK
        prompt = prompt_of_text(item.text)
        rows.append(
            RedTeamRow(
                row_id=prompt.row_id,
                request=answer.request,
                position=positions[answer.request],
                prompt=prompt,
                examples=answer.examples,
                finish=answer.finish,
                seed=answer.seed,
                outcome=item.outcome,
                defects=(item.rule.value,) if item.rule else (),
            )
        )
        positions[answer.request] += 1
    return rows


def nothing_kept(judged: Sequence[JudgedItem], out: StageFolder) -> StageError:
    """The error when the writer gave nothing that passes the rules, with the counts."""
    counts = Counter(item.rule or item.outcome for _, item in judged)
    found = ", ".join(f"{count} {name.value.replace('_', ' ')}" for name, count in counts.most_common())
    return StageError(
        f"no prompt that the model wrote passed the rules: {found}",
        place=str(out.path),
        remedy="Use a larger model: --set models.red_team=FOLDER in a new run, or cooler drawing: "
        "--set red_team.sampling.temperature=0.7",
    )


@dataclass(frozen=True)
class RedTeam(Stage):
    """An extra stage: prompts like those of the run, written by a model."""

    section = "red_team"
    needs = (PROMPTS,)

    def reads(self, work: Work) -> StageDependencies:
        return StageDependencies({"writer": writer_of(work)})

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe = work.recipe
        inputs = RedTeamInputs(recipe.seed, work.artefact(PROMPTS), recipe.engine.batch_size)
        return run(recipe.red_team, inputs, work.engine(writer_of(work)), out)


def writer_of(work: Work) -> ModelSpec:
    """The model that writes prompts."""
    models = work.recipe.models
    return work.model(models.red_team or models.pretrained)
