"""Starts a real server: llama-cpp-python's, in the environment that `SOLON_LLAMA_PYTHON` names.

`make test-servers` makes such an environment. Without the variable the tests that need the server are skipped.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "SOLON_LLAMA_PYTHON"
_PATIENCE = 120.0
_FLOAT32 = "0"
"""ggml's number of the type."""


def llama_python() -> str | None:
    """The python whose environment has the server."""
    return os.environ.get(VARIABLE) or None


@contextmanager
def llama_server(model: Path, alias: str, log: Path, *, window: int, port: int = 0) -> Iterator[str]:
    """The address of a server of one model, which answers; keys and values of its attention are float32."""
    python = llama_python()
    assert python is not None
    port = port or free_port()
    settings = {
        "model": model, "model_alias": alias, "host": "127.0.0.1", "port": port, "n_ctx": window,
        "logits_all": "true", "type_k": _FLOAT32, "type_v": _FLOAT32, "n_threads": 1, "n_threads_batch": 1,
    }  # fmt: skip
    command = [python, "-m", "llama_cpp.server"]
    command += [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=clean) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/v1/models", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None and time.monotonic() < ends, log.read_text()[-4000:]
            time.sleep(0.2)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
