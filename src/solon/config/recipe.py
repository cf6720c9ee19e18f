"""Recipes: every setting of a run, typed, with the paper's numbers or ours as defaults.

A recipe is a frozen tree that refuses keys it does not know. `solon.config.loading` reads it from YAML files. Nothing
here imports torch, so a recipe is checked in milliseconds.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from solon.config.rl import Aggregation as Aggregation
from solon.config.rl import Algorithm as Algorithm
from solon.config.rl import DpoSettings as DpoSettings
from solon.config.rl import Kept as Kept
from solon.config.rl import KlControl as KlControl
from solon.config.rl import NetworkSharing as NetworkSharing
from solon.config.rl import ReinforcementSettings as ReinforcementSettings
from solon.config.rl import StopSettings as StopSettings
from solon.config.rl import Tracker as Tracker
from solon.config.settings import Count as Count
from solon.config.settings import LoraSettings as LoraSettings
from solon.config.settings import Positive as Positive
from solon.config.settings import Rate as Rate
from solon.config.settings import SamplingParams as SamplingParams
from solon.config.settings import Schedule as Schedule
from solon.config.settings import Settings as Settings
from solon.config.settings import Share as Share
from solon.config.settings import TrainingSettings as TrainingSettings

PAPER_CLAMP = (0.4, 0.6)
"""Of labels that follow on reasoning (paper, section 4.1)."""


class Method(StrEnum):
    """How the final policy comes about."""

    CAI = "cai"
    """Constitutional AI: critiques, revisions and AI feedback by principles."""
    RLHF = "rlhf"
    """Reinforcement learning from human comparisons alone, the paper's baselines (Bai et al. 2022a)."""


class RenderingKind(StrEnum):
    """How prompts become text."""

    AUTO = "auto"
    """The tokenizer's chat template when it has one, else the transcript."""
    CHAT = "chat"
    TRANSCRIPT = "transcript"


class Thinking(StrEnum):
    """Whether a reasoning model thinks before it replies; what it thinks is cut from the reply either way."""

    OFF = "off"
    """It is told not to where its chat template knows how, and shown an empty thought where the template begins one."""
    ON = "on"


class TooLong(StrEnum):
    """What to do with a prompt that leaves too little of the window."""

    REFUSE = "refuse"
    DROP = "drop"


class RevisionMode(StrEnum):
    """Critique first, or revise at once (paper, section 3.5)."""

    CRITIQUED = "critiqued"
    DIRECT = "direct"


class RevisionsUsed(StrEnum):
    """Which revisions SL-CAI is trained on, where that is no number of steps."""

    ALL = "all"
    """All steps, the paper's choice."""
    LAST = "last"


class OptionOrder(StrEnum):
    """In which orders a pair is shown to the feedback model."""

    BOTH = "both"
    """(A, B) and (B, A), averaged in log-odds."""
    ONE = "one"
    """One order, drawn per row, as in the paper."""


class FeedbackForm(StrEnum):
    """What the feedback model writes before its letter (paper, section 4.1)."""

    LETTER = "letter"
    """Nothing: the letters' probabilities are read at once."""
    REASONED = "reasoned"
    """Its reasoning, "Let's think step by step"; the letters' probabilities are read after it."""


class LabelsUsed(StrEnum):
    """How the preference model takes AI labels."""

    SOFT = "soft"
    """As probabilities, the paper's choice (section 4.3)."""
    HARD = "hard"
    """The preferred reply counts as certainly better; a label of one half stays one."""


class Clamping(StrEnum):
    """Whether labels are kept away from 0 and 1, where no bounds are given."""

    BY_FORM = "by-form"
    """Within 0.4 and 0.6 in the reasoned form, as in the paper (section 4.1), and not at all in the letter form."""
    OFF = "off"


class WeakJudge(StrEnum):
    """What becomes of a run whose judge is no better than chance on comparisons with a known answer."""

    STOP = "stop"
    ACCEPT = "accept"
    """It goes on and labels; `solon run --accept-weak-judge` says so for a run that exists, too."""


class GraderName(StrEnum):
    """Who rates replies when a run is measured."""

    NONE = "none"
    TESTBED = "testbed"


class Dtype(StrEnum):
    """In which numbers a model that is asked is loaded; models in training are float32 always."""

    AUTO = "auto"
    """Float32 on a CPU; as the folder stores them on a GPU."""
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Matmul(StrEnum):
    """How exact matrix products are while a model is trained."""

    HIGHEST = "highest"
    """Float32 throughout."""
    MEDIUM = "medium"
    """Factors rounded to bfloat16, sums in float32: faster where the processor has such units (AMX, TF32-like)."""


def _thinking(given: object) -> object:
    # YAML reads a plain `off` as false.
    return {True: Thinking.ON, False: Thinking.OFF}.get(given, given) if isinstance(given, bool) else given


def _date(given: object) -> str:
    try:
        if isinstance(given, str | datetime.date):
            return datetime.date.fromisoformat(str(given)).isoformat()
    except ValueError:
        pass
    raise ValueError("must be a date such as 2024-07-26")


def _one_or_several(given: object) -> str | tuple[str, ...] | None:
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, list | tuple) and given and all(isinstance(each, str) for each in given):
        models = tuple(map(str, given))
        if len(set(models)) == len(models):
            return models
    raise ValueError("must be a model, or a list of different models")


class ModelSettings(Settings):
    """Which models play which part: a folder, or `testbed:pretrained` and `testbed:assistant`."""

    pretrained: str = "testbed:pretrained"
    """Where SL-CAI finetuning starts (paper, section 3.1)."""
    assistant: str = "testbed:assistant"
    """The helpful-only model that answers."""
    critic: str | None = None
    """Writes critiques; the assistant when null."""
    reviser: str | None = None
    """Writes revisions; the critic when null."""
    feedback: Annotated[str | tuple[str, ...] | None, BeforeValidator(_one_or_several)] = None
    """Judges pairs; the assistant when null. Of several, whose labels are averaged, one is loaded at a time."""
    red_team: str | None = None
    """Writes more red-team prompts for `solon red-team`; `pretrained` when null, as in the paper (section 3.2)."""
    preference: str | None = None
    """What the preference model grows from; `pretrained` when null."""
    policy: str | None = None
    """What `method: rlhf` starts from and is held near; `pretrained` when null. With `cai` that is SL-CAI."""

    @property
    def judges(self) -> tuple[str | None, ...]:
        """The feedback models, in order; None stands for the assistant."""
        return self.feedback if isinstance(self.feedback, tuple) else (self.feedback,)


class EngineSettings(Settings):
    """How models are asked."""

    rendering: RenderingKind = RenderingKind.AUTO
    template: str | None = None
    """The name of the chat template, for tokenizers that have several; the one named `default` when null."""
    thinking: Annotated[Thinking, BeforeValidator(_thinking)] = Thinking.OFF
    date: Annotated[str, BeforeValidator(_date)] = "2024-07-26"
    """The day that a chat template is told is today, kept with every saved model: a run must not change at midnight."""
    batch_size: Positive = 128
    """Prompts in one forward pass, at most; fewer where `memory` does not hold more."""
    memory_gib: Rate | None = None
    """GiB for keys, values and logits of prompts in one pass; null: up to half of what is free at the start."""
    window: Positive | None = None
    """Tokens of prompt and completion; the model's own limit when null."""
    threads: Positive | None = None
    dtype: Dtype = Dtype.AUTO
    matmul: Matmul = Matmul.HIGHEST


class PromptSettings(Settings):
    """Where prompts come from; each source is a file, `testbed:NAME` or `hf:NAME`, or several joined by ` + `."""

    red_team: str = "testbed:red-team"
    helpful: str = "testbed:helpful"
    limit_red_team: Positive | None = None
    limit_helpful: Positive | None = None
    too_long: TooLong = TooLong.REFUSE
    bad_lines: Count = 0
    """Lines of a prompt file that may be unreadable, and are skipped and counted."""
    columns: dict[str, str] | None = None
    """What sources call `prompt`, `messages` and so on, e.g. {prompt: question}; those without it are read as ever."""
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    """Similarity from which on two prompts count as one (`solon.sources.near_duplicates`); null: only when equal."""


class RedTeamSettings(Settings):
    """Red-team prompts that a model writes (paper, section 3.2: 140,335 of them); only `solon red-team` reads this."""

    count: Positive = 1000
    """Prompts wanted; fewer come when requests run out."""
    examples: Positive = 5
    """Human prompts shown in each request."""
    sampling: SamplingParams = SamplingParams()
    requests: Positive | None = None
    """Requests at most; as many as `count` when null."""
    min_words: Positive = 4
    """Words of a prompt at least."""
    max_words: Positive = 60
    """Words at most, of examples too."""
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = 0.7
    """Similarity from which on a prompt repeats an earlier or a human one; null: only when equal."""


class ResponseSettings(Settings):
    """The assistant's own replies."""

    sampling: SamplingParams = SamplingParams()
    helpful_samples: Count = 2
    """Sampled replies for each helpfulness prompt, mixed into SL-CAI training (paper, section 3.2)."""


class RevisionSettings(Settings):
    """Critiques and revisions."""

    steps: Positive = 4
    mode: RevisionMode = RevisionMode.CRITIQUED
    few_shot: Count = 0
    """Worked examples in front of each question."""
    principles: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Ids of the principles to draw from; all when null."""
    number_of_principles: Positive | None = None
    """Only the first so many of them (paper, section 3.4: 1, 2, 4, 8 and 16); all when null."""
    critique: SamplingParams = SamplingParams()
    revision: SamplingParams = SamplingParams()


def _revisions_used(given: object) -> RevisionsUsed | int:
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return given
    if isinstance(given, str) and given in list(RevisionsUsed):
        return RevisionsUsed(given)
    raise ValueError("must be 'all', 'last', or how many of the first steps, from 1")


class FinetuneSettings(Settings):
    """SL-CAI."""

    revisions: Annotated[RevisionsUsed | int, BeforeValidator(_revisions_used)] = RevisionsUsed.ALL
    """`all`, `last`, or n for those of the first n steps (SL-CAI-n; paper, section 3.4)."""
    helpful_ratio: Annotated[float, Field(ge=0)] | None = None
    """Replies to helpfulness prompts for each revision, drawn from those there are; all of them when null."""
    training: TrainingSettings = TrainingSettings()


class PairSettings(Settings):
    """Two replies of the SL-CAI model to each red-team prompt."""

    per_prompt: Positive = 1
    """Pairs of fresh replies to each prompt; each gets a principle of its own draw."""
    sampling: SamplingParams = SamplingParams()


def _clamp(given: object) -> Clamping | tuple[float, float]:
    if given is None or given is False:
        return Clamping.OFF  # YAML reads a plain `off` as false.
    if isinstance(given, str) and given in list(Clamping):
        return Clamping(given)
    if isinstance(given, list | tuple) and len(given) == 2 and all(type(bound) in (int, float) for bound in given):
        low, high = map(float, given)
        # Bounds that lie unevenly would make the label depend on which reply is called A.
        if 0 <= low < 0.5 and abs(low + high - 1) < 1e-9:
            return low, high
    raise ValueError("must be 'by-form', 'off', or two bounds equally far from one half, such as [0.4, 0.6]")


class FeedbackSettings(Settings):
    """AI labels."""

    form: FeedbackForm = FeedbackForm.LETTER
    order: OptionOrder = OptionOrder.BOTH
    reasoning: SamplingParams = SamplingParams()
    """How the reasoning is drawn, in the reasoned form."""
    samples: Positive = 1
    """Reasonings to each question in the reasoned form; what they lead to is averaged (the paper: 5)."""
    clamp: Annotated[Clamping | tuple[float, float], BeforeValidator(_clamp)] = Clamping.BY_FORM
    """Bounds of a label, or `by-form`, or `off`; what was clamped is kept beside it."""
    few_shot: Count = 0
    prefix_variants: Positive = 8
    """Few-shot arrangements in use, so that prefixes repeat."""
    min_letter_mass: Share = 0.01
    """A judge that gives both letters together less probability than this has not answered."""
    votes: Positive = 8
    """Letters drawn for each question where an engine tells no log-probabilities."""
    number_of_principles: Positive | None = None
    """Only the first so many preference principles (paper, section 4.3: 1 and 16); all when null."""
    axes: Annotated[dict[str, Rate], Field(min_length=1)] | None = None
    """Axes of the constitution that get labels of their own, with their weights in the label of the pair; null: one
    principle is drawn from all."""

    @model_validator(mode="after")
    def _samples_differ(self) -> FeedbackSettings:
        if self.samples > 1 and self.form is FeedbackForm.LETTER:
            raise ValueError("several samples need the reasoned form: without reasoning every one gives the same label")
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """What labels are clamped to, if at all."""
        if isinstance(self.clamp, Clamping):
            clamped = self.clamp is Clamping.BY_FORM and self.form is FeedbackForm.REASONED
            return PAPER_CLAMP if clamped else None
        return self.clamp


class JudgeCheckSettings(Settings):
    """How critic and judge are measured before they are believed; nothing here changes a row of a run."""

    weak_judge: WeakJudge = WeakJudge.STOP
    limit: Positive | None = None
    """Questions of each sort at most; all when null."""


class PreferenceSettings(Settings):
    """The preference model."""

    human_helpfulness: str | None = "testbed:helpfulness"
    """Human helpfulness comparisons: a file or `testbed:helpfulness`; null for none."""
    human_harmlessness: str | None = None
    """Human harmlessness comparisons, likewise; null for none, as in the paper's own method."""
    limit_human: Positive | None = None
    """Comparisons drawn from each of the two; all when null."""
    columns: dict[str, str] | None = None
    """What these files call `prompt`, `chosen` and `rejected`, e.g. {chosen: good}."""
    human_weight: Annotated[float, Field(ge=0)] = 1.0
    labels: LabelsUsed = LabelsUsed.SOFT
    axis: str | None = None
    """Learn from the labels of one axis of `feedback.axes` alone; from the label of the pair when null."""
    training: TrainingSettings = TrainingSettings()


class MeasureSettings(Settings):
    """What is measured at the end, on prompts that no training stage saw."""

    grader: GraderName = GraderName.TESTBED
    harmful: str = "testbed:held-out-harmful"
    """A source like those of `prompts`, or `split:SHARE`: that share of the training prompts, by content hash."""
    benign: str = "testbed:held-out-benign"
    limit: Positive | None = None
    sampling: SamplingParams = SamplingParams()


class Recipe(Settings):
    """A whole run."""

    name: str = "run"
    seed: Count = 0
    method: Method = Method.CAI
    rounds: Positive = 1
    """Times that pairs are drawn, labelled and learnt from; from the second on they are the last policy's."""
    constitution: str = "testbed"
    """A built-in name (`testbed`, `harmlessness`) or a YAML file."""
    model: Annotated[str | None, Field(exclude=True)] = None
    """One model for all parts, a short way to name `models.pretrained` and `models.assistant`, from which the others
    follow; what `models` names beside it stays. It is spelled out there on reading, and null afterwards."""
    models: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    prompts: PromptSettings = PromptSettings()
    red_team: RedTeamSettings = RedTeamSettings()
    responses: ResponseSettings = ResponseSettings()
    revision: RevisionSettings = RevisionSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    pairs: PairSettings = PairSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    judge_check: JudgeCheckSettings = JudgeCheckSettings()
    preference: PreferenceSettings = PreferenceSettings()
    rl: ReinforcementSettings = ReinforcementSettings()
    measure: MeasureSettings = MeasureSettings()
    plugins: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Stages of other packages that the run has as well, by name, each with its own settings; see the guide."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, given: Any) -> Any:
        return with_one_model(given) if isinstance(given, Mapping) else given


def with_one_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe with `model` spelled out as `models.pretrained` and `models.assistant`, where not named.

    A `model` that is no text is left for the recipe itself to refuse.
    """
    model, parts = values.get("model"), values.get("models") or {}
    if isinstance(parts, ModelSettings):
        parts = parts.model_dump(exclude_unset=True)
    if not isinstance(model, str) or not isinstance(parts, Mapping):
        return dict(values)
    rest = {key: value for key, value in values.items() if key != "model"}
    return rest | {"models": {"pretrained": model, "assistant": model, **parts}}
