"""Bodies: whatever bytes vcrpy wrote come back, and content encodings are undone where they are still there."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import brotli
import pytest
import yaml
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_marketreplay.bridge import encodings
from pytest_marketreplay.bridge.importing import ImportReport, import_cassettes
from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.cassette.entry import Entry

# `gzip.compress` would write the time, and xdist wants the same parameters in each worker
packed_by_gzip = partial(gzip.compress, mtime=0)
URL = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT"
GOOD: dict[str, Any] = {
    "request": {"method": "GET", "uri": URL, "body": None, "headers": {}},
    "response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": "{}"}},
}


def interaction(request: dict[str, Any] | None = None, response: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"request": {**GOOD["request"], **(request or {})}, "response": {**GOOD["response"], **(response or {})}}


def imported(folder: Path, *items: Any, name: str = "old.yaml") -> tuple[list[Entry], ImportReport]:
    old = folder / name
    content = {"interactions": list(items), "version": 1}
    old.write_text(yaml.safe_dump(content) if name.endswith("yaml") else json.dumps(content))
    report = import_cassettes([old], folder / "new")
    return [entry for file in files.all_files(folder / "new") for entry in reader.read(file)], report


BODIES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet="\r\n\t\x00\x7f\x85\u2028\u2029\ufeff\ufffe😀 -#:'\"", max_size=40).map(str.encode),
    st.recursive(st.none() | st.floats() | st.text(max_size=8), st.lists).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=100)
@given(st.lists(BODIES, min_size=1, max_size=4), st.sampled_from(["yaml", "json"]))
@example([b"\r\n", b"\xef\xbb\xbf{}", "\x85".encode()], "yaml")
@example([b"\r", b"=", b"2020-01-01", b"null", b"0x10"], "json")
def test_whatever_vcrpy_writes_imports_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], serializer: str
) -> None:
    from vcr.request import Request
    from vcr.serialize import serialize
    from vcr.serializers import jsonserializer, yamlserializer

    if serializer == "json":  # it refuses what is not UTF-8
        bodies = [body.decode("utf-8", "replace").encode() for body in bodies]
    folder = tmp_path_factory.mktemp("any")
    old = folder / f"old.{serializer}"
    response = {"status": {"code": 200, "message": "OK"}, "headers": {"X": ["y"]}}
    written = serialize(
        {
            "requests": [Request("GET", URL, None, {}) for _ in bodies],
            "responses": [{**response, "body": {"string": body}} for body in bodies],
        },
        yamlserializer if serializer == "yaml" else jsonserializer,
    )
    with old.open("w") as out:  # as vcrpy's persister opens it
        out.write(written)
    import_cassettes([old], folder / "new")
    (file,) = files.all_files(folder / "new")
    assert [entry.body() for entry in reader.read(file)] == bodies


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def two_frames(body: bytes) -> bytes:
    pack = zstandard.ZstdCompressor().compress
    return pack(body[: len(body) // 2]) + pack(body[len(body) // 2 :])


def two_members(body: bytes) -> bytes:
    return packed_by_gzip(body[: len(body) // 2]) + packed_by_gzip(body[len(body) // 2 :]) + b"\0\0"


CODINGS = {
    "gzip": packed_by_gzip,
    "x-gzip": two_members,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "ZSTD": two_frames,
    "br, gzip": lambda body: packed_by_gzip(brotli.compress(body)),
    "identity": bytes,
}


@pytest.mark.parametrize("coding", sorted(CODINGS))
@given(body=st.binary(min_size=1, max_size=200) | st.just(b'{"a":1}'))
def test_an_encoding_is_undone_and_the_headers_say_so(coding: str, body: bytes) -> None:
    packed = CODINGS[coding](body)
    headers = [("Content-Encoding", coding), ("Content-Length", str(len(packed))), ("X", "y")]
    plain = encodings.undo(headers, packed, bodiless=False)
    assert plain.body == body
    assert ("X", "y") in plain.headers
    assert ("Content-Length", str(len(body))) in plain.headers
    if coding != "identity":
        assert "Content-Encoding" not in dict(plain.headers)
        assert plain.undone == coding


@pytest.mark.parametrize("coding", sorted(CODINGS))
@pytest.mark.parametrize("body", [b'{"a": 1}', b"plain text", "naïve\n".encode(), b"\x89PNG\r\n\x1a\n\0\0"])
def test_a_body_that_is_plain_already_stays_and_the_header_goes(coding: str, body: bytes) -> None:
    """As aiohttp gave it to vcrpy: undone, the headers as they came."""
    for length in ([], [("Content-Length", "4711")]):
        plain = encodings.undo([("content-encoding", coding), *length], body, bodiless=False)
        assert plain.body == body
        assert plain.left is None
        if coding != "identity":
            assert "content-encoding" not in dict(plain.headers)
        assert dict(plain.headers).get("Content-Length", str(len(body))) == str(len(body))


@pytest.mark.parametrize(
    "coding, body",
    [
        ("gzip", packed_by_gzip(b"x" * 1000)[:-9]),
        ("gzip", b"\x1f\x8b\x08\xff\xff\xff"),
        ("zstd", zstandard.ZstdCompressor().compress(b"x" * 1000)[:-2]),
        ("deflate", zlib.compress(bytes(range(256)) * 9)[:-9]),
        ("zstd", zstandard.ZstdCompressor(write_checksum=True).compress(b"x" * 99)[:-1] + b"?"),
        ("zstd", b"\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff"),
        ("aws-chunked", b"4\r\nabcd"),
    ],
)
def test_a_body_that_cannot_be_undone_stays_with_its_header_and_is_counted(
    coding: str, body: bytes, tmp_path: Path
) -> None:
    response = {"headers": {"Content-Encoding": [coding]}, "body": {"string": body}}
    (entry,), report = imported(tmp_path, interaction(response=response))
    assert entry.body() == body
    assert entry.meta.headers == {"Content-Encoding": coding}
    assert report.left_encoded == 1
    assert "1 bodies stay compressed" in str(report)


def test_what_only_looks_like_deflate_is_plain() -> None:
    body = zlib.compress(b"inner") + b"\xff trailer"
    assert encodings.undo([("content-encoding", "deflate")], body, bodiless=False).body == body


def test_without_brotli_text_is_plain_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    headers = [("content-encoding", "br")]
    assert encodings.undo(headers, b"text", bodiless=False) == encodings.Plain([], b"text", undone="br")
    packed = brotli.compress(b"\xff" * 100)
    assert encodings.undo(headers, packed, bodiless=False) == encodings.Plain(headers, packed, left="br")


def test_an_error_that_is_not_brotlis_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(body: bytes) -> bytes:
        raise MemoryError

    monkeypatch.setattr(brotli, "decompress", explode)
    with pytest.raises(MemoryError):
        encodings.undo([("content-encoding", "br")], b"\xff\xfe", bodiless=False)


def test_a_length_that_is_not_true_is_mended_but_not_where_there_is_no_body() -> None:
    headers = [("Content-Length", "99")]
    assert encodings.undo(headers, b"edited by hand", bodiless=False).headers == [("Content-Length", "14")]
    assert encodings.undo(headers, b"", bodiless=False).headers == [("Content-Length", "0")]
    assert encodings.undo([*headers, ("Content-Encoding", "gzip")], b"", bodiless=True).headers == [
        *headers,
        ("Content-Encoding", "gzip"),
    ]
