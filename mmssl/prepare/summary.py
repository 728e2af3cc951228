"""What a user is told of a store that was just made: counts that add up, and what to know before hours of compute."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmssl import console
from mmssl.prepare import join
from mmssl.prepare.names import beside
from mmssl.prepare.settings import Prepare

WITH_TEXT = {
    "given": "as the source gives it",
    "sections": "from sections of the report, by headings",
    "whole": "the whole text, without headings",
    "otherwise": "from another section, as text.otherwise has it",
}
WITHOUT_TEXT = {
    "no_section": "a report with headings, none of them wanted",
    "placeholder": "a placeholder",
    "defect": "a text with another defect, which the flags name",
    "empty": "no text or report",
}
"""How rows came to their text or have none, as `text` of the manifest counts it, in words; each row is in one."""

DECIDE = {
    "patient": "splits.validation and splits.test",
    "time": "splits.test_from and splits.validation_from",
    "site": "splits.test_sites and splits.validation_sites",
}
"""The settings that bring rows into a split, by what splits are made by."""

MOST_COLUMNS = 40
"""Columns that a remark names at most."""

CAPTIONS = (
    "caption", "captions", "description", "findings", "impression", "reporttext", "radiologyreport", "sentence",
    "sentences", "title", "comment", "raw", "abstract",
)  # fmt: skip
"""What a column with texts may be called (case, `_` and spaces apart), likeliest first."""


@dataclass(frozen=True)
class Summary:
    """What a store holds after `prepare`."""

    path: Path
    rows: int
    counts: dict[str, Any] = field(default_factory=dict)
    skipped: bool = False
    """True: nothing of the source was new to the store."""


@dataclass(frozen=True)
class Told:
    """What is known of a source beside what became of it."""

    patients_known: bool
    half_known: int
    """PatientIDs that occur both with and without a site or issuer."""
    from_train: int
    """Patients that were given to train and drawn for validation."""
    dropped: Sequence[str]
    """Columns that are not in the store, because they hold keys."""
    table_columns: Sequence[str]
    is_dicom: bool
    unchanged: int
    """Inputs that the store held already."""
    of_splits: Sequence[str] = ()
    """What is to be said of who came into which split."""


def remarks(written: Mapping[str, Any], settings: Prepare, source: Told) -> list[str]:
    """What a user should know before hours of compute."""
    found = []
    counts, splits = written["counts"], written["splits"]
    if not source.patients_known:
        said = "the source names no patients: splits are by study or row, so patients may cross splits"
        found.append(said + _which_column(source.table_columns, "patient_id", "if one of its columns names them, say"))
    if counts["patient_missing"]:
        where = "train only" if settings.splits.by == "patient" else f"train unless its {settings.splits.by} is kept"
        found.append(f"{counts['patient_missing']} inputs name no patient: each study is its own, in {where}")
    found += source.of_splits
    if source.from_train:
        whose = "patients" if source.patients_known else "studies"
        found.append(
            f"the source gives no validation split: {source.from_train} {whose} that it gives to train are in "
            "validation (splits.validation=0 leaves all in train)"
        )
    if several := written["flags"].get("duplicate_other_text"):
        found.append(f"{several} rows have a picture that is there already, and another text: both are kept")
    if source.half_known:
        found.append(
            f"{source.half_known} patient ids occur both with and without a site or issuer: they count as different "
            "patients, in the same split unless one was given"
        )
    if source.dropped:
        found.append(f"ids are pseudonyms, so columns with keys are not in the store: {', '.join(source.dropped)}")
    empty = [split for split, told in splits.items() if not told["rows"]]
    if empty and settings.split is None:
        found.append(f"no row is in {' and '.join(empty)}; see {DECIDE[settings.splits.by]}")
    if not written["text"]["rows_with_text"]:
        where = _where_texts_are(source.table_columns, is_dicom=source.is_dicom)
        found.append(f"no row has a text: objectives on images alone can learn from this store{where}")
    if settings.clean.enabled and settings.clean.evaluation == "drop":
        found.append("clean.evaluation=drop: rows given to validation and test were dropped like others")
    return found


def _which_column(columns: Sequence[str], meaning: str, words: str, likely: str = "NAME") -> str:
    """What to say where a column could have the meaning that none has."""
    there = [*columns[:MOST_COLUMNS], *(["..."] if len(columns) > MOST_COLUMNS else [])]
    return f"; {words} columns.{meaning}={likely} (there are {', '.join(there)})" if columns else ""


def _where_texts_are(columns: Sequence[str], *, is_dicom: bool) -> str:
    """How a source of this kind comes to its texts."""
    if is_dicom:
        return "; texts come from a table of reports: --reports FILE"
    if not columns:
        return "; a table metadata.csv beside the images, with the columns file_name and text, brings texts"
    plain = {re.sub(r"[\s_-]", "", column).lower(): column for column in reversed(columns)}
    likely = next((plain[name] for name in CAPTIONS if name in plain), "NAME")
    return _which_column(columns, "text", "if one of its columns has them, say", likely)


def show(store: Path, manifest: Mapping[str, Any], rejected: Mapping[str, str]) -> None:
    counts, known = manifest["counts"], manifest["patients_known"]
    console.table(
        "rows",
        ["split", "rows", "patients"],
        [
            *([split, told["rows"], told["patients"] if known else None] for split, told in manifest["splits"].items()),
            ["all", counts["rows"], counts["patients"] if known else None],
        ],
    )
    reasons = Counter(counts["reasons"]).most_common()
    changes = manifest["history"][-1]
    told = [
        *_of_version(manifest["version"], changes),
        ["inputs", counts["inputs"]],
        ["  kept", counts["kept"]],
        *([f"  rejected: {why}", number] for why, number in reasons),
        ["rows", counts["rows"]],
        *texts(manifest),
        *([f"rows flagged {flag}", number] for flag, number in manifest["flags"].items()),
    ]
    console.table("what became of the source", ["", "number"], told)
    for why, names in rejected.items():
        console.say(f"rejected as {why}: {names}")
    if rejected:
        private = "" if manifest["ids"] == "given" else f"; {beside(store, 'sources.private')} has their files"
        console.say(f"all that was rejected is in {store / 'rejected.parquet'}{private}")
    for what in ("reports", "labels"):
        if what in manifest:
            _show_join(what, manifest[what])
    for remark in manifest["remarks"]:
        console.say(f"note: {remark}")
    console.say(f"{store} is there: {counts['rows']} rows; look at {store / 'preview.html'} before you train")


def _of_version(version: int, changes: Mapping[str, Any]) -> list[list[Any]]:
    """What a version after the first changed."""
    if version == 1:
        return []
    kinds = {"new": "new rows", "replaced": "rows replaced or removed", "unchanged": "rows that came to the same"}
    return [[f"version {version}: {words}", changes[name]] for name, words in kinds.items()]


def texts(manifest: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Rows with and without a text, and how these came about, so that the numbers add up."""
    told, rows = manifest["text"], manifest["counts"]["rows"]
    found = []
    for title, number, kinds in (
        ("  with text", told["rows_with_text"], WITH_TEXT),
        ("  without text", rows - told["rows_with_text"], WITHOUT_TEXT),
    ):
        found.append((title, number))
        found += [(f"    {words}", told[how]) for how, words in kinds.items() if how in told]
    return found


def _show_join(what: str, told: Mapping[str, Any]) -> None:
    sides = ("lines", "studies", "images")
    states = dict.fromkeys(state for side in sides for state in told[side])
    rows = [[state, *(told[side].get(state, 0) for side in sides)] for state in states]
    console.table(f"{what} joined by {told['key']}", ["", f"lines of {told['file']}", *sides[1:]], rows)
    for column, keys in told.get("disagree", {}).items():
        console.say(f"{column} is left out for {keys} studies: lines with the same report disagree on it")
    for why in join.whys(told):
        whose = "studies without a report" if why.side == "studies" else f"lines {why.side}"
        console.say(f"{why.number} {whose}: {why.meaning}")
