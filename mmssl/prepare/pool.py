"""Worker processes with limits of time and memory: what crashes or hangs one costs its own item, and nothing else.

Work comes in tasks, a task in items. A worker says which item it begins; when it dies or takes too long there, the item
is lost, a new worker takes its place, and the task is done again without that item.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, NamedTuple

import threadpoolctl

from mmssl import hardware
from mmssl.errors import CannotDo

Lost = Literal["decoder_crashed", "decoder_timeout"]
"""Why an item was lost."""

Work = Callable[[Any, Callable[[int], None], Mapping[int, Lost]], None]
"""What is done with a task: work(task, begin, lost). It calls `begin(number)` before each item, which are counted from
0, and leaves out those in `lost`."""

STARTS = 3
"""A task whose workers die so often before its first item is no item's fault."""


class Limits(NamedTuple):
    """What a worker may take."""

    seconds: float
    """For one item."""
    memory: int
    """Bytes beside what it began with; beyond them Python raises MemoryError."""


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    task: Any = None
    lost: dict[int, Lost] = field(default_factory=dict)
    item: int | None = None  # that it is at; None before the first
    since: float = 0.0  # when it began there
    counted: int = 0  # items that were begun once
    deaths: int = 0  # before the first item


class Pool:
    """Does tasks in so many processes. Closed early, as by Ctrl-C, it lets them finish the tasks that they are at."""

    def __init__(self, work: Work, *, workers: int, limits: Limits) -> None:
        self.work, self.workers, self.limits = work, workers, limits
        self._free: list[_Worker] = []
        self._busy: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            while self._busy:
                self._step(lambda: None)
        finally:
            for one in self._busy:
                one.process.kill()
            for one in self._free:
                with contextlib.suppress(OSError):
                    one.pipe.send(None)  # a closed pipe tells nothing while workers hold each other's ends
            for one in (*self._busy, *self._free):
                one.process.join()
                one.pipe.close()

    def run(self, tasks: Iterable[Any], advance: Callable[[], None] = lambda: None) -> Iterator[Any]:
        """Yields each task when it is done; the next ones are taken when workers are free.

        Args:
            tasks: what the work is done with.
            advance: called when an item is begun for the first time.

        Raises:
            CannotDo: where workers die before they begin.
            OSError: what the system refuses to the work.
            RuntimeError: where the work itself fails, with its traceback.
        """
        waiting = iter(tasks)
        while True:
            while len(self._busy) < self.workers and (task := next(waiting, None)) is not None:
                one = self._free.pop() if self._free else self._start()
                one.task, one.lost, one.counted, one.deaths = task, {}, 0, 0
                self._give(one)
            if not self._busy:
                return
            yield from self._step(advance)

    def _step(self, advance: Callable[[], None]) -> list[Any]:
        """Waits until something happens; the tasks that are done by then."""
        left = min(one.since for one in self._busy) + self.limits.seconds - time.monotonic()
        wait([handle for one in self._busy for handle in (one.pipe, one.process.sentinel)], max(0.0, left))
        return [one.task for one in list(self._busy) if self._look(one, advance)]

    def _look(self, one: _Worker, advance: Callable[[], None]) -> bool:
        """Hears what a worker has to say, and whether it is done; replaces one that is dead or late."""
        lives = one.process.is_alive()  # asked first: what a dead one said before is still heard
        while (said := _heard(one.pipe)) is not None:
            if said == "done":
                self._busy.remove(one)
                self._free.append(one)
                return True
            if isinstance(said, OSError):
                raise said
            if isinstance(said, str):
                raise RuntimeError(f"a worker failed\n{said}")
            if said >= one.counted:
                one.counted = said + 1
                advance()
            one.item, one.since = said, time.monotonic()
        if not lives:
            self._replace(one, "decoder_crashed")
        elif time.monotonic() - one.since > self.limits.seconds:
            one.process.kill()
            self._replace(one, "decoder_timeout")
        return False

    def _replace(self, one: _Worker, reason: Lost) -> None:
        one.process.join()
        one.pipe.close()
        self._busy.remove(one)
        if one.item is None:
            one.deaths += 1
            if one.deaths == STARTS:
                raise CannotDo(f"processes that decode do not come up: {_said(one.process.exitcode)}")
        else:
            one.lost[one.item] = reason
        new = self._start()
        one.process, one.pipe = new.process, new.pipe
        self._give(one)

    def _give(self, one: _Worker) -> None:
        one.item, one.since = None, time.monotonic()
        self._busy.append(one)
        with contextlib.suppress(OSError):  # it died meanwhile, which is seen in the next step
            one.pipe.send((one.task, one.lost))

    def _start(self) -> _Worker:
        # Forked workers share what this process has read, and need no `if __name__ == "__main__"` of a user.
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.work, self.limits, os.getpid()), daemon=True)
        with warnings.catch_warnings():  # forking beside threads is warned of; none of ours holds a lock here
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        return _Worker(process, ours)


def _heard(pipe: Connection) -> int | str | OSError | None:
    """What a worker said: the number of an item, `done`, what the system refused, or a traceback; None: nothing."""
    try:
        return pipe.recv() if pipe.poll() else None
    except (EOFError, OSError):
        return None


def _said(code: int | None) -> str:
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit status {code}"


# ---- in a worker ---------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, work: Work, limits: Limits, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair: it lets a task come to its end
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    threadpoolctl.threadpool_limits(1)  # several that wait for each other on busy cores cost more than they give
    hardware.keep_memory()  # a picture's buffers would else be handed back and faulted in again: a third of the time
    _limit_memory(limits.memory)
    while True:
        try:
            told = pipe.recv()
        except (EOFError, OSError):
            told = None
        if told is None:
            os._exit(0)
        task, lost = told
        try:
            work(task, pipe.send, lost)
            pipe.send("done")
        except OSError as error:
            pipe.send(error)
        except BaseException:
            pipe.send(traceback.format_exc())


def _end_with(parent: int) -> None:
    """A worker whose parent was killed has nobody to work for."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _limit_memory(more: int) -> None:
    """Lets this process have so many bytes beside those that it has, where the system can say how many these are."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            there = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = there + more
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    except (ImportError, OSError, ValueError):
        pass
