"""The prompts of a hand-off: which of a run's can be handed on, and in which order a trainer is to take them.

A trainer renders messages through the policy's chat template and tokenizes them itself. So a prompt is handed on only
when that gives, for policy and preference model alike, the very tokens that Solon trains on, and when it leaves room
for a whole reply. The training prompts are written in the order in which stage 08 draws them, by kind and by step: a
trainer that goes through the file once, in order, sees in each step what Solon's own would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.conversation import Conversation
from solon.rl.rollout import PromptDraws
from solon.runs import Artefact
from solon.runs.rows import HELD_OUT_KINDS, TRAINING_KINDS, PromptKind, PromptRow, good_of
from solon.training.encoding import Encoding, Tokens

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HandoffPrompt:
    """A prompt as a trainer gets it: messages that end on a user turn, and what its policy is to read."""

    row_id: str
    kind: PromptKind
    messages: Sequence[Message]
    text: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Selection:
    """The prompts that can be handed on, in the table's order, and how many cannot, by reason."""

    prompts: Sequence[HandoffPrompt]
    left_out: Mapping[str, int]

    def of(self, kind: PromptKind) -> list[HandoffPrompt]:
        """The prompts of a kind."""
        return [prompt for prompt in self.prompts if prompt.kind is kind]

    @property
    def held_out(self) -> list[HandoffPrompt]:
        """Prompts that no stage has trained on."""
        return [prompt for kind in HELD_OUT_KINDS for prompt in self.of(kind)]


@dataclass(frozen=True, slots=True)
class Reader:
    """A model's tokenizer as it is exported, and how Solon encodes for the model."""

    tokenizer: Any
    encoding: Encoding

    def messages(self, conversation: Conversation) -> list[dict[str, str]]:
        """A conversation as this model's chat template is to be given it."""
        return self.encoding.tokenizer.messages(conversation.turns)

    def texts(self, messages: Sequence[Sequence[Message]]) -> list[str]:
        """Prompts as the exported chat template writes them."""
        return [
            str(self.tokenizer.apply_chat_template(list(each), add_generation_prompt=True, tokenize=False))
            for each in messages
        ]

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Rendered prompts as a trainer tokenizes them."""
        return [tuple(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]


def select(prompts: Artefact, policy: Reader, preference: Reader, max_tokens: int) -> Selection:
    """The `ok` prompts of stage 01 that leave room for a reply of `max_tokens` and are read by others as by Solon."""
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
    room = min(policy.encoding.window, preference.encoding.window) - max_tokens - 1  # the scorer reads an end token
    kept = [
        HandoffPrompt(row.row_id, row.kind, each, text, tokens)
        for row, each, text, tokens, alike in zip(rows, messages, texts, read, same, strict=True)
        if alike and len(tokens) <= room
    ]
    too_long = sum(alike and len(tokens) > room for alike, tokens in zip(same, read, strict=True))
    return Selection(kept, {"too long": too_long, "read otherwise by a chat template": same.count(False)})


def schedule(selection: Selection, red_team_share: float, per_step: int, steps: int, seed: int) -> list[HandoffPrompt]:
    """The prompts of `steps` steps in order, as stage 08 draws them step by step."""
    kinds = [selection.of(kind) for kind in TRAINING_KINDS]
    sizes, shares = [len(kind) for kind in kinds], (red_team_share, 1 - red_team_share)
    draws = PromptDraws(sizes, shares, per_step, seed)
    return [kinds[kind][index] for step in range(steps) for kind, index in draws.at(step)]
