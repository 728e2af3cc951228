"""MedPix 2.0 as pairs: a folder with `pairs.jsonl` (a line an image, `case_id` is the patient) and `images`.

Siragusa et al. 2024, https://arxiv.org/abs/2407.02994
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl import files
from mmssl.data import images, reports, table_rows, tables
from mmssl.errors import Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

NEEDED = ("image", "split", "case_id", "caption", "modality", "plane", "location")


class Source:
    """The dev split becomes `test`; the train split is divided by patient into train and validation."""

    keyed_ids = False
    complete_splits = ("test",)
    patients_known = True
    table_columns = ()

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return (path / "pairs.jsonl").is_file() and (path / "images").is_dir()

    @functools.cached_property
    def table(self) -> tables.Table:
        table = tables.read(self.path / "pairs.jsonl")
        if missing := [name for name in NEEDED if name not in table.columns]:
            raise WrongUse(f"{table.path} is not MedPix: it has no {', '.join(missing)}")
        return table

    def fingerprint(self) -> str:
        there = [tables.stamp(self.path / str(row.get("image"))) for row in self.table.rows]
        return files.hash_json([files.hash_file(self.table.path), there])

    def studies(self) -> Iterator[Study]:
        """A case is a patient and a study; whether a caption is a placeholder is judged on the caption alone."""
        columns = {"image": "image", "patient_id": "case_id", "study_id": "case_id"}
        columns |= {name: name for name in ("modality", "sex", "age") if name in self.table.columns}
        told = [self._row(row) for row in self.table.rows]
        table = tables.Table(self.table.path, [*self.table.columns, "text", "report"], told, self.table.lines)
        table.columns.remove("split")
        table.bad.extend(self.table.bad)
        more = {name: name for name in ("text", "report", "split", "flags")}
        yield from table_rows.studies(table, columns | more, self._picture)

    def decode(self, picture: Picture) -> list[tuple["Image.Image", dict[str, Any]]]:
        """The one picture of a row.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return [(images.open_image(picture.path), {})]

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        caption = row.get("caption") or ""
        place = " ".join(str(row[name]) for name in ("modality", "plane", "location") if row.get(name))
        return row | {
            "text": f"{place}. {caption}",
            "report": caption,
            "split": "test" if row.get("split") == "dev" else None,
            "flags": ["text_placeholder"] if reports.is_placeholder(caption) else None,
        }

    def _picture(self, number: int, image: Any) -> tuple[Path | None, str | None]:
        return (self.path / image, None) if tables.key(image) else (None, "missing")
