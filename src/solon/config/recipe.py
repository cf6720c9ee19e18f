"""Recipes: every setting of a run, typed, with the paper's numbers or our own as defaults.

A recipe is a frozen tree that refuses unknown keys. `solon.config.loading` reads it from YAML files. Nothing here
imports torch, so a recipe is checked in milliseconds.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from solon.config.number_formats import DeviceMap as DeviceMap
from solon.config.number_formats import Dtype as Dtype
from solon.config.number_formats import Matmul as Matmul
from solon.config.planning_settings import PlanningSettings as PlanningSettings
from solon.config.plugins import GRADERS, registered
from solon.config.preference_settings import Balance as Balance
from solon.config.preference_settings import LabelsUsed as LabelsUsed
from solon.config.preference_settings import PairLayout as PairLayout
from solon.config.preference_settings import PreferenceSettings as PreferenceSettings
from solon.config.refusal_settings import RefusalSettings as RefusalSettings
from solon.config.revision_settings import CutOffReplies as CutOffReplies
from solon.config.revision_settings import EvasiveRevisions as EvasiveRevisions
from solon.config.revision_settings import RevisionForm as RevisionForm
from solon.config.revision_settings import RevisionMode as RevisionMode
from solon.config.revision_settings import RevisionSettings as RevisionSettings
from solon.config.rl import Aggregation as Aggregation
from solon.config.rl import Algorithm as Algorithm
from solon.config.rl import DpoSettings as DpoSettings
from solon.config.rl import Kept as Kept
from solon.config.rl import KlControl as KlControl
from solon.config.rl import NetworkSharing as NetworkSharing
from solon.config.rl import ReinforcementSettings as ReinforcementSettings
from solon.config.rl import StopSettings as StopSettings
from solon.config.rl import Tracker as Tracker
from solon.config.rl import ValueFunction as ValueFunction
from solon.config.served_model import OPENAI, served_fault
from solon.config.server_settings import ServerSettings as ServerSettings
from solon.config.settings import LEAST_LETTER_MASS
from solon.config.settings import Activations as Activations
from solon.config.settings import Count as Count
from solon.config.settings import LoraSettings as LoraSettings
from solon.config.settings import Positive as Positive
from solon.config.settings import Precision as Precision
from solon.config.settings import Rate as Rate
from solon.config.settings import SamplingParams as SamplingParams
from solon.config.settings import Schedule as Schedule
from solon.config.settings import Settings as Settings
from solon.config.settings import Share as Share
from solon.config.settings import TrainingSettings as TrainingSettings
from solon.config.vllm_settings import VllmSettings as VllmSettings
from solon.config.warm_start_settings import WarmStartSettings as WarmStartSettings

PAPER_CLAMP = (0.4, 0.6)
"""The bounds of labels that come after reasoning (paper, section 4.1)."""


class Method(StrEnum):
    """How the final policy is trained."""

    CAI = "cai"
    """Constitutional AI: critiques, revisions and AI feedback by principles."""
    RLHF = "rlhf"
    """Reinforcement learning only from human comparisons, the paper's baselines (Bai et al. 2022a)."""


class RenderingKind(StrEnum):
    """How prompts become text."""

    AUTO = "auto"
    """The tokenizer's chat template when it has one, otherwise the transcript."""
    CHAT = "chat"
    """The tokenizer's chat template."""
    TRANSCRIPT = "transcript"
    """The paper's transcript: Human and Assistant in turns."""


class Thinking(StrEnum):
    """Whether a reasoning model thinks before it replies; what it thinks is cut from the reply either way."""

    OFF = "off"
    """The chat template turns it off. Where the template begins a thought, the model sees an empty one."""
    ON = "on"
    """It thinks before each reply."""


class TooLong(StrEnum):
    """What to do with a prompt that leaves too little of the window for the answers."""

    REFUSE = "refuse"
    """Stop and name it."""
    DROP = "drop"
    """Leave it out and count it."""


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


class Clamping(StrEnum):
    """Whether labels are kept away from 0 and 1."""

    BY_FORM = "by-form"
    """Within 0.4 and 0.6 in the reasoned form, as in the paper (section 4.1). No bounds in the letter form."""
    OFF = "off"
    """No bounds."""


class WeakJudge(StrEnum):
    """What a run does when its judge is not better than chance on comparisons with a known answer."""

    STOP = "stop"
    """It stops before it labels."""
    ACCEPT = "accept"
    """It labels all the same. `solon run RUN --accept-weak-judge` sets this for an existing run."""


NO_GRADER, TESTBED_GRADER, JUDGE_GRADER = "none", "testbed", "judge"
REPLY_QUESTIONS = "replies"
"""The built-in questions about replies, by which a judge measures models."""


def _known_grader(name: str) -> str:
    """Check that the grader is built in or registered by a package."""
    built_in = (NO_GRADER, TESTBED_GRADER, JUDGE_GRADER)
    known = [*built_in, *(() if name in built_in else registered(GRADERS, built_in))]
    if name not in known:
        shown = " or ".join(f"'{each}'" for each in known)
        raise PydanticCustomError("unknown_grader", "Input should be {known}", {"known": shown})
    return name


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


def _without_secret(given: object) -> object:
    """Refuse a served model whose address is not valid or has a secret, before it is written anywhere."""
    for each in given if isinstance(given, tuple) else (given,):
        if isinstance(each, str) and each.startswith(f"{OPENAI}:") and (fault := served_fault(each[len(OPENAI) + 1 :])):
            raise ValueError(fault)
    return given


AskedModel = AfterValidator(_without_secret)
"""The name of a model that is asked."""


class ModelSettings(Settings):
    """Which models play which part: a folder, `testbed:NAME`, `hf:ORG/NAME[@REVISION]`, or `openai:MODEL@URL`."""

    pretrained: str = "testbed:pretrained"
    """Where SL-CAI finetuning starts (paper, section 3.1)."""
    assistant: Annotated[str, AskedModel] = "testbed:assistant"
    """The helpful-only model that answers the prompts."""
    critic: Annotated[str | None, AskedModel] = None
    """Writes critiques; the assistant when null."""
    reviser: Annotated[str | None, AskedModel] = None
    """Writes revisions; the critic when null."""
    feedback: Annotated[str | tuple[str, ...] | None, BeforeValidator(_one_or_several), AskedModel] = None
    """Judges pairs; the assistant when null. A list averages the labels of several; one is loaded at a time."""
    red_team: Annotated[str | None, AskedModel] = None
    """Writes more red-team prompts for `solon red-team`; `pretrained` when null, as in the paper (section 3.2)."""
    preference: str | None = None
    """The preference model starts from it; `pretrained` when null."""
    policy: str | None = None
    """`method: rlhf` starts from it and is held near it; `pretrained` when null. With `cai` this is SL-CAI."""

    @property
    def judges(self) -> tuple[str | None, ...]:
        """The feedback models, in order; None means the assistant."""
        return self.feedback if isinstance(self.feedback, tuple) else (self.feedback,)


class EngineSettings(Settings):
    """How models are asked."""

    rendering: RenderingKind = RenderingKind.AUTO
    """The form of a prompt."""
    template: str | None = None
    """The name of the chat template, for tokenizers that have several; the one named `default` when null."""
    thinking: Annotated[Thinking, BeforeValidator(_thinking)] = Thinking.OFF
    """Whether reasoning models think."""
    date: Annotated[str, BeforeValidator(_date)] = "2024-07-26"
    """The date that a chat template writes as today's, the same in every session of a run and in saved models."""
    batch_size: Positive = 128
    """Most prompts in one forward pass. There are fewer when `memory_gib` does not allow more."""
    memory_gib: Rate | None = None
    """GiB for keys, values and logits of the prompts in one pass. Null: at most half of what is free at the start."""
    window: Positive | None = None
    """Tokens of prompt and completion together; the model's own limit when null."""
    threads: Positive | None = None
    """Threads of torch; all cores when null."""
    dtype: Dtype = Dtype.AUTO
    """The number format of models that are asked."""
    device_map: DeviceMap | None = None
    """Spreads a model that one GPU cannot hold. Models in training always lie on one. Null: one GPU."""
    matmul: Matmul = Matmul.HIGHEST
    """The exactness of float32 products in training."""
    server: ServerSettings = ServerSettings()
    """How models behind servers are asked."""
    vllm: VllmSettings = VllmSettings()
    """How vLLM runs models in this process."""


class PromptSettings(Settings):
    """Where prompts come from; each source is a file, `testbed:NAME` or `hf:NAME`, or several joined by ` + `."""

    red_team: str = "testbed:red-team"
    """Red-team prompts: critiques, revisions and AI feedback are about them."""
    helpful: str = "testbed:helpful"
    """Helpfulness prompts: SL-CAI learns from replies to them, and the policy answers them."""
    limit_red_team: Positive | None = None
    """Most red-team prompts; all when null."""
    limit_helpful: Positive | None = None
    """Most helpfulness prompts; all when null."""
    most_turns: Positive | None = None
    """Most human turns of a prompt; longer dialogues are left out. All lengths when null."""
    too_long: TooLong = TooLong.REFUSE
    """What to do with long prompts."""
    bad_lines: Count = 0
    """How many unreadable lines a prompt file may have. They are skipped and counted."""
    columns: dict[str, str] | None = None
    """The names that sources use for `prompt`, `messages` and so on, e.g. {prompt: question}."""
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    """Prompts that are at least this similar count as one. Null: only equal ones."""


class RedTeamSettings(Settings):
    """Red-team prompts that a model writes (paper, section 3.2: 140,335 prompts). Only `solon red-team` reads this."""

    count: Positive = 1000
    """Prompts to write. There are fewer when `requests` is used up."""
    examples: Positive = 5
    """Human prompts shown in each request."""
    sampling: SamplingParams = SamplingParams()
    requests: Positive | None = None
    """Most requests to the model; `count` when null."""
    min_words: Positive = 4
    """Fewest words of a prompt."""
    max_words: Positive = 60
    """Most words of a prompt, and of an example."""
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = 0.7
    """A prompt that is at least this similar to an earlier or a human one is refused. Null: only an equal one."""


class OnlineSettings(Settings):
    """Prompts that join in later rounds: those that a policy was found to fail (`solon attack`). None by default."""

    red_team: str | None = None
    """Further red-team prompts from the second round on; a source as in `prompts`. The first round stays as it is."""


class ResponseSettings(Settings):
    """The assistant's own replies."""

    sampling: SamplingParams = SamplingParams()
    helpful_samples: Count = 2
    """Sampled replies for each helpfulness prompt, mixed into SL-CAI training (paper, section 3.2)."""


def _revisions_used(given: object) -> RevisionsUsed | int:
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return given
    if isinstance(given, str) and given in list(RevisionsUsed):
        return RevisionsUsed(given)
    raise ValueError("must be 'all', 'last', or how many of the first steps, from 1")


class FinetuneSettings(Settings):
    """SL-CAI."""

    revisions: Annotated[RevisionsUsed | int, BeforeValidator(_revisions_used)] = RevisionsUsed.ALL
    """The revisions to train on: `all`, `last`, or n for the first n steps (SL-CAI-n; paper, section 3.4)."""
    helpful_ratio: Annotated[float, Field(ge=0)] | None = None
    """Replies to helpfulness prompts for each revision; all replies when null."""
    training: TrainingSettings = TrainingSettings()


class PairedPrompts(StrEnum):
    """Which training prompts get pairs of replies."""

    RED_TEAM = "red-team"
    """Red-team prompts: helpfulness is left to human comparisons (paper, section 4.1)."""
    ALL = "all"
    """Helpfulness prompts as well, labelled by the same principles. For users without human comparisons."""


class PairSettings(Settings):
    """Two replies of the SL-CAI model to each prompt."""

    prompts: PairedPrompts = PairedPrompts.RED_TEAM
    """Red-team prompts, or helpfulness prompts as well."""
    per_prompt: Positive = 1
    """Pairs of new replies to each prompt. Each pair gets a principle of its own."""
    sampling: SamplingParams = SamplingParams()


def _clamp(given: object) -> Clamping | tuple[float, float]:
    if given is None or given is False:
        return Clamping.OFF  # YAML reads a plain `off` as false.
    if isinstance(given, str) and given in list(Clamping):
        return Clamping(given)
    if isinstance(given, list | tuple) and len(given) == 2 and all(type(bound) in (int, float) for bound in given):
        low, high = map(float, given)
        # With uneven bounds the label would depend on which reply is A.
        if 0 <= low < 0.5 and abs(low + high - 1) < 1e-9:
            return low, high
    raise ValueError("must be 'by-form', 'off', or two bounds equally far from one half, such as [0.4, 0.6]")


class FeedbackSettings(Settings):
    """AI labels."""

    form: FeedbackForm = FeedbackForm.LETTER
    """With or without reasoning."""
    order: OptionOrder = OptionOrder.BOTH
    """One order of the two replies, or both."""
    reasoning: SamplingParams = SamplingParams()
    """How the reasoning is drawn, in the reasoned form."""
    samples: Positive = 1
    """Reasonings for each question in the reasoned form. Their labels are averaged (paper, section 4.1: 5). Several
    need a temperature above 0 in `reasoning`."""
    clamp: Annotated[Clamping | tuple[float, float], BeforeValidator(_clamp)] = Clamping.BY_FORM
    """Bounds of a label, such as [0.4, 0.6], or `by-form`, or `off`. The label before clamping is kept as well."""
    few_shot: Count = 0
    """Worked examples in front of each question."""
    prefix_variants: Positive = 8
    """Different arrangements of the worked examples. With fewer of them, more questions share a prefix."""
    min_letter_mass: Share = LEAST_LETTER_MASS
    """When both letters together have less probability than this, the pair is undecided."""
    votes: Positive = 8
    """Letters written for each question by an engine that has no log-probabilities."""
    number_of_principles: Positive | None = None
    """Only the first so many preference principles (paper, section 4.3: 1 and 16); all when null."""
    axes: Annotated[dict[str, Rate], Field(min_length=1)] | None = None
    """Axes of the constitution that get a label of their own, with their weights in the label of the pair. Null: one
    principle is drawn from all."""
    helpful_axis: str | None = None
    """Replies to helpful prompts are compared by the principles of this axis only, and all other replies by the other
    principles (`pairs.prompts: all`, where no people's comparisons are at hand). Null: by all principles alike."""

    @model_validator(mode="after")
    def _fit_together(self) -> FeedbackSettings:
        if self.axes is not None and self.helpful_axis is not None:
            raise ValueError("either every pair has a label on each axis (axes), or its prompt decides (helpful_axis)")
        if self.samples > 1 and self.form is FeedbackForm.LETTER:
            raise ValueError("several samples need the reasoned form: without reasoning every one gives the same label")
        if self.samples > 1 and self.reasoning.temperature == 0:
            raise ValueError(
                "several samples need a temperature above 0, such as feedback.reasoning.temperature=1: at 0 every "
                "reasoning is the same"
            )
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """What labels are clamped to, if at all."""
        if isinstance(self.clamp, Clamping):
            clamped = self.clamp is Clamping.BY_FORM and self.form is FeedbackForm.REASONED
            return PAPER_CLAMP if clamped else None
        return self.clamp


class JudgeCheckSettings(Settings):
    """How critic and judge are measured before a run uses them. Nothing here changes a row of a run."""

    weak_judge: WeakJudge = WeakJudge.STOP
    """Whether a weak judge stops the run."""
    limit: Positive | None = None
    """Most questions of each kind; all when null."""


class MeasureSettings(Settings):
    """What is measured at the end, on prompts that no training stage saw."""

    grader: Annotated[str, AfterValidator(_known_grader)] = TESTBED_GRADER
    """Who says what a reply is: `testbed`, `judge` (a model), `none`, or a plug-in of `solon.graders`."""
    judge: Annotated[str | None, AskedModel] = None
    """With `grader: judge`, the model that is asked; the first of `models.feedback` when null."""
    questions: str = REPLY_QUESTIONS
    """What the judge is asked about replies: `replies`, or a YAML file."""
    baseline: str | None = None
    """The measured model, such as `assistant`, that the judge compares the replies of all others with; none if null."""
    harmful: str = "testbed:held-out-harmful"
    """A source like those of `prompts`, or `split:SHARE`: this share of the training prompts, by content hash."""
    benign: str = "testbed:held-out-benign"
    """Likewise, benign prompts."""
    limit: Positive | None = None
    """Most prompts of each kind; all when null."""
    sampling: SamplingParams = SamplingParams()


class Recipe(Settings):
    """A whole run."""

    name: str = "run"
    """The name in reports."""
    seed: Count = 0
    """The seed from which every other seed is derived."""
    method: Method = Method.CAI
    """Constitutional AI, or the paper's baseline."""
    rounds: Positive = 1
    """How often pairs are drawn, labelled and learned from. From the second round on they are the last policy's."""
    constitution: str = "testbed"
    """A built-in name (`testbed`, `harmlessness`) or a YAML file."""
    model: Annotated[str | None, Field(exclude=True)] = None
    """One model for all parts: short for `models.pretrained` and `models.assistant`, from which the other parts follow.
    What `models` names keeps its value. A stored recipe holds the two names, and null here."""
    models: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    prompts: PromptSettings = PromptSettings()
    red_team: RedTeamSettings = RedTeamSettings()
    online: OnlineSettings = OnlineSettings()
    responses: ResponseSettings = ResponseSettings()
    revision: RevisionSettings = RevisionSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    pairs: PairSettings = PairSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    judge_check: JudgeCheckSettings = JudgeCheckSettings()
    preference: PreferenceSettings = PreferenceSettings()
    rl: ReinforcementSettings = ReinforcementSettings()
    measure: MeasureSettings = MeasureSettings()
    refusals: RefusalSettings | None = None
    """Measure over-refusal on benign prompts that sound harmful; null does not. `{}` takes the defaults."""
    warm_start: WarmStartSettings = WarmStartSettings()
    """Go on from the trained models of an earlier run, to redo less after an edit."""
    planning: PlanningSettings = PlanningSettings()
    """What a dry run assumes where models are not here."""
    plugins: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Stages of other packages, by name, each with its own settings (docs/how-to/own-stage.md)."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, given: Any) -> Any:
        return with_one_model(given) if isinstance(given, Mapping) else given


def with_one_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe with `model` replaced by `models.pretrained` and `models.assistant`, unless they are set.

    A `model` that is not text stays, and the recipe refuses it.
    """
    model, parts = values.get("model"), values.get("models") or {}
    if isinstance(parts, ModelSettings):
        parts = parts.model_dump(exclude_unset=True)
    if not isinstance(model, str) or not isinstance(parts, Mapping):
        return dict(values)
    rest = {key: value for key, value in values.items() if key != "model"}
    return rest | {"models": {"pretrained": model, "assistant": model, **parts}}
