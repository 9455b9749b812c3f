"""Flags and configuration: durations have units, names are checked, and each refusal tells the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay.collect import durations, settings
from pytest_marketreplay.errors import UsageMistake


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10s", 10), ("10m", 600), ("1h30m", 5_400), ("7d", 604_800), ("250ms", 0.25), ("1.5h", 5_400), ("2W", 1_209_600)],
)
def test_a_duration_with_a_unit_is_read(text: str, expected: float) -> None:
    assert durations.seconds(text, "--duration") == expected


@pytest.mark.parametrize("text", ["10", "1.5", "-3", "+10"])
def test_a_duration_without_a_unit_is_refused_with_the_cure(text: str) -> None:
    with pytest.raises(UsageMistake) as caught:
        durations.seconds(text, "--duration")
    number = text.lstrip("+-")
    assert f"say {number}s, {number}m, {number}h or {number}d" in str(caught.value)


@pytest.mark.parametrize("text", ["", "m", "10 parsecs", "10m5", "1h-3m", "ten minutes", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageMistake, match=r"--retain is .*30s, 10m"):
        durations.seconds(text, "--retain")


@pytest.mark.parametrize("text", ["0s", "0h0m"])
def test_no_time_at_all_is_refused(text: str) -> None:
    with pytest.raises(UsageMistake, match="longer than nothing"):
        durations.seconds(text, "--duration")


@given(st.integers(1, 10**7))
def test_a_spoken_length_is_read_back_to_its_last_unit(length: int) -> None:
    read = durations.seconds(durations.spoken(length), "x")
    assert length - 3_600 < read <= length


def test_a_length_is_spoken_in_two_units() -> None:
    assert [durations.spoken(each) for each in (0, 59, 61, 3_661, 90_061)] == ["0s", "59s", "1m01s", "1h01m", "1d01h"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512KB", 512_000), ("1MiB", 1 << 20), ("1.5GB", 1_500_000_000), ("7b", 7), ("3 TB", 3 * 10**12)],
)
def test_a_size_with_a_unit_is_read(text: str, expected: int) -> None:
    assert durations.size_bytes(text, "--rotate-size") == expected


@pytest.mark.parametrize("text", ["100", "0MB", "much", "1XB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageMistake, match="--rotate-size is"):
        durations.size_bytes(text, "--rotate-size")


def made(**given_: Any) -> settings.CollectSettings:
    return settings.make({name.replace("_", "-"): value for name, value in given_.items()})


def test_pairs_without_a_venue_are_for_every_venue_that_has_none_of_its_own(tmp_path: Path) -> None:
    made_ = made(
        venue=["binance", "Kraken", "okx"], pairs=["BTC-USDT,eth-usdt", "kraken=BTC-USD"], state_dir=str(tmp_path)
    )
    assert made_.pairs == {
        "binance": ["BTC-USDT", "ETH-USDT"],
        "kraken": ["BTC-USD"],
        "okx": ["BTC-USDT", "ETH-USDT"],
    }
    assert made_.session_id == "binance_BTC-USDT_ETH-USDT_kraken_BTC-USD_okx_BTC-USDT_ETH-USDT"


def test_what_is_not_said_has_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made_ = made(venue=["binance"], pairs=["BTC-USDT"])
    assert made_.state_dir == str(tmp_path / "marketreplay")
    assert made_.to == {"local": str(Path("captures").absolute())}
    assert (made_.storage, made_.interval_s, made_.duration_s, made_.feed) == (["local"], 1.0, None, "poll")
    assert (made_.seal, made_.retain_s, made_.rotate_bytes, made_.rotate_s, made_.metrics_port) == (None,) * 5
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert made(venue=["binance"], pairs=["BTC-USDT"]).state_dir == str(tmp_path / ".local/state/marketreplay")


def test_every_setting_is_read(tmp_path: Path) -> None:
    made_ = made(
        venue=["binance"],
        pairs=["BTC-USDT"],
        interval=0.5,
        duration="10m",
        storage=["local", "parquet", "local"],
        to=[str(tmp_path / "to"), "parquet=s3://bucket/x"],
        feed="stream",
        base_url=["binance=http://127.0.0.1:8080/"],
        metrics_port=0,
        metrics_host="0.0.0.0",
        retain="7d",
        rotate_entries=100,
        rotate_size="1MB",
        rotate_hours=0.5,
        seal="zst",
        session_id="night",
        state_dir=str(tmp_path),
    )
    assert made_ == settings.CollectSettings(
        pairs={"binance": ["BTC-USDT"]},
        session_id="night",
        state_dir=str(tmp_path),
        storage=["local", "parquet"],
        to={"local": str(tmp_path / "to"), "parquet": "s3://bucket/x"},
        interval_s=0.5,
        duration_s=600,
        feed="stream",
        base_urls={"binance": "http://127.0.0.1:8080"},
        metrics_port=0,
        metrics_host="0.0.0.0",
        retain_s=604_800,
        rotate_entries=100,
        rotate_bytes=1_000_000,
        rotate_s=1_800,
        seal="zst",
    )


_GOOD: dict[str, Any] = {"venue": ["binance"], "pairs": ["BTC-USDT"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"venue": [], "pairs": []}, "no venue is given"),
        ({"pairs": []}, "no pairs are given for binance"),
        ({"venue": ["binanse"]}, "'binanse' is unknown; the nearest is 'binance'"),
        ({"venue": ["zzzzzz"]}, "there are "),
        ({"pairs": ["BTCUSDT"]}, "BASE-QUOTE"),
        ({"interval": 0}, "--interval is 0; it must be above 0"),
        ({"interval": "1s"}, "--interval is '1s'; it is a number"),
        ({"interval": float("inf")}, "must be above 0"),
        ({"duration": "10"}, "say 10s, 10m, 10h or 10d"),
        ({"feed": "pull"}, "poll, stream"),
        ({"seal": "xz"}, "zst, gz"),
        ({"base-url": ["127.0.0.1:8080"]}, "binance=http://127.0.0.1:8080"),
        ({"base-url": ["binance=ftp://x"]}, "binance=http://127.0.0.1:8080"),
        ({"base-url": ["kraken=http://127.0.0.1:1"]}, "'kraken', which is not captured"),
        ({"rotate-entries": 0}, "--rotate-entries is 0"),
        ({"rotate-entries": "many"}, "--rotate-entries is 'many'"),
        ({"metrics-port": 70_000}, "--metrics-port is 70000"),
        ({"metrics-port": "http"}, "--metrics-port is 'http'"),
        ({"to": ["here"], "storage": ["local", "parquet"]}, "say --to parquet=ANOTHER"),
        (
            {"to": ["parket=here"], "storage": ["local", "parquet"]},
            "'parket', which is no sink of this capture; the nearest",
        ),
        ({"session-id": "../evil"}, "--session-id is '../evil'"),
        ({"session-id": ".hidden"}, "--session-id"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageMistake) as caught:
        settings.make({**_GOOD, "state-dir": str(tmp_path), **change})
    assert said in str(caught.value)


def test_a_configuration_file_has_the_names_of_the_flags(tmp_path: Path) -> None:
    (tmp_path / "marketreplay.toml").write_text(
        """
        [collect]
        venue = "binance"
        pairs = { binance = ["BTC-USDT", "ETH-USDT"], kraken = "BTC-USD" }
        base-url = { binance = "http://127.0.0.1:8080" }
        rotate_entries = 5
        storage = ["local", "parquet"]
        """
    )
    assert settings.read_file(None, tmp_path) == {
        "venue": ["binance"],
        "pairs": ["binance=BTC-USDT,ETH-USDT", "kraken=BTC-USD"],
        "base-url": ["binance=http://127.0.0.1:8080"],
        "rotate-entries": 5,
        "storage": ["local", "parquet"],
    }


def test_pyproject_is_read_where_there_is_no_file_of_our_own(tmp_path: Path) -> None:
    assert settings.read_file(None, tmp_path) == {}
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert settings.read_file(None, tmp_path) == {}
    (tmp_path / "pyproject.toml").write_text("[tool.marketreplay.collect]\nfeed = 'stream'\n")
    assert settings.read_file(None, tmp_path) == {"feed": "stream"}
    (tmp_path / "marketreplay.toml").write_text("[collect]\nfeed = 'poll'\n")
    assert settings.read_file(None, tmp_path) == {"feed": "poll"}
    assert settings.read_file(tmp_path / "pyproject.toml", tmp_path) == {"feed": "stream"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[collect]\nintervall = 1", "unknown key 'intervall'; the nearest is 'interval'"),
        ("[collect]\nduration = true", "duration = True is neither a text nor a number"),
        ("[collect]\nvenue = 3", "venue = 3 is neither a text, a list of texts nor a table"),
        ("collect = 3", "collect is not a table"),
        ("[other]\n", "has no table [collect]"),
        ("[collect", "cannot be read"),
    ],
)
def test_a_configuration_file_that_is_wrong_is_refused_with_its_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageMistake) as caught:
        settings.read_file(file, tmp_path)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_configuration_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match="there is no such file"):
        settings.read_file(tmp_path / "none.toml", tmp_path)
