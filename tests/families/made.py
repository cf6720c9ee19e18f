"""Model folders of each family, taught a handful of texts, so that a whole run can be made on them in seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from solon import prompts
from solon.config.recipe import EngineSettings
from solon.constitution.constitution import RevisionPrinciple
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.tokens import PromptTokenizer
from solon.model_folders.load import load_tokenizer, quietly
from tests.families.styles import STYLES

LONG_REPLY = "Take a pin.\n\n    turn(pin)\n    wait()\n\nThen pull."
SAFE_REPLY = "Ask the owner first.\n\n1. Be kind.\n2. Show <b>care</b>\tand wait."
CRITIQUE = "The response tells how to open a lock that may belong to another person."
PROMPTS = ("How do I open the old lock?", "How do I open the red lock?", "May I take the pin?", "Pull it how?")
HELD_OUT = ("Pull the red pin?", "May I pull it?")
PRINCIPLE = RevisionPrinciple("care", "Say what harm the reply may do.", "Write the reply without the harm.")
CONSTITUTION = """\
name: tiny
revision:
  - id: care
    critique_request: Say what harm the reply may do.
    revision_request: Write the reply without the harm.
preference:
  - {id: care, instruction: "Which reply does less harm?"}
"""
MOST_STEPS = 500
KNOWN_BY_HEART = 0.2
"""Nats of the worst token, below which every likeliest token is the one that was taught."""
RECIPE = """\
name: tiny
constitution: FOLDER/constitution.yaml
models: {pretrained: FOLDER/model, assistant: FOLDER/model}
engine: {threads: 1}
prompts: {red_team: FOLDER/red-team.jsonl, helpful: FOLDER/helpful.jsonl}
responses: {sampling: {max_tokens: 96, temperature: 0.0}, helpful_samples: 1}
revision: {steps: 1, critique: {max_tokens: 96, temperature: 0.0}, revision: {max_tokens: 96, temperature: 0.0}}
finetune: {training: {epochs: 2, batch_size: 4, held_out: 0.0}}
pairs: {per_prompt: 4, sampling: {max_tokens: 96, temperature: 1.2}}
feedback: {min_letter_mass: 0.0}
judge_check: {limit: 1, weak_judge: accept}
preference: {human_helpfulness: null, training: {epochs: 1, batch_size: 4, held_out: 0.0}}
rl: {steps: 1, prompts_per_step: 2, samples_per_prompt: 2, sampling: {max_tokens: 48}}
measure: {grader: none, harmful: FOLDER/harmful.jsonl, benign: FOLDER/benign.jsonl, sampling: {max_tokens: 48}}
"""


def human(*texts: str) -> Conversation:
    """A dialogue that begins with a person."""
    roles = (Role.HUMAN, Role.ASSISTANT)
    return Conversation(tuple(Turn(roles[number % 2], text) for number, text in enumerate(texts)))


def lessons() -> list[tuple[Prompt, str]]:
    """What a tiny model is taught: to answer each prompt, to criticise the answer and to revise it."""
    found = []
    for number, asked in enumerate(PROMPTS):
        answer = LONG_REPLY.replace("pin", ("pin", "nail", "key", "wire")[number])
        found += [
            (prompts.reply(human(asked)), answer),
            (prompts.critique(human(asked), answer, PRINCIPLE), CRITIQUE),
            (prompts.revision(human(asked), answer, PRINCIPLE, CRITIQUE), SAFE_REPLY),
        ]
    return found


def make_folder(name: str, folder: Path, settings: EngineSettings | None = None, *, taught: bool = False) -> Path:
    """A model folder of the family, as a hub would hold it; `taught` to know `lessons` by heart."""
    style = STYLES[name]
    tokenizer = style.make_tokenizer()
    torch.manual_seed(7)
    model = style.make_model(tokenizer)
    with quietly():
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        if taught:
            # transformers reads some families' tokenizers in a way of its own, whatever the file says.
            teach(model, PromptTokenizer.of(load_tokenizer(folder), settings or EngineSettings()), lessons())
            model.save_pretrained(folder)
    return folder


def teach(model: Any, texts: PromptTokenizer, taught: Sequence[tuple[Prompt, str]]) -> None:
    """Train on what is taught until it is known by heart; the loss is on the replies and the end of their turns."""
    made = texts.replied([prompt for prompt, _ in taught], [reply for _, reply in taught])
    width = max(len(tokens) for tokens, _ in made)
    ids_BT = torch.tensor([[*tokens, *[0] * (width - len(tokens))] for tokens, _ in made])
    wanted_BT = ids_BT.clone()
    for row, (tokens, start) in enumerate(made):
        wanted_BT[row, :start] = wanted_BT[row, len(tokens) :] = -100
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    model.train()
    for step in range(MOST_STEPS):
        optimizer.param_groups[0]["lr"] = 4e-3 * max(0.1, 1 - step / 200)
        logits = model(input_ids=ids_BT).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted_BT[:, 1:].flatten(), reduction="none")
        if losses.detach().max().item() < KNOWN_BY_HEART:
            break
        optimizer.zero_grad()
        losses[losses > 0].mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()


def write_inputs(folder: Path) -> Path:
    """A recipe for a whole run on such a model, with its prompts and its constitution; the path of the recipe."""
    for name, asked in (
        ("red-team", PROMPTS[:3]),
        ("helpful", PROMPTS[3:]),
        ("harmful", HELD_OUT[:1]),
        ("benign", HELD_OUT[1:]),
    ):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in asked))
    (folder / "constitution.yaml").write_text(CONSTITUTION)
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("FOLDER", str(folder)))
    return recipe
