"""Work that is done ahead in threads, while what was done before is stored in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Job = TypeVar("Job")
Made = TypeVar("Made")
THREADS = 2
"""On two cores a third made nothing faster: they wait for the interpreter's lock."""
_MOST = 8
"""Jobs that are begun and not yet taken."""


def ahead(
    make: Callable[[Job], Made], jobs: Sequence[Job], size: Callable[[Job], int], most_bytes: int
) -> Generator[tuple[Job, Callable[[], Made]], None, None]:
    """Yield each job, in order, with a function that returns what `make` makes of it, or raises what it raises.

    Jobs that are begun have no more than `most_bytes` together, as `size` tells of each, or there is one only. A single job
    is done without a thread. An iterator that is closed early begins nothing more, and waits for what is begun.
    """
    if len(jobs) < 2:
        yield from ((job, partial(make, job)) for job in jobs)
        return
    todo = deque((job, size(job)) for job in jobs)
    begun: deque[tuple[Job, int, Future[Made]]] = deque()
    begun_bytes = 0
    pool = ThreadPoolExecutor(THREADS, "marketreplay-sink")
    try:
        while todo or begun:
            while todo and (not begun or (len(begun) < _MOST and begun_bytes + todo[0][1] <= most_bytes)):
                job, job_bytes = todo.popleft()
                begun.append((job, job_bytes, pool.submit(make, job)))
                begun_bytes += job_bytes
            job, job_bytes, future = begun.popleft()
            yield job, future.result
            begun_bytes -= job_bytes
    finally:
        pool.shutdown(cancel_futures=True)
