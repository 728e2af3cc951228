"""What this machine can do; importing it loads no torch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmssl.errors import WrongUse

if TYPE_CHECKING:
    import torch


def device(name: str | None = None) -> torch.device:
    """The one that is named, else the accelerator, or the CPU where there is none.

    Raises:
        WrongUse: for one that this machine lacks.
    """
    import torch

    here = [*(f"cuda:{number}" for number in range(torch.cuda.device_count())), "cpu"]
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in here and not (name == "cuda" and torch.cuda.is_available()):
        raise WrongUse(f"device={name}: this machine has {', '.join(here)}")
    return torch.device(name)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def has_bf16(where: torch.device) -> bool:
    """Whether bf16 is computed by instructions of the hardware; emulated it would be slower than float32."""
    import torch

    if where.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Computes with so many threads on a CPU; None leaves their number alone."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_memory(keep: bool = True) -> None:
    """Lets the C library keep the large blocks that are freed, so that the next step need not fault them in again.

    glibc hands every block above 128 KiB back to the system, and a training step on a CPU asks for hundreds of them; a
    radiograph that is decoded, for ten of some megabytes each.
    Other C libraries are left alone. `keep` False brings glibc's defaults back.
    """
    import ctypes
    import platform

    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    library = ctypes.CDLL(None)
    library.mallopt(mmap_threshold, 32 * 2**20 if keep else 128 * 2**10)  # the most that glibc takes
    library.mallopt(trim_threshold, 2**31 - 1 if keep else 128 * 2**10)
