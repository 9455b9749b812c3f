"""The log of a capture: where it goes, how a line looks, and that no secret is in it."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay import logs
from pytest_marketreplay.errors import CollectError, UsageMistake

LOG = logging.getLogger("pytest_marketreplay.collect.feed")
CANARY = "kX9-canary_4711.Zq"
BASE64 = "dXNlcjpjYW5hcnk0NzEx+/=="


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "made" / "collect.log"
    stop = logs.start(path)
    yield path
    stop()


# ---------------------------------------------------------------- secrets


SECRETS = {
    "a URL's user and password": f"GET https://bob:{CANARY}@example.org/depth",
    "a URL's password with a slash": f"redis://:{CANARY}/x{CANARY}@localhost:6379/0",
    "a URL's password with an at": f"s3://user:{CANARY}@{CANARY}@host/bucket",
    "a query parameter": f"GET /api/v3/order?symbol=BTCUSDT&signature={CANARY}&timestamp=1",
    "a query parameter named key": f"wss://example.org/ws?key={CANARY}",
    "a token": f"wss://example.org/ws?token={CANARY}#{CANARY}",
    "a URL within a URL": "to=" + quote(f"https://example.org/?a=1&token={CANARY}&b=2", safe=""),
    "a presigned URL": "PUT https://host/b/k?" + urlencode({"X-Amz-Credential": CANARY, "X-Amz-Signature": CANARY}),
    "a form": urlencode({"api_key": CANARY, "password": CANARY, "secretKey": CANARY}),
    "a header": f"Authorization: Bearer {CANARY}",
    "a header with blanks in it": f'Authorization: Digest username="a", response="{CANARY}"',
    "a cookie": f"Cookie: a=1; sid={CANARY}; b=2",
    "headers in a dictionary": str({"X-MBX-APIKEY": CANARY, "Accept": "*/*", "API-Sign": CANARY}),
    "headers in a list": repr([("Authorization", f"Basic {CANARY}"), ("KC-API-PASSPHRASE", CANARY)]),
    "headers as bytes": repr([(b"authorization", f"Token {CANARY}".encode()), (b"OK-ACCESS-KEY", CANARY.encode())]),
    "JSON": json.dumps({"op": "login", "args": [{"apiKey": CANARY, "passphrase": CANARY, "sign": CANARY}]}),
    "JSON with blanks": json.dumps({"secret": f"{CANARY} {CANARY}"}, indent=2),
    "JSON with quotes in it": json.dumps({"password": f'a"{CANARY}'}),
    "JSON in JSON": json.dumps({"body": json.dumps({"listenKey": CANARY, "x": 1})}),
    "JSON in a repr": repr(json.dumps({"token": f"it's {CANARY}"})),
    "JSON that is cut": json.dumps({"token": f"abc {CANARY}"})[:-2],
    "JSON in JSON that is cut": json.dumps({"body": json.dumps({"token": f"a {CANARY}"})})[:-5],
    "an object": json.dumps({"credentials": {"id": CANARY, "name": CANARY}}),
    "a list": f"secrets: [{CANARY}, {CANARY}]",
    "a value behind a name behind a name": f'["key", "apiSecret"], "key": "apiSecret": "{CANARY}"',
    "a value behind two names": f"token: apiSecret = {CANARY}",
    "an option": f"rclone copy --password {CANARY} --s3-secret-access-key {CANARY} a b",
    "an option in quotes": f"rclone --webdav-pass-token '{CANARY} {CANARY}' a b",
    "an option in a list": repr(["--password", CANARY, "-v"]),
    "a setting": f"password = {CANARY};{CANARY},{CANARY})",
    "a repr": f"Credentials(api_secret='{CANARY}', url='https://u:{CANARY}@h/')",
    "a bearer without a header": f"sent 'Bearer {CANARY}'",
    "a scheme without a header": f"sent Basic {BASE64}",
    "a JSON web token": f"got eyJhbGciOiJIUzI1NiJ9.{BASE64[:8]}.{BASE64[:12]}, which is old",
    "a private key": f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n{BASE64}\n-----END EC PRIVATE KEY-----",
    "a private key that is cut": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n{BASE64}\n",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_a_secret_in_a_message_is_not_logged(log: Path, text: str) -> None:
    LOG.warning(text)
    LOG.warning("sending %s to %r", text, text)
    LOG.warning("sending %(what)s", {"what": text})
    written = log.read_text(encoding="utf-8")
    assert written.count(" WARNING ") == 3
    assert logs.PLACEHOLDER in written
    for secret in (CANARY, BASE64, BASE64[:8]):
        assert secret not in written


class Refused(Exception):
    pass


def _send(url: str, headers: dict[str, str]) -> NoReturn:
    try:
        raise ConnectionError(f"cannot reach {url}")
    except ConnectionError as error:
        error.add_note(f"headers were {headers}")
        raise Refused(f"{url} with {headers}") from error


def test_a_secret_in_a_traceback_its_causes_and_its_notes_is_not_logged(log: Path) -> None:
    try:
        _send(f"https://u:{CANARY}@example.org/?api_key={CANARY}", {"Authorization": f"Bearer {CANARY}"})
    except Refused:
        LOG.exception("failed, token=%s", CANARY, stack_info=True)
    written = log.read_text(encoding="utf-8")
    assert "Refused: https://REDACTED@example.org/" in written
    assert "The above exception was the direct cause" in written
    assert "headers were {'Authorization': 'REDACTED'}" in written
    assert "Stack (most recent call last):" in written
    assert CANARY not in written


def test_other_handlers_see_the_record_as_it_was(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    LOG.warning("token=%s", CANARY)
    assert caplog.messages == [f"token={CANARY}"]
    assert CANARY not in log.read_text()


INNOCENT = [
    "wss://127.0.0.1:9443/ws/btcusdt@depth: connected",
    "ws://[::1]:8080/stream?streams=btcusdt@depth/ethusdt@trade",
    "GET /api/v3/depth?symbol=BTCUSDT&limit=100: 200 in 41.7 ms",
    "session_id=20260101T000000-ab12 session=3 code=1006 status: 429",
    "closed with code: -1003, author=me, monkeys=2",
    '{"bids":[["4.00000000","431.00000000"]],"asks":[],"lastUpdateId":1}',
    "basic information on the bearer",
    "designs: 3, the --pairs BTC-USDT,ETH-USDT at --interval 1.0",
    "('symbol', 'BTC-USDT')",
    "token=",
]


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert logs.redact(text) == text


@given(st.text())
def test_what_has_no_name_and_no_url_in_it_stays_as_it_is(text: str) -> None:
    plain = re.sub(r"[^ \n0-9äß]", "", text)
    assert logs.redact(plain) == plain


def value(alphabet: str) -> st.SearchStrategy[str]:
    return st.text(alphabet, max_size=8).map(lambda some: some + CANARY + some)


NAMES = ["token", "apiKey", "api_secret", "x-mbx-apikey", "signature", "password", "listenKey", "API-Sign", "key"]


@given(st.sampled_from(NAMES), value('ab"\\\n\t{}[]:=,&é\x00'), st.integers(0, 2))
def test_no_spelling_of_json_lets_a_value_through(name: str, secret: str, layers: int) -> None:
    text = json.dumps({"a": 1, name: secret, "b": [1, {"c": name}]})
    for _ in range(layers if '"' not in secret and "\\" not in secret else 0):
        text = json.dumps({"inner": text})
    assert CANARY not in logs.redact(text)
    assert CANARY not in logs.redact(f"sent {text}")


@given(st.sampled_from(NAMES), value("ab /?#&%=+é:@"))
def test_no_spelling_of_a_query_lets_a_value_through(name: str, secret: str) -> None:
    text = "https://example.org/?" + urlencode({"a": "1", name: secret, "b": "2"})
    assert CANARY not in logs.redact(text)
    assert CANARY not in logs.redact("to=" + quote(text, safe=""))


@pytest.mark.parametrize(
    "text",
    [
        "a" * 2_000_000,
        '"a":[' * 200_000,
        "token" * 200_000,
        "://a:" * 100_000,
        '\\"' * 300_000,
        "a=" * 300_000,
        "{" * 10**6,
    ],
    ids=lambda text: text[:6],
)
def test_a_hostile_message_costs_time_in_proportion_to_its_length(text: str) -> None:
    began = time.process_time()
    logs.redact(text)
    assert time.process_time() - began < 5  # 20 to 500 ms; what is quadratic takes minutes


def test_secrets_that_are_known_by_value_can_be_taken_out_too(tmp_path: Path) -> None:
    stop = logs.start(tmp_path / "log", scrub=lambda text: text.replace(CANARY, "***"))
    LOG.warning("the venue says %s", CANARY)
    stop()
    assert (tmp_path / "log").read_text().endswith("collect.feed: the venue says ***\n")


# ---------------------------------------------------------------- lines


def test_a_line_has_the_time_in_utc_the_level_and_the_name(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        record = logging.LogRecord(LOG.name, logging.INFO, "", 0, "ready: %d pairs", (2,), None)
        record.created = 1_767_225_600.5
        LOG.handle(record)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert log.read_text() == "2026-01-01T00:00:00.500Z INFO pytest_marketreplay.collect.feed: ready: 2 pairs\n"


def test_what_an_exchange_sends_cannot_look_like_a_line_of_the_log(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(logs.LOGGERS[0]), "propagate", False)  # xdist cannot send a lone surrogate
    LOG.warning("it said %s", "no\n2026-01-01T00:00:00.000Z ERROR forged\r\x1b[2J\x00\u2028\ud800\tend\n")
    first, second = log.read_text(encoding="utf-8").splitlines()
    assert first.endswith("feed: it said no")
    assert second == "    2026-01-01T00:00:00.000Z ERROR forged\\r\\x1b[2J\\x00\\u2028\\ud800\tend"


def test_what_was_read_from_a_backup_is_in_the_log_and_what_others_log_is_not(log: Path) -> None:
    logging.getLogger("pytest_marketreplay.documents").warning("from the backup")
    logging.getLogger("pytest_marketreplay.other").warning("not ours")
    logging.getLogger().warning("not ours")
    assert [line.partition(" ")[2] for line in log.read_text().splitlines()] == [
        "WARNING pytest_marketreplay.documents: from the backup"
    ]


@pytest.mark.parametrize(("level", "lines"), [("debug", 3), ("INFO", 2), (logging.WARNING, 1)])
def test_the_level_is_as_asked_and_stop_restores_what_was_before(tmp_path: Path, level: int | str, lines: int) -> None:
    before = [(name, logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in logs.LOGGERS]
    stop = logs.start(tmp_path / "log", level=level)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING):
        LOG.log(number, "a line")
    stop()
    stop()
    LOG.error("afterwards")
    assert len((tmp_path / "log").read_text().splitlines()) == lines
    assert [(name, logging.getLogger(name).level, logging.getLogger(name).handlers) for name in logs.LOGGERS] == before


# ---------------------------------------------------------------- files


def test_files_are_rotated_at_their_size_and_only_as_many_are_kept(tmp_path: Path) -> None:
    stop = logs.start(tmp_path / "log", max_bytes=1000, keep=2)
    for number in range(100):
        LOG.info("line %d", number)
    stop()
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1", "log.2"}
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    text = "".join((tmp_path / name).read_text() for name in ("log.2", "log.1", "log"))
    numbers = [int(line.rpartition(" ")[2]) for line in text.splitlines()]
    assert numbers == list(range(numbers[0], 100))


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_modes_are_644_and_750(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        stop = logs.start(tmp_path / "deep" / "logs" / "log", max_bytes=200)
        for number in range(10):
            LOG.info("line %d", number)
        stop()
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep" / "logs").iterdir()} == {0o644}
    for folder in (tmp_path / "deep", tmp_path / "deep" / "logs"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750 & ~umask


def test_a_second_run_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for number in range(2):
        stop = logs.start(tmp_path / "log")
        LOG.info("run %d", number)
        stop()
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_a_log_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "log", tmp_path / "file" / "deep" / "log"):
        with pytest.raises(CollectError, match=re.escape(str(path))):
            logs.start(path)
    with pytest.raises(UsageMistake, match="'loud' is no level of the log: it is one of debug, info"):
        logs.start(tmp_path / "log", level="loud")
    for options in ({"max_bytes": 0}, {"keep": 0}):
        with pytest.raises(UsageMistake, match="at least one file of at least one byte"):
            logs.start(tmp_path / "log", **options)  # type: ignore[arg-type]


class Full(io.TextIOWrapper):
    """A file on a disk that is full while `full` is set."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_lines_that_could_not_be_written_are_told_on_standard_error_and_counted_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = logs.start(tmp_path / "log")
    (files,) = logging.getLogger(logs.LOGGERS[0]).handlers
    assert isinstance(files, logging.FileHandler)
    files.stream.close()
    stream = Full((tmp_path / "log").open("ab"), encoding="utf-8")
    monkeypatch.setattr(files, "stream", stream)
    stream.full = True
    for _ in range(3):
        LOG.info("token=%s", CANARY)
    stream.full = False
    LOG.info("room again")
    LOG.info("and more")
    stop()
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.endswith("could not be written: [Errno 28] No space left on device\n")
    lines = [line.partition(" ")[2] for line in (tmp_path / "log").read_text().splitlines()]
    # each record behind the first failure found the disk full again when it told of it
    assert lines == [
        "ERROR pytest_marketreplay.collect: 3 lines of this log could not be written",
        "INFO pytest_marketreplay.collect.feed: room again",
        "INFO pytest_marketreplay.collect.feed: and more",
    ]


@pytest.mark.parametrize("stderr", [None, gzip.GzipFile(fileobj=io.BytesIO(), mode="r")], ids=["none", "unwritable"])
def test_a_log_call_with_wrong_arguments_shows_none_of_them_even_without_a_standard_error(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stderr: Any
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(logging.getLogger(), "handlers", [])  # those of pytest raise
        LOG.info("%d pairs", CANARY)
        LOG.info("fine")
        patched.setattr(sys, "stderr", stderr)
        LOG.info("%d pairs", CANARY)
    written = capsys.readouterr().err
    assert re.search(r"test_capture_log\.py:\d+ could not be written: TypeError\n$", written)
    assert CANARY not in written + log.read_text()
    assert "1 lines of this log could not be written" in log.read_text()
