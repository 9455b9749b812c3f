"""The manifest of an archive: what is in it, to the byte (docs/reference/archive.md)."""

from __future__ import annotations

import hashlib

import msgspec

MEMBER = "marketreplay-manifest.json"
"""The archive's last member."""
VERSION = 1


class Member(msgspec.Struct, frozen=True):
    """One file of the tree."""

    path: str
    """Relative, `/` between folders, NFC or whatever the file system said: the bytes are kept."""
    size: int
    sha256: str
    mode: int
    """Permission bits, as found."""


class Folder(msgspec.Struct, frozen=True):
    """One folder of the tree, empty or not; the root is not among them."""

    path: str
    mode: int


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds. Sorted by path, so that equal trees have equal manifests."""

    members: tuple[Member, ...]
    folders: tuple[Folder, ...] = ()
    format: str = "marketreplay-archive"
    version: int = VERSION

    @property
    def size_bytes(self) -> int:
        """Return the size of all files together, unpacked."""
        return sum(member.size for member in self.members)

    def encode(self) -> bytes:
        """Return the manifest as it stands in an archive: the same bytes for the same tree."""
        return msgspec.json.encode(self, order="deterministic")

    def digest(self) -> str:
        """Return the SHA-256 of what `encode` gives, 64 hex digits; a snapshot's name has the first 32."""
        return hashlib.sha256(self.encode()).hexdigest()
