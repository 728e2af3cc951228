"""Rows of a table as studies: which column has which meaning, and what its cells are in a store."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl.data import dicom, embedded, reports, splits, tables, volume_rows
from mmssl.data.store import SCHEMA
from mmssl.errors import WrongUse, meant
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

PER_IMAGE = (
    "text", "report", "language", "study_datetime", "prior_study_id", "modality", "body_part", "view", "laterality",
    "sex", "age", "ethnicity", "site", "scanner", "split",
)  # fmt: skip
"""Columns of a store that a table may fill for a row."""

READ = ("age", "study_datetime")
"""Those of them whose cells may say something that is not understood."""

MEANINGS = ("image", "id", "patient_id", "study_id", *PER_IMAGE)
"""What a column of a table can be: these names are understood, and `columns.MEANING=NAME` maps others to them."""

_AGE = re.compile(r"0*(\d+(?:\.\d+)?)\s*([ymwd])?(?:ears?|r|rs|onths?|eeks?|ays?)?(?:\s*old)?", re.IGNORECASE)
_SEX = {"m": "M", "male": "M", "man": "M", "boy": "M", "f": "F", "female": "F", "woman": "F", "girl": "F"}
_UNKNOWN = frozenset(("none", "unknown", "not known", "u", "?", "-"))
_ID = re.compile(r"(id|uid|key|number|code|mrn)$", re.IGNORECASE)


# ---- cells of our own columns --------------------------------------------------------------------------------------


def own(name: str, value: Any) -> Any:
    """A cell as a column of the store wants it; None where it says nothing that can be read.

    >>> own("age", "060Y"), own("sex", "female"), own("split", "dev"), own("study_datetime", "2024-03-01")
    (60.0, 'F', 'validation', datetime.datetime(2024, 3, 1, 0, 0))
    """
    value = tables.cell(value)
    if value is None or (name not in ("text", "report") and str(value).lower() in _UNKNOWN):
        return None
    reader: Callable[[Any], Any] = _READERS.get(name, tables.as_text)
    return reader(value)


def _age(value: Any) -> float | None:
    """Years from a number, or from text with a unit (060Y, 8 months)."""
    match = _AGE.fullmatch(str(value))
    if not match:
        return None
    per_year = {"y": 1, "m": 12, "w": 52.18, "d": 365.25}
    years = float(match[1]) / per_year[(match[2] or "y").lower()]
    return years if years < 150 else None


def _datetime(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None, microsecond=0)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    try:
        return datetime.fromisoformat(str(value).replace("/", "-")).replace(tzinfo=None, microsecond=0)
    except ValueError:
        return None


def _sex(value: Any) -> str:
    return _SEX.get(str(value).lower(), str(value))


def _split(value: Any) -> str:
    """One of our names for a split; an unknown one stays as it is, for the message."""
    return splits.NAMES.get(str(value).lower(), str(value))


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "age": _age,
    "sex": _sex,
    "split": _split,
    "study_datetime": _datetime,
}


# ---- rows as studies -----------------------------------------------------------------------------------------------


def mapping(
    columns: Sequence[str], given: Mapping[str, str], *, image: str = "image", name: str = "the table"
) -> dict[str, str]:
    """Which column has which meaning, {meaning: column}; `given` first, else the columns that are called so.

    Capitals, blanks and underscores make no difference (Modality, Body Part), but for `id`, which many tables call a
    number of something else.
    Patients and studies are known by the keys of others too: PatientID, Subject ID, StudyInstanceUID, AccessionNumber.

    Raises:
        WrongUse: for meanings and columns that there are not, and for a table without images, all at once.
    """
    problems = [
        f"columns.{meaning}={column}: {meaning} is nothing that a column can be{meant(meaning, list(MEANINGS))}; "
        f"known are {', '.join(MEANINGS)}"
        for meaning, column in given.items()
        if meaning not in MEANINGS
    ]
    problems += [
        f"columns.{meaning}={column}: {name} has no column {column!r}{meant(column, list(columns))}; "
        f"there are {', '.join(columns)}"
        for meaning, column in given.items()
        if column not in columns
    ]
    left = [column for column in columns if column not in given.values()]
    alike = {tables.plain(column): column for column in reversed(left)}
    found = {
        meaning: column
        for meaning in MEANINGS
        if (column := meaning if meaning in left or meaning == "id" else alike.get(tables.plain(meaning))) in left
    } | dict(given)
    if image != "image" and image in columns and "image" not in given:
        found["image"] = image
    spelt = tables.key_columns(column for column in columns if column not in found.values())
    for meaning, names in (("patient_id", ("PatientID",)), ("study_id", ("StudyInstanceUID", "AccessionNumber"))):
        if named := [spelt[one] for one in names if one in spelt]:
            found.setdefault(meaning, named[0])
    if "image" not in found:
        problems.append(
            f"{name} has no column {image!r}, which names the picture of each row{meant(image, list(columns))}; "
            f"there are {', '.join(columns) or 'none'}; say which one it is: columns.image=NAME"
        )
    if problems:
        raise WrongUse("\n".join(problems))
    return found


def extra_columns(table: tables.Table, used: Iterable[str]) -> dict[str, list[Any]]:
    """A table's other columns as the store takes them, {name in the store: values}.

    They keep their names; one that meets a column of ours, which has its own meaning, enters as source_NAME, with one
    more source_ in front for as long as that is taken.
    """
    found: dict[str, list[Any]] = {}
    for column in table.columns:
        if column in used or not column or not any(column in row for row in table.rows):
            continue  # a column of files that are not the image
        name = column
        while name in RESERVED or name in found or (name != column and name in table.columns):
            name = f"source_{name}"
        values = [row.get(column) for row in table.rows]
        found[name] = tables.typed(values, lists=column.startswith("label_"), numbers=not _ID.search(column))
    return found


RESERVED = frozenset((*SCHEMA.names, "row", "score"))
"""Names that mean something of ours in a store or an answer."""


def studies(
    table: tables.Table,
    columns: Mapping[str, str],
    picture: Callable[[int, Any], tuple[Path | None, str | None]],
    *,
    split: Callable[[Path | None], str | None] = lambda path: None,
    prefix: str = "",
    names: dict[str, int] | None = None,
) -> list[Study]:
    """The rows of a table as studies, in the order in which these first occur.

    A row's name is its `id`, else what its image cell says, so that neither growth nor reordering changes it. Rows
    without a study that name one file are one study, as several captions of a picture are. Where a table has a `text`
    but no `report`, the text is taken as the report: by its headings, where it has findings or an impression, else
    whole. A row whose `id` was there before is flagged `duplicate_id`, for cleaning to judge.

    Args:
        table: as read.
        columns: {meaning: column}, from `mapping`.
        picture: (number of the row, image cell) -> (file, or None; reason code, or None).
        split: of a row that names none, by its file.
        prefix: of the rows' names.
        names: those that are taken, which grow; all tables of a source share them.
    """
    names = {} if names is None else names
    extra = extra_columns(table, set(columns.values()))
    found: dict[Any, dict[str, Any]] = {}
    for number, row in enumerate(table.rows):
        told = {meaning: row.get(column) for meaning, column in columns.items()}
        path, reason = picture(number, told["image"])
        name, doubled = _name_row(told, names, f"{prefix}row {table.lines[number]}", prefix)
        values = {meaning: own(meaning, told[meaning]) for meaning in PER_IMAGE if meaning in told}
        if "text" in columns and "report" not in columns:
            values["report"] = values.pop("text")
            values["text"] = reports.caption(values["report"] or "")
        values["split"] = values.get("split") or split(path)
        unread = {f"source_{meaning}": told[meaning] for meaning in READ if _is_unread(told, values, meaning)}
        values |= {name: tables.as_text(value) for name, value in unread.items()}
        flags = [*((told["flags"] if "flags" in columns else None) or ()), *(["duplicate_id"] if doubled else ())]
        flags += ["value_unreadable"] if unread else []
        values["flags"] = flags or None
        values |= {extra_name: column[number] for extra_name, column in extra.items()}
        patient, study = tables.key(told.get("patient_id")), tables.key(told.get("study_id"))
        if not study and isinstance(told["image"], str) and path and not embedded.is_row(path):
            study = prefix + told["image"].strip()
        place = (values.get("site"), patient, study) if study else name
        one = found.setdefault(
            place,
            {
                "patient": patient,
                "study": study or name,
                "site": values.get("site"),
                "keys": {},
                "pictures": [],
            },
        )
        one["keys"] = _keys(row, columns) | one["keys"]
        kept = {key: value for key, value in values.items() if value is not None}
        one["pictures"].append(Picture(name, path, columns=kept, reason=reason))
    bad = [Picture(unique(f"{prefix}row {line}", names), None, reason=reason) for line, reason in table.bad]
    return [
        *(
            Study(
                study_id=one["study"],
                patient_id=one["patient"],
                pictures=tuple(one["pictures"]),
                columns={"site": one["site"]} if one["site"] else {},
                keys=one["keys"],
            )
            for one in found.values()
        ),
        *(Study(study_id=picture.source_id, patient_id=None, pictures=(picture,)) for picture in bad),
    ]


def _is_unread(told: Mapping[str, Any], values: Mapping[str, Any], meaning: str) -> bool:
    """Whether a cell says something that is not understood."""
    said = tables.cell(told.get(meaning))
    return said is not None and values.get(meaning) is None and str(said).lower() not in _UNKNOWN


def with_patients(studies: Iterable[Study]) -> list[Study]:
    """Studies, those without a patient joined to the one patient who has the same study, if there is one.

    Their rows are flagged `patient_from_study`. Where the sites are known and differ, it is not the same study.
    """
    found = list(studies)
    holders: defaultdict[tuple[str, bool], list[int]] = defaultdict(list)
    for number, study in enumerate(found):
        if study.patient_id is not None:
            holders[_same_study(study)].append(number)
    joined: set[int] = set()
    for number, study in enumerate(found):
        known = holders[_same_study(study)] if study.patient_id is None else []
        if len({(found[one].columns.get("site"), found[one].patient_id) for one in known}) != 1:
            continue
        holder, site = found[known[0]], study.columns.get("site")
        if site in (None, holder.columns.get("site") or site):
            found[known[0]] = _joined(holder, study)
            joined.add(number)
    return [study for number, study in enumerate(found) if number not in joined]


def _same_study(study: Study) -> tuple[str, bool]:
    """A study that the table names is never one that is called by its row or file."""
    return study.study_id, "StudyInstanceUID" in study.keys


def _joined(holder: Study, study: Study) -> Study:
    pictures = [
        replace(
            picture, columns={**picture.columns, "flags": [*picture.columns.get("flags", ()), "patient_from_study"]}
        )
        for picture in study.pictures
    ]
    return replace(holder, pictures=(*holder.pictures, *pictures), keys={**study.keys, **holder.keys})


def opened(picture: Picture, content: bytes | Path) -> "list[tuple[Image.Image, dict[str, Any]]]":
    """The images of a row, from its file; what a DICOM header says fills only what the row leaves open.

    Raises:
        Unreadable: with a reason code.
    """
    known = {name for name, value in picture.columns.items() if value is not None}
    if volume_rows.is_nifti(content):
        found = volume_rows.open_nifti(content, modality=picture.columns.get("modality"))
    else:
        found = dicom.open_any(content)
    return [(image, {name: value for name, value in columns.items() if name not in known}) for image, columns in found]


def _keys(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    """What reports and labels find a row by: its key columns, and its study and patient, by their own names too."""
    found = {name: value for name, column in tables.key_columns(row).items() if (value := tables.key(row[column]))}
    for name, meaning in (("StudyInstanceUID", "study_id"), ("PatientID", "patient_id")):
        if meaning in columns and (value := tables.key(row.get(columns[meaning]))):
            found.setdefault(name, value)
            if not tables.is_key(columns[meaning]):
                found[columns[meaning]] = value
    return found


def _name_row(told: Mapping[str, Any], names: dict[str, int], fallback: str, prefix: str) -> tuple[str, bool]:
    """The name of a row, made unique, and whether its `id` was there before."""
    given = tables.key(told.get("id"))
    image = told["image"]
    bare = given or (image.strip() if isinstance(image, str) else "")
    name = prefix + bare if bare else fallback
    found = unique(name, names)
    return found, bool(given) and found != name


def unique(name: str, names: dict[str, int]) -> str:
    """A name that is none of those that are taken, which grow by it.

    >>> names = {}
    >>> [unique(name, names) for name in ("a", "a", "a#3", "a")]
    ['a', 'a#2', 'a#3', 'a#4']
    """
    names[name] = names.get(name, 0) + 1
    if names[name] == 1:
        return name
    while (found := f"{name}#{names[name]}") in names:  # one that is called so itself
        names[name] += 1
    names[found] = 1
    return found
