"""The pre-training loop, from a config to a checkpoint.

All randomness is keyed by the seed, the step and the row; where a run stands is a number. So a run that is resumed
goes on with the very weights it would have had: on one CPU bit for bit, for runs that count steps.
"""

import itertools
import signal
import threading
import time
from pathlib import Path
from typing import Any, Self

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device

from mmssl import checkpoint as checkpoints
from mmssl import config as configs
from mmssl import console, hardware
from mmssl.data.store import Store
from mmssl.distributed import first_says, on_first, rank, wait, world_size
from mmssl.errors import WrongUse, many
from mmssl.files import recover_folder, remove_parts
from mmssl.overlap import witnesses
from mmssl.run import Run
from mmssl.runlog import RunLog
from mmssl.schedule import Clock, rate
from mmssl.settings import Pretrain, read

NOT_OF_THE_RUN = ("run", "data.workers", "data.path", "log.trackers", "checkpoint.given_ids")
"""Keys that may differ between a run and its resumption."""


def pretrain(config: Path | str | Pretrain, *overrides: str, resume: bool = False) -> Path:
    """Trains what a config describes; returns the last checkpoint's folder, RUN/checkpoint.

    >>> pretrain("configs/pretrain/tiny.yaml", "data.path=store", "run=runs/tiny")       # doctest: +SKIP

    Args:
        config: a YAML file, or settings.
        overrides: `key=value`; later ones win.
        resume: go on from RUN/checkpoint where there is one, start afresh where there is none.

    Raises:
        WrongUse: for a config with mistakes (all of them listed), or a run that exists already.
        CannotDo: where the store cannot be read, or the loss is no longer a finite number.
    """
    began = time.monotonic()
    hardware.keep_memory()
    settings = config if isinstance(config, Pretrain) else read(Path(config), list(overrides))
    with hardware.threads(settings.threads):
        return run_to_its_end(settings, began, resume=resume)


def run_to_its_end(settings: Pretrain, began: float, *, resume: bool) -> Path:
    """The loop; `began` is the command's start, from which `minutes` counts."""
    on_cpu = not torch.cuda.is_available()
    try:
        accelerator = Accelerator(cpu=on_cpu, log_with=list(settings.log.trackers) or None, project_dir=settings.run)
    except ValueError as error:
        raise WrongUse(f"log.trackers={list(settings.log.trackers)}: {error}") from None
    found = look_at_run(settings, resume=resume)
    store = Store(settings.data.path)
    if found is not None:
        check_store(store, found)
    run = Run.build(settings, store, accelerator.device, found=found)
    clock = run.clock(began)
    if found is not None and run.go_on(found, clock):
        console.say(f"{settings.run}: this run is finished at step {run.step}; there is nothing to do")
        return settings.run / "checkpoint"
    if resume:
        say_where(settings, run.step, found)
    on_first(lambda: settings.run.mkdir(parents=True, exist_ok=True))
    on_first(lambda: witnesses.note(store.path, settings.run))
    accelerator.init_trackers("log")
    log = RunLog(settings, accelerator, after=run.step, total=clock.steps)
    with log, Stop() as stop:
        for number, batch in zip(itertools.count(run.step), run.loader(), strict=False):
            share = first_says(clock.share(number), accelerator.device)
            if share >= 1:
                break
            learning_rate = rate(share, peak=settings.optim.lr, warmup=settings.optim.warmup)
            moved = send_to_device(batch, accelerator.device)
            losses, norm = run.learn(moved, accelerator.backward, learning_rate)
            log.step(run.step, losses, norm=norm, learning_rate=learning_rate, scale=run.scale)
            if due(run.step, run.every_validation, clock) or clock.unknown_end:
                run.validate(log, clock)
            if due(run.step, run.every_save, clock) or stop.asked:
                run.save(clock)
            if stop.asked:
                raise KeyboardInterrupt
        run.finish(log, clock)
    wait()  # a process that leaves while another still talks to it takes that one down
    accelerator.end_training()
    return settings.run / "checkpoint"


class Stop:
    """Ctrl-C, or a scheduler's SIGTERM, in a run of one process: it comes to the end of its step and is saved first.

    The second one ends it at once. Of several processes one could be a step ahead of another, so there the first does.
    """

    def __init__(self) -> None:
        self.asked = False
        here = threading.current_thread() is threading.main_thread() and world_size() == 1
        now = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)} if here else {}
        self.before = {one: handler for one, handler in now.items() if handler is not None}  # None: not Python's to set

    def __enter__(self) -> Self:
        for one in self.before:
            signal.signal(one, self.ask)
        return self

    def __exit__(self, *error: object) -> None:
        for one, handler in self.before.items():
            signal.signal(one, handler)

    def ask(self, number: int, frame: object) -> None:
        self.asked = True
        self.__exit__()
        console.say("\nstopping after this step; once more to stop at once")


def say_where(settings: Pretrain, step: int, found: Path | None) -> None:
    """What `--resume` found."""
    if rank() != 0:
        return
    if found is not None:
        console.say(f"going on with {settings.run} after step {step}")
    elif (settings.run / "metrics.jsonl").exists():
        console.say(f"{settings.run} has no checkpoint yet: it begins anew")
    else:
        console.say(f"there is no run at {settings.run} yet: it begins here")


def look_at_run(settings: Pretrain, *, resume: bool) -> Path | None:
    """The checkpoint to go on from, if any.

    Raises:
        WrongUse: where the run exists and nobody asked to go on with it, or it was another run.
    """
    kept = settings.run / "checkpoint"
    on_first(lambda: clean_up(settings.run))
    exists = (settings.run / "metrics.jsonl").exists() or kept.exists()
    if exists and not resume:
        raise WrongUse(
            f"{settings.run} holds a run already: go on with it by --resume (resume=True in Python), name another by "
            "run=FOLDER, or remove it"
        )
    if not kept.exists():
        return None
    before, now = (_flat(values) for values in (checkpoints.read_info(kept)["config"], configs.plain(settings)))
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key) and key not in NOT_OF_THE_RUN]
    if changed:
        lines = [f"{key}: was {before.get(key)!r}, now {now.get(key)!r}" for key in changed]
        raise WrongUse(
            f"{many(f'going on with {settings.run}: it was started with another config', lines)}\n"
            f"give what was, or start another run from this one's weights: run=FOLDER init.checkpoint={kept}"
        )
    return kept


def clean_up(run: Path) -> None:
    """Puts in order what a killed process left half done."""
    if run.exists():
        for name in ("checkpoint", "best"):
            recover_folder(run / name)
        remove_parts(run)


def check_store(store: Store, found: Path) -> None:
    """Raises WrongUse where the run to go on with was started on other data, or on an older version of the store."""
    before = checkpoints.read_info(found)["store"]
    if before["content_hash"] == store.content_hash:
        return
    then, now = before["version"], store.version
    grown = f" (version {then} then, {now} now: it has grown, or is another store)" if then < now else ""
    new = f"; data.where='version > {then}' trains on what is new alone" if then < now else ""
    raise WrongUse(
        f"{store.path} holds other data ({store.content_hash[:12]}) than this run was started on "
        f"({before['content_hash'][:12]}){grown}, so that its order of rows cannot go on: name that store by "
        f"data.path, or start another run from this one's weights by init.checkpoint={found} and run={new}"
    )


def due(step_number: int, every: int | None, clock: Clock) -> bool:
    """Whether something that happens every N steps happens after this one; never at the very end, which has its own."""
    return every is not None and step_number % every == 0 and step_number != clock.steps


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): list(tree) if isinstance(tree, tuple) else tree}
    return {key: value for name, inner in tree.items() for key, value in _flat(inner, f"{prefix}{name}.").items()}
