"""The encoders written by hand, against the real decoders."""

from __future__ import annotations

import gzip
import importlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.exchange.encodings import ENCODERS, brotli_stored, zstd_stored

bodies = st.binary(max_size=300) | st.integers(0, 300_000).map(lambda size: bytes(range(256)) * (size // 256 + 1))


@settings(max_examples=30, deadline=None)
@given(bodies)
def test_a_stored_brotli_stream_decodes_to_the_same_bytes(body: bytes) -> None:
    brotli = pytest.importorskip("brotli", reason="the reference decoder is not installed")
    assert brotli.decompress(brotli_stored(body)) == body


@settings(max_examples=30, deadline=None)
@given(bodies)
def test_a_stored_zstd_frame_decodes_to_the_same_bytes(body: bytes) -> None:
    zstandard = pytest.importorskip("zstandard", reason="the reference decoder is not installed")
    assert zstandard.ZstdDecompressor().decompress(zstd_stored(body)) == body


def test_gzip_and_deflate_decode_and_are_the_same_every_time() -> None:
    assert gzip.decompress(ENCODERS["gzip"](b"book")) == b"book"
    assert zlib.decompress(ENCODERS["deflate"](b"book")) == b"book"
    assert ENCODERS["gzip"](b"book") == ENCODERS["gzip"](b"book")
    assert ENCODERS["identity"](b"book") == b"book"


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 2**17, 2**17 + 1])
def test_block_borders_hold(size: int) -> None:
    body = b"x" * size
    for name, encode in {"brotli": brotli_stored, "zstandard": zstd_stored}.items():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        decode = module.decompress if name == "brotli" else module.ZstdDecompressor().decompress
        assert decode(encode(body)) == body
