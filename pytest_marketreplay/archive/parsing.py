"""Reading the manifest of an archive that nobody vouches for: piece by piece, in the only way that it can be written.

A decoder of JSON would take the memory that the text asks for. Here each piece is found by its shape, decoded alone, and
must be what encoding it gives; there are never more than an archive can have.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn, TypeVar

import msgspec

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.manifest import MEMBER, VERSION, Folder, Manifest, Member
from pytest_marketreplay.archive.paths import LONGEST, Names
from pytest_marketreplay.errors import DamagedArchive

_PATH = rb'\{"path":"(?:[^"\\]++|\\.)*+",'
_MEMBER = re.compile(_PATH + rb'"size":-?\d{1,19},"sha256":"[^"\\]{0,64}","mode":-?\d{1,9}\}', re.DOTALL)
_FOLDER = re.compile(_PATH + rb'"mode":-?\d{1,9}\}', re.DOTALL)
_LONGEST_PIECE = 2 * LONGEST + 400
_VERSION = re.compile(rb'"format":"([a-z-]{0,40})","version":(\d{1,9})\}\Z')
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

T = TypeVar("T", Member, Folder)


def parse(raw: bytes | bytearray, archive: str) -> Manifest:
    """Return a manifest. Raises DamagedArchive for whatever `pack` cannot have written."""
    told = _VERSION.search(raw[-100:])
    if told is not None and (told[1].decode(), int(told[2])) != (Manifest(()).format, VERSION):
        raise DamagedArchive(
            archive,
            f"it is of {told[1].decode()!r}, version {int(told[2])}, and this release reads version {VERSION}",
            MEMBER,
        )
    before, between, after = Manifest(()).encode().split(b"[]")
    text = _Text(raw, archive)
    text.take(before)
    members = text.items(_MEMBER, Member)
    text.take(between)
    folders = text.items(_FOLDER, Folder)
    text.take(after)
    if not text.done:
        text.refuse()
    manifest = Manifest(members, folders)
    _check_names(manifest, archive)
    return manifest


class _Text:
    def __init__(self, raw: bytes | bytearray, archive: str) -> None:
        self._raw, self._archive = raw, archive
        self._at = self._count = 0

    @property
    def done(self) -> bool:
        return self._at == len(self._raw)

    def refuse(self) -> NoReturn:
        raise DamagedArchive(
            self._archive,
            f"from byte {self._at} on it is not written as manifests are: something else wrote it",
            MEMBER,
        )

    def take(self, piece: bytes) -> None:
        if not self._raw.startswith(piece, self._at):
            self.refuse()
        self._at += len(piece)

    def items(self, shape: re.Pattern[bytes], kind: type[T]) -> tuple[T, ...]:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        encode = msgspec.json.Encoder().encode
        found: list[T] = []
        self.take(b"[")
        while not self._raw.startswith(b"]", self._at):
            if found:
                self.take(b",")
            match = shape.match(self._raw, self._at, self._at + _LONGEST_PIECE)
            if match is None:
                self.refuse()
            try:
                item = decoder.decode(match[0])
            except (msgspec.DecodeError, UnicodeError):
                self.refuse()
            if encode(item) != match[0]:
                self.refuse()
            found.append(item)
            self._at = match.end()
            self._count += 1
            if self._count > layout.MOST_ENTRIES:
                raise DamagedArchive(self._archive, f"it has more than {layout.MOST_ENTRIES} files and folders", MEMBER)
        self.take(b"]")
        return tuple(found)


def _check_names(manifest: Manifest, archive: str) -> None:
    names = Names()
    folders = {""}
    before = ""
    for folder in manifest.folders:
        _check(folder, before, folders, names, archive)
        folders.add(folder.path)
        before = folder.path
    before = ""
    for member in manifest.members:
        _check(member, before, folders, names, archive)
        before = member.path
        if not 0 <= member.size < 1 << 63 or not _SHA256.fullmatch(member.sha256):
            raise DamagedArchive(archive, "its size or its SHA-256 is none", member.path)


def _check(item: Member | Folder, before: str, folders: set[str], names: Names, archive: str) -> None:
    if why := names.add(item.path):
        raise DamagedArchive(archive, why, item.path)
    if item.path <= before:
        raise DamagedArchive(archive, f"it stands after {before!r}, and the manifest is not sorted", item.path)
    if item.path.rpartition("/")[0] not in folders:
        raise DamagedArchive(archive, "the folder that it is in is not in the manifest", item.path)
    if not 0 <= item.mode <= 0o777:
        raise DamagedArchive(archive, f"its mode is {item.mode:o}", item.path)
