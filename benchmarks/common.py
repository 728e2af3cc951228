"""What the benchmarks share: the data folder, settings that are printed, alternating timing."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def data(*parts: str) -> Path:
    """A place in the folder that MMSSL_DATA names; says what is missing and stops."""
    folder = os.environ.get("MMSSL_DATA")
    if not folder:
        sys.exit("set MMSSL_DATA to the folder that holds medpix/ (images/ and pairs.jsonl)")
    path = Path(folder, *parts)
    if not path.exists():
        sys.exit(f"MMSSL_DATA={folder} has no {'/'.join(parts)}")
    return path


def settings(**values: object) -> None:
    """Prints what was measured on, and how."""
    import torch

    where = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads"
    print(f"python {platform.python_version()}, torch {torch.__version__}, {where}")
    print(", ".join(f"{name} {value}" for name, value in values.items()))


def alternate(
    contestants: Mapping[str, Callable[[], float]], *, rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Items a second of each contestant, in turn A B C A B C ..., so that a machine that slows down slows all.

    A contestant does a piece of work and returns how many items it was.
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warmup + rounds):
        for name, work in contestants.items():
            start = time.perf_counter()
            items = work()
            if number >= warmup:
                rates[name].append(items / (time.perf_counter() - start))
    return rates


def ratio(rates: Mapping[str, list[float]], ours: str, theirs: str) -> float:
    """The median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))


def show(rates: Mapping[str, list[float]], unit: str) -> None:
    for name, values in rates.items():
        print(f"  {name:32s} {statistics.median(values):8.2f} {unit}  ({min(values):.2f} to {max(values):.2f})")
