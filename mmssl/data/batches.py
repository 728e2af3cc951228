"""From a store to batches: the order is a pure function of (seed, epoch), every draw of (seed, epoch, row, view)."""

import io
import itertools
import math
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from torch.utils.data import DataLoader, Dataset

from mmssl.data import images, reports
from mmssl.data.store import Store
from mmssl.data.transforms import chances, random_crop
from mmssl.errors import WrongUse
from mmssl.files import number_of
from mmssl.types import Batch, Tokenizer, Tokens

TextMode = Literal["sentences", "whole"]
READERS: dict[bytes, Any] = {b"\xff\xd8": JpegImageFile, b"\x89P": PngImageFile}
"""What reads nearly all files of a store, by their first two bytes; Pillow's way of finding out takes longer."""
Sample = tuple[np.ndarray, str, int]  # views [V, C, H, W] uint8, text, place in Rows


@dataclass(frozen=True)
class TrainingRows:
    """The rows that a run learns from, without their pictures."""

    store: Store
    row: np.ndarray  # [R] place in the store
    image: np.ndarray  # [R] int64 numbers, as in Batch
    study: np.ndarray  # [R]
    patient: np.ndarray  # [R]
    modality: list[str | None]
    text: list[str]
    sentences: list[list[str]]
    columns: dict[str, np.ndarray] = field(default_factory=dict)  # [R] each

    def __len__(self) -> int:
        return len(self.row)

    @property
    def with_text(self) -> int:
        return sum(bool(text) for text in self.text)


def training_rows(
    store: Store, *, split: str = "train", where: str | None = None, columns: Sequence[str] = ()
) -> TrainingRows:
    """The rows of a split, and the columns that objectives ask for as numbers.

    Raises:
        WrongUse: where a column is missing or holds no numbers, or the filter cannot be read.
    """
    names = ["id", "study_id", "patient_id", "modality", "text", "sentences", *columns]
    missing = [name for name in columns if name not in store.columns]
    if missing:
        raise WrongUse(f"an objective asks for {', '.join(missing)}; the store has {', '.join(store.columns)}")
    table = store.select(split=split, where=where, columns=list(dict.fromkeys(names)))
    found = {name: table.column(name).to_pylist() for name in ("id", "study_id", "patient_id", "modality", "text")}
    own = [f"row {number}" for number in found["id"]]  # a row of an unknown study is its own study
    study = [study or alone for study, alone in zip(found["study_id"], own, strict=True)]
    patient = [patient or alone for patient, alone in zip(found["patient_id"], study, strict=True)]
    return TrainingRows(
        store=store,
        row=table.column("row").to_numpy(),
        image=np.array([number_of(x) for x in found["id"]], dtype=np.int64),
        study=np.array([number_of(x) for x in study], dtype=np.int64),
        patient=np.array([number_of(x) for x in patient], dtype=np.int64),
        modality=found["modality"],
        text=[(x or "").strip() for x in found["text"]],
        sentences=[x or [] for x in table.column("sentences").to_pylist()],
        columns={name: table.column(name).to_numpy(zero_copy_only=False).astype(np.float32) for name in columns},
    )


def passages(text: str, sentences: Sequence[str], *, mode: TextMode, most: int) -> list[str]:
    """Every text that a row may be trained on: the whole, or each run of up to `most` sentences.

    >>> passages("A. B.", ["A.", "B."], mode="sentences", most=2)
    ['A.', 'B.', 'A. B.']
    """
    if mode == "whole" or len(sentences) < 2:
        return [text] if text else []
    lengths = range(1, min(most, len(sentences)) + 1)
    return [
        " ".join(sentences[start : start + length])
        for length in lengths
        for start in range(len(sentences) - length + 1)
    ]


def draw_passage(text: str, sentences: Sequence[str], chance: Sequence[float], *, mode: TextMode, most: int) -> str:
    """One of `passages`: first how many sentences, then from which; two numbers in [0, 1)."""
    if mode == "whole" or len(sentences) < 2:
        return text
    length = 1 + int(chance[0] * min(most, len(sentences)))
    start = int(chance[1] * (len(sentences) - length + 1))
    return " ".join(sentences[start : start + length])


@dataclass(frozen=True)
class Reading:
    """How a row becomes a sample."""

    size: int
    """Side of a view, pixels."""
    views: int = 1
    channels: Literal[1, 3] = 1
    crop: float = 1.0
    """Smallest side of a random crop, as a share."""
    text: TextMode = "whole"
    sentences: int = 1
    seed: int = 0


class Samples(Dataset):  # type: ignore[type-arg]
    """Rows as samples; runs in the loader's workers."""

    def __init__(self, rows: TrainingRows, reading: Reading) -> None:
        self.rows, self.reading = rows, reading

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, place = key
        rows, how = self.rows, self.reading
        chance = chances(int(rows.image[place]), how.seed, epoch, n=2 + 3 * how.views)
        image = self.open(place)
        cut = [random_crop(image, how.size, how.crop, chance[2 + 3 * v : 5 + 3 * v]) for v in range(how.views)]
        views = np.stack([np.asarray(view) for view in cut])  # [V, H, W] or [V, H, W, 3]
        views = views[:, None] if views.ndim == 3 else views.transpose(0, 3, 1, 2)
        text = draw_passage(rows.text[place], rows.sentences[place], chance[:2], mode=how.text, most=how.sentences)
        return views, text, place

    def open(self, place: int) -> Image.Image:
        """The row's picture in 8 bits; a JPEG is decoded no larger than needed."""
        content = self.rows.store.image_bytes(int(self.rows.row[place]))
        kind = READERS.get(content[:2], Image.open)
        image: Image.Image = kind(io.BytesIO(content))
        mode = "L" if self.reading.channels == 1 else "RGB"
        if image.format == "JPEG":
            side = math.ceil(self.reading.size / self.reading.crop)
            image.draft(mode, (side, side))
        image = images.view8(image, self.rows.modality[place], grey=mode == "L")
        return image if image.mode == mode else image.convert(mode)


class Collate:
    """Samples -> Batch; runs in the loader's workers."""

    def __init__(self, rows: TrainingRows, tokenizer: Tokenizer | None) -> None:
        self.numbers = {"image": rows.image, "study": rows.study, "patient": rows.patient}
        self.columns, self.tokenizer = rows.columns, tokenizer

    def __call__(self, samples: list[Sample]) -> Batch:
        views, texts, places = zip(*samples, strict=True)
        at = np.array(places)
        if self.tokenizer is None:
            tokens = torch.zeros(len(texts), 1, dtype=torch.int64)
            told = torch.full((len(texts),), -1)
        else:
            tokens = self.tokenizer(list(texts)).ids
            told = torch.tensor([number_of(reports.normalise(text)) if text else -1 for text in texts])
        return Batch(
            images=torch.from_numpy(np.stack(views)),
            tokens=tokens,
            text=told,
            **{name: torch.from_numpy(numbers[at]) for name, numbers in self.numbers.items()},
            columns={name: torch.from_numpy(values[at]) for name, values in self.columns.items()},
        )


class Order:
    """The rows of each step from `start` on, for one of `world_size` processes, without end."""

    def __init__(
        self, rows: int, batch_size: int, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.rows, self.batch_size, self.seed, self.start = rows, batch_size, seed, start
        self.share = slice(rank * (batch_size // world_size), (rank + 1) * (batch_size // world_size))

    @property
    def steps_per_epoch(self) -> int:
        return self.rows // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        shuffled: tuple[int, np.ndarray] | None = None
        for step in itertools.count(self.start):
            epoch, place = divmod(step, self.steps_per_epoch)
            if shuffled is None or shuffled[0] != epoch:
                shuffled = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.rows)
            batch = shuffled[1][place * self.batch_size : (place + 1) * self.batch_size]
            yield [(epoch, int(i)) for i in batch[self.share]]


def loader(
    rows: TrainingRows, reading: Reading, order: Order, tokenizer: Tokenizer | None, *, workers: int | None
) -> Iterator[Batch]:
    """Batches of the steps in `order`; `workers` None leaves a core to the training itself."""
    cores = len(os.sched_getaffinity(0))
    loading: Any = DataLoader(
        Samples(rows, reading),
        batch_sampler=order,  # pyright: ignore
        collate_fn=Collate(rows, tokenizer),
        num_workers=min(8, max(1, cores // 2)) if workers is None else workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        worker_init_fn=_leave_to_parent,
    )
    return iter(loading)


def _leave_to_parent(worker: int) -> None:
    """Ctrl-C, which a terminal sends to all, is the parent's affair: it still needs the batch under way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Lookup:
    """Takes a tokenizer's place where every passage's embedding was computed beforehand: its place in the table."""

    def __init__(self, places: dict[str, int]) -> None:
        self.places = places

    def __call__(self, texts: list[str]) -> Tokens:
        return Tokens(torch.tensor([[self.places[text]] for text in texts]), 0)


def all_passages(rows: TrainingRows, *, mode: TextMode, most: int) -> list[str]:
    """Every distinct passage that may be drawn, the empty text first."""
    found: dict[str, None] = {"": None}
    for text, sentences in zip(rows.text, rows.sentences, strict=True):
        found |= dict.fromkeys(passages(text, sentences, mode=mode, most=most))
    return list(found)
