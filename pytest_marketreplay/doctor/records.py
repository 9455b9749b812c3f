"""Documents: whether they and their backups can be read, and a damaged one made anew from the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import msgspec

from pytest_marketreplay.doctor.health import Notebook
from pytest_marketreplay.documents import Document
from pytest_marketreplay.errors import Busy, DocumentError

T = TypeVar("T", bound=msgspec.Struct)


class _Alone(Document[T]):
    """A document read without its backup."""

    @property
    def backup(self) -> Path:
        """Return a path that nobody has."""
        return self.path.with_name(self.path.name + ".bak.none")


def examine_document(
    document: Document[T], notebook: Notebook, hold: Callable[[], AbstractContextManager[object]]
) -> T | None:
    """Return a document's value, that of its backup where it is damaged; None where neither is there or can be read.

    `hold` keeps everybody else from writing it while it is mended.
    """
    value, reason = _read(document, document.path)
    spare, spare_reason = _read(document, document.backup)
    if value is None and spare is not None:
        notebook.add(
            "document-damaged",
            document.path,
            f"{reason or 'it is gone'}; its backup {document.backup.name} is whole",
            f"marketreplay doctor --fix, or: cp -p {document.backup} {document.path}",
            mend=lambda: _mend(document, document.path, hold),
        )
        return spare
    if value is not None:
        if spare_reason:
            notebook.add(
                "document-spare-damaged",
                document.backup,
                spare_reason,
                "marketreplay doctor --fix; the next save replaces it too",
                mend=lambda: _mend(document, document.backup, hold),
            )
        return value
    if reason or spare_reason:
        also = f"; its backup: {spare_reason}" if spare_reason else ", and it has no backup"
        notebook.add(
            "document-unreadable",
            document.path,
            f"{reason or 'it is gone'}{also}",
            "mend it by hand, give access to it, or move it away to start anew",
        )
    return None


def _read(document: Document[T], path: Path) -> tuple[T | None, str]:
    """Return the value of one file, and else what is wrong with it; neither where it is not there."""
    alone = _Alone(path, document.struct, kind=document.kind, version=document.version, migrations=document.migrations)
    try:
        return alone.load(), ""
    except DocumentError as error:
        return None, str(error).partition(". It has no backup")[0]


def _mend(document: Document[T], bad: Path, hold: Callable[[], AbstractContextManager[object]]) -> str:
    with hold():
        value = document.load()
        if value is None:
            raise Busy("it is gone")
        kept = ""
        if bad.exists():
            aside = bad.with_name(bad.name + ".damaged")
            os.link(bad, aside)  # raises where there is one from an earlier time
            kept = f"; what was there is kept in {aside.name}"
        document.save(value)
    return f"made anew from {document.backup.name if bad == document.path else document.path.name}{kept}"
