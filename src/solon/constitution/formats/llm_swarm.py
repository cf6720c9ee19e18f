"""The constitution file of Hugging Face's llm-swarm (examples/constitutional-ai), a data file with its own examples.

`{"constitutions": [{"critic": ..., "revision": ...}], "system_chat": [[messages], ...]}`. A dialogue of `system_chat`
is a conversation of user and assistant, then the critique request and the critique, then the revision request and the
revision. Principles have no names there; they get the ids `principle-1`, `principle-2` ... by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solon.constitution.constitution import CritiqueExample, RevisionPrinciple
from solon.constitution.formats.json_nodes import Node
from solon.conversation import Conversation, Role, Turn

ROLES = {"user": Role.HUMAN, "assistant": Role.ASSISTANT}


def read_principles(node: Node) -> tuple[RevisionPrinciple, ...]:
    """The pairs of `constitutions`."""
    return tuple(
        RevisionPrinciple(f"principle-{number}", item.at("critic").text().strip(), item.at("revision").text().strip())
        for number, item in enumerate(node.at("constitutions").each(), start=1)
    )


def read_examples(node: Node) -> tuple[CritiqueExample, ...]:
    """The dialogues of `system_chat`, which is optional."""
    return tuple(_example(item) for item in node.at("system_chat").each()) if node.has("system_chat") else ()


def _example(dialogue: Node) -> CritiqueExample:
    turns = [_turn(message) for message in dialogue.each()]
    expected = [Role.HUMAN, Role.ASSISTANT] * (len(turns) // 2)
    if len(turns) < 6 or [turn.role for turn in turns] != expected:
        raise dialogue.fault("a dialogue needs at least six messages, of user and assistant in turn, the user first")
    request, critique, revision_request, revision = (turn.content for turn in turns[-4:])
    return CritiqueExample(Conversation(tuple(turns[:-4])), request, critique, revision_request, revision)


def _turn(message: Node) -> Turn:
    role = message.at("role").text()
    if role not in ROLES:
        raise message.at("role").fault(f"the role '{role}' is unknown", f"Known: {', '.join(ROLES)}")
    return Turn(ROLES[role], message.at("content").text().strip())


def write(principles: Sequence[RevisionPrinciple], examples: Sequence[CritiqueExample]) -> dict[str, Any]:
    """The whole file."""
    return {
        "constitutions": [{"critic": each.critique_request, "revision": each.revision_request} for each in principles],
        "system_chat": [_dialogue(each) for each in examples],
    }


def _dialogue(example: CritiqueExample) -> list[dict[str, str]]:
    said = [(turn.role, turn.content) for turn in example.conversation.turns]
    said += [(Role.HUMAN, example.critique_request), (Role.ASSISTANT, example.critique)]
    said += [(Role.HUMAN, example.revision_request), (Role.ASSISTANT, example.revision)]
    return [{"role": "user" if role is Role.HUMAN else "assistant", "content": content} for role, content in said]
