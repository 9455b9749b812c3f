"""Payloads: any bytes in, the same bytes out, on one line that any JSON reader understands."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import payload
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.index import Index

SPACE = st.text(" \t\r\n", max_size=4).map(str.encode)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
DUMPED = st.builds(
    lambda value, ascii_, indent, separators: json.dumps(
        value, ensure_ascii=ascii_, indent=indent, separators=separators
    ).encode(),
    VALUES,
    st.booleans(),
    st.sampled_from([None, 0, 2]),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]),
)
PIECES = st.sampled_from(
    [
        *(b'{', b'}', b'[', b']', b'"', b":", b",", b"\\", b"\\u", b"\\ud800", b"\\/", b"null", b"true", b"NaN", b"0.10000000"),
        *(b"1E-8", b"-", b"01", b"\n", b"\r", b" ", b"\t", b"\0", b"\x7f", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8"),
        *("\u0085é😀".encode(), b"\xef\xbb\xbf", b'"a":1', b'"response":', b"//", b"'"),
    ]
)  # fmt: skip
NEARLY = st.lists(PIECES, max_size=8).map(b"".join)
BROKEN = st.builds(lambda data, at: data[: at % (len(data) + 1)], DUMPED, st.integers(0, 10_000))
DEEP = st.integers(0, 3_000).map(lambda depth: b"[" * depth + b"]" * depth)
BODIES = st.builds(
    lambda before, body, after: before + body + after,
    SPACE,
    st.binary() | DUMPED | NEARLY | BROKEN | DEEP | st.text().map(str.encode),
    SPACE,
)


def line_of(body: bytes, **meta: object) -> bytes:
    return entries.write_line(1, "/x", b"{}", Meta(**meta), payload.encode(body))


@given(body=BODIES)
@example(body=b"")
@example(body=b"   ")
@example(body=b'{"a":1,"a":2}')
@example(body=b"0.10000000")
@example(body=b"[" * 100_000 + b"]" * 100_000)
@example(body=b"\xef\xbb\xbf{}")
@example(body=b'"REDACTED"')
def test_any_bytes_come_back_from_a_line(body):
    line = line_of(body)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert entries.read_entry(line[:-1]).body() == body


@given(body=BODIES)
def test_what_stands_in_a_line_is_json_for_every_reader(body):
    line = line_of(body)
    assert b"\r" not in line
    try:
        found = json.loads(line, parse_int=str, parse_float=str, parse_constant=pytest.fail)
    except RecursionError:
        return
    assert list(found) == ["timestamp", "endpoint", "params", "meta", "response"]


@given(body=BODIES)
def test_a_body_that_is_json_on_one_line_stands_verbatim(body):
    core = body.strip(b" \t\r\n")
    try:
        json.loads(core.decode(), parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return
    if b"\n" in core or b"\r" in core or rb"\ud" in core.lower():
        return
    encoded = payload.encode(body)
    assert encoded.encoding == "json"
    assert encoded.fragment == core


@given(bodies=st.lists(BODIES, max_size=6))
def test_the_index_gives_the_same_bytes_as_were_recorded(bodies, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "2025-10-02T10-00-00.jsonl"
    path.write_bytes(b"".join(line_of(body, status=200 + number) for number, body in enumerate(bodies)))
    index = Index(lambda head: head.endpoint)
    index.load([path])
    assert [index.answer(slot)[1] for slot in range(len(index))] == bodies
    assert [index.answer(slot)[0].status for slot in range(len(index))] == list(range(200, 200 + len(bodies)))
    assert [index.entry(slot).body() for slot in range(len(index))] == bodies
    index.close()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b'{"a":0.10000000}', "json"),
        (b" [1]\n", "json"),
        (b"[1,\n2]", "text"),
        (b'{"a":1,\r\n"b":2}', "text"),
        (b"<html>", "text"),
        (b"", "text"),
        (b"  ", "text"),
        (b"NaN", "text"),
        (b'"\\ud800"', "text"),
        (b"\xef\xbb\xbf{}", "text"),
        (b"\xff", "base64"),
        (b'"\xff"', "base64"),
    ],
)
def test_the_encoding_that_meta_names(body, encoding):
    assert payload.encode(body).encoding == encoding
    assert (f'"encoding":"{encoding}"'.encode() in line_of(body)) == (encoding != "json")


@pytest.mark.parametrize(
    ("fragment", "encoding", "message"),
    [(b'"x"', "rot13", "rot13"), (b'"QUI"', "base64", "base64"), (b"{}", "text", "str"), (b"1", "base64", "str")],
)
def test_a_fragment_that_is_not_what_its_encoding_says_is_an_error(fragment, encoding, message):
    with pytest.raises(ValueError, match=message):
        payload.decode(fragment, encoding)
