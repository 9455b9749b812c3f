"""Corners of reading, writing and redacting that no ordinary recording turns."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import reader
from pytest_marketreplay.cassette.entry import Meta, NotAnEntry
from pytest_marketreplay.cassette.index import Index
from pytest_marketreplay.cassette.payload import Payload
from pytest_marketreplay.cassette.redaction import Rules
from pytest_marketreplay.cassette.request import WHOLE, parse
from pytest_marketreplay.cassette.writer import end_torn_line

LINE = entries.write_line(1_759_399_200_000, "/api/v3/depth", b'{"symbol":"BTCUSDT"}', Meta(), Payload(b'{"bids":[]}'))


@pytest.mark.parametrize("half", [rb'"\ud800"', rb'{"a":"\ud83d"}', rb'["\uD800"]'])
def test_half_of_a_surrogate_pair_at_the_end_is_not_told_as_a_cut_line_alone(half: bytes) -> None:
    with pytest.raises(NotAnEntry, match="half of a surrogate pair"):
        entries.read_head(LINE.rstrip(b"\n").replace(b'{"bids":[]}', half))


@pytest.mark.parametrize("collects", [True, False])
def test_loading_an_index_leaves_the_collection_of_garbage_as_it_was(tmp_path: Path, collects: bool) -> None:
    file = tmp_path / "one.jsonl"
    file.write_bytes(LINE)
    before = gc.isenabled()
    index = Index(lambda head: head.endpoint)
    try:
        gc.enable() if collects else gc.disable()
        index.load([file])
        assert gc.isenabled() is collects
    finally:
        gc.enable() if before else gc.disable()
        index.close()
    assert len(index) == 1


def test_a_whole_last_entry_without_its_line_feed_gets_it_and_is_not_put_aside(tmp_path: Path) -> None:
    file = tmp_path / "hand-made.jsonl"
    file.write_bytes(LINE + LINE.rstrip(b"\n"))
    assert end_torn_line(file) == 0
    assert file.read_bytes() == LINE * 2
    assert len(list(reader.read(file))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["hand-made.jsonl"]


def test_a_text_body_keeps_innocent_names_and_what_is_redacted_already() -> None:
    text = '{"price": NaN, "apiKey": "TOP-SECRET-1", "side": "BUY"}'
    found: list[str] = []
    once = Rules().redact_text(text, found)
    assert found == ["TOP-SECRET-1"]
    assert "TOP-SECRET-1" not in once
    assert '"price": NaN' in once
    assert '"side": "BUY"' in once
    again: list[str] = []
    assert Rules().redact_text(once, again) == once
    assert again == []


def test_a_body_of_several_lines_is_no_form_although_it_has_equals_signs() -> None:
    asked = parse("POST", "https://h/x", "a=1&b=2\nc=3")
    assert (asked.params, asked.body_kind) == (((WHOLE, "a=1&b=2\nc=3"),), "text")


def test_a_token_in_a_path_is_taken_out_and_is_a_secret() -> None:
    token = "123456789:" + "AbCdEfGhIjKlMnOpQrStUvWxYz"
    asked = parse("GET", f"https://api.telegram.org/bot{token}/getMe")
    assert asked.path == "/botREDACTED/getMe"
    assert asked.path_secrets == (token,)


def test_a_listen_key_that_was_played_stands_in_a_path_as_the_short_placeholder() -> None:
    played = ("REDACTED" * 9)[:64]
    assert parse("GET", f"https://h/ws/{played}").path == "/ws/REDACTED"
    assert parse("GET", f"https://h/ws/{played}/more").path == "/ws/REDACTED/more"


def test_a_multipart_body_is_redacted_the_same_whether_or_not_the_secrets_are_asked_for() -> None:
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    text = part.format("apiKey", "TOP-SECRET-1") + part.format("symbol", "BTCUSDT") + "--b--\r\n"
    found: list[str] = []
    clean = Rules().redact_text(text, found)
    assert Rules().redact_text(text) == clean
    assert found == ["TOP-SECRET-1"]
    assert "TOP-SECRET-1" not in clean
    assert part.format("symbol", "BTCUSDT") in clean
