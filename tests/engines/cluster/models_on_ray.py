"""Scripted models that actors open; everything is of module level, since it is sent to them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.base import Engine
from solon.engines.scripted import ScriptedEngine
from solon.errors import EngineError, ModelError
from solon.prompts import reply

SPEC = ModelSpec("folder", "scripted")


def asked(text: str) -> Prompt:
    """A prompt with one human turn."""
    return reply(Conversation((Turn(Role.HUMAN, text),)))


def words(prompt: Prompt, seed: int) -> str:
    """A reply that depends on the prompt and the seed."""
    return f"reply {seed % 1000003} to {prompt.turns[-1].content[:40]}"


def preferred(prompt: Prompt, option: str) -> float:
    """A log-probability that depends on the prompt and the option."""
    return -1.0 - len(prompt.turns[-1].content) % 7 / 10 - len(option) / 100


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers with words; a prompt may ask for an error, for the process, to wait, or to die."""

    log: Path | None = None

    def __call__(self, prompt: Prompt, seed: int) -> str:
        """The answer to a prompt."""
        text = prompt.turns[-1].content
        if self.log is not None:
            _note(self.log, f"asked {os.getpid()}")
        if "fail" in text:
            raise EngineError("no answer", place="toy", remedy="Ask again")
        if "fault" in text:
            raise KeyError("a fault of the code")
        if "die" in text:
            os._exit(9)
        if "wait" in text:
            time.sleep(0.2)
        return str(os.getpid()) if "process" in text else words(prompt, seed)


@dataclass(frozen=True, slots=True)
class ScriptedModels:
    """Opens a scripted engine for any spec, and notes each opening; `only_in` is the process that has the model."""

    log: Path | None = None
    identity_here: str = "scripted"
    only_in: int | None = None

    def open(self, spec: ModelSpec, settings: EngineSettings) -> Engine:
        """See `Opener.open`."""
        if self.log is not None:
            _note(self.log, f"opened {spec} {os.getpid()}")
        return ScriptedEngine(Answers(self.log), preferred, name=spec.name)

    def identity(self, spec: ModelSpec) -> str:
        """Another one in each process where the name says so."""
        if self.only_in not in (None, os.getpid()):
            raise ModelError("no such folder", place=str(spec))
        return f"{self.identity_here} {os.getpid()}" if "own" in spec.name else self.identity_here


def _note(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
