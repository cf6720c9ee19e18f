"""Stage 01-prompts: the conversations that the method starts from (paper, sections 3.2 and 4.2).

Four kinds of prompts are read: red-team prompts, which ask for harm over one or several turns; helpfulness prompts; and
two held-out sets, harmful and benign, on which the finished models are measured. A prompt has one kind only: what is
held out is taken from training, what is a red-team prompt is taken from the helpful ones. Exact duplicates are taken
once; near ones too when a threshold is set, and then what nearly repeats a held-out prompt is not trained on either.
Limits keep the lowest row ids, and `split` holds out by them; they are content hashes, so neither the order of a file
nor the seed of a run matters, a larger limit or share only adds, and new prompts move no old one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from solon import prompts
from solon.config.recipe import MeasureSettings, PromptSettings, TooLong
from solon.conversation import Role
from solon.engines.base import Engine, count_many
from solon.errors import InputError, ModelError, StageError
from solon.evals.grading import Grader, refuse_unknown
from solon.runs import Artefact, StageFolder
from solon.runs.outcome import Outcome
from solon.runs.rows import HELD_OUT_KINDS, PromptKind, PromptRow
from solon.sources.columns import Columns
from solon.sources.entries import located
from solon.sources.near_duplicates import NearDuplicates
from solon.sources.prompt_files import FoundPrompt, PromptFile, read_prompts
from solon.sources.prompt_sources import Source, online_sources, sources
from solon.stages.plan import PROMPTS
from solon.stages.stage import Stage, StageDependencies, Work


@dataclass(frozen=True, slots=True)
class PromptInputs:
    """The held-out prompts' settings, and the tokens to reserve for questions about a prompt, by its kind."""

    held_out: MeasureSettings
    reserved: Mapping[PromptKind, int]
    grader: Grader | None = None
    """The grader of the run; held-out prompts that it does not know are refused before anything is asked."""


@dataclass(slots=True)
class Found:
    """The prompts of a source by row id, each with the name of its file, and what was counted on the way."""

    source: Source
    prompts: dict[str, tuple[FoundPrompt, str]]
    lines: int = 0
    bad_lines: int = 0
    duplicates: int = 0
    too_long: int = 0
    many_turns: int = 0
    """Prompts with more human turns than the recipe allows."""
    overlaps: Counter[str] = field(default_factory=Counter)
    """Prompts of this source that are of another kind already, by that kind."""
    refused: int = 0
    """Prompts that the assistant's chat template refuses."""
    near_duplicates: int = 0
    near_overlaps: Counter[str] = field(default_factory=Counter)
    """Prompts that nearly repeat one of another kind, by that kind."""

    def facts(self, of: int, kept: int) -> dict[str, Any]:
        """What the manifest says of the source: `of` prompts could be drawn, `kept` were."""
        counts = {
            name: getattr(self, name) for name in ("lines", "bad_lines", "refused", "duplicates", "near_duplicates")
        }
        counts |= {"many_turns": self.many_turns} if self.many_turns else {}
        overlaps = {"overlaps": dict(self.overlaps), "near_overlaps": dict(self.near_overlaps)}
        return {"source": self.source.name, **counts, **overlaps, "of": of, "too_long": self.too_long, "kept": kept}


def run(settings: PromptSettings, inputs: PromptInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Read, deduplicate, measure against the engine's window and draw the prompts of all four kinds.

    Raises InputError for a file that is missing, empty or malformed and for a prompt that is too long, and StageError
    when nothing is left of a training set once the held-out prompts are taken out, or the grader does not know a
    held-out prompt.
    """
    wanted = sources(settings, inputs.held_out)
    files = _read(wanted, settings)
    near = _near_duplicates(settings, files)
    taken: dict[str, PromptKind] = {}
    rows: list[PromptRow] = []
    facts: dict[str, Any] = {}
    for done, source in enumerate(wanted, start=1):
        found = _find(source, files, taken, settings.most_turns)
        drawn = _draw(settings, found, near, engine, inputs.reserved[source.kind])
        if not drawn:
            raise _nothing_left(found)
        taken |= dict.fromkeys(drawn, source.kind)
        rows += [_row(row_id, *found.prompts[row_id], source.kind) for row_id in drawn]
        facts[source.kind.value] = found.facts(len(found.prompts), len(drawn))
        out.report(done, len(PromptKind), f"{len(drawn)} {source.kind.value} prompts", unit="kinds of prompts")
    refuse_unknown(inputs.grader, [row for row in rows if row.kind in HELD_OUT_KINDS], inputs.held_out.grader)
    return out.publish(rows, PromptRow, facts=facts)


def run_online(
    settings: PromptSettings,
    source: Source,
    earlier: Sequence[PromptRow],
    reserved: int,
    engine: Engine,
    out: StageFolder,
) -> Artefact:
    """Read the prompts that join in a later round, as `run` does; what repeats one of the `earlier` is left out.

    Raises as `run` does.
    """
    files = _read((source,), settings)
    near = None
    if settings.near_duplicates is not None:
        known = {row.row_id: row.prompt for row in earlier}
        new = {each.conversation.row_id: each.conversation for file in files.values() for each in file.prompts}
        near = NearDuplicates[str, PromptKind](settings.near_duplicates, new | known)
        for row in earlier:
            near.keep(row.row_id, row.kind)
    found = _find(source, files, {row.row_id: row.kind for row in earlier}, settings.most_turns)
    drawn = _draw(settings, found, near, engine, reserved)
    if not drawn:
        raise _nothing_left(found)
    rows = [_row(row_id, *found.prompts[row_id], source.kind) for row_id in drawn]
    return out.publish(rows, PromptRow, facts={source.kind.value: found.facts(len(found.prompts), len(drawn))})


TOGETHER = 128
"""Prompts that are counted together at most."""
_LEFT_OUT = ("bad_lines", "refused", "duplicates", "near_duplicates", "many_turns", "too_long")


def _read(wanted: Sequence[Source], settings: PromptSettings) -> dict[str, PromptFile]:
    """Every file or dataset that is named, by its name and read once."""
    names = dict.fromkeys(name for source in wanted for name in source.names)
    columns = Columns(called=settings.columns)
    read = {name: read_prompts(located(name), bad_lines=settings.bad_lines, columns=columns) for name in names}
    columns.refuse_unmet(", ".join(names))
    return read


def _near_duplicates(
    settings: PromptSettings, files: Mapping[str, PromptFile]
) -> NearDuplicates[str, PromptKind] | None:
    if settings.near_duplicates is None:
        return None
    every = {prompt.conversation.row_id: prompt.conversation for file in files.values() for prompt in file.prompts}
    return NearDuplicates(settings.near_duplicates, every)


def _find(
    source: Source, files: Mapping[str, PromptFile], taken: Mapping[str, PromptKind], most_turns: int | None
) -> Found:
    """The prompts in the source's part of the split that do not belong to another kind already."""
    found = Found(source, {})
    for name in source.names:
        found.lines += files[name].lines
        found.bad_lines += len(files[name].bad)
        for prompt in files[name].prompts:
            row_id = prompt.conversation.row_id
            if not source.holds(row_id):
                continue
            if most_turns is not None and _human_turns(prompt) > most_turns:
                found.many_turns += 1
            elif row_id in found.prompts:
                found.duplicates += 1
            elif row_id in taken:
                found.overlaps[taken[row_id].value] += 1
            else:
                found.prompts[row_id] = prompt, name
    return found


def _human_turns(prompt: FoundPrompt) -> int:
    return sum(turn.role is Role.HUMAN for turn in prompt.conversation.turns)


def _draw(
    settings: PromptSettings, found: Found, near: NearDuplicates[str, PromptKind] | None, engine: Engine, reserved: int
) -> list[str]:
    """The lowest row ids that fit the window and repeat nothing, up to the limit; counts what it leaves out."""
    kind, drawn = found.source.kind, list[str]()
    for row_id, counted in _counted(found, engine):
        twin = near.match(row_id) if near else None
        if twin is kind:
            found.near_duplicates += 1
        elif twin is not None:
            found.near_overlaps[twin.value] += 1
        elif (tokens := counted or _tokens(settings, found, row_id, engine)) is None:
            found.refused += 1
        elif _fits(settings, found.prompts[row_id][0], tokens, reserved, engine.window):
            drawn.append(row_id)
            if near:
                near.keep(row_id, kind)
            if len(drawn) == found.source.limit:
                break  # here, so that no more prompts are counted
        else:
            found.too_long += 1
    return drawn


def _counted(found: Found, engine: Engine) -> Iterator[tuple[str, int | None]]:
    """The row ids in order, each with its prompt's tokens; so many are counted together as may be drawn.

    None where the chat template refuses one of those that are counted together.
    """
    ordered = sorted(found.prompts)
    together = min(TOGETHER, found.source.limit or TOGETHER)
    for start in range(0, len(ordered), together):
        part = ordered[start : start + together]
        asked = [prompts.reply(found.prompts[each][0].conversation) for each in part]
        counts: Sequence[int | None]
        try:
            counts = count_many(engine, asked)
        except ModelError:
            counts = [None] * len(part)
        yield from zip(part, counts, strict=True)


def _tokens(settings: PromptSettings, found: Found, row_id: str, engine: Engine) -> int | None:
    """A prompt's tokens; None for one that the chat template refuses where so many bad lines are allowed.

    Templates may demand that turns alternate, or that a human opens. Raises InputError beyond the lines allowed.
    """
    prompt, _ = found.prompts[row_id]
    try:
        return engine.count_tokens(prompts.reply(prompt.conversation))
    except ModelError as error:
        bad = found.bad_lines + found.refused + 1
        if bad <= settings.bad_lines:
            return None
        raise InputError(
            error.cause,
            place=prompt.place,
            remedy=f"{error.remedy}, or leave out such prompts: --set prompts.bad_lines={bad}",
        ) from error


def _fits(settings: PromptSettings, prompt: FoundPrompt, tokens: int, reserved: int, window: int) -> bool:
    """Whether a prompt leaves `reserved` tokens free; raises InputError when it does not and must not be dropped."""
    if tokens + reserved <= window:
        return True
    if settings.too_long is TooLong.DROP:
        return False
    raise _too_long(prompt.place, tokens, reserved, window)


def _row(row_id: str, prompt: FoundPrompt, file: str, kind: PromptKind) -> PromptRow:
    return PromptRow(
        row_id=row_id, kind=kind, prompt=prompt.conversation, source=file, line=prompt.line, outcome=Outcome.OK
    )


def _too_long(place: str, tokens: int, reserved: int, window: int) -> InputError:
    return InputError(
        f"the prompt has {tokens} tokens and needs {reserved} more for replies, examples and principles, "
        f"but the window is {window}",
        place=place,
        remedy="To leave out such prompts: --set prompts.too_long=drop",
    )


def _nothing_left(found: Found) -> StageError:
    source = found.source
    reasons = [f"{found.too_long} are too long"] if found.too_long else []
    reasons += [f"{found.refused} are refused by the chat template"] if found.refused else []
    reasons += [f"{found.many_turns} have more human turns than prompts.most_turns"] if found.many_turns else []
    reasons += [f"{count} are {kind} prompts too" for kind, count in found.overlaps.items()]
    reasons += [f"{count} nearly repeat {kind} prompts" for kind, count in found.near_overlaps.items()]
    reasons = reasons or ["none of them fell into this part of the split"]
    return StageError(
        f"no {source.kind.value} prompts are left: {', '.join(reasons)}",
        place=source.name,
        remedy=f"Name another file: --set {source.setting}=FILE, or hold out fewer: --set measure.limit=N",
    )


@dataclass(frozen=True)
class Prompts(Stage):
    """The stage as a run has it."""

    section = "prompts"

    def reads(self, work: Work) -> StageDependencies:
        """The sources, and the assistant: its tokenizer says which prompts are too long."""
        settings, measured = work.recipe.prompts, work.recipe.measure
        names = dict.fromkeys(name for source in sources(settings, measured) for name in source.names)
        more = {
            "files": {name: work.source_hash(name) for name in names},
            "held_out": {"harmful": measured.harmful, "benign": measured.benign, "limit": measured.limit},
            "reserved": {kind.value: count for kind, count in work.reserved_tokens().items()},
        }
        return StageDependencies({"assistant": work.assistant}, more)

    def run(self, work: Work, out: StageFolder) -> Artefact:
        inputs = PromptInputs(work.recipe.measure, work.reserved_tokens(), work.grader)
        return run(work.recipe.prompts, inputs, work.engine(work.assistant), out)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        """What was left out of each kind of prompts; a kind that lost nothing has no line."""
        lines = []
        for kind, counts in facts.items():
            overlaps = [f"{count} held as {other}" for other, count in counts["overlaps"].items()]
            near = [f"{count} nearly repeat {other}" for other, count in counts["near_overlaps"].items()]
            counted = [f"{counts[name]} {name.replace('_', ' ')}" for name in _LEFT_OUT if counts.get(name)]
            if counted or overlaps or near:
                lines.append(f"{kind}: {counts['kept']:,} prompts; left out: {', '.join([*counted, *overlaps, *near])}")
        return lines


@dataclass(frozen=True)
class OnlinePrompts(Prompts):
    """The prompts that join from the second round on, where a recipe names some; the first round has no use of them."""

    section = "online"
    needs = (PROMPTS,)

    def reads(self, work: Work) -> StageDependencies:
        """The source, the assistant for its tokenizer, and how prompts are read."""
        (source,) = online_sources(work.recipe.online)
        more = {
            "files": {name: work.source_hash(name) for name in source.names},
            "prompts": work.recipe.prompts.model_dump(mode="json"),
            "reserved": work.reserved_tokens()[source.kind],
        }
        return StageDependencies({"assistant": work.assistant}, more)

    def run(self, work: Work, out: StageFolder) -> Artefact:
        (source,) = online_sources(work.recipe.online)
        earlier, reserved = work.artefact(PROMPTS).rows(PromptRow), work.reserved_tokens()[source.kind]
        return run_online(work.recipe.prompts, source, earlier, reserved, work.engine(work.assistant), out)
