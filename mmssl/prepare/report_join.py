"""Reports find their studies: what is known of both is kept on disk, and a text is read when its study is asked for.

All of it lies in one temporary database that nobody else can open and that is gone with the process, so that a million
reports take no memory.
"""

import contextlib
import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mmssl.data.report_files.record import Record, Rejected
from mmssl.errors import CannotDo
from mmssl.prepare.report_choice import Choice, Dated, Line, agreed, by_day, choose, composed

FLAGS: dict[str, str] = {
    "report_ambiguous": "several different reports have this study's key, or several patients; none was taken",
    "report_preliminary": "the report was not signed yet",
}
"""What joining says of a row."""

SEPARATORS = (";", ",", "\\", "~")
"""Between the keys of a report that is of several examinations."""

_SCHEMA = """
create table studies (study integer primary key, name text unique, person text, realm text, day integer,
    images integer);
create table holders (kind text, key text, study integer);
create table lines (line integer primary key, id text, file text, place integer, status text, issued text,
    day integer, digest blob, issuer text, exam text, text text, columns text, reason text);
create table keys (kind text, key text, line integer);
create table seen (line integer primary key);
create table edges (study integer, line integer, is_weak integer);
create table unsure (study integer primary key, reason text);
create table verdicts (line integer, rank integer, state text, reason text);
create table given (study integer, part integer, line integer);
create table found (study integer primary key, state text, reason text, preliminary integer, columns text);
create index by_holder on holders (kind, key);
"""
_RANK = {"matched": 0, "superseded": 1, "ambiguous": 2, "unmatched": 3, "without_key": 4}

JOINED = pa.schema(
    {
        "number": pa.int64(), "report_id": pa.string(), "file": pa.string(), "line": pa.int64(), "status": pa.string(),
        "state": pa.string(), "reason": pa.string(), "study_ids": pa.list_(pa.string()),
    }
)  # fmt: skip
"""Columns of joined.parquet: a row for each line of the source of reports."""


class StudyFacts(NamedTuple):
    """What joining needs of a study."""

    name: str
    """Names it among all of them, for `Reports.of`."""
    keys: Mapping[str, str]
    person: str
    """Who it is of, as text; without a patient it is its own."""
    realm: str = ""
    """Who gave out its PatientID, or the site."""
    day: date | None = None
    images: int = 1


class Found(NamedTuple):
    """What the reports give a study."""

    report: str | None = None
    flags: tuple[str, ...] = ()
    columns: Mapping[str, Any] = MappingProxyType({})
    """What they say beside, as columns of a store, for what the images leave open."""


class Named(Protocol):
    """How ids of the source become ids of the store: `plan.Names`."""

    @property
    def key(self) -> bytes | None: ...

    def of(self, kind: str, value: str) -> str: ...


@dataclass
class Counts:
    """Both sides of a join."""

    key: str
    rows: Counter[str] = field(default_factory=Counter)
    """Lines of the source: matched, superseded, ambiguous, unmatched, without_key, without_text, rejected."""
    studies: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    disagree: Counter[str] = field(default_factory=Counter)
    """For how many studies the lines agree on the report and not on this column, which is then left null."""
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    """{state of lines: reasons}, and of ambiguous studies under `studies`."""
    status: Counter[str] = field(default_factory=Counter)

    def counts(self, file: Path) -> dict[str, Any]:
        """For the manifest and the audit page."""
        sides = {"lines": self.rows, "studies": self.studies, "images": self.images}
        sides |= {"disagree": self.disagree} if self.disagree else {}
        told = {name: dict(sorted(side.items())) for name, side in sides.items()}
        if self.reasons:
            told["reasons"] = {name: dict(sorted(one.items())) for name, one in sorted(self.reasons.items())}  # type: ignore[assignment]
        if set(self.status) - {"unknown"}:
            told["status"] = dict(sorted(self.status.items()))
        return {"file": file.name, "key": self.key} | told


class Reports:
    """The reports of a source, each with the study that it is of.

    Light facts of all studies come first, then the reports one by one; then `of` is asked for one study after the
    other, in any order, by the process that made this.

    Args:
        facts: of every study.
        records: the reports of a source, and what is none.
        folder: for what is kept on disk; else the system's folder for temporary files.
    """

    def __init__(
        self, facts: Iterable[StudyFacts], records: Iterable[Record | Rejected], *, folder: Path | None = None
    ) -> None:
        self._base = _database(folder)
        with _explained():
            self._base.executescript(_SCHEMA)
            self._add_studies(facts)
            self._add_lines(records)
            self._base.execute("create index by_key on keys (kind, key, line)")
            self._base.execute("create index by_line on keys (line, kind)")
        self.counts: Counts | None = None

    def close(self) -> None:
        """Frees the disk."""
        self._base.close()

    # ---- what there is ---------------------------------------------------------------------------------------------

    def _add_studies(self, facts: Iterable[StudyFacts]) -> None:
        for number, one in enumerate(facts):
            day = one.day.toordinal() if one.day else None
            row = (number, one.name, one.person, one.realm, day, one.images)
            self._base.execute("insert into studies values (?, ?, ?, ?, ?, ?)", row)
            holders = [(kind, key, number) for kind, key in one.keys.items() if key]
            self._base.executemany("insert into holders values (?, ?, ?)", holders)

    def _add_lines(self, records: Iterable[Record | Rejected]) -> None:
        for number, one in enumerate(records):
            if isinstance(one, Rejected):
                row = (number, None, one.place.file, one.place.line, *[None] * 8, one.reason)
            else:
                keys = [(kind, key) for kind, said in one.keys.items() for key in self._split(kind, said)]
                self._base.executemany("insert into keys values (?, ?, ?)", [(*key, number) for key in keys])
                row = _row(number, one, is_wanted=any(self._is_held(*key) for key in keys))
            self._base.execute(f"insert into lines values ({', '.join('?' * len(row))})", row)

    def _split(self, kind: str, said: str) -> list[str]:
        """The keys in a cell: itself where a study has it so or it names a patient, else its parts."""
        if kind == "PatientID" or not any(mark in said for mark in SEPARATORS) or self._is_held(kind, said):
            return [said]
        for mark in SEPARATORS[1:]:
            said = said.replace(mark, SEPARATORS[0])
        return list(dict.fromkeys(part for one in said.split(SEPARATORS[0]) if (part := one.strip())))

    def _is_held(self, kind: str, key: str) -> bool:
        asked = "select 1 from holders where kind = ? and key = ? limit 1"
        return self._base.execute(asked, (kind, key)).fetchone() is not None

    def kinds(self) -> set[str]:
        """The keys that any report has."""
        return {kind for (kind,) in self._base.execute("select distinct kind from keys")}

    def matches(self, kind: str) -> bool:
        """Whether any report has a key of this kind that a study has."""
        asked = "select 1 from keys join holders using (kind, key) where kind = ? limit 1"
        return self._base.execute(asked, (kind,)).fetchone() is not None

    def keys(self, kind: str, *, of_studies: bool) -> Iterator[str]:
        """The different keys of a kind, on one side."""
        table = "holders" if of_studies else "keys"
        for (key,) in self._base.execute(f"select distinct key from {table} where kind = ?", (kind,)):
            yield key

    # ---- joining ---------------------------------------------------------------------------------------------------

    def join(self, kinds: Mapping[str, bool], *, days: int = 0) -> Counts:
        """Gives each study the report of its key; of several keys that a report has, the first of `kinds` counts.

        A key is ambiguous, and nothing is taken, where it is one of several patients, or `report_choice.choose` cannot
        say which report holds. By the patient alone, the day must agree too, and no report by another key be there.

        Args:
            kinds: of keys, as records and studies have them, the most particular one first; whether each names a
                patient, who may have several studies.
            days: between the report's day and the study's, at most, where the patient alone is named.
        """
        used = []
        asked = (
            "select key, line, digest, status, issued, day, exam, issuer from keys join lines using (line) "
            "where kind = ? and text is not '' and line not in (select line from seen) order by key, line"
        )
        with _explained():
            for kind, is_patient in kinds.items():
                for key, rows in groupby(self._base.execute(asked, (kind,)), key=lambda row: row[0]):
                    self._find(kind, key, list(rows), is_patient=is_patient, days=days)
                    used += [kind] if kind not in used else []
                self._base.execute("insert or ignore into seen select line from keys where kind = ?", (kind,))
            counts = self.counts = Counts(" or ".join(used))
            self._give_all(counts)
            for name in ("verdicts (line)", "given (study)", "given (line)"):
                self._base.execute(f"create index by_{name.replace(' (', '_').strip(')')} on {name}")
            self._count(counts)
        return counts

    def _find(self, kind: str, key: str, rows: list[tuple[Any, ...]], *, is_patient: bool, days: int) -> None:
        """Which studies the reports of one key may be of."""
        asked = "select study, person, realm, day from holders join studies using (study) where kind = ? and key = ?"
        holders = self._base.execute(asked, (kind, key)).fetchall()
        lines = [Line(*row[1:7]) for row in rows]
        if not holders:
            return self._judge([(line.number, "unmatched", None) for line in lines])
        issuers = {row[7] for row in rows}
        if len(issuers) == 1 and any(realm in issuers for _, _, realm, _ in holders):
            holders = [holder for holder in holders if holder[2] in issuers]  # the same number, given out elsewhere
        studies = [number for number, *_ in holders]
        several = len({person for _, person, _, _ in holders}) > 1
        if several or any(self._is_torn(kind, line.number) for line in lines):
            self._unclear("unsure" if is_patient else "found", studies, "several_patients")
            return self._judge([(line.number, "ambiguous", "several_patients") for line in lines])
        edges = [(study, line.number, is_patient) for study in studies for line in lines]
        if is_patient:
            told = by_day(lines, [Dated(number, day) for number, _, _, day in holders], days=days)
            self._judge([(number, "ambiguous", reason) for number, reason in told.refused.items()])
            self._unclear("unsure", told.unclear, next(iter(told.refused.values()), ""))
            edges = [(study, line.number, True) for study, own in told.of_study.items() for line in own]
        self._base.executemany("insert into edges values (?, ?, ?)", edges)

    def _give_all(self, counts: Counts) -> None:
        """Each study its report, of all that may be its."""
        self._base.execute("create index by_study on edges (study, line)")
        asked = (
            "select study, line, digest, status, issued, day, exam, is_weak from edges join lines using (line) "
            "order by study, line"
        )
        torn = "select 1 from found where study = ?"
        for study, rows in groupby(self._base.execute(asked), key=lambda row: row[0]):
            told = [(Line(*row[1:7]), row[7]) for row in rows]
            if self._base.execute(torn, (study,)).fetchone():  # another key of it is one of several patients
                self._judge([(line.number, "ambiguous", "several_patients") for line, _ in told])
                continue
            sure = {line.digest for line, is_weak in told if not is_weak}
            lines = [line for line, _ in told if not sure or line.digest in sure]
            self._judge([(line.number, "ambiguous", "several_reports") for line, _ in told if line not in lines])
            self._give(study, lines, choose(lines), counts)
        self._base.execute("insert or ignore into found select study, 'ambiguous', reason, 0, '{}' from unsure")

    def _is_torn(self, kind: str, line: int) -> bool:
        """Whether a report with several keys is of several patients."""
        asked = (
            "select count(*) from (select distinct person from keys join holders using (kind, key) "
            "join studies using (study) where line = ? and kind = ?)"
        )
        several = "select count(*) from keys where line = ? and kind = ?"
        if self._base.execute(several, (line, kind)).fetchone()[0] == 1:
            return False
        return self._base.execute(asked, (line, kind)).fetchone()[0] > 1

    def _give(self, study: int, lines: Sequence[Line], choice: Choice, counts: Counts) -> None:
        if not choice.taken:
            self._judge([(number, "ambiguous", reason) for number, reason in choice.refused.items()])
            return self._unclear("found", [study], next(iter(choice.refused.values())))
        self._judge([(number, "superseded", reason) for number, reason in choice.refused.items()])
        told = [line.number for line in lines if line.number not in choice.refused]
        self._judge([(number, "matched", None) for number in told])
        columns, torn = agreed([self._columns(number) for number in told])
        counts.disagree.update(torn)
        row = (study, "matched", None, choice.is_preliminary, json.dumps(columns, default=lambda one: one.isoformat()))
        self._base.execute("insert into found values (?, ?, ?, ?, ?)", row)
        given = [(study, part, number) for part, number in enumerate(choice.taken)]
        self._base.executemany("insert into given values (?, ?, ?)", given)

    def _judge(self, verdicts: Iterable[tuple[int, str, str | None]]) -> None:
        rows = [(number, _RANK[state], state, reason) for number, state, reason in verdicts]
        self._base.executemany("insert into verdicts values (?, ?, ?, ?)", rows)

    def _unclear(self, table: str, studies: Iterable[int], reason: str) -> None:
        """Notes studies that a report may be of: `unsure` where one by another key may still be found."""
        if table == "unsure":
            self._base.executemany("insert or ignore into unsure values (?, ?)", [(one, reason) for one in studies])
        else:
            rows = [(study, "ambiguous", reason, 0, "{}") for study in studies]
            self._base.executemany("insert or ignore into found values (?, ?, ?, ?, ?)", rows)

    def _columns(self, line: int) -> dict[str, Any]:
        (told,) = self._base.execute("select columns from lines where line = ?", (line,)).fetchone()
        found = json.loads(told)
        if "study_datetime" in found:
            found["study_datetime"] = datetime.fromisoformat(found["study_datetime"])
        return found

    # ---- what came of it -------------------------------------------------------------------------------------------

    _STATES = (
        "select line, id, file, place, status, "
        "case when lines.reason is not null then 'rejected' when text = '' then 'without_text' "
        "else coalesce(state, 'without_key') end, coalesce(lines.reason, best.reason) from lines "
        "left join (select line, min(rank), state, reason from verdicts group by line) best using (line) order by line"
    )

    def _count(self, counts: Counts) -> None:
        for *_, status, state, reason in self._base.execute(self._STATES):
            counts.rows[state] += 1
            if reason:
                counts.reasons.setdefault(state, Counter())[reason] += 1
            if status:
                counts.status[status] += 1
        asked = (
            "select coalesce(state, 'unmatched'), reason, count(*), sum(images) from studies "
            "left join found using (study) group by 1, 2"
        )
        for state, reason, number, images in self._base.execute(asked):
            counts.studies[state] += number
            counts.images[state] += images
            if reason:
                counts.reasons.setdefault("studies", Counter())[reason] += number

    def of(self, name: str) -> Found:
        """What the reports give the study of this name."""
        asked = "select study, state, preliminary, columns from studies join found using (study) where name = ?"
        row = self._base.execute(asked, (name,)).fetchone()
        if row is None:
            return Found()
        number, state, is_preliminary, columns = row
        if state == "ambiguous":
            return Found(flags=("report_ambiguous",))
        told = "select text from given join lines using (line) where study = ? order by part"
        texts = [text for (text,) in self._base.execute(told, (number,))]
        found = json.loads(columns)
        if "study_datetime" in found:
            found["study_datetime"] = datetime.fromisoformat(found["study_datetime"])
        return Found(composed(texts), ("report_preliminary",) if is_preliminary else (), found)

    def write(self, path: Path, names: Named, study_id: Callable[[str], str | None]) -> None:
        """joined.parquet: every line of the source with its state, its reason and the studies that have it.

        Args:
            path: of the file, in a store that is being written.
            names: the ids of the store; where they are keyed, so are those of the reports, and no file is named.
            study_id: by a study's name its id in the store, None where no row of it was kept.
        """
        with pq.ParquetWriter(path, JOINED) as writer:
            rows: list[dict[str, Any]] = []
            for number, report, file, place, status, state, reason in self._base.execute(self._STATES):
                asked = "select name from given join studies using (study) where line = ? order by study"
                told = (study_id(name) for (name,) in self._base.execute(asked, (number,)))
                rows.append(
                    {
                        "number": number, "report_id": None if report is None else names.of("report", report),
                        "file": file if names.key is None else None, "line": place, "status": status, "state": state,
                        "reason": reason, "study_ids": [study for study in told if study is not None],
                    }
                )  # fmt: skip
                if len(rows) == 4096:
                    writer.write_table(pa.Table.from_pylist(rows, schema=JOINED))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, schema=JOINED))


def _row(number: int, one: Record, *, is_wanted: bool) -> tuple[Any, ...]:
    """A report as it is kept; of one whose keys no study has, the text is not needed."""
    columns = dict(one.columns)
    if one.language:
        columns.setdefault("language", one.language)
    if one.study_date:
        columns.setdefault("study_datetime", datetime(one.study_date.year, one.study_date.month, one.study_date.day))
    words = " ".join(one.text.split())
    exam = "\0".join(f"{kind}\0{key}" for kind, key in sorted(one.keys.items()) if kind in _OF_AN_EXAM)
    return (
        number, one.id, one.place.file, one.place.line, one.status, one.issued and one.issued.isoformat(),
        one.study_date and one.study_date.toordinal(), blake2b(words.encode(), digest_size=16).digest(), one.issuer,
        exam or None, one.text if is_wanted or not words else None,
        json.dumps(columns, default=lambda value: value.isoformat()), None,
    )  # fmt: skip


_OF_AN_EXAM = ("AccessionNumber", "StudyInstanceUID")


def _database(folder: Path | None) -> sqlite3.Connection:
    """A database on disk that has no name any more, and is written without care for a crash."""
    if folder is None:
        base = sqlite3.connect("", isolation_level=None)
    else:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".reports-") as file:
            base = sqlite3.connect(file.name, isolation_level=None)
            base.execute("pragma locking_mode = exclusive")
            base.execute("pragma journal_mode = off")
            base.execute("create table opened (at integer)")
    base.execute("pragma journal_mode = off")
    base.execute("pragma synchronous = off")
    base.execute("begin")
    return base


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """What SQLite refuses, as one sentence."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise CannotDo(f"the reports cannot be kept on disk while they are joined: {error}") from error
