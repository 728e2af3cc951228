"""The light facts by which images are told again: hashes of patient, study and pixels, and the perceptual hash.

All are the first 64 bits of a hash: of a million images against a million others, two that differ have the same number
once in some 18 million comparisons. 0 stands for what is not known. Shape letter: N images.

Patients are hashed again, with a key that says which kind of id it was. Ids of stores with keyed ids are pseudonyms
already, made with a secret key; their key here is that key's public name, so that equal numbers mean the same person
under the same secret, and ids under two secrets never look alike. Ids that a store has as they were given are hashed
with a salt that everybody knows: that hides them from the eye, not from somebody who tries all ids there can be.
"""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from mmssl.data import merges
from mmssl.data.store import SPLITS, Store
from mmssl.errors import CannotDo

pc: Any = pyarrow.compute
"""It makes its functions when imported, so that type checkers do not see them."""

Numbers = NDArray[np.uint64]
Kind = Literal["store", "checkpoint"]

GIVEN = "ids as given"
"""The salt of ids that are no pseudonyms."""
UID = re.compile(r"[0-2](\.(0|[1-9]\d*)){3,}")
"""A DICOM UID, which names one study in all the world."""
FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}(\.gz)?$")
"""The end of a study id that a source made of a file's name, having no better one."""


@dataclass(frozen=True)
class Facts:
    """What is known of N images."""

    patient: Numbers  # [N]
    study: Numbers  # [N]
    site: Numbers  # [N] known only beside ids as given, which two sites may both have given out
    pixels: Numbers  # [N]
    look: Numbers  # [N] perceptual hash

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        return type(self)(*(column[which] for column in self.arrays))

    @property
    def arrays(self) -> tuple[Numbers, ...]:
        return self.patient, self.study, self.site, self.pixels, self.look

    @classmethod
    def of_all(cls, parts: Sequence["Facts"]) -> Self:
        """One after the other."""
        nothing = (np.empty(0, np.uint64),) * 5
        columns = zip(nothing, *(part.arrays for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True)
class Ids:
    """Of what kind the ids of some images are."""

    key: str
    """The public name of the secret key, or `GIVEN`."""
    patients_known: bool = True

    @property
    def said(self) -> str:
        """As a user is told."""
        known = "ids as given" if self.key == GIVEN else f"ids keyed with {self.key}"
        return known if self.patients_known else f"{known}, patients not known"

    @classmethod
    def of_store(cls, store: Store) -> Self:
        return cls(store.manifest.get("key_id") or GIVEN, bool(store.manifest.get("patients_known", True)))


@dataclass(frozen=True)
class Pictures:
    """Where the pictures themselves can be had, and their own ids."""

    store: Store
    row: NDArray[np.int64]  # [N] place in the store

    def ids(self, places: Sequence[int]) -> list[str]:
        """The store's own ids of some images."""
        return [self._every_id[int(self.row[place])].as_py() for place in places]

    @functools.cached_property
    def _every_id(self) -> pa.ChunkedArray:
        return self.store.select(columns=["id"])["id"]


@dataclass(frozen=True)
class Side:
    """One store, or what one checkpoint was trained on: groups of images with their facts."""

    path: Path
    kind: Kind
    facts: Facts
    group: NDArray[np.uint8]  # [N] place in `groups`
    groups: tuple[str, ...]
    """Splits of a store; for a checkpoint what it and its parents were trained on."""
    ids: tuple[Ids, ...]
    not_known: tuple[str, ...] = ()
    """What it may have seen beside these images, in words."""
    merged: tuple[tuple[int, int], ...] = ()
    """Numbers of patients that are one person's: (old, new)."""
    told: dict[str, Any] = field(default_factory=dict)
    """Version, content hash and intensity contract of the store."""
    pictures: Pictures | None = None

    def __len__(self) -> int:
        return len(self.facts)


def side_of_store(store: Store, *, split: str | None = None, where: str | None = None) -> Side:
    """The facts of a store's images, or of those of one split.

    Raises:
        WrongUse: for a split or a filter that cannot be meant.
        CannotDo: where its hashes are none.
    """
    wanted = SPLITS if split in (None, "all") else (split,)
    names = ["patient_id", "study_id", "source_id", "site", "flags", "pixel_hash", "phash"]
    found, rows, groups = [], [], []
    for number, name in enumerate(wanted):  # split by split: the texts of all ids are the largest thing held here
        table = store.select(split=name, where=where, columns=names)
        found.append(facts_in(table, Ids.of_store(store)))
        rows.append(table["row"].to_numpy())
        groups.append(np.full(len(table), number, np.uint8))
    told = {"version": store.version, "content_hash": store.content_hash, "intensity": store.manifest.get("intensity")}
    return Side(
        store.path,
        "store",
        Facts.of_all(found),
        np.concatenate(groups),
        tuple(wanted),
        (Ids.of_store(store),),
        merged=merged_in(store),
        told=told,
        pictures=Pictures(store, np.concatenate(rows)),
    )


def merged_in(store: Store) -> tuple[tuple[int, int], ...]:
    """The merges that a store keeps, as numbers of patients."""
    pairs, key = merges.kept(store.path), Ids.of_store(store).key
    old, new = (hashed(pa.array([pair[end] for pair in pairs], pa.string()), key).tolist() for end in (0, 1))
    return tuple(zip(old, new, strict=True))


def facts_in(table: pa.Table, ids: Ids) -> Facts:
    """The facts of rows of a store, which have `patient_id, study_id, source_id, site, flags, pixel_hash, phash`."""
    given = ids.key == GIVEN
    patient, study = _texts(table, "patient_id"), _texts(table, "study_id")
    site = _texts(table, "site") if given else pa.nulls(len(table), pa.string())
    unknown = _flagged(table, "patient_missing") if ids.patients_known else pa.array(np.ones(len(table), bool))
    patient = pc.if_else(unknown, None, _without_site(patient, site))
    study = _studies(patient, study, _texts(table, "source_id")) if given else study
    return Facts(
        patient=hashed(patient, ids.key),
        study=hashed(study, ids.key, of="study"),
        site=hashed(site, ids.key, of="site"),
        pixels=first_bits(_texts(table, "pixel_hash")),
        look=first_bits(_texts(table, "phash")),
    )


def hashed(names: pa.Array, key: str, *, of: str = "patient") -> Numbers:
    """The number of each name under a key [N]; 0 where there is none."""
    encoded = names.dictionary_encode()
    person = b"" if of == "patient" else of.encode()
    numbers = [
        hashlib.blake2b(name.encode(), key=key.encode()[:64], digest_size=16, person=person).digest()[:8]
        for name in encoded.dictionary.to_pylist()
    ]
    known = np.array([0, *(int.from_bytes(number, "big") for number in numbers)], np.uint64)
    return known[pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False) + 1]


def first_bits(digests: pa.Array) -> Numbers:
    """The first 16 hexadecimal digits of each digest as a number [N]; 0 where there is none.

    >>> first_bits(pa.array(["00000000000000ff" + "0" * 48, None])).tolist()
    [255, 0]
    """
    short = pc.fill_null(pc.utf8_slice_codeunits(digests, 0, 16), "0" * 16)
    if not pc.all(pc.match_substring_regex(short, "^[0-9a-f]{16}$"), min_count=0).as_py():
        raise CannotDo("hashes of pixels have at least 16 hexadecimal digits, and here are others: prepare it again")
    return np.frombuffer(bytes.fromhex("".join(short.to_pylist())), ">u8").astype(np.uint64)


def _texts(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _flagged(table: pa.Table, flag: str) -> pa.Array:
    """Whether each row has a flag [N]."""
    flags = table["flags"].combine_chunks()
    found = np.zeros(len(table), bool)
    has = pc.fill_null(pc.equal(pc.list_flatten(flags), flag), False).to_numpy(zero_copy_only=False)
    found[pc.list_parent_indices(flags).to_numpy()[has]] = True
    return pa.array(found)


def _without_site(patient: pa.Array, site: pa.Array) -> pa.Array:
    """Ids as given without the site that a store puts before those that two sites have given out."""
    with_colon = pc.and_(pc.is_valid(site), pc.match_substring(patient, ":"))
    if not pc.any(with_colon).as_py():
        return patient
    pairs = zip(patient.to_pylist(), site.to_pylist(), strict=True)
    return pa.array([one.removeprefix(f"{at}:") if one and at else one for one, at in pairs], pa.string())


def _studies(patient: pa.Array, study: pa.Array, source: pa.Array) -> pa.Array:
    """Names of studies as given, beside the patient's: "1" is many a study, a UID only one.

    Without a patient, what was made of a row's or a file's name is no study's.
    """
    unique = pc.match_substring_regex(study, f"^{UID.pattern}$")
    made_up = pc.or_kleene(pc.equal(study, source), pc.match_substring_regex(study, FILE_NAME.pattern))
    beside = pc.binary_join_element_wise(patient, study, "\0")
    alone = pc.if_else(made_up, None, study)
    return pc.if_else(unique, study, pc.if_else(pc.is_valid(patient), beside, alone))
