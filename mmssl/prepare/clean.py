"""Which rows are dropped or flagged, each with a reason code; defects of a text never drop an image."""

import functools
import io
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mmssl.data import images, reports
from mmssl.prepare.decode import Frame, Spool
from mmssl.prepare.plan import Entry
from mmssl.prepare.settings import Cleaning

REASONS: dict[str, str] = {
    "blank": "all pixels have nearly the same value",
    "too_small": "a side has too few pixels",
    "duplicate": "the same pixels as another picture of the same patient, and no other text",
    "near_duplicate": "nearly the same picture as one of another study of the same patient, and no other text",
    "duplicate_other_text": "the same pixels as a picture that was given to another split, with another text",
    "duplicate_id": "a row whose id was there before",
    "bad_row": "a line that is no row of the table",
    "decoder_crashed": "the decoder crashed or did not come to an end",
}
"""Why an input that can be read is no row; `mmssl.data.images.REASONS` and `dicom.REASONS` say why one cannot be."""

FLAGS: dict[str, str] = {
    "text_missing": "no text to train on",
    "text_only_other_sections": "a report without findings and impression; what it has is in `report`",
    "text_placeholder": "the text was a placeholder and is not trained on; it is in `report`, or in `source_text` "
    "beside another report",
    "report_ambiguous": "several different reports have this study's key, or several patients; none was taken",
    "patient_missing": "the source names no patient; the study is its own patient, in train only",
    "patient_from_study": "the source names no patient here; it is the one patient who has the same study",
    "value_unreadable": "an age or a date that is not understood; it is in `source_age` or `source_study_datetime`",
    "duplicate_id": "the row's id was there before; it was given to evaluation, or nothing is cleaned",
    "not_in_metadata": "an image that the folder's table does not list",
    "duplicate": "the same pixels as a picture of another patient, or a row that was given to evaluation",
    "near_duplicate": "nearly the same picture as one of another patient, or of another study with another text, or a "
    "row that was given to evaluation",
    "duplicate_other_text": "the same pixels as another picture of the same patient, with another text; a row of that "
    "picture's study unless the source names its own",
    "blank": "all pixels have nearly the same value, in a row that was given to evaluation",
    "too_small": "a side has too few pixels, in a row that was given to evaluation",
}
"""What is said of a row that stays."""

SIDE = 128
"""Pixels of the square in which near duplicates are compared."""


class Verdict(NamedTuple):
    """What becomes of a frame."""

    reason: str | None
    """None: it is a row."""
    flags: tuple[str, ...]
    detail: str | None = None
    """The source id of the picture that it repeats."""
    joins: int | None = None
    """The entry of whose study it is, where that is not its own."""


@dataclass
class _Case:
    """The rows that are still in, with what is said of them."""

    entries: Sequence[Entry]
    frames: Sequence[Frame]
    settings: Cleaning
    patients_known: bool
    reasons: list[str | None] = field(default_factory=list)
    details: dict[int, str] = field(default_factory=dict)
    flags: list[dict[str, None]] = field(default_factory=list)
    joins: dict[int, int] = field(default_factory=dict)

    def drop(self, row: int, reason: str, like: int | None = None) -> None:
        """Out, or flagged where the row was given to evaluation; `like` is the row that it repeats."""
        if self.settings.evaluation == "flag" and self.is_protected(row):
            self.flags[row][reason] = None
        else:
            self.reasons[row] = reason
            if like is not None:
                self.details[row] = self.entry(like).source_id

    def is_protected(self, row: int) -> bool:
        """Whether its split was given as one for evaluation."""
        entry = self.entry(row)
        return entry.given and entry.split != "train"

    def alive(self) -> list[int]:
        """Rows that are in, those given to evaluation first, so that of two alike the other goes."""
        rows = [row for row, reason in enumerate(self.reasons) if reason is None]
        return sorted(rows, key=lambda row: (not self.is_protected(row), self.name(row)))

    def name(self, row: int) -> tuple[str, int]:
        """By the name in the source: one under a pseudonym would depend on the key."""
        return self.entry(row).picture.source_id, self.frames[row].frame

    def text(self, row: int) -> str:
        """What is written of a picture, without what makes no difference; empty where that says nothing."""
        entry = self.entry(row)
        text = entry.report or "" if entry.text is None else entry.text
        return "" if reports.is_placeholder(text) else reports.normalise(text)

    def entry(self, row: int) -> Entry:
        return self.entries[self.frames[row].entry]


def clean(entries: Sequence[Entry], spool: Spool, settings: Cleaning, *, patients_known: bool) -> list[Verdict]:
    """A verdict for each frame of the spool; the same whatever the order of the source."""
    case = _Case(entries, spool.frames, settings, patients_known)
    case.reasons = [frame.reason for frame in spool.frames]
    case.flags = [dict.fromkeys(entries[frame.entry].flags) for frame in spool.frames]
    if settings.enabled:
        _doubled_ids(case)
        _flat_or_small(case)
        if settings.duplicates:
            _duplicates(case)
        if settings.near_duplicates:
            _near_duplicates(case, spool)
    return [
        Verdict(reason, tuple(flags), case.details.get(row), case.joins.get(row))
        for row, (reason, flags) in enumerate(zip(case.reasons, case.flags, strict=True))
    ]


def _doubled_ids(case: _Case) -> None:
    """Only the first row of an id stays, unless the other was given to evaluation: then both do, under two names."""
    for row in case.alive():
        if "duplicate_id" in case.flags[row]:
            case.drop(row, "duplicate_id")


def _flat_or_small(case: _Case) -> None:
    for row in case.alive():
        frame = case.frames[row]
        if case.settings.too_small and min(frame.width or 0, frame.height or 0) < case.settings.min_side:
            case.drop(row, "too_small")
        elif case.settings.blank and (frame.spread or 0.0) < case.settings.blank_spread:
            case.drop(row, "blank")


def _duplicates(case: _Case) -> None:
    """Equal pixels: of one patient, only the first of each text stays; of two, all stay and say so.

    Where a source knows no patients, equal pictures are taken for one picture of one study, in one split.
    """
    seen: defaultdict[str | None, list[int]] = defaultdict(list)
    for row in case.alive():
        alike = seen[case.frames[row].pixel_hash]
        person = case.entry(row).person
        same = [other for other in alike if not case.patients_known or case.entry(other).person == person]
        if same and case.text(row) in {"", *map(case.text, same)}:
            case.drop(row, "duplicate", like=same[0])
        elif same:
            _other_text(case, row, same[0])
        elif alike:
            for one in (row, *alike):
                case.flags[one]["duplicate"] = None
        if case.reasons[row] is None:
            alike.append(row)


def _other_text(case: _Case, row: int, first: int) -> None:
    """A picture that is there already, with a text that is not: its row stays, in the split of the other."""
    one, other = case.entry(row), case.entry(first)
    if one.person != other.person and one.split != other.split and (one.given or other.given):
        case.drop(row, "duplicate_other_text", like=first)
        return
    case.flags[row]["duplicate_other_text"] = None
    if one.person != other.person or "StudyInstanceUID" not in one.keys:  # no study of its own that a source names
        case.joins[row] = case.frames[first].entry


def gathered(entries: Sequence[Entry], spool: Spool, verdicts: Sequence[Verdict]) -> list[Entry]:
    """The entries, those whose picture is another's in the study, the split and the person of that one."""
    found = list(entries)
    for frame, verdict in zip(spool.frames, verdicts, strict=True):
        if verdict.joins is not None:
            first = entries[verdict.joins]
            found[frame.entry] = found[frame.entry]._replace(
                study_id=first.study_id, patient_id=first.patient_id, person=first.person, split=first.split
            )
    return found


def _near_duplicates(case: _Case, spool: Spool) -> None:
    """Close perceptual hashes propose, correlation confirms; rows of one study are never near duplicates."""
    rows = [row for row in case.alive() if "blank" not in case.flags[row]]
    hashes = np.array([int(case.frames[row].phash or "0", 16) for row in rows], dtype=np.uint64)

    @functools.lru_cache(maxsize=2048)
    def small(row: int) -> np.ndarray:
        return _normal(images.view8(_open(spool.bytes(row)), case.frames[row].columns.get("modality"), grey=True))

    for first, second in close_pairs(hashes, case.settings.phash_bits):
        one, other = rows[first], rows[second]  # `one` comes first in `alive`
        if case.reasons[one] or case.reasons[other]:
            continue
        a, b = case.entry(one), case.entry(other)
        equal = case.frames[one].pixel_hash == case.frames[other].pixel_hash
        if equal or (a.study_id, a.person) == (b.study_id, b.person):
            continue
        if float(small(one) @ small(other)) < case.settings.correlation:
            continue
        if a.person == b.person and case.text(other) in ("", case.text(one)):
            case.drop(other, "near_duplicate", like=one)
        else:
            case.flags[one]["near_duplicate"] = case.flags[other]["near_duplicate"] = None


def close_pairs(hashes: np.ndarray, bits: int) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of 64-bit hashes [N] that differ in at most so many bits, in order.

    Of `bits + 1` bands at least one is equal in such a pair, so only rows that share a band are compared.

    >>> list(close_pairs(np.array([0, 7, 1 << 63], dtype=np.uint64), 1)), list(close_pairs(np.array([5, 5]), 0))
    ([(0, 2)], [(0, 1)])
    """
    hashes = hashes.astype(np.uint64)
    edges = np.linspace(0, 64, bits + 2).astype(int)
    found: set[tuple[int, int]] = set()
    for low, high in itertools.pairwise(edges):
        mask = (1 << int(high)) - (1 << int(low))
        band = hashes & np.uint64(mask)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.r_[True, band[order][1:] != band[order][:-1]])
        for start, end in zip(starts, np.r_[starts[1:], len(order)], strict=True):
            members = order[start:end]
            for place in range(len(members) - 1):
                rest = members[place + 1 :]
                near = np.bitwise_count(hashes[rest] ^ hashes[members[place]]) <= bits
                found.update((int(min(i, j)), int(max(i, j))) for i in members[place : place + 1] for j in rest[near])
    yield from sorted(found)


def _open(data: bytes) -> "images.Image.Image":
    from PIL import Image

    return Image.open(io.BytesIO(data))


def _normal(image: "images.Image.Image") -> np.ndarray:
    """[SIDE * SIDE] grey values with mean 0 and length 1, so that a product is a correlation."""
    from PIL import Image

    values = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32).ravel()
    values = values - values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)
