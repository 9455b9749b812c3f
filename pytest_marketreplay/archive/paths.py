"""Which names an archive may hold. Whatever is no such name is refused, in packing and in reading; none is ever mended."""

from __future__ import annotations

import re
from unicodedata import normalize

from pytest_marketreplay.archive.manifest import MEMBER

LONGEST = 1024
"""Bytes of a path in UTF-8."""
_LONGEST_PART = 255
_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")


def fault(path: str) -> str:
    """Say why a path cannot be in an archive; empty where it can."""
    if found := _REFUSED.search(path):
        return f"its name has {found[0]!r} in it, which is no UTF-8, a control character or a backslash"
    if len(path.encode()) > LONGEST:
        return f"its path has more than {LONGEST} bytes"
    for part in path.split("/"):
        if not part:
            return "its path is absolute, or has an empty part"
        if part[0] == ".":
            return "a part of its path begins with '.'"
        if _DRIVE.match(part):
            return "a part of its path begins with a drive letter"
        if len(part.encode()) > _LONGEST_PART:
            return f"a part of its path has more than {_LONGEST_PART} bytes"
    return ""


def key(path: str) -> str:
    """Return what paths have in common that are one file where case, or the spelling of an accent, does not count."""
    return path.lower() if path.isascii() else normalize("NFC", normalize("NFC", path).casefold())


class Names:
    """The names that an archive has so far."""

    def __init__(self) -> None:
        self._keys = {key(MEMBER)}

    def add(self, path: str) -> str:
        """Take a name, and say what is wrong with it; empty where it is right."""
        if why := fault(path):
            return why
        before = len(self._keys)
        self._keys.add(key(path))
        if len(self._keys) == before:
            return "its name is there twice, where upper and lower case are one"
        return ""
