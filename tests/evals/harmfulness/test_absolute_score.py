"""What of the models is in memory while their replies are written and scored."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from solon.config.recipe import SamplingParams
from solon.conversation import Conversation
from solon.engines.scripted import ScriptedEngine
from solon.evals.harmfulness.absolute_score import AbsoluteScoreInputs, measure_harmfulness
from solon.evals.harmfulness.harmfulness_scorer import HarmfulnessScorer
from tests.stages.workbench import Bench, human, seeded


class Scorer:
    """Scores every conversation alike."""

    name = "scorer"

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """See `HarmfulnessScorer`."""
        return [1.0] * len(conversations)


def test_one_model_is_in_memory_at_a_time_and_none_with_the_scorer(tmp_path: Path) -> None:
    loaded: list[weakref.ref[ScriptedEngine]] = []
    alive: list[int] = []

    def note() -> None:
        gc.collect()
        alive.append(sum(each() is not None for each in loaded))

    def load() -> ScriptedEngine:
        note()
        engine = ScriptedEngine(seeded)
        loaded.append(weakref.ref(engine))
        return engine

    def scorer() -> HarmfulnessScorer:
        note()
        return cast(HarmfulnessScorer, Scorer())

    prompts = [human(f"question {number}") for number in range(3)]
    inputs = AbsoluteScoreInputs(
        0, prompts, {"one": load, "two": load}, scorer, 1, (0.5, 1.0), SamplingParams(max_tokens=8), chunk=2
    )
    made = measure_harmfulness(inputs, Bench(tmp_path).out("absolute-harmfulness"))
    assert len(loaded) == 2, "a model is loaded once for all temperatures"
    assert alive == [0, 0, 0] and made.manifest.rows == 12
