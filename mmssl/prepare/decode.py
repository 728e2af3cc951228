"""Decodes in a pool of processes, chunk by chunk, into a spool beside the store; what is there is not done again.

A decoder that crashes takes its process with it, not the job: the inputs that were under way are then tried one by
one, and the one that crashes again is rejected.
"""

import concurrent.futures
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from mmssl import console, files
from mmssl.errors import Unreadable
from mmssl.types import Picture

if TYPE_CHECKING:
    from PIL import Image

CHUNK = 64
"""Inputs that are decoded and written together."""

SECONDS = 180
"""A decoder that takes longer for one input is taken for hung, and ended."""

SPOOL = pa.schema(
    {
        "entry": pa.int64(), "frame": pa.int32(), "bytes": pa.binary(), "format": pa.string(), "width": pa.int32(),
        "height": pa.int32(), "colour": pa.bool_(), "pixel_hash": pa.string(), "phash": pa.string(),
        "spread": pa.float32(), "columns": pa.string(), "reason": pa.string(),
    }
)  # fmt: skip


class Frame(NamedTuple):
    """One decoded picture, or why there is none; its bytes stay in the spool."""

    entry: int
    frame: int
    format: str | None
    width: int | None
    height: int | None
    colour: bool | None
    pixel_hash: str | None
    phash: str | None
    spread: float | None
    columns: dict[str, Any]
    reason: str | None


class Spool:
    """What was decoded, in the order of the entries; bytes are read from the disk when asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._bytes: list[pa.ChunkedArray] = []
        self._places: list[tuple[int, int]] = []
        self.frames: list[Frame] = []
        for number, path in enumerate(paths):
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            self._bytes.append(table.column("bytes"))
            told = table.drop_columns(["bytes"]).to_pylist()
            self.frames += [Frame(**row | {"columns": json.loads(row["columns"])}) for row in told]
            self._places += [(number, i) for i in range(len(told))]

    def bytes(self, frame: int) -> bytes:
        """The stored file of the frame at a place in `frames`."""
        number, place = self._places[frame]
        return self._bytes[number][place].as_py()

    def size(self, frame: int) -> int:
        number, place = self._places[frame]
        return len(self._bytes[number][place].as_buffer())


def decode(source: Any, pictures: Sequence[Picture], folder: Path, *, short_side: int, workers: int | None) -> Spool:
    """Every picture decoded into chunks in `folder`.

    Args:
        source: its `decode` gives [(image, columns of that frame)] for a picture, or raises Unreadable.
        pictures: inputs with a reason are passed on as they are.
        folder: may hold chunks of an earlier call with the same arguments.
        short_side: larger pictures are made smaller.
        workers: processes; None: one for each core.
    """
    chunks = [(start, pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)]
    paths = [folder / f"{start:09d}.arrow" for start, _ in chunks]
    open_ones = [(chunk, path) for chunk, path in zip(chunks, paths, strict=True) if not path.is_file()]
    if 0 < len(open_ones) < len(chunks):
        console.say(
            f"{len(chunks) - len(open_ones)} of {len(chunks)} parts were decoded before; going on with the rest"
        )
    with console.progress("decode", len(pictures), "images") as advance:
        advance(len(pictures) - sum(len(chunk[1]) for chunk, _ in open_ones))
        _warm_up()
        pool = _Pool(source, short_side, workers or _cores())
        try:
            _run(pool, open_ones, advance)
        finally:
            pool.close()
    return Spool(paths)


def _warm_up() -> None:
    """Imports what decoding needs once, before workers are forked, instead of once in each."""
    from PIL import Image

    _row(0, 0, Image.new("L", (16, 16)), {}, 16)


Chunk = tuple[int, Sequence[Picture]]


def _run(pool: "_Pool", todo: list[tuple[Chunk, Path]], advance: Callable[..., None]) -> None:
    """Keeps the pool busy; a crash sends what was under way to `_alone`."""
    waiting = list(reversed(todo))
    running: dict[concurrent.futures.Future[None], tuple[Chunk, Path]] = {}
    while waiting or running:
        while waiting and len(running) < 2 * pool.workers:
            work = waiting.pop()
            running[pool.submit(work[0][0], work[0][1], work[1])] = work
        done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        crashed = [future for future in done if isinstance(future.exception(), BrokenProcessPool)]
        for future in done:
            if future not in crashed:
                future.result()
                advance(len(running.pop(future)[0][1]))
        if crashed:
            suspects = [work for work in running.values() if not work[1].is_file()]
            finished = [work for work in running.values() if work[1].is_file()]
            running.clear()
            pool.renew()
            for work in suspects:
                _alone(pool, work)
            for work in [*finished, *suspects]:
                advance(len(work[0][1]))


def _alone(pool: "_Pool", work: tuple[Chunk, Path]) -> None:
    """A chunk in a process to itself; where that crashes, each of its pictures in one of its own."""
    (start, pictures), path = work
    if pool.survives(start, pictures, path):
        return
    parts = []
    for number, picture in enumerate(pictures, start):
        part = path.with_suffix(f".{number}")
        if not pool.survives(number, [picture], part):
            _write(part, [_rejected(number, "decoder_crashed")])
        parts.append(part)
    tables = [pa.ipc.open_file(pa.memory_map(str(part))).read_all() for part in parts]
    with files.whole_file(path) as whole, pa.ipc.new_file(str(whole), SPOOL) as writer:
        writer.write_table(pa.concat_tables(tables))
    for part in parts:
        part.unlink()


class _Pool:
    """A process pool that can be renewed after a crash."""

    def __init__(self, source: Any, short_side: int, workers: int) -> None:
        self.workers, self.arguments = workers, (source, short_side)
        self.pool = self._new(workers)

    def _new(self, workers: int) -> concurrent.futures.ProcessPoolExecutor:
        import multiprocessing

        # Forked workers share the source's tables with this process, and need no `if __name__ == "__main__"` of a user.
        way = "fork" if sys.platform == "linux" else "spawn"
        context = multiprocessing.get_context(way)
        return concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker, (*self.arguments, os.getpid()))

    def submit(self, start: int, pictures: Sequence[Picture], path: Path) -> "concurrent.futures.Future[None]":
        return self._submit(self.pool, start, pictures, path)

    def _submit(
        self, pool: concurrent.futures.ProcessPoolExecutor, start: int, pictures: Sequence[Picture], path: Path
    ) -> "concurrent.futures.Future[None]":
        with warnings.catch_warnings():  # forking beside threads is warned of; none of ours holds a lock here
            warnings.simplefilter("ignore", DeprecationWarning)
            return pool.submit(_work, start, pictures, path)

    def survives(self, start: int, pictures: Sequence[Picture], path: Path) -> bool:
        with self._new(1) as alone:
            try:
                self._submit(alone, start, pictures, path).result()
            except BrokenProcessPool:
                return False
        return True

    def renew(self) -> None:
        self.pool.shutdown(wait=True)
        self.pool = self._new(self.workers)

    def close(self) -> None:
        """Ends when the chunks that are under way are written, so that they need not be done again."""
        self.pool.shutdown(wait=True, cancel_futures=True)


_worker: tuple[Any, int] | None = None
"""In a worker: the source and the short side."""


def _start_worker(source: Any, short_side: int, parent: int) -> None:
    global _worker
    _worker = source, short_side
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair: it lets a chunk come to its end
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A worker whose parent was killed has nobody to work for."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work(start: int, pictures: Sequence[Picture], path: Path) -> None:
    assert _worker is not None, "a worker is started by _start_worker"
    rows = [row for number, picture in enumerate(pictures, start) for row in _decode_one(number, picture)]
    _write(path, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with files.whole_file(path) as part, pa.ipc.new_file(str(part), SPOOL) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=SPOOL))


def _decode_one(number: int, picture: Picture) -> Iterator[dict[str, Any]]:
    """The frames of an input as rows of the spool, or one row with the reason why there are none."""
    assert _worker is not None
    source, short_side = _worker
    if picture.reason is not None:
        yield _rejected(number, picture.reason)
        return
    _set_alarm(SECONDS)
    try:
        found = source.decode(picture)
        rows = [_row(number, frame, image, columns, short_side) for frame, (image, columns) in enumerate(found)]
    except Unreadable as error:
        yield _rejected(number, error.reason)
    except MemoryError:
        yield _rejected(number, "too_large")
    except Exception:  # a decoder may raise anything; the message may hold what must not be logged
        yield _rejected(number, "decode_failed")
    else:
        yield from rows or [_rejected(number, "not_an_image")]
    finally:
        _set_alarm(0)


def _row(number: int, frame: int, image: "Image.Image", columns: dict[str, Any], short_side: int) -> dict[str, Any]:
    from mmssl.data import images

    stored = images.standardise(image, short_side=short_side)
    return {
        "entry": number,
        "frame": frame,
        "bytes": stored.bytes,
        "format": stored.format,
        "width": stored.width,
        "height": stored.height,
        "colour": stored.is_colour,
        "pixel_hash": stored.pixel_hash,
        "phash": stored.phash,
        "spread": _spread(image, columns.get("modality")),
        "columns": json.dumps(columns, default=_plain),
        "reason": None,
    }


def _spread(image: "Image.Image", modality: str | None) -> float:
    """Standard deviation of the grey values (0 to 255) that a tower sees; 0 where all pixels are equal."""
    import numpy as np
    from PIL import ImageStat

    from mmssl.data import images

    if image.mode.startswith(("I", "F")):  # stretching to 8 bits would make noise of a flat picture
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if high - low <= max(2.0, 1e-4 * abs(high)):
            return 0.0
    return max(ImageStat.Stat(images.view8(image, modality)).stddev)


def _rejected(number: int, reason: str) -> dict[str, Any]:
    return {"entry": number, "frame": 0, "columns": "{}", "reason": reason}


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _set_alarm(seconds: int) -> None:
    """Ends this process when a decoder hangs; native code would not return to a handler."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
