"""Samples the replies of one step: prompts are drawn, and the present policy answers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from solon import prompts
from solon.config.recipe import EngineSettings, Matmul, ReinforcementSettings
from solon.conversation import Conversation
from solon.engines.base import Finish
from solon.engines.registry import ModelInMemory
from solon.rl.rollout import PromptDraws, Reply, occurrences, sample_seed
from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.runs.rows import PromptKind
from solon.training.encoding import Tokens
from solon.training.models import arithmetic


@dataclass(frozen=True, slots=True)
class TrainingPrompt:
    """A prompt of the training set."""

    row_id: str
    kind: PromptKind
    conversation: Conversation
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class PolicySampler:
    """Draws prompts and has the present policy answer them."""

    engine: ModelInMemory
    questions: Sequence[Sequence[TrainingPrompt]]
    """By kind, red team first."""
    settings: ReinforcementSettings
    seed: int
    refresh: Callable[[], None]
    """Brings the engine's weights up to date."""
    processes: Processes = SINGLE_PROCESS
    draws: PromptDraws = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the draws of prompts."""
        shares = (self.settings.red_team_share, 1 - self.settings.red_team_share)
        sizes = [len(kind) for kind in self.questions]
        draws = PromptDraws(sizes, shares, self.settings.prompts_per_step, self.seed)
        object.__setattr__(self, "draws", draws)  # the class is frozen

    def sample(self, step: int) -> list[Reply]:
        """All replies of one step, empty ones too; prompts are shared by processes."""
        questions = [self.questions[kind][index] for kind, index in self.draws.at(step)]
        asked = list(zip(questions, occurrences(each.row_id for each in questions), strict=True))
        self.refresh()
        # One process samples all replies to a prompt, so that they share what was computed for the prompt.
        samples = range(self.settings.samples_per_prompt)
        mine = [(*each, sample) for each in self.processes.share(asked) for sample in samples]
        completions = self._completions(step, mine)
        size = len(samples)
        whole = self.processes.gather([completions[at : at + size] for at in range(0, len(completions), size)])
        return [_reply(*draw, each) for draw, of_it in zip(asked, whole, strict=True) for each in of_it]

    def _completions(self, step: int, drawn: Sequence[tuple[TrainingPrompt, int, int]]) -> list[Written]:
        """What the policy writes to each drawn prompt, which comes with its occurrence and the sample's number."""
        if not drawn:  # fewer prompts than processes
            return []
        seeds = [sample_seed(self.seed, step, prompt.row_id, sample, again) for prompt, again, sample in drawn]
        asked = [prompts.reply(question.conversation) for question, _, _ in drawn]
        self.engine.refresh()  # the weights have moved since the last step
        # Decoding is many small products, which reduced precision makes slower: half the speed was measured.
        with arithmetic(EngineSettings(matmul=Matmul.HIGHEST)):
            completions = self.engine.generate(asked, seeds, self.settings.sampling, self.engine.rendering.stops())
        return [(list(each.token_ids), each.text, each.finish in (Finish.END, Finish.STOP)) for each in completions]


Written = tuple[list[int], str, bool]
"""A reply as it passes between processes: token ids, text, whether it ended before its limit."""


def _reply(question: TrainingPrompt, occurrence: int, written: Written) -> Reply:
    token_ids, text, finished = written
    return Reply(question.row_id, question.kind.value, question.tokens, tuple(token_ids), text, finished, occurrence)
