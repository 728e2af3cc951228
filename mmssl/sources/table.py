"""A table of images and texts: .csv, .tsv, .jsonl or .parquet with a column `image` (a path, or the file itself).

An image may be a DICOM or a NIfTI file (.nii, .nii.gz: some slices, `mmssl/data/volume_rows.py` says which). Ids are
those of the table then, and nothing is taken from headers but what they say of the picture, where the table is silent.
For pseudonyms say ids=keyed.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl import files
from mmssl.data import embedded, table_rows, tables
from mmssl.errors import Unreadable
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image


class Source:
    """A row is an image; the columns `text`, `report`, `patient_id`, `study_id`, `sex`, `age` ... are optional."""

    keyed_ids = False
    complete_splits = ()

    def __init__(
        self,
        path: Path,
        *,
        columns: dict[str, str] | None = None,
        encoding: str = "utf-8",
        separator: str | None = None,
        root: Path | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            path: of the table.
            columns: {what a column means: how it is called here}, where the two differ.
            encoding: of a text file.
            separator: between the cells of a .csv or .tsv, where it is no comma or tab.
            root: where relative image paths start; the table's own folder if left out.
        """
        self.path = Path(path)
        self.root = self.path.parent if root is None else Path(root)
        self.given, self.encoding, self.separator = columns or {}, encoding, separator

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_file() and path.suffix.lower() in tables.SUFFIXES

    @functools.cached_property
    def table(self) -> tables.Table:
        return tables.read(self.path, encoding=self.encoding, separator=self.separator)

    @functools.cached_property
    def columns(self) -> dict[str, str]:
        return table_rows.mapping(self.table.columns, self.given, name=str(self.path))

    @property
    def patients_known(self) -> bool:
        return "patient_id" in self.columns

    @property
    def table_columns(self) -> list[str]:
        return self.table.columns

    def fingerprint(self) -> str:
        """Changes with the table's bytes, and with the size or time of an image."""
        images_there = [
            tables.stamp(path) for path, _ in map(self._picture, range(len(self.table.rows)), self._cells())
        ]
        return files.hash_json([files.hash_file(self.path), images_there])

    def studies(self) -> Iterator[Study]:
        cells = self._cells()
        for row, image in zip(self.table.rows, cells, strict=True):
            row[self.columns["image"]] = image
        yield from table_rows.with_patients(table_rows.studies(self.table, self.columns, self._picture))

    def decode(self, picture: Picture) -> list[tuple["Image.Image", dict[str, Any]]]:
        """The picture of a row, of a DICOM file each frame.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        content = embedded.read(picture.path, self.columns["image"]) if embedded.is_row(picture.path) else picture.path
        return table_rows.opened(picture, content)

    def _cells(self) -> list[Any]:
        if self.path.suffix.lower() == ".parquet":
            return embedded.names(self.path, self.columns["image"])
        return [row.get(self.columns["image"]) for row in self.table.rows]

    def _picture(self, number: int, image: Any) -> tuple[Path | None, str | None]:
        if self._holds_files:
            return embedded.row(self.path, number), None
        name = tables.key(image)
        return (self.root / name, None) if name else (None, "missing")

    @functools.cached_property
    def _holds_files(self) -> bool:
        return self.path.suffix.lower() == ".parquet" and embedded.holds_files(self.path, self.columns["image"])
