"""Sinks by name, also those of other packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sink_parts import item, names, numbers

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.sinks import registry
from pytest_marketreplay.sinks.local import LocalSink


def test_the_sinks_of_this_package_are_known() -> None:
    assert registry.known() == ["local", "parquet", "s3"]


def test_a_name_that_no_sink_has_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match=r"'flopy'; there are local, parquet, s3"):
        registry.make("flopy", {"to": tmp_path})


def test_options_reach_the_sink(tmp_path: Path) -> None:
    sink = registry.make("local", {"to": tmp_path, "rotate_entries": 2, "seal": "gz", "retain_s": 5.0, "rotate_s": 60})
    assert isinstance(sink, LocalSink)
    sink.open()
    sink.write([item(number) for number in range(3)])
    sink.close()
    assert numbers(tmp_path) == [0, 1, 2]
    assert [name.endswith(".jsonl.gz") for name in names(tmp_path)] == [True, True]


def test_options_that_are_none_leave_the_defaults(tmp_path: Path) -> None:
    options = dict.fromkeys(registry.OPTIONS) | {"to": str(tmp_path)}
    sink = registry.make("local", options)
    sink.open()
    sink.write([item(0)])
    sink.close()
    assert numbers(tmp_path) == [0]


def test_another_package_adds_a_sink_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "their_sinks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-sinks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[marketreplay_sinks]\nmemory = their_sinks_module:make\n")
    (tmp_path / "their_sinks_module.py").write_text(
        "class Memory:\n"
        "    name = 'memory'\n"
        "    def __init__(self, options): self.to, self.items = options['to'], []\n"
        "    def open(self): pass\n"
        "    def write(self, items): self.items += items\n"
        "    def rotate(self, now_ns): pass\n"
        "    def close(self): pass\n"
        "def make(options): return Memory(options)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "memory" in registry.known()
    sink = registry.make("memory", {"to": "anywhere"})
    sink.open()
    sink.write([item(0)])
    assert (sink.name, sink.to, len(sink.items)) == ("memory", "anywhere", 1)  # type: ignore[attr-defined]
    del sys.modules["their_sinks_module"]


def test_a_url_names_a_bucket(tmp_path: Path) -> None:
    sink = registry.make("s3://bucket/desk", {"to": "elsewhere", "wal": tmp_path})
    assert (sink.name, sink.to) == ("s3", "s3://bucket/desk")  # type: ignore[attr-defined]
