"""Writes as a sink does, and ends without a word in the middle of it.

`doctor_killed.py local TREE` stops inside of a line; `parquet TREE` with a log that is no file yet; `sealing TREE`
between the sealed file and the removal of the plain one, or with one more argument while it makes the sealed one.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))  # PYTHONSAFEPATH leaves it out

from doctor_parts import items

from pytest_marketreplay import clock
from pytest_marketreplay.sinks.local import LocalSink
from pytest_marketreplay.sinks.parquet import ParquetSink


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    how, root = sys.argv[1], Path(sys.argv[2])
    if how == "parquet":
        log = ParquetSink(root, rotate_entries=4)
        log.open()
        log.write(items(0, 6))
        log.rotate(clock.now_ns())  # four are a file, two are in the log
        end()
    if how == "sealing":
        sealing = LocalSink(root, seal="zst")
        sealing.open()
        sealing.write(items(0, 6))
        if len(sys.argv) > 3:
            os.chmod = lambda *arguments: end()  # type: ignore[assignment]
        else:
            real_unlink = os.unlink
            os.unlink = lambda path: end() if str(path).endswith(".jsonl") else real_unlink(path)  # type: ignore[assignment]
        sealing.close()
    sink = LocalSink(root)
    sink.open()
    sink.write(items(0, 6))
    real = os.write

    def write(fd: int, data: bytes | memoryview) -> int:
        real(fd, bytes(data)[:-30])
        end()
        return 0

    os.write = write  # type: ignore[assignment]
    sink.write(items(6, 7))


if __name__ == "__main__":
    main()
