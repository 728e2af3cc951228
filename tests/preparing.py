"""Small sources for the tests of `prepare`: pictures that differ, tables of them."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def picture(seed, size=(48, 40), channels=0):
    """A picture with structure of its own, so that no two seeds are near duplicates."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (6, 5, channels) if channels else (6, 5), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def pictures(folder, names):
    """Different pictures under names, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        picture(number).save(folder / name)


def write_csv(path, rows, delimiter=","):
    """Rows as dicts; the columns are those of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def source(folder, rows):
    """A table of as many pictures as rows; `image` is added where a row lacks it."""
    names = [row.get("image", f"{number}.png") for number, row in enumerate(rows)]
    pictures(folder, [name for name in dict.fromkeys(names) if name])
    return write_csv(folder / "table.csv", [{"image": name, **row} for name, row in zip(names, rows, strict=True)])


def made(source, store, **options):
    """The store's rows by source id, as dicts."""
    prepare(source, store, workers=1, **options)
    return rows_of(store)


def rows_of(store):
    return {row["source_id"]: row for row in Store(store).select().to_pylist()}


def reasons(store):
    """{source id: reason, or None where it is kept}."""
    return {line["source_id"]: line["reason"] for line in pq.read_table(store / "sources.parquet").to_pylist()}
