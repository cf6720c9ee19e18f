"""Stage 01-prompts: the conversations that the method starts from (paper, sections 3.2 and 4.2).

Four kinds of prompts are read: red-team prompts, which ask for harm over one or several turns; helpfulness prompts; and
two held-out sets, harmful and benign, on which the finished models are measured. Exact duplicates are taken once, and a
prompt has one kind only: what is held out is taken from training, what is a red-team prompt is taken from the helpful
ones. Limits keep the lowest row ids, which are content hashes: a draw depends on neither the order of a file nor the
seed of a run, and a larger limit only adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from solon import wording
from solon.builtin import source_path
from solon.engines.base import Engine
from solon.errors import InputError, StageError
from solon.outcome import Outcome
from solon.recipe import MeasureSettings, PromptSettings, TooLong
from solon.runs import Artefact, StageFolder
from solon.stages.files import FoundPrompt, read_prompts
from solon.stages.tables import MESSAGES, STRING, Kind

SCHEMA = pa.schema(
    [
        ("row_id", STRING),
        ("kind", STRING),
        ("prompt", MESSAGES),
        ("source", STRING),
        ("line", pa.int64()),
        ("outcome", STRING),
    ]
)


@dataclass(frozen=True, slots=True)
class PromptInputs:
    """The held-out prompts' settings, and the tokens to keep free beside a prompt of each kind (`room`)."""

    held_out: MeasureSettings
    reserved: Mapping[Kind, int]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the prompts of one kind come from."""

    kind: Kind
    name: str
    limit: int | None
    setting: str
    """The recipe's key for it, for messages."""


def run(settings: PromptSettings, inputs: PromptInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Read, deduplicate, measure against the engine's window and draw the prompts of all four kinds.

    Raises InputError for a file that is missing, empty or malformed and for a prompt that is too long, and StageError
    when nothing is left of a training set once the held-out prompts are taken out.
    """
    taken: dict[str, Kind] = {}
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    for done, source in enumerate(sources(settings, inputs.held_out), start=1):
        found, counts = _read(settings, source, taken)
        drawn, too_long = _draw(settings, source, found, engine, inputs.reserved[source.kind])
        if not drawn:
            raise _nothing_left(source, too_long, counts["overlaps"])
        taken |= dict.fromkeys(drawn, source.kind)
        rows += [_row(row_id, found[row_id], source) for row_id in drawn]
        facts[source.kind.value] = {**counts, "of": len(found), "too_long": too_long, "kept": len(drawn)}
        out.report(done, len(Kind), f"{len(drawn)} {source.kind.value} prompts")
    return out.publish(rows, SCHEMA, facts=facts)


def sources(settings: PromptSettings, held_out: MeasureSettings) -> tuple[Source, ...]:
    """The four sources, in the order in which they lay claim to a prompt."""
    return (
        Source(Kind.HELD_OUT_HARMFUL, held_out.harmful, held_out.limit, "measure.harmful"),
        Source(Kind.HELD_OUT_BENIGN, held_out.benign, held_out.limit, "measure.benign"),
        Source(Kind.RED_TEAM, settings.red_team, settings.limit_red_team, "prompts.red_team"),
        Source(Kind.HELPFUL, settings.helpful, settings.limit_helpful, "prompts.helpful"),
    )


def _read(
    settings: PromptSettings, source: Source, taken: Mapping[str, Kind]
) -> tuple[dict[str, FoundPrompt], dict[str, Any]]:
    """The prompts of a source by row id, without those that have another kind already, and what was counted."""
    file = read_prompts(source_path(source.name), bad_lines=settings.bad_lines)
    found: dict[str, FoundPrompt] = {}
    duplicates, overlaps = 0, Counter[str]()
    for prompt in file.prompts:
        row_id = prompt.conversation.row_id
        if row_id in found:
            duplicates += 1
        elif row_id in taken:
            overlaps[taken[row_id].value] += 1
        else:
            found[row_id] = prompt
    counts = {"source": source.name, "lines": file.lines, "bad_lines": len(file.bad), "duplicates": duplicates}
    return found, {**counts, "overlaps": dict(overlaps)}


def _draw(
    settings: PromptSettings, source: Source, found: Mapping[str, FoundPrompt], engine: Engine, reserved: int
) -> tuple[list[str], int]:
    """The lowest row ids that fit the window, up to the limit, and how many too long ones were met on the way."""
    drawn: list[str] = []
    too_long = 0
    for row_id in sorted(found):
        if len(drawn) == source.limit:
            break
        tokens = engine.count_tokens(wording.reply(found[row_id].conversation))
        if tokens + reserved <= engine.window:
            drawn.append(row_id)
        elif settings.too_long is TooLong.DROP:
            too_long += 1
        else:
            place = f"{source_path(source.name)}:{found[row_id].line}"
            raise _too_long(place, tokens, reserved, engine.window)
    return drawn, too_long


def _row(row_id: str, prompt: FoundPrompt, source: Source) -> dict[str, Any]:
    return {
        "row_id": row_id,
        "kind": source.kind.value,
        "prompt": prompt.conversation.messages(),
        "source": source.name,
        "line": prompt.line,
        "outcome": Outcome.OK.value,
    }


def _too_long(place: str, tokens: int, reserved: int, window: int) -> InputError:
    return InputError(
        f"the prompt has {tokens} tokens and needs {reserved} more for replies, examples and principles, "
        f"but the window is {window}",
        place=place,
        remedy="To leave out such prompts: --set prompts.too_long=drop",
    )


def _nothing_left(source: Source, too_long: int, overlaps: Mapping[str, int]) -> StageError:
    reasons = [f"{too_long} are too long"] if too_long else []
    reasons += [f"{count} are {kind} prompts too" for kind, count in overlaps.items()]
    return StageError(
        f"no {source.kind.value} prompts are left: {', '.join(reasons)}",
        place=source.name,
        remedy=f"Name another file: --set {source.setting}=FILE, or hold out fewer: --set measure.limit=N",
    )
