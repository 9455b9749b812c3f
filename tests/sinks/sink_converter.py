"""Makes Parquet of one log in many processes, and ends each without a word right before its n-th step on files.

Prints, for each folder, whether its process was `killed` or came to the end (`whole`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, os.path.dirname(__file__))  # PYTHONSAFEPATH leaves it out

from sink_parts import item

from pytest_marketreplay import clock
from pytest_marketreplay.sinks import arrow
from pytest_marketreplay.sinks.parquet import ParquetSink

STEPS = ("open", "fsync", "link", "unlink", "mkdir")


def dying(name: str, at: int) -> None:
    """Make the process end right before the n-th step of all, which is right after the one before."""
    real = getattr(os, name)

    def step(*arguments: object, **options: object) -> object:
        counted[0] += 1
        if counted[0] == at:
            os._exit(9)
        return real(*arguments, **options)

    setattr(os, name, step)


arrow.pyarrow()
pa.set_cpu_count(1)  # a fork has no threads
pa.set_io_thread_count(1)
arrow.rows_in(arrow.encode(arrow.table(b"", "", decimals=False)))  # what is loaded late, each fork has then
top = Path(sys.argv[1])
counted = [0]
number = 0
alive = True
clock.now_ns = lambda: 1_767_323_045_000_000_000  # type: ignore[assignment]
while alive:
    number += 1
    root = top / str(number)
    if (pid := os.fork()) == 0:
        sink = ParquetSink(root, rotate_entries=3)
        sink.open()
        sink.write([item(each) for each in range(4)])
        for name in STEPS:
            dying(name, number)
        sink.close()
        os._exit(0)
    alive = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    print(root.name, "killed" if alive else "whole", flush=True)
