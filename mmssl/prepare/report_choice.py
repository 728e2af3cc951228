"""Which of several reports is a study's: pure functions of what is known of them, without their texts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from mmssl.data.report_files.record import Status, is_addendum

REASONS: dict[str, str] = {
    "older": "a newer final report, or a correction, has taken its place",
    "not_final": "preliminary, and there is a final report or a newer preliminary one",
    "same_time": "several reports of the same time that differ",
    "no_time": "several reports that differ, and of one it is not said when it was issued",
    "several_patients": "its key is one of several patients",
    "several_studies": "its patient has several studies, and its date does not tell which is meant",
    "several_reports": "several final reports of the patient on one day, which may be of several examinations",
    "no_date": "joined by the patient, and it or the study has no date",
    "date_differs": "joined by the patient, and its date is that of none of the patient's studies",
}
"""Why a report whose key was found is not a study's, or not alone."""


class Line(NamedTuple):
    """A report, without its text."""

    number: int
    digest: bytes
    """Of its words; two that say the same are one."""
    status: Status = "unknown"
    issued: str | None = None
    """ISO 8601, so that text has the order of time."""
    day: int | None = None
    """Of the examination, as `date.toordinal` counts."""
    exam: str | None = None
    """What else names its examination, where it is joined by the patient."""


class Dated(NamedTuple):
    """A study of a patient."""

    number: int
    day: int | None


@dataclass
class Choice:
    """What became of the reports of one key, or of one study."""

    taken: list[int] = field(default_factory=list)
    """Numbers of the lines whose texts make the report, in their order; none where it is not clear."""
    is_preliminary: bool = False
    refused: dict[int, str] = field(default_factory=dict)
    """{number of a line: reason}."""


def choose(lines: Sequence[Line]) -> Choice:
    """The report that several lines of one key are.

    The newest final one, with its addenda in the order of time. A correction stands for all that is not newer. A line
    whose state is not said counts as final. A preliminary one is taken only where there is no other, and an addendum
    alone where nothing is there that it adds to. Where the newest is not clear, none is.

    >>> choose([Line(0, b"a", "preliminary"), Line(1, b"b", "final"), Line(2, b"c", "addendum")])
    Choice(taken=[1, 2], is_preliminary=False, refused={0: 'not_final'})
    """
    ones = [_strongest(alike) for alike in _alike(lines)]
    addenda = sorted((one for one in ones if one.status == "addendum"), key=_time)
    finals = [one for one in ones if one.status in ("final", "amended", "unknown")]
    drafts = [one for one in ones if one.status == "preliminary"]
    if not finals and not drafts:
        return Choice([one.number for one in addenda])
    body, why = _newest(finals or drafts)
    if body is None:
        return Choice(refused={one.number: why for one in lines})
    chosen = Choice([body.number, *(one.number for one in addenda)], is_preliminary=not finals)
    digests = {one.digest for one in (body, *addenda)}
    for one in lines:
        if one.digest not in digests:
            chosen.refused[one.number] = "not_final" if one.status == "preliminary" else "older"
    return chosen


_STRENGTH: dict[str, int] = {"preliminary": 0, "unknown": 1, "addendum": 2, "final": 3, "amended": 4}


def _alike(lines: Sequence[Line]) -> Iterable[list[Line]]:
    found: dict[bytes, list[Line]] = {}
    for line in lines:
        found.setdefault(line.digest, []).append(line)
    return found.values()


def _strongest(alike: Sequence[Line]) -> Line:
    """Of lines that say the same, the one that was signed, at the last time that is known of it."""
    best = max(alike, key=lambda one: (_STRENGTH[one.status], one.issued or ""))
    return min((one for one in alike if one[2:4] == best[2:4]), key=lambda one: one.number)


def _time(line: Line) -> tuple[bool, str, int]:
    """Without a time, behind those that have one."""
    return line.issued is None, line.issued or "", line.number


def _newest(lines: Sequence[Line]) -> tuple[Line | None, str]:
    """The newest of lines that differ, or why it is not clear."""
    corrected = [one for one in lines if one.status == "amended"]
    if corrected:
        last = None if any(one.issued is None for one in corrected) else max(one.issued or "" for one in corrected)
        newer = [one for one in lines if one.status != "amended" and last and one.issued and one.issued > last]
        lines = newer or corrected
    if len(lines) == 1:
        return lines[0], ""
    if any(one.issued is None for one in lines):
        return None, "no_time"
    latest = max(one.issued or "" for one in lines)
    newest = [one for one in lines if one.issued == latest]
    return (newest[0], "") if len(newest) == 1 else (None, "same_time")


# ---- reports that name the patient alone ---------------------------------------------------------------------------


@dataclass
class OfPatient:
    """What became of the reports of a patient."""

    of_study: dict[int, list[Line]] = field(default_factory=dict)
    """{number of a study: its lines}."""
    refused: dict[int, str] = field(default_factory=dict)
    unclear: set[int] = field(default_factory=set)
    """Studies that a refused line may be of."""


def by_day(lines: Sequence[Line], studies: Sequence[Dated], *, days: int = 0) -> OfPatient:
    """The reports of a patient for each of the patient's studies, by the day.

    Without a day on either side, the one report is the one study's, unless it was issued before that. Of studies on
    several days near enough, the nearest is meant.
    """
    found = OfPatient()
    if len(studies) == 1 and len({line.digest for line in lines}) == 1:
        study, line = studies[0], lines[0]
        if study.day is None or line.day is None:
            if _is_before(line, study):
                return OfPatient(refused={one.number: "date_differs" for one in lines}, unclear={study.number})
            return OfPatient({study.number: list(lines)})
    for line in lines:
        study, why = _meant(line, studies, days)
        if study is None:
            found.refused[line.number] = why
            near = [one for one in studies if _distance(line, one) is None or (_distance(line, one) or 0) <= days]
            found.unclear |= {one.number for one in near or studies}
        else:
            found.of_study.setdefault(study.number, []).append(line)
    for number, told in list(found.of_study.items()):
        if _may_be_several(told):
            found.refused |= {line.number: "several_reports" for line in told}
            found.unclear.add(number)
            del found.of_study[number]
    found.unclear -= set(found.of_study)
    return found


def _is_before(line: Line, study: Dated) -> bool:
    """Whether a report was issued before its study; a day less may be the time zone's."""
    if line.issued is None or study.day is None:
        return False
    return date.fromisoformat(line.issued[:10]).toordinal() < study.day - 1


def _distance(line: Line, study: Dated) -> int | None:
    return None if line.day is None or study.day is None else abs(line.day - study.day)


def _meant(line: Line, studies: Sequence[Dated], days: int) -> tuple[Dated | None, str]:
    if line.day is None or all(study.day is None for study in studies):
        return None, "no_date"
    dated = [(distance, study) for study in studies if (distance := _distance(line, study)) is not None]
    nearest = min(distance for distance, _ in dated)
    if nearest > days:
        return None, "date_differs"
    meant = [study for distance, study in dated if distance == nearest]
    return (meant[0], "") if len(meant) == 1 else (None, "several_studies")


def _may_be_several(lines: Sequence[Line]) -> bool:
    """Whether reports of one patient and day may be of several examinations, of which one is not among the studies."""
    finals = {line.digest for line in lines if line.status in ("final", "unknown")}
    return len({line.exam for line in lines if line.exam}) > 1 or len(finals) > 1


# ---- the report ----------------------------------------------------------------------------------------------------


def composed(texts: Sequence[str]) -> str:
    r"""A report and its addenda as one text; an addendum that repeats the report stands for it.

    >>> composed(["No effusion.", "Left side is meant."])
    'No effusion.\n\nADDENDUM: Left side is meant.'
    """
    body, *addenda = texts
    for addendum in addenda:
        new, old = " ".join(addendum.split()), " ".join(body.split())
        if old in new:
            body = addendum
        elif new not in old:
            body += f"\n\n{'' if is_addendum(addendum) else 'ADDENDUM: '}{addendum}"
    return body


def agreed(columns: Sequence[Mapping[str, object]]) -> tuple[dict[str, object], list[str]]:
    """What several lines say of their columns, and those on which they disagree, which are left out.

    >>> agreed([{"sex": "F", "age": 1}, {"sex": "M"}])
    ({'age': 1}, ['sex'])
    """
    names = dict.fromkeys(name for one in columns for name in one)
    told = {name: [one[name] for one in columns if one.get(name) is not None] for name in names}
    torn = [name for name, values in told.items() if any(value != values[0] for value in values)]
    return {name: values[0] for name, values in told.items() if values and name not in torn}, torn
