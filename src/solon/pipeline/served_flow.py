"""Sends the questions of a stage to servers without a pause between chunks, where one of its models is served."""

from __future__ import annotations

from collections.abc import Iterable

from solon.config.model_spec import ModelSpec
from solon.http.request_flow import RequestFlow
from solon.runs import StageFolder
from solon.runs.chunk_flow import ChunkFlow
from solon.runs.executor import InProcess


def send_through(flow: RequestFlow, out: StageFolder, models: Iterable[object]) -> None:
    """Have the chunks of a stage flow where one of the models that it reads is served; its engines join the flow.

    Their answers have to be cached: several chunks are in progress at once, and a killed session loses those. A stage
    that works elsewhere, such as on a cluster, keeps its executor. Where no row has an answer, the stage ends with the
    reason that the first of its requests had.
    """
    flow.first_failure = ""
    out.why_unanswered = lambda: flow.first_failure
    if isinstance(out.executor, InProcess) and any(isinstance(each, ModelSpec) and each.is_served for each in models):
        out.executor = ChunkFlow(flow, out.stop)
