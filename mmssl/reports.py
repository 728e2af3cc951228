"""`mmssl reports SOURCE --out FILE.jsonl`: reports as their sections, sentences and findings, one JSON line each."""

import concurrent.futures
import contextlib
import itertools
import json
import signal
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge

from mmssl import config, console, files, hardware
from mmssl.errors import CannotDo, WrongUse

CHUNK = 64
"""Reports that a process reads at a time."""

ALONE = 8
"""Chunks that are read before other processes are started, which a small source does not pay for."""

STATES = ("present", "absent", "uncertain")


@dataclass(frozen=True)
class Settings:
    """What `mmssl reports` can be told beside its options, as key=value."""

    columns: dict[str, str] = field(default_factory=dict)
    """What a column of a table means: columns.text=Befund, columns.id=Nummer."""
    encoding: str | None = None
    """Of text that does not name its own; UTF-8 if left out."""
    separator: str | None = None
    """Between the cells of a .csv or .tsv; a comma or a tab if left out."""
    language: str | None = "en"
    """Of reports that do not name theirs; null: it is told from their words, and unknown where that cannot be."""
    workers: Annotated[int, Ge(1)] | None = None
    """Processes; one for each core if left out."""

    def __post_init__(self) -> None:
        if self.separator is not None and len(self.separator) != 1:
            raise ValueError(f"separator={self.separator!r}: it is one character, say ;")


def reports(
    source: Path | str, out: Path | str, *, layout: str | None = None, overrides: Sequence[str] = (), **options: Any
) -> dict[str, Any]:
    """Reads reports, and writes what they say as one JSON line each.

    A line has `id`, `sections` {name: text}, `sentences` [{text, section, findings: [{name, code, assertion,
    laterality}]}] and `findings` {name: present, absent or uncertain}; a finding that is not mentioned has no key. The
    id is the file's name without its ending, or a table's key. Reports without a word have a line too. What is no
    report is listed beside, in FILE.rejected.jsonl, with its reason.

    Example:
        reports("reports.csv", "reports.jsonl", columns={"text": "Befund"}, language="de")

    Args:
        source: a table, a folder or an archive of .txt, Open-i XML or HL7 messages, FHIR DiagnosticReports.
        out: file to write, whole or not at all; one that holds the same already stays.
        layout: text, table, openi, hl7 or fhir; else recognised.
        overrides: settings as "key=value".
        options: settings by name, as in `Settings`.

    Returns:
        Counts: `reports`, `empty`, `rejected` {reason: number}, `languages`, `findings` {name: {present, absent,
        uncertain}}.

    Raises:
        WrongUse: for settings and sources that cannot be meant, and onto a file that holds something else.
        CannotDo: where the source cannot be read, or has no report.
    """
    from mmssl.data.report_files import source as sources
    from mmssl.data.report_files.record import Options

    settings = config.load(dict(options), list(overrides), Settings)
    source, out = Path(source).expanduser(), Path(out).expanduser()
    _check_places(source, out)
    how = Options(settings.columns, encoding=settings.encoding, separator=settings.separator)
    opened = sources.open_source(source, kind=layout, options=how)
    counts = _Counts()
    with _lines(out, source) as write, console.progress(f"reports ({opened.kind})", None, "reports") as advance:
        for done in _in_order(_chunks(opened.records(), counts), settings):
            for one in done:
                counts.add(one)
                write(one.line)
            advance(len(done))
        if not counts.reports:
            raise CannotDo(f"{source} has no report, and nothing is written: {_told(counts.rejected) or 'it is empty'}")
    _list_rejected(out, counts)
    _show(out, counts)
    return counts.plain()


def _check_places(source: Path, out: Path) -> None:
    files.check_file_to_write(out, option="--out")
    if out.resolve() == source.resolve() or (source.is_dir() and out.resolve().is_relative_to(source.resolve())):
        raise WrongUse(f"--out {out} would lie in its source {source}; name a place beside it")


# ---- reading -------------------------------------------------------------------------------------------------------


class _Read(NamedTuple):
    """A report as it is written."""

    line: str
    language: str
    is_empty: bool
    findings: Mapping[str, str]


@dataclass
class _Counts:
    reports: int = 0
    empty: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    findings: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rejected: list[tuple[str, Any]] = field(default_factory=list)
    """(reason, place)."""

    def add(self, one: _Read) -> None:
        self.reports += 1
        self.empty += one.is_empty
        self.languages[one.language] += not one.is_empty
        for name, state in one.findings.items():
            self.findings[name][state] += 1

    def plain(self) -> dict[str, Any]:
        return {
            "reports": self.reports,
            "empty": self.empty,
            "rejected": dict(Counter(reason for reason, _ in self.rejected).most_common()),
            "languages": {name: number for name, number in self.languages.most_common() if number},
            "findings": {name: {state: told[state] for state in STATES} for name, told in self.findings.items()},
        }


Chunk = list[tuple[str, str, str | None]]
"""Reports as (id, text, language)."""


def _chunks(records: Iterable[Any], counts: _Counts) -> Iterator[Chunk]:
    """The reports of a source, some at a time; what is none is noted."""
    from mmssl.data.report_files.record import Record

    chunk: Chunk = []
    for one in records:
        if isinstance(one, Record):
            chunk.append((one.id, one.text, one.language))
        else:
            counts.rejected.append((one.reason, one.place))
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _in_order(chunks: Iterator[Chunk], settings: Settings) -> Iterator[list[_Read]]:
    """Every chunk read, in order: the first ones here, those that follow by a pool of processes."""
    workers = settings.workers or hardware.cores()
    for chunk in chunks if workers == 1 else itertools.islice(chunks, ALONE):
        yield _read(chunk, settings.language)
    if (following := next(chunks, None)) is None:
        return
    pool = concurrent.futures.ProcessPoolExecutor(workers, initializer=_start_worker)
    running: deque[concurrent.futures.Future[list[_Read]]] = deque()
    try:
        for chunk in itertools.chain([following], chunks):
            if len(running) == 3 * workers:
                yield running.popleft().result()
            with warnings.catch_warnings():  # forking beside threads is warned of; none of ours holds a lock here
                warnings.simplefilter("ignore", DeprecationWarning)
                running.append(pool.submit(_read, chunk, settings.language))
        while running:
            yield running.popleft().result()
    except BrokenProcessPool:
        raise CannotDo("a process that reads reports was ended, as when memory is short; say workers=1") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair


def _read(chunk: Chunk, language: str | None) -> list[_Read]:
    return [_one(name, text, own or language) for name, text, own in chunk]


def _one(name: str, text: str, language: str | None) -> _Read:
    from mmssl.data import reports as engine

    if not text:
        return _Read(_json({"id": name, "sections": {}, "sentences": [], "findings": {}}), "", True, {})
    found = engine.parse(text, language)
    sentences = [
        {"text": one.text, "section": one.section, "findings": [finding._asdict() for finding in one.findings]}
        for one in found.sentences
    ]
    line = {"id": name, "sections": found.sections, "sentences": sentences, "findings": found.findings}
    return _Read(_json(line), found.language, False, found.findings)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


# ---- writing -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _lines(out: Path, source: Path) -> Iterator[Callable[[str], None]]:
    """Takes the lines of a file that is there whole or not at all; one that is there already is compared with them."""
    if out.exists():
        with _compared(out, source) as compare:
            yield compare
        console.say(f"{out} is there already, and is the same: nothing to do")
        return
    with files.whole_file(out) as part, open(part, "w", encoding="utf-8", newline="\n") as file:

        def write(line: str) -> None:
            file.write(line)

        yield write


@contextlib.contextmanager
def _compared(out: Path, source: Path) -> Iterator[Callable[[str], None]]:
    """Takes the lines that a file should have, and raises at the first one that it does not."""
    number = 0
    with open(out, "rb") as file:

        def compare(line: str) -> None:
            nonlocal number
            number += 1
            _same(file.readline(len(line.encode()) + 1) == line.encode(), number)

        def _same(is_same: bool, number: int) -> None:
            if not is_same:
                raise WrongUse(
                    f"{out} is there already, and is not what {source} gives now: they part in line {number}; name a "
                    "new file, or remove that one"
                )

        yield compare
        _same(not file.read(1), number + 1)


def _list_rejected(out: Path, counts: _Counts) -> None:
    """FILE.rejected.jsonl, with the place and the reason of all that was no report."""
    path = _rejected_beside(out)
    if not counts.rejected:
        path.unlink(missing_ok=True)
        return
    with files.whole_file(path) as part:
        told = ({"file": place.file, "line": place.line, "reason": reason} for reason, place in counts.rejected)
        part.write_text("".join(_json(one) for one in told), encoding="utf-8")


def _rejected_beside(out: Path) -> Path:
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.rejected.jsonl")


# ---- what is shown -------------------------------------------------------------------------------------------------


def _told(rejected: Iterable[tuple[str, Any]]) -> str:
    """Reasons with their numbers and meanings, in one line."""
    from mmssl.data.report_files.record import REASONS

    counted = Counter(reason for reason, _ in rejected).most_common()
    return "; ".join(f"{number} {reason} ({REASONS[reason]})" for reason, number in counted)


def _show(out: Path, counts: _Counts) -> None:
    told = counts.plain()
    unknown = told["languages"].get("unknown", 0)
    rows = [
        ["reports", counts.reports],
        ["  without a word", counts.empty],
        ["  in a language without rules", unknown],
        ["set aside", len(counts.rejected)],
        *([f"  {reason}", number] for reason, number in told["rejected"].items()),
    ]
    console.table("what became of the source", ["", "number"], rows)
    if told["findings"]:
        most = sorted(told["findings"].items(), key=lambda item: (-item[1]["present"], item[0]))
        console.table("reports by finding", ["finding", *STATES], [[name, *states.values()] for name, states in most])
    if counts.rejected:
        console.say(f"set aside: {_told(counts.rejected)}; {_rejected_beside(out)} has their places")
    if unknown:
        console.say(f"{unknown} reports are in a language that there are no rules for: they have no findings")
    console.say(f"{out} is there: {counts.reports} reports")
