"""`STORE/preview.html`: what training will see, at one glance before hours of compute."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmssl import files, page
from mmssl.data.store import Store

ROWS = 24
SIDE = 256


def write(folder: Path, *, title: str) -> None:
    """The page of a store whose other files are there."""
    store = Store(folder)
    cards = [
        row | {"picture": page.thumbnail(store.image(row["row"]), side=SIDE)} for row in _choose(_rows(store), ROWS)
    ]
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
            ["kept", told["counts"]["kept"]],
            *([f"rejected: {why}", n] for why, n in told["counts"]["reasons"].items()),
        ],
        flags=[
            *([f"text: {how}", n] for how, n in told["text"].items()),
            *([f"flag: {flag}", n] for flag, n in told["flags"].items()),
        ],
    )
    with files.whole_file(folder / "preview.html") as part:
        part.write_text(html, encoding="utf-8")


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
