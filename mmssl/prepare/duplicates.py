"""Pictures that are there twice: equal pixels, and nearly equal ones."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from mmssl.data import alike


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
    found = [np.zeros((2, 0), np.int64)]
    for i, j in alike.close_pairs(hashes, hashes, bits=bits):
        kept = (i < j) & (kinds[i] != kinds[j])
        found.append(np.stack([i[kept], j[kept]]))
    first, second = np.concatenate(found, axis=1)
    order = np.lexsort((second, first))
    yield from zip(first[order].tolist(), second[order].tolist(), strict=True)
