"""What a run writes down as it goes: metrics.jsonl, trackers, the line on the screen."""

import json
import os
import time
from types import TracebackType
from typing import IO, Any, Self

from accelerate import Accelerator

from mmssl import console
from mmssl.distributed import rank
from mmssl.files import whole_file
from mmssl.settings import Pretrain


class RunLog:
    """Rank 0 writes; on the other processes nothing happens.

    metrics.jsonl has one line for each logged training step (`step` from 1, `loss` and its terms, `lr`,
    `samples_per_s`, `norm`, `scale`) and one for each validation (`kind: validation`, no `loss`).
    """

    def __init__(self, settings: Pretrain, accelerator: Accelerator, *, after: int, total: int | None) -> None:
        """`after`: the step the run stands at; lines of later steps were written by a run that was killed since."""
        self.settings, self.accelerator, self.after, self.total = settings, accelerator, after, total
        self.path = settings.run / "metrics.jsonl"
        self.writes = rank() == 0
        self.file: IO[str] | None = None
        self.last = time.monotonic()
        self.steps_since = 0

    def __enter__(self) -> Self:
        if self.writes:
            keep = self._lines_to_keep()
            with whole_file(self.path) as part:
                part.write_text("".join(keep), encoding="utf-8")
            self.file = open(self.path, "a", encoding="utf-8")
        self._progress = console.progress("training", self.total, "steps", rate=False)
        self._advance = self._progress.__enter__() if self.writes else None
        if self._advance is not None:
            self._advance(self.after)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writes:
            self._progress.__exit__(kind, error, trace)
            if self.file is not None:
                self.file.close()

    def step(
        self, number: int, losses: dict[str, float], *, norm: float, learning_rate: float, scale: float | None
    ) -> None:
        self.steps_since += 1
        steps_per_s = self.steps_since / max(time.monotonic() - self.last, 1e-9)
        rate = steps_per_s * self.settings.data.batch_size
        if self._advance is not None:
            self._advance(1, note=f"loss {losses['loss']:.3f}, {steps_per_s:.1f} steps/s, {rate:.0f} images/s")
        if number % self.settings.log.every and number != self.total:
            return
        line = {"step": number, **losses, "lr": learning_rate, "norm": norm, "samples_per_s": round(rate, 2)}
        self._write(line if scale is None else {**line, "scale": scale})
        self.last, self.steps_since = time.monotonic(), 0

    def validation(self, number: int, metrics: dict[str, Any]) -> None:
        self._write({"kind": "validation", "step": number, **metrics})
        shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if isinstance(value, float))
        console.say(f"step {number}: {shown}")
        self.last, self.steps_since = time.monotonic(), 0

    def _write(self, line: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        values = {name: value for name, value in line.items() if isinstance(value, float)}
        self.accelerator.log(values, step=line["step"])

    def _lines_to_keep(self) -> list[str]:
        """Lines up to the step the run stands at; a line that was cut off in the middle is not one."""
        if not self.path.exists():
            return []
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if line.endswith(os.linesep) and found["step"] <= self.after:
                kept.append(line)
        return kept
