"""A folder of DICOM files and a table of reports become a store, with pseudonyms for ids.

    python -m data_prep.dicom_tree hospital/dicom my.store hospital/reports.csv hospital/truth.csv

Reports and labels are keyed by AccessionNumber, StudyInstanceUID or PatientID; keys are text, and what is ambiguous is
left out and counted. Trained on are the findings and the impression, `text.sections=[impression]` takes less. No value
of a header enters a row but those of the columns you see below; `my.store.key` is the secret of the pseudonyms and
`my.store.sources.private` leads back to the files: neither belongs in a shared copy.
"""

import sys
from pathlib import Path

from mmssl.data.store import Store
from mmssl.prepare.job import prepare


def main(folder: str, store: str, *more: str) -> None:
    tables = [argument for argument in more if "=" not in argument]
    prepare(
        folder,
        store,
        layout="dicom_tree",
        reports=tables[0] if tables else None,
        labels=tables[1] if len(tables) > 1 else None,
        overrides=[argument for argument in more if "=" in argument],
    )

    # What a header gave, study by study: rows of a study are adjacent.
    rows = Store(Path(store))
    columns = ["study_id", "prior_study_id", "modality", "body_part", "view", "sex", "age", "site", "scanner", "text"]
    for row in rows.select(columns=columns).slice(0, 5).to_pylist():
        print({name: value for name, value in row.items() if value is not None})


if __name__ == "__main__":
    main(*sys.argv[1:])
