"""PadChest becomes a store: 16-bit images with Spanish reports, and priors by date.

    python -m data_prep.padchest padchest padchest.store

The folder has PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv and the images, a folder for each zip. There are no
official splits, so patients are drawn. docs/data/padchest.md has the whole way.
"""

import sys
from collections import Counter
from pathlib import Path

from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def main(folder: str, store: str, *overrides: str) -> None:
    prepare(folder, store, layout="padchest", overrides=overrides)

    # A physician gave a part of the labels, a network the others; for evaluation keep to the first.
    rows = Store(Path(store))
    for method in sorted({*rows.select(columns=["MethodLabel"])["MethodLabel"].to_pylist()} - {None}):
        labels = rows.select(where=f"MethodLabel = '{method}'", columns=["label_padchest"])[
            "label_padchest"
        ].to_pylist()
        print(method, Counter(name for names in labels for name in names or []).most_common(10))


if __name__ == "__main__":
    main(*sys.argv[1:])
