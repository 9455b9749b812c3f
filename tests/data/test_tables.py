"""Records as Arrow, pandas and polars tables; without the package, one line says what to install."""

from __future__ import annotations

import importlib
import subprocess
import sys
from decimal import Decimal

import pytest

from pytest_marketreplay.data import tables
from pytest_marketreplay.data.market import MarketData
from pytest_marketreplay.errors import MissingExtra, UsageMistake
from pytest_marketreplay.market.structs import Trade

START = 1_700_000_000_000
KINDS = ("trades", "books", "diffs", "candles", "tickers")


@pytest.fixture
def data(tape) -> MarketData:
    tape.depth(0, 1, bids='["4.10","1"],["4.00","2"]')
    tape.diff(1, 2, bids='["4.20","0.30"]')
    tape.trade(2, "4.50")
    tape.trade(3, "0.1")
    tape.frame(4, '{"u":9,"s":"BTCUSDT","b":"4","B":"1","a":"5","A":"2"}')
    kline = '{"t":1,"i":"1m","o":"1","h":"3","l":"1","c":"2","v":"9","n":4,"x":true,"s":"BTCUSDT"}'
    tape.frame(5, f'{{"e":"kline","s":"BTCUSDT","k":{kline}}}')
    return MarketData([tape.root])


def records(data: MarketData, kind: str):
    return getattr(data, kind)("binance", "BTCUSDT")


@pytest.mark.parametrize(("kind", "rows"), list(zip(KINDS, (2, 3, 1, 1, 1), strict=True)))
def test_every_kind_becomes_every_table(data, kind, rows) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = records(data, kind).to_arrow()
    assert table.num_rows == rows
    assert table.schema.field("time").type == arrow.timestamp("ns", tz="UTC")
    assert {field.type for field in table.schema if field.name in ("price", "open", "bid")} <= {
        arrow.decimal128(38, 18)
    }
    pytest.importorskip("pandas")
    assert len(records(data, kind).to_pandas()) == rows
    pytest.importorskip("polars")
    assert records(data, kind).to_polars().height == rows


def test_the_numbers_are_exact_and_the_times_are_utc(data) -> None:
    pytest.importorskip("pyarrow")
    first, second = records(data, "trades").to_arrow().to_pylist()
    assert first["price"] + second["price"] == Decimal("4.6")
    assert first["time"].isoformat() == "2023-11-14T22:13:20.002000+00:00"
    assert (first["side"], first["size"], first["trade_id"]) == ("sell", Decimal("0.1"), "2")


def test_a_book_has_one_row_a_level(data) -> None:
    pytest.importorskip("pyarrow")
    rows = records(data, "books").to_arrow().to_pylist()
    assert [(row["side"], row["level"], float(row["price"])) for row in rows] == [
        ("bid", 0, 4.1),
        ("bid", 1, 4.0),
        ("ask", 0, 5.0),
    ]
    assert {row["update_id"] for row in rows} == {1}


def test_decimals_of_pandas_and_polars_add_up(data) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    assert records(data, "trades").to_pandas()["price"].sum() == Decimal("4.6")
    assert records(data, "trades").to_polars()["price"].sum() == Decimal("4.6")


def test_no_record_is_an_empty_table_with_its_columns(data) -> None:
    pytest.importorskip("pyarrow")
    table = data.trades("binance", "BTCUSDT", end=START).to_arrow()
    assert table.num_rows == 0
    assert "price" in table.column_names


@pytest.mark.parametrize("price", ["0.0000000000000000001", "123456789012345678901"])
def test_a_number_that_does_not_fit_is_named_and_not_rounded(price) -> None:
    pytest.importorskip("pyarrow")
    good, odd = (Trade("binance", "BTCUSDT", 0, Decimal(text), Decimal(1)) for text in ("4.50", price))
    with pytest.raises(UsageMistake, match=rf"price = {Decimal(price)} does not fit"):
        tables.to_arrow(Trade, [good, odd])


@pytest.mark.parametrize(
    ("method", "package"), [("to_arrow", "pyarrow"), ("to_pandas", "pandas"), ("to_polars", "polars")]
)
def test_a_missing_package_is_named(data, monkeypatch, method, package) -> None:
    real = importlib.import_module

    def without(name: str):
        if name == package:
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(tables.importlib, "import_module", without)
    with pytest.raises(MissingExtra, match=f"pip install {package}"):
        getattr(records(data, "trades"), method)()


def test_reading_a_tape_imports_none_of_them() -> None:
    code = (
        "import sys; import pytest_marketreplay.data.market, pytest_marketreplay.data.tables; "
        "print([name for name in ('pyarrow', 'pandas', 'polars') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
