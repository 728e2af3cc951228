"""Pictures that are there twice: equal pixels, and nearly equal ones."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa


def groups(digests: pa.Array, order: Iterable[int]) -> Iterator[list[int]]:
    """Places with equal digests, two or more together, each group in the order given; those without one are left out.

    >>> list(groups(pa.array([b"a", b"b", b"a", None, None], pa.binary(1)), [4, 3, 2, 1, 0]))
    [[2, 0]]
    """
    codes = digests.dictionary_encode().indices
    numbers = codes.fill_null(-1).to_numpy(zero_copy_only=False)
    counts = np.bincount(numbers[numbers >= 0], minlength=1)
    found: dict[int, list[int]] = {}
    for place in order:
        number = int(numbers[place])
        if number >= 0 and counts[number] > 1:
            found.setdefault(number, []).append(place)
    return (places for places in found.values() if len(places) > 1)


def close_pairs(hashes: np.ndarray, bits: int, groups: np.ndarray | None = None) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of 64-bit hashes [N] that differ in at most so many bits, in order.

    Of `bits + 1` bands at least one is equal in such a pair, so only rows that share a band are compared.

    Args:
        hashes: of the pictures.
        bits: in which two may differ.
        groups: [N] two of one group are no pair.

    >>> list(close_pairs(np.array([0, 7, 1 << 63], dtype=np.uint64), 1)), list(close_pairs(np.array([5, 5]), 0))
    ([(0, 2)], [(0, 1)])
    >>> list(close_pairs(np.array([5, 5, 5]), 0, np.array([1, 1, 2])))
    [(0, 2), (1, 2)]
    """
    hashes = hashes.astype(np.uint64)
    kinds = np.arange(len(hashes)) if groups is None else groups
    edges = np.linspace(0, 64, bits + 2).astype(int)
    found: set[tuple[int, int]] = set()
    for low, high in itertools.pairwise(edges):
        mask = (1 << int(high)) - (1 << int(low))
        band = hashes & np.uint64(mask)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.r_[True, band[order][1:] != band[order][:-1]])
        for start, end in zip(starts, np.r_[starts[1:], len(order)], strict=True):
            members = order[start:end]
            for place in range(len(members) - 1):
                one, rest = members[place], members[place + 1 :]
                near = (np.bitwise_count(hashes[rest] ^ hashes[one]) <= bits) & (kinds[rest] != kinds[one])
                found.update((int(min(one, other)), int(max(one, other))) for other in rest[near])
    yield from sorted(found)
