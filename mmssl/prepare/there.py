"""What a store holds already, as far as a new version of it has to know."""

import functools
import io
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from mmssl import files
from mmssl.data import merges, splits
from mmssl.data.kinds import MOST, Kind, References, kind_of
from mmssl.data.measures import measure
from mmssl.data.store import SCHEMA, Store, later_file
from mmssl.prepare.entries import person_number, study_number
from mmssl.prepare.merging import Merged
from mmssl.prepare.names import Names

if TYPE_CHECKING:
    from PIL import Image

pc: Any = pyarrow.compute  # makes its functions when imported, so that type checkers do not see them


class There:
    """A store that is to grow; its rows are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self._ids = self.store.select(columns=["patient_id", "study_id", "source_id", "split", "site"])
        patients = self._ids["patient_id"].to_pylist()
        self.settled: dict[str, splits.Split] = dict(zip(patients, self._ids["split"].to_pylist(), strict=True))
        """{patient id: split} of all who are there."""
        self.merges: list[tuple[str, str]] = merges.kept(path)
        """(old id, new id) of patients who turned out to be one."""
        self.sites = self._sites(patients)
        """{patient id: sites} of those whose site is known; ids that are one patient's share theirs."""
        self.stamps: dict[str, str] = {line["study_id"]: line["stamp"] for line in self.table("studies")}
        """{study id: stamp}."""

    def _sites(self, patients: list[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for patient, site in zip(patients, self._ids["site"].to_pylist(), strict=True):
            if site:
                found.setdefault(patient, set()).add(site)
        for ids in merges.merge_map(self.merges).groups.values():
            shared = set[str]().union(*(found.get(one, ()) for one in ids))
            found |= dict.fromkeys(ids, shared) if shared else {}
        return found

    @property
    def version(self) -> int:
        return self.store.version

    def name(self, named: Names, name: str, stamp: str, study_id: str) -> str:
        """The source id of an input: that which it has there, or a new one.

        A name that stands for another file of another study is another input's, as where every day has a 1.dcm.
        """
        first = named.of("source", name)
        if first not in self._inputs:
            return first
        tried = (named.of("source", f"{name}@{number}") for number in range(2, self.version + 1))
        for source_id in itertools.chain([first], tried):
            there_stamp, there_study = self._inputs.get(source_id, (None, ""))
            if there_stamp == stamp or there_study in (None, study_id):
                return source_id
        return named.of("source", f"{name}@{self.version + 1}")

    @functools.cached_property
    def _inputs(self) -> dict[str, tuple[str, str | None]]:
        """{source id: stamp, study id} of the inputs that were not replaced."""
        studies = dict(zip(self._ids["source_id"].to_pylist(), self._ids["study_id"].to_pylist(), strict=True))
        return {
            line["source_id"]: (line["stamp"], studies.get(line["source_id"]))
            for line in self.table("sources")
            if line["replaced"] is None
        }

    @property
    def shard_schema(self) -> pa.Schema:
        return pq.read_schema(self.store.path / self.store.shards[0].file)

    def types(self) -> dict[str, pa.DataType]:
        """The columns of the shards that are not ours, with their types; these stay."""
        return {field.name: field.type for field in self.shard_schema if field.name not in SCHEMA.names}

    def source_ids(self) -> Iterator[tuple[str, str]]:
        """(id, source id) of every row."""
        for batch in self._ids.select(["id", "source_id"]).to_batches(4096):
            yield from zip(batch["id"].to_pylist(), batch["source_id"].to_pylist(), strict=True)

    def table(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of `sources`, `rejected` or `studies`."""
        for batch in pq.ParquetFile(self.store.path / f"{name}.parquet").iter_batches(4096):
            yield from batch.to_pylist()

    def lines(self, wanted: set[str]) -> dict[str, dict[str, Any]]:
        """{source id: its line of `sources`} of those inputs that are there and were not replaced."""
        return {
            line["source_id"]: line
            for line in self.table("sources")
            if line["replaced"] is None and line["source_id"] in wanted
        }

    def later(self) -> dict[str, dict[str, Any]]:
        """{column that came with a later version: {row id: value}}."""
        return self._later

    @functools.cached_property
    def _later(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name in self.store.manifest["later_columns"]:
            table = pq.read_table(self.store.path / later_file(name))
            found[name] = dict(zip(table["id"].to_pylist(), table["value"].to_pylist(), strict=True))
        return found

    def studies_of(self, wanted: set[tuple[str, str]], whose: Callable[[str], str] = str) -> dict[str, list[int]]:
        """{study id: its rows} of those (study, patient) that are there; another patient's study 1 is another study."""
        found: dict[str, list[int]] = {}
        here = self._ids.filter(
            pc.is_in(self._ids["study_id"], pa.array(sorted({one for one, _ in wanted}), pa.string()))
        )
        columns = (here[name].to_pylist() for name in ("row", "study_id", "patient_id"))
        for row, study, patient in zip(*columns, strict=True):
            if (study, patient) in wanted or (study, whose(patient)) in wanted:
                found.setdefault(study, []).append(row)
        return found

    def studies_of_patients(self, wanted: set[str]) -> dict[tuple[str, str], set[str]]:
        """{(patient, study): sexes} of those patients who are there."""
        table = self.store.select(columns=["patient_id", "study_id", "sex", "flags"])
        here = table.filter(pc.is_in(table["patient_id"], pa.array(sorted(wanted), pa.string())))
        found: dict[tuple[str, str], set[str]] = {}
        for line in here.to_pylist():
            if "patient_missing" not in (line["flags"] or ()):
                sexes = found.setdefault((line["patient_id"], line["study_id"]), set())
                sexes |= {line["sex"]} - {None}
        return found

    def rows_of(self, merged: Merged) -> dict[splits.Split, list[int]]:
        """{split: rows} of patients who have another id or another split now, by the one that they come to."""
        found: dict[splits.Split, list[int]] = {"train": [], "validation": [], "test": []}
        if not merged.whose.of:
            return found
        for batch in self._ids.select(["row", "patient_id", "split"]).to_batches(4096):
            for row, patient, split in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                stands = merged.whose(patient)
                now = merged.split.get(stands, split)
                if (stands, now) != (patient, split):
                    found[now].append(row)
        return found

    def row(self, number: int) -> dict[str, Any]:
        """A row with all its columns and the bytes of its image."""
        found = self.store.row(number)
        found |= {column: told.get(found["id"]) for column, told in self._later.items()}
        name = self.store.image_name(number)
        return found | {"image": {"bytes": self.store.image_bytes(number), "path": name}}

    def known(self, without: np.ndarray, whose: Callable[[str], str] = str) -> "Known":
        """What new pictures may repeat: all rows but those of some inputs.

        Args:
            without: [inputs] `files.number_of` their names.
            whose: the id that stands for a patient.
        """
        return Known(self.store, without, whose)


class Known:
    """Rows that stay, for `clean`."""

    def __init__(self, store: Store, without: np.ndarray, whose: Callable[[str], str] = str) -> None:
        columns = ["source_id", "pixel_hash", "phash", "patient_id", "study_id", "flags", "instance_id"]
        table = store.select(columns=columns)
        names = np.array([files.number_of(name) for name in table["source_id"].to_pylist()], np.int64)
        table = table.filter(pa.array(~np.isin(names, without)))
        self._store, self._row, self._name, self._id = store, table["row"].to_numpy(), table["source_id"], table["id"]
        told = table.select(columns[1:]).to_pylist()
        self.digest = pa.array([bytes.fromhex(one["pixel_hash"]) for one in told], pa.binary(32))
        instances = (one["instance_id"] for one in told)
        self.instance = np.array([files.number_of(one) if one else 0 for one in instances], np.int64)
        self.phash = np.array([int(one["phash"], 16) for one in told], np.uint64)
        own_study = not store.manifest["patients_known"]
        is_study = [own_study or "patient_missing" in (one["flags"] or ()) for one in told]
        who = [
            one["patient_id"] if alone else whose(one["patient_id"]) for one, alone in zip(told, is_study, strict=True)
        ]
        self.person = np.array(
            [person_number(one, is_study=alone) for one, alone in zip(who, is_study, strict=True)], np.int64
        )
        self.study = np.array(
            [study_number(one["study_id"], patient) for one, patient in zip(told, who, strict=True)], np.int64
        )

    def name(self, row: int) -> str:
        return self._name[row].as_py()

    def row_id(self, row: int) -> str:
        return self._id[row].as_py()

    def text(self, row: int) -> str | None:
        told = self._store.row(int(self._row[row]), ["text", "report"])
        return told["text"] or told["report"]

    def add_references(self, references: References, wanted: Collection[Kind | None]) -> None:
        """Adds what rows of these kinds look like, at most as many as are compared with."""
        table = self._store.select(columns=["modality", "body_part", "view", "pixel_hash"])
        table = table.filter(pc.is_in(table["row"], pa.array(self._row))).sort_by("pixel_hash")
        counts: Counter[Kind] = Counter()
        for one in table.to_pylist():
            kind = kind_of(one)
            if kind is not None and kind in wanted and counts[kind] < MOST:
                counts[kind] += 1
                view = self._store.image(one["row"])
                references.add(one, measure(view, view), one["pixel_hash"])

    def image(self, row: int) -> "Image.Image":
        from PIL import Image

        from mmssl.data import images

        number = int(self._row[row])
        return images.view8(Image.open(io.BytesIO(self._store.image_bytes(number))), None, grey=True)
