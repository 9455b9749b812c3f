"""Work that is done ahead, partly in threads, while what was done before is stored in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Begun = TypeVar("Begun")
Made = TypeVar("Made")
THREADS = 2
_MOST = 8
"""Jobs that are begun and not yet taken."""


def ahead(
    begin: Callable[[Job], Begun],
    finish: Callable[[Begun], Made],
    jobs: Sequence[Job],
    size: Callable[[Job], int],
    most_bytes: int,
) -> Generator[tuple[Job, Callable[[], Made]], None, None]:
    """Yield each job, in order, with a function that returns what is made of it, or raises what making it raised.

    Its first half, `begin`, is done in the thread that iterates: what often asks for the interpreter's lock is slower in two
    threads than in one. Its second half, `finish`, is done in another, if there is more than one job. Those that are begun
    have no more than `most_bytes` together, as `size` tells of each, or there is one only. An iterator that is closed early
    begins nothing more, and waits for what is begun.
    """
    if len(jobs) < 2:
        yield from ((job, lambda job=job: finish(begin(job))) for job in jobs)
        return
    todo = deque((job, size(job)) for job in jobs)
    begun: deque[tuple[Job, int, Future[Made]]] = deque()
    begun_bytes = 0
    pool = ThreadPoolExecutor(THREADS, "marketreplay-sink")
    try:
        while todo or begun:
            while todo and (not begun or (len(begun) < _MOST and begun_bytes + todo[0][1] <= most_bytes)):
                job, job_bytes = todo.popleft()
                future: Future[Made] = Future()
                try:
                    half = begin(job)
                except Exception as error:  # noqa: BLE001 it is raised when it is this job's turn
                    future.set_exception(error)
                else:
                    future = pool.submit(finish, half)
                begun.append((job, job_bytes, future))
                begun_bytes += job_bytes
            job, job_bytes, future = begun.popleft()
            yield job, future.result
            begun_bytes -= job_bytes
    finally:
        pool.shutdown(cancel_futures=True)
