"""A Hugging Face data set on disk: as `save_to_disk` writes it, or Parquet files as on the hub.

Read with pyarrow, so that nothing is copied into a cache. Splits are known by the names of folders and files. Into how
many files a split is cut makes no difference.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl import files
from mmssl.data import embedded, folders, splits, table_rows, tables
from mmssl.errors import CannotDo, Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class _Part:
    """One of the files, without bytes of images."""

    file: Path
    split: str | None
    columns: tuple[str, ...] = ()
    holding: tuple[str, ...] = ()
    """The columns that hold images."""
    reason: str | None = None
    """Why it cannot be read."""


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
        return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file() or any(_parquet(path))

    @functools.cached_property
    def parts(self) -> list[_Part]:
        """The files with their splits; one split alone, called train, is none."""
        found = _saved(self.path) or [(file, _split_in(file.relative_to(self.path))) for file in _parquet(self.path)]
        if not found:
            raise WrongUse(f"{self.path} is no data set saved to disk: no dataset_dict.json, state.json or .parquet")
        for _, split in found:
            if split and split.lower() not in splits.NAMES:
                known = ", ".join(sorted(splits.NAMES))
                raise WrongUse(f"{self.path}: {split!r} is no split that is known here; known are {known}")
        named = {split for _, split in found}
        parts = [_part(file, None if named <= {"train", None} else split) for file, split in found]
        if all(part.reason for part in parts):
            raise CannotDo(f"{self.path}: none of its files can be read: {parts[0].file.name} is {parts[0].reason}")
        return parts

    @functools.cached_property
    def columns(self) -> dict[str, str]:
        given = dict(self.given)
        holding = {name for part in self.parts for name in part.holding} - set(given.values())
        if "image" not in given and "image" not in self.table_columns and len(holding) == 1:
            given["image"] = holding.pop()
        columns = table_rows.mapping(self.table_columns, given, name=str(self.path))
        if lacking := [p.file for p in self.parts if not p.reason and columns["image"] not in p.columns]:
            names = ", ".join(folders.below(self.path, file) for file in lacking[:10])
            raise WrongUse(f"{self.path}: no column {columns['image']!r}, which has the images, in {names}")
        return columns

    @property
    def patients_known(self) -> bool:
        return "patient_id" in self.columns

    @functools.cached_property
    def table_columns(self) -> list[str]:
        """Those of all files; what one of them lacks is null there."""
        return list(dict.fromkeys(name for part in self.parts for name in part.columns))

    def fingerprint(self) -> str:
        told = [(folders.below(self.path, part.file), *tables.stamp(part.file)[1:]) for part in self.parts]
        return files.hash_json(told)

    def studies(self) -> Iterator[Study]:
        yield from table_rows.with_patients(self._studies())

    def _studies(self) -> Iterator[Study]:
        names: dict[str, int] = {}
        several = len({part.split for part in self.parts}) > 1
        for split in dict.fromkeys(part.split for part in self.parts):
            rows: list[dict[str, Any]] = []
            places: list[Path] = []
            for part in self.parts:
                if part.split != split:
                    continue
                try:
                    found = self._rows(part)
                except Unreadable as error:
                    yield self._unread(part, error.reason, names)
                    continue
                rows += found
                places += [embedded.row(part.file, number) for number in range(len(found))]
            table = tables.Table(self.path, self.table_columns, rows, list(range(1, len(rows) + 1)))

            def picture(number: int, image: Any, places: list[Path] = places) -> tuple[Path | None, str | None]:
                return places[number], None

            yield from table_rows.studies(
                table,
                self.columns,
                picture,
                split=lambda path, split=split: split,
                prefix=f"{split}:" if split and several else "",
                names=names,
            )

    def _rows(self, part: _Part) -> list[dict[str, Any]]:
        """A file's rows, with the names of their images in the place of these.

        Raises:
            Unreadable: with a reason code.
        """
        if part.reason:
            raise Unreadable(part.reason)
        image = self.columns["image"]
        with embedded.reasons(part.file):
            rows = _read(part)
            for row, name in zip(rows, embedded.names(part.file, image), strict=True):
                row[image] = name
        return rows

    def _unread(self, part: _Part, reason: str, names: dict[str, int]) -> Study:
        """A file that cannot be read is one input."""
        name = table_rows.unique(folders.below(self.path, part.file), names)
        columns = {"split": part.split} if part.split else {}
        return Study(name, None, (Picture(name, part.file, columns=columns, reason=reason),))

    def decode(self, picture: Picture) -> list[tuple["Image.Image", dict[str, Any]]]:
        """The picture of a row, of a DICOM file each frame.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return table_rows.opened(picture, embedded.read(picture.path, self.columns["image"]))


def _parquet(path: Path) -> Iterator[Path]:
    """Parquet files at any depth; one of metadata belongs to a folder of images."""
    for file in folders.walk(path, hidden=False):
        if file.suffix.lower() == ".parquet" and file.name != "metadata.parquet":
            yield file


def _saved(path: Path) -> list[tuple[Path, str | None]]:
    """The Arrow files that `save_to_disk` wrote, by split."""
    whole = path / "dataset_dict.json"
    if whole.is_file():
        names: list[str] = _told(whole, lambda told: [str(name) for name in told["splits"]])
        if missing := [name for name in names if not (path / name / "state.json").is_file()]:
            raise CannotDo(f"{path} is incomplete: {missing[0]}/state.json is missing")
        return [(file, name) for name in names for file, _ in _saved(path / name)]
    state = path / "state.json"
    if not state.is_file():
        return []
    found = _told(state, lambda told: [path / one["filename"] for one in told["_data_files"]])
    if missing := [file for file in found if not file.is_file()]:
        raise CannotDo(f"{path} is incomplete: {missing[0].name} is missing")
    return [(file, None) for file in found]


def _told(file: Path, read: Callable[[Any], list[Any]]) -> list[Any]:
    """What a file of `save_to_disk` lists."""
    try:
        return read(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError):
        raise CannotDo(f"{file} cannot be read: it is not as save_to_disk writes it; save the data set again") from None


def _split_in(path: Path) -> str | None:
    """The split in `train-00000-of-00001.parquet`, `data/test.parquet` or `default/train/0000.parquet`."""
    for part in reversed(path.parts):
        name = re.split(r"[-_.]", part.lower())[0]
        if name in splits.NAMES:
            return name
    return None


def _part(file: Path, split: str | None) -> _Part:
    try:
        with embedded.reasons(file):
            names = embedded.schema(file).names
            holding = [name for name in names if embedded.holds_files(file, name)]
    except Unreadable as error:
        return _Part(file, split, reason=error.reason)
    return _Part(file, split, tuple(names), tuple(holding))


def _read(part: _Part) -> list[dict[str, Any]]:
    """A file's rows without bytes, names in the place of class numbers."""
    names = [name for name in part.columns if name not in part.holding]
    rows = embedded.rows(part.file, names)
    told = (embedded.schema(part.file).metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(told).get("info", {}).get("features", {})
    for name in names:
        classes = _classes(features.get(name))
        for row in rows if classes else ():
            row[name] = _named(row[name], classes)
    return rows


def _classes(feature: Any) -> list[str]:
    """The names of a column's classes, or of those in its lists; none where it has no classes."""
    if isinstance(feature, list):  # as older versions write a list
        feature = feature[0] if feature else None
    if not isinstance(feature, dict):
        return []
    return feature.get("names") or (_classes(feature["feature"]) if "feature" in feature else [])


def _named(value: Any, classes: list[str]) -> Any:
    """A class number as its name, in a list too; None where it has none."""
    if isinstance(value, list):
        return [name for one in value if (name := _named(one, classes)) is not None]
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else None
