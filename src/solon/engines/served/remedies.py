"""What to do when a model's server does not answer."""

from __future__ import annotations

from collections.abc import Sequence

from solon.config.server_settings import ServerSettings
from solon.errors import EngineError
from solon.http.retry_policy import FailureKind, RequestFailure

_AGAIN = "then run the same command again: finished rows are kept"


def engine_error(failure: RequestFailure, addresses: Sequence[str], settings: ServerSettings) -> EngineError:
    """The error for a failure that stops the work, with the next thing to do."""
    return EngineError(f"the server {failure.why}", place=", ".join(addresses), remedy=_remedy(failure, settings))


def _remedy(failure: RequestFailure, settings: ServerSettings) -> str:
    if failure.status in (401, 403):
        return f"Set the environment variable {settings.key_variable} to the server's key, {_AGAIN}"
    if failure.status == 404:
        return "Check the address, which often ends in /v1, and the model's name: solon engines check openai:MODEL@URL"
    if failure.status == 429:
        return f"Lower engine.server.concurrency, or wait, {_AGAIN}"
    if failure.kind is FailureKind.SLOW:
        return f"Raise engine.server.timeout, or lower engine.server.concurrency, {_AGAIN}"
    if failure.kind is FailureKind.AWAY:
        return f"Start the server (docs/how-to/own-server.md), {_AGAIN}"
    return "See what the server answers: solon engines check openai:MODEL@URL"
