"""Values of a DICOM header, read so that nothing in it can do harm: what cannot be read is not there."""

from __future__ import annotations

import datetime
import functools
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset


@functools.lru_cache(maxsize=512)
def tag(keyword: str) -> Any:
    """The tag of a keyword, found once: a header is asked for some forty."""
    from pydicom.tag import Tag

    return Tag(keyword)


def value(dataset: Dataset, keyword: str) -> Any:
    """What stands under a keyword, or None; raises nearly anything where it cannot be read."""
    place = tag(keyword)
    return dataset[place].value if place in dataset else None


def text(dataset: Dataset, keyword: str) -> str | None:
    """A value as trimmed text, the first of several; None where it is empty or cannot be read."""
    try:
        found = value(dataset, keyword)
        if found is not None and not isinstance(found, str | bytes | int | float):
            found = found[0] if len(found) else None
        if found is None or isinstance(found, bytes):
            return None
        return str(found).strip(" \0\t\r\n") or None
    except Exception:  # a value that pydicom cannot convert, in one of its many ways
        return None


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """All values of an element as trimmed text, without those that are empty."""
    try:
        found = value(dataset, keyword)
        several = [found] if isinstance(found, str) else list(found if found is not None else ())
        return [text for one in several if isinstance(one, str) and (text := one.strip(" \0\t\r\n"))]
    except Exception:
        return []


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is not there, or is no sequence."""
    try:
        return [item for item in value(dataset, keyword) or () if not isinstance(item, str | bytes | int | float)]
    except Exception:
        return []


def whole(dataset: Dataset, keyword: str) -> int | None:
    """A whole number, or None."""
    try:
        return int(text(dataset, keyword) or "")
    except ValueError:
        return None


def real(dataset: Dataset, keyword: str) -> float | None:
    """A finite number, or None."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values of an element that are finite numbers."""
    try:
        found = value(dataset, keyword)
        several = [found] if isinstance(found, str | int | float) else list(found if found is not None else ())
        wanted = [float(one) for one in several]
    except Exception:
        return []
    return [number for number in wanted if math.isfinite(number)]


def functional(dataset: Dataset, number: int, keyword: str) -> Dataset:
    """Where an enhanced object keeps a macro: the group of frame `number`, the shared one, else the data set itself."""
    for groups, place in (("PerFrameFunctionalGroupsSequence", number), ("SharedFunctionalGroupsSequence", 0)):
        try:
            return value(dataset, groups)[place][tag(keyword)][0]
        except Exception:  # no such groups, or broken ones
            continue
    return dataset


def years(age: str | None, birth: str | None, study: str | None) -> float | None:
    """Years, from `045Y`, `006M`, `003W`, `010D`, else from the days of birth and study.

    >>> years("006M", None, None), years(None, "19800101", "20200101")
    (0.5, 40.0)
    """
    parts = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
    if age and age[-1].upper() in parts and age[:-1].strip().isdecimal():
        return round(int(age[:-1]) * parts[age[-1].upper()], 2)
    born, seen = day(birth), day(study)
    return round((seen - born).days / 365.25, 2) if born and seen and seen >= born else None


def day(date: str | None) -> datetime.date | None:
    """`20200131`, or `2020.01.31` as of old."""
    try:
        return datetime.datetime.strptime((date or "").replace(".", "")[:8], "%Y%m%d").date()
    except ValueError:
        return None


def birth(date: str | None) -> str | None:
    """A day of birth; None where it is not understood, or so early that it stands for one that is not known.

    >>> birth("19500131"), birth("19000101")
    ('1950-01-31', None)
    """
    born = day(date)
    return born.isoformat() if born and born.year > 1900 else None


def moment(dataset: Dataset) -> datetime.datetime | None:
    """When a study was made, to the second; by the date of its series, acquisition or content where it has none.

    Midnight stands for a time that is not known.
    """
    for kind in ("Study", "Series", "Acquisition", "Content"):
        date = day(text(dataset, f"{kind}Date"))
        if date:
            return datetime.datetime.combine(date, _clock(text(dataset, "StudyTime") if kind == "Study" else None))
    return None


def _clock(value: str | None) -> datetime.time:
    digits = (value or "").replace(":", "").partition(".")[0]
    try:
        return datetime.datetime.strptime(digits, {6: "%H%M%S", 4: "%H%M", 2: "%H"}[len(digits)]).time()
    except (KeyError, ValueError):
        return datetime.time()
