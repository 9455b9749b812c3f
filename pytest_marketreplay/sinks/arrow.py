"""Order books as Parquet, and the places where such files are put: a folder, or a bucket that speaks S3.

The only file that needs pyarrow, which is imported when it is used. A place keeps a file under a name that nobody has yet,
reads it back, and never writes over another.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pytest_marketreplay.cassette.writer import FILE_MODE
from pytest_marketreplay.errors import MissingExtra, SinkError
from pytest_marketreplay.sinks.segment import make_folder, sync

SEGMENT_KEY = b"marketreplay.segment"
"""In the key-value metadata: which segment of the log a file was made of."""
_CONNECT_S, _REQUEST_S, _TRIES = 3.0, 20.0, 2
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def pyarrow() -> Any:
    """Return the library with the parts that are used. Raises MissingExtra."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.fs
        import pyarrow.json
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
    pc = pa.compute
    schema = pa.schema(
        [
            ("exchange", pa.string()),
            ("pair", pa.string()),
            ("timestamp_ms", pa.int64()),
            ("levels", pa.list_(pa.list_(pa.string()))),
            ("bids", pa.int64()),
            ("capture_latency_ms", pa.float64()),
            ("sequence_number", pa.int64()),
            ("update_id", pa.int64()),
        ]
    )
    if data:
        books = pa.json.read_json(
            pa.BufferReader(data),
            pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        ).combine_chunks()
    else:
        books = schema.empty_table()
    levels = books["levels"].combine_chunks()
    of = pc.list_parent_indices(levels)
    flat = pc.list_flatten(levels)
    price, quantity = pc.list_element(flat, 0), pc.list_element(flat, 1)
    sizes = zip(books["bids"].to_pylist(), pc.list_value_length(levels).to_pylist(), strict=True)
    sides = b"".join(bytes(bids) + b"\x01" * (size - bids) for bids, size in sizes)
    codes = pa.Array.from_buffers(pa.int8(), len(sides), [None, pa.py_buffer(sides)])
    columns = {  # what repeats as dictionaries, which the file is made of in a third of the time; it reads as text
        "exchange": books["exchange"].combine_chunks().dictionary_encode().take(of),
        "pair": books["pair"].combine_chunks().dictionary_encode().take(of),
        "timestamp_ms": books["timestamp_ms"].combine_chunks().take(of),
        "side": pa.DictionaryArray.from_arrays(codes, pa.array(["bid", "ask"])),
        "price": _exact(price) if decimals else price,
        "quantity": _exact(quantity) if decimals else quantity,
        "capture_latency_ms": books["capture_latency_ms"].combine_chunks().take(of),
        "sequence_number": books["sequence_number"].combine_chunks().take(of),
        "update_id": books["update_id"].combine_chunks().take(of),
    }
    return pa.table(columns).replace_schema_metadata({SEGMENT_KEY: segment.encode()})


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
    # the schema that pyarrow would keep beside the file's own would make dictionaries of what is text
    with pa.parquet.ParquetWriter(
        out, rows.schema, compression="zstd", write_page_checksum=True, store_schema=False
    ) as file:
        file.write_table(rows)
        file.add_key_value_metadata(rows.schema.metadata or {})
    return bytes(out.getvalue())


def rows_in(data: bytes, columns: list[str] | None = None) -> int:
    """Read a Parquet file, page checksums too; returns how many rows its columns have. Raises OSError, ArrowInvalid."""
    pa = pyarrow()
    with pa.parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        return int(file.read(columns).num_rows)


def segment_of(data: bytes) -> str | None:
    """Return of which segment a file was made; None where that cannot be told."""
    pa = pyarrow()
    try:
        with pa.parquet.ParquetFile(pa.BufferReader(data)) as file:
            found = (file.metadata.metadata or {}).get(SEGMENT_KEY)
    except (OSError, pa.ArrowInvalid):
        return None
    return None if found is None else str(found.decode("utf-8", "replace"))


class Store(Protocol):
    """Where finished files are put; names are relative, with `/` between folders."""

    def check(self) -> None:
        """Tell whether files can be put here. Raises OSError."""

    def read(self, name: str) -> bytes | None:
        """Return a file, or None where there is none of that name. Raises OSError."""

    def put(self, name: str, data: bytes) -> bool:
        """Store a file for good; False where there is one of that name. Raises OSError."""


class FolderStore:
    """A folder: a file is written beside its place, brought to the disk, and then gets its name."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        """Make the folder. Raises OSError."""
        make_folder(self._root)

    def read(self, name: str) -> bytes | None:
        """Return a file, or None. Raises OSError."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> bool:
        """Store a file; False where there is one of that name. Raises OSError."""
        path = self._root / name
        part = path.with_name(f".{path.name}.tmp")
        made = make_folder(path.parent)
        # not truncated, for a kill between link and unlink leaves it as a second name of a whole file
        part.unlink(missing_ok=True)
        if path.exists():
            return False
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            with open(fd, "wb") as file:
                os.fchmod(fd, FILE_MODE)
                file.write(data)
                file.flush()
                os.fsync(fd)
            if not _move(part, path):
                return False
            for folder in {path.parent, *(each.parent for each in made)}:
                sync(folder)
        finally:
            part.unlink(missing_ok=True)
        return True


def _move(part: Path, path: Path) -> bool:
    """Give a file its name unless there is one of that name, which `rename` would replace."""
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            return False
        os.rename(part, path)
    return True


class S3Store:
    """A bucket and a prefix in it; keys, region and endpoint come from the standard variables `AWS_*`."""

    def __init__(self, url: str) -> None:
        """Take `s3://bucket/prefix`. Raises MissingExtra."""
        self._pa = pyarrow()
        self._path = url.removeprefix("s3://").strip("/")
        self._made: Any = None

    @property
    def _fs(self) -> Any:
        if self._made is None:
            fs = self._pa.fs
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            self._made = fs.S3FileSystem(
                region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
                endpoint_override=endpoint or None,
                connect_timeout=_CONNECT_S,
                request_timeout=_REQUEST_S,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
                background_writes=False,
            )
        return self._made

    def check(self) -> None:
        """Ask for the bucket. Raises OSError."""
        bucket = self._path.partition("/")[0]
        if self._fs.get_file_info(bucket).type == self._pa.fs.FileType.NotFound:
            raise FileNotFoundError(f"there is no bucket {bucket!r}")

    def read(self, name: str) -> bytes | None:
        """Return an object, or None. Raises OSError."""
        key = f"{self._path}/{name}"
        if self._fs.get_file_info(key).type != self._pa.fs.FileType.File:
            return None
        with self._fs.open_input_stream(key) as stream:
            return bytes(stream.read())

    def put(self, name: str, data: bytes) -> bool:
        """Upload an object; False where there is one of that name. Raises OSError.

        Between the look and the upload another writer could take the name: one prefix is for one writer.
        """
        key = f"{self._path}/{name}"
        if self._fs.get_file_info(key).type != self._pa.fs.FileType.NotFound:
            return False
        with self._fs.open_output_stream(key) as stream:
            stream.write(data)
        return True


def store_of(to: str) -> Store:
    """Return the place of a URL or folder. Raises MissingExtra."""
    return S3Store(to) if to.startswith("s3://") else FolderStore(Path(to))


def convert(data: bytes, segment: str, store: Store, name: str, first: int, *, decimals: bool) -> int:
    """Store the rows of a segment as `<name>.parquet`, or `<name>-<n>.parquet` with n from `first` where that is taken.

    A file that was made of this very segment by a process that was killed is not made again. Returns the n that it has.
    Raises OSError, pyarrow's ArrowException, SinkError where the file does not read back.
    """
    rows = table(data, segment, decimals=decimals)
    packed = encode(rows)
    number = first
    while True:
        full = f"{name}-{number}.parquet" if number else f"{name}.parquet"
        is_new = store.put(full, packed)
        found = store.read(full)
        if found is not None and segment_of(found) == segment:
            # where every byte is the one that was written, one column tells whether it can be read
            whole = ["sequence_number"] if found == packed else None
            if (is_new and whole is None) or rows_in(found, whole) != rows.num_rows:
                raise SinkError(f"{full} does not read back as it was written; its log stays")
            return number
        if is_new:
            raise SinkError(f"{full} is not there after it was written, or another's is; its log stays")
        number += 1


def explain(error: BaseException) -> str:
    """Return the text of an error without secrets."""
    text = str(error)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        if secret := os.environ.get(name):
            text = text.replace(secret, f"<{name}>")
    return text


def may_pass(error: BaseException) -> bool:
    """Tell whether a failure may end by itself: the network's, not that of a wrong key or a missing bucket."""
    return "NETWORK_CONNECTION" in str(error) or "SLOW_DOWN" in str(error) or "SERVICE_UNAVAILABLE" in str(error)


@contextlib.contextmanager
def told_as(what: str) -> Iterator[None]:
    """Turn the errors of storing into SinkError, without secrets."""
    pa = pyarrow()
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise SinkError(f"{what}: {explain(error)}") from None
