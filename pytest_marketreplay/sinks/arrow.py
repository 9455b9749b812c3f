"""Order books as Parquet. pyarrow is imported when it is used."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Any, NamedTuple

from pytest_marketreplay.errors import MissingExtra, SinkError
from pytest_marketreplay.sinks import lines

SEGMENT_KEY = b"marketreplay.segment"
"""In the key-value metadata: which segment of the log a file was made of."""
_WITHOUT_BOUNDS = ("side",)


def pyarrow() -> Any:
    """Return the library with the parts that are used. Raises MissingExtra."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.fs
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("storing order books as Parquet", "pytest-marketreplay[parquet]") from None
    return pyarrow


def table(data: bytes, segment: str, *, decimals: bool) -> Any:
    """Make the table, one row a level, of the lines of a log: for each snapshot its bids and then its asks.

    With `decimals` prices and quantities are decimal128(38, 18), else strings. Raises pyarrow's ArrowInvalid where a line
    is damaged, or a number does not fit.
    """
    pa = pyarrow()
    try:
        books = lines.read(data)
    except ValueError as error:
        raise pa.ArrowInvalid(str(error)) from None
    rows, sizes = books.rows, books.sizes
    price, quantity = _numbers(books)
    offsets = _array(pa.int32(), array("i", accumulate(sizes, initial=0)))
    of = pa.compute.list_parent_indices(pa.ListArray.from_arrays(offsets, price))
    sides = b"".join([bytes(row.bids) + b"\x01" * (size - row.bids) for row, size in zip(rows, sizes, strict=True)])
    columns = {  # what repeats as dictionaries, which the file is made of in a third of the time; it reads as text
        "exchange": _repeated([row.exchange for row in rows]).take(of),
        "pair": _repeated([row.pair for row in rows]).take(of),
        "timestamp_ms": _values("q", [row.timestamp_ms for row in rows]).take(of),
        "side": pa.DictionaryArray.from_arrays(_array(pa.int8(), sides), _texts(["bid", "ask"])),
        "price": _exact(price) if decimals else price,
        "quantity": _exact(quantity) if decimals else quantity,
        "capture_latency_ms": _values("d", [row.capture_latency_ms for row in rows]).take(of),
        "sequence_number": _values("q", [row.sequence_number for row in rows]).take(of),
        "update_id": _values("q", [row.update_id for row in rows]).take(of),
    }
    return pa.Table.from_arrays(list(columns.values()), list(columns), metadata={SEGMENT_KEY: segment.encode()})


# Arrays are made of buffers: `pyarrow.array` of a list imports pandas where it is installed, which takes 0.1 to 0.3 s.


def _array(kind: Any, values: Any) -> Any:
    """Return an array of the values in a buffer, one-dimensional, without nulls."""
    pa = pyarrow()
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _texts(texts: list[str]) -> Any:
    pa = pyarrow()
    parts = [text.encode() for text in texts]
    ends = array("i", accumulate(map(len, parts), initial=0))
    return pa.Array.from_buffers(pa.string(), len(parts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(parts))])


def _repeated(texts: list[str]) -> Any:
    """Return texts as a dictionary, in the order in which they first come."""
    pa = pyarrow()
    codes: dict[str, int] = {}
    indices = array("i", [codes.setdefault(text, len(codes)) for text in texts])
    return pa.DictionaryArray.from_arrays(_array(pa.int32(), indices), _texts(list(codes)))


def _values(code: str, values: list[Any]) -> Any:
    """Return integers (`q`) or floats (`d`), 64 bits each; None is null."""
    pa = pyarrow()
    kind = pa.int64() if code == "q" else pa.float64()
    if None not in values:
        return _array(kind, array(code, values))
    valid = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        valid[index // 8] |= (value is not None) << index % 8
    filled = array(code, [0 if value is None else value for value in values])
    return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(valid), pa.py_buffer(filled)])


def _numbers(books: lines.Books) -> tuple[Any, Any]:
    """Return the prices and the quantities of all levels, as text."""
    pa = pyarrow()
    if not books.numbers:
        return _texts([]), _texts([])
    bounds = pa.py_buffer(array("i", [0, len(books.numbers)]))
    text = pa.Array.from_buffers(pa.string(), 1, [None, bounds, pa.py_buffer(books.numbers)])
    both = pa.compute.list_flatten(pa.compute.split_pattern(text, ","))
    steps = array("i", [2]) * (len(both) // 2)
    columns = []
    for steps[0] in (0, 1):  # every second one; pyarrow counts, for a list of places would be an object for each
        columns.append(both.take(pa.compute.cumulative_sum(_array(pa.int32(), steps[:]))))
    return columns[0], columns[1]


def _exact(texts: Any) -> Any:
    """Return decimals. Raises ArrowInvalid where one does not fit."""
    pa = pyarrow()
    most = pa.compute.max(pa.compute.abs(texts.cast(pa.float64()))).as_py()
    if most is not None and not most < 1e20:  # the cast of pyarrow 26 wraps around there, without a word
        raise pa.ArrowInvalid(f"a number of {most:g} does not fit into decimal128(38, 18)")
    return texts.cast(pa.decimal128(38, 18))


def encode(rows: Any) -> bytes:
    """Return a table as a Parquet file, zstd, with checksums of its pages."""
    pa = pyarrow()
    out = pa.BufferOutputStream()
    counts = [field.name for field in rows.schema if field.type in (pa.int64(), pa.float64())]
    # Without the least and the greatest of texts, and with numbers that repeat as they are (zstd finds them), a file is made
    # in a fifth less of the time and is as small. The schema that pyarrow would keep beside the file's own would make
    # dictionaries of what is text.
    with pa.parquet.ParquetWriter(
        out,
        rows.schema,
        compression="zstd",
        use_dictionary=[name for name in rows.schema.names if name not in counts],
        write_statistics=[name for name in rows.schema.names if name not in _WITHOUT_BOUNDS],
        write_page_checksum=True,
        store_schema=False,
    ) as file:
        file.write_table(rows)
        file.add_key_value_metadata(rows.schema.metadata or {})
    return bytes(out.getvalue())


def rows_in(data: bytes, columns: list[str] | None = None) -> int:
    """Read a Parquet file, page checksums too; returns how many rows its columns have. Raises OSError, ArrowInvalid."""
    pa = pyarrow()
    with pa.parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        return int(file.read(columns, use_threads=False).num_rows)


def segment_of(data: bytes) -> str | None:
    """Return of which segment a file was made; None where that cannot be told."""
    pa = pyarrow()
    try:
        with pa.parquet.ParquetFile(pa.BufferReader(data)) as file:
            found = (file.metadata.metadata or {}).get(SEGMENT_KEY)
    except (OSError, pa.ArrowInvalid):
        return None
    return None if found is None else str(found.decode("utf-8", "replace"))


class Packed(NamedTuple):
    """A file that is to be stored."""

    segment: str
    data: bytes
    rows: int


def pack(rows: Any) -> Packed:
    """Make the file of a table, and look whether it can be read. Raises ArrowException, SinkError."""
    segment = rows.schema.metadata[SEGMENT_KEY].decode()
    packed = Packed(segment, encode(rows), rows.num_rows)
    # of bytes that nobody has touched, one column tells
    if rows_in(packed.data, ["sequence_number"]) != packed.rows:
        raise SinkError(f"the file that was made of {segment} does not read as it was written; its log stays")
    return packed
