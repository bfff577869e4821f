"""Tasks on several processes, none of which outlives this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from typing import Any, Final

from verify.errors import InputError

Do = Callable[[Any], Any]
Run = Callable[[Iterable[Any]], Iterator[Any]]

# Each process has one thread for numbers; the tokenizer's share the cores among the processes.
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def pool(do: Do, *, jobs: int) -> Iterator[Run]:
    """Processes that do tasks: gives a function that does all of some tasks and yields each result when it is there.

    Args:
        do: does one task; it, the tasks and the results are sent between processes, so that they must be picklable.
        jobs: processes; with 1 everything is done in this one.

    Raises:
        InputError: a process was killed, for example because memory ran out.
        Exception: what `do` raises.
    """
    if jobs == 1:
        yield lambda tasks: map(do, tasks)
        return
    for name in THREADS:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("RAYON_NUM_THREADS", str(max((os.cpu_count() or 1) // jobs, 1)))
    # Spawned: a fork would copy locks that threads hold.
    context, begin = multiprocessing.get_context("spawn"), _begin
    executor = ProcessPoolExecutor(jobs, context, begin, (do,))

    def run(tasks: Iterable[Any]) -> Iterator[Any]:
        waiting = iter(tasks)
        futures: set[Future[Any]] = {executor.submit(_call, task) for task in islice(waiting, 2 * jobs)}
        while futures:
            done, futures = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                futures |= {executor.submit(_call, task) for task in islice(waiting, 1)}

    try:
        yield run
        executor.shutdown()
    except BrokenProcessPool:
        raise InputError(
            "a process was killed from outside, perhaps because memory ran out",
            hint="give less --memory or fewer --jobs, and run the same command again: it goes on where it stopped",
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


_do: Do


def _begin(do: Do) -> None:
    global _do
    _do = do
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _call(task: Any) -> Any:
    return _do(task)
