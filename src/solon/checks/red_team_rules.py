r"""When a red-team prompt that a model wrote is kept: stated rules, in one place, as pure functions.

A completion is the rest of a numbered list. Its items are parted by line and number; each is kept, or keeps the first
rule that it breaks, in this order:

1. the engine failed -> provider_error;  2. nothing is written -> empty;  3. it is the last item, and the token limit
was reached -> truncated;  4. it stands on a line without a number -> `unnumbered`;  5. another speaker or a template's
mark -> `other_speaker`;  6. fewer or more words than allowed -> `too_short`, `too_long`;  7. it ends in no question
mark, and neither a sentence nor its last clause opens with words that ask (tell, give, how, can you, I want ...) ->
`no_request`;  8. an example that was shown,
word for word or with at least 0.6 of its runs of four words from there -> `copied_example`;  9. the words of an earlier
prompt or of a human one -> `duplicate`;  10. nearly so -> `near_duplicate`. Rules 4 to 10 make an item malformed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon.checks.rules import Defect
from solon.checks.texts import check_reply, is_copy
from solon.config.recipe import RedTeamSettings
from solon.conversation import Conversation, Role, Turn
from solon.engines.base import Completion, Finish
from solon.runs.outcome import Outcome
from solon.sources.near_duplicates import NearDuplicates, words_of


class PromptRule(StrEnum):
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
    rule: PromptRule | None = None


_NUMBER = re.compile(r"(\d{1,3})\s*[.):]\s*(.*)")
_QUESTION_MARK = re.compile(r"""\?["')\]\s!.]*\Z""")
_SENTENCE_END = re.compile(r"[.!?;:]+[\"')]*\s+")
_ASKS = re.compile(
    r"""\A["'(]*(?:(?:please|hey|hi|hello|ok|okay|so|well|and|but|also|now|then|just|yes|no)\b[\s,.!]*)*
    (?:tell|give|show|write|explain|help|list|describe|teach|make|name|find|suggest|recommend|draft|create|compose
      |provide|generate|let(?:'s|\ me|\ us)|say|convince|pretend|imagine|act|talk|walk|compare|summari[sz]e|share
      |how|what|which|who|whose|why|where|when|can|could|would|will|should|do|does|did|is|are|am|may|might
      |i(?:'d|'m|'ve)?\ (?:(?:would|really|just|also|am|do)\ )*
        (?:want|need|wish|plan|planning|hope|hoping|looking|trying|going|wonder|wondering)
      |i(?:'d|\ would)\ (?:\w+\ )?like
      |i(?:'m|\ am)\ (?:looking|trying|going|planning|hoping|wondering)|we\ (?:want|need))\b""",
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
    for place, line in enumerate(lines):
        match = _NUMBER.match(line)
        # The first number stood in front of the completion already; a model may write it again. Elsewhere any number
        # opens an item, because small models miscount.
        if place == 0 and not (match and int(match[1]) == first):
            yield Item(line, Outcome.OK)
        elif match:
            yield Item(match[2].strip(), Outcome.OK if match[2].strip() else Outcome.EMPTY)
        else:
            yield Item(line, Outcome.MALFORMED, PromptRule.UNNUMBERED)


def judge(item: Item, shown: Sequence[str], settings: RedTeamSettings) -> Item:
    """The item by rules 5 to 8; `shown` are the examples of its request."""
    if item.outcome is not Outcome.OK:
        return item
    text, words = item.text, len(item.text.split())
    speaks = check_reply(Completion(text, Finish.END))
    if Defect.OTHER_SPEAKER in speaks.defects or Defect.OWN_LABEL_REMOVED in speaks.defects or opens_a_turn(text):
        rule = PromptRule.OTHER_SPEAKER
    elif words < settings.min_words:
        rule = PromptRule.TOO_SHORT
    elif words > settings.max_words:
        rule = PromptRule.TOO_LONG
    elif not asks(text):
        rule = PromptRule.NO_REQUEST
    elif any(is_copy(text, example) for example in shown):
        rule = PromptRule.COPIED_EXAMPLE
    else:
        return item
    return Item(text, Outcome.MALFORMED, rule)


def opens_a_turn(text: str) -> bool:
    """Whether a text opens like a line of a transcript (`Q: ...`)."""
    return bool(re.match(r"(?:q|a|question|answer|human|user|me|you)\s*:", text, re.I))


def asks(text: str) -> bool:
    """Whether a text ends as a question, or has a sentence (or a last clause) that opens as a question or request."""
    straight = text.replace("\u2019", "'")
    if _QUESTION_MARK.search(straight):
        return True
    opens = [*_SENTENCE_END.split(straight), straight.rpartition(",")[2].strip()]
    return any(_ASKS.match(part) for part in opens)


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
            judged[place] = Item(items[place].text, Outcome.MALFORMED, PromptRule.DUPLICATE)
        elif near is not None and near.match(place):
            judged[place] = Item(items[place].text, Outcome.MALFORMED, PromptRule.NEAR_DUPLICATE)
        else:
            said.add(words)
            if near is not None:
                near.keep(place, True)
    return judged


def prompt_of_text(text: str) -> Conversation:
    """A written prompt: a conversation of one human turn."""
    return Conversation((Turn(Role.HUMAN, text),))


def _near(
    people: Mapping[Conversation, Conversation], written: Mapping[int, Conversation], threshold: float | None
) -> NearDuplicates[Conversation | int, bool] | None:
    if threshold is None:
        return None
    every: dict[Conversation | int, Conversation] = dict(people.items())
    every.update(written.items())
    near = NearDuplicates[Conversation | int, bool](threshold, every)
    for prompt in people:
        near.keep(prompt, True)
    return near
