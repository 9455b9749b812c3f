"""Where finished Parquet files are put: a folder, or a bucket that speaks S3.

A place keeps a file under a name that nobody has yet, reads it back, and never writes over another.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from pytest_marketreplay.cassette.writer import FILE_MODE
from pytest_marketreplay.errors import SinkError
from pytest_marketreplay.sinks import arrow
from pytest_marketreplay.sinks.segment import make_folder, sync

_CONNECT_S, _REQUEST_S, _TRIES = 3.0, 20.0, 2
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Store(Protocol):
    """Where finished files are put; names are relative, with `/` between folders.

    A file is staged, which any thread may do, then put under its name, and there for good once `settle` has returned.
    """

    def check(self) -> None:
        """Tell whether files can be put here. Raises OSError."""

    def read(self, name: str) -> bytes | None:
        """Return a file, or None where there is none of that name. Raises OSError."""

    def stage(self, part: str, data: bytes) -> None:
        """Bring a file here under the name of a part, which is replaced. Raises OSError."""

    def put(self, part: str, name: str, data: bytes) -> bool:
        """Give what is staged its name; False where there is a file of that name. Raises OSError."""

    def drop(self, part: str) -> None:
        """Remove what is staged, if anything is. Raises OSError."""

    def settle(self) -> None:
        """Make sure that a power cut takes away nothing that was put. Raises OSError."""


class FolderStore:
    """A folder: a file is written beside its place, brought to the disk, and then gets its name."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._making = Lock()
        self._unsettled: set[Path] = set()

    def check(self) -> None:
        """Make the folder. Raises OSError."""
        make_folder(self._root)

    def read(self, name: str) -> bytes | None:
        """Return a file, or None. Raises OSError."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def stage(self, part: str, data: bytes) -> None:
        """Write a file and bring it to the disk. Raises OSError."""
        path = self._root / part
        with (
            self._making
        ):  # who finds a folder that another thread made must not be settled before that folder's name is
            self._unsettled.update(each.parent for each in make_folder(path.parent))
        # not truncated, for a kill between link and unlink leaves it as a second name of a whole file
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with open(fd, "wb") as file:
            os.fchmod(fd, FILE_MODE)
            file.write(data)
            file.flush()
            os.fsync(fd)

    def put(self, part: str, name: str, data: bytes) -> bool:
        """Give a staged file its name; False where there is one of that name. Raises OSError."""
        path = self._root / name
        self._unsettled.add(path.parent)
        return not path.exists() and _move(self._root / part, path)

    def drop(self, part: str) -> None:
        """Remove what is staged. Raises OSError."""
        (self._root / part).unlink(missing_ok=True)

    def settle(self) -> None:
        """Bring the names to the disk. Raises OSError."""
        with self._making:
            for folder in sorted(self._unsettled):
                sync(folder)
                self._unsettled.remove(folder)


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
        self._pa = arrow.pyarrow()
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

    def stage(self, part: str, data: bytes) -> None:
        """Do nothing: an upload is whole or not there."""

    def put(self, part: str, name: str, data: bytes) -> bool:
        """Upload an object; False where there is one of that name. Raises OSError.

        Between the look and the upload another writer could take the name: one prefix is for one writer.
        """
        key = f"{self._path}/{name}"
        if self._fs.get_file_info(key).type != self._pa.fs.FileType.NotFound:
            return False
        with self._fs.open_output_stream(key) as stream:
            stream.write(data)
        return True

    def drop(self, part: str) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""


def store_of(to: str) -> Store:
    """Return the place of a URL or folder. Raises MissingExtra."""
    return S3Store(to) if to.startswith("s3://") else FolderStore(Path(to))


def part_of(packed: arrow.Packed, name: str) -> str:
    """Return the name under which a file is staged: beside its place, and the same whenever its segment is tried again."""
    return f"{name.rpartition('/')[0]}/.{packed.segment}.tmp"


def keep(packed: arrow.Packed, store: Store, name: str, first: int) -> int:
    """Store a file as `<name>.parquet`, or `<name>-<n>.parquet` with n from `first` where that is taken.

    One that was made of this very segment by a process that was killed is not made again. Returns the n that it has.
    Raises OSError, pyarrow's ArrowException, SinkError where the file does not read back.
    """
    number, part = first, part_of(packed, name)
    try:
        while not _keep_as(f"{name}-{number}.parquet" if number else f"{name}.parquet", packed, store, part):
            number += 1
    finally:
        store.drop(part)
    return number


def _keep_as(full: str, packed: arrow.Packed, store: Store, part: str) -> bool:
    """Store a file under one name; False where another's has it."""
    is_new = store.put(part, full, packed.data)
    found = store.read(full)
    if found == packed.data:
        return True
    if found is not None and arrow.segment_of(found) == packed.segment:
        if is_new or arrow.rows_in(found) != packed.rows:
            raise SinkError(f"{full} does not read back as it was written; its log stays")
        return True
    if is_new:
        raise SinkError(f"{full} is not there after it was written, or another's is; its log stays")
    return False


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
    pa = arrow.pyarrow()
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise SinkError(f"{what}: {explain(error)}") from None
