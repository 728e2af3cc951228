"""From words and images to probabilities, beside what is true.

Shape letters: N images, U units (images or studies), L labels or classes, D embedding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from mmssl import console
from mmssl.calibration import Calibration, sigmoid, softmax
from mmssl.errors import meant
from mmssl.evaluation import rows, truth
from mmssl.prompts import PromptSet

if TYPE_CHECKING:
    import pyarrow as pa

Unit = Literal["image", "study"]
Floats = NDArray[np.float64]


def class_vectors(embedder: rows.Embedder, asked: PromptSet) -> tuple[Floats, Floats | None]:
    """The unit vectors of each class, [L, D], and for multi_label those of its opposite.

    The mean of the unit vectors of its texts, made a unit vector again: the prompt ensemble of CLIP (Radford et al.
    2021, section 3.1.4, https://arxiv.org/abs/2103.00020).
    """
    texts = asked.texts
    vectors = np.asarray(embedder.encode_text(texts), np.float64)
    place = {text: i for i, text in enumerate(texts)}

    def mean(of: Sequence[str]) -> Floats:
        centre = vectors[[place[text] for text in of]].mean(axis=0)
        return centre / max(float(np.linalg.norm(centre)), 1e-12)

    positive = np.stack([mean(one.positive) for one in asked.classes])
    if asked.task == "multi_class":
        return positive, None
    return positive, np.stack([mean(one.negative) for one in asked.classes])


def similarities(embedder: rows.Embedder, store: rows.Store, numbers: Sequence[int], asked: PromptSet) -> Floats:
    """The cosine with each class, or for multi_label cos⁺ - cos⁻, of rows of a store; [N, L]."""
    positive, negative = class_vectors(embedder, asked)
    direction = positive if negative is None else positive - negative
    found = np.empty((len(numbers), len(direction)))
    for place, vectors in rows.embedded(embedder, store, numbers):
        found[place] = vectors.astype(np.float64) @ direction.T
    return found


def probabilities(similarity: Floats, asked: PromptSet, scale: float) -> Floats:
    """[N, L]; `scoring: chexzero` leaves the learned scale away."""
    z = similarity * (1.0 if asked.scoring == "chexzero" else scale)
    return sigmoid(z) if asked.task == "multi_label" else softmax(z)


class Answers(NamedTuple):
    """What the models say of each unit, and what is true."""

    table: "pa.Table"
    """The images."""
    rows: Sequence[str | None]  # [U], None for a study
    studies: list[str | None]  # [U]
    patients: list[str]  # [U]
    probability: Floats  # [U, L]
    calibrated: Floats | None  # [U, L], NaN for labels that stayed uncalibrated
    truth: NDArray[Any]  # multi_label: [U, L] of 1, 0, -1, NaN; multi_class: [U] numbers of classes, -1 for none
    left_out: dict[str, int]
    """For multi_class, how many units have which other truth."""
    columns: dict[str, str]
    """Where the truth was found: {column in the prompts: column in the store}."""
    remarks: list[str]


def answer(
    embedders: Sequence[rows.Embedder],
    store: rows.Store,
    asked: PromptSet,
    *,
    split: str,
    unit: Unit = "image",
    labels: Path | None = None,
    where: str | None = None,
    fitted: Sequence[Calibration] = (),
) -> Answers:
    """Probabilities of the units of a split, the mean over the models; calibrated where each model has its fit."""
    known = Truth(store, asked, split=split, where=where, labels=labels)  # first, so that mistakes show at once
    groups, first = grouped(rows.study_names(known.table)) if unit == "study" else (None, None)
    target = known.of_images() if groups is None else known.of_studies(groups)
    numbers = known.table["row"].to_pylist()
    raw, well = [], []
    for i, embedder in enumerate(embedders):
        similarity = similarities(embedder, store, numbers, asked)
        raw.append(probabilities(similarity, asked, embedder.scale))
        if fitted:
            of_labels = asked.task == "multi_label"
            one = fitted[i]
            well.append(one.of_labels(similarity, asked.names) if of_labels else one.of_classes(similarity))
    probability = np.mean(raw, axis=0)
    calibrated = np.mean(well, axis=0) if well else None
    ids: Sequence[str | None] = known.table["id"].to_pylist()
    studies: list[str | None] = known.table["study_id"].to_pylist()
    patients = rows.patients(known.table)
    if groups is not None and first is not None:
        probability = means(probability, groups)
        calibrated = None if calibrated is None else means(calibrated, groups)
        ids = [None] * len(first)
        studies, patients = [studies[i] for i in first], [patients[i] for i in first]
    return Answers(
        known.table,
        ids,
        studies,
        patients,
        probability,
        calibrated,
        target,
        known.left_out,
        known.columns,
        known.remarks,
    )


class Truth:
    """The truth of a split's rows, from the store or from a table."""

    def __init__(
        self, store: rows.Store, asked: PromptSet, *, split: str, where: str | None, labels: Path | None
    ) -> None:
        wanted = [asked.column] if asked.column else [one.column for one in asked.classes if one.column]
        found = {name: truth.column_of(name, store.columns) for name in wanted}
        keys = key_columns(store)
        self.table = rows.choose(
            store, split=split, where=where, columns=[*(c for c in found.values() if c), *(keys if labels else [])]
        )
        self.asked = asked
        self.remarks: list[str] = []
        self.left_out: dict[str, int] = {}
        values: dict[str, list[Any]] = {c: self.table[c].to_pylist() for c in found.values() if c}
        if labels is not None:
            joined = join(store, self.table, labels)
            values |= joined.columns
            found |= {name: c for name in wanted if (c := truth.column_of(name, list(joined.columns)))}
        self.columns = {name: column for name, column in found.items() if column}
        self.values = {name: values[column] for name, column in self.columns.items()}
        known = [*store.columns, *values]
        for name in wanted:
            if name not in self.columns:
                self.remarks.append(
                    f"no column {name!r} in the store{meant(name, known)}: its labels are predicted, not judged"
                )
        if not wanted:
            self.remarks.append("the prompts name no column with the truth: labels are predicted, not judged")
        if asked.column in self.values:
            self.remarks += truth.never_named(self.values[cast(str, asked.column)], asked.names)

    def of_images(self) -> NDArray[Any]:
        """For multi_label 1, 0, -1 or NaN, [N, L]; for multi_class the number of the class or -1, [N]."""
        return self._classes(self._cells()) if self.asked.task == "multi_class" else self._labels()

    def of_studies(self, groups: NDArray[np.int64]) -> NDArray[Any]:
        """The same for studies: what is so in any image is so in the study."""
        if self.asked.task == "multi_class":
            return self._classes(truth.united(self._cells(), groups))
        return truth.of_groups(self._labels(), groups)

    def _classes(self, cells: Sequence[Any]) -> NDArray[np.int64]:
        found = truth.of_classes(cells, self.asked.names)
        self.left_out = found.left_out if self.columns else {}
        return found.number

    def _cells(self) -> list[Any]:
        return self.values.get(self.asked.column or "", [None] * len(self.table))

    def _labels(self) -> Floats:
        names = self.asked.names
        if self.asked.column:
            if self.asked.column not in self.values:
                return np.full((len(self.table), len(names)), np.nan)
            return truth.of_labels(self.values, names, column=self.asked.column, columns={})
        unknown = [None] * len(self.table)
        each = {one.name: one.column or "" for one in self.asked.classes}
        return truth.of_labels(
            {column: self.values.get(column, unknown) for column in each.values()}, names, column=None, columns=each
        )


def key_columns(store: rows.Store) -> list[str]:
    """The columns of a store that a table of labels may be joined by."""
    return [name for name in store.columns if name.startswith("source_") or name in truth.keys_of(store.columns)]


def join(store: rows.Store, table: "pa.Table", labels: Path) -> truth.Joined:
    """The labels of a table for rows that have their `key_columns`; says how many match."""
    known_by = {name: table[name].to_pylist() for name in key_columns(store)}
    known_by |= truth.private_keys(store.path, known_by.get("source_id", []))
    joined = truth.join(labels, known_by)
    console.say(joined.said())
    return joined


def too_long(embedders: Sequence[rows.Embedder], texts: Sequence[str]) -> list[str]:
    """A warning for each model that does not read every text to its end."""
    found = []
    for embedder in embedders:
        cut = [text for text, long in zip(texts, embedder.truncated(texts), strict=True) if long]
        if cut:
            found.append(
                f"{len(cut)} of {len(texts)} prompts are longer than {embedder.path} reads and are cut, "
                f"the first {cut[0]!r}"
            )
    return found


def grouped(names: Sequence[str]) -> tuple[NDArray[np.int64], list[int]]:
    """The group of each row, [N], and the first row of each group."""
    place: dict[str, int] = {}
    groups = np.array([place.setdefault(name, len(place)) for name in names], np.int64)
    return groups, np.unique(groups, return_index=True)[1].tolist()


def means(values: Floats, groups: NDArray[np.int64]) -> Floats:
    """Means over the rows of each group, [N, L] -> [G, L]."""
    total = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(total, groups, values)
    return total / np.bincount(groups)[:, None]
