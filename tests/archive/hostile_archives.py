"""Archives that no honest hand made, each with what is said of it."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable

from archive_lab import Part, forge, instead, put

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.manifest import MEMBER, Folder

X, Y = Part("a/x"), Part("b/y", b"other")
LONG = Part("a/x", bytes(1_000_000))
FLAGS, METHOD, EXTRA_LENGTH, COMMENT_LENGTH, ATTRIBUTES, OFFSET = 8, 10, 30, 32, 38, 42  # in the directory


def both(local: int, entry: int, shape: str, value: int) -> dict[str, Callable[[bytes], bytes]]:
    """Change a field in the local header and in the directory."""
    return {"local": put(local, shape, value), "entry": put(entry, shape, value)}


def zipped(make: Callable[[zipfile.ZipFile], object], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Make an archive with Python's writer."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        make(archive)
    return file.getvalue()


def bomb_with_lies() -> bytes:
    return forge(Part("a/x", bytes(100_000), size=1000))


NAMES = {
    "../evil": "begins with '.'",
    "a/../../evil": "begins with '.'",
    "a/./x": "begins with '.'",
    "/evil": "absolute",
    "C:/evil": "drive letter",
    "C:evil": "drive letter",
    "a/C:evil": "drive letter",
    "a\\evil": "backslash",
    "..\\evil": "backslash",
    "evil\0.jsonl": "control character",
    "evil\n.jsonl": "control character",
    "evil\x9b.jsonl": "control character",
    ".ssh/authorized_keys": "begins with '.'",
    "a/.evil": "begins with '.'",
    "a//evil": "an empty part",
    "a/": "an empty part",
    "": "an empty part",
    "x" * 256: "more than 255 bytes",
    "/".join(["x" * 200] * 6): "more than 1024 bytes",
    MEMBER: "twice",
    MEMBER.upper(): "twice",
}
"""And what is said of each."""

FOLDER = (Folder("a", 0o750),)

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    **{f"name: {name[:20]!r}": (lambda name=name: forge(Part(name), folders=FOLDER), why) for name, why in NAMES.items()},
    "name: a hidden folder": (lambda: forge(X, folders=(Folder(".evil", 0o750), Folder("a", 0o750))), "begins with"),
    "name: a folder outside": (lambda: forge(X, folders=(Folder("../evil", 0o750), Folder("a", 0o750))), "begins with"),
    "name: no UTF-8": (
        lambda: forge(X, manifest=instead(b'"path":"a/x"', b'"path":"a/\xff"'), local=lambda b: b.replace(b"a/x", b"a/\xff")),
        "something else wrote it",
    ),
    "name: a lone surrogate": (lambda: forge(X, manifest=instead(b'"path":"a/x"', b'"path":"a/\\ud800"')), "something else wrote it"),
    "name: another in the directory": (lambda: forge(X, entry=instead(b"a/x", b"a/z")), "another name"),
    "name: another in the local header": (lambda: forge(X, local=instead(b"a/x", b"a/z")), "another name"),
    "duplicate": (lambda: forge(X, X), "twice"),
    "duplicate in other case": (lambda: forge(Part("a/X"), Part("a/x")), "twice"),
    "duplicate folder in other case": (lambda: forge(Part("A/x"), Part("a/y")), "twice"),
    "duplicate in another spelling": (lambda: forge(Part("bu\u0308ch"), Part("b\u00fcch")), "twice"),
    "duplicate by the Kelvin sign": (lambda: forge(Part("k"), Part("\u212a")), "twice"),
    "file against folder": (lambda: forge(Part("a"), Part("a/x")), "twice"),
    "file against folder that is not told": (lambda: forge(Part("a"), Part("a/x"), folders=()), "the folder that it is in"),
    "folder not told": (lambda: forge(X, folders=()), "the folder that it is in"),
    "folder after what is in it": (
        lambda: forge(X, folders=(Folder("a/b", 0o750), Folder("a", 0o750))), "the folder that it is in",
    ),
    "folders not sorted": (lambda: forge(X, folders=(Folder("b", 0o750), Folder("a", 0o750))), "not sorted"),
    "not sorted": (lambda: forge(Y, X), "not sorted"),
    "symlink": (lambda: forge(X, entry=put(ATTRIBUTES, "I", (stat.S_IFLNK | 0o777) << 16)), "a symlink"),
    "device": (lambda: forge(X, entry=put(ATTRIBUTES, "I", (stat.S_IFCHR | 0o640) << 16)), "external attributes"),
    "set user id": (lambda: forge(X._replace(mode=0o4755)), "its mode is 4755"),
    "another mode than in the manifest": (
        lambda: forge(X, entry=put(ATTRIBUTES, "I", (stat.S_IFREG | 0o777) << 16)), "external attributes",
    ),
    "negative mode": (lambda: forge(X, manifest=instead(b'"mode":416', b'"mode":-1')), "its mode is"),
    "encrypted": (lambda: forge(X, **both(6, FLAGS, "H", 0x0801)), "encrypted"),
    "encrypted locally": (lambda: forge(X, local=put(6, "H", 0x0801)), "encrypted"),
    "data descriptor": (lambda: forge(X, **both(6, FLAGS, "H", 0x0808)), "flags"),
    "no UTF-8 flag": (lambda: forge(X, **both(6, FLAGS, "H", 0)), "flags"),
    "zstd": (lambda: forge(X, **both(8, METHOD, "H", 93)), "the method in its directory entry is 93 and should be 8"),
    "stored and told as deflated": (lambda: forge(X._replace(stored=True), **both(8, METHOD, "H", 8)), "its deflate stream has no end"),
    "deflated and told as stored": (lambda: forge(X, **both(8, METHOD, "H", 0)), "nothing that was packed here"),
    "a date": (lambda: forge(X, **both(12, 14, "H", 0x5D7C)), "date"),
    "a comment of the archive": (lambda: forge(X, end=lambda b: b[:-2] + b"\5\0hello"), "end"),
    "a comment of a member": (
        lambda: forge(X, entry=lambda b: put(COMMENT_LENGTH, "H", 5)(b) + b"hello"), "length of the comment",
    ),
    "an extra field": (
        lambda: forge(X, entry=lambda b: put(EXTRA_LENGTH, "H", 4)(b) + b"\x99\x99\0\0"), "length of the extra field",
    ),
    "an extra field in the local header": (
        lambda: forge(X, local=lambda b: put(28, "H", 4)(b) + b"\x99\x99\0\0"), "something in it that is in no member",
    ),
    "prepended data": (lambda: forge(X, before=b"#!/bin/sh\n"), "offset"),
    "prepended data, offsets as without": (
        lambda: forge(X, before=b"#!/bin/sh\n", offsets=lambda offset: offset - 10), "in no member",
    ),
    "appended data": (lambda: forge(X) + b"\0", "its end is not that of an archive"),
    "a second end": (lambda: forge(X) + forge(X)[-22:], "where its directory is"),
    "data between members": (lambda: forge(X, Y, between=b"hidden"), "offset"),
    "overlap": (lambda: forge(X, Y, offsets=lambda offset: 0), "offset"),
    "overlap, sizes that say so": (lambda: forge(X, Y, entry=put(20, "I", 10)), "it reaches beyond where the next one begins"),
    "several disks": (lambda: forge(X, end=put(4, "H", 1)), "where its directory is"),
    "directory elsewhere": (lambda: forge(X, end=put(16, "I", 0)), "where its directory is"),
    "directory that is longer than the file": (lambda: forge(X, end=put(12, "I", 0x7FFFFFFF)), "where its directory is"),
    "no entries": (lambda: forge(X, end=lambda b: put(8, "H", 0)(put(10, "H", 0)(b))), "its directory has 0 entries"),
    "more entries told": (lambda: forge(X, end=lambda b: put(8, "H", 9)(put(10, "H", 9)(b))), "its directory of 8"),
    "a directory that ends early": (lambda: forge(X, Y, entry=lambda b: b[:46] if b"b/y" in b else b), "ends before it"),
    "a directory with more in it": (lambda: forge(X, entry=lambda b: b + bytes(10)), "in no member"),
    "zip64 for nothing": (lambda: forge(X, end=lambda b: put(8, "H", 0xFFFF)(put(10, "H", 0xFFFF)(b))), "where its directory is"),
    "bomb": (lambda: forge(LONG), "nothing that was packed here"),
    "bomb in its manifest": (lambda: forge(X, manifest=lambda b: b[:-1] + b" " * (layout.LARGEST_MANIFEST) + b"}"), r"its manifest has \d+ bytes"),
    "a small bomb in its manifest": (
        lambda: forge(X, manifest=lambda b: b + b" " * 1_000_000),
        r"its manifest has 1000\d+ bytes",
    ),
    "bomb that lies": (bomb_with_lies, "inflates to more than its 1000 bytes"),
    "bomb that lies with a manifest that does not": (
        lambda: forge(Part("a/x", b"".join(b"%d" % n for n in range(9000)), size=100, told=1_000_000)), "size in its directory",
    ),
    "inflates to more than told": (lambda: forge(X._replace(data=b"abcdefgh" * 20, size=150)), "more than its 150 bytes"),
    "inflates to less than told": (lambda: forge(X._replace(size=5)), "has 4 bytes and should have 5"),
    "stored with another size": (lambda: forge(X._replace(stored=True, size=9)), "nothing that was packed here"),
    "negative size": (lambda: forge(X, manifest=instead(b'"size":4', b'"size":-4')), "its size or its SHA-256"),
    "a size beyond everything": (lambda: forge(X, manifest=instead(b'"size":4', b'"size":' + b"9" * 25)), "something else wrote it"),
    "a size of zip64": (lambda: forge(X._replace(told=1 << 62)), "the directory ends before it"),
    "another CRC": (lambda: forge(X._replace(crc=7)), "CRC"),
    "another SHA-256": (lambda: forge(X._replace(sha256="0" * 64)), "SHA-256"),
    "no SHA-256": (lambda: forge(X._replace(sha256="0" * 63)), "its SHA-256 is none"),
    "SHA-256 in capitals": (lambda: forge(X._replace(sha256="A" * 64)), "its SHA-256 is none"),
    "manifest with blanks": (lambda: forge(X, manifest=lambda b: b + b" "), "something else wrote it"),
    "manifest with a field more": (lambda: forge(X, manifest=instead(b',"version"', b',"x":1,"version"')), "something else wrote it"),
    "manifest with a field twice": (
        lambda: forge(X, manifest=instead(b'"size":4', b'"size":9,"size":4')), "something else wrote it",
    ),
    "manifest with an escape": (lambda: forge(X, manifest=instead(b'"path":"a/x"', b'"path":"a\\/x"')), "something else wrote it"),
    "manifest of a later version": (
        lambda: forge(X, manifest=instead(b'"version":1', b'"version":2')), "version 2, and this release reads version 1",
    ),
    "manifest of something else": (lambda: forge(X, manifest=instead(b"replay-archive", b"replay-zoo")), "zoo"),
    "manifest that is none": (lambda: forge(X, manifest=lambda b: b"[]"), "something else wrote it"),
    "manifest too deep": (lambda: forge(X, manifest=lambda b: b'{"members":' + b"[" * 300), "something else wrote it"),
    "manifest that is empty": (lambda: forge(X, manifest=lambda b: b""), "something else wrote it"),
    "an archive of Python's": (lambda: zipped(lambda z: z.writestr("x", b"1")), "its last member is not"),
    "an empty archive of Python's": (lambda: zipped(lambda z: None), "its directory has 0 entries"),
    "Python's, with a manifest": (
        lambda: zipped(lambda z: z.writestr(MEMBER, b'{"members":[]}')), "directory entry",
    ),
    "not an archive": (lambda: b"hello", "its end is not that of an archive"),
    "nothing": (lambda: b"", "its end is not that of an archive"),
    "an end without a beginning": (lambda: layout.end_records(layout.Ends(1, 0, 0)), "its last member is not"),
    "zip64 end without a beginning": (lambda: layout.end_records(layout.Ends(1 << 40, 0, 0)), "its directory has"),
}  # fmt: skip
