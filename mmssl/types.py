"""The types everything else is written in; importing them loads no heavy library.

Shape letters: B rows here, N rows on all processes, V views, C channels, H height, W width, T tokens, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

# ---- what a source yields ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """One input file or table row that should become one or more rows of a store."""

    source_id: str
    """Names the input for good: a path below the source, or a table's row."""
    path: Path | None
    """The file; None where the source knows of none."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the store that belong to this image alone (view, laterality, split ...)."""
    reason: str | None = None
    """Why it cannot become a row, where the source knows that already (a reason code)."""


@dataclass(frozen=True)
class Study:
    """What a source knows of one examination; everything in `prepare` is a function of one of these."""

    study_id: str
    patient_id: str | None
    """None: the source does not say, and the study is its own patient."""
    pictures: tuple[Picture, ...]
    report: str | None = None
    text: str | None = None
    """Text to train on, where the source names it outright; else it is taken from the report's sections."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the store that hold for every image of the study (sex, age, modality, label_NAME, source_NAME ...)."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """What reports and labels are joined by: AccessionNumber, StudyInstanceUID, PatientID ... as trimmed text."""
    births: tuple[str, ...] = field(default=(), compare=False)
    """Marks that are equal where birth dates are, within one reading of a source: they tell two people under one id
    apart, and say nothing else."""


# ---- what training is made of --------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Rows of a store on their way to the towers; a named tuple, which accelerate and pinning move as one."""

    images: Tensor  # [B, V, C, H, W] uint8, C is 1 (grey) or 3
    tokens: Tensor  # [B, T] int64; a row without text carries the empty text
    text: Tensor  # [B] int64, number of the very text that was tokenised; -1 = none
    image: Tensor  # [B] int64, number of the row: key of positives and of all randomness
    study: Tensor  # [B] int64
    patient: Tensor  # [B] int64
    columns: dict[str, Tensor]  # what objectives ask for, [B, ...] each


class Feature(NamedTuple):
    """One thing an objective asks of a tower, and the key under which it finds it."""

    tower: Literal["image", "text"]
    part: Literal["pooled", "joint", "tokens"] = "pooled"
    view: int = 0


class Encoded(NamedTuple):
    """What a tower makes of its input."""

    pooled: Tensor  # [B, C]
    tokens: Tensor  # [B, T, C]


class Rows(NamedTuple):
    """Rows of this process (B) or of all processes (N); a loss compares the two."""

    row: Tensor  # [B] place in the batch of all processes
    image: Tensor  # [B] numbers as in Batch
    study: Tensor  # [B]
    patient: Tensor  # [B]
    text: Tensor  # [B]
    columns: dict[str, Tensor]
    made: dict[str, Any]  # what objectives made of each row, [B, ...] each


class Joint(NamedTuple):
    """What the joint space lends to a loss; the model owns it and all image-report objectives share it."""

    scale: Tensor  # scalar, inverse temperature
    bias: Tensor  # scalar


class Term(NamedTuple):
    """One loss, row by row; the model takes the weighted mean over all processes."""

    value: Tensor  # [B], finite also where the weight is 0
    weight: Tensor  # [B]


class Tokens(NamedTuple):
    """Texts as a text tower takes them."""

    ids: Tensor  # [B, T] int64
    truncated: int  # how many of the texts were too long


class Tokenizer(Protocol):
    """Turns texts into numbers; is sent to loader workers, so it pickles."""

    def __call__(self, texts: list[str]) -> Tokens: ...


class Encoder(Protocol):
    """A tower: an `nn.Module` in `mmssl/encoders/NAME.py`, class `Encoder`, options keyword-only.

    Every encoder has `tower` and `width`. An image encoder also has `image_size`, `mean`, `std`; a text encoder
    `context_length`, `tokenizer`, `padding` (the token that may stand behind a text without changing anything; None
    where texts have to be padded to the full length) and `save_files`, and takes `files`: the folder that
    `save_files` wrote, from which it is built again without network or hub.
    """

    tower: Literal["image", "text"]
    width: int

    def __call__(self, x: Tensor) -> Encoded: ...

    def blocks(self) -> list[nn.Module]:
        """The stages of the tower from input to output, embedding first; `freeze: N` freezes the first N."""
        ...


class Objective(Protocol):
    """A loss with its throw-away heads: an `nn.Module` in `mmssl/objectives/NAME.py`, class `Objective`.

    Towers -> `each` (row by row) -> `rows` (whole local batch) -> one gather -> `loss`.
    """

    needs: tuple[Feature, ...]
    columns: tuple[str, ...]

    def each(self, features: dict[Feature, Tensor]) -> dict[str, Tensor]:
        """What is kept of every row; nothing here may look at another row."""
        ...

    def rows(self, each: dict[str, Tensor]) -> dict[str, Tensor]:
        """Heads that must see the whole local batch (batch norm); only what this returns is gathered."""
        ...

    def loss(self, own: Rows, all: Rows, joint: Joint | None) -> dict[str, Term]:
        """Pure. `all` is the batch of all processes, with gradient."""
        ...


def tree_map(f: Callable[..., Any], *trees: Any) -> Any:
    """`f` of every tensor in alike trees of named tuples and dicts."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: tree_map(f, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple):
        return type(first)(*(tree_map(f, *parts) for parts in zip(*trees, strict=True)))
    return f(*trees)


def tree_leaves(tree: Any) -> list[Tensor]:
    """The tensors of a tree, in a fixed order."""
    found: list[Tensor] = []
    tree_map(found.append, tree)
    return found
