"""Records of one kind, read from the tape each time they are iterated, or turned into a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from pytest_marketreplay.market.structs import Record

R = TypeVar("R", bound=Record)


class Records(Generic[R]):
    """Records of one kind, in the order they arrived.

    As a table, a book or diff has one row a level (`side`, `level` from 0 at the best price, `price`, `size`), all else one
    row a record. Prices and sizes are Decimal128(38, 18), which is exact: a number that does not fit raises UsageMistake.
    `time`, `exchange_time` and `open_time` are timestamps in UTC.
    """

    def __init__(self, kind: type[R], read: Callable[[], Iterator[R]]) -> None:
        self.kind = kind
        """What each record is."""
        self._read = read

    def __iter__(self) -> Iterator[R]:
        return self._read()

    def __repr__(self) -> str:
        return f"<Records of {self.kind.__name__}>"

    def to_arrow(self) -> Any:
        """Return a `pyarrow.Table`. Raises MissingExtra without pyarrow."""
        from pytest_marketreplay.data import tables

        return tables.to_arrow(self.kind, self)

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` whose columns stay Arrow's, decimals too. Raises MissingExtra without pandas or pyarrow."""
        from pytest_marketreplay.data import tables

        return tables.to_pandas(self.kind, self)

    def to_polars(self) -> Any:
        """Return a `polars.DataFrame`. Raises MissingExtra without polars or pyarrow."""
        from pytest_marketreplay.data import tables

        return tables.to_polars(self.kind, self)
