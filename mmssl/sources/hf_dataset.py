"""A Hugging Face data set on disk: as `save_to_disk` writes it, or Parquet files as on the hub.

Read with pyarrow, so that nothing is copied into a cache. Splits are known by the names of folders and files.
"""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl import files
from mmssl.data import embedded, splits, table_rows, tables
from mmssl.errors import CannotDo, Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image


class Source:
    """A row is an image; its column is `image`, or the only one of that kind."""

    keyed_ids = False
    complete_splits = ()

    def __init__(self, path: Path, *, columns: dict[str, str] | None = None) -> None:
        """Reads nothing yet.

        Args:
            path: of the folder.
            columns: {what a column means: how it is called here}, where the two differ.
        """
        self.path, self.given = Path(path), columns or {}

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if not path.is_dir() or (path / "manifest.json").exists() or (path / "metadata.parquet").exists():
            return False
        return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file() or bool(_parquet(path))

    @functools.cached_property
    def parts(self) -> list[tuple[Path, str | None]]:
        """The files with their splits; one split alone, called train, is none."""
        found = _saved(self.path) or [(file, _split_in(file.relative_to(self.path))) for file in _parquet(self.path)]
        if not found:
            raise WrongUse(f"{self.path} is no data set saved to disk: no dataset_dict.json, state.json or .parquet")
        for _, split in found:
            if split and split.lower() not in splits.NAMES:
                known = ", ".join(sorted(splits.NAMES))
                raise WrongUse(f"{self.path}: {split!r} is no split that is known here; known are {known}")
        named = {split for _, split in found}
        return [(file, None if named <= {"train", None} else split) for file, split in found]

    @functools.cached_property
    def columns(self) -> dict[str, str]:
        names = embedded.schema(self.parts[0][0]).names
        given = dict(self.given)
        holding = [
            name for name in names if embedded.holds_files(self.parts[0][0], name) and name not in given.values()
        ]
        if "image" not in given and "image" not in names and len(holding) == 1:
            given["image"] = holding[0]
        return table_rows.mapping(names, given, name=str(self.path))

    @property
    def patients_known(self) -> bool:
        return "patient_id" in self.columns

    @property
    def table_columns(self) -> list[str]:
        return embedded.schema(self.parts[0][0]).names

    def fingerprint(self) -> str:
        return files.hash_json([(file.relative_to(self.path), *tables.stamp(file)[1:]) for file, _ in self.parts])

    def studies(self) -> Iterator[Study]:
        for file, split in self.parts:
            table = _read(file)
            for row, name in zip(table.rows, embedded.names(file, self.columns["image"]), strict=True):
                row[self.columns["image"]] = name

            def picture(number: int, image: Any, file: Path = file) -> tuple[Path | None, str | None]:
                return embedded.row(file, number), None

            prefix = f"{file.relative_to(self.path).as_posix()}:"
            yield from table_rows.studies(table, self.columns, picture, split=split, prefix=prefix)

    def decode(self, picture: Picture) -> list[tuple["Image.Image", dict[str, Any]]]:
        """The picture of a row, of a DICOM file each frame.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return table_rows.opened(picture, embedded.read(picture.path, self.columns["image"]))


def _parquet(path: Path) -> list[Path]:
    """Parquet files in a folder and its folders."""
    return sorted(file for pattern in ("*.parquet", "*/*.parquet") for file in path.glob(pattern))


def _saved(path: Path) -> list[tuple[Path, str | None]]:
    """The Arrow files that `save_to_disk` wrote, by split."""
    whole = path / "dataset_dict.json"
    if whole.is_file():
        names = json.loads(whole.read_text(encoding="utf-8"))["splits"]
        return [(file, name) for name in names for file, _ in _saved(path / name)]
    state = path / "state.json"
    if not state.is_file():
        return []
    found = [path / one["filename"] for one in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
    if missing := [file for file in found if not file.is_file()]:
        raise CannotDo(f"{path} is incomplete: {missing[0].name} is missing")
    return [(file, None) for file in found]


def _split_in(path: Path) -> str | None:
    """The split in `train-00000-of-00001.parquet`, `data/test.parquet` or `train/0000.parquet`."""
    for part in (path.name, *path.parts[:-1]):
        name = re.split(r"[-_.]", part.lower())[0]
        if name in splits.NAMES:
            return name
    return None


def _read(file: Path) -> tables.Table:
    """A file's rows without bytes, names in the place of class numbers."""
    schema = embedded.schema(file)
    names = [name for name in schema.names if not embedded.holds_files(file, name)]
    rows = embedded.rows(file, names)
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    for name in names:
        feature = features.get(name)
        classes: list[str] = (feature.get("names") or []) if isinstance(feature, dict) else []
        for row in rows if classes else ():
            number = row[name]
            row[name] = classes[number] if isinstance(number, int) and 0 <= number < len(classes) else None
    return tables.Table(file, list(schema.names), rows, list(range(1, len(rows) + 1)))
