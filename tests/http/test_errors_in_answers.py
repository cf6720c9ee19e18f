"""Errors that gateways send with status 200: they are what an answer with the status in them would be."""

from __future__ import annotations

from typing import Any

import pytest

from solon.http.json_client import ClientSetup, JsonClient, JsonRequest
from solon.http.retry_policy import FailureKind, RequestFailure, failure_in
from tests.attacks.hostile import listening, whole


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": "Invalid API key", "code": 401}, FailureKind.DENIED, 401),
        ({"message": "Insufficient credits", "code": 402}, FailureKind.DENIED, 402),
        ({"message": "Rate limit exceeded", "code": 429}, FailureKind.AWAY, 429),
        ({"message": "Provider returned error", "code": "502"}, FailureKind.AWAY, 502),
        ({"message": "broken", "code": 500}, FailureKind.BROKEN, 500),
        ({"message": "too many tokens", "code": 400}, FailureKind.REFUSED, 400),
        ({"message": "no", "type": "rate_limit_error", "code": None}, FailureKind.AWAY, 429),
        ({"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}, FailureKind.DENIED, 401),
        ({"message": "no", "code": "insufficient_quota"}, FailureKind.DENIED, 402),
        ({"message": "overloaded"}, FailureKind.MALFORMED, None),
        ({"message": "no", "code": 7}, FailureKind.MALFORMED, None),
        ("overloaded", FailureKind.MALFORMED, None),
    ],
)
def test_an_error_has_the_kind_of_its_status(error: Any, kind: FailureKind, status: int | None) -> None:
    found = failure_in(error)
    assert found is not None and (found.kind, found.status) == (kind, status)
    assert (error["message"] if isinstance(error, dict) else error) in found.why


@pytest.mark.parametrize("error", [None, "", {}, False])
def test_no_error_is_no_failure(error: Any) -> None:
    assert failure_in(error) is None


def test_an_error_is_said_in_one_line_without_end() -> None:
    found = failure_in({"message": "line\nline " * 999})
    assert found is not None and "\n" not in found.why and len(found.why) < 300


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://example.org/v1/ask", "it redirects to https://example.org/v1, and"),
        ("https://name:password@example.org/v2/ask?key=secret", "it redirects to https://***@example.org/v2, and"),
        ("/elsewhere", "/elsewhere, and"),
        ("http://[bad", "it redirects, and"),
    ],
)
def test_a_redirect_names_the_address_to_use_without_credentials(location: str, said: str) -> None:
    with listening() as server:
        server.says = [whole(b"", "308 Permanent Redirect", f"Location: {location}")]
        client = JsonClient([server.url], ClientSetup())
        with pytest.raises(RequestFailure) as caught:
            client.ask_one(JsonRequest("/ask", {}, lambda answer: answer))
        client.close()
        found = caught.value
        assert found.redirects and found.address == server.url and found.kind is FailureKind.DENIED
        assert said in found.why and "password" not in found.why and "secret" not in found.why
