"""When a text that a model wrote may be trained on: the rules of `solon.checks.rules`, applied by pure functions.

A text is first repaired, then judged. Two things are repaired, because what follows them is a whole good text: the
label of the model's own turn, and a lead-in that announces a revision. Everything else that breaks a rule makes the
text malformed and leaves it as it was written. Every repair and every broken rule is recorded as a `Defect`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from solon.checks.rules import Defect, Text
from solon.engines.base import Completion, Finish
from solon.runs.outcome import Outcome

COPIED_SHARE = 0.6
"""Share of a text's runs of four words found in another text, from which on it counts as a copy of it."""
RUN = 4
LONG_RUN = 8
"""Words in a row that another text shares only when they were copied: none of the 3,000 replies of hh-rlhf
and the 24 texts of the paper's chains that were tried shares so many with a worked example."""
SHORTEST_COPY = 6
"""Words that a copied request has at least; shorter ones are found by chance."""
OPENING = 150
"""Characters at the start of a text in which it would decline."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A text as it is kept, whether it may be trained on, and the rules that it met."""

    text: str
    outcome: Outcome
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """What the writer of a critique or revision had before it, and must not give back as its own text."""

    human: str = ""
    """The human's last turn."""
    requests: tuple[str, ...] = ()
    """The critique request and the revision request."""
    examples: tuple[str, ...] = ()
    """The worked critiques, or the worked revisions."""
    critique: str | None = None
    """The critique that a revision follows."""
    reply: str = ""
    """The reply that is criticised and revised."""


_OWN_LABEL = {
    Text.REPLY: re.compile(r"\A(?:assistant|ai)\s*:\s*", re.I),
    Text.CRITIQUE: re.compile(r"\A(?:critique|assistant)\s*:\s*", re.I),
    Text.REVISION: re.compile(r"\A(?:revision|assistant)\s*:\s*", re.I),
}
# A lead-in speaks of the text as a revision; "Here is a message that you could send:" belongs to the text.
_REWRITTEN = r"(?:revised|rewritten|reworded|rewrite|amended|edited)"
_CHANGED = r"(?:updated|improved|new|better|corrected|modified|final|alternative|more\ \w+(?:\ and\ \w+)?)"
_TEXT = r"(?:version|response|reply|answer|revision)"
_LEAD_IN = re.compile(
    rf"""\A(?:(?:sure|certainly|of\ course|okay|ok|yes|absolutely|understood)\b[^\n:]{{0,20}})?
    (?:(?:here(?:'s|\ is|\ are)|this\ is|below\ is|i(?:'ve|\ have)?)\b[^\n:.]{{0,40}}?
       \b(?:{_REWRITTEN}|{_CHANGED}\ (?:\w+\ ){{0,2}}(?:{_TEXT}|message)|response|revision)\b[^\n:.]{{0,80}}
      |(?:the\ |a\ |my\ )?(?:assistant's\ )?(?:{_REWRITTEN}|{_CHANGED})\ (?:\w+\ ){{0,2}}{_TEXT}\b[^\n:.]{{0,40}}
      |revision|rewrite)
    \s*:\**\s*""",
    re.I | re.X,
)
_SPEAKER = re.compile(
    r"^[ \t>*#]*(?:human|user|assistant|critique|critique ?request|revision|revision ?request)\s*(?:\*\*)?:",
    re.I | re.M,
)
_TEMPLATE_MARK = re.compile(r"<\|[a-z_]+\|>|\[/?INST\]|</?s>|<<SYS>>", re.I)
_META = re.compile(
    r"""\b(?:revised|rewritten|updated|improved|amended|edited|original|previous|preceding|assistant's)
      \ (?:(?:assistant|last|previous|original)(?:'s)?\ )?(?:response|reply|version\ of\ (?:the|this|my|your)\ re\w+)\b
    |\b(?:critique|revision)\ ?request\b
    |\bi(?:'ve|\ have)?\ (?:revised|rewritten|rewrote|amended)\b
    |\bthis\ (?:revision|critique|rewrite)\b
    |\b(?:rewrit\w+|rewrite|revis\w+)\ (?:the|this|my)\ (?:assistant(?:'s)?\ )?(?:response|reply|answer)\b""",
    re.I | re.X,
)
_CRITIQUE = re.compile(
    r"""\A(?:yes,\ |no,\ |overall,\ )?
    (?:(?:the|this|that)\ (?:assistant(?:'s)?(?:\ \w+)?|response|reply)|assistant's)\b [^.\n]{0,40}?
    \b(?:is|was|are|were|does|did|doesn't|could|should|has|had|says|explains?|gives?|helps?|contains?|encourages?
    |suggests?|provides?|fails?|objects?|dodges?|makes?|warns?|shows?)\b
    |\A(?:the|this)\ request\ (?:is|was|does)\b
    |\Athe\ human(?:'s\ \w+\ (?:is|was|does|did|has|asks?|shows?)
    |\ (?:is|was|takes?|took|seems?|wants?|wanted|asks?|asked|acted|does|did|should))\b""",
    re.I | re.X,
)
# A critic names what it judges; who says "you" without that, or opens like this, speaks to the human as the assistant.
_OPENS_REPLY = re.compile(
    r"\A(?:i(?:'m|\ am)\ (?:so\ |very\ |really\ )?(?:sorry|glad|happy|here|afraid)\b"
    r"|i\ (?:understand|apologi[sz]e|hear)\b|sorry\b|thank(?:s|\ you)\b|hello\b|hi\b)",
    re.I,
)
_YOU = re.compile(r"\b(?:you|your|yourself)\b", re.I)
_QUOTED = re.compile(r'"[^"]*"')
_NAMES_SUBJECT = re.compile(
    r"\b(?:assistant|ai|repl(?:y|ies)|responses?|answers?|human|user|speaker|requests?|questions?|conversation)\b", re.I
)
_DECLINES = re.compile(
    r"""\A(?:i(?:'m|\ am)\ (?:so\ |very\ |really\ )?sorry\b|sorry\b|i\ apologi[sz]e\b|unfortunately\b|as\ an\ ai\b
    |i\ (?:can't|cannot|can\ not|won't|am\ unable|am\ not\ able|will\ not)\b)""",
    re.I | re.X,
)
_I_WILL_NOT = r"\bi(?:'m|\s+am)?\s+(?:can't|cannot|can not|won't|will not|unable to|not able to)\s+(?:\w+\s+){0,3}?"
_DECLINES_TASK = re.compile(
    rf"{_I_WILL_NOT}(?:critique|critici[sz]e|review|evaluate|judge|revise|rewrite|amend|edit)\b", re.I
)
_DECLINES_ALL = re.compile(
    rf"{_I_WILL_NOT}(?:assist|help|provide|fulfil\w*|comply|answer|engage|discuss|continue|do)\b", re.I
)
_DECLINES_JUDGING = re.compile(rf"{_I_WILL_NOT}(?:choose|compare|decide|judge|pick|prefer|rank|rate|say|tell)\b", re.I)
_WORD = re.compile(r"[\w']+")
_CURLY = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}
"""Curly quotation marks to straight ones, character by character, so that places in the text stay the same."""


def check_reply(completion: Completion) -> Checked:
    """The rules for an assistant's reply to a person."""
    text, repairs = _without_label(completion.text, Text.REPLY)
    return _judge(completion, text, repairs, _speakers(text))


def check_critique(completion: Completion, shown: Shown) -> Checked:
    """Every rule for a critique."""
    text, repairs = _without_label(completion.text, Text.CRITIQUE)
    start = with_straight_quotes(text[:OPENING])
    declined = bool(_DECLINES.match(start)) and bool(_DECLINES_TASK.search(start) or _DECLINES_ALL.search(start))
    broken = [*_speakers(text), *_copied(text, shown)]
    if _is_revision(with_straight_quotes(text), shown):
        broken.append(Defect.REVISION_AS_CRITIQUE)
    return _judge(completion, text, repairs, broken, declined=declined)


def _is_revision(straight: str, shown: Shown) -> bool:
    """Whether a text in a critique's place is the assistant's: revised, spoken to the human, or the reply itself."""
    own = _QUOTED.sub("", straight)
    speaks = (_OPENS_REPLY.match(own) or _YOU.search(own)) and not _NAMES_SUBJECT.search(own)
    return bool(_LEAD_IN.match(straight) or speaks or is_copy(straight, shown.reply))


def check_revision(completion: Completion, shown: Shown) -> Checked:
    """Every rule for a revision; to decline the human's request is a revision, to decline to revise is refused."""
    text, repairs = _without_label(completion.text, Text.REVISION)
    text, lead_in = _without_lead_in(text)
    straight = with_straight_quotes(text)
    broken = [*_speakers(text), *_copied(text, shown)]
    if _CRITIQUE.match(straight) or (shown.critique is not None and is_copy(text, shown.critique)):
        broken.append(Defect.CRITIQUE_AS_REVISION)
    elif _META.search(straight):
        broken.append(Defect.LEAKED_META_TEXT)
    declined = bool(_DECLINES.match(straight)) and bool(_DECLINES_TASK.search(straight[:OPENING]))
    unchanged = [Defect.UNCHANGED] if (said := _words(text)) and said == _words(shown.reply) else []
    return _judge(completion, text, [*repairs, *lead_in, *unchanged], broken, declined=declined)


def declines_to_judge(reasoning: str) -> bool:
    """Whether what a judge wrote before its letter opens by declining to compare the replies, or to help at all."""
    start = with_straight_quotes(reasoning.strip()[:OPENING])
    return bool(_DECLINES.match(start)) and bool(_DECLINES_JUDGING.search(start) or _DECLINES_ALL.search(start))


def _judge(
    completion: Completion, text: str, kept: Sequence[Defect], broken: Sequence[Defect], *, declined: bool = False
) -> Checked:
    """The text with its outcome; `kept` are the rules that do not spoil it: repairs, and what is only noted."""
    if completion.finish is Finish.ERROR:
        return Checked("", Outcome.PROVIDER_ERROR)
    kept = [*([Defect.THOUGHTS_CUT] if completion.thinking else []), *kept]
    if completion.finish is Finish.LENGTH:
        return Checked(completion.text, Outcome.TRUNCATED)
    if not text:
        return Checked("", Outcome.EMPTY, tuple(kept))
    if declined:
        return Checked(completion.text, Outcome.REFUSED, (Defect.DECLINED_TASK,))
    if broken:
        return Checked(completion.text, Outcome.MALFORMED, tuple(broken))
    return Checked(text, Outcome.OK, tuple(kept))


def _without_label(text: str, kind: Text) -> tuple[str, list[Defect]]:
    label = _OWN_LABEL[kind].match(text)
    return (text[label.end() :], [Defect.OWN_LABEL_REMOVED]) if label else (text.strip(), [])


def _without_lead_in(text: str) -> tuple[str, list[Defect]]:
    lead_in = _LEAD_IN.match(with_straight_quotes(text))
    if not lead_in:
        return text, []
    rest = text[lead_in.end() :].strip()
    straight = with_straight_quotes(rest)
    if len(rest) > 1 and straight[0] == straight[-1] == '"' and '"' not in straight[1:-1]:
        rest = rest[1:-1].strip()
    return rest, [Defect.LEAD_IN_REMOVED]


def with_straight_quotes(text: str) -> str:
    """The text with straight quotation marks and apostrophes; places in it stay the same."""
    return text.translate(_CURLY)


def _speakers(text: str) -> list[Defect]:
    return [Defect.OTHER_SPEAKER] if _SPEAKER.search(text) or _TEMPLATE_MARK.search(text) else []


def _copied(text: str, shown: Shown) -> list[Defect]:
    said = " ".join(_words(text))
    asked = [_words(request) for request in shown.requests]
    found = []
    if any(len(words) >= SHORTEST_COPY and " ".join(words) in said for words in asked) or is_copy(text, shown.human):
        found.append(Defect.COPIED_REQUEST)
    if any(is_copy(text, example) or quotes(text, example) for example in shown.examples):
        found.append(Defect.COPIED_EXAMPLE)
    return found


def is_copy(text: str, source: str) -> bool:
    """Whether `text` is `source` word for word, or at least `COPIED_SHARE` of its runs of four words stand there.

    Case and punctuation do not count. A text of fewer than four words is a copy only when it is the same words.
    """
    words, original = _words(text), _words(source)
    if len(words) < RUN:
        return bool(words) and words == original
    runs, known = _runs(words, RUN), set(_runs(original, RUN))
    return sum(run in known for run in runs) >= COPIED_SHARE * len(runs)


def quotes(text: str, source: str) -> bool:
    """Whether a long run of words of `source` stands in `text`."""
    return not set(_runs(_words(source), LONG_RUN)).isdisjoint(_runs(_words(text), LONG_RUN))


def _words(text: str) -> list[str]:
    return _WORD.findall(with_straight_quotes(text).lower())


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
