"""Indiana University's chest X-rays (Open-i) become a store: XML reports with PNG or DICOM images.

    python -m data_prep.openi openi openi.store

The folder has NLMCXR_reports.tgz (or what is in it), and NLMCXR_png or NLMCXR_dcm unpacked. A report is a study and a
patient; there are no official splits, so patients are drawn. docs/data/openi.md has the whole way.
"""

import sys
from collections import Counter
from pathlib import Path

from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def main(folder: str, store: str, *overrides: str) -> None:
    prepare(folder, store, layout="openi", overrides=overrides)

    # What people coded of each report: headings in `label_mesh`, with their places in `mesh_major`.
    rows = Store(Path(store))
    coded = rows.select(columns=["label_mesh"])["label_mesh"].to_pylist()
    print(Counter(heading for headings in coded for heading in headings or ["not coded"]).most_common(20))


if __name__ == "__main__":
    main(*sys.argv[1:])
