"""A folder of images in the layout of Hugging Face's ImageFolder.

`metadata.csv`, `.jsonl` or `.parquet`, in the folder itself or in any folder below it, has a column `file_name`: the
path from the table's own folder. Without one, the name of the folder that an image lies in is its `label`. A top
folder that is called like a split holds that split, unless a row names another.
"""

import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl import files
from mmssl.data import folders, splits, table_rows, tables
from mmssl.errors import Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".pgm", ".ppm"))
BESIDE = frozenset(("", ".txt", ".md", ".html", ".db", ".ini", ".pdf"))
"""Endings of what lies beside images without making their folder something else: README, LICENSE, Thumbs.db."""

LOOKED_AT = 300  # files that `recognises` looks at, at most


class Source:
    """Images and, beside them, what a table says of them."""

    keyed_ids = False
    complete_splits = ()

    def __init__(
        self,
        path: Path,
        *,
        columns: dict[str, str] | None = None,
        encoding: str = "utf-8",
        separator: str | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            path: of the folder.
            columns: {what a column means: how it is called here}, where the two differ.
            encoding: of metadata.csv and metadata.jsonl.
            separator: between the cells of metadata.csv, where it is no comma.
        """
        self.path, self.given, self.encoding, self.separator = Path(path), columns or {}, encoding, separator

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and (_has_metadata(path) or _is_all_images(path))

    @functools.cached_property
    def tables(self) -> list[tuple[tables.Table, dict[str, str]]]:
        found = [path for path in self._walked if path.name in METADATA]
        _check_one_each(found)
        read = [tables.read(file, encoding=self.encoding, separator=self.separator) for file in found]
        return [
            (one, table_rows.mapping(one.columns, self.given, image="file_name", name=str(one.path))) for one in read
        ]

    @functools.cached_property
    def files(self) -> list[Path]:
        """Every file but the tables and hidden ones, those of a folder before the folders in it."""
        return [path for path in self._walked if path.name not in METADATA]

    @functools.cached_property
    def _walked(self) -> list[Path]:
        return list(folders.walk(self.path, hidden=False))

    @property
    def patients_known(self) -> bool:
        return any("patient_id" in columns for _, columns in self.tables)

    @property
    def table_columns(self) -> list[str]:
        return list(dict.fromkeys(column for table, _ in self.tables for column in table.columns))

    def fingerprint(self) -> str:
        told = [files.hash_file(table.path) for table, _ in self.tables]
        return files.hash_json([told, [(self._name(path), *tables.stamp(path)[1:]) for path in self.files]])

    def studies(self) -> Iterator[Study]:
        yield from table_rows.with_patients(self._studies())

    def _studies(self) -> Iterator[Study]:
        listed: set[tuple[str, str]] = set()
        names: dict[str, int] = {}
        for table, columns in self.tables:
            folder = table.path.parent

            def picture(number: int, image: Any, folder: Path = folder) -> tuple[Path | None, str | None]:
                name = tables.key(image)
                if name is None or "\0" in name:
                    return None, "missing"
                listed.add(_place(folder / name))
                return folder / name, None

            def split(path: Path | None, folder: Path = folder) -> str | None:
                return self._split(path or folder / "x")

            prefix = "" if folder == self.path else f"{self._name(folder)}/"
            yield from table_rows.studies(table, columns, picture, split=split, prefix=prefix, names=names)
        for path in self.files:
            if _place(path) not in listed:
                yield self._unlisted(path, names)

    def decode(self, picture: Picture) -> list[tuple["Image.Image", dict[str, Any]]]:
        """The picture of a file, of a DICOM file each frame.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return table_rows.opened(picture, picture.path)

    def _unlisted(self, path: Path, names: dict[str, int]) -> Study:
        """An image that no table names: still an image."""
        columns: dict[str, Any] = {"split": split} if (split := self._split(path)) else {}
        if self.tables:
            columns["flags"] = ["not_in_metadata"]
        elif path.parent != self.path and path.parent.name.lower() not in splits.NAMES:
            columns["label"] = folders.written(path.parent.name)
        name = table_rows.unique(self._name(path), names)
        known = path.suffix.lower() in (*SUFFIXES, ".dcm") or path.name.lower().endswith((".nii", ".nii.gz"))
        reason = None if known else "not_an_image"
        if folders.is_folder(path):
            reason = "no_permission"
        return Study(name, None, (Picture(name, path, columns=columns, reason=reason),))

    def _split(self, path: Path) -> str | None:
        """That of the top folder that a file lies in, if it is called like a split."""
        parts = Path(os.path.relpath(path, self.path)).parts
        return splits.NAMES.get(parts[0].lower()) if len(parts) > 1 else None

    def _name(self, path: Path) -> str:
        return folders.below(self.path, path)


def _place(path: Path) -> tuple[str, str]:
    """Where a file lies, whatever links to folders it is reached by."""
    return _real(path.parent), path.name


@functools.lru_cache(maxsize=1024)
def _real(folder: Path) -> str:
    return os.path.realpath(folder)


def _check_one_each(found: list[Path]) -> None:
    """Raises WrongUse for folders with more than one table."""
    problems = [
        f"{one} and {other} are both tables of one folder; keep the one that is meant"
        for one, other in itertools.pairwise(found)
        if one.parent == other.parent
    ]
    if problems:
        raise WrongUse("\n".join(problems))


def _has_metadata(path: Path) -> bool:
    """Whether there is a table in a folder, or in one of its folders that are called like splits."""
    places = [path, *(part for part in path.iterdir() if part.name.lower() in splits.NAMES)]
    return any(folders.is_file(folder / name) for folder in places for name in METADATA)


def _is_all_images(path: Path) -> bool:
    """Whether a folder and its folders begin with images and what lies beside such; a look at some names is enough."""
    seen = 0
    for file in itertools.islice(folders.walk(path, hidden=False), LOOKED_AT):
        if file.suffix.lower() in SUFFIXES:
            seen += 1
        elif not _is_beside(file):
            return False
    return seen > 0


def _is_beside(file: Path) -> bool:
    """Whether a file may lie among images; one without an ending may be DICOM."""
    if file.suffix.lower() in BESIDE:
        return bool(file.suffix) or folders.ends(file)[0][128:132] != b"DICM"
    return file.name in METADATA or folders.is_folder(file)
