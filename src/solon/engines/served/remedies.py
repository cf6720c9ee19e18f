"""What to do when a model's server does not answer."""

from __future__ import annotations

from collections.abc import Sequence

from solon.config.server_settings import ServerSettings
from solon.errors import EngineError
from solon.http.retry_policy import FailureKind, RequestFailure

_AGAIN = "then run the same command again; a run keeps finished rows"


def engine_error(failure: RequestFailure, addresses: Sequence[str], settings: ServerSettings) -> EngineError:
    """The error for a failure that stops the work, with the next thing to do.

    It names the address that failed; all of them where none could be reached.
    """
    unreached = failure.kind is FailureKind.AWAY and failure.status is None
    place = ", ".join(addresses) if unreached or not failure.address else failure.address
    return EngineError(f"the server {failure.why}", place=place, remedy=_remedy(failure, settings))


def _remedy(failure: RequestFailure, settings: ServerSettings) -> str:
    if failure.status in (401, 403):
        return f"Set the environment variable {settings.key_variable} to the server's key, {_AGAIN}"
    if failure.redirects:
        return "Use the address that it redirects to"
    if failure.status == 402:
        return f"Look at the account of the key, {_AGAIN}"
    if failure.status == 404:
        return "Check the address, which often ends in /v1, and the model's name"
    if failure.status == 429:
        return f"Lower engine.server.concurrency, or wait, {_AGAIN}"
    if failure.kind is FailureKind.SLOW:
        return f"Raise engine.server.timeout, or lower engine.server.concurrency, {_AGAIN}"
    if failure.kind is FailureKind.AWAY:
        return f"Start the server (docs/how-to/own-server.md), {_AGAIN}"
    return f"See what the server logs about it, and docs/how-to/own-server.md; {_AGAIN}"
