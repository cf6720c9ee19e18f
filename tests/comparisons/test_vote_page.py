"""The page by plain requests: who is admitted, what every answer carries, and that a turn and a vote count once."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from solon.comparisons.page_guard import HEADERS, LARGEST_BODY
from solon.comparisons.turn_taking import LONGEST_TURN, CourseStep
from solon.comparisons.vote_page import vote_page
from solon.comparisons.vote_rows import Preferred, Strength
from solon.engines.base import Completion, Finish
from solon.reward.server.admission import Admission
from tests.comparisons.served import SECRETS, Compared, compared, parts_of, says

testclient = pytest.importorskip("starlette.testclient")

TOKEN = "token-of-this-test"
HOST = "http://127.0.0.1:8123"


class Page:
    """A browser without a script: follows redirects, and fills forms in."""

    def __init__(self, made: Compared) -> None:
        self.made = made
        self.parts = parts_of(made)
        guard = vote_page(self.parts, Admission.at("127.0.0.1"), TOKEN)
        self.client = testclient.TestClient(guard, base_url=HOST)

    def begin(self, mode: str = "helpfulness", **more: str) -> str:
        """Begin a conversation; its id."""
        answer = self.client.post(f"/{TOKEN}/conversations", data={"mode": mode, **more})
        assert answer.status_code == 200, answer.text
        return urlsplit(str(answer.url)).path.rpartition("/")[2]

    def get(self, id_: str, more: str = "") -> str:
        return self.client.get(f"/{TOKEN}/c/{id_}{more}").text

    def send(self, id_: str, number: int, text: str, **more: str) -> tuple[int, str]:
        answer = self.client.post(f"/{TOKEN}/c/{id_}/turns", data={"number": str(number), "text": text, **more})
        return answer.status_code, answer.text

    def vote(self, id_: str, number: int, preferred: str) -> tuple[int, str]:
        answer = self.client.post(f"/{TOKEN}/c/{id_}/votes", data={"number": str(number), "preferred": preferred})
        return answer.status_code, answer.text

    def answered(self, id_: str) -> None:
        """Wait until the replies are there."""
        for _ in range(400):
            if self.made.taking.course(id_).step is not CourseStep.WAIT:
                return
            time.sleep(0.02)
        raise AssertionError("no replies")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    found = Page(compared(tmp_path))
    yield found
    found.parts.replies.close()


# Who is admitted ------------------------------------------------------------------------------------------------------


def test_every_answer_has_the_policy_and_the_page_has_no_inline_script(page: Page) -> None:
    id_ = page.begin()
    for path in ("", "compare.css", "compare.js", f"c/{id_}", f"c/{id_}/state", "none"):
        answer = page.client.get(f"/{TOKEN}/{path}")
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    for text in (page.get(id_), page.client.get(f"/{TOKEN}/").text):
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|style=|javascript:", text)
        assert re.findall(r'(?:src|href|action)="(?!/token-of-this-test/|data:,)[^"]*"', text) == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 404),
        ("/wrong/", {}, 404),
        (f"/{TOKEN}x/", {}, 404),
        (f"/{TOKEN}", {}, 307),
        (f"/{TOKEN}/", {"Host": "evil.example"}, 403),
        (f"/{TOKEN}/", {"Host": "evil.example:8123"}, 403),
        (f"/{TOKEN}/", {"Origin": "http://evil.example"}, 403),
        (f"/{TOKEN}/", {"Origin": "http://127.0.0.1:9999"}, 403),
        (f"/{TOKEN}/", {"Origin": "null"}, 403),
        (f"/{TOKEN}/", {"Origin": HOST}, 200),
        (f"/{TOKEN}/", {"Host": "localhost:8123"}, 200),
    ],
)
def test_only_the_address_that_was_printed_is_answered(
    page: Page, path: str, headers: dict[str, str], status: int
) -> None:
    answer = page.client.get(path, headers=headers, follow_redirects=False)
    assert answer.status_code == status and answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://localhost:8123"}],
)
def test_another_page_cannot_post(page: Page, headers: dict[str, str]) -> None:
    sent = page.client.post(f"/{TOKEN}/conversations", data={"mode": "helpfulness"}, headers=headers)
    assert sent.status_code == 403


def test_a_body_that_is_too_large_is_refused(page: Page) -> None:
    id_ = page.begin()
    assert page.send(id_, 1, "x" * (LARGEST_BODY + 1))[0] == 413

    def pieces() -> Iterator[bytes]:
        yield b"number=1&text="
        for _ in range(LARGEST_BODY // 1000 + 2):
            yield b"x" * 1000

    assert page.client.post(f"/{TOKEN}/c/{id_}/turns", content=pieces()).status_code == 413
    many = page.client.post(f"/{TOKEN}/c/{id_}/turns", data={f"field{number}": "" for number in range(50)})
    assert many.status_code == 413
    code, text = page.send(id_, 1, "x" * (LONGEST_TURN + 1))
    assert code == 422 and "more than 20,000 characters" in text
    assert page.made.taking.course(id_).step is CourseStep.WRITE


# The course of a comparison -------------------------------------------------------------------------------------------


def test_a_conversation_continues_with_the_chosen_reply_and_every_vote_is_in_the_file(page: Page) -> None:
    id_ = page.begin("harmlessness", voter="  Ada \n L. ")
    assert "prefer the thoughtful one" in page.get(id_)
    for number, (value, side, strength) in enumerate(
        [("a much", Preferred.A, Strength.MUCH), ("b slightly", Preferred.B, Strength.SLIGHTLY), ("tie", None, None)], 1
    ):
        assert page.send(id_, number, f"Question {number}")[0] == 200
        page.answered(id_)
        shown = page.get(id_)
        turn = page.made.store.turns(id_)[-1][0]
        assert shown.index(turn.reply_a or "?") < shown.index(turn.reply_b or "?")
        assert not [name for name in SECRETS if name in shown], "the page tells which models they are"
        assert page.vote(id_, number, value)[0] == 200
        vote = page.made.store.turns(id_)[-1][1]
        assert vote is not None and (vote.strength, vote.preferred) == (strength, side or Preferred.TIE)
        assert turn.reply(vote.continued) in page.get(id_)
    records = list(page.made.store.records())
    assert [record.number for record in records] == [1, 2, 3] and {record.judge for record in records} == {"Ada L."}
    assert [turn.content for turn in records[2].prompt.turns][::2] == ["Question 1", "Question 2", "Question 3"]
    assert records[2].prompt.turns[1].content == records[0].reply_a
    assert records[2].prompt.turns[3].content == records[1].reply_b
    asked = [len(prompt.turns) for engine in page.made.engines for prompt in engine.prompts]
    assert sorted(asked) == [1, 1, 3, 3, 5, 5]


def test_the_same_turn_and_vote_count_once_and_others_are_refused(page: Page) -> None:
    id_ = page.begin()
    assert page.send(id_, 1, "One?")[0] == page.send(id_, 1, " One? ")[0] == 200
    code, text = page.send(id_, 1, "Another one?")
    assert code == 409 and "Another one?" in text and "another tab" in text, "what was written is shown again"
    assert page.send(id_, 2, "Too early?")[0] == 409
    assert page.vote(id_, 2, "tie")[0] == 409
    page.answered(id_)
    assert page.vote(id_, 1, "a much")[0] == page.vote(id_, 1, "a much")[0] == 200
    assert page.vote(id_, 1, "b much")[0] == 409
    assert page.send(id_, 1, "One?")[0] == 200, "an old tab sends the first turn again"
    assert [record.preferred for record in page.made.store.records()] == [Preferred.A]
    assert sum(engine.generate_calls for engine in page.made.engines) == 2


def test_mistakes_change_nothing(page: Page) -> None:
    id_ = page.begin()
    assert page.send(id_, 1, " \n ")[0] == 422
    page.send(id_, 1, "One?")
    page.answered(id_)
    for value in ("", "a", "c much", "a very", "undecided", "tie much"):
        assert page.vote(id_, 1, value)[0] == 422, value
    assert page.client.post(f"/{TOKEN}/conversations", data={"mode": "honesty"}).status_code == 422
    assert page.client.get(f"/{TOKEN}/c/0000000000000000").status_code == 422
    assert page.made.store.count() == 0


def test_a_prompt_is_taken_from_the_file_with_its_earlier_turns(page: Page) -> None:
    for _ in range(20):
        id_ = page.begin()
        if "What is a tide?" in (shown := page.get(id_, "?take=1")):
            break
    assert "Hello!" in shown and 'name="take" value="1"' in shown and "Take another prompt" in shown
    page.send(id_, 1, "What is a tide?", take="1")
    page.answered(id_)
    ((turn, _),) = page.made.store.turns(id_)
    assert turn.source == "prompts.jsonl:2" and [each.content for each in turn.opening.turns] == ["Hi", "Hello!"]
    assert {len(prompt.turns) for engine in page.made.engines for prompt in engine.prompts} == {3}
    changed = page.begin()
    page.send(changed, 1, "My own words", take="1")
    assert page.made.store.turns(changed)[0][0].source == ""


def test_texts_are_escaped_and_hidden_characters_are_written_out(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e</p><script>alert(2)</script>"
    page = Page(compared(tmp_path, lambda *_: hostile, says("Otter")))
    id_ = page.begin(voter="<b>x")
    page.send(id_, 1, hostile)
    page.answered(id_)
    shown = page.get(id_)
    assert "<img" not in shown and "<script>" not in shown and "[U+202E]" in shown and "<b>" not in shown
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;") >= 2
    page.parts.replies.close()


def test_a_reply_that_is_empty_or_cut_off_says_so_and_a_failed_one_ends_the_conversation(tmp_path: Path) -> None:
    page = Page(compared(tmp_path, lambda *_: "", lambda *_: Completion("So it", Finish.LENGTH)))
    id_ = page.begin()
    page.send(id_, 1, "One?")
    page.answered(id_)
    shown = page.get(id_)
    assert "The assistant wrote nothing." in shown and "The reply is cut off here" in shown
    page.parts.replies.close()

    def breaks(*_: object) -> str:
        raise RuntimeError(f"{SECRETS[1]} is broken")

    page = Page(compared(tmp_path / "two", says("Falcon"), breaks))
    id_ = page.begin()
    page.send(id_, 1, "One?")
    page.answered(id_)
    shown = page.get(id_)
    assert "An assistant gave no reply" in shown and SECRETS[1] not in shown
    assert "Reason: a model failed; whoever runs this page finds its message in the file of votes" in shown
    assert "is broken" not in shown and "New conversation</a>" in shown
    assert page.vote(id_, 1, "tie")[0] == 409
    assert "is broken" in page.made.store.turns(id_)[0][0].failed_because
    page.parts.replies.close()


def test_a_conversation_that_fits_no_window_says_why_it_ended(tmp_path: Path) -> None:
    page = Page(compared(tmp_path, says("Falcon"), says("Otter")))
    for engine in page.made.engines:
        engine.window = 10
    id_ = page.begin()
    page.send(id_, 1, "word " * 200)
    page.answered(id_)
    shown = page.get(id_)
    assert "Reason: the conversation leaves no room for a reply in a model&#39;s window." in shown
    assert "with a shorter turn if this one was long" in shown and not any(each in shown for each in SECRETS)
    page.parts.replies.close()


def test_a_stopped_server_writes_missing_replies_at_the_next_visit(tmp_path: Path) -> None:
    made = compared(tmp_path)
    id_ = Page(made).begin()
    from solon.comparisons.turn_taking import SentTurn

    made.taking.send(id_, SentTurn(1, "One?"))  # and the server is stopped before any reply
    page = Page(compared(tmp_path))
    assert page.client.get(f"/{TOKEN}/c/{id_}/state").json() == {"step": "wait", "number": 1}
    page.answered(id_)
    assert page.client.get(f"/{TOKEN}/c/{id_}/state").json() == {"step": "vote", "number": 1}
    page.parts.replies.close()


def test_the_first_page_lists_conversations_to_go_on_with(page: Page) -> None:
    ids = [page.begin("harmlessness", voter=voter) for voter in ("Ada", "<b>Bob</b>", "Ada")]
    for id_ in ids[:2]:
        page.send(id_, 1, "One?")
        page.answered(id_)
    page.vote(ids[0], 1, "a much")
    again = Page(compared(page.made.store.path.parent))  # the server was stopped
    shown = again.client.get(f"/{TOKEN}/").text
    listed = re.findall(rf'<li><a href="/{TOKEN}/c/(\w+)">(.*?)</a>\s*<small>(\d+ votes?), begun', shown)
    assert listed == [
        (ids[1], "Harmlessness · &lt;b&gt;Bob&lt;/b&gt;", "0 votes"), (ids[0], "Harmlessness · Ada", "1 vote"),
    ]  # fmt: skip
    own = again.client.get(f"/{TOKEN}/?voter=Ada").text
    assert ids[0] in own and ids[1] not in own
    again.parts.replies.close()


def test_closing_waits_for_the_turn_at_hand_and_leaves_those_behind_it_for_the_next_visit(tmp_path: Path) -> None:
    begun, ends = threading.Event(), threading.Event()

    def slow(*_: object) -> str:
        begun.set()
        ends.wait(60)
        return "Late."

    page = Page(compared(tmp_path, slow, says("Otter")))
    ids = [page.begin() for _ in range(3)]
    for id_ in ids:
        page.send(id_, 1, "One?")
        page.get(id_)
    assert begun.wait(60)
    closing = threading.Thread(target=page.parts.replies.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive(), "it waits for the turn at hand"
    ends.set()
    closing.join(60)
    written = [page.made.store.turns(id_)[0][0].reply_a is not None for id_ in ids]
    assert not closing.is_alive() and written == [True, False, False]
