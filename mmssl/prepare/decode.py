"""Decodes in processes, chunk by chunk, into a spool beside the store; what is there is not done again."""

import base64
import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmssl import console, hardware
from mmssl.data.intensity import Intensity
from mmssl.errors import Unreadable
from mmssl.prepare import pool, spool
from mmssl.prepare.spool import Frame, Row, Spool
from mmssl.types import Picture

if TYPE_CHECKING:
    from PIL import Image

CHUNK = 64
"""Inputs that are decoded and written together, at most ..."""
CHUNKS = 32
"""... and so many chunks at least, so that processes come to an end together."""
FEWEST = 8
"""Inputs of a chunk that is not the last, at least."""

AHEAD = 2
"""Files that are asked for before it is their turn."""

GIB = 2**30


class Task(NamedTuple):
    """A chunk of inputs."""

    start: int
    pictures: Sequence[Picture]
    path: Path


def decode(
    source: Any,
    pictures: Sequence[Picture],
    folder: Path,
    *,
    how: Intensity,
    workers: int | None,
    seconds: float,
    memory_gib: float,
) -> Spool:
    """Every picture decoded into chunks in `folder`.

    Args:
        source: its `decode` gives (image, columns of that frame) for a picture, one after the other, or raises
            Unreadable.
        pictures: inputs with a reason are passed on as they are.
        folder: may hold chunks of an earlier call with the same arguments.
        how: what is kept of a picture.
        workers: processes; None: one for each core.
        seconds: that one input may take; then it is rejected as decoder_timeout.
        memory_gib: that a worker may take; an input that needs more is rejected as too_large.
    """
    size = min(CHUNK, max(FEWEST, len(pictures) // CHUNKS))
    starts = range(0, len(pictures), size)
    paths = [folder / f"{start:09d}.arrow" for start in starts]
    todo = [number for number, path in enumerate(paths) if not spool.is_there(path)]
    if 0 < len(todo) < len(paths):
        console.say(f"{len(paths) - len(todo)} of {len(paths)} parts were decoded before; going on with the rest")
    tasks = (Task(starts[i], pictures[starts[i] : starts[i] + size], paths[i]) for i in todo)
    left = sum(min(size, len(pictures) - starts[number]) for number in todo)
    _warm_up()
    work = functools.partial(_work, source, how)
    limits = pool.Limits(seconds, int(memory_gib * GIB))
    with console.progress("decode", len(pictures), "images") as advance:
        advance(len(pictures) - left)
        with pool.Pool(work, workers=workers or hardware.cores(), limits=limits) as workers_:
            for _ in workers_.run(tasks, advance):
                pass
    return Spool(paths)


def _warm_up() -> None:
    """Imports what decoding needs once, before workers are forked, instead of once in each."""
    from PIL import Image

    _row(0, 0, Image.new("L", (16, 16)), {}, Intensity())


def _work(source: Any, how: Intensity, task: Task, begin: Callable[[int], None], lost: Mapping[int, pool.Lost]) -> None:
    rows: list[Row] = []
    for number, picture in enumerate(task.pictures):
        begin(number)
        for later in task.pictures[number + 1 : number + 1 + AHEAD]:
            _read_ahead(later.path)
        entry = task.start + number
        if number in lost:
            rows.append(_rejected(entry, lost[number]))
        else:
            rows += _decode_one(source, entry, picture, how)
    spool.write(task.path, rows)


def _read_ahead(path: Path | None) -> None:
    """Asks the system for a file that is soon decoded, so that the disk works while this process computes."""
    if path is None or sys.platform != "linux":
        return
    with contextlib.suppress(OSError, ValueError):  # what is wrong with it is said when it is read
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(handle)


def _decode_one(source: Any, entry: int, picture: Picture, how: Intensity) -> list[Row]:
    """The frames of an input, or one with the reason why there are none."""
    if picture.reason is not None:
        return [_rejected(entry, picture.reason)]
    try:
        rows = [
            _row(entry, number, image, columns, how) for number, (image, columns) in enumerate(source.decode(picture))
        ]
    except Unreadable as error:
        return [_rejected(entry, error.reason)]
    except MemoryError:
        return [_rejected(entry, "too_large")]
    except Exception:  # a decoder may raise anything; the message may hold what must not be logged
        return [_rejected(entry, "decode_failed")]
    return rows or [_rejected(entry, "not_an_image")]


def _row(entry: int, number: int, image: "Image.Image", columns: dict[str, Any], how: Intensity) -> Row:
    from mmssl.data import images, measures

    stored = images.standardise(
        image, short_side=how.short_side, eight_bit=how.eight_bit, jpeg_quality=how.jpeg_quality
    )
    assert stored.view is not None, "a picture that was just made has its view"
    measured = measures.measure(image, stored.view)
    frame = Frame(
        entry=entry,
        frame=number,
        format=stored.format,
        width=stored.width,
        height=stored.height,
        colour=stored.is_colour,
        pixel_hash=stored.pixel_hash,
        phash=stored.phash,
        reason=None,
        columns=columns | _shown(stored.shown),
        measures=measured._asdict() | {"thumb": base64.b64encode(measured.thumb).decode()},
    )
    return Row(frame, stored.bytes)


def _shown(told: str | None) -> dict[str, Any]:
    """Columns that say by which rule grey was made, and how wide the window was."""
    if told is None:
        return {}
    rule = json.loads(told)
    low, high = rule.get("low"), rule.get("high")
    return {"shown": told, "window_width": None if low is None or high is None else float(high) - float(low)}


def _rejected(entry: int, reason: str) -> Row:
    return Row(Frame(entry, 0, None, None, None, None, None, None, reason, {}, {}))
