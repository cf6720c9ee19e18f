"""The settings of the measure of over-refusal (`refusals` in a recipe)."""

from __future__ import annotations

from solon.config.settings import Positive, SamplingParams, Settings


class RefusalSettings(Settings):
    """Over-refusal: what the models reply to benign prompts that sound harmful."""

    prompts: str = "plain:sounds-harmful"
    """A source like those of `prompts`."""
    limit: Positive | None = None
    """Most prompts; all when null."""
    samples: Positive = 1
    """Replies to each prompt."""
    sampling: SamplingParams = SamplingParams()
    questions: str = "refusals"
    """What the judge is asked about each reply, with `measure.grader: judge`: `refusals`, or a YAML file."""
