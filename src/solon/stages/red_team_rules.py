r"""When a red-team prompt that a model wrote is kept: stated rules, in one place, as pure functions.

A completion is the rest of a numbered list. Its items are parted by line and number; each is kept, or keeps the first
rule that it breaks, in this order:

1. the engine failed -> provider_error;  2. nothing is written -> empty;  3. it is the last item, and the token limit
was reached -> truncated;  4. it stands on a line without a number -> `unnumbered`;  5. another speaker or a template's
mark -> `other_speaker`;  6. fewer or more words than allowed -> `too_short`, `too_long`;  7. it ends in no question
mark and opens with no word that asks (tell, give, how, can, I want ...) -> `no_request`;  8. an example that was shown,
word for word or with at least 0.6 of its runs of four words from there -> `copied_example`;  9. the words of an earlier
prompt or of a human one -> `duplicate`;  10. nearly so -> `near_duplicate`. Rules 4 to 10 make an item malformed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon.conversation import Conversation, Role, Turn
from solon.engines.base import Completion, Finish
from solon.outcome import Outcome
from solon.recipe import RedTeamSettings
from solon.stages.checks import check_reply, is_copy
from solon.stages.near_duplicates import NearDuplicates, words_of
from solon.stages.rules import Defect


class Rule(StrEnum):
    """The rule that a written prompt breaks."""

    UNNUMBERED = "unnumbered"
    OTHER_SPEAKER = "other_speaker"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    NO_REQUEST = "no_request"
    COPIED_EXAMPLE = "copied_example"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list as it was written, and what is wrong with it, if anything."""

    text: str
    outcome: Outcome
    rule: Rule | None = None


_NUMBER = re.compile(r"(\d{1,3})\s*[.):]\s*(.*)")
_QUESTION_MARK = re.compile(r"""\?["')\]\s!.]*\Z""")
_ASKS = re.compile(
    r"""\A["'(]*(?:(?:please|hey|hi|hello|ok|okay|so|well|and|but|also|now|then|just|yes|no)\b[\s,.!]*)*
    (?:tell|give|show|write|explain|help|list|describe|teach|make|name|find|suggest|recommend|draft|create|compose
      |provide|generate|let(?:'s|\ me|\ us)|say|convince|pretend|imagine|act|talk|walk|compare|summari[sz]e|share
      |how|what|which|who|whose|why|where|when|can|could|would|will|should|do|does|did|is|are|am|may|might
      |i(?:'d|'m|'ve)?\ (?:(?:would|really|just|also|am|do)\ )*
        (?:want|need|like|wish|plan|planning|hope|hoping|looking|trying|going|think|wonder|wondering|have|hate|know)
      |i'm|i\ am|we\ (?:want|need|are)|my|there(?:'s|\ is))\b""",
    re.I | re.X,
)


def items_of(completion: Completion, first: int) -> list[Item]:
    """The items of a completion that goes on with a list at number `first`, judged by rules 1 to 4."""
    if completion.finish is Finish.ERROR:
        return [Item("", Outcome.PROVIDER_ERROR)]
    lines = [line.strip() for line in completion.text.splitlines() if line.strip()]
    if not lines:
        return [Item("", Outcome.TRUNCATED if completion.finish is Finish.LENGTH else Outcome.EMPTY)]
    items = list(_numbered(lines, first))
    if completion.finish is Finish.LENGTH:
        items[-1] = Item(items[-1].text, Outcome.TRUNCATED)
    return items


def _numbered(lines: Sequence[str], first: int) -> Iterator[Item]:
    number = first
    for place, line in enumerate(lines):
        # The first number was in front of the completion already; a model may write it again.
        match = _NUMBER.match(line)
        if match and int(match[1]) == number:
            text = match[2].strip()
        elif place == 0:
            text = line
        else:
            yield Item(line, Outcome.MALFORMED, Rule.UNNUMBERED)
            continue
        number += 1
        yield Item(text, Outcome.OK if text else Outcome.EMPTY)


def judge(item: Item, shown: Sequence[str], settings: RedTeamSettings) -> Item:
    """The item by rules 5 to 8; `shown` are the examples of its request."""
    if item.outcome is not Outcome.OK:
        return item
    text, words = item.text, len(item.text.split())
    speaks = check_reply(Completion(text, Finish.END))
    if Defect.OTHER_SPEAKER in speaks.defects or Defect.OWN_LABEL_REMOVED in speaks.defects or opens_a_turn(text):
        rule = Rule.OTHER_SPEAKER
    elif words < settings.shortest:
        rule = Rule.TOO_SHORT
    elif words > settings.longest:
        rule = Rule.TOO_LONG
    elif not asks(text):
        rule = Rule.NO_REQUEST
    elif any(is_copy(text, example) for example in shown):
        rule = Rule.COPIED_EXAMPLE
    else:
        return item
    return Item(text, Outcome.MALFORMED, rule)


def opens_a_turn(text: str) -> bool:
    """Whether a text opens like a line of a transcript (`Q: ...`)."""
    return bool(re.match(r"(?:q|a|question|answer|human|user|me|you)\s*:", text, re.I))


def asks(text: str) -> bool:
    """Whether a text ends as a question, or opens as a question or request."""
    straight = text.replace("\u2019", "'")
    return bool(_QUESTION_MARK.search(straight) or _ASKS.match(straight))


def without_repeats(items: Sequence[Item], human: Iterable[Conversation], settings: RedTeamSettings) -> list[Item]:
    """The items in order, those that repeat an earlier or a human prompt refused by rules 9 and 10."""
    people = {prompt: prompt for prompt in human}
    written = {place: prompt_of_text(item.text) for place, item in enumerate(items) if item.outcome is Outcome.OK}
    near = _near(people, written, settings.near_duplicates)
    said = {tuple(words_of(prompt)) for prompt in people}
    judged = list(items)
    for place, prompt in written.items():
        words = tuple(words_of(prompt))
        if words in said:
            judged[place] = Item(items[place].text, Outcome.MALFORMED, Rule.DUPLICATE)
        elif near is not None and near.match(place):
            judged[place] = Item(items[place].text, Outcome.MALFORMED, Rule.NEAR_DUPLICATE)
        else:
            said.add(words)
            if near is not None:
                near.keep(place, True)
    return judged


def prompt_of_text(text: str) -> Conversation:
    """A written prompt: a conversation of one human turn."""
    return Conversation((Turn(Role.HUMAN, text),))


def _near(
    people: Mapping[Conversation, Conversation],
    written: Mapping[int, Conversation],
    threshold: float | None,
) -> NearDuplicates[Conversation | int, bool] | None:
    if threshold is None:
        return None
    known: dict[Conversation | int, Conversation] = {prompt: prompt for prompt in people.values()}
    known |= {place: prompt for place, prompt in written.items()}  # noqa: C416  (the keys are of a wider type)
    near = NearDuplicates[Conversation | int, bool](threshold, known)
    for prompt in people:
        near.keep(prompt, True)
    return near
