"""What `mmssl prepare` can be told beside its options, as key=value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from mmssl import config
from mmssl.data.contradictions import TextDefects
from mmssl.data.intensity import Intensity
from mmssl.data.patients import Patients
from mmssl.data.quality import Quality
from mmssl.data.split_rules import Splits

Key = Literal["AccessionNumber", "StudyInstanceUID", "PatientID"]


@dataclass(frozen=True)
class Text:
    sections: tuple[str, ...] = ("findings", "impression")
    """The sections of a report that are trained on, in this order."""

    otherwise: tuple[str, ...] = ()
    """Where a report has none of them, the first of these that it has; `whole` is all of it."""
    findings: Path | None = None
    """A YAML table of findings of one's own, with names, phrases and codes."""
    languages: Path | None = None
    """A folder of languages of one's own, a folder each."""

    def __post_init__(self) -> None:
        from mmssl.data import reports

        if unknown := [name for name in self.sections if name not in reports.SECTIONS] or not self.sections:
            raise ValueError(
                f"sections={list(self.sections)}: {unknown or 'none'} unknown; {', '.join(reports.SECTIONS)}"
            )


@dataclass(frozen=True)
class Join:
    """How reports and labels find their images."""

    key: Key | None = None
    """The key to use for reports and labels; else the most particular one that matches anything."""
    reports: Key | None = None
    """The key of the reports, where theirs is another ..."""
    labels: Key | None = None
    """... and of the labels."""
    columns: dict[Key, str] = field(default_factory=dict)
    """The column of a table that holds a key, where it has another name: join.columns.PatientID=MRN."""
    text: str | None = None
    """The column with the report, where it is not called report or text."""
    status: str | None = None
    """The column that says whether a report is preliminary, final, an addendum or corrected ..."""
    time: str | None = None
    """... the one that says when it was issued ..."""
    date: str | None = None
    """... and the one with the day of the examination, where they have other names."""
    days: Annotated[int, Ge(0)] = 0
    """Between a report's day and its study's, at most, where it names the patient alone."""
    layout: Literal["table", "text", "openi", "hl7", "fhir"] | None = None
    """Kind of the source of reports, unless recognised."""


@dataclass(frozen=True)
class Cleaning:
    """Which rows are dropped or flagged; `clean=off` switches off all but what cannot be read."""

    enabled: bool = True
    evaluation: Literal["flag", "drop"] = "flag"
    """What happens to rows that were given to validation or test."""
    duplicates: bool = True
    near_duplicates: bool = True
    text: bool | Literal["drop"] = True
    """Empty a text that has a defect; `drop` drops its picture too."""
    pictures: Quality = field(default_factory=Quality)
    """Which defects of pictures are looked for."""
    texts: TextDefects = field(default_factory=TextDefects)
    """Which defects of texts are looked for."""
    phash_bits: Annotated[int, Ge(0), Le(16)] = 4
    """Near duplicates differ in at most so many of the 64 bits of their perceptual hashes ..."""
    correlation: Annotated[float, Gt(0), Le(1)] = 0.99
    """... and their 128-pixel pictures correlate at least so much ..."""
    agreement: Annotated[float, Gt(0), Le(1)] = 0.98
    """... and so much four fifths of their parts."""


@dataclass(frozen=True)
class Limits:
    """What decoding one input may take; beyond it, the input is rejected and the job goes on."""

    seconds: Annotated[float, Gt(0)] = 180.0
    """Then it is rejected as decoder_timeout."""
    memory_gib: Annotated[float, Gt(0)] = 4.0
    """Of each process; an input that needs more is rejected as too_large."""


@dataclass(frozen=True)
class Prepare:
    """How a source becomes a store."""

    columns: dict[str, str] = field(default_factory=dict)
    """What a column of the source means: columns.text=caption."""
    source: dict[str, Any] = field(default_factory=dict)
    """Options of the source, as its file in mmssl/sources has them: source.encoding=latin-1."""
    split: Literal["train", "validation", "test"] | None = None
    """Put the whole source into one split."""
    splits: Splits = field(default_factory=Splits)
    patients: Patients = field(default_factory=Patients)
    text: Text = field(default_factory=Text)
    join: Join = field(default_factory=Join)
    clean: Cleaning = field(default_factory=Cleaning)
    ids: Literal["auto", "given", "keyed"] = "auto"
    """`keyed`: ids are pseudonyms; `auto`: for DICOM only."""
    key: Path | None = None
    """File with the secret of the pseudonyms; else STORE.key, which is made."""
    intensity: Intensity = field(default_factory=Intensity)
    """What is kept of the numbers in a picture, and how large it is."""
    encoding: str | None = None
    """Of all tables that are text; UTF-8 if left out."""
    separator: str | None = None
    """Between the cells of all .csv and .tsv; a comma or a tab if left out."""
    limits: Limits = field(default_factory=Limits)
    workers: Annotated[int, Ge(1)] | None = None
    """Processes that decode; one for each core if left out."""

    def __post_init__(self) -> None:
        if self.separator is not None and len(self.separator) != 1:
            raise ValueError(f"separator={self.separator!r}: it is one character, say ;")


SAME = ("workers", "key", "limits")
"""Settings that do not change what is in a store (another key does, and is known by its own name)."""


def read(options: Mapping[str, Any], overrides: list[str]) -> Prepare:
    """Settings from Python's options and the command line's key=value, all mistakes at once.

    >>> read({}, ["clean=off", "clean.evaluation=drop"]).clean.enabled
    False
    """
    tree: dict[str, Any] = {}
    for name, value in options.items():
        *groups, last = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[last] = value
    if isinstance(tree.get("clean"), bool | str):
        tree["clean"] = {"enabled": tree["clean"]}
    words = [f"clean.enabled={word[6:]}" if word.startswith("clean=") else word for word in overrides]
    return config.load(tree, words, Prepare)


def told(settings: Prepare) -> dict[str, Any]:
    """The settings that decide what a store holds, as plain values for its manifest."""
    return {name: value for name, value in config.plain(settings).items() if name not in SAME}
