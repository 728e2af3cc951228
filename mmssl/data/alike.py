"""Which pictures of two sets may be nearly the same: those with close perceptual hashes; `likeness` confirms.

Shape letters: N and M pictures, P pairs.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]
Places = NDArray[np.int64]

BITS = 4
"""Near pictures differ in at most so many of the 64 bits of their perceptual hashes."""
CHUNK = 1 << 22
"""Pairs that are looked at together."""


def close_pairs(a: Numbers, b: Numbers, *, bits: int = BITS) -> Iterator[tuple[Places, Places]]:
    """Pairs of 64-bit hashes [N] and [M] that differ in at most so many bits: places in `a`, and in `b`, [P] each.

    Multi-index hashing (Norouzi et al. 2012, https://doi.org/10.1109/CVPR.2012.6248043), with pairs of bands as keys:
    of bits + 2 bands at least two are equal in a close pair, so only hashes that share two bands are compared. A band
    has every (bits + 2)th bit: neighbouring bits of a pHash go together, and bands of neighbours would be shared by
    too many. Every pair comes once; nothing larger than a chunk is held beside the sorted hashes.

    >>> chunks = list(close_pairs(np.array([0, 9], np.uint64), np.array([1, 255], np.uint64)))
    >>> sorted(pair for i, j in chunks for pair in zip(i.tolist(), j.tolist()))
    [(0, 0), (1, 0)]
    """
    num_bands = bits + 2
    bands = [sum(1 << bit for bit in range(first, 64, num_bands)) for first in range(num_bands)]
    tables = list(itertools.combinations(range(num_bands), 2))
    masks = [np.uint64(bands[one] | bands[other]) for one, other in tables]
    for number, mask in enumerate(masks):
        for i, j in _sharing(a & mask, b & mask):
            differing = a[i] ^ b[j]
            keep = np.bitwise_count(differing) <= bits
            i, j, differing = i[keep], j[keep], differing[keep]
            fresh = np.ones(len(i), bool)
            for earlier in masks[:number]:  # such a pair came from an earlier table already
                fresh &= (differing & earlier) != 0
            if fresh.any():
                yield i[fresh], j[fresh]


def _sharing(a: Numbers, b: Numbers) -> Iterator[tuple[Places, Places]]:
    """All places in `a` and `b` whose values are equal, a chunk of pairs at a time."""
    order = np.argsort(b, kind="stable")
    sorted_b = b[order]
    order_a = np.argsort(a, kind="stable")  # neighbours in `a` then look at the same stretch of `b`
    low = np.searchsorted(sorted_b, a[order_a], side="left")
    count = np.searchsorted(sorted_b, a[order_a], side="right") - low
    there = np.flatnonzero(count)
    ends = np.cumsum(count[there])
    start = 0
    while start < len(there):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK, side="right")))
        some = there[start:stop]
        yield from _expanded(order_a[some], low[some], count[some], order)
        start = stop


def _expanded(places: Places, low: Places, count: Places, order: Places) -> Iterator[tuple[Places, Places]]:
    """Each place with each of its `count` partners in `order`, from `low` on; a single one with very many in parts."""
    if len(places) == 1:
        for first in range(0, int(count[0]), CHUNK):
            partners = order[low[0] + first : low[0] + min(first + CHUNK, int(count[0]))]
            yield np.full(len(partners), places[0]), partners
        return
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    yield np.repeat(places, count), order[np.repeat(low, count) + within]
