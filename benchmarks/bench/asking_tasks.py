"""The tasks of asking: letters after a long common beginning, texts, and critiques with their revisions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from benchmarks.bench.planned_texts import PlannedTexts
from benchmarks.bench.sizes import Setting
from benchmarks.peers.tasks import AskingTask
from solon.config.builtin import model_path
from solon.conversation import Prompt, Role

LETTERS = ("A", "B")
Lengths = Callable[[int, random.Random], list[int]]
"""The lengths of so many texts."""


def labels(model: str, setting: Setting) -> AskingTask:
    """Which of two letters comes next: 48 questions of 190 tokens after 1,650 common ones."""
    folder = model_path(setting.scale.model(model))
    texts, pick = PlannedTexts(folder), setting.pick
    shared = texts.turn(Role.HUMAN, pick(1647, 60))

    def question(words: int) -> Prompt:
        return Prompt((shared, texts.turn(Role.HUMAN, words)), Role.ANSWER, "(", 1)

    prompts = [texts.sized(question, pick(1840, 90)) for _ in range(pick(48, 6))]
    phase, options = texts.choice(prompts, LETTERS)
    window = max(map(len, phase.whole)) + 16
    return AskingTask(str(folder), setting.threads, window, [phase], options, LETTERS, pick(8, 2), pick(16, 4))


def fixed(length: int) -> Lengths:
    """All of one length."""
    return lambda count, chance: [length] * count


def even(least: int, most: int) -> Lengths:
    """Every length from `least` to `most` is as likely."""
    return lambda count, chance: [chance.randint(least, most) for _ in range(count)]


def exponential(mean: float, most: int) -> Lengths:
    """Lengths of texts that end with the same chance at every token, up to `most`."""
    return lambda count, chance: [min(most, math.ceil(chance.expovariate(1 / mean))) for _ in range(count)]


def texts(model: str, setting: Setting, count: int, lengths: Lengths, prompt: int = 32) -> AskingTask:
    """Texts of planned lengths to prompts of one length, all in one batch."""
    folder = model_path(setting.scale.model(model))
    planned, rows = PlannedTexts(folder), setting.pick(count, 8)
    limits = [min(each, setting.pick(4096, 12)) for each in lengths(rows, random.Random(0))]
    prompts = [
        planned.sized(lambda words: Prompt((planned.turn(Role.HUMAN, words),)), setting.pick(prompt, 20))
        for _ in limits
    ]
    window = prompt + max(limits) + 16
    return AskingTask(str(folder), setting.threads, window, [planned.phase(prompts, limits)], rows=rows)


def revision(model: str, setting: Setting) -> AskingTask:
    """Sixteen critiques of 48 tokens and revisions of 64, after worked examples of 900 tokens.

    What a revision is asked with holds a planned critique, not the one that was sampled: contestants sample others.
    """
    folder = model_path(setting.scale.model(model))
    planned, pick = PlannedTexts(folder), setting.pick
    shared = planned.turn(Role.HUMAN, pick(897, 60))
    rows, sizes = pick(16, 3), (pick(48, 6), pick(64, 8))
    criticised = [
        (
            shared,
            planned.turn(Role.HUMAN, pick(30, 8)),
            planned.turn(Role.ASSISTANT, pick(60, 8)),
            planned.turn(Role.CRITIQUE_REQUEST, pick(30, 8)),
        )
        for _ in range(rows)
    ]
    revised = [
        (*turns, planned.turn(Role.CRITIQUE, sizes[0]), planned.turn(Role.REVISION_REQUEST, pick(20, 8)))
        for turns in criticised
    ]
    critiques = [Prompt(turns, Role.CRITIQUE, "", 1) for turns in criticised]
    revisions = [Prompt(turns, Role.REVISION, "", 1) for turns in revised]
    phases = [planned.phase(critiques, [sizes[0]] * rows), planned.phase(revisions, [sizes[1]] * rows)]
    window = max(len(each) for phase in phases for each in phase.whole) + max(sizes) + 16
    return AskingTask(str(folder), setting.threads, window, phases, rows=rows)
