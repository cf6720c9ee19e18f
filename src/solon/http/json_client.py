"""Asks servers JSON questions: many at once, each until there is an answer or a reason why there is none.

`ask` is synchronous and runs an event loop in its own thread. A request is tried as its policy says, under one total
deadline, at whichever of the servers is least busy. An answer is good when it is complete, in time, and what the
request's `read` accepts. Redirects are not followed: they would turn the request into another one. Several threads may
ask at once. `answers` gives each result when it is there, so that it can be stored before the slowest one has come.

A failure that is about one request alone is its result, and the others go on. Where every request would fail (the
server is away, or refuses the key), or a budget is used up, the first failure is raised, and nothing more is sent. What
was sent before may be billed: it is still answered, for a while, and these answers are given first.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urljoin

from solon.config.server_settings import ServerSettings
from solon.config.strict_json import may_hold_half, whole_characters
from solon.errors import without_credentials
from solon.http.kept_connections import KeptConnections
from solon.http.loop_thread import LoopThread
from solon.http.request_flow import LAST_ANSWERS, OpenRequests, RequestFlow, Withdrawn
from solon.http.retry_policy import FailureKind, RequestFailure, RetryPolicy, kind_of_status, malformed, retry_after
from solon.http.secret import Secret, shown, without_key
from solon.http.server_pool import ServerPool, ServerState
from solon.http.spending import MOST_TOKENS, UNLIMITED, Ledger, TokenCount

if TYPE_CHECKING:
    import httpx

MOST_BYTES = 64 << 20
"""The most bytes of an answer."""
FAILURES_IN_A_ROW = 16
"""So many requests that fail one after the other, without a good answer between, stop the work."""
_GATEWAY = frozenset({502, 503, 504})
_JITTER = 0.25
"""Pauses are up to so much shorter, so that requests that failed together do not come back together."""

T = TypeVar("T")
S = TypeVar("S")
Sleep = Callable[[float], Awaitable[None]]
NOTHING = TokenCount()


@dataclass(frozen=True, slots=True)
class JsonRequest(Generic[T]):
    """One question."""

    path: str
    """Added to a server's address; one that begins with `//` replaces the address's own path."""
    body: Mapping[str, Any] | None
    """None asks with GET."""
    read: Callable[[Any], T]
    """Turns the parsed answer into the result; raises the failure of `malformed` for an answer of another form."""
    need: TokenCount = NOTHING
    """The most tokens that it may use."""
    address: str | None = None
    """The only server to ask."""
    tries: int | None = None
    """Most tries; the policy's number when None."""
    timeout: float = math.inf
    """Seconds for one try, if that is less than the policy's."""
    check: Callable[[str, Any], None] | None = None
    """Called before `read` with the address that answered and the parsed answer; raises as `read` does."""


@dataclass(frozen=True, slots=True)
class ClientSetup:
    """What a client works with besides addresses."""

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    key: Secret | None = None
    concurrency: int = 1
    """Most requests in flight at each address."""
    limits: ServerSettings = UNLIMITED
    """Budgets and prices."""
    most_bytes: int = MOST_BYTES
    idle: float = 3.0
    """Seconds after which an unused connection is closed: 0 uses none again. Servers close them after 5 or more."""
    sleep: Sleep = asyncio.sleep
    jitter: bool = True


class JsonClient:
    """A client for the servers at some addresses, which give the same answers."""

    def __init__(self, addresses: Sequence[str], setup: ClientSetup, ledger: Ledger | None = None) -> None:
        self.addresses = tuple(addresses)
        self.setup = setup
        self.ledger = ledger or Ledger()
        self.tries = 0
        """Requests that were sent, further tries included."""
        self.pool = ServerPool(addresses, setup.concurrency)
        self.flow = RequestFlow()
        """What is open here, or in all clients that share it; see `join`."""
        self.join(self.flow)
        self._failed_in_a_row = 0
        self._answered = 0
        self._asking: set[Future[None]] = set()
        self._waiting: set[asyncio.Task[Any]] = set()
        """The tasks whose request is not sent now."""
        self._ending: set[asyncio.Task[Any]] = set()
        """The tasks that send nothing more, because another one met what stops the work."""
        self._withdrawn = False
        self._connections = KeptConnections(setup.idle)
        self._loop = LoopThread(at_end=self._connections.close)

    def ask(self, requests: Sequence[JsonRequest[T]]) -> list[T | RequestFailure]:
        """The result of each request, or its failure, in order; raises RequestFailure when every request would fail.

        Raises EngineError when a budget is used up.
        """
        results: dict[int, T | RequestFailure] = {}
        for arrived in self.answers(requests):
            results |= dict(arrived)
        return [results[number] for number in range(len(requests))]

    def answers(self, requests: Sequence[JsonRequest[T]]) -> Iterator[list[tuple[int, T | RequestFailure]]]:
        """What `ask` returns and raises, as it arrives: each time all that is new, with the numbers of the requests."""
        if not requests:
            return
        arrived: SimpleQueue[tuple[int, T | RequestFailure] | None] = SimpleQueue()
        opened = self.flow.begin(len(requests))
        asking = self._loop.start(self._ask_all(requests, arrived, opened))
        self._asking.add(asking)
        asking.add_done_callback(lambda _: arrived.put(None))
        try:
            more = True
            while more:
                new = [arrived.get()]
                while not arrived.empty():
                    new.append(arrived.get())
                more = None not in new
                if found := [each for each in new if each is not None]:
                    yield found
            asking.result()
        finally:
            asking.cancel()
            self._asking.discard(asking)
            opened.close()

    def ask_one(self, request: JsonRequest[T]) -> T:
        """The result of one request; raises RequestFailure."""
        (found,) = self.ask([request])
        if isinstance(found, RequestFailure):
            raise found
        return found

    def join(self, flow: RequestFlow) -> None:
        """Count requests in a flow that several clients may share."""
        flow.add(self)
        self.flow = flow

    @property
    def most(self) -> int:
        """Most requests in flight at all servers together."""
        return self.pool.most

    def withdraw(self) -> None:
        """Send nothing more until `readmit`; what was sent is still answered. Who asks gets Withdrawn at the end."""
        self._withdrawn = True
        self._loop.soon(lambda: [each.cancel() for each in self._waiting])

    def readmit(self) -> None:
        """Send again what is asked."""
        self._withdrawn = False

    def cancel(self) -> None:
        """Give up everything that is asked now; who asks gets CancelledError."""
        for each in list(self._asking):
            each.cancel()

    def close(self) -> None:
        """Close all connections; who still asks gets CancelledError."""
        self._loop.close()

    async def _ask_all(
        self,
        requests: Sequence[JsonRequest[T]],
        arrived: SimpleQueue[tuple[int, T | RequestFailure] | None],
        opened: OpenRequests,
    ) -> None:
        remaining = iter(enumerate(requests))
        count = min(len(requests), self.pool.most)
        workers = [asyncio.ensure_future(self._work(remaining, arrived, opened)) for _ in range(count)]
        try:
            ended, sent = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            if sent:
                await self._await_answers(sent)
        finally:
            for each in workers:
                each.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._ending.difference_update(workers)
        whole = [each.result() for each in workers if each in ended]
        if not all(whole):
            raise Withdrawn

    async def _await_answers(self, workers: set[asyncio.Task[bool]]) -> None:
        """Have what these workers have sent answered, for a while, and nothing more sent."""
        self._ending |= workers
        for each in workers & self._waiting:
            each.cancel()
        await asyncio.wait(workers, timeout=LAST_ANSWERS)

    async def _work(
        self,
        remaining: Iterator[tuple[int, JsonRequest[T]]],
        arrived: SimpleQueue[tuple[int, T | RequestFailure] | None],
        opened: OpenRequests,
    ) -> bool:
        """Ask one request after the other; False when one was withdrawn."""
        for number, request in remaining:
            try:
                answer: T | RequestFailure = await self._answer(request)
                self._failed_in_a_row = 0
            except _Stopped:
                raise
            except RequestFailure as failure:
                answer = failure
                self.flow.note_failure(failure.why)
            except Withdrawn:
                return False
            arrived.put((number, answer))
            opened.close_one()
        return True

    async def _answer(self, request: JsonRequest[T]) -> T:
        """The result of a request after as many tries as it takes; raises what ends them."""
        policy, loop = self.setup.policy, asyncio.get_running_loop()
        pauses = list(policy.pauses)[: None if request.tries is None else request.tries - 1]
        began: float | None = None
        answered: int | None = None
        failed: ServerState | None = None
        for pause in (*pauses, None):
            server = await self._unless_withdrawn(self.pool.acquire(request.address, failed))
            began = loop.time() if began is None else began  # waiting for the first place is no part of the deadline
            left = policy.deadline - (loop.time() - began)
            try:
                found = await self._try(server, request, min(policy.timeout, request.timeout, left))
                self._answered += 1
                return found
            except RequestFailure as failure:
                answered = self._answered if answered is None else answered
                last, failed = failure, server
                last.address = server.address
            finally:
                self.pool.release(server)
            waiting = 0.0 if pause is None else max(self._jittered(pause), last.pause)
            if pause is not None and self._goes_elsewhere(request, last, server):
                waiting = 0.0
            late = loop.time() - began + waiting >= policy.deadline
            if not last.again or pause is None or late:
                raise self._ended(request, last, self._answered > answered) from None
            if waiting:
                await self._unless_withdrawn(self._wait(server, waiting, asked=last.pause > 0))
        raise AssertionError("the last try has no pause")

    async def _unless_withdrawn(self, waiting: Coroutine[Any, Any, S]) -> S:
        """What is waited for before a request is sent; raises Withdrawn when nothing more is sent."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            if self._withdrawn or task in self._ending:
                waiting.close()
                raise Withdrawn
            return await waiting
        except asyncio.CancelledError:
            if self._withdrawn or task in self._ending:
                raise Withdrawn from None
            raise
        finally:
            self._waiting.discard(task)

    def _goes_elsewhere(self, request: JsonRequest[T], failure: RequestFailure, server: ServerState) -> bool:
        """Whether another server can be tried at once; the one that is away is left alone for a while.

        A gateway that has lost its server (502, 503, 504) is away as well, unless it says for how long.
        """
        gone = failure.status is None or (failure.status in _GATEWAY and not failure.pause)
        if failure.kind is not FailureKind.AWAY or not gone or request.address or len(self.pool.servers) == 1:
            return False
        now = asyncio.get_running_loop().time()
        server.absent(now)
        return self.pool.others_reachable(server, now)

    async def _wait(self, server: ServerState, seconds: float, *, asked: bool) -> None:
        """Pause before the next try; the server gets no other requests meanwhile where it asked for the pause."""
        server.waits += asked
        try:
            await self.setup.sleep(seconds)
        finally:
            server.waits -= asked
            self.pool.wake()

    def _jittered(self, pause: float) -> float:
        return pause * random.uniform(1 - _JITTER, 1) if self.setup.jitter else pause

    def _ended(self, request: JsonRequest[T], failure: RequestFailure, others_answered: bool) -> RequestFailure:
        """The failure of a request that is not tried again, as one that stops the work if it would meet all others."""
        if request.tries is not None:
            return failure
        self._failed_in_a_row += 1
        about_all = failure.kind in (FailureKind.AWAY, FailureKind.DENIED)
        if about_all or (failure.kind is FailureKind.SLOW and not others_answered):
            return _Stopped(failure, failure.why)
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            return _Stopped(failure, f"{failure.why}; {FAILURES_IN_A_ROW} requests in a row failed")
        return failure

    async def _try(self, server: ServerState, request: JsonRequest[T], seconds: float) -> T:
        """One try at one server; raises RequestFailure."""
        if seconds <= 0:
            raise RequestFailure(FailureKind.SLOW, "gives no whole answer before the deadline of all tries")
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.ledger.reserve(request.need, self.setup.limits)
        self.tries += 1
        used = NOTHING
        try:
            async with asyncio.timeout(seconds):
                content = await self._exchange(server, request)
            used = request.need  # an answer in a wrong form may be billed
            parsed = _parsed(content)
            if request.check is not None:
                request.check(server.address, parsed)
            result = request.read(parsed)
            used = _usage(parsed) or used
            server.answered(began, loop.time(), self.setup.policy.timeout)
            return result
        except asyncio.CancelledError:
            used = request.need  # the server may go on with it
            raise
        except TimeoutError:
            used = request.need
            server.limit.shrink(began, loop.time())
            raise RequestFailure(FailureKind.SLOW, f"gives no whole answer within {seconds:g} s") from None
        except RequestFailure as failure:
            if failure.kind is FailureKind.MALFORMED:
                used = request.need  # so may one that breaks off
            elif failure.status is not None:
                used = NOTHING
            if failure.busy:
                server.limit.shrink(began, loop.time())
            raise
        finally:
            self.ledger.settle(request.need, used, self.setup.limits)

    async def _exchange(self, server: ServerState, request: JsonRequest[T]) -> bytes:
        """The body of one good answer."""
        import httpx

        content = None if request.body is None else json.dumps(request.body).encode("ascii")
        method, url = "GET" if content is None else "POST", _url(server.address, request.path)
        with self._connections.one(url) as http:
            try:
                asked = http.build_request(method, url, content=content, headers=self._headers())
                answer = await http.send(asked, stream=True)
                try:
                    found = await self._body(answer)
                finally:
                    await answer.aclose()
            except httpx.HTTPError as error:
                raise self._unreachable(error) from None
        if answer.status_code != 200:
            reason = self._redirect(answer, url, request.path) or shown(found, self.setup.key)
            raise RequestFailure(
                kind_of_status(answer.status_code),
                f"answered {answer.status_code}: {reason}",
                status=answer.status_code,
                pause=retry_after(answer.headers.get("Retry-After")),
            )
        return without_key(found, self.setup.key)

    def _redirect(self, answer: httpx.Response, url: str, path: str) -> str:
        """Where a redirect leads, as an address that takes the place of the server's; empty for another answer."""
        if not 300 <= answer.status_code < 400:
            return ""
        given = answer.headers.get("Location", "")
        try:
            target = urljoin(url, given).partition("?")[0].partition("#")[0].removesuffix(path)
        except ValueError:
            target = ""
        shown_target = without_credentials(shown(target, self.setup.key)) if given else ""
        return f"it redirects{f' to {shown_target}' if shown_target else ''}, and redirects are not followed"

    async def _body(self, answer: httpx.Response) -> bytes:
        if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise malformed("answers in an encoding that was not asked for")
        pieces = bytearray()
        async for piece in answer.aiter_raw():
            pieces += piece
            if len(pieces) > self.setup.most_bytes:
                raise malformed(f"answers with more than {self.setup.most_bytes} bytes")
        return bytes(pieces)

    def _unreachable(self, error: httpx.HTTPError) -> RequestFailure:
        import httpx

        reason = shown(str(error) or type(error).__name__, self.setup.key)
        if (
            isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError)
            and "without sending a response" not in reason
        ):
            return malformed(f"breaks its answer off or does not speak HTTP ({reason})")
        distrusted = _has_cause(error, ssl.SSLCertVerificationError)
        return RequestFailure(FailureKind.DENIED if distrusted else FailureKind.AWAY, f"does not answer ({reason})")

    def _headers(self) -> dict[str, str]:
        key = {} if self.setup.key is None else {"Authorization": f"Bearer {self.setup.key.value}"}
        return {"Content-Type": "application/json", "Accept-Encoding": "identity", **key}


class _Stopped(RequestFailure):
    """A failure that stops all requests."""

    def __init__(self, failure: RequestFailure, why: str) -> None:
        super().__init__(failure.kind, why, status=failure.status)
        self.address = failure.address


def _url(address: str, path: str) -> str:
    if not path.startswith("//"):
        return f"{address.rstrip('/')}{path}"
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}{path[1:]}"


def _parsed(content: bytes) -> Any:
    """The JSON value; a model that is cut off within a character may leave half of it, which is shown as U+FFFD."""
    try:
        text = content.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_unique)
        return whole_characters(found) if may_hold_half(text) else found
    except (ValueError, RecursionError):
        raise malformed(f"answers, and the answer is not JSON ({shown(content[:80])})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate key in an object")
    return found


def _usage(parsed: Any) -> TokenCount | None:
    """The tokens that an answer reports; None where it reports none."""
    usage = parsed.get("usage") if isinstance(parsed, dict) else None
    if not isinstance(usage, dict):
        return None
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens", 0)]
    known = [each for each in counts if type(each) is int and 0 <= each <= MOST_TOKENS]
    return TokenCount(*known) if len(known) == len(counts) else None


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    seen = 0
    while error is not None and seen < 16:
        if isinstance(error, kind):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False
