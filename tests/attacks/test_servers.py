"""Hostile clients of our server, and hostile servers that our clients ask: one clear answer each, and nobody waits."""

from __future__ import annotations

import email.utils
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest

from solon.config.addresses import TOKEN_VARIABLE, address_fault, read_token
from solon.config.loading import load_recipe
from solon.config.recipe import EngineSettings, ReinforcementSettings
from solon.conversation import conversation_of
from solon.errors import EngineError, InputError, RecipeError, without_credentials
from solon.export.trainers.trainer_folder import export_for_trl
from solon.reward.remote import LONGEST_PAUSE, MOST, RemoteScorer
from solon.reward.scorer import PreferenceScorer, open_scorer
from solon.reward.server.admission import Admission
from solon.reward.server.server import PreferenceServer, Service
from solon.rl.setting_checks import scorer_named
from solon.training import models
from tests.attacks.hostile import Hostile, Say, dripping, listening, raw, whole
from tests.export.trainers.made import loaded
from tests.training.tiny import asked, save_tiny_model, texts_of

SETTINGS = EngineSettings(threads=1)
CANARY = "canary-4711-secret"
RECEIVE = 0.4


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> PreferenceScorer:
    folder = tmp_path_factory.mktemp("served")
    tokenizer = models.load_tokenizer(save_tiny_model(folder / "tiny"))
    grown = models.grow_preference_model(folder / "tiny", tokenizer, SETTINGS, seed=1)
    models.save_model(grown, texts_of(tokenizer), folder / "pm")
    return open_scorer(folder / "pm", SETTINGS)


def running(scorer: PreferenceScorer, service: Service) -> Iterator[PreferenceServer]:
    server = PreferenceServer(scorer, service, SETTINGS)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.drain(1)
    thread.join()


@pytest.fixture(scope="module")
def server(scorer: PreferenceScorer) -> Iterator[PreferenceServer]:
    yield from running(scorer, Service(port=0, connections=6, hosts=("gpu-7",)))


@pytest.fixture(scope="module")
def impatient(scorer: PreferenceScorer) -> Iterator[PreferenceServer]:
    yield from running(scorer, Service(port=0, receive=RECEIVE, idle=RECEIVE))


@pytest.fixture(scope="module")
def guarded(scorer: PreferenceScorer) -> Iterator[PreferenceServer]:
    yield from running(scorer, Service(port=0, token=CANARY))


def connected(server: PreferenceServer) -> socket.socket:
    return socket.create_connection(server.server_address[:2], timeout=10)


def exchange(server: PreferenceServer, sent: bytes) -> tuple[int, bytes]:
    """The status and body of the answer to raw bytes, read until the server closes."""
    with connected(server) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(1 << 16):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def ask(server: PreferenceServer, body: object, path: str = "/get_reward", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, content, headers)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def head(*lines: str, host: str = "localhost") -> bytes:
    every = ("POST /get_reward HTTP/1.1", *([f"Host: {host}"] if host else []), *lines)
    return "".join(f"{line}\r\n" for line in every).encode("latin-1") + b"\r\n"


BODY = b'{"query": ["x"]}'
GOOD = f"Content-Length: {len(BODY)}"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head("Content-Length: " + "5" * 5000), 413),
        (head("Content-Length: " + "9" * 19), 413),
        (head("Content-Length: " + "0" * 5000 + "99999999999"), 413),
        *(
            (head(f"Content-Length:{length}"), 411)
            for length in ("", " -5", " +5", " 0x5", " 1_0", " 5, 5", " \xb2", " 5\r\n 5")
        ),
        (head(GOOD, GOOD) + BODY, 411),
        (head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n", 411),
        (head(GOOD, "Transfer-Encoding: chunked") + BODY, 411),
        (head(GOOD, host="") + BODY, 400),
        (head(GOOD, "Host: localhost") + BODY, 400),
        *(
            (head(GOOD, host=host) + BODY, 403)
            for host in ("evil.example", "localhost.evil.example", "evil#localhost", "localhost@evil", "127.0.0.1:1:2")
        ),
        *(
            (head(GOOD, f"Origin: {origin}") + BODY, 403)
            for origin in ("https://evil.example", "null", "", "http://localhost.evil", "file://", "http://localhost/evil")
        ),
        (head(GOOD, *(f"X-{number}: 1" for number in range(150))) + BODY, 431),
        (head(GOOD, "X: " + "x" * 70_000), 431),
        (b"POST /get_reward HTTP/" + b"9" * 5000 + b".1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (head("Content-Length: 3") + b"{}", 400),
    ],
)  # fmt: skip
def test_an_absurd_head_gets_its_answer_and_harms_nobody(server: PreferenceServer, sent: bytes, status: int) -> None:
    if sent.endswith(b"{}"):  # a body that is cut off
        with connected(server) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(99).split()[1] == b"400"
    elif (status == 403 and sent.startswith(b"GET")) or status == 404:
        assert exchange(server, sent.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[0] == status
    else:
        found, body = exchange(server, sent)
        assert found == status and set(json.loads(body)) == {"error"}
    assert ask(server, {"query": ["still there"]})[0] == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:8000", "gpu-7", "gpu-7.:8000"])
def test_known_hosts_and_their_pages_are_answered(server: PreferenceServer, host: str) -> None:
    assert ask(server, {"query": ["x"]}, Host=host, Origin=f"http://{host}")[0] == 200


def test_a_server_is_known_by_where_it_listens_and_by_no_wildcard() -> None:
    assert "10.0.0.5" in Admission.at("10.0.0.5").hosts and "::2" in Admission.at("::2").hosts
    assert Admission.at("0.0.0.0", ["[fe80::1]", "GPU-7."]).hosts == {
        "localhost",
        "127.0.0.1",
        "::1",
        "fe80::1",
        "gpu-7",
    }


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("/get_reward", b'{"query": ["x"], "query": ["y"]}', 400, "duplicate key"),
        ("/get_reward", b'{"query": ["x"], "labels": [NaN]}', 400, "NaN"),
        ("/get_reward", b'{"query": ["x"], "labels": [' + b"9" * 5000 + b"]}", 400, "broken JSON"),
        ("/get_reward", b'{"query": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "broken JSON"),
        ("/get_reward", b'{"query": ["half \\ud800 a character"]}', 422, "text 0: half of a character"),
        (
            "/score",
            {"messages": [[*asked("x"), {"role": "assistant", "content": "\udc00"}]]},
            422,
            "conversation 0: half",
        ),
        ("/get_reward", {"query": ["x" * 5000]}, 413, "text 0 has 5000 characters. At most 4096"),
        ("/get_reward", {"query": ["x" * 4000] * 1500}, 413, "6000000 characters in one request"),
        ("/get_reward", {"query": ["x"] * 5000}, 413, "5000 texts in one request"),
        ("/score", {"messages": [[{"role": "user", "content": ""}] * 999]}, 413, "text 0 has"),
        ("/score", b'{"messages": [' + b"[]," * 5_000_000 + b"[]]}", 413, "opening brackets"),
        ("/score", {"messages": [[{"role": {}, "content": []}]]}, 422, ""),
    ],
)
def test_a_hostile_body_is_refused_in_a_line(
    server: PreferenceServer, path: str, body: object, status: int, why: str
) -> None:
    found, answer = ask(server, body, path)
    assert found == status and why in answer["error"] and "\n" not in answer["error"]


def test_a_large_text_delays_no_one(server: PreferenceServer) -> None:
    large = json.dumps({"query": ["bread and flour " * 940_000]}).encode()  # 15 MB, seconds of tokenizing
    began = time.monotonic()
    thread = threading.Thread(target=ask, args=(server, large))
    thread.start()
    assert ask(server, {"query": ["x"]})[0] == 200
    thread.join()
    assert ask(server, large)[0] == 413
    assert time.monotonic() - began < 5


def test_a_request_of_many_texts_delays_no_one(server: PreferenceServer) -> None:
    ended: list[str] = []

    def big() -> None:
        assert ask(server, {"query": ["bread " * 40] * 1600})[0] == 200  # six shares
        ended.append("big")

    before = server.batcher.batches
    thread = threading.Thread(target=big)
    thread.start()
    while server.batcher.batches == before:
        time.sleep(0.001)
    assert ask(server, {"query": ["x"]})[0] == 200
    ended.append("small")
    thread.join()
    assert ended == ["small", "big"]


BEGUN = [b"POST /sco", head("Content-Length: 90") + b'{"qu', b""]


@pytest.mark.parametrize("begun", BEGUN)
def test_clients_that_do_not_go_on_take_no_ones_place(server: PreferenceServer, begun: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(12):  # twice the places
            stack.enter_context(connected(server)).sendall(begun)
        began = time.monotonic()
        assert ask(server, {"query": ["x"]})[0] == 200
        assert time.monotonic() - began < server.service.receive / 3 and len(server.connections) <= 6


def test_a_byte_now_and_then_buys_no_time(impatient: PreferenceServer) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(impatient)) for _ in range(12)]
        for number, each in enumerate(slow):
            each.sendall(BEGUN[number % 3])
        began = time.monotonic()
        while slow and time.monotonic() - began < 20 * RECEIVE:
            for each in list(slow):
                try:
                    each.sendall(b" ")
                except OSError:
                    slow.remove(each)
            time.sleep(0.05)
        assert not slow


def test_what_follows_a_refused_body_is_no_request(server: PreferenceServer) -> None:
    hidden = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    _, body = exchange(server, b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n" + hidden)
    assert b"HTTP/1.1" not in body and b"window" not in body


def test_continue_is_sent_only_after_a_good_head(server: PreferenceServer) -> None:
    with connected(server) as connection:
        connection.sendall(head(GOOD, "Expect: 100-continue"))
        assert connection.recv(99).startswith(b"HTTP/1.1 100 ")
        connection.sendall(BODY)
        assert connection.recv(99).startswith(b"HTTP/1.1 200 ")
    assert exchange(server, head(GOOD, "Expect: 100-continue", host="evil.example"))[0] == 403


def test_a_token_is_wanted_for_everything(guarded: PreferenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": CANARY}, {"Authorization": "Bearer \xff"}):
        status, answer = ask(guarded, {"query": ["x"]}, **given)
        assert status == 401 and CANARY not in str(answer)
    assert exchange(guarded, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0] == 401
    assert ask(guarded, {"query": ["x"]}, Authorization=f"Bearer {CANARY}")[0] == 200
    assert CANARY not in f"{guarded.service!r}{guarded.admission!r}"
    one = [conversation_of(asked("x")).with_reply("y")]
    with pytest.raises(EngineError, match=f"answered 401.*{TOKEN_VARIABLE}"):
        RemoteScorer(guarded.url).scores(one)
    monkeypatch.setenv(TOKEN_VARIABLE, CANARY)
    remote = scorer_named(guarded.url)
    assert callable(remote) and len(remote(one)) == 1


def test_a_token_comes_from_a_file_or_the_environment_and_fits_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token() is None
    file = tmp_path / "token"
    file.write_text(f"{CANARY}\n")
    monkeypatch.setenv(TOKEN_VARIABLE, "another-token")
    assert (read_token(), read_token(file)) == ("another-token", CANARY)
    for bad in ("", "short", f"{CANARY} {CANARY}", f"{CANARY}\r\nX: y", "tökentökentöken"):
        file.write_text(bad)
        with pytest.raises(InputError, match="one word of 8 or more") as caught:
            read_token(file)
        assert CANARY not in str(caught.value)
    with pytest.raises(InputError, match="cannot read the token: No such file"):
        read_token(tmp_path / "none")


class Client(Protocol):
    """Asks a server for the scores of so many conversations, so many times at most, within so many seconds each."""

    def __call__(self, url: str, count: int = 2, seconds: float = 5.0) -> list[float]: ...


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The client in the exported reward.py."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "reward.json").write_text(json.dumps({"centre": 0.0, "mode": "server"}))
    (folder / "reward.py").write_text((resources.files("solon.export.trainers") / "files" / "reward.py").read_text())
    return loaded(folder)


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture(params=["solon", "exported"])
def client(
    request: pytest.FixtureRequest, exported: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> Client:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def solon(url: str, count: int = 2, seconds: float = 5.0) -> list[float]:
        conversations = [conversation_of(asked("x")).with_reply("y")] * count
        remote = RemoteScorer(url, timeout=seconds, pauses=(1.0, 2.0), sleep=sleep, token=CANARY)
        return remote.scores(conversations)

    def abroad(url: str, count: int = 2, seconds: float = 5.0) -> list[float]:
        monkeypatch.setattr(exported, "SECONDS", seconds)
        monkeypatch.setattr(exported, "TRIES", 3)
        monkeypatch.setattr(exported, "time", SimpleNamespace(sleep=slept.append, time=time.time))
        monkeypatch.setenv(TOKEN_VARIABLE, CANARY)
        scorer = exported.ServerScorer(url)
        found: list[float] = scorer.scores([[*asked("x"), {"role": "assistant", "content": "y"}]] * count)
        return found

    return solon if request.param == "solon" else abroad


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with listening() as server:
        yield server


def refusal(client: Client, server: Hostile, *says: Say, seconds: float = 5.0) -> str:
    server.says = list(says)
    with pytest.raises((EngineError, RuntimeError)) as caught:
        client(server.url, seconds=seconds)
    assert CANARY not in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


RIGHT = whole(b'{"scores": [1.5, -2]}')


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_asked_again(client: Client, hostile: Hostile, slept: list[float], status: int) -> None:
    hostile.says = [whole(b"not now", f"{status} Busy"), RIGHT]
    assert client(hostile.url) == [1.5, -2.0]
    assert len(hostile.asked) == 2 and slept == [1.0]


@pytest.mark.parametrize("status", [201, 204, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 413, 422, 501])
def test_what_will_not_change_is_asked_once(client: Client, hostile: Hostile, slept: list[float], status: int) -> None:
    with listening() as elsewhere:
        elsewhere.says = [RIGHT]
        message = refusal(client, hostile, whole(b"", f"{status} No", f"Location: {elsewhere.url}/score"), RIGHT)
        assert elsewhere.asked == []
    assert str(status) in message and len(hostile.asked) == 1 and slept == []


@pytest.mark.parametrize(
    "broken",
    [
        raw(b""),
        raw(b"\x16\x03\x01 no HTTP\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b'{"scores": [1.5, -2]}'),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n" + b'{"scores": [1.5, -2]}'),
        raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9" + b"9" * 12 + b"\r\n\r\n" + b" " * (MOST + 9)),
        whole(b" " * (MOST + 1)),
        whole(b"<html>"),
        whole(b"\xff\xfe\x00"),
        whole(b"[1.5, -2]"),
        whole(b'{"scores": ["1.5", -2]}'),
        whole(b'{"scores": [true, -2]}'),
        whole(b'{"scores": [null, -2]}'),
        whole(b'{"scores": {"1.0": 1, "2.0": 2}}'),
        whole(b'{"scores": [1.5]}'),
        whole(b'{"scores": [1.5, -2, 3]}'),
        whole(b'{"scores": [NaN, -2]}'),
        whole(b'{"scores": [-Infinity, -2]}'),
        whole(b'{"scores": [1e999, -2]}'),
        whole(b'{"scores": [1' + b"0" * 400 + b", -2]}"),
        whole(b'{"scores": ' + b"[" * 50_000 + b"}"),
    ],
)
def test_a_broken_answer_is_asked_again_and_never_a_score(client: Client, hostile: Hostile, broken: Say) -> None:
    hostile.says = [broken, RIGHT]
    assert client(hostile.url) == [1.5, -2.0] and len(hostile.asked) == 2
    hostile.asked.clear()
    refusal(client, hostile, broken)
    assert len(hostile.asked) == 3, "one rule of asking again, and no other beneath it"


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
def test_all_bytes_of_an_answer_have_one_deadline(client: Client, hostile: Hostile, start: bytes) -> None:
    began = time.monotonic()
    message = refusal(client, hostile, dripping(start), seconds=0.05)
    assert "no whole answer within 0.05 s" in message and len(hostile.asked) == 3
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("given", "pause"),
    [
        ("3", 3.0), ("0", 1.0), ("99999999999999", LONGEST_PAUSE), ("-5", 1.0), ("soon", 1.0), ("1e3", 1.0), ("", 1.0),
        (email.utils.formatdate(time.time() + 9000, usegmt=True), LONGEST_PAUSE),
        (email.utils.formatdate(time.time() - 9000, usegmt=True), 1.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 1.0),
    ],
)  # fmt: skip
def test_a_pause_that_is_asked_for_is_made_within_a_limit(
    client: Client, hostile: Hostile, slept: list[float], given: str, pause: float
) -> None:
    hostile.says = [whole(b"", "503 Busy", f"Retry-After: {given}"), RIGHT]
    assert client(hostile.url) == [1.5, -2.0] and slept == [pause]


def test_a_server_that_repeats_the_token_does_not_get_it_into_a_message(client: Client, hostile: Hostile) -> None:
    def repeating(request: bytes) -> Iterable[bytes]:
        return whole(b"\x1b[2J" + request[request.lower().index(b"authorization") :], "400 Bad")(request)

    message = refusal(client, hostile, repeating)
    assert f"Bearer {CANARY}".encode() in hostile.asked[0] and "***" in message
    assert all(each.isprintable() for each in message)


SECRETS = [
    f"http://user:{CANARY}@127.0.0.1:9", f"http://{CANARY}@127.0.0.1:9/score", f"https://h/score?key={CANARY}",
    f"http://h#{CANARY}", f"HTTP://user:{CANARY}@h",
]  # fmt: skip


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_password_is_refused_before_it_is_written_anywhere(address: str, exported: Any) -> None:
    messages: list[str] = [without_credentials(f"see {address} for more"), str(address_fault(address))]
    with pytest.raises(RecipeError, match=TOKEN_VARIABLE) as refused:
        RemoteScorer(address)
    with pytest.raises(RecipeError, match=r"rl\.scorer.*") as unread:
        load_recipe("testbed", (), [f"rl.scorer={address}"])
    with pytest.raises(ValueError, match="are written into reports") as unmade:
        ReinforcementSettings(scorer=address)
    with pytest.raises(InputError, match="--url") as unexported:
        export_for_trl(SimpleNamespace(), Path("nowhere"), url=address)  # type: ignore[arg-type]
    messages += [str(each.value) for each in (refused, unread, unmade, unexported)]
    if "@" in address:
        with pytest.raises(RuntimeError, match="contains a password") as away:
            exported.ServerScorer(address)
        messages.append(str(away.value))
    assert not any(CANARY in each for each in messages), messages


def test_a_broken_address_is_shown_without_its_password() -> None:
    for address in (f"http://user:a/{CANARY}@h", f"http://user:{CANARY}@", f"http://:@:{CANARY}@h:port"):
        with pytest.raises(RecipeError) as caught:
            RemoteScorer(address)
        assert CANARY not in str(caught.value)


def test_long_conversations_are_asked_in_parts(hostile: Hostile) -> None:
    counts: list[int] = []

    def say(request: bytes) -> Sequence[bytes]:
        counts.append(2 if len(counts) == 0 else 1)
        return list(whole(json.dumps({"scores": [0.5] * counts[-1]}).encode())(request))

    hostile.says = [say]
    long = [conversation_of(asked("x" * 400_000)).with_reply("y")] * 3
    assert RemoteScorer(hostile.url, pauses=()).scores(long) == [0.5] * 3
    assert counts == [2, 1]
