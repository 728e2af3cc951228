"""Your own table of images and texts becomes a store.

    python -m data_prep.table pairs.csv my.store columns.text=caption

A row is an image. `image` is its path, relative to the table; `text` (or `report`) what was written about it; these and
`patient_id`, `study_id`, `split`, `sex`, `age`, `modality`, `view` ... are all optional but `image`, and
`columns.MEANING=NAME` says so where yours are called otherwise. Other columns keep their names, for filters and
evaluation. Name the patients if you can (PatientID and subject_id are understood too): only then does no patient cross
splits. Several captions of a picture are several rows with the same path.
"""

import sys
from pathlib import Path

from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def main(table: str, store: str, *overrides: str) -> None:
    # Reads the table, decodes the images in all cores, drops what cannot be read, is blank or doubled, and writes the
    # store whole or not at all. Called again after an interruption, it goes on where it stopped.
    prepare(table, store, layout="table", overrides=overrides)

    # A row is an image with its text; the picture itself is read only when asked for.
    rows = Store(Path(store))
    for row in rows.select(split="train", columns=["text", "patient_id", "flags"]).slice(0, 5).to_pylist():
        print(row["id"], rows.image(row["row"]).size, row["patient_id"], row["flags"], (row["text"] or "")[:60])


if __name__ == "__main__":
    main(*sys.argv[1:])
