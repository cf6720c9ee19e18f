"""What a stage is: one object, from which everything that depends on the stage derives.

    run, resume      its name, settings, inputs and code make the key; `run` makes the artefact
    dry run          `questions` and `learns`, and `run` itself on a few prompts
    token budgets    `questions`
    impact of an edit    `inputs`, `by_constitution` and `asked_again`
    status, report   its name, its place among the stages (`solon.stages.plan`) and its kind

A stage gets at the run through `Work`: artefacts of earlier stages, models and engines. It calls no other stage. The
classes are loaded when they are needed, since those that train import torch; nothing here does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pydantic import ValidationError

from solon.config.model_spec import ModelSpec
from solon.config.recipe import Recipe, Settings
from solon.conversation import Conversation, Role
from solon.errors import RecipeError
from solon.runs import Artefact, StageFolder
from solon.runs.rows import PromptKind

if TYPE_CHECKING:
    from solon.constitution.constitution import Constitution
    from solon.engines.base import Engine
    from solon.evals.grading import Grader
    from solon.evals.judge_check.critic import CheckCritic
    from solon.evals.judge_check.judge import CheckJudge
    from solon.evals.judge_check.known_answers import JudgeQuestions
    from solon.stages.questions import QuestionKind, TrainingSizes, TrainingTokens

S = TypeVar("S", bound=Settings)
R = TypeVar("R")


class Kind(StrEnum):
    """What a stage does, in the main."""

    READS = "reads"
    """It reads what people bring."""
    ASKS = "asks"
    """It asks models, and later stages use the answers."""
    TRAINS = "trains"
    """It changes a model; each of its rows describes one step of the optimiser."""
    MEASURES = "measures"
    """It asks models what nothing learns from."""


class Work(Protocol):
    """What a stage can use of its run."""

    @property
    def recipe(self) -> Recipe:
        """The settings of the run."""

    @property
    def constitution(self) -> Constitution:
        """The constitution of the run."""

    @property
    def grader(self) -> Grader | None:
        """Who rates replies, if anybody does."""

    @property
    def assistant(self) -> ModelSpec:
        """The model that answers."""

    @property
    def pretrained(self) -> Path:
        """The model that SL-CAI starts from."""

    def model(self, name: str | None) -> ModelSpec:
        """The model of a name in the recipe; the assistant when None."""

    def artefact(self, name: str) -> Artefact:
        """What a stage of this run made; raises RunError when it is not finished."""

    def trained(self, name: str) -> Path:
        """The model that a stage of this run trained; raises RunError when it is not finished."""

    def policy(self, name: str) -> ModelSpec:
        """The language model that a stage of this run trained, to be asked; raises RunError as `trained` does."""

    def engine(self, model: ModelSpec | Path) -> Engine:
        """Load a model to ask; the one before it is unloaded."""

    def second_engine(self, model: ModelSpec | Path) -> Engine:
        """Load a second model, to ask in turn with that of `engine`."""

    def scorer(self, folder: Path, *, centred: bool = False) -> Callable[[Sequence[Conversation]], list[float]]:
        """Scores by the preference model in `folder`; higher is better. With `centred` an average reply scores 0."""

    def source_hash(self, name: str) -> str:
        """The hash of a source of prompts."""

    def reserved_tokens(self) -> Mapping[PromptKind, int]:
        """Tokens of the assistant's window that each kind of prompt has to leave free."""

    def critic_check(self) -> CheckCritic | None:
        """What measures critic and reviser on replies with known faults, where no rater does."""

    def judge_check(self) -> CheckJudge | None:
        """What measures a judge on questions with known answers, before its labels are asked."""

    def critic_questions(self) -> int:
        """How many replies with known faults the critic is asked about."""

    def judge_questions(self, constitution: Constitution) -> JudgeQuestions:
        """The questions with known answers that the judge is asked."""

    def judge_check_key(self) -> Mapping[str, object]:
        """The part of a key that the two measures above depend on."""


@dataclass(frozen=True, slots=True)
class StageDependencies:
    """What a stage reads besides the artefacts that it names as inputs; all of it is a part of the stage's key."""

    paths: Mapping[str, Path | ModelSpec] = field(default_factory=dict)
    """Model folders and files, of which the content counts, by a name for people."""
    more: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QuestionCount:
    """Questions of one kind that a finished stage asked, and how many of them are asked again at most."""

    what: str
    role: Role
    asked: int
    again: int


@dataclass(frozen=True, slots=True)
class Again:
    """What an edited constitution does to a stage: whether anything that it made may change, and what is asked."""

    changed: bool
    counts: tuple[QuestionCount, ...] = ()


@dataclass(frozen=True, slots=True)
class ConstitutionEdit:
    """An edit of a run's constitution, and what it changes up to one stage of the run."""

    work: Work
    before: Constitution
    after: Constitution
    finished: Mapping[str, Artefact]
    changed: frozenset[str]
    """Stages before this one that may make something else now."""

    def touches(self, names: Sequence[str]) -> bool:
        """Whether one of these stages may make something else now."""
        return not self.changed.isdisjoint(names)


@dataclass(frozen=True)
class Stage(ABC):
    """A stage of a run; `name` ends in the round from the second on."""

    name: str
    round: int = 1
    kind: Kind = Kind.ASKS
    code: ClassVar[int] = 1
    """The version of the stage's code: raise it with every change that makes other rows of the same inputs."""
    section: ClassVar[str] = ""
    """The part of the recipe with the stage's settings."""
    plugin_section: ClassVar[type[Settings]] = Settings
    """For a plug-in, which has no such part: the class that reads the recipe's `plugins.NAME`."""
    needs: ClassVar[tuple[str, ...]] = ()
    """The stages that it reads, where they are the same for every recipe."""
    by_constitution: ClassVar[bool] = False
    """Whether the constitution is a part of its key."""
    after: ClassVar[str] = ""
    """For a plug-in: the stage that it comes after."""

    @abstractmethod
    def run(self, work: Work, out: StageFolder) -> Artefact:
        """Make the artefact, or go on with it where it was begun."""

    def settings(self, recipe: Recipe) -> Settings:
        """The stage's part of the recipe; all of it is a part of the key."""
        if not self.section:
            return plugin_settings(recipe, self.name, self.plugin_section)
        settings: Settings = getattr(recipe, self.section)
        return settings

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        """The stages of the run that it reads."""
        return self.needs

    def reads(self, work: Work) -> StageDependencies:
        """The models and files that it reads, and what else can change its rows."""
        return StageDependencies()

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        """Lines for the console, from the facts of the finished stage."""
        return ()

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """The kinds of questions that it will ask."""
        return ()

    def known_answers(self, work: Work) -> Mapping[str, int]:
        """Further questions, with known answers, that measure a model: how many, by the name of their kind."""
        return {}

    def learns(self, recipe: Recipe, sizes: TrainingSizes) -> TrainingTokens | None:
        """How much a stage that trains learns from, roughly; None for one that does not train."""
        return None

    def few(self, recipe: Recipe) -> Recipe:
        """The recipe of the dry run, which does this stage on a few prompts: every kind of question, few of each."""
        return recipe

    def asked_again(self, edit: ConstitutionEdit) -> Again:
        """What an edited constitution makes this finished stage ask again: everything, when an input may change."""
        recipe = edit.work.recipe
        changed = edit.touches(self.inputs(recipe)) or self.by_constitution
        rows = edit.finished[self.name].manifest.rows
        kinds = {kind.name: kind.role for kind in self.questions(recipe)} if self.kind is not Kind.TRAINS else {}
        counts = (QuestionCount(name, role, rows, rows if changed else 0) for name, role in kinds.items())
        return Again(changed, tuple(counts))


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """The tables of several stages, such as the labels of all rounds, as one."""

    artefacts: Sequence[Artefact]

    def rows(self, row: type[R]) -> list[R]:
        """Those of the first stage first."""
        return [each for artefact in self.artefacts for each in artefact.rows(row)]


def plugin_settings(recipe: Recipe, name: str, settings: type[S]) -> S:
    """The recipe's `plugins.NAME` as the plug-in's own settings; raises RecipeError for a value that is not valid."""
    try:
        return settings.model_validate(recipe.plugins.get(name, {}))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(["plugins", name, *map(str, fault["loc"])])
        known = ", ".join(settings.model_fields) or "none"
        raise RecipeError(fault["msg"], place=place, remedy=f"Settings of this plug-in: {known}") from None
