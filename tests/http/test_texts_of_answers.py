"""Texts in servers' answers that no UTF-8 file can hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from solon.config.strict_json import whole_characters
from solon.http.json_client import ClientSetup, JsonClient, JsonRequest
from tests.http.local_server import Answer, Received, serving


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (rb'{"text": "hi \ud83d and bye"}', {"text": "hi \ufffd and bye"}),
        (rb'{"text": ["\udca9", {"\ud83d": -1.5}], "n": 3}', {"text": ["\ufffd", {"\ufffd": -1.5}], "n": 3}),
        (rb'{"text": "\ud83d\udca9"}', {"text": "\U0001f4a9"}),
        (rb'{"text": "written \\ud83d"}', {"text": "written \\ud83d"}),
    ],
)
def test_half_a_character_is_replaced_and_nothing_else(sent: bytes, read: Any) -> None:
    async def respond(received: Received) -> Answer:
        return 200, sent

    with serving(respond) as server:
        client = JsonClient([server.url], ClientSetup())
        found = client.ask_one(JsonRequest("/ask", {}, lambda answer: answer))
        client.close()
    assert found == read and json.dumps(found, ensure_ascii=False).encode("utf-8")


def test_values_without_half_characters_stay_as_they_are() -> None:
    value = {"a": [1, 2.5, None, True, "\U0001f4a9"], "b": {"c": "\ufffd"}}
    assert whole_characters(value) == value
