"""The index of a place against a naive model: a list that is scanned."""

from __future__ import annotations

import gzip
import os

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import index as index_module
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.index import Index
from pytest_marketreplay.cassette.payload import Payload, encode
from pytest_marketreplay.errors import DamagedCassette

PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
RECORDED = st.tuples(st.integers(0, 12), st.sampled_from("abc"), st.binary(max_size=6))
FILES = st.lists(st.tuples(st.lists(RECORDED, max_size=8), st.sampled_from(["", ".gz", ".zst"])), max_size=12)


def key_of(head: entries.Head) -> str:
    return head.endpoint


def model(recorded: list[list[tuple[int, str, bytes]]]) -> dict[str, list[bytes]]:
    """Per key: by time across files, where a file's time never runs back; by file and line where times are equal."""
    rows = []
    for number, file in enumerate(recorded):
        latest = 0
        for line, (time, key, body) in enumerate(file):
            latest = max(latest, time)
            rows.append((latest, number, line, key, body))
    out: dict[str, list[bytes]] = {}
    for _, _, _, key, body in sorted(rows):
        out.setdefault(f"/{key}", []).append(body)
    return out


@settings(max_examples=120)
@given(recorded=FILES)
def test_the_index_gives_what_a_scan_of_all_lines_gives(recorded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    paths = []
    for number, (file, ending) in enumerate(recorded):
        path = folder / f"2025-10-02T10-00-00-{number + 1}.jsonl{ending}"
        lines = (entries.write_line(time, f"/{key}", b"{}", Meta(), encode(body)) for time, key, body in file)
        path.write_bytes(PACK[ending](b"".join(lines)))
        paths.append(path)
    index = Index(key_of)
    index.load(paths)
    found = {key: [index.answer(slot)[1] for slot in slots] for key, slots in index.slots.items()}
    assert found == model([file for file, _ in recorded])
    assert len(index) == sum(len(file) for file, _ in recorded)
    assert len(index._open) <= index_module._MOST_OPEN
    index.close()
    assert {key: [index.entry(slot).body() for slot in slots] for key, slots in index.slots.items()} == found
    index.close()


def test_a_slot_knows_its_file_and_line(tmp_path):
    paths = []
    for number in (1, 2):
        path = tmp_path / f"2025-10-02T10-00-0{number}.jsonl"
        path.write_bytes(b"".join(entries.write_line(number, "/x", b"{}", Meta(), Payload(b"1")) for _ in range(2)))
        paths.append(path)
    index = Index(key_of)
    index.load(paths)
    assert [index.where(slot) for slot in range(4)] == [(paths[0], 1), (paths[0], 2), (paths[1], 1), (paths[1], 2)]
    index.close()


@pytest.mark.parametrize(
    ("line", "body", "status"),
    [
        (
            b'{"timestamp":1,"endpoint":"/x","params":{},"response":{"status":201},"meta":{"status":201}}',
            b'{"status":201}',
            201,
        ),
        (
            b'{"timestamp":1,"endpoint":"/x","params":{"a":1},"meta":{"status":202},"response": {"a":1} }',
            b'{"a":1}',
            202,
        ),
        (b'{"meta":{"status":203},"timestamp":1,"endpoint":"/x","response":{"a":1},"params":{"a":1}}', b'{"a":1}', 203),
        (b'{"timestamp":1,"endpoint":"/x","params":{},"response":1,"response":2}', b"2", 200),
        (b'{"timestamp":1,"endpoint":"/x","params":{},"meta":{"status":204},"response":1,"z":"\\"1"}', b"1", 204),
        (b'{"timestamp":1,"endpoint":"/x","params":{},"meta":{"status":205},"response": [1]}', b"[1]", 205),
    ],
)
def test_a_payload_is_found_wherever_it_stands_in_the_line(line, body, status, tmp_path):
    path = tmp_path / "2025-10-02T10-00-00.jsonl"
    path.write_bytes(line + b"\n")
    index = Index(key_of)
    index.load([path])
    meta, found = index.answer(0)
    assert (found, meta.status) == (body, status)
    index.close()


@pytest.mark.parametrize("as_last", [True, False])
def test_meta_that_is_not_of_the_format_is_damage_with_file_and_line(as_last, tmp_path):
    good = entries.write_line(1, "/x", b"{}", Meta(), Payload(b"1"))
    bad = (
        good.replace(b"200", b'"x"')
        if as_last
        else b'{"response":1,"timestamp":1,"endpoint":"/x","params":{},"meta":{"status":"x"}}\n'
    )
    path = tmp_path / "2025-10-02T10-00-00.jsonl"
    path.write_bytes(good + bad)
    index = Index(key_of)
    index.load([path])
    assert index.answer(0)[1] == b"1"
    with pytest.raises(DamagedCassette) as caught:
        index.answer(1)
    assert (caught.value.path, caught.value.line, caught.value.byte) == (path, 2, len(good))
    index.close()


def test_a_file_that_changed_since_it_was_indexed_is_damage_not_another_answer(tmp_path):
    path = tmp_path / "2025-10-02T10-00-00.jsonl"
    path.write_bytes(entries.write_line(1, "/x", b"{}", Meta(), Payload(b'{"a":1}')))
    index = Index(key_of)
    index.load([path])
    os.truncate(path, 30)
    with pytest.raises(DamagedCassette):
        index.answer(0)
    index.close()


def test_a_file_that_is_cut_off_while_it_is_played_is_damage_not_a_shorter_body(tmp_path):
    path = tmp_path / "2025-10-02T10-00-00.jsonl"
    whole = entries.write_line(1, "/a", b"{}", Meta(), Payload(b'{"price":"4.00000000"}'))
    path.write_bytes(whole)
    index = Index(key_of)
    index.load([path])
    os.truncate(path, len(whole) - 8)
    with pytest.raises(DamagedCassette, match="line 1"):
        index.answer(0)
    index.close()
