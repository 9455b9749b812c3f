"""Real places for snapshots, served by rclone itself, and a proxy before one that does what servers should not."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

USER, PASSWORD = "mr", "pw/@-canary-7261"
KEY, SECRET = "AKCANARY52810", "SKCANARY99173"


class Where(NamedTuple):
    """A place for snapshots, as rclone names it, and the folder behind it."""

    spec: str
    folder: Path


def use(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Let `rclone` be that program, for this test."""
    (folder / "bin").mkdir()
    (folder / "bin" / "rclone").symlink_to(program)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")


def programs() -> dict[str, str]:
    """Return the rclones of this machine by version: that of the distribution, and that of the wheel."""
    out = {}
    for path in ("/usr/bin/rclone", str(Path(sys.executable).with_name("rclone")), shutil.which("rclone")):
        if path and os.access(path, os.X_OK):
            said = subprocess.run([path, "version"], capture_output=True, text=True, check=True).stdout
            match = re.match(r"rclone v(\d+\.\d+)", said)
            assert match
            out.setdefault(match[1], path)
    return out


PROGRAMS = programs()
NEWEST = max(PROGRAMS, key=lambda version: [int(part) for part in version.split(".")], default="")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain_environment() -> dict[str, str]:
    """Return the variables of this process without those of remotes."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RCLONE_", "AWS_"))}


class Server:
    """`rclone serve`, on a folder."""

    def __init__(self, what: str, folder: Path, more: dict[str, str]) -> None:
        self.folder, self.port = folder, free_port()
        self.process = subprocess.Popen(
            [
                PROGRAMS[NEWEST],
                "serve",
                what,
                "--addr",
                f"127.0.0.1:{self.port}",
                "--dir-cache-time",
                "20ms",  # with 0s the server spins
                str(folder),
            ],
            env=plain_environment() | {"RCLONE_CONFIG": os.devnull} | more,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def webdav(folder: Path) -> Server:
    return Server("webdav", folder, {"RCLONE_USER": USER, "RCLONE_PASS": PASSWORD})


def s3(folder: Path) -> Server:
    return Server("s3", folder, {"RCLONE_AUTH_KEY": f'"{KEY},{SECRET}"'})


def obscured(password: str) -> str:
    said = subprocess.run(
        [PROGRAMS[NEWEST], "obscure", "-"], input=password, capture_output=True, text=True, check=True
    )
    return said.stdout.strip()


def webdav_environment(port: int, password: str = PASSWORD) -> dict[str, str]:
    """Return what makes `dav:` that server, by environment only."""
    return {
        "RCLONE_CONFIG_DAV_TYPE": "webdav",
        "RCLONE_CONFIG_DAV_URL": f"http://127.0.0.1:{port}/",
        "RCLONE_CONFIG_DAV_VENDOR": "other",
        "RCLONE_CONFIG_DAV_USER": USER,
        "RCLONE_CONFIG_DAV_PASS": obscured(password),
    }


def s3_environment(port: int) -> dict[str, str]:
    """Return what makes `bucket:` that server."""
    return {
        "RCLONE_CONFIG_BUCKET_TYPE": "s3",
        "RCLONE_CONFIG_BUCKET_PROVIDER": "Other",
        "RCLONE_CONFIG_BUCKET_ENDPOINT": f"http://127.0.0.1:{port}",
        "RCLONE_CONFIG_BUCKET_ACCESS_KEY_ID": KEY,
        "RCLONE_CONFIG_BUCKET_SECRET_ACCESS_KEY": SECRET,
        "RCLONE_CONFIG_BUCKET_REGION": "us-east-1",
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def _any(self) -> None:
        owner: Proxy = self.server.owner
        owner.asked.append((self.command, self.path))
        do = owner.rules.get(self.command) or owner.rules.get("*")
        length = int(self.headers.get("Content-Length") or 0)
        if do is not None and do[0] == "cut":
            self.rfile.read(int(length * do[1]))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.rfile.read(length)
        if do is not None and do[0] == "status":
            self._answer(do[1], {}, b"no")
            return
        if do is not None and do[0] == "truncate":
            body = body[: len(body) // 2]
        try:
            self._forward(owner, body, do)
        except OSError:  # the server behind hangs or is gone
            self.close_connection = True

    def _forward(self, owner: Proxy, body: bytes, do: tuple[str, Any] | None) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", owner.port_behind, timeout=10)) as upstream:
            self._pass_on(upstream, body, do)

    def _pass_on(self, upstream: http.client.HTTPConnection, body: bytes, do: tuple[str, Any] | None) -> None:
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("content-length", "accept-encoding")
        }
        upstream.request(self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))})
        answer = upstream.getresponse()
        data = answer.read()
        if do is not None and do[0] == "responses":
            data = do[1](data)
        if do is not None and do[0] == "cut-answer":
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: int(len(data) * do[1])])
            self.close_connection = True
            return
        told = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("content-length", "transfer-encoding", "connection")
        }
        self._answer(answer.status, told, data)

    do_GET = do_PUT = do_PROPFIND = do_MOVE = do_DELETE = do_MKCOL = do_HEAD = do_COPY = _any

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Proxy:
    """A WebDAV server that misbehaves by `rules`: method, or `*`, to (what, how)."""

    def __init__(self, port_behind: int) -> None:
        self.port_behind = port_behind
        self.rules: dict[str, tuple[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._server.owner = self  # type: ignore[attr-defined]
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def proxied(port_behind: int) -> Iterator[Proxy]:
    proxy = Proxy(port_behind)
    try:
        yield proxy
    finally:
        proxy.close()


def without_files(listing: bytes) -> bytes:
    """Return a WebDAV listing that has lost every file, and stays a listing."""
    return re.sub(
        rb"<D:response>(?:(?!</D:response>).)*\.zip(?:(?!</D:response>).)*</D:response>", b"", listing, flags=re.S
    )


def half_the_files(listing: bytes) -> bytes:
    """Return a WebDAV listing that has lost every second file, the newest among them."""
    parts = re.findall(rb"<D:response>(?:(?!</D:response>).)*\.zip(?:(?!</D:response>).)*</D:response>", listing, re.S)
    for part in sorted(parts, key=lambda each: re.findall(rb"\d{8}T\d{6}Z", each))[::-2]:
        listing = listing.replace(part, b"")
    return listing
