"""CheXpert becomes a store, with CheXpert Plus's reports where its table lies beside the others.

    python -m data_prep.chexpert CheXpert-v1.0-small chexpert.store

The folder has train.csv, valid.csv and the images, full size or small; df_chexpert_plus_240401.csv brings reports,
test_labels.csv and `test` the test set. Studies have no dates, so none has a prior. docs/data/chexpert.md has the whole
way.
"""

import sys
from collections import Counter
from pathlib import Path

from mmssl.data.observations import NAMES
from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def main(folder: str, store: str, *overrides: str) -> None:
    prepare(folder, store, layout="chexpert", overrides=overrides)

    # 1 is present, 0 absent, -1 uncertain; None was not mentioned, which is not the same as absent.
    rows = Store(Path(store))
    for label in (name for name in (f"label_{one}" for one in NAMES) if name in rows.columns):
        print(label, dict(Counter(rows.select(split="train", columns=[label])[label].to_pylist()).most_common()))


if __name__ == "__main__":
    main(*sys.argv[1:])
