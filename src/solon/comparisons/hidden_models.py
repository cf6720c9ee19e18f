"""The models that take part in a comparison, and their replies.

An argument is a model folder or an engine spec, with a name in front if the user likes: `sl=runs/demo/04-sl-cai`. A
stage's folder stands for the model in it, and a folder of snapshots for all of its snapshots. The caller says which
folder the name of a run's model, such as `runs/demo:rl-cai`, stands for. All models are opened at
the start, so that a wrong name is an error before anybody writes a turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from solon.comparisons.vote_rows import IDENTITY_DIGITS, NO_REPLY, NO_ROOM, ComparedModel, ComparedTurn, KeptSetting
from solon.config.model_spec import FOLDER, ModelSpec, located
from solon.config.recipe import EngineSettings
from solon.config.settings import SamplingParams
from solon.conversation import Conversation
from solon.engines.base import Completion, Engine, Finish
from solon.engines.registry import identity_of, open_engine
from solon.errors import InputError
from solon.feedback.ask import TOO_LONG, ask
from solon.prompts import reply

_NAMED = re.compile(r"(?P<name>\w[\w.+ -]{0,59})=(?P<spec>.+)")
_SNAPSHOT = re.compile(r"step-\d{5,}")


FolderOfRun: TypeAlias = Callable[[str], str | None]
"""The folder of a run's model by its name; None for any other name."""


def compared_models(written: Sequence[str], folder_of_run: FolderOfRun = lambda _: None) -> list[ComparedModel]:
    """The models behind the arguments; raises ModelError for a missing one, and InputError for fewer than two."""
    named = [each for argument in written for each in _named_specs(argument, folder_of_run)]
    models = [_model(name, spec) for name, spec in named]
    keys = {model.key for model in models}
    if len(keys) < len(models):
        raise InputError("one model is named twice", place=", ".join(written), remedy="Name different models")
    if len(models) < 2:
        raise InputError("a comparison needs two models or more", remedy="solon compare MODEL_A MODEL_B")
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise InputError("two models have one name", place=", ".join(names), remedy="Name them: first=FOLDER")
    return models


def _named_specs(argument: str, folder_of_run: FolderOfRun) -> list[tuple[str, str]]:
    match = None if Path(argument).exists() else _NAMED.fullmatch(argument)
    name, spec = (match["name"], match["spec"]) if match else (argument, argument)
    if (of_run := folder_of_run(spec)) is not None:
        return [(name, of_run)]
    folder = Path(spec)
    if ModelSpec.parse(spec).scheme != FOLDER or not folder.is_dir() or (folder / "config.json").is_file():
        return [(name.rstrip("/"), spec)]
    snapshots = sorted(each.name for each in folder.iterdir() if _SNAPSHOT.fullmatch(each.name))
    if snapshots:
        return [(f"{name.rstrip('/')}/{each}", str(folder / each)) for each in snapshots]
    whole = folder / "model"
    return [(name.rstrip("/"), str(whole if (whole / "config.json").is_file() else folder))]


def _model(name: str, spec: str) -> ComparedModel:
    identity = identity_of(located(ModelSpec.parse(spec)))
    return ComparedModel(key=f"{name}@{identity[:IDENTITY_DIGITS]}", name=name, spec=spec, identity=identity)


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """A turn without replies, and the conversation that its two models answer."""

    turn: ComparedTurn
    prompt: Conversation


class HiddenModels:
    """Opened models by key; one thread at a time asks them."""

    def __init__(self, engines: Mapping[str, Engine], sampling: SamplingParams) -> None:
        self.engines = engines
        self.sampling = sampling
        self._lock = Lock()

    @classmethod
    def opened(
        cls, models: Sequence[ComparedModel], sampling: SamplingParams, settings: EngineSettings
    ) -> HiddenModels:
        """Open every model; raises what `open_engine` raises."""
        engines = {model.key: open_engine(located(ModelSpec.parse(model.spec)), settings) for model in models}
        return cls(engines, sampling)

    def knows(self, turn: ComparedTurn) -> bool:
        """Whether both models of a turn are open."""
        return turn.model_a in self.engines and turn.model_b in self.engines

    def answered(self, asked: Sequence[AskedTurn]) -> list[ComparedTurn]:
        """The turns with both replies; each model answers all its prompts in one call.

        Where a model gives no reply to one of them, or it does not fit its window, the turn has no replies and says
        why. Raises what the engines raise, such as EngineError for a server that is away.
        """
        wanted: dict[str, list[tuple[int, int, Conversation]]] = {}
        for place, each in enumerate(asked):
            wanted.setdefault(each.turn.model_a, []).append((2 * place, each.turn.seed_a, each.prompt))
            wanted.setdefault(each.turn.model_b, []).append((2 * place + 1, each.turn.seed_b, each.prompt))
        found: dict[int, Completion] = {}
        with self._lock:
            for key, questions in wanted.items():
                found.update(self._ask(key, questions))
        return [_filled(each.turn, found[2 * place], found[2 * place + 1]) for place, each in enumerate(asked)]

    def kept_sampling(self) -> KeptSetting:
        """How replies are sampled, as the file of votes keeps it."""
        return KeptSetting(name="sampling of replies", value=self.sampling.model_dump_json())

    def _ask(self, key: str, questions: Sequence[tuple[int, int, Conversation]]) -> dict[int, Completion]:
        prompts = [reply(prompt) for _, _, prompt in questions]
        texts = ask(self.engines[key], prompts, [seed for _, seed, _ in questions], self.sampling)
        return {place: text for (place, _, _), text in zip(questions, texts, strict=True)}


def _filled(turn: ComparedTurn, a: Completion, b: Completion) -> ComparedTurn:
    failed = NO_REPLY if Finish.ERROR in (a.finish, b.finish) else ""
    if TOO_LONG in (a, b):  # nobody was asked: no reply that could win, lose or tie
        failed = NO_ROOM
    return replace(
        turn,
        reply_a=_storable(a.text),
        reply_b=_storable(b.text),
        finish_a=str(a.finish),
        finish_b=str(b.finish),
        failed_because=failed,
    )


def _storable(text: str) -> str:
    """The text without lone surrogates, which no file in UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
