r"""The prompt files that were published with the paper (Bai et al. 2022, ConstitutionalHarmlessnessPaper, `prompts/`).

- CritiqueRevisionInstructions.json: `{"harmful0": {"prompt": ["\n\nCritiqueRequest: ...\n\nCritique:"],
  "edit_request": "\n\nRevisionRequest: ...\n\nRevision:"}, ...}`
- CritiqueRevisionFewShotPrompts.json: a list of transcripts that go on with CritiqueRequest, Critique, RevisionRequest
  and Revision. All but one end on a dangling `\n\nHuman:`, which opens the next example and is not part of this one.
- RLMadisonInstructions.json: a list of `"\n<instruction> Options:"`.
- RLMadisonFewShotPrompts.json: a list of `{"prompt": transcript, "corrects": [better], "incorrects": [worse]}`.
- RLMadisonPrecogFewShotPrompts.json: comparisons with reasoning; `{}` is the placeholder of a principle.

Reading removes the frames and writing adds them, so an unchanged file is written as it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from solon.constitution.constitution import (
    ComparisonExample,
    CritiqueExample,
    PreferencePrinciple,
    ReasonedExample,
    RevisionPrinciple,
)
from solon.constitution.formats.json_nodes import Node
from solon.conversation import Conversation, Role, Turn, parse_transcript, transcript
from solon.errors import InputError

CRITIQUE_FRAME = ("\n\nCritiqueRequest: ", "\n\nCritique:")
REVISION_FRAME = ("\n\nRevisionRequest: ", "\n\nRevision:")
OPTIONS = " Options:"
DANGLING = "\n\nHuman:"
CUE = "\n\nAssistant:"
_METHOD = ("CritiqueRequest", "Critique", "RevisionRequest", "Revision")
_PRECOG = re.compile(
    r"\s*Human: Consider the following conversation between a human(?: \(H\))? and an assistant(?: \(A\))?:"
    r"\n\n(?P<dialogue>.*?)\n\n\{\}\n \(A\) \[\[\[(?P<a>.*?)\]\]\]\n \(B\) \[\[\[(?P<b>.*?)\]\]\]"
    r"\n\nAssistant: Let's think step by step:(?P<reasoning>.*?)\n\nHuman:\s*So the answer is: \((?P<answer>[AB])\)\s*",
    re.S,
)
_PRECOG_SPEAKER = re.compile(r"(?:\A|\n\n)([HA]):")


def read_instructions(node: Node) -> tuple[RevisionPrinciple, ...]:
    """CritiqueRevisionInstructions.json; the keys become ids."""
    return tuple(
        RevisionPrinciple(
            key,
            unframed(entry.at("prompt").only(), CRITIQUE_FRAME),
            unframed(entry.at("edit_request"), REVISION_FRAME),
        )
        for key, entry in node.items()
    )


def write_instructions(principles: Sequence[RevisionPrinciple]) -> dict[str, Any]:
    """See `read_instructions`."""
    return {
        principle.id: {
            "prompt": [framed(principle.critique_request, CRITIQUE_FRAME)],
            "edit_request": framed(principle.revision_request, REVISION_FRAME),
        }
        for principle in principles
    }


def unframed(node: Node, frame: tuple[str, str]) -> str:
    """The request between its labels; raises InputError when a label is missing."""
    text = node.text()
    before, after = (label.strip() for label in frame)
    inner = text.strip()
    if not inner.startswith(before) or not inner.endswith(after):
        raise node.fault(f"the request must be between '{before}' and '{after}'")
    request = inner[len(before) : -len(after)].strip()
    if not request:
        raise node.fault("the request is empty")
    return request


def framed(request: str, frame: tuple[str, str]) -> str:
    """A request between its labels."""
    return f"{frame[0]}{request}{frame[1]}"


def read_critique_examples(node: Node) -> tuple[CritiqueExample, ...]:
    """CritiqueRevisionFewShotPrompts.json."""
    return tuple(_critique_example(item) for item in node.each())


def _critique_example(item: Node) -> CritiqueExample:
    text = item.text().rstrip().removesuffix(DANGLING.strip())
    texts: dict[str, str] = {}
    rest = text
    for label in reversed(_METHOD):
        rest, mark, texts[label] = rest.rpartition(f"\n\n{label}:")
        if not mark or not texts[label].strip():
            raise item.fault(f"'{label}:' with a text is missing; the order is {', '.join(_METHOD)}")
    conversation = transcript_of(rest, item)
    if conversation.turns[-1].role is not Role.ASSISTANT:
        raise item.fault("the conversation must end on a turn of the assistant, which the critique is about")
    request, critique, revision_request, revision = (texts[label].strip() for label in _METHOD)
    return CritiqueExample(conversation, request, critique, revision_request, revision)


def write_critique_examples(examples: Sequence[CritiqueExample]) -> list[str]:
    """See `read_critique_examples`; every example ends on the dangling `Human:`."""
    return [
        transcript(each.conversation.turns)
        + f"{framed(each.critique_request, CRITIQUE_FRAME)} {each.critique}"
        + f"{framed(each.revision_request, REVISION_FRAME)} {each.revision}{DANGLING}"
        for each in examples
    ]


def read_preferences(node: Node) -> tuple[PreferencePrinciple, ...]:
    """RLMadisonInstructions.json; ids are `instruction0`, `instruction1` ..., by position."""
    return tuple(
        PreferencePrinciple(f"instruction{number}", item.text().strip().removesuffix(OPTIONS.strip()).rstrip())
        for number, item in enumerate(node.each())
    )


def write_preferences(principles: Sequence[PreferencePrinciple]) -> list[str]:
    """See `read_preferences`."""
    return [f"\n{principle.instruction}{OPTIONS}" for principle in principles]


def read_comparisons(node: Node) -> tuple[ComparisonExample, ...]:
    """RLMadisonFewShotPrompts.json."""
    return tuple(
        ComparisonExample(
            prompt_of(item.at("prompt")),
            better=item.at("corrects").only().text().strip(),
            worse=item.at("incorrects").only().text().strip(),
        )
        for item in node.each()
    )


def write_comparisons(examples: Sequence[ComparisonExample]) -> list[dict[str, Any]]:
    """See `read_comparisons`."""
    return [
        {
            "prompt": transcript(each.conversation.turns) + CUE,
            "corrects": [each.better],
            "incorrects": [each.worse],
        }
        for each in examples
    ]


def read_reasoned(node: Node) -> tuple[ReasonedExample, ...]:
    """RLMadisonPrecogFewShotPrompts.json."""
    return tuple(_reasoned(item.at("prompt")) for item in node.each())


def _reasoned(item: Node) -> ReasonedExample:
    found = _PRECOG.fullmatch(item.text())
    if found is None:
        raise item.fault(
            "the example must show a conversation, '{}', ' (A) [[[...]]]' and ' (B) [[[...]]]', then "
            "\"Assistant: Let's think step by step:\" and 'So the answer is: (A)' or (B)"
        )
    marks = list(_PRECOG_SPEAKER.finditer(found["dialogue"]))
    if not marks or marks[0].start() or marks[-1][1] != "H":
        raise item.fault("the conversation must open and end on a turn of the human, labelled 'H:'")
    ends = [*(mark.start() for mark in marks[1:]), len(found["dialogue"])]
    turns = tuple(
        Turn(Role.HUMAN if mark[1] == "H" else Role.ASSISTANT, found["dialogue"][mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    )
    reasoning = found["reasoning"].strip()
    if not reasoning or not found["a"].strip() or not found["b"].strip():
        raise item.fault("an option or the reasoning is empty")
    return ReasonedExample(Conversation(turns), found["a"].strip(), found["b"].strip(), reasoning, found["answer"])


def write_reasoned(examples: Sequence[ReasonedExample]) -> list[dict[str, Any]]:
    """See `read_reasoned`."""
    return [{"prompt": _written(each)} for each in examples]


def _written(example: ReasonedExample) -> str:
    letters: Mapping[Role, str] = {Role.HUMAN: "H", Role.ASSISTANT: "A"}
    dialogue = "\n\n".join(f"{letters[turn.role]}: {turn.content}" for turn in example.conversation.turns)
    return (
        "\n\nHuman: Consider the following conversation between a human (H) and an assistant (A):"
        f"\n\n{dialogue}\n\n{{}}\n (A) [[[{example.option_a}]]]\n (B) [[[{example.option_b}]]]"
        f"\n\nAssistant: Let's think step by step: {example.reasoning}"
        f"\n\nHuman:\nSo the answer is: ({example.answer})"
    )


def prompt_of(node: Node) -> Conversation:
    """The conversation in a transcript that ends on the cue for the assistant's reply."""
    text = node.text().rstrip().removesuffix(CUE.strip())
    conversation = transcript_of(text, node)
    if conversation.turns[-1].role is not Role.HUMAN or not conversation.turns[-1].content:
        raise node.fault("the conversation must end on a turn of the human and the cue 'Assistant:'")
    return conversation


def transcript_of(text: str, node: Node) -> Conversation:
    """The turns of a transcript; raises InputError naming the place."""
    try:
        return parse_transcript(text.rstrip(), place=node.place)
    except InputError as error:
        raise node.fault(error.cause, error.remedy) from None
