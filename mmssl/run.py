"""A run in memory: towers, objectives, optimizer and rows, made from a config; what the loop calls by name."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from mmssl import checkpoint as checkpoints
from mmssl import config as configs
from mmssl import console, hardware, optim, runpage, texts
from mmssl.data import batches, intensity
from mmssl.data.store import Store
from mmssl.data.transforms import POLICIES
from mmssl.distributed import first_says, on_first, rank, sum_gradients, wait, world_size
from mmssl.errors import CannotDo, WrongUse, many
from mmssl.files import number_of
from mmssl.initialise import absent, initialise
from mmssl.model import Model, Network, Views, build_network, build_objectives, frozen_in_eval
from mmssl.overlap import seen
from mmssl.runlog import RunLog
from mmssl.schedule import Clock
from mmssl.settings import Pretrain
from mmssl.step import step
from mmssl.types import Batch
from mmssl.validation import HITS, NEIGHBOURS, Validator

NEEDS = {
    "R@10": f"a validation split with more than {HITS} rows that have a text, and more than {HITS} distinct texts",
    "knn": f"validation.knn=COLUMN, and at least {NEIGHBOURS} training images with a value there",
}
"""What has to be there for a metric of the validation."""


@dataclasses.dataclass
class Run:
    """A run in memory: what the loop needs by name."""

    settings: Pretrain
    store: Store
    rows: batches.TrainingRows
    model: Model
    optimizer: torch.optim.Optimizer
    reading: batches.Reading
    validator: Validator
    lookup: Any
    every_save: int | None
    every_validation: int | None
    initialised: list[dict[str, Any]]
    truncated: float | None
    seen: bytes | None
    """What its checkpoints say they were trained on; in the process that writes them."""
    step: int = 0
    best: float | None = None
    validated: int | None = None
    """The step at which this process last looked at the validation split."""

    @classmethod
    def build(cls, settings: Pretrain, store: Store, device: torch.device, *, found: Path | None) -> "Run":
        """Everything that is the same at every start; weights are drawn from the seed."""
        torch.manual_seed(settings.seed)
        network = start(settings, found)
        objectives = build_objectives(settings, network)
        if found is None:
            initialised = [dataclasses.asdict(report) for report in initialise(network, settings.init)]
        else:
            initialised = [one for one in checkpoints.read_info(found)["initialised"] if "source" in one]
        columns = sorted({name for objective in objectives.values() for name in objective.columns})
        rows = batches.training_rows(store, where=settings.data.where, columns=columns)
        check_rows(settings, rows, network)
        optim.freeze_towers(settings, network)
        network.to(device)
        bf16 = wants_bf16(settings, device)
        cut = texts.truncated_share(settings, rows, network)
        table, lookup = texts.tabulate(settings, rows, network, bf16=bf16)
        model = Model(
            network,
            objectives,
            weights={label: part.weight for label, part in settings.objectives.items()},
            views=Views(POLICIES[settings.data.policy], settings.seed),
            bf16=bf16,
            text_table=table,
        ).to(device)
        model.to(memory_format=torch.channels_last)  # pyright: ignore
        optimizer = torch.optim.AdamW(
            optim.parameter_groups(settings, model), lr=settings.optim.lr, betas=settings.optim.betas, fused=True
        )
        steps = steps_of(settings, rows)
        every = settings.checkpoint.every or (max(1, steps // 20) if steps else 50)
        return cls(
            settings=settings,
            store=store,
            rows=rows,
            model=model,
            optimizer=optimizer,
            reading=reading_of(settings, store, model),
            validator=Validator(settings, store, network),
            lookup=lookup,
            every_save=every,
            every_validation=settings.validation.every or every,
            initialised=initialised,
            truncated=cut,
            seen=what_is_seen(settings, store, rows, found) if rank() == 0 else None,
        )

    def clock(self, began: float) -> Clock:
        minutes = self.settings.minutes
        return Clock(steps_of(self.settings, self.rows), None if minutes is None else minutes * 60, began)

    @property
    def scale(self) -> float | None:
        joint = self.model.network.joint
        return None if joint is None else float(joint.lent().scale.detach())

    def loader(self) -> Iterator[Batch]:
        """Batches from the step this run stands at, without end."""
        order = batches.Order(
            len(self.rows),
            self.settings.data.batch_size,
            seed=self.settings.seed,
            start=self.step,
            rank=rank(),
            world_size=world_size(),
        )
        towers = self.model.network.towers
        tokenizer = self.lookup or (towers["text"].tokenizer if "text" in towers else None)  # pyright: ignore
        return batches.loader(self.rows, self.reading, order, tokenizer, workers=self.settings.data.workers)  # pyright: ignore

    def learn(
        self, batch: Batch, backward: Callable[[Tensor], None], learning_rate: float
    ) -> tuple[dict[str, float], float]:
        """One step; returns the losses over all processes and the gradient's norm before clipping."""
        self.model.train()
        frozen_in_eval(self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        torch.manual_seed(number_of(f"{self.settings.seed} {self.step} {rank()}"))  # dropout, a function of the step
        losses = step(self.model, batch, backward, number=self.step)
        parameters = [p for p in self.model.trainable() if p.grad is not None]
        sum_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.optim.clip)
        found = {name: float(value) for name, value in losses.items()}
        self.check_finite(found, float(norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.model.network.joint is not None:
            self.model.network.joint.limit_scale()
        self.step += 1
        return found, float(norm)

    def check_finite(self, losses: dict[str, float], norm: float) -> None:
        """Raises CannotDo before the weights take a step that would ruin them."""
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        bad += [] if math.isfinite(norm) else ["the gradient"]
        if not bad:
            return
        kept = self.settings.run / "checkpoint"
        ways = ["lower optim.lr", "lengthen optim.warmup", *(["set precision=fp32"] if self.model.bf16 else [])]
        other = f"; {kept} is sound: start another run= from it by init.checkpoint, or anew" if kept.exists() else ""
        raise CannotDo(
            f"step {self.step + 1}: {', '.join(bad)} no longer a finite number{other}; "
            f"{', '.join(ways[:-1])}, or {ways[-1]}"
        )

    def validate(self, log: RunLog, clock: Clock) -> None:
        """Looks at the validation split; the best so far is kept as RUN/best."""
        began = clock.elapsed
        if rank() == 0:
            console.say(f"step {self.step}: validating on {len(self.validator.table)} images ...")
            metrics = self.validator(self.rows)
            log.validation(self.step, metrics)
            value = metrics.get(self.settings.checkpoint.best)
            if value is not None and (self.best is None or value > self.best):
                self.best = value
                self._write(self.settings.run / "best", None)
            self.show()
        best = first_says(math.nan if self.best is None else self.best, torch.device("cpu"))
        self.best = None if math.isnan(best) else best
        wait()
        self.validated = self.step
        clock.reserve = max(clock.elapsed - began, 1e-3)

    def show(self) -> None:
        """RUN/report.html as the run stands."""
        settings, patients = self.settings, len(set(self.rows.patient.tolist()))
        sizes = {name: sum(p.numel() for p in tower.parameters()) for name, tower in self.model.network.towers.items()}
        facts = [
            ("step", self.step),
            ("training images", len(self.rows)),
            ("with text", self.rows.with_text),
            ("patients", patients),
            ("batch", settings.data.batch_size),
            ("processes", world_size()),
            *((f"{name} tower", f"{count / 1e6:.2f} M parameters") for name, count in sizes.items()),
            ("computed in", "bf16" if self.model.bf16 else "float32"),
            (f"best {settings.checkpoint.best}", self.best),
        ]
        runpage.write(
            settings.run,
            facts=facts,
            config=yaml.safe_dump(configs.plain(settings), sort_keys=False),
            metric=settings.checkpoint.best,
            initialised=self.initialised,
        )

    def save(self, clock: Clock, *, finished: bool = False) -> None:
        position = {
            "step": self.step, "best": self.best, "elapsed": clock.elapsed, "reserve": clock.reserve,
            "finished": finished,
        }  # fmt: skip
        training = checkpoints.Training(self.optimizer.state_dict(), position)
        on_first(lambda: self._write(self.settings.run / "checkpoint", training))

    def finish(self, log: RunLog, clock: Clock) -> None:
        if self.validated != self.step:
            self.validate(log, clock)
        self.save(clock, finished=True)
        if rank() == 0:
            run = self.settings.run
            console.say(f"the model is {run / 'checkpoint'}; how it went is shown in {run / 'report.html'}")
        if rank() == 0 and self.best is None:
            metric = self.settings.checkpoint.best
            needs = NEEDS.get(metric.removeprefix("text_to_image_").removeprefix("image_to_text_"))
            why = f"; it needs {needs}" if needs else ""
            console.say(f"no RUN/best was kept: the metric {metric!r} was never there{why}")
        if rank() == 0 and self.step == 0:
            console.warn("not one step was made before the time was over; give more minutes")

    def go_on(self, folder: Path, clock: Clock) -> bool:
        """Heads, optimizer and position of a checkpoint; True where the run is finished."""
        training = checkpoints.read_training(folder)
        checkpoints.fill(self.model.objectives, checkpoints.read_tensors(folder / "heads.safetensors"))
        self.optimizer.load_state_dict(training.optimizer)
        self.step, self.best = training.position["step"], training.position["best"]
        clock.before, clock.reserve = training.position["elapsed"], training.position["reserve"]
        return bool(training.position["finished"])

    def _write(self, folder: Path, training: checkpoints.Training | None) -> None:
        towers: Any = self.model.network.towers
        manifest = self.store.manifest
        info = {
            "config": configs.plain(self.settings),
            "step": self.step,
            "dim": self.model.network.dim,
            "preprocess": {
                "size": towers["image"].image_size,
                "mean": list(towers["image"].mean),
                "std": list(towers["image"].std),
                "interpolation": "bicubic",
                "resize_mode": "longest",
                "fill_color": 0,
            },
            "intensity": intensity.INTENSITY,
            "tokenizer": checkpoints.tokenizer_contract(towers["text"], self.truncated) if "text" in towers else None,
            "store": {
                "content_hash": self.store.content_hash,
                "version": self.store.version,
                "key_id": manifest.get("key_id"),
            },
            "parent": self.settings.init.checkpoint,
            "initialised": [*self.initialised, *origins(towers)],
            "energy": None,
        }
        checkpoints.save(
            folder,
            self.model.network,
            self.model.objectives,
            info,
            training=training,
            training_images=self.seen,
        )


def start(settings: Pretrain, found: Path | None) -> Network:
    """The towers and the joint space of a run.

    With a checkpoint to go on from (`found`), the weights are those that it holds, and nothing is read from where they
    once came from.

    Raises:
        WrongUse, CannotDo: naming all weights that cannot be had.
    """
    if found is not None:
        network = build_network(settings, files=found / "text")
        checkpoints.fill(network, checkpoints.read_tensors(found / "model.safetensors"))
        return network
    problems = absent(settings.init)
    try:
        network = build_network(settings)
    except (WrongUse, CannotDo) as error:
        problems.append(error)
    else:
        if not problems:
            return network
    kind = CannotDo if any(isinstance(error, CannotDo) for error in problems) else WrongUse
    raise kind("\n".join(map(str, problems)))


def what_is_seen(settings: Pretrain, store: Store, rows: batches.TrainingRows, found: Path | None) -> bytes:
    """The training images and those of the checkpoints that weights come from, as a checkpoint keeps them.

    Made before the first step, while these still lie where the config says.
    """
    init = settings.init
    parents = [name for name in (init.checkpoint, init.image, init.text) if name is not None]
    return seen.of_run(store, rows.row, parents, before=found, given=settings.checkpoint.given_ids == "hashed")


def check_rows(settings: Pretrain, rows: batches.TrainingRows, network: Network) -> None:
    """Raises WrongUse where the rows cannot be trained on as the config says; all reasons at once."""
    size, count = settings.data.batch_size, len(rows)
    problems = []
    where = f" that match {settings.data.where!r}" if settings.data.where else ""
    if count == 0:
        problems.append(f"the store has no training rows{where}")
    elif count < size:
        problems.append(f"data.batch_size is {size}, and the store has {count} training rows{where}: lower it")
    if size % world_size():
        problems.append(f"data.batch_size is {size}, which {world_size()} processes cannot share evenly")
    if network.joint is not None and count and not rows.with_text:
        problems.append(
            "no training row has text: use image objectives alone and `encoders.text: null` "
            "(configs/pretrain/images.yaml), or prepare the store with reports"
        )
    if problems:
        raise WrongUse(many("data and config together", problems))


def steps_of(settings: Pretrain, rows: batches.TrainingRows) -> int | None:
    """Steps of the whole run; None where it is measured by the clock."""
    if settings.optim.epochs is not None:
        return max(1, math.ceil(settings.optim.epochs * (len(rows) // settings.data.batch_size)))
    return settings.optim.steps


def reading_of(settings: Pretrain, store: Store, model: Model) -> batches.Reading:
    channels = settings.data.channels
    return batches.Reading(
        size=model.network.towers["image"].image_size,  # pyright: ignore
        views=model.views_needed(),
        channels=(3 if store.manifest["colour"] else 1) if channels == "auto" else channels,
        crop=POLICIES[settings.data.policy].crop,
        text=settings.data.text,
        sentences=settings.data.sentences,
        seed=settings.seed,
    )


def wants_bf16(settings: Pretrain, device: torch.device) -> bool:
    return settings.precision == "bf16" or (settings.precision == "auto" and hardware.has_bf16(device))


def origins(towers: Any) -> list[dict[str, Any]]:
    """Where weights that came with a tower's name are from; a tower built from sizes has none."""
    return [{"part": name, "origin": tower.origin} for name, tower in towers.items() if "origin" in vars(tower)]
