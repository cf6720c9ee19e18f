"""A cache in the layout of huggingface_hub, and a hub on this machine that serves one repository; no network."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.engines.tiny import byte_tokenizer, model_of

REPOSITORY = "some-org/tiny-llama"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "fedcba9876543210fedcba9876543210fedcba98"


def tiny_files(folder: Path) -> dict[str, bytes]:
    """The files of a tiny random model by name, made in `folder`."""
    model_of("llama").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def put_in_cache(
    cache: Path, files: Mapping[str, bytes], commit: str = COMMIT, refs: tuple[str, ...] = ("main",)
) -> Path:
    """The snapshot's folder: links into `blobs`, and a file in `refs` for each branch or tag."""
    home = cache / f"models--{REPOSITORY.replace('/', '--')}"
    folder = home / "snapshots" / commit
    for each in (folder, home / "blobs", home / "refs"):
        each.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        blob = home / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (folder / name).symlink_to(Path("../../blobs") / blob.name)
    for ref in refs:
        (home / "refs" / ref).write_text(commit)
    return folder


@dataclass
class FakeHub:
    """What the hub has, and what it was asked for."""

    files: Mapping[str, bytes]
    refusal: tuple[int, str] | None = None
    """The status and the error code of every answer."""
    asked: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    """Names of files."""
    fails: frozenset[str] = frozenset()
    """Files that are not sent."""
    url: str = ""


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub at `hub.url` on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(path)
            if hub.refusal is not None:
                status, code = hub.refusal
                self._send(status, b"{}", body, {"X-Error-Code": code})
            elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
                listed = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in hub.files.items()
                ]
                self._send(200, json.dumps(listed).encode(), body)
            elif path in (f"/api/models/{REPOSITORY}/revision/{each}" for each in ("main", COMMIT)):
                found = {"id": REPOSITORY, "sha": COMMIT, "siblings": [{"rfilename": name} for name in hub.files]}
                self._send(200, json.dumps(found).encode(), body)
            elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
                self._file(path.rpartition("/")[2], body)
            else:
                self._send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})

        def _file(self, name: str, body: bool) -> None:
            if name in hub.fails:
                self._send(404, b"{}", body, {"X-Error-Code": "EntryNotFound"})
                return
            content = hub.files[name]
            if body:
                hub.sent.append(name)
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self._send(200, content, body, headers)

        def _send(self, status: int, content: bytes, body: bool, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
