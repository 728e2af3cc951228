"""What a checkpoint has seen: the facts of each image that it, and those it was started from, were trained on.

They lie in the checkpoint's folder, `training_images.parquet`: a row per image with numbers alone (`facts` says which),
some 30 MB for a million; the file's metadata says of which stores they are and how ids were hashed. Whoever removes the
file takes that knowledge away, and nothing else; the checkpoint works without it.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmssl import checkpoint as checkpoints
from mmssl.data.store import Store
from mmssl.errors import CannotDo
from mmssl.overlap.facts import GIVEN, Facts, Ids, Side, facts_in, first_bits, merged_in

FILE = "training_images.parquet"
FORMAT = 2
KEY = b"mmssl"
"""Of the file's metadata."""
COLUMNS = ("patient", "study", "site", "pixel_hash", "phash")
OWN, BEFORE = "trained on", "trained on before"
"""Groups of a checkpoint's images: its own, and those of the checkpoints it was started from."""


@dataclass(frozen=True)
class Origin:
    """A store that images were read from."""

    ids: Ids
    store: dict[str, Any]
    """content_hash, version and key_id."""


@dataclass(frozen=True)
class Seen:
    """All that went into a model; the images of origin 0 are its own, the others those of its parents."""

    origins: tuple[Origin, ...]
    facts: Facts
    origin: NDArray[np.uint16]  # [N] place in `origins`
    not_known: tuple[str, ...] = ()
    """Checkpoints it was started from that do not say what they have seen, in words."""
    merged: tuple[tuple[int, int], ...] = ()
    """Numbers of patients that are one person's, as far as the stores of the training knew: (old, new)."""
    others: tuple[str, ...] = ()
    """Weights it was started from that are no checkpoint of ours: what these have seen is nowhere said."""
    told: dict[str, Any] = field(default_factory=dict)


NOTHING = Seen((), Facts.of_all([]), np.empty(0, np.uint16))


def of_run(
    store: Store, rows: NDArray[np.int64], parents: Sequence[str], *, before: Path | None = None, given: bool = True
) -> bytes:
    """The file for a run's checkpoints.

    Args:
        store: that is trained on.
        rows: of its split `train`, those that are.
        parents: what weights were started from, as the config names them.
        before: the checkpoint that is gone on with; it knows what its parents have seen, wherever they are by now.
        given: False: ids that are no pseudonyms are left out, hashed or not.
    """
    columns = ["patient_id", "study_id", "source_id", "site", "flags", "pixel_hash", "phash"]
    table = store.select(split="train", columns=columns)
    table = table.take(pa.array(np.searchsorted(table["row"].to_numpy(), rows)))
    ids = Ids.of_store(store)
    facts = facts_in(table, ids)
    if ids.key == GIVEN and not given:
        blank = np.zeros(len(facts), np.uint64)
        ids, facts = Ids(GIVEN, patients_known=False), Facts(blank, blank, blank, facts.pixels, facts.look)
    told = {"content_hash": store.content_hash, "version": store.version, "key_id": store.manifest.get("key_id")}
    merged = merged_in(store) if ids.patients_known else ()
    own = Seen((Origin(ids, told),), facts, np.zeros(len(facts), np.uint16), merged=merged)
    return written(joined(own, inherited(parents) if before is None else _of_parents(before, parents)))


def inherited(parents: Sequence[str]) -> Seen:
    """What a model has seen before its first step, by what its weights were started from."""
    found = NOTHING
    for name in dict.fromkeys(parents):
        folder = checkpoint_at(name)
        if folder is None:
            found = joined(found, replace(NOTHING, others=(name,)))
            continue
        seen = read(folder)
        silent = replace(NOTHING, not_known=(f"{folder} does not say what it was trained on",))
        found = joined(found, silent if seen is None else seen)
    return found


def checkpoint_at(name: str) -> Path | None:
    """The folder of a checkpoint of ours that weights are read from; None where they are somebody else's."""
    path = Path(name).expanduser()
    for folder in (path, path / "checkpoint", path.parent if path.is_file() else path):
        if (folder / "checkpoint.json").is_file():
            return folder
    return None


def _of_parents(before: Path, parents: Sequence[str]) -> Seen:
    """Of an interrupted run, what it had from others."""
    seen = read(before)
    if seen is None or seen.told.get("format") != FORMAT:
        return inherited(parents)
    rest = seen.origin > 0
    origin = (seen.origin[rest] - 1).astype(np.uint16)
    return replace(seen, origins=seen.origins[1:], facts=seen.facts.take(rest), origin=origin)


def joined(first: Seen, second: Seen) -> Seen:
    """Both; an image that is in both with the same ids stands in the first alone."""
    fresh = ~_contained(second.facts, first.facts)
    return Seen(
        (*first.origins, *second.origins),
        Facts.of_all([first.facts, second.facts.take(fresh)]),
        np.concatenate([first.origin, (second.origin[fresh] + len(first.origins)).astype(np.uint16)]),
        tuple(dict.fromkeys((*first.not_known, *second.not_known))),
        tuple(dict.fromkeys((*first.merged, *second.merged))),
        tuple(dict.fromkeys((*first.others, *second.others))),
    )


def _contained(facts: Facts, others: Facts) -> NDArray[np.bool_]:
    """Which rows are in `others` with all their numbers [N]."""
    if not len(facts) or not len(others):
        return np.zeros(len(facts), bool)

    def rows(one: Facts) -> NDArray[np.void]:
        block = np.ascontiguousarray(np.stack(one.arrays, axis=1))
        return block.view([("", block.dtype)] * block.shape[1]).ravel()

    candidate = np.isin(facts.pixels, others.pixels)  # so that few whole rows are compared
    found = np.zeros(len(facts), bool)
    found[candidate] = np.isin(rows(facts.take(candidate)), rows(others.take(np.isin(others.pixels, facts.pixels))))
    return found


def written(seen: Seen) -> bytes:
    """The bytes of the file."""
    told = {
        "format": FORMAT,
        "hashed": "64 bits of BLAKE2b of the id, with its origin's key; of pixel_hash and phash the first 64 bits",
        "origins": [
            {"key": one.ids.key, "patients_known": one.ids.patients_known, "store": one.store} for one in seen.origins
        ],
        "not_known": seen.not_known,
        "merged": seen.merged,
        "others": seen.others,
    }
    table = pa.table({"origin": seen.origin, **dict(zip(COLUMNS, seen.facts.arrays, strict=True))})
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({KEY: json.dumps(told).encode()}),
        sink,
        compression="zstd",
        use_dictionary=["origin", "patient", "study", "site"],  # pyright: ignore[reportArgumentType]
    )
    return sink.getvalue()


def read(folder: Path) -> Seen | None:
    """What the checkpoint in a folder has seen; None where it does not say, as those of an old version.

    Raises:
        CannotDo: where the file is damaged, or a newer version wrote it.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        table = pq.read_table(file)
        told = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
        if not told:
            return _first_format(table, folder)
        if told["format"] > FORMAT:
            raise CannotDo(f"{file} is of format {told['format']}; this version reads {FORMAT}: update mmssl")
        origins = tuple(Origin(Ids(one["key"], one["patients_known"]), one["store"]) for one in told["origins"])
        facts = Facts(*(table[name].to_numpy().astype(np.uint64) for name in COLUMNS))
        origin = table["origin"].to_numpy().astype(np.uint16)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise CannotDo(
            f"{file} cannot be read ({type(error).__name__}): it is damaged; without it the checkpoint works, and what "
            "it was trained on is not known"
        ) from None
    merged = tuple((old, new) for old, new in told["merged"])
    return Seen(origins, facts, origin, tuple(told["not_known"]), merged, tuple(told["others"]), told)


def _first_format(table: pa.Table, folder: Path) -> Seen:
    """As the first version wrote it: patients of keyed stores and pixels, as texts; no studies."""
    store = checkpoints.read_info(folder)["store"]
    blank = np.zeros(len(table), np.uint64)
    patient, pixels, look = (
        first_bits(table[name].combine_chunks().cast(pa.string())) for name in ("patient", "pixel_hash", "phash")
    )
    ids = Ids(store.get("key_id") or GIVEN, patients_known=bool(patient.any()))
    facts = Facts(patient, blank, blank, pixels, look)
    return Seen((Origin(ids, store),), facts, np.zeros(len(table), np.uint16), told={"format": 1})


def side_of_checkpoint(path: Path) -> Side:
    """What a checkpoint, or the last one of a run, has seen.

    Raises:
        CannotDo: where there is no checkpoint, or it does not say.
    """
    folder = checkpoints.find(path)
    info, seen = checkpoints.read_info(folder), read(folder)
    if seen is None:
        raise CannotDo(
            f"{folder} does not say what it was trained on (it has no {FILE}: it is of an old version, or somebody "
            "removed it): overlap with it cannot be known"
        )
    groups = (OWN, *([BEFORE] if (seen.origin > 0).any() else []))
    return Side(
        folder,
        "checkpoint",
        seen.facts,
        (seen.origin > 0).astype(np.uint8),
        groups,
        tuple(dict.fromkeys(one.ids for one in seen.origins)),
        seen.not_known,
        seen.merged,
        told={**info["store"], "intensity": info.get("intensity"), "others": list(seen.others)},
    )
