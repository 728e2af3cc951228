"""ROCO or ROCOv2 becomes a store: figures of open-access articles with their captions, in the official splits.

    python -m data_prep.roco ROCOv2 roco.store

The folder has `data` as ROCO's script leaves it, or ROCOv2's train_captions.csv and images. docs/data/roco.md has the
whole way; ROCOv2 as Parquet files is a Hugging Face data set and needs no page of its own.
"""

import sys
from pathlib import Path

from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def main(folder: str, store: str, *overrides: str) -> None:
    prepare(folder, store, layout="roco", overrides=overrides)

    # A caption is the whole text; figures of one article may be in two splits, as the data set divides them.
    rows = Store(Path(store))
    for split in ("train", "validation", "test"):
        for row in rows.select(split=split, columns=["text"]).slice(0, 2).to_pylist():
            print(split, row["id"], rows.image(row["row"]).size, (row["text"] or "")[:80])


if __name__ == "__main__":
    main(*sys.argv[1:])
