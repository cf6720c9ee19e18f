"""The exported prompts: which of a run's prompts are exported, and in which order.

A trainer renders messages with the policy's chat template and tokenizes them itself. So a prompt is exported only when
this gives exactly the tokens that Solon trains on, for the policy and for the preference model, and when the context
window has space for a whole reply. The training prompts are in the order in which stage 08 draws them, by kind and by
step: a trainer that reads the file once, in order, sees the same prompts in each step as stage 08.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.export.trainers.trainer_model import ExportedModel, Message
from solon.rl.rollout import PromptDraws
from solon.runs import Artefact
from solon.runs.files import write_atomically
from solon.runs.rows import HELD_OUT_KINDS, TRAINING_KINDS, PromptKind, PromptRow, good_of
from solon.training.encoding import Tokens

GOLDEN_PROMPTS = 16


@dataclass(frozen=True, slots=True)
class ExportedPrompt:
    """A prompt for a trainer: messages that end on a user turn, and the text and tokens that the policy reads."""

    row_id: str
    kind: PromptKind
    messages: Sequence[Message]
    text: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class PromptSelection:
    """The exported prompts in the table's order, and the number of excluded ones by reason."""

    prompts: Sequence[ExportedPrompt]
    excluded: Mapping[str, int]

    def of(self, kind: PromptKind) -> list[ExportedPrompt]:
        """The prompts of a kind."""
        return [prompt for prompt in self.prompts if prompt.kind is kind]

    @property
    def held_out(self) -> list[ExportedPrompt]:
        """Prompts that no stage has trained on."""
        return [prompt for kind in HELD_OUT_KINDS for prompt in self.of(kind)]


def select(prompts: Artefact, policy: ExportedModel, preference: ExportedModel, max_tokens: int) -> PromptSelection:
    """The `ok` prompts of stage 01 that leave `max_tokens` for a reply and that a trainer reads as Solon does."""
    rows = good_of(prompts.rows(PromptRow), *TRAINING_KINDS, *HELD_OUT_KINDS)
    conversations = [row.prompt for row in rows]
    messages = [policy.messages(each) for each in conversations]
    texts = policy.texts(messages)
    read = policy.tokens(texts)
    same = [
        theirs == ours and scored == wanted
        for theirs, ours, scored, wanted in zip(
            read,
            policy.encoding.prompts(conversations),
            preference.tokens(preference.texts(messages)),
            preference.encoding.prompts(conversations),
            strict=True,
        )
    ]
    longest = min(policy.encoding.window, preference.encoding.window) - max_tokens - 1  # the scorer reads an end token
    kept = [
        ExportedPrompt(row.row_id, row.kind, each, text, tokens)
        for row, each, text, tokens, alike in zip(rows, messages, texts, read, same, strict=True)
        if alike and len(tokens) <= longest
    ]
    too_long = sum(alike and len(tokens) > longest for alike, tokens in zip(same, read, strict=True))
    return PromptSelection(kept, {"too long": too_long, "other tokens through the chat template": same.count(False)})


def schedule(
    selection: PromptSelection, red_team_share: float, per_step: int, steps: int, seed: int
) -> list[ExportedPrompt]:
    """The prompts of `steps` steps in order, as stage 08 draws them step by step."""
    kinds = [selection.of(kind) for kind in TRAINING_KINDS]
    sizes, shares = [len(kind) for kind in kinds], (red_team_share, 1 - red_team_share)
    draws = PromptDraws(sizes, shares, per_step, seed)
    return [kinds[kind][index] for step in range(steps) for kind, index in draws.at(step)]


def write_prompts(training: Sequence[ExportedPrompt], selection: PromptSelection, folder: Path) -> None:
    """Write the prompts as JSON Lines in TRL's form, and golden prompts: a few with their text and tokens."""
    folder.mkdir()
    for name, prompts in (("train", training), ("held-out", selection.held_out)):
        rows = [{"prompt": each.messages, "kind": each.kind.value, "row_id": each.row_id} for each in prompts]
        _write_lines(rows, folder / f"{name}.jsonl")
    every = selection.prompts
    golden = every[:: max(1, len(every) // GOLDEN_PROMPTS)][:GOLDEN_PROMPTS]
    _write_lines(
        [{"messages": each.messages, "text": each.text, "input_ids": each.tokens} for each in golden],
        folder / "golden_prompts.jsonl",
    )


def _write_lines(rows: Iterable[Mapping[str, object]], path: Path) -> None:
    write_atomically(path, "".join(f"{json.dumps(row)}\n" for row in rows))
