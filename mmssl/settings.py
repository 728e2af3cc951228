"""What a pre-training run can be told, key by key; the schema of `configs/pretrain/*.yaml`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le
from pydantic import Strict

from mmssl import config, plugins
from mmssl.errors import WrongUse, many

Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class Tower:
    """An encoder by name, and how it is trained; every other key is an option of the encoder."""

    part_kind: ClassVar[str] = "encoders"
    kind: str
    """File in mmssl/encoders, or a dotted path."""
    freeze: Literal["none", "all"] | Annotated[int, Ge(1), Strict()] = "none"
    """`all`, or the number of blocks, counted from the input, that are not trained."""
    lr_scale: Annotated[float, Gt(0)] = 1.0
    """Factor on optim.lr for this tower."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectivePart:
    """An objective by name and its weight in the sum; every other key is an option of the objective."""

    part_kind: ClassVar[str] = "objectives"
    kind: str
    """File in mmssl/objectives, or a dotted path; the label where left out."""
    weight: Annotated[float, Gt(0)] = 1.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoders:
    image: Tower
    text: Tower | None = None
    """None: learn from images alone."""


@dataclass(frozen=True)
class JointSpace:
    dim: Count = 256
    """Width of the space that images and reports share."""
    scale: Annotated[float, Gt(0), Le(100)] | None = None
    """First value of the learned inverse temperature; 1/0.07, or 10 where `sigmoid` is the only image-report loss."""
    bias: float | None = None
    """First value of the learned bias of `sigmoid`; -10."""


@dataclass(frozen=True)
class Data:
    path: Path
    """A store, as `mmssl prepare` makes it."""
    batch_size: Annotated[int, Ge(2)] = 64
    """Images per step over all processes."""
    where: str | None = None
    """Which training rows to take: view in ('PA', 'AP') and age > 60."""
    text: Literal["sentences", "whole"] = "sentences"
    """`sentences`: a few sentences of the text, drawn anew each time a row is seen."""
    sentences: Count = 2
    """At most how many sentences are drawn for `text: sentences`."""
    policy: Literal["xray", "slice", "none"] = "xray"
    """Augmentation of training images; none of them mirrors."""
    channels: Literal["auto", 1, 3] = "auto"
    """1 reads grey, 3 colour; `auto` looks at the store."""
    workers: Annotated[int, Ge(0)] | None = None
    """Loader processes; None: one for each core that is not busy otherwise."""
    cache_text: bool = True
    """Compute the embeddings of a wholly frozen text tower once."""


@dataclass(frozen=True)
class Optim:
    lr: Annotated[float, Gt(0)] = 5e-4
    weight_decay: Annotated[float, Ge(0)] = 0.1
    """Not applied to norms, biases and the scale."""
    betas: tuple[Share, Share] = (0.9, 0.98)
    warmup: Share = 0.05
    """Share of the run during which the rate rises; after it, it falls as a cosine to 0."""
    clip: Annotated[float, Gt(0)] = 1.0
    """Largest norm of the gradient."""
    steps: Count | None = None
    epochs: Annotated[float, Gt(0)] | None = None


@dataclass(frozen=True)
class Saving:
    every: Count | None = None
    """Steps between checkpoints; None: twenty in a run, and at the end."""
    best: Literal["R@10", "text_to_image_R@10", "image_to_text_R@10", "knn", "rank_image", "rank_text"] = "R@10"
    """The validation metric that decides what RUN/best is; for images alone `knn`."""
    given_ids: Literal["hashed", "left_out"] = "hashed"
    """Whether a checkpoint names its training patients where the store's ids are no pseudonyms: their hashes show
    nobody, and still let somebody who can guess an id see that it is among them."""


@dataclass(frozen=True)
class Validation:
    every: Count | None = None
    """Steps between validations; None: as often as checkpoints."""
    rows: Annotated[int, Ge(8)] = 2000
    """At most how many rows of the validation split are looked at."""
    knn: str | None = None
    """A column whose value the nearest training images should tell (label_truth, modality ...)."""


@dataclass(frozen=True)
class Init:
    image: str | None = None
    """Weights for the tower: a folder, .safetensors, .pt, or a hub name written out (hf-hub:..., open_clip:...)."""
    text: str | None = None
    checkpoint: str | None = None
    """A checkpoint of mmssl or open_clip to start both towers and the joint space from."""


@dataclass(frozen=True)
class Logging:
    every: Count = 10
    """Steps between lines in metrics.jsonl."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Names that accelerate knows."""


@dataclass(frozen=True)
class Pretrain:
    """A pre-training run."""

    data: Data
    encoders: Encoders
    objectives: dict[str, ObjectivePart]
    run: Path = Path("runs/pretrain")
    """Folder of the run."""
    seed: Annotated[int, Ge(0)] = 0
    minutes: Annotated[float, Gt(0)] | None = None
    """Length of the run by the clock, counted from the command's start."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 where the hardware has it."""
    threads: Count | None = None
    """Threads that compute on a CPU; None: all cores. Small towers gain nothing from a second one, and where other
    programs run, threads that wait for each other lose most of the time."""
    joint: JointSpace = field(default_factory=JointSpace)
    optim: Optim = field(default_factory=Optim)
    checkpoint: Saving = field(default_factory=Saving)
    validation: Validation = field(default_factory=Validation)
    init: Init = field(default_factory=Init)
    log: Logging = field(default_factory=Logging)

    def __post_init__(self) -> None:
        lengths = {"optim.steps": self.optim.steps, "optim.epochs": self.optim.epochs, "minutes": self.minutes}
        given = [name for name, value in lengths.items() if value is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise ValueError(
                f"the length of a run is exactly one of optim.steps, optim.epochs and minutes, given: {said}; "
                "set the others to null"
            )
        if not self.objectives:
            raise ValueError("objectives: at least one is needed, say image_report: {}")


LENGTHS = ("optim.steps", "optim.epochs", "minutes")


def read(path: Path, overrides: list[str]) -> Pretrain:
    """A pre-training config; a length given on the command line takes the place of the file's.

    Raises:
        ConfigError: with everything that is wrong.
    """
    given = {key for key, _, value in (override.partition("=") for override in overrides) if value.strip() != "null"}
    other = [f"{key}=null" for key in LENGTHS if key not in given] if given & set(LENGTHS) else []
    found = config.load(path, [*other, *overrides], Pretrain)
    check_towers(found.encoders)
    return found


def check_towers(encoders: Encoders) -> None:
    """Raises WrongUse where an encoder stands in the place of one of the other kind."""
    problems = []
    for place, part in (("image", encoders.image), ("text", encoders.text)):
        reads = None if part is None else vars(plugins.find("encoders", part.kind))["tower"]
        if part is not None and reads != place:
            problems.append(f"encoders.{place}.kind: {part.kind} reads {reads}s, and an encoder of {place}s is needed")
    if problems:
        raise WrongUse(many("the config", problems))
