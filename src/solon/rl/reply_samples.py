"""What stage 08 shows while it runs: metrics, a few sample replies, and trackers.

`metrics.jsonl` and `samples.jsonl` are in the stage's folder from the first step on and are published with it. Files of
trackers go to `tracking/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from solon.config.recipe import ReinforcementSettings
from solon.conversation import Conversation
from solon.rl.episodes import Rollout
from solon.runs import StageFolder
from solon.runs.records import to_record
from solon.runs.rows import PromptKind
from solon.runs.training_rows import SampleRow
from solon.training.loop import TrainingSession, session_in
from solon.training.metrics import JsonLines, Several, Sink, open_trackers

METRICS = "metrics.jsonl"
_TRACKING = "tracking"


@contextmanager
def metrics_session(out: StageFolder, settings: ReinforcementSettings, *more: Sink) -> Iterator[TrainingSession]:
    """A session with metrics sent to a file, the recipe's trackers and `more`; RecipeError for a missing tracker.

    Only the main process writes metrics.
    """
    if out.follows:
        yield session_in(out)
        return
    plain = settings.model_dump(mode="json")
    trackers = open_trackers(settings.trackers, out.name, out.path / _TRACKING, plain)
    sink = Several([JsonLines(out.path / METRICS), *trackers, *more])
    try:
        yield replace(session_in(out), metrics=sink)
    finally:
        sink.finish()


@dataclass(frozen=True, slots=True)
class ReplySamples:
    """Saves some replies of some steps with their scores; a sink, so that resuming truncates it like the metrics."""

    lines: JsonLines
    settings: ReinforcementSettings
    prompts: Mapping[str, Conversation]
    """The conversations by row id."""

    def begin(self, step: int) -> None:
        """See `Sink`."""
        self.lines.begin(step)

    def add(self, row: Mapping[str, Any]) -> None:
        """Ignore metrics."""

    def finish(self) -> None:
        """See `Sink`."""

    def on_rollout(self, step: int, rollout: Rollout) -> None:
        """Save replies spread evenly over the rollout, if samples of this step (from 1) are wanted."""
        settings, count = self.settings, len(rollout.replies)
        wanted = min(settings.samples, count)
        if not wanted or not (step in (1, settings.steps) or step % settings.samples_every == 0):
            return
        kl = rollout.kl_B.tolist()
        for index in (count * place // wanted for place in range(wanted)):
            reply = rollout.replies[index]
            self.lines.add(
                to_record(
                    SampleRow(
                        step=step,
                        row_id=reply.row_id,
                        kind=PromptKind(reply.kind),
                        prompt=self.prompts[reply.row_id],
                        reply=reply.text,
                        finished=reply.finished,
                        score=float(rollout.score_B[index]),
                        held_out_score=None if rollout.held_out_B is None else float(rollout.held_out_B[index]),
                        kl=kl[index],
                    )
                )
            )
