"""The rows of a store that a model is judged by: chosen, named, and embedded in chunks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmssl import console, files
from mmssl.errors import WrongUse

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 512
"""Rows embedded between two steps of the progress bar."""


class Store(Protocol):
    """What is asked of a store here; `mmssl.data.store.Store` is one."""

    path: Path

    @property
    def columns(self) -> list[str]: ...
    @property
    def content_hash(self) -> str: ...
    def select(
        self, *, split: str | None = None, where: str | None = None, columns: Sequence[str] | None = None
    ) -> "pa.Table": ...


class Embedder(Protocol):
    """What is asked of a model here; `mmssl.embed.Embedder` is one, an oracle in a test another."""

    path: Path
    hash: str

    @property
    def has_text(self) -> bool: ...
    @property
    def scale(self) -> float: ...
    def encode_text(self, texts: Sequence[str]) -> np.ndarray: ...
    def encode_rows(self, store: Any, rows: Sequence[int]) -> np.ndarray: ...
    def truncated(self, texts: Sequence[str]) -> list[bool]: ...


def need_text(embedder: Embedder, task: str) -> None:
    """Refuses a checkpoint of images alone, with what it can do.

    Raises:
        WrongUse: where the embedder has no text tower.
    """
    if not embedder.has_text:
        raise WrongUse(
            f"{embedder.path} was trained on images alone and has no text tower: it cannot {task}. `mmssl index` and "
            "`mmssl search --image` work on it; for words pre-train with encoders.text and image_report"
        )


def choose(store: Store, *, split: str, where: str | None = None, columns: Sequence[str] = ()) -> "pa.Table":
    """The rows of a split, with `row`, `id`, patient and study, and the columns asked for where the store has them.

    Raises:
        WrongUse: where there are none, naming how many rows each split has.
    """
    always = ["id", "patient_id", "study_id", "site"]
    wanted = [name for name in dict.fromkeys([*always, *columns]) if name in store.columns]
    found = store.select(split=split, where=where, columns=wanted)
    if len(found) == 0:
        there = ", ".join(f"{name} {count}" for name, count in split_sizes(store).items()) or "nothing"
        told = f" where {where}" if where else ""
        raise WrongUse(f"no rows in the split {split!r}{told}; {store.path} has {there}")
    return found


def split_sizes(store: Store, *, where: str | None = None) -> dict[str, int]:
    """Rows in each split."""
    return dict(Counter(store.select(where=where, columns=["split"])["split"].to_pylist()))


def patients(table: "pa.Table") -> list[str]:
    """Who each row is of: the patient at a site, else the study, else the row itself."""
    sites = table["site"].to_pylist() if "site" in table.column_names else [None] * len(table)
    studies = study_names(table)
    return [
        studies[i] if patient is None else f"patient {sites[i] or ''}/{patient}"
        for i, patient in enumerate(table["patient_id"].to_pylist())
    ]


def study_names(table: "pa.Table") -> list[str]:
    """The study of each row, else the row itself; a name that two patients share is two studies."""
    owner = table["patient_id"].to_pylist()
    return [
        f"row {row}" if study is None else f"study {patient or ''}/{study}"
        for row, study, patient in zip(table["id"].to_pylist(), table["study_id"].to_pylist(), owner, strict=True)
    ]


def fingerprint(table: "pa.Table") -> str:
    """SHA-256 over the ids of the rows, whatever their order."""
    return files.hash_json(sorted(table["id"].to_pylist()))


def embedded(
    embedder: Embedder, store: Store, rows: Sequence[int], *, title: str = "images"
) -> Iterator[tuple[slice, np.ndarray]]:
    """Unit vectors of rows, chunk by chunk: (where in `rows`, [n, D] float32), with progress."""
    with console.progress(title, len(rows), "images") as advance:
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            vectors = np.asarray(embedder.encode_rows(store, some), np.float32)
            assert np.isfinite(vectors).all(), f"{embedder.path} gives embeddings that are not finite"
            yield slice(start, start + len(some)), vectors
            advance(len(some))
