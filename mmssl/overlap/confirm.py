"""Near pictures that are: where both sides are stores, the pictures that perceptual hashes propose are compared."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmssl import console
from mmssl.data import alike, likeness
from mmssl.overlap.compare import Near, close_rows
from mmssl.overlap.facts import Side

HELD = 8192
"""Small pictures of each side that are held at a time, 16 KB each."""


def confirmed(a: Side, b: Side, *, bits: int = alike.BITS) -> Near:
    """Images with one on the other side that is close by its hash, and the same to the eye, as in `prepare`."""
    small_a, small_b = _reader(a), _reader(b)
    near = Near(np.zeros(len(a), np.uint8), np.zeros(len(b), np.uint8))
    with console.progress(f"{a.path.name} against {b.path.name}", None, "pairs of pictures") as advance:
        for i, others in close_rows(a, b, bits=bits):
            for j in others.tolist():
                bit_a, bit_b = np.uint8(1 << a.group[i]), np.uint8(1 << b.group[j])
                if near.a[i] & bit_b and near.b[j] & bit_a:
                    continue
                if likeness.same(small_a(i), small_b(j)):
                    near.a[i] |= bit_b
                    near.b[j] |= bit_a
                advance()
    return near


def _reader(side: Side) -> Callable[[int], NDArray[np.uint8]]:
    assert side.pictures is not None, "only stores have pictures"
    store, row = side.pictures.store, side.pictures.row

    @functools.lru_cache(maxsize=HELD)
    def small(place: int) -> NDArray[np.uint8]:
        return likeness.compared(store.image(int(row[place])))

    return small
