"""ROCO and ROCOv2: figures of open-access articles with their captions.

ROCO as https://github.com/razorx89/roco-dataset has it once `scripts/fetch.py` has fetched the images, or as copies
of it name them:

    data/train/radiology/captions.txt: ROCO_00020<tab>caption; likewise keywords.txt, cuis.txt, dlinks.txt
    data/train/radiology/images/PMC4608653_cro-0008-0385-g01.jpg (by dlinks.txt) or ROCO_00020.jpg
    the same in validation and test, and in `non-radiology`

ROCOv2 as https://zenodo.org/records/8333645 has it:

    train_captions.csv: ID,Caption; train_concepts.csv, train_concepts_manual.csv: ID,CUIs (with ; between them)
    train/ROCOv2_2023_train_000001.jpg, or train_images/train/... where train_images.zip was unpacked; valid, test

Pelka et al. 2018, https://doi.org/10.1007/978-3-030-01364-6_20; Rückert et al. 2024,
https://doi.org/10.1038/s41597-024-03496-6. ROCOv2 as Parquet files is a Hugging Face data set: layout `hf_dataset`.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmssl import files
from mmssl.data import columnar, folders, table_rows
from mmssl.errors import Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

ONE = {"train": "train", "validation": "validation", "test": "test"}
TWO = {"train": "train", "valid": "validation", "test": "test"}
"""What the splits are called in ROCO and in ROCOv2, and here."""

BASES = ("data", "all_data", "")
"""Folders in which those of ROCO's splits may lie."""

LISTS = {"keywords.txt": "keywords", "cuis.txt": "cuis"}
"""Files of ROCO with words for each image, and the columns they become."""

CONCEPTS = {"concepts": "label_concepts", "concepts_manual": "label_concepts_manual"}
"""Tables of ROCOv2 with UMLS concepts for each image, and the columns they become."""

SUFFIXES = (".jpg", ".jpeg", ".png")

_ARCHIVE = re.compile(r"/(PMC\d+)\.tar\.gz")


class _Part(NamedTuple):
    """One split of one kind of image."""

    split: str
    captions: Path
    images: tuple[Path, ...]  # folders in which they may lie


class Source:
    """A row is a figure; nothing is known of patients, so a figure is its own study.

    The caption is the text. Splits are those of the data set, which divides figures, not articles: `article` says
    which figures of ROCO are from one. Figures without a caption and captions without a figure are inputs too.
    """

    keyed_ids = False
    patients_known = False
    complete_splits = ("validation", "test")
    table_columns = ()

    def __init__(self, path: Path, *, non_radiology: bool = False) -> None:
        """Reads nothing yet.

        Args:
            path: of the folder with `data` (ROCO), or with train_captions.csv (ROCOv2).
            non_radiology: with the figures of ROCO that are no radiology.
        """
        self.path, self.non_radiology = Path(path), non_radiology

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a folder has captions of one of the two, by how their first ID is made; or lies in one that has."""
        return _root(Path(path)) is not None

    def fingerprint(self) -> str:
        """Changes with captions and what stands beside them, and with the names of images; not with their content."""
        told = []
        for part in self._check():
            beside = [*part.captions.parent.glob("*.txt"), *part.captions.parent.glob("*.csv*")]
            told.append([(file.name, files.hash_file(file)) for file in sorted(beside)])
            told.append(sorted(path.name for folder in part.images for path in folder.iterdir()))
        return files.hash_json(told)

    def studies(self) -> Iterator[Study]:
        """Split by split, in the order of the captions; then images without one."""
        names: dict[str, int] = {}
        for part in self._check():
            there: dict[str, list[Path]] = {}
            for path in (path for folder in part.images for path in _images(folder)):
                there.setdefault(path.stem, []).append(path)
            left = dict(there)
            told = _rows_one(part.captions) if part.captions.suffix == ".txt" else _rows_two(part.captions)
            for row in told:
                stem = next((stem for stem in (row["id"], row.get("file")) if stem in there), None)
                if stem and stem not in left:  # its caption is there already
                    row["columns"]["flags"] = ["duplicate_id"]
                    left[stem] = there[stem][:1]
                yield self._study(row, left.pop(stem or "", []), part, names)
            for path, *others in left.values():
                name = table_rows.unique(folders.below(self.path, path), names)
                columns = {"flags": ["not_in_metadata"], "split": part.split}
                pictures = (Picture(name, path, columns=columns), *self._again(others, names))
                yield Study(name, None, pictures)

    def decode(self, picture: Picture) -> "list[tuple[Image.Image, dict[str, Any]]]":
        """The picture of a file.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return table_rows.opened(picture, picture.path)

    def _study(self, row: dict[str, Any], forms: list[Path], part: _Part, names: dict[str, int]) -> Study:
        if row["id"] is None:
            name = table_rows.unique(row["name"], names)
            return Study(name, None, (Picture(name, None, columns={"split": part.split}, reason="bad_row"),))
        name = table_rows.unique(row["id"], names)
        expected = part.images[0] / f"{row.get('file') or row['id']}.jpg" if part.images else None
        picture = Picture(
            name,
            forms[0] if forms else expected,
            columns={"split": part.split, **row["columns"]},
            reason=None if forms else "missing",
        )
        pictures = (picture, *self._again(forms[1:], names))
        return Study(name, None, pictures, report=row["caption"], text=row["caption"], keys={"StudyInstanceUID": name})

    def _again(self, paths: list[Path], names: dict[str, int]) -> list[Picture]:
        """Other files of an image that is there already."""
        named = [(table_rows.unique(folders.below(self.path, path), names), path) for path in paths]
        return [Picture(name, path, reason="duplicate") for name, path in named]

    def _check(self) -> list[_Part]:
        """The parts, in order.

        Raises:
            WrongUse: where captions or images are missing.
        """
        root = _root(self.path)
        if root is None:
            raise WrongUse(
                f"{self.path} is not ROCO: neither data/train/radiology/captions.txt (ROCO) nor train_captions.csv "
                "(ROCOv2) is there; name the folder that has them"
            )
        if root != self.path:
            raise WrongUse(f"{self.path} is not the folder with the captions of all splits; say {root}")
        kinds = ("radiology", "non-radiology") if self.non_radiology else ("radiology",)
        parts = _parts(self.path, kinds)
        if not any(next(_images(folder), None) for part in parts for folder in part.images):
            packed = next(iter(sorted(self.path.glob("*_images.zip"))), None)
            say = f"unpack {packed.name} and the others there" if packed else "fetch them (ROCO: scripts/fetch.py)"
            raise WrongUse(f"{self.path} has no images beside its captions; {say}")
        return parts


# ---- captions ------------------------------------------------------------------------------------------------------


def _rows_one(captions: Path) -> Iterator[dict[str, Any]]:
    """Captions of ROCO with what its other files say of the same image."""
    lists = {column: _listed(captions.with_name(name)) for name, column in LISTS.items()}
    links = _links(captions.with_name("dlinks.txt"))
    for number, line in enumerate(_lines(captions), 1):
        name, tab, caption = line.partition("\t")
        if not tab or not name.strip():
            yield {"id": None, "name": f"{'/'.join(captions.parts[-3:])} row {number}"}
            continue
        file = links.get(name.strip())
        columns: dict[str, Any] = {column: words.get(name.strip()) for column, words in lists.items()}
        columns["article"] = file.partition("_")[0] if file else None
        yield {"id": name.strip(), "caption": caption.strip() or None, "columns": columns,
               "file": file and Path(file).stem}  # fmt: skip


def _rows_two(captions: Path) -> Iterator[dict[str, Any]]:
    """Captions of ROCOv2 with the concepts of the same image."""
    rows, bad = columnar.read(captions, ["ID"], optional=["Caption"], keys=["ID"])
    columnar.check_unique(captions, rows, "ID")
    for table, column in CONCEPTS.items():
        file = columnar.find(captions.parent, captions.name.split("_")[0] + f"_{table}.csv")
        if file:
            found, _ = columnar.read(file, ["ID", "CUIs"], keys=["ID"])
            columnar.check_unique(file, found, "ID")
            rows = rows.join(found.rename_columns({"CUIs": column}), "ID", join_type="left outer")
    for (row,) in columnar.groups(rows.combine_chunks(), ["ID"]):
        concepts = {
            column: [code for code in row[column].split(";") if code] for column in CONCEPTS.values() if row.get(column)
        }
        yield {"id": row["ID"], "caption": (row["Caption"] or "").strip() or None, "columns": concepts}
    for number in bad:
        yield {"id": None, "name": f"{captions.name} row {number}"}


def _lines(file: Path) -> Iterator[str]:
    with open(file, encoding="utf-8-sig", errors="replace", newline="\n") as lines:
        yield from (line.rstrip("\r\n") for line in lines if line.strip())


def _listed(file: Path) -> dict[str, list[str]]:
    """Words by image: the name, then words with tabs between them."""
    if not file.is_file():
        return {}
    cells = (line.split("\t") for line in _lines(file))
    return {name.strip(): [word.strip() for word in words if word.strip()] for name, *words in cells}


def _links(file: Path) -> dict[str, str]:
    """Files by image, as fetch.py calls them: the article's number and the figure's file."""
    found: dict[str, str] = {}
    for line in _lines(file) if file.is_file() else ():
        name, *_, figure = line.split("\t")
        if archive := _ARCHIVE.search(line):
            found[name.strip()] = f"{archive[1]}_{figure.strip()}"
    return found


# ---- places --------------------------------------------------------------------------------------------------------


def _images(folder: Path) -> Iterator[Path]:
    """The images in a folder, by name."""
    yield from (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)


def _parts(root: Path, kinds: tuple[str, ...]) -> list[_Part]:
    found = []
    for base, (name, split), kind in itertools.product(BASES, ONE.items(), kinds):
        captions = root / base / name / kind / "captions.txt"
        if captions.is_file():
            found.append(_Part(split, captions, _there(captions.parent / "images")))
    for name, split in TWO.items():
        if captions := columnar.find(root, f"{name}_captions.csv"):
            images = _there(root / name, root / f"{name}_images" / name, root / f"{name}_images")
            found.append(_Part(split, captions, images))
    return found


def _there(*places: Path) -> tuple[Path, ...]:
    return tuple(place for place in places if place.is_dir())


def _root(path: Path) -> Path | None:
    """The folder with the captions of all splits: a path itself, or one above it."""
    place = path.absolute()
    if _has_captions(path):
        return path
    for _ in range(4):
        place = place.parent
        if _has_captions(place) and (place == path.absolute().parent or (place / "data" / "train").is_dir()):
            return place if _belongs(path.absolute(), place) else None
    return None


def _belongs(path: Path, root: Path) -> bool:
    """Whether a folder below a root is one of the data set's own."""
    ours = {*BASES, *ONE, *TWO, "radiology", "non-radiology", "images", *(f"{name}_images" for name in TWO)}
    return set(path.relative_to(root).parts) <= ours


def _has_captions(path: Path) -> bool:
    """Whether captions of a split are in a folder, with an ID of ROCO or ROCOv2 in the first of them."""
    for part in _parts(path, ("radiology", "non-radiology")) if path.is_dir() else ():
        if part.captions.suffix == ".txt":
            return re.match(r"ROCO_\d+", next(_lines(part.captions), "")) is not None
        start = folders.ends(part.captions)[0]
        return part.captions.suffix == ".gz" or re.match(rb"(\xef\xbb\xbf)?\"?ID\"?,\"?Caption\"?", start) is not None
    return False
