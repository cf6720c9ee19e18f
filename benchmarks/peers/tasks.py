"""What the contestants are given: files of JSON that Solon's side writes and every contestant reads.

Prompts are given as token ids, so that all contestants read the same. Solon gets the turns as well, because its engine
begins with a conversation. The module imports the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

Ids = Sequence[int]
Turns = Sequence[Sequence[str]]
"""Role and text of each turn."""


@dataclass(frozen=True)
class Phase:
    """Prompts that begin with the same tokens, and the tokens that are written to each.

    All prompts of a phase are asked at once. `own` are the tokens after `shared`; `limits` is empty where options are
    chosen. `answers_as` and `opening` are what `solon.conversation.Prompt` calls `reply_as` and `opening`.
    """

    shared: Ids
    own: Sequence[Ids]
    limits: Sequence[int]
    shared_turns: Turns
    own_turns: Sequence[Turns]
    answers_as: str
    opening: str = ""

    @property
    def whole(self) -> list[list[int]]:
        """The tokens of each prompt."""
        return [[*self.shared, *each] for each in self.own]


@dataclass(frozen=True)
class AskingTask:
    """Prompts to a language model, phase after phase.

    `options` are the tokens whose log-probabilities are asked, `letters` their texts. A contestant whose time for each
    prompt does not depend on the others may answer the first `sample` of them only. `rows` is the most prompts in one
    batch.
    """

    model: str
    threads: int
    window: int
    phases: Sequence[Phase]
    options: Ids = ()
    letters: Sequence[str] = ()
    sample: int = 0
    rows: int = 64

    @property
    def new_tokens(self) -> int:
        """Tokens that are written in all."""
        return sum(sum(phase.limits) for phase in self.phases)


@dataclass(frozen=True)
class LearningTask:
    """Rows to learn from, all of them in every step: `rows` for finetuning, `chosen` and `rejected` for preferences.

    `starts` says from which token on a row has a loss. `micro_rows` is how many rows a peer takes in one pass.
    `lora_rank` is 0 where all weights are trained.
    """

    model: str
    threads: int
    steps: int
    pad: int
    lora_rank: int
    micro_rows: int
    rows: Sequence[Ids] = ()
    starts: Sequence[int] = ()
    chosen: Sequence[Ids] = ()
    rejected: Sequence[Ids] = ()

    @property
    def tokens(self) -> int:
        """Tokens of all rows, without padding."""
        return sum(map(len, [*self.rows, *self.chosen, *self.rejected]))


@dataclass(frozen=True)
class ReinforcementTask:
    """A policy, a preference model that scores it and starts the value function, and prompts.

    Each step writes `episodes` replies of at most `new_tokens` and learns from them in `passes` passes.
    """

    policy: str
    reward: str
    threads: int
    steps: int
    pad: int
    lora_rank: int
    episodes: int
    new_tokens: int
    passes: int
    texts: Sequence[str]
    prompts: Sequence[Ids]


@dataclass(frozen=True)
class CourseTask:
    """Work of a whole process: stages over so many rows, or a run of a recipe."""

    rows: int
    threads: int
    settings: Sequence[str] = ()


Task = AskingTask | LearningTask | ReinforcementTask | CourseTask
T = TypeVar("T", AskingTask, LearningTask, ReinforcementTask, CourseTask)


def write_task(task: Task, path: Path) -> Path:
    """Write a task and return the path."""
    path.write_text(json.dumps(asdict(task)), encoding="utf-8")
    return path


def read_task(kind: type[T], path: str | Path) -> T:
    """Read a task of a kind; raises TypeError when the file holds another one."""
    given: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    known = {each.name for each in fields(kind)}
    if given.keys() - known:
        raise TypeError(f"{path} holds no {kind.__name__}")
    if "phases" in given:
        given["phases"] = [Phase(**each) for each in given["phases"]]
    return kind(**given)
