"""Judges of known quality: they read the options off the question, as a model would."""

import math
from collections.abc import Callable

from solon.config.builtin import constitution_path
from solon.constitution.reader import load_constitution
from solon.conversation import Prompt
from solon.engines.scripted import ScriptedEngine
from solon.evals.judge_check import plain_comparisons

CONSTITUTION = load_constitution(constitution_path("harmlessness"))
BETTER = {one.better for one in plain_comparisons()}
MARK = "\n(B) "
NOT_TOLD = ScriptedEngine(choose=lambda prompt, option: math.nan)


def options(prompt: Prompt) -> dict[str, str]:
    """What stands under each letter of the question; of several places to cut, the one that leaves a known reply."""
    listed = prompt.turns[-1].content.partition("\nOptions:\n(A) ")[2]
    parts = listed.split(MARK)
    cuts = [(MARK.join(parts[:place]), MARK.join(parts[place:])) for place in range(1, len(parts))]
    a, b = next((cut for cut in cuts if BETTER & set(cut)), cuts[0])
    return {"A": a, "B": b}


def judge(quality: float, bias: float = 0.0, sway: Callable[[str, str], float] | None = None) -> ScriptedEngine:
    """Gives the better reply `quality` of log-odds, the letter A `bias`, and a reply what `sway` says of it."""

    def choose(prompt: Prompt, option: str) -> float:
        reply = options(prompt)[option]
        swayed = sway(reply, option) if sway else 0.0
        return -2 + quality * (reply in BETTER) + bias * (option == "A") + swayed

    return ScriptedEngine(choose=choose)
