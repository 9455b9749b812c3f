"""Names of the tree: reversible, inside it, and never two for one or one for two."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pytest_marketreplay.cassette import names

HOSTILE = st.sampled_from(
    ["/", ".", "..", "_", "%", "%2F", "%2f", "%5F", "\\", "\0", "\n", ":", "ws", "ws_", "_all", "con", "NUL", "com1.", "~", " ",
     "é", "币", "\ud800", "\udcff", "\u2028", "x" * 150, "a"]
)  # fmt: skip
TEXT = st.lists(HOSTILE | st.characters(), max_size=6).map("".join)
PATHS = TEXT.map(lambda text: "/" + text)
SAFE = re.compile(r"[A-Za-z0-9\-._%~\[\]]+")


def is_safe(name: str) -> bool:
    reserved = re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name)
    return bool(
        SAFE.fullmatch(name) and name[0] != "." and name[-1] != "." and len(name) < 255 and not reserved
    )  # fmt: skip


def is_whole(name: str) -> bool:
    """Whether the name can be turned back (one of more than 200 characters is cut, and ends in a digest)."""
    return "%~" not in name


@given(path=PATHS, websocket=st.booleans())
@example(path="/", websocket=False)
@example(path="/", websocket=True)
@example(path="//", websocket=True)
@example(path="/../../etc/passwd", websocket=False)
@example(path="/ws/btcusdt", websocket=False)
@example(path="/%2F", websocket=False)
def test_an_endpoint_has_a_safe_folder_and_comes_back_from_it(path, websocket):
    folder = names.endpoint_folder(path, websocket=websocket)
    assert is_safe(folder)
    assert folder.startswith("ws_") == websocket
    if is_whole(folder):
        assert names.endpoint_of(folder) == (path, websocket)


@given(first=st.tuples(PATHS, st.booleans()), second=st.tuples(PATHS, st.booleans()))
def test_two_endpoints_never_share_a_folder(first, second):
    assume(first != second)
    assert names.endpoint_folder(first[0], websocket=first[1]) != names.endpoint_folder(second[0], websocket=second[1])


@given(rest=TEXT)
def test_a_rest_path_below_ws_is_not_the_websocket_of_that_path(rest):
    assert names.endpoint_folder(f"/ws/{rest}") != names.endpoint_folder(f"/{rest}", websocket=True)


@given(symbol=st.none() | TEXT)
@example(symbol="")
@example(symbol="_all")
@example(symbol="\0")
def test_a_symbol_has_a_safe_folder_and_comes_back_from_it(symbol):
    folder = names.symbol_folder(symbol)
    assert is_safe(folder)
    assert (folder == "_all") == (symbol is None)
    if is_whole(folder) and symbol != "\0":
        assert names.symbol_of(folder) == symbol


@given(first=TEXT, second=TEXT)
def test_two_names_never_share_a_folder(first, second):
    assume(first != second)
    assume({first, second} != {"", "\0"})  # a NUL cannot stand in a request
    for folder in (names.symbol_folder, names.venue_folder, names.cassette_folder):
        assert folder(first) != folder(second)
        assert is_safe(folder(first))


@given(venue=TEXT, path=PATHS, symbol=st.none() | TEXT)
def test_a_file_stays_in_the_tree(venue, path, symbol, tmp_path_factory):
    root = tmp_path_factory.getbasetemp() / "root"
    place = root / names.venue_folder(venue) / names.endpoint_folder(path) / names.symbol_folder(symbol)
    assert place.resolve().relative_to(root.resolve()).parts == place.relative_to(root).parts
    assert len(place.relative_to(root).parts) == 3


def test_long_names_are_cut_and_stay_apart():
    stem = "/" + "a" * 300
    folders = {names.endpoint_folder(stem + end) for end in ("x", "y", "/", "")}
    assert len(folders) == 4
    assert all(len(folder) <= 200 for folder in folders)
    assert "%" not in names.endpoint_folder("/" + "é" * 100)[:-34].rpartition("%")[2]  # never cut inside an escape


@pytest.mark.parametrize(
    ("endpoint", "websocket", "folder"),
    [
        ("/api/v3/depth", False, "api_v3_depth"),
        ("/public/Depth", False, "public_Depth"),
        ("/stream", True, "ws_stream"),
        ("/ws/btcusdt@trade", False, "%77s_btcusdt%40trade"),
        ("/ws_x", False, "ws%5Fx"),
        ("/", False, "%2F"),
        ("/", True, "ws_"),
        ("/.hidden", False, "%2Ehidden"),
        ("/con", False, "%63on"),
    ],
)
def test_endpoint_folders_of_the_specification(endpoint, websocket, folder):
    assert names.endpoint_folder(endpoint, websocket=websocket) == folder
    assert names.endpoint_of(folder) == (endpoint, websocket)


@pytest.mark.parametrize(
    ("symbol", "folder"),
    [("BTCUSDT", "BTCUSDT"), ("BTC-USD", "BTC-USD"), ("BTC_USD", "BTC_USD"), ("_all", "%5Fall"), ("", "%00"), (None, "_all")],
)  # fmt: skip
def test_symbol_folders_of_the_specification(symbol, folder):
    assert names.symbol_folder(symbol) == folder
    assert names.symbol_of(folder) == symbol


def test_a_venue_with_a_port_and_a_test_with_brackets_stay_readable():
    assert names.venue_folder("127.0.0.1:8080") == "127.0.0.1%3A8080"
    assert names.cassette_folder("test_depth[BTC-1.5]") == "test_depth[BTC-1.5]"
    assert names.cassette_folder("test_x[a/b]") == "test_x[a%2Fb]"


def test_a_recording_is_named_by_its_start_in_utc():
    assert names.file_stem(1_759_399_200_999_999_999) == "2025-10-02T10-00-00"


def test_files_sort_by_time_then_number_then_foreign_names():
    ordered = [
        "2025-10-02T09-59-59.jsonl.gz",
        "2025-10-02T10-00-00.jsonl",
        "2025-10-02T10-00-00-2.jsonl.zst",
        "2025-10-02T10-00-00-10.jsonl",
        "a.jsonl",
        "b.jsonl.gz",
    ]
    assert sorted({*ordered}, key=names.file_order) == ordered


@pytest.mark.parametrize(
    "name", [".x.jsonl", "x.json", "x.jsonl.torn", "x.jsonl.damaged", "x.jsonl.bz2", "plan.json", "x.jsonl.zst.tmp"]
)
def test_other_files_are_no_cassette_files(name):
    assert names.file_order(name) is None
