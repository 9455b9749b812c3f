"""Documents: small JSON files that must outlive crashes, such as the state of a session (docs/reference/documents.md).

A document is an envelope of `kind`, `version` and `data`. It is replaced whole, by a rename; the one before it stays beside
it as `.bak`, which is read where the document itself is damaged.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.errors import DocumentError, UsageMistake

T = TypeVar("T", bound=msgspec.Struct)

DATA_MODE = 0o640
SECRET_MODE = 0o600
FOLDER_MODE = 0o750
LARGEST = 64 << 20
"""Bytes of the largest document: one that is larger is no document, and is not read into memory."""

_GONE = "it is not there"
_STALE_NS = 3600 * 10**9
_NOTES = logging.getLogger(__name__)
_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError, LookupError, TypeError, ValueError, AttributeError)
"""What bytes that are not the document raise: in `msgspec`, and in migrations that find other fields than they know."""


def default_state_dir() -> Path:
    """Return `$XDG_STATE_HOME/marketreplay`, or `~/.local/state/marketreplay`."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "marketreplay"


class _Envelope(msgspec.Struct, frozen=True):
    kind: str
    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    data: msgspec.Raw


class _Damage(Exception):
    """A file is there, and is not a document: what is wrong with it."""


class _Found(NamedTuple, Generic[T]):
    raw: bytes
    value: T


class Document(Generic[T]):
    """Keep one value of a `msgspec.Struct` type in a file.

    `kind` names what the file is, so that another's file is neither read nor overwritten. `version` counts the shapes that
    the type had, from 1; `migrations[1]` makes the data of version 2 out of that of version 1. `mode` are the permissions of
    the file and its backup, whatever the umask is; secrets take `SECRET_MODE`. Folders are made with mode 750.

    Any number of processes may load and save one document: each load gives one that was saved whole, and the last save
    stands. Raises UsageMistake where the version is below 1.
    """

    def __init__(
        self,
        path: Path,
        struct: type[T],
        *,
        kind: str,
        version: int = 1,
        migrations: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
        mode: int = DATA_MODE,
    ) -> None:
        if version < 1:
            raise UsageMistake(f"the version of a document counts from 1, and that of {kind!r} is {version}")
        self.path, self.struct, self.kind, self.version, self.mode = path, struct, kind, version, mode
        self.migrations = dict(migrations or {})

    @property
    def backup(self) -> Path:
        """Return the file that holds the document before the last `save`."""
        return self.path.with_name(self.path.name + ".bak")

    def load(self) -> T | None:
        """Return the value; that of the backup, with a warning in the log, where the file is damaged or gone.

        None where there is neither file. Raises DocumentError where what is there cannot be read, is of another kind, or of
        a later version.
        """
        damage = None
        try:
            found = self._read(self.path)
            if found is not None:
                return found.value
        except _Damage as error:
            damage = str(error)
        try:
            spare = self._read(self.backup)
        except _Damage as error:
            raise DocumentError(
                f"neither {self.path} nor its backup can be read as {self.kind!r}. The document: {damage or _GONE}. The backup "
                f"{self.backup.name}: {error}. Mend one of them by hand, or move both away to start anew"
            ) from None
        if spare is not None:
            if damage is None:
                try:
                    if (found := self._read(self.path)) is not None:
                        return found.value  # the very first two saves came between our two looks
                except _Damage as error:
                    damage = str(error)
            _NOTES.warning(
                "%s cannot be read (%s): its backup %s was read", self.path, damage or _GONE, self.backup.name
            )
            return spare.value
        if damage is not None:
            raise DocumentError(
                f"{self.path} cannot be read as {self.kind!r}: {damage}. It has no backup {self.backup.name}. Mend it by "
                "hand, or move it away to start anew"
            )
        return None

    def save(self, value: T) -> None:
        """Replace the document, and keep the one before as the backup, unless that was damaged.

        Whatever happens meanwhile, the old or the new value can be loaded; when this returns, the new one is on the disk.
        Raises DocumentError where it cannot be written (what was saved before stands), where the value could not be loaded
        again, or where the file is of another kind or a later version.
        """
        raw = self._encode(value)
        made: list[Path] = []
        try:
            make_folder(self.path.parent)
            self._sweep()
            new = self._write_aside(raw, made)
            before = self._good()
            if before is not None:
                os.rename(self._write_aside(before.raw, made), self.backup)
            os.rename(new, self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise DocumentError(
                f"{self.path} cannot be saved: {error}. What was saved before stands; make room or grant access, and save again"
            ) from error
        finally:
            for path in made:
                with suppress(OSError):  # renamed, or left for the next sweep: the error above is the one to tell
                    os.unlink(path)

    def remove(self) -> None:
        """Remove the document and its backup; nothing happens where they are gone. Raises DocumentError."""
        try:
            for path in (self.backup, self.path):  # the other way round, a crash between would bring the old value back
                with suppress(FileNotFoundError):
                    os.unlink(path)
            with suppress(FileNotFoundError):
                _sync_folder(self.path.parent)
        except OSError as error:
            raise DocumentError(f"{self.path} cannot be removed: {error}") from error

    # ------------------------------------------------------------ reading

    def _good(self) -> _Found[T] | None:
        try:
            return self._read(self.path)
        except _Damage as damage:
            _NOTES.warning("%s is damaged (%s): it is replaced, and its backup stays", self.path, damage)
            return None

    def _read(self, path: Path) -> _Found[T] | None:
        """Read one file; None where there is none. Raises _Damage, and DocumentError where it is whole but not ours."""
        raw = _bytes_of(path)
        if raw is None:
            return None
        try:
            return _Found(raw, self._decode(raw, path))
        except _BROKEN as error:
            raise _Damage(f"{type(error).__name__}: {str(error)[:500]}") from error

    def _decode(self, raw: bytes, path: Path) -> T:
        envelope = msgspec.json.decode(raw, type=_Envelope)
        if envelope.kind != self.kind:
            raise DocumentError(
                f"{path} is of the kind {envelope.kind[:80]!r}, and {self.kind!r} is wanted. Move it away, or name another path"
            )
        if envelope.version > self.version:
            raise DocumentError(
                f"{path} is {self.kind!r} of version {envelope.version}, and this program knows versions up to "
                f"{self.version}. Use the program that wrote it, or a later one; or move it away to start anew"
            )
        if envelope.version == self.version:
            return msgspec.json.decode(envelope.data, type=self.struct)
        data = msgspec.json.decode(envelope.data, type=dict[str, Any])
        for version in range(envelope.version, self.version):
            if version not in self.migrations:
                raise DocumentError(
                    f"{path} is {self.kind!r} of version {envelope.version}, and there is no migration from version "
                    f"{version}. Load and save it with a program that has one, or move it away to start anew"
                )
            data = self.migrations[version](data)
        return msgspec.json.decode(msgspec.json.encode(data), type=self.struct)

    # ------------------------------------------------------------ writing

    def _encode(self, value: T) -> bytes:
        """Return the file's bytes; a struct is not checked when it is made, so they are read back here."""
        try:
            data = msgspec.Raw(msgspec.json.encode(value))
            whole = msgspec.json.encode(_Envelope(self.kind, self.version, data))
            raw = msgspec.json.format(whole, indent=2) + b"\n"
            self._decode(raw, self.path)
        except (*_BROKEN, ArithmeticError) as error:
            raise DocumentError(
                f"this value of {self.kind!r} cannot be saved to {self.path}, since it could not be loaded again: {error}"
            ) from error
        if len(raw) > LARGEST:
            raise DocumentError(f"{self.path} cannot be saved: {len(raw)} bytes, and a document has at most {LARGEST}")
        return raw

    def _aside(self) -> str:
        return f".{self.path.name}."

    def _write_aside(self, raw: bytes, made: list[Path]) -> Path:
        """Write bytes to a new file of the same folder, down to the disk, and note it in `made` before it is there."""
        path = self.path.with_name(f"{self._aside()}{secrets.token_hex(8)}.tmp")
        made.append(path)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(file, self.mode)
            rest = memoryview(raw)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        return path

    def _sweep(self) -> None:
        """Remove what killed processes left; an hour old, so that it is nobody's who is still writing."""
        with os.scandir(self.path.parent) as entries:
            left = [entry for entry in entries if entry.name.startswith(self._aside()) and entry.name.endswith(".tmp")]
        for entry in left:
            with suppress(FileNotFoundError):  # its owner, or another's sweep, was faster
                if entry.stat(follow_symlinks=False).st_mtime_ns < clock.now_ns() - _STALE_NS:
                    os.unlink(entry.path)


def _bytes_of(path: Path) -> bytes | None:
    """Return what a file holds, None where there is none. Raises _Damage, and DocumentError where it cannot be opened."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not hold us up
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise DocumentError(f"{path} is not a file. Move it away, or name another path")
            if about.st_size > LARGEST:
                raise _Damage(f"{about.st_size} bytes, and a document has at most {LARGEST}")
            with open(file, "rb", closefd=False) as opened:
                return opened.read(LARGEST)
        finally:
            os.close(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:  # the disk has lost it: what the backup is for
            raise _Damage(str(error)) from error
        raise DocumentError(f"{path} cannot be read: {error}. Grant access to it, or name another path") from error


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, with mode 750 as far as the umask allows. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):  # another process made it; where it is no folder, what follows says so
        os.mkdir(folder, FOLDER_MODE)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
