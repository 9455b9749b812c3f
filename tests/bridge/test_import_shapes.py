"""Every shape that vcrpy's versions wrote, hostile files, and what cannot be imported."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay import Venue
from pytest_marketreplay.bridge.importing import ImportReport, NothingImported, import_cassettes
from pytest_marketreplay.bridge.writing import times
from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.cassette.entry import Entry
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.venues.registry import Registry

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


@pytest.mark.parametrize(
    "response, body",
    [
        ({"body": {"string": "é"}}, "é".encode()),
        ({"body": {"string": b"\xff\x00"}}, b"\xff\x00"),
        ({"body": {"string": None}}, b""),
        ({"body": {}}, b""),
        ({"body": None}, b""),
        ({"body": "plain"}, b"plain"),
        ({"body": {"string": "é", "encoding": "latin-1"}}, b"\xe9"),
        ({"body": {"string": "é", "encoding": "US-ASCII"}}, "é".encode()),
        ({"body": {"string": "é", "encoding": "no-such-thing"}}, "é".encode()),
        ({"body": {"base64_string": base64.b64encode(b"\x01\x02").decode(), "encoding": None}}, b"\x01\x02"),
    ],
)
def test_a_body_of_any_shape_is_the_bytes_that_were_sent(response: dict[str, Any], body: bytes, tmp_path: Path) -> None:
    (entry,), report = imported(tmp_path, interaction(response=response))
    assert entry.body() == body
    assert report.skipped == ()


def test_an_httpx_cassette_of_vcrpy_4_is_imported(tmp_path: Path) -> None:
    old = {
        "content": "{}",
        "http_version": "HTTP/2",
        "status_code": 429,
        "headers": {"Retry-After": "3", "x": ["1", "2"]},
    }
    (entry,), _ = imported(tmp_path, {"request": GOOD["request"], "response": old})
    assert (entry.body(), entry.meta.status, entry.meta.version) == (b"{}", 429, "2")
    assert entry.meta.headers == {"Retry-After": "3", "x": ["1", "2"]}


def test_headers_stand_as_lists_texts_or_unquoted_values(tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(
        "interactions:\n- request: {method: get, uri: 'https://api.kraken.com/0/public/Depth?pair=XBTUSD'}\n"
        "  response:\n    status: 418\n    headers: {a: 1.50, b: [x, 2], c: plain}\n    body: {string: ok}\n"
    )
    import_cassettes([old], tmp_path / "new")
    (file,) = files.all_files(tmp_path / "new")
    (entry,) = reader.read(file)
    assert file.parent == tmp_path / "new" / "kraken" / "public_Depth" / "BTC-USD"
    assert (entry.meta.method, entry.meta.status) == ("GET", 418)
    assert entry.meta.headers == {"a": "1.5", "b": ["x", "2"], "c": "plain"}


@pytest.mark.parametrize(
    "body, headers, params, kind",
    [
        ("a=1&b=%20", {}, {"a": "1", "b": " "}, "form"),
        (b"a=1", {}, {"a": "1"}, "form"),
        ('{"a": 1.10}', {}, {"a": 1.10}, "json"),
        ({"a": "1"}, {}, {"a": "1"}, "form"),
        ({"a": "1"}, {"Content-Type": ["application/json"]}, {"a": "1"}, "json"),
        ({"a": 1, "b": {"c": None}}, {}, {"a": 1, "b": {"c": None}}, "json"),
        (["x", "y"], {}, {"": ["x", "y"]}, "json"),
        ([b"a=", b"1"], {}, {"a": "1"}, "form"),
        ({"encoding": "utf-8", "string": "a=1"}, {}, {"a": "1"}, "form"),
        (7, {}, {"": "7"}, "text"),
        ("", {}, {}, None),
    ],
)
def test_a_request_body_of_any_shape_is_matched_as_it_was_sent(
    body: Any, headers: dict[str, Any], params: dict[str, Any], kind: str | None, tmp_path: Path
) -> None:
    request = {"method": "POST", "uri": "https://api.binance.com/api/v3/x", "body": body, "headers": headers}
    (entry,), _ = imported(tmp_path, interaction(request))
    assert {name: float(value) if str(value) == "1.10" else value for name, value in entry.params.items()} == params
    assert entry.meta.body == kind


def test_the_harmless_tags_of_vcrpy_are_read(tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(
        "interactions:\n"
        + "".join(
            f"- request: {{method: POST, uri: 'https://h.example/{number}', body: {body}}}\n"
            "  response: {status: {code: 200}, headers: {}, body: {string: !!python/unicode 'ok'}}\n"
            for number, body in enumerate(
                (
                    "!!python/object/new:_io.BytesIO {state: !!python/tuple [!!binary YT0x, 0, null]}",
                    "!!python/object/new:_io.BytesIO {state: !!python/tuple ['a=1', 0, null]}",
                    "!!python/object/apply:builtins.iter {args: [[!!binary YT0=, !!binary MQ==]]}",
                    "[!!python/tuple [a, '1']]",
                    "!!python/str 'a=1'",
                )
            )
        )
    )
    report = import_cassettes([old], tmp_path / "new")
    assert report.skipped == ()
    read = [entry for file in files.all_files(tmp_path / "new") for entry in reader.read(file)]
    assert [entry.params for entry in read] == [{"a": "1"}] * 5
    assert {entry.body() for entry in read} == {b"ok"}


@pytest.mark.parametrize(
    "text, said",
    [
        ("!!python/object/apply:os.system ['echo pwned > {there}']", "not trusted"),
        ("interactions: [!!python/object/apply:builtins.open ['{there}', w]]", "not trusted"),
        ("interactions: [!!python/name:os.system '']", "not trusted"),
        ("interactions: [!!python/object/new:_io.BytesIO {{state: [{{a: 1}}]}}]", "not trusted"),
        ("[" * 100_000, "nested too deeply"),
        ("interactions: " + "[" * 100_000, "nested too deeply"),
        ('{{"interactions": ' + "[" * 100_000, "nested too deeply"),
        ("- " * 50_000 + "x", "nested too deeply"),
        ("interactions: [unclosed", "not YAML"),
        ("interactions: 2020-13-45", "not YAML"),
        ('{{"interactions": [}}', "not JSON"),
        ("", "empty"),
        (" \n", "empty"),
        ("just text", "no interactions"),
        ("a: 1", "no list of interactions"),
        ("interactions: []\nversion: 2", "version '2'"),
    ],
)
def test_a_hostile_or_foreign_file_is_refused_and_says_why(text: str, said: str, tmp_path: Path) -> None:
    there = tmp_path / "pwned"
    (tmp_path / "old.yaml").write_text(text.format(there=there) if "{there}" in text or "{{" in text else text)
    with pytest.raises(NothingImported, match=said) as raised:
        import_cassettes([tmp_path / "old.yaml"], tmp_path / "new")
    assert raised.value.skipped[0].path == tmp_path / "old.yaml"
    assert not there.exists()
    assert not (tmp_path / "new").exists()


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_bytes(b"a: \xff\xfe\xfd")
    with pytest.raises(NothingImported, match="not YAML"):
        import_cassettes([tmp_path / "old.yaml"], tmp_path / "new")


def test_aliases_that_blow_up_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [xxxxxxxx,xxxxxxxx,xxxxxxxx,xxxxxxxx,xxxxxxxx,xxxxxxxx,xxxxxxxx,xxxxxxxx,xxxxxxxx]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    lines.append(
        f"interactions: [{{request: {{method: POST, uri: '{URL}', body: {{x: *a11}}}}, response: {{status: 200}}}}]"
    )
    (tmp_path / "old.yaml").write_text("\n".join(lines))
    with pytest.raises(NothingImported, match="larger than 4 MiB"):
        import_cassettes([tmp_path / "old.yaml"], tmp_path / "new")


OLDEST = [
    {
        "request": {
            "body": None, "headers": {"accept": "*/*"}, "host": "api.binance.com", "method": "GET",
            "path": "/api/v3/time", "port": 443, "protocol": "https",
        },
        "response": {
            "body": {"string": '{"serverTime":1}'}, "headers": ["content-type: application/json\r\n"],
            "status": {"code": 200, "message": "OK"},
        },
    }
]  # fmt: skip


def test_the_oldest_format_says_how_to_convert_it_and_the_advice_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps(OLDEST))
    with pytest.raises(NothingImported, match=r"before 1\.0.*python -m vcr\.migration"):
        import_cassettes([old], tmp_path / "new")

    from vcr import migration

    monkeypatch.setattr(sys, "argv", ["migration", str(old)])
    migration.main()
    assert "[OK]" in capsys.readouterr().err
    assert import_cassettes([old], tmp_path / "new").entries == 1


def test_the_oldest_yaml_is_known_by_its_tags(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("- request: !!python/object:vcr.request.Request {body: null}\n  response: {}\n")
    with pytest.raises(NothingImported, match=r"before 1\.0"):
        import_cassettes([tmp_path / "old.yaml"], tmp_path / "new")


@pytest.mark.parametrize(
    "item, said",
    [
        ("text", "no request"),
        ({"request": 1}, "no request"),
        ({"request": {}, "response": None}, "no response"),
        (interaction({"method": None}), "no method"),
        (interaction({"uri": None}), "no uri"),
        (interaction({"uri": "/api/v3/depth"}), "not that of an HTTP request"),
        (interaction({"uri": "wss://ws.kraken.com/"}), "not that of an HTTP request"),
        (interaction({"uri": "https://user:hunter2secret@h:port/"}), "cannot be read"),
        (interaction({"uri": "https://[::1/"}), "cannot be read"),
        (interaction({"body": datetime(2025, 1, 1)}), "body is a datetime"),
        (interaction({"headers": 5}), "headers cannot be read"),
        (interaction({"headers": {"a": [None]}}), "headers cannot be read"),
        (interaction({"body": {"a": b"bytes"}}), "body is not JSON"),
        (interaction(response={"status": {}}), "no status"),
        (interaction(response={"status": "fine"}), "no status"),
        (interaction(response={"status": 7}), "no status"),
        (interaction(response={"body": {"other": 1}}), "body cannot be read"),
        (interaction(response={"body": {"string": 5}}), "neither text nor bytes but int"),
        (interaction(response={"body": {"base64_string": "a"}}), "not base64"),
        (interaction(response={"body": {"base64_string": 5}}), "not base64"),
    ],
)
def test_what_cannot_be_imported_is_named_and_the_rest_is_kept(item: Any, said: str, tmp_path: Path) -> None:
    read, report = imported(tmp_path, GOOD, item, GOOD)
    assert len(read) == report.entries == 2
    (skipped,) = report.skipped
    assert (skipped.path, skipped.interaction) == (tmp_path / "old.yaml", 2)
    assert said in skipped.reason
    assert "interaction 2: " in str(report)
    assert "hunter2secret" not in str(report)


@pytest.mark.parametrize(
    "bad",
    [{"uri": URL + "\ud800"}, {"headers": {"\ud800": "\ud800"}}, {"body": "\ud800"}, {"body": {"\ud800": ["\ud800"]}}],
)
def test_text_that_is_no_unicode_spoils_nothing_else(bad: dict[str, Any], tmp_path: Path) -> None:
    odd = {"status": {"code": 200, "message": "\ud800"}, "headers": {"a\ud800": ["b\ud800"]}}
    read, report = imported(tmp_path, GOOD, interaction(bad, odd), GOOD, name="old.json")
    assert len(read) == report.entries == 3 - len(report.skipped)
    assert [entry.body() for entry in read] == [b"{}"] * report.entries


def test_a_text_that_no_encoding_can_write_is_named(tmp_path: Path) -> None:
    _, report = imported(tmp_path, GOOD, interaction(response={"body": {"string": "\ud800"}}), name="old.json")
    assert "UTF-8" in report.skipped[0].reason


def test_a_body_that_contains_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(
        f"interactions: [{{request: {{method: POST, uri: '{URL}', body: &a {{x: *a}}}}, response: {{status: 200}}}}]"
    )
    with pytest.raises(NothingImported, match="not JSON"):
        import_cassettes([tmp_path / "old.yaml"], tmp_path / "new")


def test_many_reasons_are_told_in_short(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.yaml").write_text("")
    with pytest.raises(NothingImported, match="and 2 more"):
        import_cassettes([tmp_path], tmp_path / "new")


def test_an_empty_folder_is_an_error_and_an_empty_cassette_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingImported, match="there is no cassette"):
        import_cassettes([tmp_path / "empty"], tmp_path / "new")
    read, report = imported(tmp_path)
    assert (read, report.files, report.entries) == ([], 1, 0)


def test_a_source_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match="there is no cassette"):
        import_cassettes([tmp_path / "typo.yaml"], tmp_path / "new")


def test_an_existing_cassette_is_added_to_only_where_that_is_said(tmp_path: Path) -> None:
    imported(tmp_path, GOOD)
    before = {file: file.read_bytes() for file in files.all_files(tmp_path / "new")}
    with pytest.raises(UsageMistake, match="--add"):
        import_cassettes([tmp_path / "old.yaml"], tmp_path / "new")
    assert import_cassettes([tmp_path / "old.yaml"], tmp_path / "new", add=True).entries == 1
    after = {file: file.read_bytes() for file in files.all_files(tmp_path / "new")}
    assert len(after) == 2
    assert before.items() <= after.items()


def test_a_failed_import_leaves_nothing_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(tmp_path, GOOD)
    before = {file: file.read_bytes() for file in files.all_files(tmp_path / "new")}

    def fail(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_cassettes([tmp_path / "old.yaml"], tmp_path / "new", add=True, on_progress=fail)
    assert {file: file.read_bytes() for file in files.all_files(tmp_path / "new")} == before


def test_hosts_are_the_venues_that_the_registry_says(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"interactions": [interaction({"uri": "http://127.0.0.1:9/x"})]}))
    registry = Registry([Venue("mine", ["127.0.0.1:9"])])
    import_cassettes([tmp_path / "old.yaml"], tmp_path / "new", registry=registry)
    assert [place.venue for place in files.places(tmp_path / "new")] == ["mine"]


def test_flow_style_yaml_and_a_time_that_yaml_knows(tmp_path: Path) -> None:
    (tmp_path / "old.yml").write_text(
        "{interactions: [{recorded_at: 2025-10-02 11:00:00, request: {method: GET, uri: 'https://h.example/'}, "
        "response: {status: 200, headers: {a: !!binary 6Q==}}}]}"
    )
    import_cassettes([tmp_path / "old.yml"], tmp_path / "new")
    ((entry,),) = [list(reader.read(file)) for file in files.all_files(tmp_path / "new")]
    assert (entry.timestamp, entry.meta.headers) == (1759402800000, {"a": "é"})


def test_a_recorded_at_counts_before_the_date(tmp_path: Path) -> None:
    dated = {
        **interaction(response={"headers": {"date": ["Thu, 02 Oct 2025 10:00:00 GMT"]}}),
        "recorded_at": "2025-10-02T11:00:00",
    }
    read, _ = imported(tmp_path, dated, name="old.json")
    assert read[0].timestamp == 1759402800000


@pytest.mark.parametrize(
    "said", [{"recorded_at": "soon"}, {"response": interaction(response={"headers": {"date": "soon"}})["response"]}]
)
def test_a_time_that_cannot_be_read_is_when_the_file_was_saved(said: dict[str, Any], tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(yaml.safe_dump({"interactions": [{**GOOD, **said}] * 3}))
    os.utime(old, ns=(0, 1_700_000_000_000 * 1_000_000))
    import_cassettes([old], tmp_path / "new")
    (file,) = files.all_files(tmp_path / "new")
    assert [entry.timestamp for entry in reader.read(file)] == [1_699_999_999_998, 1_699_999_999_999, 1_700_000_000_000]


@given(st.lists(st.none() | st.integers(0, 2**41), max_size=20), st.integers(0, 2**41))
def test_times_always_rise_and_are_those_said_where_that_is_possible(moments: list[int | None], saved: int) -> None:
    out = times(moments, saved)
    assert all(earlier < later for earlier, later in itertools.pairwise(out))
    said = [moment for moment in moments if moment is not None]
    if said == sorted(set(said)) and len(said) == len(moments):
        assert out == said
