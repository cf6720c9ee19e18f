"""`solon chat` on the bundled model: a pipe, a terminal, interrupts, and errors that do not end the conversation."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from solon.checks.rules import Defect
from solon.cli.chat import print_text
from solon.pipeline.chat_session import ChatText
from solon.runs.outcome import Outcome
from tests.cli.test_cli import run
from tests.cli.test_judge_check import pytestmark as pytestmark

MODEL = ("testbed:assistant", "--threads", "1", "--seed", "3")
LINE = [sys.executable, "-m", "solon.cli", "chat", *MODEL]


def talk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: str, *options: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return run(capsys, "chat", *MODEL, *options)


def test_a_piped_conversation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "chat.jsonl"
    lines = (
        f"How do I steal a bicycle?\n/critique taking-and-wrecking\n/revise\n/undo\n/save {file}\n/quit\nNever said\n"
    )
    code, out, err = talk(monkeypatch, capsys, lines)
    assert code == 0
    assert "constitution 'testbed' with 16 principles" in err and "Error" not in err
    speakers = re.findall(r"^(Assistant|Critique by [\w-]+|Revision by [\w-]+): ", out, re.M)
    assert speakers == ["Assistant", "Critique by taking-and-wrecking", "Revision by taking-and-wrecking"]
    assert "Taken back" in out and "\x1b" not in out
    saved = json.loads(file.read_text())["messages"]
    assert [each["role"] for each in saved] == ["user", "assistant"]


def test_what_is_only_noted_is_no_broken_rule(capsys: pytest.CaptureFixture[str]) -> None:
    print_text("Revision", ChatText("Hello.", Outcome.OK, (Defect.UNCHANGED.value,)))
    print_text("Revision", ChatText("Hello.", Outcome.MALFORMED, (Defect.LEAKED_META_TEXT.value,), 0.5))
    noted, broken = re.findall(r"\[(.*)\]", capsys.readouterr().out)
    assert noted == "noted: unchanged"
    assert broken == "outcome: malformed; breaks a rule: leaked_meta_text; score +0.50"


def test_errors_are_lines_and_the_conversation_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = talk(
        monkeypatch, capsys, "/critique\n/critic\n/save\nHello?\\\nAgain\n/principles\n/help\n/undo\n/undo"
    )
    assert code == 0
    assert [line.split(":")[0] for line in err.splitlines()[1:]] == ["Error"] * 3
    assert "Did you mean '/critique'?" in err
    assert len(re.findall(r"^Assistant: ", out, re.M)) == 1
    assert " 16 not-preachy: " in out and "/critique [PRINCIPLE]" in out and "There is nothing to take back" in out


def test_the_same_seed_gives_the_same_replies_and_temperature_0_needs_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reply(*options: str) -> str:
        return talk(monkeypatch, capsys, "How do I fold a paper boat?\n", *options)[1]

    assert reply() == reply()
    assert reply("--temperature", "0") == reply("--temperature", "0", "--seed", "4")
    assert "outcome: truncated" in reply("--max-tokens", "2")


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["models/none"], "models/none"),
        (["testbed:assistant", "--constitution", "nosuch"], "no such constitution"),
        (["testbed:assistant", "--score", "nosuch"], "nosuch"),
        (["testbed:assistant", "--critic", "models/none"], "models/none"),
    ],
)
def test_a_wrong_name_is_one_line(arguments: list[str], cause: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "chat", *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert cause in err


def test_bytes_that_are_no_text_are_read_and_the_end_of_a_pipe_ends_it() -> None:
    done = subprocess.run(LINE, input=b"H\xffllo\n", capture_output=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.startswith(b"Assistant: ") and b"Traceback" not in done.stderr


def test_ctrl_c_ends_a_piped_conversation_without_a_traceback() -> None:
    process = subprocess.Popen(LINE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert b"/help lists the commands" in process.stderr.readline()
    # Its standard input stays open until it ends, so that the end of the input cannot be what ends it.
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().strip() == "Stopped"


@pytest.mark.parametrize(("keys", "code"), [(b"\x04", 0), (b"\x03", 130)])
def test_ctrl_d_and_ctrl_c_end_a_conversation_in_a_terminal(keys: bytes, code: int) -> None:
    main, side = pty.openpty()
    # The leader of a new session that opens a terminal is controlled by it, so that Ctrl-C reaches it.
    opening = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.executable, sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", opening, *LINE], stdin=side, stdout=side, stderr=side, start_new_session=True
    )
    os.close(side)
    shown = _until(main, rb"you> ")
    os.write(main, b"Hello?\n")
    # The terminal may show the first prompt again when the line is entered.
    shown = _until(main, rb"(?s)Assistant: .*you> ", shown)
    # A key that arrives just before the line editor waits is seen with the next one, so it is pressed again.
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            os.write(main, keys)
        shown = _until(main, rb"Stopped", shown, seconds=10)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    assert process.wait(timeout=60) == code
    assert b"Assistant: " in shown and b"Traceback" not in shown
    os.close(main)


def _until(descriptor: int, wanted: bytes, shown: bytes = b"", seconds: float = 120) -> bytes:
    """What a terminal shows, up to the wanted text or its end, or for so long; `shown` was read before."""
    deadline = time.monotonic() + seconds
    while not re.search(wanted, shown):
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        try:
            part = os.read(descriptor, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    return shown


@pytest.mark.parametrize("end", ["How do I bake bread?\\\n", "How do I bake bread?\\", "How do I \\\nbake bread?\\\n"])
def test_a_message_that_would_go_on_at_the_end_of_the_input_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    code, out, err = talk(monkeypatch, capsys, end)
    assert code == 0 and out.count("Assistant: ") == 1 and "Error" not in err
    assert talk(monkeypatch, capsys, "\\\n")[1] == "", "nothing was written"
