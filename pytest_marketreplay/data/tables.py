"""Records as Arrow, pandas and polars tables: the one file that imports them, when a table is asked for.

Decimals stay decimals, as Decimal128 with 18 digits after the point and 20 before it: exact, and enough for every price and
size of the venues that are known. They are not floats, of which 0.1 + 0.2 is not 0.3, and not text, which does not add up.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

from pytest_marketreplay.errors import MissingExtra, UsageMistake
from pytest_marketreplay.market.structs import Candle, DepthDiff, OrderBook, Ticker, Trade

_BATCH = 65_536
"""Rows that are held as Python objects at a time."""

_TIME, _MOMENT, _DECIMAL, _TEXT, _NUMBER, _FLAG = "time", "moment", "decimal", "text", "number", "flag"

_HEAD = {"venue": _TEXT, "symbol": _TEXT, "time": _TIME}
_LEVEL = {"side": _TEXT, "level": _NUMBER, "price": _DECIMAL, "size": _DECIMAL}
_COLUMNS: dict[type, dict[str, str]] = {
    OrderBook: _HEAD | _LEVEL | {"update_id": _NUMBER, "exchange_time": _MOMENT, "checked": _FLAG, "stream": _TEXT},
    DepthDiff: _HEAD
    | _LEVEL
    | {
        "first_id": _NUMBER,
        "last_id": _NUMBER,
        "previous_id": _NUMBER,
        "checksum": _NUMBER,
        "exchange_time": _MOMENT,
        "snapshot": _FLAG,
        "stream": _TEXT,
    },
    Trade: _HEAD | {"price": _DECIMAL, "size": _DECIMAL, "side": _TEXT, "trade_id": _TEXT, "exchange_time": _MOMENT},
    Candle: _HEAD
    | {
        "interval": _TEXT,
        "open_time": _MOMENT,
        "open": _DECIMAL,
        "high": _DECIMAL,
        "low": _DECIMAL,
        "close": _DECIMAL,
        "volume": _DECIMAL,
        "closed": _FLAG,
        "trades": _NUMBER,
    },
    Ticker: _HEAD
    | {
        "bid": _DECIMAL,
        "bid_size": _DECIMAL,
        "ask": _DECIMAL,
        "ask_size": _DECIMAL,
        "last": _DECIMAL,
        "exchange_time": _MOMENT,
    },
}
_FIELDS = {"time": "time_ns", "exchange_time": "exchange_ms", "open_time": "open_ms"}


def _imported(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(what, name) from None


def _values(record: Any, columns: Iterable[str]) -> list[Any]:
    return [getattr(record, _FIELDS.get(name, name)) for name in columns]


def _rows(kind: type, records: Iterable[Any]) -> Iterator[list[Any]]:
    columns = list(_COLUMNS[kind])
    if kind not in (OrderBook, DepthDiff):
        for record in records:
            yield _values(record, columns)
        return
    rest = columns[len(_HEAD) + len(_LEVEL) :]
    for record in records:
        head, tail = _values(record, _HEAD), _values(record, rest)
        for side, levels in (("bid", record.bids), ("ask", record.asks)):
            for number, (price, size) in enumerate(levels):
                yield [*head, side, number, price, size, *tail]


def to_arrow(kind: type, records: Iterable[Any]) -> Any:
    """Return a `pyarrow.Table`. Raises MissingExtra, and UsageMistake for a number that does not fit."""
    arrow = _imported("pyarrow", "a table of records")
    types: dict[str, Callable[[], Any]] = {
        _TIME: lambda: arrow.timestamp("ns", tz="UTC"),
        _MOMENT: lambda: arrow.timestamp("ms", tz="UTC"),
        _DECIMAL: lambda: arrow.decimal128(38, 18),
        _TEXT: arrow.string,
        _NUMBER: arrow.int64,
        _FLAG: arrow.bool_,
    }
    schema = arrow.schema([(name, types[kind_of]()) for name, kind_of in _COLUMNS[kind].items()])
    batches = []
    rows = _rows(kind, records)
    while batch := list(islice(rows, _BATCH)):
        columns = [
            _column(arrow, field, list(values))
            for field, values in zip(schema, zip(*batch, strict=True), strict=True)
        ]  # fmt: skip
        batches.append(arrow.record_batch(columns, schema=schema))
    return arrow.Table.from_batches(batches, schema=schema)


def _column(arrow: Any, field: Any, values: list[Any]) -> Any:
    try:
        return arrow.array(values, type=field.type)
    except (arrow.ArrowException, OverflowError) as error:
        odd = next((value for value in values if not _fits(arrow, field.type, value)), None)
        raise UsageMistake(
            f"{field.name} = {odd} does not fit into a column of {field.type} ({error}); iterate over the records instead"
        ) from error


def _fits(arrow: Any, kind: Any, value: Decimal | int | str | None) -> bool:
    try:
        arrow.array([value], type=kind)
    except (arrow.ArrowException, OverflowError):
        return False
    return True


def to_pandas(kind: type, records: Iterable[Any]) -> Any:
    """Return a `pandas.DataFrame` with Arrow's types. Raises MissingExtra."""
    pandas = _imported("pandas", "a pandas table of records")
    return to_arrow(kind, records).to_pandas(types_mapper=pandas.ArrowDtype)


def to_polars(kind: type, records: Iterable[Any]) -> Any:
    """Return a `polars.DataFrame`. Raises MissingExtra."""
    polars = _imported("polars", "a polars table of records")
    return polars.from_arrow(to_arrow(kind, records))
