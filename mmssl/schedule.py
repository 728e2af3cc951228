"""How far a run is, and what depends on nothing else: pure functions of progress."""

import math
import time
from dataclasses import dataclass


def rate(share: float, *, peak: float, warmup: float) -> float:
    """Learning rate at a share of the run: rises evenly during `warmup`, then falls as half a cosine to 0.

    >>> [round(rate(share, peak=1.0, warmup=0.1), 3) for share in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if share < warmup:
        return peak * share / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * min((share - warmup) / max(1 - warmup, 1e-9), 1.0)))


@dataclass
class Clock:
    """The share of a run that is done: steps of all steps, or the seconds of rank 0 of all seconds."""

    steps: int | None
    seconds: float | None
    began: float
    """`time.monotonic()` at the command's start."""
    before: float = 0.0
    """Seconds of the run that earlier commands spent."""
    reserve: float = 0.0
    """Seconds at the end that belong to the last validation."""
    pace: float = math.inf
    """Seconds of the quickest step so far; a step that would end too late is not begun."""
    reached: float = 0.0
    """The largest share so far: progress never goes back, also where the reserve grows."""
    looked: float | None = None
    """`elapsed` at the last look."""

    @property
    def unknown_end(self) -> bool:
        """Whether a run by the clock has not seen yet how long a validation takes."""
        return self.seconds is not None and self.reserve == 0

    @property
    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.began

    def share(self, step: int) -> float:
        """For the step that comes next, counted from 0."""
        if self.steps is not None:
            return (step + 0.5) / self.steps if step < self.steps else 1.0
        assert self.seconds is not None, "a clock counts steps or seconds"
        now = self.elapsed
        if self.looked is not None:
            self.pace = min(self.pace, now - self.looked)
        self.looked = now
        usable = self.seconds - self.reserve - (self.pace if self.pace < math.inf else 0.0)
        self.reached = max(self.reached, min(now / max(usable, 1e-9), 1.0))
        return self.reached
