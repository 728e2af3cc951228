"""Which rows are dropped or flagged, each with a reason code; defects of a text never drop an image."""

import base64
import functools
import io
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import threadpoolctl

from mmssl.data import images, likeness, quality, reports
from mmssl.data.kinds import Kind, References, kind_of
from mmssl.data.measures import Measures
from mmssl.prepare import duplicates, report_join, texts
from mmssl.prepare.entries import Entries, Entry
from mmssl.prepare.settings import Cleaning
from mmssl.prepare.spool import Spool
from mmssl.prepare.texts import Reader

if TYPE_CHECKING:
    from PIL import Image

REASONS: dict[str, str] = {
    **quality.REASONS,
    "duplicate": "the same pixels or SOPInstanceUID as another picture of the same patient, and no other text",
    "near_duplicate": "nearly the same picture as one of another study of the same patient, and no other text",
    "duplicate_other_text": "the same pixels as a picture that was given to another split, with another text",
    "duplicate_id": "a row whose id was there before",
    "bad_row": "a line that is no row of the table",
    "decoder_crashed": "the decoder ended its process",
    "decoder_timeout": "the decoder did not come to an end in the time that one input may take",
}
"""Why an input that can be read is no row; `mmssl.data.images.REASONS` and `dicom.REASONS` say why one cannot be."""

FLAGS: dict[str, str] = {
    **texts.FLAGS,
    **report_join.FLAGS,
    **quality.FLAGS,
    **{name: f"{meaning}, in a row that was given to evaluation" for name, meaning in quality.REASONS.items()},
    "report_ambiguous": "several different reports have this study's key, or several patients; none was taken",
    "patient_missing": "the source names no patient; the study is its own patient, in train unless its date or "
    "site is kept for evaluation",
    "patient_doubtful": "the patient's id has two sexes or two birth dates",
    "patient_from_study": "the source names no patient here; it is the one patient who has the same study",
    "value_unreadable": "an age or a date that is not understood; it is in `source_age` or `source_study_datetime`",
    "duplicate_id": "the row's id was there before; it was given to evaluation, or nothing is cleaned",
    "not_in_metadata": "an image that the folder's table does not list",
    "duplicate": "the same pixels as a picture of another patient, or a row that was given to evaluation",
    "near_duplicate": "nearly the same picture as one of another patient, or of another study with another text, or a "
    "row that was given to evaluation",
    "duplicate_other_text": "the same pixels as another picture of the same patient, with another text; a row of that "
    "picture's study unless the source names its own",
}
"""What is said of a row that stays."""


class Verdict(NamedTuple):
    """What becomes of a frame."""

    reason: str | None
    """None: it is a row."""
    flags: tuple[str, ...]
    detail: str | None = None
    """The source id of the picture that it repeats."""


class Known(Protocol):
    """Rows that a store has already, which new ones may repeat; nothing is done to them here."""

    digest: pa.Array  # [rows] SHA-256 of the pixels
    phash: np.ndarray  # [rows] uint64
    person: np.ndarray  # [rows] numbers as those of `Entries`
    study: np.ndarray  # [rows]
    instance: np.ndarray  # [rows]

    def name(self, row: int) -> str:
        """What the row is called where it is repeated."""
        ...

    def row_id(self, row: int) -> str: ...

    def text(self, row: int) -> str | None: ...

    def image(self, row: int) -> "Image.Image":
        """As towers see it."""
        ...

    def add_references(self, references: References, wanted: Collection[Kind | None]) -> None:
        """Adds what rows of these kinds look like."""
        ...


class Nothing:
    """A store without rows."""

    digest = pa.array([], pa.binary(32))
    phash = np.zeros(0, np.uint64)
    person = study = instance = np.zeros(0, np.int64)

    def name(self, row: int) -> str:
        raise IndexError(row)

    def row_id(self, row: int) -> str:
        raise IndexError(row)

    def text(self, row: int) -> str | None:
        raise IndexError(row)

    def image(self, row: int) -> "Image.Image":
        raise IndexError(row)

    def add_references(self, references: References, wanted: Collection[Kind | None]) -> None:
        pass


NOTHING = Nothing()


class Verdicts(Sequence[Verdict]):
    """A verdict for each frame of the spool; held are only those that say something."""

    def __init__(self, entries: Entries, spool: Spool, known: Known) -> None:
        self._entries, self._spool = entries, spool
        self.known = known
        self.reasons: list[str | None] = spool.reasons()
        self.details: dict[int, str] = {}
        self.likes: dict[int, int] = {}
        """{frame: the one that it repeats}, as places in the spool; those behind its end are rows of the store."""
        self.pairs: list[tuple[int, int, str]] = []
        """Pictures of two patients that are the same, or nearly, for review: (one, other, which of the two)."""
        self.flags: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self.reasons)

    def __getitem__(self, place: int) -> Verdict:  # pyright: ignore[reportIncompatibleMethodOverride]
        flags = dict.fromkeys(self._entries[int(self._spool.entry[place])].flags) | self.flags.get(place, {})
        return Verdict(self.reasons[place], tuple(flags), self.details.get(place))

    def flag(self, place: int, flag: str) -> None:
        self.flags.setdefault(place, {})[flag] = None


class _Case:
    """Frames of the spool, and behind them the rows that the store has, as arrays of one length."""

    def __init__(self, entries: Entries, spool: Spool, reader: Reader, patients_known: bool, known: Known) -> None:
        self.entries, self.spool, self.reader, self.known = entries, spool, reader, known
        self.settings = reader.clean
        self.patients_known = patients_known
        self.verdicts = Verdicts(entries, spool, known)
        of = spool.entry
        self.new = len(spool)
        self.person = np.concatenate([entries.person[of], known.person])
        self.study = np.concatenate([entries.study[of], known.study])
        first = np.where(spool.number == 0, entries.instance[of], 0)  # a file's other frames are its own
        self.instance = np.concatenate([first, known.instance])
        self.phash = np.concatenate([spool.phash, known.phash])
        self.protected = np.concatenate([entries.protected[of], np.ones(len(known.person), bool)])
        self.order = np.lexsort((spool.number, entries.rank[of], ~entries.protected[of]))

    def is_new(self, place: int) -> bool:
        return place < self.new

    def is_in(self, place: int) -> bool:
        return not self.is_new(place) or self.verdicts.reasons[place] is None

    def alive(self) -> Iterator[int]:
        """Frames that are in, those given to evaluation first, so that of two alike the other goes."""
        return (int(place) for place in self.order if self.verdicts.reasons[place] is None)

    def all(self) -> Iterator[int]:
        """The rows of the store, which stay as they are; then the frames that are in."""
        yield from range(self.new, len(self.person))
        yield from self.alive()

    def measured(self, place: int) -> tuple[dict[str, Any], Measures, str]:
        """What is known of a frame, what was measured of it, and its pixel hash."""
        frame = self.spool[place]
        told = {name: value for name, value in frame.columns.items() if value is not None}
        measures = Measures(**{**frame.measures, "thumb": base64.b64decode(frame.measures["thumb"])})
        return self.entry(place).columns | told, measures, frame.pixel_hash or ""

    def drop(self, place: int, reason: str, like: int | None = None, detail: str | None = None) -> None:
        """Out, or flagged where the row was given to evaluation; `like` is the one that it repeats."""
        if self.settings.evaluation == "flag" and self.protected[place]:
            self.flag(place, reason)
            return
        self.verdicts.reasons[place] = reason
        if detail is not None or like is not None:
            self.verdicts.details[place] = detail or self.name(like or 0)
        if like is not None:
            self.verdicts.likes[place] = like

    def flag(self, place: int, flag: str) -> None:
        if self.is_new(place):
            self.verdicts.flag(place, flag)

    def entry(self, place: int) -> Entry:
        return self.entries[int(self.spool.entry[place])]

    def name(self, place: int) -> str:
        return self.entry(place).source_id if self.is_new(place) else self.known.name(place - self.new)

    def text(self, place: int) -> str:
        """What is written of a picture, without what makes no difference; empty where that says nothing."""
        if self.is_new(place):
            entry = self.entry(place)
            text = entry.report or "" if entry.text is None else entry.text
        else:
            text = self.known.text(place - self.new) or ""
        return "" if reports.is_placeholder(text) else reports.normalise(text)

    def image(self, place: int) -> "Image.Image":
        if not self.is_new(place):
            return self.known.image(place - self.new)
        from PIL import Image

        modality = self.spool[place].columns.get("modality")
        return images.view8(Image.open(io.BytesIO(self.spool.image(place))), modality, grey=True)


def clean(entries: Entries, spool: Spool, reader: Reader, *, patients_known: bool, known: Known = NOTHING) -> Verdicts:
    """A verdict for each frame of the spool; the same whatever the order of the source.

    Entries whose picture is another's, with another text, are gathered into the study of that one.
    """
    settings = reader.clean
    case = _Case(entries, spool, reader, patients_known, known)
    with threadpoolctl.threadpool_limits(1):  # matrices are small here: several threads would only wait for each other
        _judge(case, settings)
    return case.verdicts


def _judge(case: _Case, settings: Cleaning) -> None:
    if settings.enabled:
        _doubled_ids(case)
        _spoilt(case)
        if settings.duplicates:
            _same_instances(case)
            _duplicates(case)
        if settings.near_duplicates:
            _near_duplicates(case)
        if settings.text == "drop":
            _texts(case)


def _doubled_ids(case: _Case) -> None:
    """Only the first row of an id stays, unless the other was given to evaluation: then both do, under two names."""
    doubled = case.entries.doubled[case.spool.entry]
    for place in case.alive():
        if doubled[place]:
            case.drop(place, "duplicate_id")


def _spoilt(case: _Case) -> None:
    """Pictures with defects, judged by their measures and by what others of their kind look like."""
    settings = case.settings.pictures
    references = References()
    wanted = set()
    for place in case.alive():
        columns, measures, digest = case.measured(place)
        wanted.add(kind_of(columns))
        if next(quality.spoilt(measures, columns, settings), None) is None:
            references.add(columns, measures, digest)
    case.known.add_references(references, wanted)
    kinds = references.kinds()
    for place in case.alive():
        columns, measures, _ = case.measured(place)
        found = quality.judge(measures, columns, settings, kinds)
        for flag in found.flags:
            case.flag(place, flag)
        if found.reason is not None:
            case.drop(place, found.reason, detail=found.detail)


def _texts(case: _Case) -> None:
    """Pictures whose text has a defect, where these are dropped."""
    for place in case.alive():
        columns, _, _ = case.measured(place)
        _, _, wrong = texts.training_text(case.entry(place), columns, case.reader)
        if wrong:
            case.drop(place, wrong[0])


def _same_instances(case: _Case) -> None:
    """Of files of one SOPInstanceUID and one patient only the first stays, however their pixels were coded."""
    numbers = pa.array(case.instance, mask=case.instance == 0)
    for group in duplicates.groups(numbers, case.all()):
        for number, place in enumerate(group):
            same = [one for one in group[:number] if case.person[one] == case.person[place] and case.is_in(one)]
            if case.is_new(place) and same:
                case.drop(place, "duplicate", like=same[0])
                _drop_other_frames(case, place, same[0])


def _drop_other_frames(case: _Case, place: int, like: int) -> None:
    """The other frames of a file go with the first; they stand behind it in the spool."""
    entry = case.spool.entry[place]
    place += 1
    while place < case.new and case.spool.entry[place] == entry:
        if case.verdicts.reasons[place] is None:
            case.drop(place, "duplicate", like=like)
        place += 1


def _duplicates(case: _Case) -> None:
    """Equal pixels: of one patient, only the first of each text stays; of two, all stay and say so.

    Where a source knows no patients, equal pictures are taken for one picture of one study, in one split.
    """
    digests = pa.concat_arrays([case.spool.digests(), case.known.digest])
    for group in duplicates.groups(digests, case.all()):
        seen: list[int] = []
        for place in group:
            if case.is_new(place):
                _duplicate(case, place, seen)
            if case.is_in(place):
                seen.append(place)


def _duplicate(case: _Case, place: int, alike: list[int]) -> None:
    same = [other for other in alike if not case.patients_known or case.person[other] == case.person[place]]
    again = [other for other in same if not case.is_new(other) and case.study[other] == case.study[place]]
    if again and case.entry(place).shares_report:  # the report of a study is that of all its pictures, old ones too
        case.drop(place, "duplicate", like=again[0])
    elif same and case.text(place) in {"", *map(case.text, same)}:
        case.drop(place, "duplicate", like=same[0])
    elif same:
        _other_text(case, place, same[0])
    elif alike:
        for one in (place, *alike):
            case.flag(one, "duplicate")
        case.verdicts.pairs.append((place, alike[0], "duplicate"))


def _other_text(case: _Case, place: int, first: int) -> None:
    """A picture that is there already, with a text that is not: its row stays, in the split of the other."""
    one = case.entry(place)
    if not case.is_new(first):
        case.flag(place, "duplicate_other_text")
        return
    other = case.entry(first)
    if one.person != other.person and one.split != other.split and (one.given or other.given):
        case.drop(place, "duplicate_other_text", like=first)
        return
    case.flag(place, "duplicate_other_text")
    if one.person != other.person or "StudyInstanceUID" not in one.keys:  # no study of its own that a source names
        case.entries.gather(int(case.spool.entry[place]), int(case.spool.entry[first]))


def _near_duplicates(case: _Case) -> None:
    """Close perceptual hashes propose, correlation confirms; rows of one study are never near duplicates."""
    places = [place for place in case.all() if "blank" not in case.verdicts.flags.get(place, ())]
    digests = pa.concat_arrays([case.spool.digests(), case.known.digest])
    order = np.array(places, np.int64)

    @functools.lru_cache(maxsize=2048)
    def small(place: int) -> np.ndarray:
        return likeness.compared(case.image(place))

    for first, second in duplicates.close_pairs(case.phash[order], case.settings.phash_bits, case.study[order]):
        one, other = places[first], places[second]  # `one` comes first
        if not (case.is_in(one) and case.is_in(other) and case.is_new(other)):
            continue
        least = {"whole": case.settings.correlation, "parts": case.settings.agreement}
        if digests[one] == digests[other] or not likeness.same(small(one), small(other), **least):
            continue
        if case.person[one] == case.person[other] and case.text(other) in ("", case.text(one)):
            case.drop(other, "near_duplicate", like=one)
        else:
            case.flag(one, "near_duplicate")
            case.flag(other, "near_duplicate")
            if case.person[one] != case.person[other]:
                case.verdicts.pairs.append((other, one, "near_duplicate"))
