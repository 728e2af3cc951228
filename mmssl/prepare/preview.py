"""`STORE/preview.html`: what training will see, at one glance before hours of compute."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute
import pyarrow.parquet as pq

from mmssl import files, page
from mmssl.data import dicom
from mmssl.data.dicom_pictures import XRAY
from mmssl.data.store import Store
from mmssl.prepare import clean, summary

compute: Any = pyarrow.compute  # makes its functions when imported, so that type checkers do not see them

SHOWN = ["id", "text", "report", "split", "flags", "modality", "view", "sex", "age"]
ROWS = 24
SIDE = 256
EXAMPLES = 3
_REASONS = dicom.REASONS | clean.REASONS


def write(folder: Path, *, title: str) -> None:
    """The page of a store whose other files are there."""
    store = Store(folder)
    cards = [
        row | {"picture": page.thumbnail(store.image(row["row"]), side=SIDE), "tags": _tags(row)}
        for row in _choose(store, ROWS)
    ]
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for batch in pq.ParquetFile(folder / "rejected.parquet").iter_batches(4096, columns=["reason", "source_id"]):
        for line in batch.to_pylist():
            if len(examples[line["reason"]]) < EXAMPLES:
                examples[line["reason"]].append(line["source_id"])
    told = store.manifest
    html = page.render(
        "preview.html",
        title=title,
        manifest=told,
        rows=cards,
        splits=[
            [split, one["rows"], one["patients"] if told["patients_known"] else "-"]
            for split, one in told["splits"].items()
        ],
        inputs=[
            ["kept", told["counts"]["kept"], "", ""],
            *(
                [f"rejected: {why}", n, _REASONS.get(why, ""), ", ".join(examples[why])]
                for why, n in told["counts"]["reasons"].items()
            ),
        ],
        flags=[
            *([name.strip(), n] for name, n in summary.texts(told)),
            *([f"flag: {flag}", n] for flag, n in told["flags"].items()),
        ],
    )
    with files.whole_file(folder / "preview.html") as part:
        part.write_text(html, encoding="utf-8")


def _tags(row: Mapping[str, Any]) -> list[Any]:
    """What is known of a row; that a view is not known, of films alone."""
    told = {name: row[name] for name in ("modality", "view", "sex") if row[name]}
    if told.get("view") == "unknown":
        told |= {"view": "view unknown"} if row["modality"] in XRAY else {"view": None}
    return [*filter(None, told.values()), *([page.years(row["age"])] if row["age"] is not None else [])]


def _choose(store: Store, number: int) -> list[dict[str, Any]]:
    """Rows evenly through the store: half of them train, some of each split, a quarter with flags where there are."""
    told = store.select(columns=["split", "flags"])
    flagged = np.array(compute.greater(compute.list_value_length(told["flags"]), 0).fill_null(False))
    splits = np.array(told["split"])
    chosen: set[int] = set()
    for split, share in (("train", 2), ("validation", 4), ("test", 4)):
        here = np.flatnonzero(splits == split)
        few = _evenly(here[flagged[here]], number // share // 4)
        chosen.update(few)
        others = here[~np.isin(here, few)]
        chosen.update(_evenly(others, number // share - len(few)))
    left = np.setdiff1d(np.arange(len(splits)), np.array(sorted(chosen), np.int64))
    chosen.update(_evenly(left, number - len(chosen)))
    return [{"row": row, **store.row(row, SHOWN)} for row in sorted(chosen)]


def _evenly(rows: np.ndarray, number: int) -> list[int]:
    count = min(number, len(rows))
    return [int(rows[place * len(rows) // count]) for place in range(count)]
