r"""The paper's chains of critiques and revisions, `samples/*_SLMADISON.jsonl`: one prompt with its four steps a line.

A line is `{"rl_prompt": transcript ending on "\n\nAssistant:", "comparison_dataset": ..., "initial_response":
[{"sample": ...}], "cst": [{"cst_key": "harmful1", "cst_value": {"prompt": [...], "edit_request": ...}, "critique":
{"sample": ...}, "revision": {"sample": ...}}, ...]}`. Principles are drawn with replacement, and a step has its own
copy of the principle's text. A `Chain` keeps every text as it is written and every unknown key, so that `write_chain`
returns the line's JSON; `conversation`, `reply` and the principles are the same content in Solon's types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solon.config.json_lines import nonblank_lines
from solon.constitution.constitution import RevisionPrinciple
from solon.constitution.formats.json_nodes import Node, parse_json
from solon.constitution.formats.paper import CRITIQUE_FRAME, CUE, REVISION_FRAME, framed, prompt_of, unframed
from solon.conversation import Conversation, transcript
from solon.errors import InputError

_CHAIN_KEYS = ("rl_prompt", "comparison_dataset", "cst", "initial_response")
_STEP_KEYS = ("cst_key", "cst_value", "critique", "revision")


@dataclass(frozen=True, slots=True)
class ChainStep:
    """One critique and revision; the texts are as the file has them, with their leading space."""

    key: str
    value: Mapping[str, Any]
    critique_sample: str
    revision_sample: str
    principle: RevisionPrinciple
    """The principle in Solon's form; its id is `key`."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Unknown keys."""

    @property
    def critique(self) -> str:
        """The critique, without surrounding white space."""
        return self.critique_sample.strip()

    @property
    def revision(self) -> str:
        """The revision, without surrounding white space."""
        return self.revision_sample.strip()


@dataclass(frozen=True, slots=True)
class Chain:
    """A prompt, the first reply, and the steps that revise it."""

    prompt: str
    dataset: str | None
    reply_sample: str
    steps: tuple[ChainStep, ...]
    conversation: Conversation
    """The prompt's turns; it ends on a human turn."""
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reply(self) -> str:
        """The first reply, without surrounding white space."""
        return self.reply_sample.strip()

    def before(self, step: int) -> str:
        """The reply that a step (counted from 0) revises."""
        return self.steps[step - 1].revision if step else self.reply


def read_chains(path: Path) -> list[Chain]:
    """The chains of a file; raises InputError, naming `file:line` and the key, for the first that is malformed."""
    chains = [parse_chain(line, str(path), number) for number, line in nonblank_lines(path)]
    if not chains:
        raise InputError("no chain in the file", place=str(path), remedy="Name a *_SLMADISON.jsonl file")
    return chains


def parse_chain(line: bytes | str, place: str, number: int) -> Chain:
    """The chain in one line of JSON; raises InputError naming `place:number` and the key at fault."""
    node = parse_json(line, f"{place}:{number}")
    dataset = node.at("comparison_dataset") if node.has("comparison_dataset") else None
    first = node.at("initial_response").only()
    first.mapping()
    steps = tuple(_step(item) for item in node.at("cst").each())
    if not steps:
        raise node.at("cst").fault("a chain needs at least one step")
    return Chain(
        prompt=node.at("rl_prompt").text(),
        dataset=dataset.text() if dataset else None,
        reply_sample=_sample(first),
        steps=steps,
        conversation=prompt_of(node.at("rl_prompt")),
        more={key: value for key, value in node.mapping().items() if key not in _CHAIN_KEYS},
    )


def _step(node: Node) -> ChainStep:
    value = node.at("cst_value")
    key = node.at("cst_key").text()
    request = unframed(value.at("prompt").only(), CRITIQUE_FRAME)
    revision_request = unframed(value.at("edit_request"), REVISION_FRAME)
    return ChainStep(
        key=key,
        value=value.mapping(),
        critique_sample=_sample(node.at("critique")),
        revision_sample=_sample(node.at("revision")),
        principle=RevisionPrinciple(key, request, revision_request),
        more={key: value for key, value in node.mapping().items() if key not in _STEP_KEYS},
    )


def _sample(node: Node) -> str:
    """The text under `sample`, which may be empty: a model may have written nothing."""
    sample = node.at("sample")
    if not isinstance(sample.value, str):
        raise sample.fault("a text is expected here")
    if extra := [key for key in node.mapping() if key != "sample"]:
        raise node.fault(f"unknown key '{extra[0]}' next to 'sample', which would be lost")
    return sample.value


def write_chain(chain: Chain) -> dict[str, Any]:
    """The JSON of a chain, with every key of the format."""
    steps = [
        {
            "cst_key": step.key,
            "cst_value": dict(step.value),
            "critique": {"sample": step.critique_sample},
            "revision": {"sample": step.revision_sample},
            **step.more,
        }
        for step in chain.steps
    ]
    dataset = {} if chain.dataset is None else {"comparison_dataset": chain.dataset}
    first = [{"sample": chain.reply_sample}]
    return {"rl_prompt": chain.prompt, **dataset, "cst": steps, "initial_response": first, **chain.more}


def chain_of(
    conversation: Conversation,
    reply: str,
    steps: Sequence[tuple[RevisionPrinciple, str, str]],
    dataset: str | None = None,
) -> Chain:
    """A chain in the paper's form, from the principles, critiques and revisions of Solon's steps."""
    return Chain(
        prompt=transcript(conversation.turns) + CUE,
        dataset=dataset,
        reply_sample=f" {reply}",
        steps=tuple(
            ChainStep(
                principle.id,
                {
                    "edit_request": framed(principle.revision_request, REVISION_FRAME),
                    "prompt": [framed(principle.critique_request, CRITIQUE_FRAME)],
                },
                f" {critique}",
                f" {revision}",
                principle,
            )
            for principle, critique, revision in steps
        ),
        conversation=conversation,
    )


def chain_line(chain: Chain) -> str:
    """A chain as a line of a file, with its line break."""
    return json.dumps(write_chain(chain), ensure_ascii=False) + "\n"
