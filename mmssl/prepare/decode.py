"""Decodes in processes, chunk by chunk, into a spool beside the store; what is there is not done again."""

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmssl import console
from mmssl.errors import Unreadable
from mmssl.prepare import pool, spool
from mmssl.prepare.spool import Frame, Row, Spool
from mmssl.types import Picture

if TYPE_CHECKING:
    from PIL import Image

CHUNK = 64
"""Inputs that are decoded and written together."""

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
    short_side: int,
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
        short_side: larger pictures are made smaller.
        workers: processes; None: one for each core.
        seconds: that one input may take; then it is rejected as decoder_timeout.
        memory_gib: that a worker may take; an input that needs more is rejected as too_large.
    """
    starts = range(0, len(pictures), CHUNK)
    paths = [folder / f"{start:09d}.arrow" for start in starts]
    todo = [number for number, path in enumerate(paths) if not path.is_file()]
    if 0 < len(todo) < len(paths):
        console.say(f"{len(paths) - len(todo)} of {len(paths)} parts were decoded before; going on with the rest")
    tasks = (Task(starts[i], pictures[starts[i] : starts[i] + CHUNK], paths[i]) for i in todo)
    left = sum(min(CHUNK, len(pictures) - starts[number]) for number in todo)
    _warm_up()
    work = functools.partial(_work, source, short_side)
    limits = pool.Limits(seconds, int(memory_gib * GIB))
    with console.progress("decode", len(pictures), "images") as advance:
        advance(len(pictures) - left)
        with pool.Pool(work, workers=workers or _cores(), limits=limits) as workers_:
            for _ in workers_.run(tasks, advance):
                pass
    return Spool(paths)


def _warm_up() -> None:
    """Imports what decoding needs once, before workers are forked, instead of once in each."""
    from PIL import Image

    _row(0, 0, Image.new("L", (16, 16)), {}, 16)


def _work(
    source: Any, short_side: int, task: Task, begin: Callable[[int], None], lost: Mapping[int, pool.Lost]
) -> None:
    rows: list[Row] = []
    for number, picture in enumerate(task.pictures):
        begin(number)
        entry = task.start + number
        if number in lost:
            rows.append(_rejected(entry, lost[number]))
        else:
            rows += _decode_one(source, entry, picture, short_side)
    spool.write(task.path, rows)


def _decode_one(source: Any, entry: int, picture: Picture, short_side: int) -> list[Row]:
    """The frames of an input, or one with the reason why there are none."""
    if picture.reason is not None:
        return [_rejected(entry, picture.reason)]
    try:
        rows = [
            _row(entry, number, image, columns, short_side)
            for number, (image, columns) in enumerate(source.decode(picture))
        ]
    except Unreadable as error:
        return [_rejected(entry, error.reason)]
    except MemoryError:
        return [_rejected(entry, "too_large")]
    except Exception:  # a decoder may raise anything; the message may hold what must not be logged
        return [_rejected(entry, "decode_failed")]
    return rows or [_rejected(entry, "not_an_image")]


def _row(entry: int, number: int, image: "Image.Image", columns: dict[str, Any], short_side: int) -> Row:
    from mmssl.data import images

    stored = images.standardise(image, short_side=short_side)
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
        columns=columns,
        measures={"spread": _spread(image, columns.get("modality"))},
    )
    return Row(frame, stored.bytes)


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


def _rejected(entry: int, reason: str) -> Row:
    return Row(Frame(entry, 0, None, None, None, None, None, None, reason, {}, {}))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
