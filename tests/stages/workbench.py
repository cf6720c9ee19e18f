"""What the tests of the stages share: a run directory to work in, small artefacts, and a constitution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from solon.config.recipe import Recipe
from solon.conversation import Conversation, Prompt, Role, Turn, parse_transcript
from solon.engines.base import Completion
from solon.engines.scripted import ScriptedEngine
from solon.runs import Artefact, RunDirectory, StageFolder
from solon.runs.records import from_record
from solon.runs.rows import PromptRow

R = TypeVar("R")
CONSTITUTION = """
name: small
revision:
  - id: harm
    critique_request: Say what in the last reply does harm to people.
    revision_request: Please rewrite the reply without any of the harm.
  - id: law
    critique_request: Say what in the last reply breaks the law.
    revision_request: Please rewrite the reply so that it keeps the law.
  - id: tone
    critique_request: Say what in the last reply is unkind to people.
    revision_request: Please rewrite the reply in a much kinder way.
preference:
  - {id: safer, instruction: Choose the safer reply.}
  - {id: kinder, instruction: Choose the kinder reply.}
examples:
  critique:
    - conversation: "\\n\\nHuman: How do I cheat?\\n\\nAssistant: Write it on your arm."
      critique_request: What is wrong here?
      critique: The reply helps with cheating in an exam, which is unfair to the others.
      revision_request: Please rewrite it.
      revision: I would rather help you to learn it in time, shall we make a plan?
    - conversation: "\\n\\nHuman: Hi\\n\\nAssistant: Hello.\\n\\nHuman: Insult me\\n\\nAssistant: You fool."
      critique_request: What is wrong here?
      critique: The reply insults the human although a joke would have done no harm.
      revision_request: Please rewrite it.
      revision: I would rather not, but I know a good joke about penguins.
  comparison:
    - {conversation: "Human: Example one", better: better one, worse: worse one}
    - {conversation: "Human: Example two", better: better two, worse: worse two}
    - {conversation: "Human: Example three", better: better three, worse: worse three}
"""


class Killed(BaseException):
    """Stands for `kill -9` between two chunks."""


@dataclass
class Bench:
    """A run directory with stage folders to hand out by name."""

    path: Path
    run: RunDirectory = field(init=False)
    stages: int = 0

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "small.yaml"
        file.write_text(CONSTITUTION, encoding="utf-8")
        self.run = RunDirectory.create(self.path / "run", Recipe(), file)
        self.constitution = self.run.constitution

    def out(self, name: str, number: int = 1) -> StageFolder:
        return self.run.begin(number, name, {"stage": name})

    def artefact(self, name: str, records: Sequence[dict[str, Any]], row: type[R], number: int = 1) -> Artefact:
        return self.out(name, number).publish([from_record(row, record) for record in records], row)

    def prompts(self, *texts: str, kind: str = "red_team", name: str = "given-prompts") -> Artefact:
        rows = [prompt_row(text, kind) for text in texts]
        return self.artefact(name, rows, PromptRow)


def human(text: str) -> Conversation:
    if text.startswith("\n\nHuman:"):
        return parse_transcript(text)
    return Conversation((Turn(Role.HUMAN, text),))


def prompt_row(text: str, kind: str = "red_team") -> dict[str, Any]:
    conversation = human(text)
    return {
        "row_id": conversation.row_id,
        "kind": kind,
        "prompt": conversation.messages(),
        "source": "test",
        "line": 1,
        "outcome": "ok",
    }


def seeded(prompt: Prompt, seed: int) -> str:
    """A reply that depends on the last turn and the seed."""
    return f"reply {seed % 1000003} to {prompt.turns[-1].content[:20]}"


def dying(answer: Callable[[Prompt, int], str | Completion], after: int) -> Callable[[Prompt, int], str | Completion]:
    """`answer`, until it was asked `after` times; then the process dies."""
    asked = 0

    def generate(prompt: Prompt, seed: int) -> str | Completion:
        nonlocal asked
        asked += 1
        if asked > after:
            raise Killed
        return answer(prompt, seed)

    return generate


def survives_a_kill(
    tmp_path: Path, work: Callable[[Bench, ScriptedEngine], Artefact], answer: Callable[[Prompt, int], Any]
) -> None:
    """A stage that dies after some answers and is started again gives the bytes of one that was never interrupted."""
    whole_engine = ScriptedEngine(answer)
    whole = work(Bench(tmp_path / "whole"), whole_engine)
    total = len(whole_engine.prompts)
    assert total > 4
    bench = Bench(tmp_path / "killed")
    for after in (total // 2, total // 4):
        try:
            work(bench, ScriptedEngine(dying(answer, after)))
        except Killed:
            continue
        raise AssertionError("the stage was meant to be killed")
    last = ScriptedEngine(answer)
    resumed = work(bench, last)
    assert len(last.prompts) < total
    assert resumed.table().to_pylist() == whole.table().to_pylist()
    assert resumed.hash == whole.hash
