"""MIMIC-CXR becomes a store: JPEG or DICOM, the official splits, the reports, one labeller's labels, priors by date.

    python -m data_prep.mimic_cxr mimic-cxr-jpg/2.1.0 mimic.store source.reports=mimic-cxr-reports.zip

The folder has the tables (mimic-cxr-2.0.0-metadata.csv.gz ... or cxr-record-list.csv.gz) and `files`. Ids stay as they
are: they are random already. docs/data/mimic_cxr.md has the way from download to pre-training.
"""

import sys
from collections import Counter
from pathlib import Path

from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def main(folder: str, store: str, *overrides: str) -> None:
    prepare(folder, store, layout="mimic_cxr", overrides=overrides)

    # `validate` is our validation. A view is what ViewPosition says, else what its code says, else unknown.
    rows = Store(Path(store))
    for split in ("train", "validation", "test"):
        print(split, dict(Counter(rows.select(split=split, columns=["view"])["view"].to_pylist()).most_common()))

    # Study ids are random: only StudyDate and StudyTime say which study of a patient came before another.
    columns = ["patient_id", "study_id", "study_datetime", "prior_study_id", "text"]
    for row in rows.select(where="prior_study_id is not null", columns=columns).slice(0, 5).to_pylist():
        print(row)


if __name__ == "__main__":
    main(*sys.argv[1:])
