"""Which rows of a store are compared: one of each patient, so that what is tested is independent."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mmssl.data.store import Store
from mmssl.files import number_of

MOST = 20_000
"""Patients of a group that are looked at: those with the smallest hashes, so that memory is flat."""


class Group(NamedTuple):
    """Rows of some versions."""

    name: str
    rows: int
    """All that the versions have."""
    units: int
    """Patients among them that are looked at, or studies where patients are not known."""
    table: pa.Table
    """A row for each of these, with its number in `row`."""


def groups(
    store: Store, wanted: dict[str, Callable[[np.ndarray], np.ndarray]], columns: Sequence[str], *, most: int = MOST
) -> list[Group]:
    """One row of each patient of each group; the store is read twice, shard by shard.

    Args:
        store: with the rows.
        wanted: {name of the group: which of some versions [N] are of it, as booleans [N]}.
        columns: to read.
        most: patients of a group.
    """
    unit = "patient_id" if store.manifest["patients_known"] else "study_id"
    chosen = {name: np.zeros((0, 3), np.int64) for name in wanted}
    rows = dict.fromkeys(wanted, 0)
    for part in store.parts(["version", unit]):
        versions = part["version"].to_numpy()
        for name, is_of in wanted.items():
            here = part.filter(pa.array(is_of(versions)))
            rows[name] += len(here)
            chosen[name] = _smallest(np.concatenate([chosen[name], _keyed(here, unit)]), most)
    tables = {name: [] for name in wanted}
    for part in store.parts(list(dict.fromkeys(columns))):
        for name in wanted:
            tables[name].append(part.filter(pa.array(np.isin(part["row"].to_numpy(), chosen[name][:, 2]))))
    return [Group(name, rows[name], len(chosen[name]), pa.concat_tables(tables[name])) for name in wanted]


def _keyed(table: pa.Table, unit: str) -> np.ndarray:
    """[N, 3]: the hash of a row's unit, of the row, and its number; one without a unit is its own."""
    told = zip(table[unit].to_pylist(), table["id"].to_pylist(), table["row"].to_pylist(), strict=True)
    keys = [(number_of(f"{name or row_id}"), number_of(row_id), row) for name, row_id, row in told]
    return np.array(keys, np.int64).reshape(-1, 3)


def _smallest(keys: np.ndarray, most: int) -> np.ndarray:
    """Of each unit the row with the smallest hash, and of the units those with the smallest."""
    ordered = keys[np.lexsort((keys[:, 1], keys[:, 0]))]
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:, 0] != ordered[:-1, 0]
    return ordered[is_first][:most]
