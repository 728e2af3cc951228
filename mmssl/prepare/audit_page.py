"""`STORE/audit.html` of a version that was just written: pictures of what was set aside and of what is flagged."""

import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from mmssl import files, page
from mmssl.data import dicom, images
from mmssl.data.store import Store
from mmssl.prepare import audit, clean, join
from mmssl.prepare.audit import Audit, Sample, Shown
from mmssl.prepare.rows import Content

compute: Any = pyarrow.compute  # makes its functions when imported, so that type checkers do not see them

MEANINGS = dicom.REASONS | clean.REASONS
COUNTED = (
    "width", "height", "text", "age", "split", "modality", "body_part", "view", "laterality", "sex", "site", "scanner",
    "language", "window_width", "findings",
)  # fmt: skip
"""Columns of which the page shows distributions, beside the labels."""

Pair = dict[str, str]


def write(folder: Path, content: Content, manifest: Mapping[str, Any], *, title: str) -> None:
    """The page of a store whose other files are there.

    Args:
        folder: of the store.
        content: what this version read; only of that there are pictures of what was set aside.
        manifest: of the store.
        title: its name.
    """
    store = Store(folder)
    counts = manifest["counts"]
    pairs, num_pairs = _pairs(store, folder)
    flagged = _flagged(store)
    told = Audit(
        title=title,
        facts=_facts(manifest),
        inputs=counts["inputs"],
        kept=counts["kept"],
        rows=counts["rows"],
        reasons=audit.codes(counts["reasons"], MEANINGS, _rejected(content, store, folder)),
        flags=audit.codes(
            manifest["flags"],
            clean.FLAGS,
            {flag: [_of_row(store, row) for row in flagged.chosen(flag)] for flag in flagged.codes()},
        ),
        pairs=pairs,
        num_pairs=num_pairs,
        joins={what: manifest[what] for what in ("reports", "labels") if what in manifest},
        distributions=_distributions(store),
        remarks=[*manifest["remarks"], *_unjoined(manifest)],
        more_rejected=counts["rejected_frames_of_kept"],
    )
    with files.whole_file(folder / "audit.html") as part:
        part.write_text(audit.render(told), encoding="utf-8")


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, Any]]:
    changes = manifest["history"][-1]
    made = audit.made(datetime.fromisoformat(changes["created"]))
    facts = [("version", manifest["version"]), ("made", made), ("by", f"mmssl {manifest['mmssl']}")]
    if manifest["version"] > 1:
        facts += [(f"rows {name}", changes[name]) for name in ("new", "replaced", "unchanged")]
    return facts


def _unjoined(manifest: Mapping[str, Any]) -> Iterator[str]:
    for why in join.whys(manifest.get("reports", {})):
        yield f"{why.number} {'lines of reports' if why.side != 'studies' else 'studies'} {why.reason}: {why.meaning}"


# ---- pictures ------------------------------------------------------------------------------------------------------


def _rejected(content: Content, store: Store, folder: Path) -> dict[str, list[Shown]]:
    """A few pictures of each reason, with what they repeat beside them."""
    sample = Sample[int]()
    for place, reason in enumerate(content.verdicts.reasons):
        if reason is not None:
            entry = content.entries[int(content.spool.entry[place])]
            sample.offer(reason, f"{entry.source_id} {int(content.spool.number[place])}", place)
    chosen = {reason: sample.chosen(reason) for reason in sample.codes()}
    names = {place: _name(content, place) for places in chosen.values() for place in places}
    lines = _lines(folder, set(names.values()))
    alike = {place: content.verdicts.likes.get(place) for place in names}
    return {
        reason: [
            Shown(_of_frame(content, place), lines.get(names[place], 0), like=_of_frame(content, alike[place]))
            for place in places
        ]
        for reason, places in chosen.items()
    }


def _name(content: Content, place: int) -> tuple[str, int]:
    return content.entries[int(content.spool.entry[place])].source_id, int(content.spool.number[place])


def _lines(folder: Path, names: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The lines of rejected.parquet, counted from 0, at which these stand."""
    found, start = {}, 0
    for batch in pq.ParquetFile(folder / "rejected.parquet").iter_batches(4096, columns=["source_id", "frame"]):
        for number, name in enumerate(zip(batch["source_id"].to_pylist(), batch["frame"].to_pylist(), strict=True)):
            if name in names:
                found[name] = start + number
        start += len(batch)
    return found


def _of_frame(content: Content, place: int | None) -> bytes | None:
    """A thumbnail of a frame of the spool; None where there is no picture, or it lies in an older version."""
    if place is None or place >= len(content.spool) or not content.spool.size(place):
        return None
    from PIL import Image

    modality = content.spool[place].columns.get("modality")
    view = images.view8(Image.open(io.BytesIO(content.spool.image(place))), modality)
    return page.thumbnail(view, side=audit.SIDE)


def _of_row(store: Store, row: int, like: int | None = None) -> Shown:
    beside = None if like is None else page.thumbnail(store.image(like), side=audit.SIDE)
    return Shown(page.thumbnail(store.image(row), side=audit.SIDE), row, like=beside)


def _flagged(store: Store) -> Sample[int]:
    sample = Sample[int]()
    for batch in store.select(columns=["id", "flags"]).to_batches(4096):
        for one in batch.to_pylist():
            for flag in one["flags"] or ():
                sample.offer(flag, one["id"], one["row"])
    return sample


def _pairs(store: Store, folder: Path) -> tuple[list[Shown], int]:
    """Pairs of pairs.parquet for review, and how many there are."""
    sample = Sample[Pair]()
    for batch in pq.ParquetFile(folder / "pairs.parquet").iter_batches(4096, columns=["id", "like"]):
        for one in batch.to_pylist():
            sample.offer("pair", f"{one['id']} {one['like']}", one)
    chosen = sample.chosen("pair")
    wanted = sorted({name for one in chosen for name in one.values()})
    told = store.select(columns=["id"])
    here = told.filter(compute.is_in(told["id"], pa.array(wanted, pa.string())))
    place = dict(zip(here["id"].to_pylist(), here["row"].to_pylist(), strict=True))
    return [_of_row(store, place[one["id"]], place[one["like"]]) for one in chosen], sample.count("pair")


def _distributions(store: Store) -> list[audit.Bars]:
    counted = audit.Distributions()
    labels = [name for name in store.columns if name.startswith("label_")]
    for batch in store.select(columns=[*COUNTED, *labels]).to_batches(1024):
        for row in batch.to_pylist():
            findings = {one["name"]: one["assertion"] for one in row["findings"] or ()}
            counted.add({**row, "findings": findings})
    return counted.bars()
