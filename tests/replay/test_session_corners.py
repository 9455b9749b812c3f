"""Corners of a session: what is closed twice, named wrongly, cannot be staged, or polled in a thousand ways."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import ClassVar

import pytest

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette.request import parse
from pytest_marketreplay.config import Settings, parse_hosts
from pytest_marketreplay.errors import RecordingError, UsageMistake
from pytest_marketreplay.replay import keeping
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current, in_play
from pytest_marketreplay.replay.live import Live
from pytest_marketreplay.replay.session import Session
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry

DEPTH = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT"


def live(session: Session, url: str, headers: list[tuple[str, str]] | None = None) -> Live:
    found = session.ask("GET", url, None, headers or [])
    assert isinstance(found, Live)
    return found


def test_lines_of_hosts_may_be_empty_or_comments() -> None:
    assert parse_hosts(["", "  # the test exchange", " 127.0.0.1:8080 = Binance "]) == {"127.0.0.1:8080": "Binance"}


def test_ignored_parameters_that_are_one_text_are_refused_with_the_tuple_that_was_meant() -> None:
    with pytest.raises(UsageMistake, match=r"give a tuple: \('limit',\)"):
        Settings.of(ignore_params="limit")


def test_closing_a_session_twice_closes_it_once(tmp_path: Path) -> None:
    session = Session([tmp_path / "new"], Settings(mode="all"))
    live(session, DEPTH).record(200, "OK", [], b"{}")
    assert session.close(keep=False) == 1
    assert session.close(keep=False) == 0
    assert session.close() == 0
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_folder_that_cannot_be_staged_in_is_a_recording_error_that_the_session_remembers(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the cassette should be")
    session = Session([tmp_path / "taken"], Settings(mode="all"))
    try:
        with pytest.raises(RecordingError, match="cannot record into") as raised:
            session.ask("GET", DEPTH)
        assert session.refusals == [raised.value]
        assert isinstance(raised.value.__cause__, OSError)
    finally:
        session.close(keep=False)


def test_a_host_named_for_a_venue_that_nobody_knows_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    session = Session([tmp_path])
    try:
        with pytest.raises(UsageMistake, match=r"no venue is named 'nyse'; known are .*binance.*kraken"):
            session.name_host("127.0.0.1:8080", "nyse")
        session.name_host("127.0.0.1:8080", "kraken")
        assert session.registry.of("127.0.0.1:8080").name == "kraken"
    finally:
        session.close()


def test_more_polled_requests_than_are_remembered_all_replay(tmp_path: Path) -> None:
    urls = [f"{DEPTH}&limit={number}" for number in range(600)]  # 512 are remembered
    session = Session([tmp_path / "new"], Settings(mode="once"))
    for number, url in enumerate(urls):
        live(session, url).record(200, "OK", [], b"%d" % number)
    session.close()
    session = Session([tmp_path / "new"], Settings(exhausted="last"))
    try:
        for _ in range(3):
            for number, url in enumerate(urls):
                answer = session.ask("GET", url)
                assert isinstance(answer, Answer)
                assert answer.body == b"%d" % number
    finally:
        session.close()


def test_sessions_that_end_in_another_order_than_they_began_leave_the_open_one_in_play(tmp_path: Path) -> None:
    first, second = Session([tmp_path / "a"]), Session([tmp_path / "b"])
    before = current()
    outer, inner = in_play(first), in_play(second)
    outer.__enter__()
    inner.__enter__()
    try:
        outer.__exit__(None, None, None)
        first.close()
        assert current() is second
    finally:
        inner.__exit__(None, None, None)
        second.close()
    assert current() is before


class Talkative(Venue):
    """A venue that stores a request header, and answers with a token."""

    name = "talkative"
    hosts = ("api.talkative.example",)
    stored_headers = frozenset(("x-api-version",))
    secret_fields: ClassVar = {"/login": ("session",)}


def test_a_request_header_that_a_venue_allows_is_stored_and_a_secret_field_of_an_answer_is_not(tmp_path: Path) -> None:
    session = Session([tmp_path / "new"], Settings(mode="once"), registry=Registry([Talkative()]))
    headers = [("X-Api-Version", "7"), ("X-Other", "8"), ("X-Api-Key", "key-0123456789")]
    live(session, "https://api.talkative.example/login", headers).record(
        200, "OK", [], b'{"session": "s3ss10n-0123456789", "user": 1}'
    )
    # what was a secret in one answer is one in the next, wherever it stands
    live(session, "https://api.talkative.example/me", headers).record(200, "OK", [], b"s3ss10n-0123456789")
    session.close()
    stored = [entries.read_entry(line) for file in tmp_path.rglob("*.jsonl") for line in file.read_bytes().splitlines()]
    login, me = sorted(stored, key=lambda found: found.endpoint)
    assert [found.meta.request_headers for found in (login, me)] == [{"X-Api-Version": "7"}] * 2
    assert (login.meta.redacted, me.meta.redacted) == (["session"], ["echo"])
    assert len(login.body()) == len(b'{"session": "s3ss10n-0123456789", "user": 1}')
    assert login.body().endswith(b'", "user": 1}')
    assert all(b"s3ss10n" not in found.body() for found in stored)


def test_a_login_of_the_answers_own_field_is_no_secret_of_another_endpoint(tmp_path: Path) -> None:
    venue = Talkative()
    kept = keeping.redact_answer(venue, "/prices", None, [], b'{"session": "asia"}')
    assert (kept.body, kept.replaced) == (b'{"session": "asia"}', [])
    absent = keeping.redact_answer(venue, "/login", None, [], b'{"error": 1}')
    assert (absent.body, absent.replaced) == (b'{"error": 1}', [])


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("Basic " + base64.b64encode(b"me:p:w").decode(), {"me", "p:w", "me:p:w"}),
        ("Basic this is not base64!", {"this is not base64!"}),
        ("Bearer abc", {"abc"}),
    ],
)
def test_a_basic_login_is_taken_apart_where_it_can_be(value: str, secrets: set[str]) -> None:
    venue = Venue("x", ())
    found, stored = keeping.request_secrets(venue, parse("GET", "https://h/x"), [("Authorization", value)])
    assert secrets <= set(found)
    assert value in found
    assert stored is None
