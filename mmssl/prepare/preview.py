"""`STORE/preview.html`: what training will see, at one glance before hours of compute."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmssl import files, page
from mmssl.data import dicom
from mmssl.data.dicom_pictures import XRAY
from mmssl.data.store import Store
from mmssl.prepare import clean, summary

ROWS = 24
SIDE = 256
EXAMPLES = 3
_REASONS = dicom.REASONS | clean.REASONS


def write(folder: Path, *, title: str) -> None:
    """The page of a store whose other files are there."""
    store = Store(folder)
    cards = [
        row | {"picture": page.thumbnail(store.image(row["row"]), side=SIDE), "tags": _tags(row)}
        for row in _choose(_rows(store), ROWS)
    ]
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for line in pq.read_table(folder / "rejected.parquet").to_pylist():
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


def _rows(store: Store) -> list[dict[str, Any]]:
    return store.select(columns=["text", "report", "split", "flags", "modality", "view", "sex", "age"]).to_pylist()


def _choose(rows: Sequence[Mapping[str, Any]], number: int) -> list[dict[str, Any]]:
    """Rows evenly through the store: half of them train, some of each split, a quarter with flags where there are."""
    chosen: dict[int, Mapping[str, Any]] = {}
    for split, share in (("train", 2), ("validation", 4), ("test", 4)):
        here = [row for row in rows if row["split"] == split]
        few = _evenly([row for row in here if row["flags"]], number // share // 4)
        chosen |= {row["row"]: row for row in few}
        others = [row for row in here if row["row"] not in chosen]
        chosen |= {row["row"]: row for row in _evenly(others, number // share - len(few))}
    left = [row for row in rows if row["row"] not in chosen]
    chosen |= {row["row"]: row for row in _evenly(left, number - len(chosen))}
    return [dict(chosen[place]) for place in sorted(chosen)]


def _evenly(rows: Sequence[Any], number: int) -> list[Any]:
    count = min(number, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]
