"""The rules by which a text that a model wrote is repaired, refused or kept: their names, and a sentence on each.

`solon.checks.texts` applies them; this is the one place that lists them, in the order in which they decide. Every
table counts them by these names, and `solon show rules` prints them. A text that fails keeps its row and is left as it
was written, for people to read, and is never trained on (promise P5).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from solon.runs.outcome import Outcome


class Text(StrEnum):
    """What a model was asked to write."""

    REPLY = "reply"
    CRITIQUE = "critique"
    REVISION = "revision"


class Defect(StrEnum):
    """A rule that a text met."""

    THOUGHTS_CUT = "thoughts_cut"
    OWN_LABEL_REMOVED = "own_label_removed"
    LEAD_IN_REMOVED = "lead_in_removed"
    DECLINED_TASK = "declined_task"
    OTHER_SPEAKER = "other_speaker"
    COPIED_REQUEST = "copied_request"
    COPIED_EXAMPLE = "copied_example"
    CRITIQUE_AS_REVISION = "critique_as_revision"
    REVISION_AS_CRITIQUE = "revision_as_critique"
    LEAKED_META_TEXT = "leaked_meta_text"
    UNCHANGED = "unchanged"
    EVASIVE = "evasive"


class Effect(StrEnum):
    """What a rule does to a text that is otherwise good."""

    REPAIRED = "repaired"
    """A part is taken off, and the rest judged: what follows is a whole good text."""
    NOTED = "noted"
    """It is counted, and the text stays fit for training."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it is called, which texts it judges, what becomes of a text that meets it, and when it does."""

    name: str
    texts: tuple[Text, ...]
    result: Outcome | Effect
    sentence: str


_ALL = tuple(Text)
_JUDGED = (Text.CRITIQUE, Text.REVISION)
RULES = (
    Rule(
        Defect.THOUGHTS_CUT,
        _ALL,
        Effect.REPAIRED,
        "The text holds what a reasoning model writes to itself, between '<think>' and '</think>' or other tags that "
        "its chat template names; the template may open it. It is cut, and kept in a column of its own. Where it is "
        "never closed, the text is cut off.",
    ),
    Rule("engine_failed", _ALL, Outcome.PROVIDER_ERROR, "The engine gave no answer; there is no text."),
    Rule("cut_off", _ALL, Outcome.TRUNCATED, "The text reached its token limit, or the prompt left no tokens for it."),
    Rule("nothing_said", _ALL, Outcome.EMPTY, "Nothing but white space is left after the repairs."),
    Rule(
        Defect.OWN_LABEL_REMOVED,
        _ALL,
        Effect.REPAIRED,
        "The text opens with the label of its own turn, such as 'Assistant:' or 'Revision:'.",
    ),
    Rule(
        Defect.LEAD_IN_REMOVED,
        (Text.REVISION,),
        Effect.REPAIRED,
        "The text opens by announcing itself and a colon, such as 'Here is the revised response:'; quotation marks "
        "around what follows go with it.",
    ),
    Rule(
        Defect.DECLINED_TASK,
        _JUDGED,
        Outcome.REFUSED,
        "The model will not read, criticise or rewrite; a revision may well decline what the human asks for.",
    ),
    Rule(
        Defect.OTHER_SPEAKER,
        _ALL,
        Outcome.MALFORMED,
        "A line opens with the label of another turn ('Human:', 'Critique:', 'Revision Request:' ...), or a chat "
        "template's mark stands in the text.",
    ),
    Rule(
        Defect.COPIED_REQUEST,
        _JUDGED,
        Outcome.MALFORMED,
        "A request of the principle stands in the text, or the text is the human's last turn over again.",
    ),
    Rule(
        Defect.COPIED_EXAMPLE,
        _JUDGED,
        Outcome.MALFORMED,
        "Most of the text, or eight words in a row, are those of a worked example.",
    ),
    Rule(
        Defect.CRITIQUE_AS_REVISION,
        (Text.REVISION,),
        Outcome.MALFORMED,
        "A critique where a revision belongs: the text opens by judging 'the response' or 'the human', or is the "
        "critique over again.",
    ),
    Rule(
        Defect.REVISION_AS_CRITIQUE,
        (Text.CRITIQUE,),
        Outcome.MALFORMED,
        "A revision where a critique belongs: the text announces a revised response, speaks to the human without a "
        "word on the assistant, the reply or the request, or is the reply over again.",
    ),
    Rule(
        Defect.LEAKED_META_TEXT,
        (Text.REVISION,),
        Outcome.MALFORMED,
        "The text talks about the revising: 'the original response', 'this revision', 'I have rewritten' ...",
    ),
    Rule(
        Defect.UNCHANGED,
        (Text.REVISION,),
        Effect.NOTED,
        "The revision has the same words as the reply. It stays: a harmless reply needs no change, and two of the "
        "paper's five worked examples show just that.",
    ),
    Rule(
        Defect.EVASIVE,
        (Text.REVISION,),
        Effect.NOTED,
        "The revision is a canned refusal: it declines, gives no reason and offers nothing. With `revision.evasive: "
        "refuse` it is refused, and nothing learns from it.",
    ),
)
"""Every rule, in the order in which they decide."""
