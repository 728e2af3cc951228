"""MedPix 2.0 becomes a store: `text` is "{modality} {plane} {location}. {caption}", a case is a patient.

    python -m data_prep.medpix data/medpix medpix.store

The folder has `pairs.jsonl`, a line an image, and `images`. Its dev split becomes `test`; its train split is divided by
patient into train and validation. Where a caption is a placeholder, the image stays and is not trained on with text.
"""

import sys
from collections import Counter
from pathlib import Path

from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def main(folder: str, store: str, *overrides: str) -> None:
    prepare(folder, store, layout="medpix", overrides=overrides)

    # Columns of the source that mean nothing of ours keep their names, so they can be asked for in a prompt set.
    rows = Store(Path(store))
    for split in ("train", "validation", "test"):
        regions = Counter(rows.select(split=split, columns=["body_region"])["body_region"].to_pylist())
        print(split, dict(regions.most_common()))


if __name__ == "__main__":
    main(*sys.argv[1:])
