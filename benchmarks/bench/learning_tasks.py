"""The tasks of training: rows of ragged lengths, and models with prompts for reinforcement learning."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks.bench.planned_texts import PlannedTexts
from benchmarks.bench.sizes import BUNDLED, Setting
from benchmarks.peers.tasks import LearningTask, ReinforcementTask
from solon.config.builtin import model_path, source_path
from solon.config.recipe import EngineSettings, RenderingKind
from solon.conversation import Conversation, Prompt, Role, transcript
from solon.engines.tokens import PromptTokenizer
from solon.model_folders.load import load_config
from solon.sources.prompt_files import read_prompts
from solon.training.models import ensure_pad, grow_preference_model, load_causal_lm, load_tokenizer, save_model

LEAST, MOST, PROMPT_SHARE = 24, 384, 0.4
EPISODE_PROMPT = 24


class Replies(StrEnum):
    """How long a policy's replies are."""

    FULL = "full"
    """The weights are random, so hardly any reply ends before its limit."""
    OWN = "own"
    """As the model ends them."""


def finetuning(model: str, setting: Setting, lora_rank: int) -> LearningTask:
    """A batch of 32 conversations, between 24 and 384 tokens long, with a loss on the last three fifths of each."""
    folder = model_path(setting.scale.model(model))
    rows, pad = _rows(folder, setting, 1)
    starts = [max(1, round(len(row) * PROMPT_SHARE)) for (row,) in rows]
    micro = setting.pick(8, 2)
    return LearningTask(
        str(folder), setting.threads, setting.steps, pad, lora_rank, micro, [row for (row,) in rows], starts
    )


def preferring(model: str, setting: Setting, lora_rank: int, out: Path) -> LearningTask:
    """A batch of 32 pairs of such conversations with the same prompt; writes the preference model to begin with."""
    folder = model_path(setting.scale.model(model))
    rows, pad = _rows(folder, setting, 2)
    _write_reward(folder, out / "reward")
    chosen, rejected = [row for row, _ in rows], [row for _, row in rows]
    return LearningTask(
        str(out / "reward"),
        setting.threads,
        setting.steps,
        pad,
        lora_rank,
        setting.pick(8, 2),
        chosen=chosen,
        rejected=rejected,
    )


def _rows(folder: Path, setting: Setting, sides: int) -> tuple[list[list[list[int]]], int]:
    """Rows of `sides` conversations, alike in their first part, and the padding token. Lengths are log-uniform."""
    planned, chance = PlannedTexts(folder), random.Random(0)
    ids = [each[0] for each in planned.tokens.encode_whole([f" {word}" for word in planned.words])]
    most, end = setting.pick(MOST, 48), planned.tokens.end
    rows: list[list[list[int]]] = []
    for _ in range(setting.pick(32, 4)):
        lengths = [round(math.exp(chance.uniform(math.log(LEAST), math.log(most)))) for _ in range(sides)]
        prompt = chance.choices(ids, k=max(1, round(min(lengths) * PROMPT_SHARE)))
        rows.append([[*prompt, *chance.choices(ids, k=length - len(prompt) - 1), end] for length in lengths])
    return rows, ensure_pad(planned.tokenizer, end)


def reinforcement(
    model: str, replies: Replies, lora_rank: int, passes: int, setting: Setting, out: Path
) -> ReinforcementTask:
    """Replies of 64 tokens to prompts of 24: 64 episodes a step for the bundled model, 32 for larger ones."""
    folder = model_path(setting.scale.model(model))
    policy: PreTrainedModel
    if replies is Replies.FULL:
        torch.manual_seed(0)
        policy = LlamaForCausalLM(cast(LlamaConfig, load_config(folder)))
    else:
        policy = load_causal_lm(folder, EngineSettings())
    tokenizer = load_tokenizer(folder)
    settings = EngineSettings(rendering=RenderingKind.TRANSCRIPT)
    save_model(policy, PromptTokenizer.of(tokenizer, settings), out / "policy")
    pad = _write_reward(out / "policy", out / "reward")
    episodes = setting.pick(64 if model == BUNDLED else 32, 4)
    texts = _own_prompts() if replies is Replies.OWN else _drawn_prompts(folder, 4 * episodes)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    kept = [(text, row) for text, row in zip(texts, ids, strict=True) if len(row) <= EPISODE_PROMPT]
    return ReinforcementTask(
        str(out / "policy"), str(out / "reward"), setting.threads, setting.steps, pad, lora_rank, episodes,
        setting.pick(64, 8), passes, [text for text, _ in kept], [row for _, row in kept],
    )  # fmt: skip


def _write_reward(folder: Path, out: Path) -> int:
    """Write a preference model that begins as the model in `folder`; returns its padding token."""
    settings, tokenizer = EngineSettings(rendering=RenderingKind.TRANSCRIPT), load_tokenizer(folder)
    end = PromptTokenizer.of(tokenizer, settings).end
    model = grow_preference_model(folder, tokenizer, settings, 1, end)
    save_model(model, PromptTokenizer.of(tokenizer, settings), out)
    return ensure_pad(tokenizer, end)


def _own_prompts() -> Sequence[str]:
    """The testbed's prompts as transcripts, in a random order."""
    found = [
        transcript(each.conversation.turns) + "\n\nAssistant:"
        for name in ("testbed:red-team", "testbed:helpful")
        for each in read_prompts(source_path(name)).prompts
    ]
    random.Random(0).shuffle(found)
    return found


def _drawn_prompts(folder: Path, count: int) -> Sequence[str]:
    """Transcripts of exactly `EPISODE_PROMPT` tokens."""
    planned = PlannedTexts(folder)
    prompts = [
        planned.sized(lambda words: Prompt((planned.turn(Role.HUMAN, words),)), EPISODE_PROMPT) for _ in range(count)
    ]
    return [transcript(Conversation(each.turns).turns) + "\n\nAssistant:" for each in prompts]
