"""Which study came just before which: by date and time alone, never by the order of ids or rows."""

from collections.abc import Hashable, Mapping
from datetime import date, datetime, time
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def of_patient(dates: Mapping[Key, datetime | None]) -> dict[Key, Key]:
    """{study: the study just before it}, for the studies of one patient; midnight stands for a time that is not known.

    A study has none where its date is unknown, where nothing surely came before it, or where two could be meant: two
    of the same moment, or two of the day before of which one has no time.

    >>> day = datetime(2024, 3, 1)
    >>> of_patient({"b": day.replace(hour=9), "a": day.replace(hour=17), "z": datetime(2023, 1, 1), "x": None})
    {'b': 'z', 'a': 'b'}
    """
    days: dict[date, dict[Key, time | None]] = {}
    for study, moment in dates.items():
        if moment is not None:
            days.setdefault(moment.date(), {})[study] = moment.time() if moment.time() != time() else None
    last_of_day = {day: _only(_latest(studies)) for day, studies in days.items()}
    before: Key | None = None
    of_day: dict[date, Key | None] = {}
    for day in sorted(days):
        of_day[day], before = before, last_of_day[day]
    found: dict[Key, Key] = {}
    for study, moment in dates.items():
        if moment is None:
            continue
        prior = _prior(study, days[moment.date()], of_day[moment.date()])
        if prior is not None:
            found[study] = prior
    return found


def _prior(study: Key, same_day: Mapping[Key, time | None], before: Key | None) -> Key | None:
    """The study before one: of its own day where one has an earlier time, else the last of the day before."""
    at = same_day[study]
    earlier = {other: when for other, when in same_day.items() if at is not None and when is not None and when < at}
    return _only(_latest(earlier)) if earlier else before


def _latest(studies: Mapping[Key, time | None]) -> list[Key]:
    """Those of a day that none surely came after: the latest, and all whose time is not known."""
    known = [when for when in studies.values() if when is not None]
    return [study for study, when in studies.items() if when is None or when == max(known)]


def _only(studies: list[Key]) -> Key | None:
    return studies[0] if len(studies) == 1 else None
