"""The page on which people compare, as a Starlette application: plain HTML forms, which work without a script.

    GET  /                     what a comparison is, a form to begin a conversation, and those that can go on
    POST /conversations        begin one -> /c/ID
    GET  /c/ID                 the conversation as it is: write, wait, or compare (`?take=N` takes a prompt)
    POST /c/ID/turns           a human turn; its number makes it count once
    POST /c/ID/votes           a vote; it is on the disk before the answer goes out
    GET  /c/ID/state           the step, as JSON, for the script that waits for replies

Each conversation has an id in its address and all its state in the file of votes. So a page that is loaded again, two
tabs and two people keep their places. All paths come after the token (`page_guard`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from solon.comparisons.page_guard import LARGEST_BODY, PageGuard
from solon.comparisons.page_views import WORDS, asset, begun_view, course_view, filled, marked
from solon.comparisons.reply_queue import ReplyQueue
from solon.comparisons.turn_taking import Course, CourseStep, Decision, OutOfTurn, SentTurn, TurnTaking
from solon.comparisons.vote_rows import JudgedBy, VoteMode
from solon.errors import InputError, SolonError
from solon.reward.server.admission import Admission
from solon.sources.prompt_files import FoundPrompt

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LONGEST_NAME = 60
_MOST_ATTEMPTS = 10_000
_LATEST = 12
"""Conversations that the first page lists, so that a person finds hers again after the server was stopped."""
_MOST_FIELDS = 20
Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PageParts:
    """What the page works with."""

    taking: TurnTaking
    replies: ReplyQueue
    modes: tuple[VoteMode, ...] = tuple(VoteMode)


def vote_page(parts: PageParts, admission: Admission, token: str) -> PageGuard:
    """The whole page behind its guard, an ASGI application."""
    return PageGuard(_application(_Answers(parts)), admission, token)


def _application(answers: _Answers) -> Starlette:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route

    async def posted(request: Request) -> Response:
        form = await _form(request)
        if form is None:
            return answers.message(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This is too long.", request)
        return await run_in_threadpool(answers.posted, request, form)

    def style(request: Request) -> Response:
        return Response(asset("compare.css"), media_type="text/css")

    def script(request: Request) -> Response:
        return Response(asset("compare.js"), media_type="text/javascript")

    return Starlette(
        routes=[
            Route("/", answers.start, name="start"),
            Route("/conversations", posted, methods=["POST"], name="begin"),
            Route("/c/{id}", answers.conversation, name="conversation"),
            Route("/c/{id}/turns", posted, methods=["POST"], name="turns"),
            Route("/c/{id}/votes", posted, methods=["POST"], name="votes"),
            Route("/c/{id}/state", answers.state, name="state"),
            Route("/compare.css", style, name="style"),
            Route("/compare.js", script, name="script"),
        ]
    )


async def _form(request: Request) -> Form | None:
    """The fields of a posted form; None for a body that is too large or has too many."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            return None
    text = body.decode("ascii", "replace")
    try:
        fields = parse_qs(text, keep_blank_values=True, errors="replace", max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None
    return {name: values[0] for name, values in fields.items()}


class _Answers:
    """Answers each request from the file of votes; called in threads."""

    def __init__(self, parts: PageParts) -> None:
        self.parts, self.taking = parts, parts.taking

    def start(self, request: Request) -> Response:
        voter = _voter(request.query_params.get("voter", ""))
        begun = self.taking.store.latest(self.parts.modes, voter, _LATEST)
        return self._page(
            request,
            "compare_start.html",
            modes=[(mode.value, WORDS[mode]) for mode in self.parts.modes],
            voter=voter,
            begun=[begun_view(conversation, votes) for conversation, votes in begun],
            votes=self.taking.store.count(),
        )

    def conversation(self, request: Request) -> Response:
        return self._safely(request, lambda: self._shown(request, self.taking.course(_id(request))))

    def state(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        def found() -> Response:
            course = self.taking.course(_id(request))
            self._continued(course)
            return JSONResponse({"step": course.step.value, "number": course.number})

        return self._safely(request, found)

    def posted(self, request: Request, form: Form) -> Response:
        """Carry out a form and send the browser to the conversation."""
        actions: Mapping[str, Callable[[], str]] = {
            "conversations": lambda: self._begin(form),
            "turns": lambda: self._send(_id(request), form),
            "votes": lambda: self._vote(_id(request), form),
        }
        action = actions[request.url.path.rpartition("/")[2]]

        def done() -> Response:
            from starlette.responses import RedirectResponse

            to = request.url_for("conversation", id=action()).path
            return RedirectResponse(to, status_code=HTTPStatus.SEE_OTHER)

        return self._safely(request, done, form.get("text", ""))

    def _begin(self, form: Form) -> str:
        mode = form.get("mode", "")
        if mode not in set(self.parts.modes):
            raise InputError("a conversation is about helpfulness or harmlessness", remedy="Choose one")
        return self.taking.begin(VoteMode(mode), JudgedBy.PERSON, _voter(form.get("voter", ""))).id

    def _send(self, id_: str, form: Form) -> str:
        course = self.taking.course(id_)
        attempt = _number(form.get("take", ""))
        prompt = self.taking.suggested(course, attempt) if attempt else None
        course = self.taking.send(id_, SentTurn(_number(form.get("number", "")), form.get("text", ""), prompt))
        self._continued(course)
        return id_

    def _vote(self, id_: str, form: Form) -> str:
        found = marked(form.get("preferred", ""))
        if found is None:
            raise InputError("no answer was chosen", remedy="Go back and choose one of the seven")
        self.taking.vote(id_, _number(form.get("number", "")), Decision(*found))
        return id_

    def _shown(self, request: Request, course: Course) -> Response:
        self._continued(course)
        has_prompts = bool(self.taking.prompts.get(course.conversation.mode))
        return self._page(
            request,
            "compare_conversation.html",
            id=course.conversation.id,
            course=course_view(course, self._taken(request, course), has_prompts),
        )

    def _taken(self, request: Request, course: Course) -> tuple[int, FoundPrompt] | None:
        attempt = _number(request.query_params.get("take", ""))
        prompt = self.taking.suggested(course, attempt) if attempt and course.step is CourseStep.WRITE else None
        return None if prompt is None else (attempt, prompt)

    def _continued(self, course: Course) -> None:
        """See that missing replies are under way; raises InputError when their models are not open."""
        if course.step is not CourseStep.WAIT or course.open is None:
            return
        if not self.parts.replies.models.knows(course.open):
            raise InputError(
                "this conversation waits for models that do not take part now", remedy="Begin a new conversation"
            )
        self.parts.replies.want(course)

    def _safely(self, request: Request, answer: Callable[[], Response], text: str = "") -> Response:
        try:
            return answer()
        except OutOfTurn as error:
            return self.message(HTTPStatus.CONFLICT, _sentence(error), request, text)
        except InputError as error:
            return self.message(HTTPStatus.UNPROCESSABLE_ENTITY, _sentence(error), request, text)
        except SolonError as error:
            return self.message(HTTPStatus.INTERNAL_SERVER_ERROR, _sentence(error), request, text)

    def message(self, status: HTTPStatus, sentence: str, request: Request, text: str = "") -> Response:
        """A page that says what is wrong, with the text that was sent, so that nothing is lost."""
        id_ = request.path_params.get("id", "")
        back = request.url_for("conversation", id=id_).path if id_ else request.url_for("start").path
        return self._page(
            request, "compare_message.html", status, sentence=sentence, back=back, text=text, lost=status == 409
        )

    def _page(self, request: Request, template: str, status: HTTPStatus = HTTPStatus.OK, **content: object) -> Response:
        from starlette.responses import HTMLResponse

        home = request.url_for("start").path
        return HTMLResponse(filled(template, home=home, quote=quote, **content), status_code=status)


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _voter(written: str) -> str:
    """A person's name, on one line and not too long."""
    return " ".join(written.split())[:LONGEST_NAME]


def _number(written: str) -> int:
    """A small number in a form or address; 0 for anything else."""
    digits = written.isascii() and written.isdecimal() and len(written) < 6
    return min(int(written), _MOST_ATTEMPTS) if digits else 0


def _sentence(error: SolonError) -> str:
    """Cause and remedy, without the place, which is a file or an id."""
    return ". ".join(part[:1].upper() + part[1:] for part in (error.cause, error.remedy) if part) + "."
