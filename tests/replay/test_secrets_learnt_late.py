"""A secret that an answer gave away before a request carried it: it is replaced when the recording is kept."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pytest_marketreplay import use_cassette
from pytest_marketreplay.replay.afterwards import scrub_recording

TOKEN = 'tok"en/4f0e8d3e-0a4c6d7b1f22+é'


class Login(http.server.BaseHTTPRequestHandler):
    """Answers a login with a token, in a body and in a header."""

    def do_GET(self) -> None:
        body = json.dumps({"access_token": TOKEN, "price": "0.10000000"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Refreshed", "plain-4f0e8d3e0a4c6d7b1f22")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Login) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def ask(url: str, token: str | None) -> bytes:
    headers = {"Authorization": b"Bearer " + token.encode()} if token else {}
    return requests.get(f"{url}/auth", params={"step": "2" if token else "1"}, headers=headers).content


@pytest.mark.parametrize("mode", ["once", "new_episodes", "all", "rewrite"])
def test_a_token_that_a_login_answered_is_not_in_the_cassette(tmp_path: Path, url: str, mode: str) -> None:
    hosts = {url.partition("://")[2]: "lab"}
    plain = "plain-4f0e8d3e0a4c6d7b1f22"
    with use_cassette(tmp_path / "c", mode=mode, hosts=hosts):
        live = ask(url, None)
        assert TOKEN in live.decode("unicode_escape")
        ask(url, plain)
    stored = b"".join(file.read_bytes() for file in (tmp_path / "c").rglob("*.jsonl"))
    assert plain.encode() not in stored
    assert stored.count(b"\n") == 2


def test_the_line_that_gave_it_away_says_so_and_keeps_every_other_byte(tmp_path: Path, url: str) -> None:
    hosts = {url.partition("://")[2]: "lab"}
    escaped = json.dumps(TOKEN)[1:-1].encode()
    with use_cassette(tmp_path / "c", mode="once", hosts=hosts):
        live = ask(url, None)
        requests.get(f"{url}/auth?step=2", headers={"X-Api-Secret": TOKEN.encode()})
    with use_cassette(tmp_path / "c", hosts=hosts):
        again = ask(url, None)
    assert escaped in live
    assert escaped not in again
    assert len(again) == len(live)
    assert again.endswith(b'"price": "0.10000000"}')
    assert b'"redacted":["echo"]' in next((tmp_path / "c").rglob("*.jsonl")).read_bytes()


def test_a_recording_that_is_not_kept_is_not_scrubbed_but_gone(tmp_path: Path, url: str) -> None:
    hosts = {url.partition("://")[2]: "lab"}
    with pytest.raises(ZeroDivisionError), use_cassette(tmp_path / "c", mode="once", hosts=hosts):
        ask(url, None)
        ask(url, "plain-4f0e8d3e0a4c6d7b1f22")
        raise ZeroDivisionError
    assert not (tmp_path / "c").exists()


def test_signatures_that_come_once_do_not_make_the_end_long(tmp_path: Path, url: str) -> None:
    hosts = {url.partition("://")[2]: "lab"}
    with use_cassette(tmp_path / "c", mode="once", hosts=hosts) as session:
        ask(url, None)
        for number in range(70):
            session.ask("GET", f"{url}/auth", headers=[("API-Sign", f"signature-of-{number:08}")])
            session.ask("GET", f"{url}/auth", headers=[("Authorization", "Bearer plain-4f0e8d3e0a4c6d7b1f22")])
    stored = b"".join(file.read_bytes() for file in (tmp_path / "c").rglob("*.jsonl"))
    assert b"plain-4f0e8d3e0a4c6d7b1f22" not in stored


def test_a_late_secret_that_is_too_short_to_search_for_changes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    file.write_bytes(b'{"timestamp":1,"endpoint":"/x","params":{},"response":"abc"}\n')
    assert scrub_recording([file], ["abc"]) == 0
    assert b'"abc"' in file.read_bytes()
