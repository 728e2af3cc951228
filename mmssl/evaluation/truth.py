"""What is true of each row: columns of labels as numbers, and labels joined from a table.

A column holds lists of names, or for one label 1, 0, -1 (uncertain) and null (not known). An empty list, or empty
text, is none of the names; among numbers, an empty cell is not known. Truth as numbers is a matrix
of 1, 0, -1 and NaN, [N, L]; the truth of a class is its number, or -1 where it is none of them, [N].
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmssl.data import tables
from mmssl.errors import WrongUse, many, meant

PREFIXES = ("", "label_", "source_")


class NoMatch(WrongUse):
    """A table of labels whose keys match none of the rows."""


YES, NO, UNCERTAIN = 1.0, 0.0, -1.0
_WORDS = {"true": YES, "yes": YES, "false": NO, "no": NO}


def column_of(name: str, columns: Sequence[str]) -> str | None:
    """The column that a prompt set means: by its name, or with `label_` or `source_` before it; None if there is none.

    Where none is spelt so, the one that differs in its capitals alone.

    >>> column_of("body_region", ["id", "label_body_region"]), column_of("plane", ["id", "Plane"])
    ('label_body_region', 'Plane')
    """
    exact = [prefix + name for prefix in PREFIXES if prefix + name in columns]
    alike = [column for column in columns if column.lower() in [f"{prefix}{name}".lower() for prefix in PREFIXES]]
    return exact[0] if exact else alike[0] if len(alike) == 1 else None


def names_in(value: Any) -> list[str] | None:
    """The names in one cell: a list, or text with `|` between them; none in an empty one; None where it is not known.

    >>> names_in(["Edema ", "Mass"]), names_in("Edema|Mass"), names_in([]), names_in(""), names_in(None)
    (['Edema', 'Mass'], ['Edema', 'Mass'], [], [], None)
    """
    if tables.is_empty(value):
        return []
    value = tables.cell(value)
    if value is None:
        return None
    parts = value if isinstance(value, list) else (tables.key(value) or "").split("|")
    return [text for part in parts if part is not None and (text := str(part).strip())]


def from_lists(values: Sequence[Any], names: Sequence[str]) -> NDArray[np.float64]:
    """Truth [N, L] from cells with names: 1 where the label is named, 0 where only others are, NaN where null."""
    place = {name: i for i, name in enumerate(names)}
    truth = np.full((len(values), len(names)), np.nan)
    for row, value in enumerate(values):
        named = names_in(value)
        if named is not None:
            truth[row] = NO
            truth[row, [place[name] for name in named if name in place]] = YES
    return truth


def from_numbers(values: Sequence[Any], column: str) -> NDArray[np.float64]:
    """Truth [N] from cells that are 1, 0, -1 or null.

    Raises:
        WrongUse: naming what else the column holds.
    """
    truth = np.full(len(values), np.nan)
    odd: Counter[str] = Counter()
    for row, value in enumerate(values):
        known = _number(tables.cell(value))
        if known is None:
            odd[repr(value)] += 1
        else:
            truth[row] = known
    if odd:
        said = ", ".join(f"{value} ({count} rows)" for value, count in odd.most_common(5))
        raise WrongUse(f"the column {column} is the truth of one label, 1, 0, -1 or null, but it holds {said}")
    return truth


def of_labels(
    table: Mapping[str, Sequence[Any]], names: Sequence[str], *, column: str | None, columns: Mapping[str, str]
) -> NDArray[np.float64]:
    """Truth [N, L] of labels from the one `column` with names, or from `columns`, one per label.

    Raises:
        WrongUse: naming every column that does not hold what it must.
    """
    if column is not None:
        values = table[column]
        numbers = [v for v in values if isinstance(v, bool | int | float) and tables.cell(v) is not None]
        if not numbers:
            return from_lists(values, names)
        if len(names) == 1:
            return from_numbers(values, column)[:, None]
        raise WrongUse(
            f"the column {column} holds numbers ({numbers[0]!r} ...), but for {len(names)} labels it must hold lists "
            "of names; give columns: {NAME: column}, one for each label"
        )
    found, problems = [], []
    for name in names:
        try:
            found.append(from_numbers(table[columns[name]], columns[name]))
        except WrongUse as error:
            problems.append(str(error))
    if problems:
        raise WrongUse(many("the truth", problems))
    return np.stack(found, axis=1)


class Classes(NamedTuple):
    """The truth of a choice between classes."""

    number: NDArray[np.int64]
    """[N], -1 where the truth is not exactly one of the classes."""
    left_out: dict[str, int]
    """How many rows have which other truth."""


def of_classes(values: Sequence[Any], names: Sequence[str]) -> Classes:
    """The class of each row, from one name, or from a list in which exactly one of the classes is named."""
    place = {name: i for i, name in enumerate(names)}
    number = np.full(len(values), -1, np.int64)
    other: Counter[str] = Counter()
    for row, value in enumerate(values):
        named = names_in(value)
        known = [name for name in named or [] if name in place]
        if len(known) == 1:
            number[row] = place[known[0]]
        else:
            other["null" if named is None else "|".join(sorted(named)) or "none"] += 1
    return Classes(number, dict(other.most_common()))


def of_groups(truth: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Truth of studies from that of their images: 1 where any has 1, else -1, else 0, else NaN; [N, L] -> [G, L]."""
    found = np.full((int(groups.max(initial=-1)) + 1, truth.shape[1]), np.nan)
    for value in (NO, UNCERTAIN, YES):  # the later ones count more
        row, label = np.nonzero(truth == value)
        found[groups[row], label] = value
    return found


def united(values: Sequence[Any], groups: NDArray[np.int64]) -> list[list[str] | None]:
    """The names in the cells of each group together, None where nothing is known of any of its rows."""
    found: list[list[str] | None] = [None] * (int(groups.max(initial=-1)) + 1)
    for group, value in zip(groups.tolist(), values, strict=True):
        named = names_in(value)
        if named is not None:
            found[group] = list(dict.fromkeys([*(found[group] or []), *named]))
    return found


def decided(truth: NDArray[np.float64], uncertain: str) -> NDArray[np.float64]:
    """Truth with -1 counted as asked: `positive`, `negative`, or `ignore` (left out)."""
    stands_for = {"positive": YES, "negative": NO, "ignore": np.nan}[uncertain]
    return np.where(truth == UNCERTAIN, stands_for, truth)


def never_named(values: Sequence[Any], names: Sequence[str]) -> list[str]:
    """A remark for each label that the truth never names, with the near miss that it does."""
    seen = sorted({name for value in values for name in names_in(value) or []})
    return [f"{name} never occurs in the truth{meant(name, seen)}" for name in names if seen and name not in seen]


# ---- labels from a table -------------------------------------------------------------------------------------------

PRIVATE = "sources.private"
"""Ending of the file beside a store of DICOM files that says which file and which keys a pseudonym stands for."""

PSEUDONYMS = (
    f"In a store of DICOM files ids are pseudonyms, and STORE.{PRIVATE} beside it says whose; without it give labels "
    "to `mmssl prepare --labels`, or key the table by the row and study of predictions.parquet"
)

OUR_KEYS = {
    "id": ("row",),
    "source_id": ("image",),
    "path": ("image", "file"),
    "study_id": ("study",),
    "patient_id": ("patient",),
}
"""What rows are known by, and what a table calls it beside that name itself."""

FINEST_FIRST = ("id", "source_id", "path", "StudyInstanceUID", "AccessionNumber", "study_id", "PatientID", "patient_id")


def private_keys(store: Path, source_ids: Sequence[str | None]) -> dict[str, list[str | None]]:
    """What rows of pseudonyms are really called, {path, AccessionNumber ...: a value or None for each row}.

    From STORE.sources.private, lines of {source_id, path, keys}; empty where there is no such file, as beside a store
    that was given away.
    """
    file = store.with_name(f"{store.name}.{PRIVATE}")
    if not file.is_file():
        return {}
    lines = map(json.loads, filter(str.strip, file.read_text(encoding="utf-8").splitlines()))
    known = {line["source_id"]: {"path": line["path"], **line.get("keys", {})} for line in lines}
    found = [known.get(one or "", {}) for one in source_ids]
    return {name: [one.get(name) for one in found] for name in dict.fromkeys(name for one in found for name in one)}


class Joined(NamedTuple):
    """Columns of a table brought to the rows of a store."""

    columns: dict[str, list[Any]]
    """{label_NAME: a value or None for each row}."""
    key: str
    matched: int
    unmatched: int
    """Rows of the store that the table does not name."""
    unused: int
    """Keys of the table that no row has."""
    ambiguous: int
    """Keys with different rows in the table, or of several patients: none of these is taken."""

    def said(self) -> str:
        return (
            f"labels joined by {self.key}: {self.matched} rows matched, {self.unmatched} without labels, "
            f"{self.unused} keys unused, {self.ambiguous} ambiguous"
        )


def join(path: Path, rows: Mapping[str, Sequence[Any]]) -> Joined:
    """The labels of a table for the rows given, joined by the first of their common keys that matches any.

    Args:
        path: .csv, .tsv, .jsonl or .parquet with a column of keys (id, AccessionNumber, study_id ...); every other
            column is a label, a list where `|` separates its names (`tables.typed`).
        rows: columns of the store, among them those with keys.

    Raises:
        WrongUse: where there is no common key, or no row; `NoMatch` where none matches.
    """
    table = tables.read(path)
    if not table.rows:
        raise WrongUse(f"{path}: the table has no rows")
    keys = _keys(table.columns, list(rows))
    if not keys:
        raise WrongUse(
            f"{path} has no column to join by: it has {', '.join(table.columns)}; the store knows its rows by "
            f"{', '.join(_store_keys(list(rows)))}\n{PSEUDONYMS}"
        )
    known = {*keys.values(), *filter(tables.is_key, table.columns)}
    labels = [column for column in table.columns if column and column not in known]
    if not labels:
        raise WrongUse(f"{path} has no labels: its only columns are the keys {', '.join(keys.values())}")
    tried = []
    for ours, theirs in keys.items():
        by_key: dict[str, list[int]] = defaultdict(list)
        for number, row in enumerate(table.rows):
            if (key := tables.key(row.get(theirs))) is not None:
                by_key[key].append(number)
        wanted = [tables.key(value) for value in rows[ours]]
        if not by_key.keys() & set(wanted):
            here = dict.fromkeys(w for w in wanted if w is not None)
            tried.append(
                f"{theirs}: none of {len(by_key)} keys{_shapes(by_key)} is among the {len(here)} of {ours} in these "
                f"rows{_shapes(here)}"
            )
            continue
        return _taken(table, by_key, wanted, labels, theirs, _shared(wanted, rows.get("patient_id", ())))
    said = many(f"{path}, whose keys match no row", tried)
    raise NoMatch(f"{said}\n(shapes of keys: A stands for a letter, 9 for a digit)\n{PSEUDONYMS}")


def _shapes(keys: Iterable[str]) -> str:
    """The commonest shapes of keys, without the keys, which may be of real patients: ABC0042 is AAA9999."""
    shapes = Counter(re.sub(r"[^\W\d_]", "A", re.sub(r"\d", "9", key))[:40] for key in keys)
    return f" like {', '.join(shape for shape, _ in shapes.most_common(2))}" if shapes else ""


def _shared(wanted: Sequence[str | None], patients: Sequence[Any]) -> set[str]:
    """Keys that rows of several patients have."""
    of_key: dict[str, set[Any]] = defaultdict(set)
    for key, patient in zip(wanted, patients, strict=False):
        if key is not None and patient is not None:
            of_key[key].add(patient)
    return {key for key, found in of_key.items() if len(found) > 1}


def _taken(
    table: tables.Table,
    by_key: Mapping[str, list[int]],
    wanted: Sequence[str | None],
    labels: list[str],
    key: str,
    shared: set[str],
) -> Joined:
    ambiguous = (shared & by_key.keys()) | {
        one for one, numbers in by_key.items()
        if any(table.rows[number].get(c) != table.rows[numbers[0]].get(c) for number in numbers[1:] for c in labels)
    }  # fmt: skip
    chosen = [None if one is None or one in ambiguous or one not in by_key else by_key[one][0] for one in wanted]
    columns = {}
    for label in labels:
        values = tables.typed([row.get(label) for row in table.rows], lists=True)
        name = label if label.startswith("label_") else f"label_{label}"
        columns[name] = [None if number is None else values[number] for number in chosen]
    matched = sum(number is not None for number in chosen)
    unused = len(by_key.keys() - set(wanted))
    return Joined(columns, key, matched, len(wanted) - matched, unused, len(ambiguous))


def keys_of(columns: Sequence[str]) -> list[str]:
    """The columns of a store that a table may be joined by."""
    return list(_store_keys(columns))


def _store_keys(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns of a store that hold keys, finest first, and what a table may call each."""
    names: dict[str, list[str]] = {ours: [*theirs, ours] for ours, theirs in OUR_KEYS.items() if ours in columns}
    rank = {ours: FINEST_FIRST.index(ours) for ours in names}
    for key, ours in tables.key_columns(columns).items():
        both = [name for name in dict.fromkeys((key, ours)) if name in columns]  # the real one beside the pseudonym
        for name in both:
            names[name] = [*names.get(name, ()), *tables.KEYS[key]]
        rank[both[0]] = min(rank.get(both[0], len(FINEST_FIRST)), FINEST_FIRST.index(key))
    return {ours: tuple(names[ours]) for ours in sorted(names, key=lambda one: rank[one])}


def _keys(columns: Sequence[str], rows: Sequence[str]) -> dict[str, str]:
    """{column of the store: column of the table} of the keys that both have."""

    def plain(name: str) -> str:
        return name.lower().replace("_", "").replace(" ", "").replace("-", "")

    theirs = {plain(column): column for column in reversed(list(columns))}
    found = {}
    for ours, names in _store_keys(rows).items():
        for name in names:
            if plain(name) in theirs:
                found.setdefault(ours, theirs[plain(name)])
    return found


def _number(value: Any) -> float | None:
    """1, 0, -1 or NaN of one cell, None where it is something else."""
    if value is None:
        return float("nan")
    if isinstance(value, str):
        value = _WORDS.get(value.lower(), value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number in (YES, NO, UNCERTAIN) else None
