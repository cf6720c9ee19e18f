"""A run that asks a served model with a key: the key is in nothing that it leaves or says (promise P6)."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from solon.cli.main import main
from solon.errors import EngineError
from solon.runs import RunDirectory
from solon.runs.response_cache import recorded_usage
from solon.runs.rows import ReplyRow
from tests.http.local_server import Answer, Received, serving

CANARY = "canary-9931-secret"


def solon(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return int(ended.value.code or 0)


def test_no_artefact_message_or_log_of_a_run_has_the_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", CANARY)
    asked: list[str] = []
    broken = False

    async def respond(received: Received) -> Answer:
        key = received.headers["authorization"]
        asked.append(key)
        if received.method == "GET":
            return 200, {"data": [{"id": "m", "max_model_len": 4096}]}
        if received.path != "/v1/chat/completions":
            return 404, {"error": f"nothing here for {key}"}
        if len(asked) % 19 == 0:
            return 500, {"error": f"cannot answer {key}"}
        if broken and received.body["max_tokens"] > 1:
            return 401, {"error": f"no longer {key}"}
        content = f"You sent {key}. I say {received.body['seed']}."
        choice = {"index": 0, "message": {"content": content}, "finish_reason": "stop"}
        return 200, {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 21, "completion_tokens": 9}}

    run = tmp_path / "run"
    with serving(respond) as server:
        settings = {
            "models.assistant": f"openai:m@{server.url}",
            "models.pretrained": "testbed:pretrained",
            "engine.rendering": "auto",
            "engine.server.key_variable": "JUDGE_KEY",
            "prompts.limit_red_team": "12",
            "prompts.limit_helpful": "5",
        }
        given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        assert solon("run", run, "--recipe", "testbed", *given, "--until", "responses") == 0
        solon("status", run)
        solon("report", run)
        solon("engines", "check", f"openai:m@{server.url}", "--set", "engine.server.key_variable=JUDGE_KEY")
        broken = True
        other = tmp_path / "other"
        assert solon("run", other, "--recipe", "testbed", *given, "--until", "responses") == 1
        assert not other.exists() or solon("run", other, "--until", "responses") == 1
        with pytest.raises(EngineError):
            main(["--debug", "run", str(other), "--recipe", "testbed", *given, "--until", "responses"])
    assert set(asked) == {f"Bearer {CANARY}"}
    rows = next(each for each in RunDirectory.open(run).artefacts() if each.name == "responses").rows(ReplyRow)
    assert rows and all("You sent Bearer ***." in str(row.completion) for row in rows)
    (usage,) = recorded_usage(run).values()
    assert (usage.prompt_tokens, usage.completion_tokens) == (21 * len(rows), 9 * len(rows))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path.name for path in files if CANARY.encode() in path.read_bytes()] == []
    said = "".join(capsys.readouterr()) + caplog.text
    assert CANARY not in said and "JUDGE_KEY" in said
