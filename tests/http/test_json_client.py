"""The client for servers against servers that misbehave: exact numbers of tries, and every failure named (P5, P8)."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import pickle
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from solon.config.server_settings import ServerSettings
from solon.errors import EngineError
from solon.http.json_client import FAILURES_IN_A_ROW, ClientSetup, JsonClient, JsonRequest
from solon.http.retry_policy import LONGEST_PAUSE, FailureKind, RequestFailure, RetryPolicy, malformed
from solon.http.secret import Secret
from solon.http.server_pool import AdaptiveLimit
from solon.http.spending import Ledger, TokenCount
from tests.attacks.hostile import Hostile, Say, dripping, listening, raw, whole
from tests.http.local_server import Answer, LocalServer, Received, serving

CANARY = "canary-0815-secret"
RIGHT = whole(b'{"answer": 7}')
PAUSES = (1.0, 2.0, 4.0)
TRIES = 1 + len(PAUSES)
NEED = TokenCount(30, 10)


def answer_in(answer: Any) -> int:
    if not isinstance(answer, dict) or type(answer.get("answer")) is not int:
        raise malformed("answers without an answer")
    return int(answer["answer"])


def request(number: int = 0, need: TokenCount = NEED) -> JsonRequest[int]:
    return JsonRequest("/ask", {"number": number}, answer_in, need)


@contextmanager
def client(
    *addresses: str,
    slept: list[float] | None = None,
    policy: RetryPolicy | None = None,
    concurrency: int = 1,
    limits: ServerSettings | None = None,
) -> Iterator[JsonClient]:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)
        await asyncio.sleep(0.001)

    setup = ClientSetup(
        policy or RetryPolicy(PAUSES, 5.0),
        Secret(CANARY),
        concurrency,
        limits or ServerSettings(),
        idle=0 if concurrency == 1 else 3.0,
        sleep=sleep,
        jitter=False,
    )
    made = JsonClient(addresses, setup)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with listening() as server:
        yield server


def failure(hostile: Hostile, *says: Say, policy: RetryPolicy | None = None) -> RequestFailure:
    """How one request ends."""
    hostile.says = list(says)
    with client(hostile.url, policy=policy) as asked, pytest.raises(RequestFailure) as caught:
        asked.ask_one(request())
    assert CANARY not in caught.value.why and "\n" not in caught.value.why
    assert asked.tries == len(hostile.asked)
    return caught.value


# Row 8: what may pass -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
def test_what_may_pass_is_tried_again_and_exactly_as_often_as_stated(hostile: Hostile, status: int) -> None:
    hostile.says = [whole(b"later", f"{status} Later"), RIGHT]
    slept: list[float] = []
    with client(hostile.url, slept=slept) as asked:
        assert asked.ask_one(request()) == 7
    assert len(hostile.asked) == 2 and slept == [1.0]
    hostile.asked.clear()
    found = failure(hostile, whole(b"later", f"{status} Later"))
    assert found.status == status and len(hostile.asked) == TRIES


@pytest.mark.parametrize(
    ("given", "pause"),
    [
        ("3", 3.0), ("0", 1.0), ("99999999999999", LONGEST_PAUSE), ("-5", 1.0), ("soon", 1.0), ("", 1.0),
        (email.utils.formatdate(time.time() + 9000, usegmt=True), LONGEST_PAUSE),
        (email.utils.formatdate(time.time() - 9000, usegmt=True), 1.0),
    ],
)  # fmt: skip
def test_a_pause_that_a_server_asks_for_is_made_within_a_limit(hostile: Hostile, given: str, pause: float) -> None:
    hostile.says = [whole(b"", "429 Busy", f"Retry-After: {given}"), RIGHT]
    slept: list[float] = []
    with client(hostile.url, slept=slept) as asked:
        assert asked.ask_one(request()) == 7
    assert slept == [pause] and len(hostile.asked) == 2


def test_fewer_requests_go_out_while_a_server_is_busy_and_more_again_later() -> None:
    refused = 0

    async def respond(received: Received) -> Answer:
        nonlocal refused
        await asyncio.sleep(0.005)
        if server.at_once > 4:
            refused += 1
            return 429, {"error": "busy"}
        return 200, {"answer": received.body["number"]}

    with serving(respond) as server, client(server.url, concurrency=16, policy=RetryPolicy((0.01,) * 9, 5.0)) as asked:
        assert asked.ask([request(number) for number in range(200)]) == list(range(200))
        assert server.most_at_once <= 16 and 0 < refused < 100
        assert asked.pool.servers[0].limit.allowed < 16 and asked.pool.servers[0].in_flight == 0
    assert asked.tries == 200 + refused == len(server.received)


def test_a_limit_halves_once_for_what_was_in_flight_together_and_grows_back() -> None:
    limit = AdaptiveLimit(16)
    for began in (1.0, 1.1, 1.2):
        limit.shrink(began, 2.0)
    assert limit.allowed == 8
    limit.shrink(2.5, 3.0)
    assert limit.allowed == 4
    for _ in range(200):
        limit.answered(4.0, 4.1, 600.0)
    assert limit.allowed == 16
    limit.answered(5.0, 405.0, 600.0)
    assert limit.allowed == 12, "an answer that took more than half of the time limit"
    for moment in range(500, 600):
        limit.shrink(moment, moment)
    assert limit.allowed == 1


# Row 9: what will not change ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_is_recorded_and_the_others_go_on(status: int) -> None:
    async def respond(received: Received) -> Answer:
        if received.body["number"] == 2:
            return status, {"error": "maximum context length is 9 tokens"}
        return 200, {"answer": received.body["number"]}

    with serving(respond) as server, client(server.url) as asked:
        found = asked.ask([request(number) for number in range(5)])
    refused = found[2]
    assert isinstance(refused, RequestFailure) and refused.kind is FailureKind.REFUSED and "context" in refused.why
    assert [each for each in found if each is not refused] == [0, 1, 3, 4] and asked.tries == 5


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 308, 401, 402, 403, 404, 405, 501])
def test_what_every_request_would_meet_stops_the_work_at_once(hostile: Hostile, status: int) -> None:
    with listening() as elsewhere:
        hostile.says = [whole(b"", f"{status} No", f"Location: {elsewhere.url}/ask"), RIGHT]
        with client(hostile.url) as asked, pytest.raises(RequestFailure) as caught:
            asked.ask([request(number) for number in range(10)])
        assert elsewhere.asked == []
    assert caught.value.status == status and caught.value.kind is FailureKind.DENIED and len(hostile.asked) == 1


# Row 10: connections --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no-such-host.invalid:80"])
def test_a_server_that_is_not_there_is_tried_as_often_as_stated(address: str) -> None:
    slept: list[float] = []
    with client(address, slept=slept) as asked, pytest.raises(RequestFailure, match="does not answer") as caught:
        asked.ask([request(number) for number in range(3)])
    assert caught.value.kind is FailureKind.AWAY and slept == list(PAUSES) and asked.tries == TRIES


def test_a_server_without_tls_does_not_get_the_key() -> None:
    heard = b""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            nonlocal heard
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 400 No\r\n\r\n")
                        heard += connection.recv(1 << 16)

        threading.Thread(target=refuse, daemon=True).start()
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with client(address) as asked, pytest.raises(RequestFailure, match="does not answer"):
            asked.ask_one(request())
        listener.shutdown(socket.SHUT_RDWR)  # ends the thread that waits at it
        assert asked.tries == TRIES and heard and CANARY.encode() not in heard


def test_a_server_that_dies_and_comes_back_costs_no_row() -> None:
    answered = 0

    async def respond(received: Received) -> Answer:
        nonlocal answered
        answered += 1
        if answered == 7:
            server._loop.stop()
            await asyncio.sleep(5)
        return 200, {"answer": received.body["number"]}

    policy = RetryPolicy((0.05,) * 60, 5.0)

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not server._thread.is_alive():
            server.start()

    with serving(respond) as server:
        asked = JsonClient([server.url], ClientSetup(policy, concurrency=4, sleep=sleep))
        assert asked.ask([request(number) for number in range(20)]) == list(range(20))
        asked.close()
    assert len(server.received) <= 20 + 4, "only what was in flight is asked twice"


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
def test_bytes_that_drip_have_one_deadline_for_each_try_and_one_for_all(hostile: Hostile, start: bytes) -> None:
    began = time.monotonic()
    found = failure(hostile, dripping(start), policy=RetryPolicy(PAUSES, 0.05))
    assert found.kind is FailureKind.SLOW and "within 0.05 s" in found.why and len(hostile.asked) == TRIES
    hostile.asked.clear()
    failure(hostile, dripping(start), policy=RetryPolicy((0.0,) * 1000, 0.05, deadline=0.3))
    assert len(hostile.asked) <= 7 and time.monotonic() - began < 8


def test_one_request_that_never_returns_fails_alone() -> None:
    async def respond(received: Received) -> Answer:
        if received.body["number"] == 3:
            await asyncio.sleep(60)
        await asyncio.sleep(0.02)
        return 200, {"answer": received.body["number"]}

    with serving(respond) as server, client(server.url, concurrency=4, policy=RetryPolicy((0.0,), 0.4)) as asked:
        found = asked.ask([request(number) for number in range(200)])
    straggler = found[3]
    assert isinstance(straggler, RequestFailure) and straggler.kind is FailureKind.SLOW
    assert [each for each in found if each is not straggler] == [n for n in range(200) if n != 3]
    assert asked.tries == 199 + 2


def test_two_servers_share_the_requests_and_one_may_be_dead_or_die() -> None:
    stopped: list[LocalServer] = []

    async def respond(received: Received) -> Answer:
        await asyncio.sleep(0.005)
        return 200, {"answer": received.body["number"]}

    async def dying(received: Received) -> Answer:
        if len(two.received) >= 20:  # requests that arrived in the same turn of the loop are received, not answered
            stopped.append(two)
            two._loop.stop()
            await asyncio.sleep(5)
        return await respond(received)

    with serving(respond) as one, serving(dying) as two:
        with client(one.url, two.url, "http://127.0.0.1:9", concurrency=4) as asked:
            assert asked.ask([request(number) for number in range(200)]) == list(range(200))
        assert stopped and 20 <= len(two.received) <= 20 + 4 and len(one.received) >= 200 - len(two.received)
        lost = asked.tries - 200
        assert lost <= 4 + 4 + 6, "what was in flight, and a try now and then whether they are back"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_a_server_that_only_fails_costs_no_row_while_another_answers(status: int) -> None:
    async def failing(received: Received) -> Answer:
        return status, {"error": "no worker"}

    async def respond(received: Received) -> Answer:
        await asyncio.sleep(0.02)
        return 200, {"answer": received.body["number"]}

    with serving(failing) as broken, serving(respond) as good:
        with client(broken.url, good.url, concurrency=2) as asked:
            assert asked.ask([request(number) for number in range(60)]) == list(range(60))
        assert len(good.received) == 60


def test_a_place_that_is_given_to_a_request_that_ends_goes_to_the_next_one() -> None:
    """One thread's work stops while another thread waits for the same place."""
    began = threading.Event()

    async def respond(received: Received) -> Answer:
        began.set()
        await asyncio.sleep(0.3)
        return (401, {}) if received.body["number"] < 10 else (200, {"answer": received.body["number"]})

    with serving(respond) as server, client(server.url) as asked:
        asked.pool.servers[0].limit.most = 2  # two workers for one place
        stopped = threading.Thread(target=lambda: suppressed(asked, [0, 1]), daemon=True)
        stopped.start()
        began.wait(10)
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.extend(asked.ask([request(11), request(12)])), daemon=True)
        waiting.start()
        waiting.join(20)
        assert found == [11, 12]


def suppressed(asked: JsonClient, numbers: Sequence[int]) -> None:
    with suppress(RequestFailure):
        asked.ask([request(number) for number in numbers])


def test_the_deadline_of_all_tries_goes_on_while_a_further_try_waits_for_a_place() -> None:
    first = threading.Event()

    async def respond(received: Received) -> Answer:
        if received.body["number"] == 1:  # gets the only place next, and keeps it for a while
            await asyncio.sleep(2)
            return 200, {"answer": 1}
        if not first.is_set():
            first.set()
            await asyncio.sleep(0.3)
            return 500, {}
        await asyncio.sleep(60)
        return 200, {"answer": 0}

    policy = RetryPolicy((0.05, 0.05), 5.0, deadline=2.5)
    with serving(respond) as server, client(server.url, policy=policy) as asked:
        found: list[Any] = []
        failing = threading.Thread(target=lambda: found.extend(asked.ask([request(0)])), daemon=True)
        other = threading.Thread(target=lambda: found.extend(asked.ask([request(1)])), daemon=True)
        failing.start()
        first.wait(10)
        other.start()
        other.join(20)
        failing.join(20)
    late = next(each for each in found if isinstance(each, RequestFailure))
    assert late.kind is FailureKind.SLOW and float(late.why.split("within ")[1].split()[0]) < 1.0, late.why


# Rows 11 and 12: answers of another form ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        whole(b""),
        whole(b"<html><body>Gateway</body></html>"),
        whole(b'{"answer": 7'),
        whole(b'{"answer": "7"}'),
        whole(b'{"answer": true}'),
        whole(b'{"answer": null}'),
        whole(b"[7]"),
        whole(b'{"answer": 7, "answer": 8}'),
        whole(b"\xff\xfe\x00"),
        whole(b'{"answer": "\xe2\x82"}'),
        whole(b'{"answer": ' + b"[" * 50_000 + b"}"),
        whole(b'data: {"answer": 7}\n\ndata: [DONE]\n\n', "200 OK", "Content-Type: text/event-stream"),
        whole(b"\x1f\x8b\x08", "200 OK", "Content-Encoding: gzip"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b'{"answer": 7}'),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n" + b'{"answer": 7}'),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n" + b'{"answer": 7}' + b"\r\nd\r\n{"),
        raw(b"\x16\x03\x01 no HTTP\r\n\r\n"),
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_tried_again_and_then_recorded(hostile: Hostile, broken: Say) -> None:
    hostile.says = [broken, RIGHT]
    with client(hostile.url) as asked:
        assert asked.ask_one(request()) == 7 and len(hostile.asked) == 2
    hostile.asked.clear()
    found = failure(hostile, broken)
    assert found.kind is FailureKind.MALFORMED and len(hostile.asked) == TRIES


def test_an_answer_without_end_is_not_read_to_its_end(hostile: Hostile) -> None:
    hostile.says = [raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 4000)]
    asked = JsonClient([hostile.url], ClientSetup(RetryPolicy((), 5.0), most_bytes=1000))
    with pytest.raises(RequestFailure, match="more than 1000 bytes"):
        asked.ask_one(request())
    asked.close()


def test_many_failures_in_a_row_stop_the_work() -> None:
    async def respond(received: Received) -> Answer:
        good = received.body["number"] < 10
        return (200, {"answer": 1}) if good else (200, {"nothing": 1})

    with (
        serving(respond) as server,
        client(server.url) as asked,
        pytest.raises(RequestFailure, match="in a row failed"),
    ):
        asked.ask([request(number) for number in range(100)])
    assert asked.tries == 10 + FAILURES_IN_A_ROW * TRIES


# Budgets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        (ServerSettings(max_requests=5), 5),
        (ServerSettings(max_tokens=5 * NEED.total + 3), 5),
        (ServerSettings(max_cost=2.5e-4, prompt_price=1.0, completion_price=2.0), 5),
    ],
)
def test_a_budget_is_never_exceeded(limits: ServerSettings, sent: int) -> None:
    async def respond(received: Received) -> Answer:
        await asyncio.sleep(0.01)
        return 200, {"answer": 7, "usage": {"prompt_tokens": 30, "completion_tokens": 10}}

    with serving(respond) as server, client(server.url, concurrency=8, limits=limits) as asked:
        with pytest.raises(EngineError, match=r"the budget engine\.server\.max_\w+=.* is used up") as caught:
            asked.ask([request(number) for number in range(20)])
        assert len(server.received) <= sent == asked.ledger.requests
        assert "Raise engine.server.max_" in caught.value.remedy


def test_what_is_reported_replaces_what_was_reserved() -> None:
    limits = ServerSettings(prompt_price=10.0, completion_price=30.0)

    async def respond(received: Received) -> Answer:
        usage = {"prompt_tokens": 4, "completion_tokens": 2}
        return 200, {"answer": 7, **({"usage": usage} if received.body["number"] else {})}

    with serving(respond) as server, client(server.url, limits=limits) as asked:
        asked.ask([request(0), request(1), request(2)])
    assert asked.ledger.tokens == TokenCount(30 + 4 + 4, 10 + 2 + 2), "without a report, the reservation counts"
    assert asked.ledger.cost == pytest.approx((38 * 10 + 14 * 30) / 1e6)
    shared = Ledger()
    shared.add(asked.ledger)
    shared.add(asked.ledger)
    assert shared.requests == 6 and shared.tokens == TokenCount(76, 28)


@pytest.mark.parametrize(
    "broken",
    [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b'{"answer": 7}'),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n" + b'{"answer": 7}'),
        whole(b'{"answer": 7'),
    ],
)
def test_an_answer_that_breaks_off_counts_whole(hostile: Hostile, broken: Say) -> None:
    hostile.says = [broken, RIGHT]
    with client(hostile.url) as asked:
        asked.ask_one(request())
    assert asked.ledger.tokens == TokenCount(2 * NEED.prompt, 2 * NEED.completion)


# Secrets --------------------------------------------------------------------------------------------------------------


def test_the_key_reaches_the_server_and_nothing_else(hostile: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def repeating(head: bytes) -> Sequence[bytes]:
        return list(whole(head[head.lower().index(b"authorization") :], "400 Bad")(head))

    found = failure(hostile, repeating)
    assert f"Bearer {CANARY}".encode() in hostile.asked[0]
    assert "***" in found.why and CANARY not in caplog.text
    assert CANARY not in f"{Secret(CANARY)!r}{Secret(CANARY)}{ClientSetup(key=Secret(CANARY))!r}"
    with pytest.raises(TypeError):
        pickle.dumps(Secret(CANARY))


def test_a_key_that_a_server_repeats_in_an_answer_does_not_get_through(hostile: Hostile) -> None:
    hostile.says = [whole(f'{{"text": "you are {CANARY}"}}'.encode())]
    with client(hostile.url) as asked:
        assert asked.ask_one(JsonRequest("/ask", {}, lambda answer: answer["text"])) == "you are ***"


@pytest.mark.parametrize("key", ["none", "EMPTY", "1", "lm-studio"])
def test_a_key_that_is_a_word_changes_no_answer(hostile: Hostile, key: str) -> None:
    hostile.says = [whole(b'{"text": "none of the EMPTY 11 boxes of lm-studio", "count": 1}')]
    asked = JsonClient([hostile.url], ClientSetup(key=Secret(key)))
    found = asked.ask_one(JsonRequest("/ask", {}, lambda answer: answer))
    asked.close()
    assert found == {"text": "none of the EMPTY 11 boxes of lm-studio", "count": 1}
