"""A folder of images in the layout of Hugging Face's ImageFolder.

`metadata.csv`, `.jsonl` or `.parquet`, in the folder itself or in each of its folders train, validation and test,
has a column `file_name`. Without one, the name of the folder that an image lies in is its `label`.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl import files
from mmssl.data import splits, table_rows, tables
from mmssl.errors import Unreadable
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".pgm", ".ppm"))


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
        return path.is_dir() and (bool(_metadata(path)) or _is_all_images(path))

    @functools.cached_property
    def tables(self) -> list[tuple[tables.Table, dict[str, str]]]:
        read = [tables.read(file, encoding=self.encoding, separator=self.separator) for file in _metadata(self.path)]
        return [
            (one, table_rows.mapping(one.columns, self.given, image="file_name", name=str(one.path))) for one in read
        ]

    @functools.cached_property
    def files(self) -> list[Path]:
        """Every file but the tables and hidden ones, in the order of their names."""
        return [path for path in _walk(self.path) if path.name not in METADATA]

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
        listed: set[Path] = set()
        for table, columns in self.tables:
            folder = table.path.parent
            prefix = "" if folder == self.path else f"{self._name(folder)}/"

            def picture(number: int, image: Any, folder: Path = folder) -> tuple[Path | None, str | None]:
                name = tables.key(image)
                if name is None:
                    return None, "missing"
                listed.add(Path(os.path.normpath(folder / name)))
                return folder / name, None

            split = self._split(folder / "x") if prefix else None
            yield from table_rows.studies(table, columns, picture, split=split, prefix=prefix)
        for path in self.files:
            if path not in listed:
                yield self._unlisted(path)

    def decode(self, picture: Picture) -> list[tuple["Image.Image", dict[str, Any]]]:
        """The picture of a file, of a DICOM file each frame.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return table_rows.opened(picture, picture.path)

    def _unlisted(self, path: Path) -> Study:
        """An image that no table names: still an image."""
        columns: dict[str, Any] = {"split": split} if (split := self._split(path)) else {}
        if self.tables:
            columns["flags"] = ["not_in_metadata"]
        elif path.parent != self.path and path.parent.name.lower() not in splits.NAMES:
            columns["label"] = path.parent.name
        name = self._name(path)
        reason = None if path.suffix.lower() in (*SUFFIXES, ".dcm") else "not_an_image"
        return Study(name, None, (Picture(name, path, columns=columns, reason=reason),))

    def _split(self, path: Path) -> str | None:
        top = path.relative_to(self.path).parts[0]
        return splits.NAMES.get(top.lower())

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()


def _metadata(path: Path) -> list[Path]:
    """The tables of a folder: its own, else those of its folders that are called like splits."""
    places = [path, *sorted(part for part in path.iterdir() if part.name.lower() in splits.NAMES)]
    found = [folder / name for folder in places for name in METADATA if (folder / name).is_file()]
    return [file for file in found if file.parent == path] or found


def _is_all_images(path: Path) -> bool:
    """Whether a folder and its folders begin with images and nothing else; a look at a few names is enough."""
    seen = 0
    for file in _walk(path):
        if file.suffix.lower() not in SUFFIXES:
            return False
        seen += 1
        if seen == 50:
            break
    return seen > 0


def _walk(path: Path) -> Iterator[Path]:
    for folder, names, found in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(found) if not name.startswith("."))
