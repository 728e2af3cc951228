"""Our pictures of DICOM files against dcmtk's and gdcm's programs, file by file: no speed, agreement.

    python -m benchmarks.dicom [FOLDER]

FOLDER, else `dicom/` below MMSSL_DATA; pydicom's own test files come with either. Stored values have to be equal,
pictures within one grey level; the table says how many are, and names each file that is not.
"""

import collections
import sys
import tempfile
from pathlib import Path

import pydicom.data

from benchmarks import common
from mmssl.data import folders
from tests.dicom_comparison import compare


def main() -> None:
    packaged = Path(pydicom.data.__file__).parent
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else common.data("dicom")
    files = [path for folder in (packaged, given) for path in folders.walk(folder) if path.suffix in (".dcm", "")]
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        for path in files:
            verdicts = compare(path, Path(place))
            counts.update({(verdict.what, verdict.said) for verdict in verdicts})
            for verdict in dict.fromkeys(verdicts):
                if not verdict.is_good or verdict.said == "not read by them":
                    print(f"{path.name}: {verdict.what} {verdict.said}: {verdict.why}")
            bad += any(not verdict.is_good for verdict in verdicts)
    print(f"\n{len(files)} files")
    for (what, said), count in sorted(counts.items()):
        print(f"  {what:14s} {said:18s} {count:4d} files")
    print(f"\ndisagreeing: {bad}")


if __name__ == "__main__":
    main()
