"""The rehearsal: the stages that ask models, on a handful of prompts, in a temporary folder that is removed.

Every stage runs as it is, so what is shown is what the run will ask, and a recipe that cannot run fails here as it
would there. Two things are other than in the run: a reply that breaks a rule is used as if it had passed, so that each
kind of question comes up, and the assistant stands in for the SL-CAI model, which does not exist yet.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from solon import prompts
from solon.config.builtin import source_path
from solon.config.recipe import FeedbackForm, GraderName, Method, OptionOrder, Recipe, RevisionMode
from solon.constitution.constitution import Constitution
from solon.conversation import Role
from solon.engines.base import Engine, Sampling
from solon.engines.recording import RecordedQuestion, RecordingEngine
from solon.pipeline.cost import Calls, CostInputs, Learning, Seen, Size, Speed, calls_of, learning_of
from solon.pipeline.order import Pipeline
from solon.pipeline.token_budget import tokens_beside
from solon.runs import Artefact, RunDirectory, StageFolder
from solon.runs.outcome import Outcome
from solon.runs.progress import Silent
from solon.runs.rows import PairRow, PromptKind, PromptRow, ReplyRow, good
from solon.sources.comparison_files import read_all_comparisons
from solon.stages import s02_responses, s03_critique_revision, s05_response_pairs, s06_ai_feedback
from solon.testbed.judge_questions import critic_faults, judge_questions

SAMPLE = {PromptKind.RED_TEAM: 8, PromptKind.HELPFUL: 4}
"""Prompts that are rehearsed, by kind."""
SHOWN = 3
"""Questions shown of each kind."""
WRITTEN = 16
"""Tokens that each prompt is answered with where speed is measured."""
SHORTEST = 1e-6
"""Seconds that anything takes at least, so that a speed is always a number."""
QUESTIONS: Mapping[Role, str] = {
    Role.ASSISTANT: "reply",
    Role.CRITIQUE: "critique",
    Role.REVISION: "revision",
    Role.REASONING: "reasoning",
    Role.ANSWER: "comparison",
}


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a run would ask; `shown` holds up to three questions of each kind as the model read them."""

    sizes: Mapping[PromptKind, Size]
    calls: tuple[Calls, ...]
    learning: tuple[Learning, ...]
    shown: Mapping[str, tuple[RecordedQuestion, ...]]
    speeds: Mapping[str, Speed]
    """By the name of the engine."""

    @property
    def seconds(self) -> float:
        """Of the whole run, roughly."""
        return sum(each.seconds for each in self.calls) + sum(each.seconds for each in self.learning)


def estimate_run(recipe: Recipe, constitution_file: Path, finished: Collection[str] = ()) -> RunEstimate:
    """Rehearse a run; stages named in `finished` are left out of calls and time.

    Raises what the run itself would: for a file, a model or a setting that does not do.
    """
    with TemporaryDirectory(prefix="solon-rehearsal-") as folder:
        run = RunDirectory.create(Path(folder) / "run", recipe, constitution_file)
        work = _Estimator(run, Pipeline(run, Silent()))
        given = work.pipeline.prompts()
        few = work.few(given)
        sizes = _sizes(given, work.recorder(recipe.models.assistant))
        asked = work.ask(few)
        measured = CostInputs(
            sizes,
            tokens_beside(recipe, run.constitution, work.recorder(recipe.models.assistant)),
            _seen(asked, _sizes(few, work.recorder(recipe.models.assistant))[PromptKind.RED_TEAM].mean),
            work.speeds(given),
            _plain_questions(recipe, run.constitution),
            _human_comparisons(recipe),
        )
        names = {role: work.recorder(name).name for role, name in work.models.items()}
        return RunEstimate(
            sizes,
            tuple(each for each in calls_of(recipe, measured) if each.stage not in finished),
            tuple(each for each in learning_of(recipe, measured) if each.stage not in finished),
            {QUESTIONS[role]: tuple(islice(asked[role], SHOWN)) for role in QUESTIONS if asked.get(role)},
            {names[role]: speed for role, speed in measured.speeds.items()},
        )


class _Estimator:
    """The stages that ask models, run small."""

    def __init__(self, run: RunDirectory, pipeline: Pipeline) -> None:
        self.run = run
        self.pipeline = pipeline
        models = run.recipe.models
        self.models: Mapping[Role, str | None] = {
            Role.ASSISTANT: models.assistant,
            Role.CRITIQUE: models.critic,
            Role.REVISION: models.reviser or models.critic,
            # The first of several judges speaks for all.
            Role.REASONING: models.judges[0],
            Role.ANSWER: models.judges[0],
        }
        self._recorders: dict[Path, RecordingEngine] = {}
        self._stage = 1

    def recorder(self, name: str | None) -> RecordingEngine:
        """The engine of a model, which is loaded once."""
        folder = self.pipeline.model(name)
        if folder not in self._recorders:
            self._recorders[folder] = RecordingEngine(self.pipeline.engine(folder))
        return self._recorders[folder]

    def few(self, given: Artefact) -> Artefact:
        """The first prompts of each kind that training uses."""
        rows = given.rows(PromptRow)
        chosen = [row for kind, count in SAMPLE.items() for row in [r for r in rows if r.kind is kind][:count]]
        return self._out("few-prompts").publish(chosen, PromptRow)

    def ask(self, few: Artefact) -> Mapping[Role, Sequence[RecordedQuestion]]:
        """Run the stages; every question by the role that it was answered in."""
        recipe, seed = self.run.recipe, self.run.recipe.seed
        assistant = self.recorder(recipe.models.assistant)
        settings = recipe.responses.model_copy(update={"helpful_samples": min(1, recipe.responses.helpful_samples)})
        replies = s02_responses.run(
            settings, s02_responses.ResponseInputs(seed, few), assistant, self._out("responses")
        )
        if recipe.method is Method.CAI:
            self._judge_by_principles(few, self._passed_replies(replies))
        found: dict[Role, list[RecordedQuestion]] = {}
        for recorder in self._recorders.values():
            for asked in recorder.asked:
                found.setdefault(asked.role, []).append(asked)
        return found

    def _judge_by_principles(self, few: Artefact, replies: Artefact) -> None:
        """Critique and revise, draw pairs and label them."""
        recipe, seed, constitution = self.run.recipe, self.run.recipe.seed, self.run.constitution
        assistant, critic, reviser, _, judge = (self.recorder(name) for name in self.models.values())
        one_step = recipe.revision.model_copy(update={"steps": 1})
        chain = s03_critique_revision.RevisionInputs(seed, constitution, replies)
        s03_critique_revision.run(one_step, chain, critic, self._out("critique-revision"), reviser)
        twice = s05_response_pairs.PairInputs(seed, few)
        pairs = s05_response_pairs.run(recipe.pairs, twice, assistant, self._out("response-pairs"))
        pairs = self._passed_pairs(pairs)
        labels = s06_ai_feedback.FeedbackInputs(seed, constitution, pairs)
        s06_ai_feedback.run(recipe.feedback, labels, judge, self._out("ai-feedback"))

    def speeds(self, given: Artefact) -> Mapping[Role, Speed]:
        """Of the model that answers in each role, on one batch of red-team prompts."""
        rows = [row for row in given.rows(PromptRow) if row.kind is PromptKind.RED_TEAM]
        batch = rows[: self.run.recipe.engine.batch_size]
        found = {id(each): speed_of(each.engine, batch) for each in self._recorders.values()}
        return {role: found[id(self.recorder(name))] for role, name in self.models.items()}

    def _passed_replies(self, artefact: Artefact) -> Artefact:
        """The same replies as if all had passed; a text that is empty becomes an ellipsis."""
        rows = [replace(row, outcome=Outcome.OK, completion=row.completion or "...") for row in artefact.rows(ReplyRow)]
        return self._out(f"{artefact.name}-taken").publish(rows, ReplyRow)

    def _passed_pairs(self, artefact: Artefact) -> Artefact:
        """The same pairs as if all had passed; a text that is empty becomes an ellipsis."""
        rows = [
            replace(row, outcome=Outcome.OK, response_a=row.response_a or "...", response_b=row.response_b or "...")
            for row in artefact.rows(PairRow)
        ]
        return self._out(f"{artefact.name}-taken").publish(rows, PairRow)

    def _out(self, name: str) -> StageFolder:
        self._stage += 1
        return self.run.begin(self._stage, name, {})


def speed_of(engine: Engine, rows: Sequence[PromptRow]) -> Speed:
    """Tokens per second when the prompts of `rows` are read, and when each is answered with a few tokens."""
    questions = [prompts.reply(row.prompt) for row in rows]
    seeds = list(range(len(questions)))
    engine.generate(questions[:1], seeds[:1], Sampling(1))  # The first call of a process is slow.
    started = time.perf_counter()
    engine.generate(questions, seeds, Sampling(1))
    read = time.perf_counter()
    answers = engine.generate(questions, seeds, Sampling(1 + WRITTEN))
    both = time.perf_counter() - read
    tokens = sum(map(engine.count_tokens, questions))
    written = sum(max(len(answer.token_ids) - 1, 0) for answer in answers)
    reading = max(read - started, SHORTEST)
    # A written token takes no less than one that is read; a difference of two noisy times may say otherwise.
    writing = max(written, 1) / max(both - reading, SHORTEST)
    return Speed(tokens / reading, min(writing, tokens / reading))


def _sizes(given: Artefact, engine: Engine) -> Mapping[PromptKind, Size]:
    found: dict[PromptKind, list[int]] = {kind: [] for kind in PromptKind}
    for row in good(given.rows(PromptRow)):
        found[row.kind].append(engine.count_tokens(prompts.reply(row.prompt)))
    return {kind: Size(len(tokens), sum(tokens), max(tokens, default=0)) for kind, tokens in found.items()}


def _seen(asked: Mapping[Role, Sequence[RecordedQuestion]], about: float) -> Mapping[Role, Seen]:
    """Mean lengths by role; `about` are the mean tokens of the red-team prompts that were rehearsed."""
    return {
        role: Seen(
            0.0 if role is Role.ASSISTANT else fmean(each.prompt_tokens for each in questions) - about,
            fmean(each.shared_tokens for each in questions),
            fmean(each.completion_tokens for each in questions),
        )
        for role, questions in asked.items()
    }


def _plain_questions(recipe: Recipe, constitution: Constitution) -> Mapping[Role, int]:
    """What `solon.evals.judge_check` asks of the judge, and of the critic where no rater knows the truth."""
    orders = 2 if recipe.feedback.order is OptionOrder.BOTH else 1
    asked = judge_questions(recipe, constitution).count(orders)
    found = {Role.ANSWER: asked}
    if recipe.feedback.form is FeedbackForm.REASONED:
        found[Role.REASONING] = asked
    if recipe.measure.grader is GraderName.NONE and recipe.revision.mode is RevisionMode.CRITIQUED:
        found |= dict.fromkeys((Role.CRITIQUE, Role.REVISION), len(critic_faults(recipe, constitution)))
    return found


def _human_comparisons(recipe: Recipe) -> int:
    settings = recipe.preference
    files = [
        file for file in (settings.human_helpfulness, settings.human_harmlessness) if file and settings.human_weight
    ]
    read = read_all_comparisons({file: source_path(file) for file in files}, settings.columns)
    counts = [len(read[file].rows) for file in files]
    return sum(min(count, settings.limit_human or count) for count in counts)
