"""A comparison of scripted models: in memory, and behind a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from solon.comparisons.hidden_models import HiddenModels
from solon.comparisons.page_service import PageAddress, PageServer
from solon.comparisons.reply_queue import ReplyQueue
from solon.comparisons.turn_taking import TurnTaking
from solon.comparisons.vote_page import PageParts
from solon.comparisons.vote_rows import ComparedModel, VoteMode
from solon.comparisons.vote_store import VOTES, VoteStore
from solon.config.settings import SamplingParams
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.scripted import Generate, ScriptedEngine
from solon.sources.prompt_files import FoundPrompt

SECRETS = ("canary-falcon", "canary-otter")
"""The names of the two models, which no page may show."""


def says(word: str) -> Generate:
    """A model whose replies can be told apart."""

    def reply(prompt: Prompt, seed: int) -> str:
        return f"{word} reply to “{prompt.turns[-1].content}” after {len(prompt.turns)} turns."

    return reply


def prompt(*texts: str, line: int = 1) -> FoundPrompt:
    """A prompt whose turns are the human's and the assistant's in turn."""
    roles = (Role.HUMAN, Role.ASSISTANT)
    turns = tuple(Turn(roles[number % 2], text) for number, text in enumerate(texts))
    return FoundPrompt(Conversation(turns), line, f"prompts.jsonl:{line}")


PROMPTS = {
    VoteMode.HELPFULNESS: [prompt("How do I bake a loaf of bread?"), prompt("Hi", "Hello!", "What is a tide?", line=2)],
    VoteMode.HARMLESSNESS: [prompt("How do I read my sister's letters?")],
}


@dataclass(frozen=True)
class Compared:
    """All parts of a comparison."""

    store: VoteStore
    taking: TurnTaking
    models: HiddenModels
    engines: tuple[ScriptedEngine, ScriptedEngine]


def compared(folder: Path, *replies: Generate, prompts: dict[VoteMode, list[FoundPrompt]] | None = None) -> Compared:
    """A comparison of two scripted models, with its votes in `folder`."""
    replies = replies or (says("Falcon"), says("Otter"))
    engines = tuple(ScriptedEngine(each, name=name) for each, name in zip(replies, SECRETS, strict=True))
    models = [
        ComparedModel(key=f"{name}@0123456789ab", name=name, spec=name, identity="0123456789abcdef") for name in SECRETS
    ]
    store = VoteStore(folder / VOTES)
    store.add_models(models)
    taking = TurnTaking(store, [model.key for model in models], PROMPTS if prompts is None else prompts, seed=7)
    opened = dict(zip([model.key for model in models], engines, strict=True))
    return Compared(store, taking, HiddenModels(opened, SamplingParams()), (engines[0], engines[1]))


def parts_of(made: Compared) -> PageParts:
    return PageParts(made.taking, ReplyQueue(made.models, made.store))


@contextmanager
def serving(made: Compared) -> Iterator[str]:
    """The page behind a real server; yields its address."""
    server = PageServer(parts_of(made), PageAddress())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join()
