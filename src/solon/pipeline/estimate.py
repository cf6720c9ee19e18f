"""The estimate of a dry run: the stages that ask models, on a few prompts, in a temporary folder that is removed.

The stages are those of the run, so the questions shown are those that the run will ask, and a recipe that cannot run
fails here in the same way. Three things differ: a reply that breaks a rule is used as if it had passed, so that each
kind of question occurs; the assistant replaces models that are not trained yet; and stand-ins replace models that are
not here (`solon.pipeline.absent_models`). Models are loaded as in the run: one at a time, but for those of a stage that
asks several in turn. The speed of each is measured before it is let go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from types import MappingProxyType

from solon import prompts
from solon.config.builtin import source_path
from solon.config.model_spec import ModelSpec
from solon.config.recipe import Recipe, SamplingParams
from solon.config.served_model import OPENAI
from solon.constitution.constitution import Constitution
from solon.conversation import Prompt
from solon.digest import digest
from solon.engines.base import Completion, Engine, TokenBudget, count_many
from solon.engines.recording import RecordedQuestion, RecordingEngine
from solon.pipeline.absent_models import StandIn, planned_speed
from solon.pipeline.cost import Calls, CostInputs, Learning, Seen, Speed, calls_of, learning_of
from solon.pipeline.session import Session
from solon.runs import Artefact, RunDirectory, StageFolder
from solon.runs.outcome import Outcome
from solon.runs.progress import Silent
from solon.runs.rows import PairRow, PromptKind, PromptRow, ReplyRow, good
from solon.sources.comparison_files import read_all_comparisons
from solon.stages.plan import PROMPTS, RESPONSE_PAIRS, RESPONSES, built_in, stages_of
from solon.stages.questions import QuestionKind, Size
from solon.stages.stage import Kind, Stage

SAMPLE = {PromptKind.RED_TEAM: 8, PromptKind.HELPFUL: 4}
"""Prompts that are asked about, by kind."""
SHOWN = 3
"""Questions shown of each kind."""
WRITTEN = 16
"""Tokens that each prompt is answered with where speed is measured."""
TRIED = 8
"""Prompts that are read first, to see how many a model reads in `PATIENCE`."""
PATIENCE = 10.0
"""Seconds of reading that are enough to measure a speed. A slow model gets fewer prompts than a batch of the run."""
SHORTEST = 1e-6
"""Seconds that anything takes at least, so that a speed is always a number."""


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a run would ask; `shown` holds up to three questions of each kind as the model read them."""

    sizes: Mapping[PromptKind, Size]
    calls: tuple[Calls, ...]
    learning: tuple[Learning, ...]
    shown: Mapping[str, tuple[RecordedQuestion, ...]]
    speeds: Mapping[str, Speed]
    """By the name of the engine; without those that are not known."""
    absent: Mapping[str, str]
    """Why the models that stand-ins replaced are not here, by their names."""
    unknown: frozenset[str]
    """Names of those that are asked at a speed that is not known."""

    @property
    def times(self) -> list[float | None]:
        """Of each kind of call and each stage that learns, in seconds, roughly; None where it is not known."""
        return [*(each.seconds for each in self.calls), *(each.seconds for each in self.learning)]

    @property
    def price(self) -> float:
        """What servers ask for the whole run."""
        return sum(each.price for each in self.calls)


def estimate_run(
    recipe: Recipe,
    constitution_file: Path,
    finished: Collection[str] = (),
    absent: Mapping[str, str] = MappingProxyType({}),
    begins: Callable[[str], None] = lambda _: None,
) -> RunEstimate:
    """Estimate a run from a few prompts; stages named in `finished` are left out of calls and time.

    `absent` has the reasons why models are not here, by their names; stand-ins replace them. `begins` is told what is
    asked next, which takes minutes with large models. Raises what the run itself would: for a file, a model or a
    setting that is not valid.
    """
    with TemporaryDirectory(prefix="solon-estimate-") as folder:
        run = RunDirectory.create(Path(folder) / "run", recipe, constitution_file)
        work = _FewPrompts(run, Silent(), absent=absent)
        given = work.do(built_in(PROMPTS))
        asking = _asking(recipe)
        kinds = {kind.name: kind for stage in asking for kind in stage.questions(recipe)}
        few = work.begin_with(given)
        later = {kind.name: kind for stage in stages_of(recipe) for kind in stage.questions(recipe)}
        models = {name: work.model(kind.model) for name, kind in (later | kinds).items()}
        work.timed = tuple(dict.fromkeys(models.values()))
        assistant = work.engine(work.assistant)
        sizes, mean = _sizes(given, assistant), _sizes(few, assistant)[PromptKind.RED_TEAM].mean
        sizes = _planned(sizes, recipe) if absent else sizes
        overheads = _overheads(recipe, run.constitution, assistant)
        del assistant  # so that no variable keeps it while others are loaded
        asked = {name: list[RecordedQuestion]() for name in kinds}
        for stage in asking:
            begins(stage.name)
            work.ask(stage, asked)
        begins("speed")
        work.time_others()
        known = [stage.known_answers(work) for stage in asking]
        speeds = {name: speed for name, model in models.items() if (speed := work.speeds[model]) is not None}
        measured = CostInputs(
            sizes,
            overheads,
            {name: _seen(kinds[name], found, mean) for name, found in asked.items() if found},
            speeds,
            {name: count for of_stage in known for name, count in of_stage.items()},
            _human_comparisons(recipe),
            frozenset(models) - set(speeds),
            planned_speed(recipe.models.pretrained, recipe) if recipe.models.pretrained in absent else None,
            recipe.planning.gpu.count if absent and recipe.planning.gpu is not None else 1,
        )
        return RunEstimate(
            sizes,
            tuple(each for each in calls_of(recipe, measured) if each.stage not in finished),
            tuple(each for each in learning_of(recipe, measured) if each.stage not in finished),
            {name: tuple(islice(found, SHOWN)) for name, found in asked.items() if found},
            {work.names[models[name]]: speed for name, speed in speeds.items()},
            absent,
            frozenset(work.names[model] for name, model in models.items() if name not in speeds),
        )


def _asking(recipe: Recipe) -> list[Stage]:
    """The asking stages of the first round; they always include replies.

    A run by method rlhf has no stage for replies, but its policy writes some, which are as long.
    """
    found = [stage for stage in stages_of(recipe) if stage.kind is Kind.ASKS and stage.round == 1]
    return found if any(stage.name == RESPONSES for stage in found) else [built_in(RESPONSES), *found]


@dataclass(slots=True)
class _FewPrompts(Session):
    """The work of stages on a few prompts: every engine records what it is asked, and is timed before it is let go."""

    absent: Mapping[str, str] = field(default_factory=dict)
    """Models that are not here, by name."""
    timed: tuple[ModelSpec, ...] = ()
    """Models whose speed is wanted."""
    speeds: dict[ModelSpec, Speed | None] = field(default_factory=dict)
    """Of the models that were timed; None where it is not known."""
    names: dict[ModelSpec, str] = field(default_factory=dict)
    """Of the engines that were opened."""
    _open: dict[ModelSpec, RecordingEngine] = field(default_factory=dict)
    _asked: list[RecordedQuestion] = field(default_factory=list)
    """The questions of the stage that asks now."""
    _batch: Sequence[PromptRow] = ()
    """The prompts that speed is measured on."""
    _begun: int = 1

    def begin_with(self, given: Artefact) -> Artefact:
        """Go on with the first prompts of each kind that training uses, of those given."""
        rows = given.rows(PromptRow)
        self._batch = [row for row in rows if row.kind is PromptKind.RED_TEAM][: self.recipe.engine.batch_size]
        chosen = [row for kind, count in SAMPLE.items() for row in [r for r in rows if r.kind is kind][:count]]
        few = self._artefacts[PROMPTS] = self._out("few-prompts").publish(chosen, PromptRow)
        return few

    def ask(self, stage: Stage, asked: Mapping[str, list[RecordedQuestion]]) -> None:
        """Do a stage by a recipe with as little as possible of it; adds its questions to those of their kind."""
        names = {kind.role: kind.name for kind in stage.questions(self.recipe)}
        self._asked.clear()
        whole = self.run
        self.run = replace(whole, recipe=stage.few(whole.recipe))
        made = stage.run(self, self._out(stage.name))
        self.run = whole
        self._artefacts[stage.name] = self._passed(made)
        for each in self._asked:
            if each.role in names:
                asked[names[each.role]].append(each)

    def time_others(self) -> None:
        """Measure the speeds that are wanted and not known yet."""
        for spec in (*self._open, *self.timed):  # those that are open first, so that none of them is loaded again
            if spec in self.timed and spec not in self.speeds:
                self._time(spec, self.engine(spec))

    def engine(self, model: ModelSpec | Path) -> RecordingEngine:
        """See `Session.engine`; a model behind a server stays open, because it takes no memory here."""
        spec = model if isinstance(model, ModelSpec) else ModelSpec.parse(model)
        for other in [each for each in self._open if each != spec and each.scheme != OPENAI]:
            self._time(other, self._open[other])
            del self._open[other]
        return self.second_engine(spec)

    def second_engine(self, model: ModelSpec | Path) -> RecordingEngine:
        """See `Session.second_engine`."""
        spec = model if isinstance(model, ModelSpec) else ModelSpec.parse(model)
        if spec not in self._open:
            here = str(spec) not in self.absent
            engine = Session.second_engine(self, spec) if here else StandIn(str(spec), self.recipe.planning)
            self._open[spec] = RecordingEngine(engine, self._asked)
            self.names[spec] = engine.name
        return self._open[spec]

    def _time(self, spec: ModelSpec, recorder: RecordingEngine) -> None:
        """Measure the speed of a model, where it is wanted and not known yet; as planned for a stand-in."""
        if spec in self.speeds or spec not in self.timed:
            return
        planned = isinstance(recorder.engine, StandIn)
        self.speeds[spec] = (
            planned_speed(recorder.name, self.recipe) if planned else speed_of(recorder.engine, self._batch)
        )

    def token_budget(self, model: ModelSpec) -> TokenBudget:
        """See `Session.token_budget`; the model is needed anyway."""
        return self.engine(model)

    def model(self, name: str | None) -> ModelSpec:
        """See `Session.model`; a model that is not here keeps its name."""
        written = name or self.recipe.models.assistant
        return ModelSpec.parse(written) if written in self.absent else Session.model(self, written)

    def hash(self, source: Path | ModelSpec) -> str:
        """See `Session.hash`; a model that is not here has its name's."""
        return digest(str(source)) if str(source) in self.absent else Session.hash(self, source)

    def policy(self, name: str) -> ModelSpec:
        """The assistant, in place of a model that the run has yet to train."""
        return self.assistant

    def critic_check(self) -> None:
        """Measure no critic."""

    def judge_check(self) -> None:
        """Measure no judge."""

    def _passed(self, artefact: Artefact) -> Artefact:
        """Replies and pairs as if all had passed; a text that is empty becomes an ellipsis."""
        if artefact.name == RESPONSES:
            replies = artefact.rows(ReplyRow)
            passed = [replace(row, outcome=Outcome.OK, completion=row.completion or "...") for row in replies]
            return self._out(f"{artefact.name}-passed").publish(passed, ReplyRow)
        if artefact.name == RESPONSE_PAIRS:
            pairs = [
                replace(row, outcome=Outcome.OK, response_a=row.response_a or "...", response_b=row.response_b or "...")
                for row in artefact.rows(PairRow)
            ]
            return self._out(f"{artefact.name}-passed").publish(pairs, PairRow)
        return artefact

    def _out(self, name: str) -> StageFolder:
        self._begun += 1
        return self.run.begin(self._begun, name, {})


def _planned(sizes: Mapping[PromptKind, Size], recipe: Recipe) -> Mapping[PromptKind, Size]:
    """The sizes of as many prompts as are planned, of the mean length of those that are here."""
    wanted = {PromptKind.RED_TEAM: recipe.planning.red_team, PromptKind.HELPFUL: recipe.planning.helpful}
    return {
        kind: size if (count := wanted.get(kind)) is None else Size(count, round(count * size.mean), size.longest)
        for kind, size in sizes.items()
    }


def speed_of(engine: Engine, rows: Sequence[PromptRow]) -> Speed:
    """Tokens per second when prompts of `rows` are read together, and when each is answered with a few tokens.

    A model that takes longer than `PATIENCE` to read all of them reads as many as it can in that time.
    """
    questions = [prompts.reply(row.prompt) for row in rows]
    _seconds(engine, questions[:1], 1)  # The first call of a process is slow.
    tried = questions[:TRIED]
    seconds, _ = _seconds(engine, tried, 1)
    questions = questions[: max(len(tried), int(PATIENCE / seconds * len(tried)))]
    reading, _ = _seconds(engine, questions, 1)
    both, answers = _seconds(engine, questions, 1 + WRITTEN)
    tokens = sum(count_many(engine, questions))
    written = sum(max(len(answer.token_ids) - 1, 0) for answer in answers)
    # A written token takes no less than one that is read; a difference of two noisy times may say otherwise.
    writing = max(written, 1) / max(both - reading, SHORTEST)
    return Speed(tokens / reading, min(writing, tokens / reading))


def _seconds(engine: Engine, questions: Sequence[Prompt], tokens: int) -> tuple[float, list[Completion]]:
    """How long an engine takes to answer in so many tokens at most, and its answers."""
    started = time.perf_counter()
    answers = engine.generate(questions, list(range(len(questions))), SamplingParams(max_tokens=tokens))
    return max(time.perf_counter() - started, SHORTEST), answers


def _sizes(given: Artefact, engine: Engine) -> Mapping[PromptKind, Size]:
    found: dict[PromptKind, list[int]] = {kind: [] for kind in PromptKind}
    rows = good(given.rows(PromptRow))
    for row, tokens in zip(rows, count_many(engine, [prompts.reply(row.prompt) for row in rows]), strict=True):
        found[row.kind].append(tokens)
    return {kind: Size(len(each), sum(each), max(each, default=0)) for kind, each in found.items()}


def _seen(kind: QuestionKind, questions: Sequence[RecordedQuestion], about: float) -> Seen:
    """Mean lengths of questions of a kind; `about` are the mean tokens of the red-team prompts that they are about."""
    return Seen(
        0.0 if kind.overhead is None else fmean(each.prompt_tokens for each in questions) - about,
        fmean(each.shared_tokens for each in questions),
        fmean(each.completion_tokens for each in questions),
    )


def _overheads(recipe: Recipe, constitution: Constitution, engine: Engine) -> dict[str, int]:
    kinds = (kind for stage in stages_of(recipe) for kind in stage.questions(recipe))
    return {kind.name: kind.overhead(constitution, engine) for kind in kinds if kind.overhead is not None}


def _human_comparisons(recipe: Recipe) -> int:
    settings = recipe.preference
    files = [
        file for file in (settings.human_helpfulness, settings.human_harmlessness) if file and settings.human_weight
    ]
    read = read_all_comparisons({file: source_path(file) for file in files}, settings.columns)
    counts = [len(read[file].rows) for file in files]
    return sum(min(count, settings.limit_human or count) for count in counts)
