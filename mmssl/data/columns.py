"""What each column of a store means, and what of a person it holds; `docs/hospital.md` shows it."""

from typing import NamedTuple


class Column(NamedTuple):
    """One column in words."""

    what: str
    person: str
    """What of a person it holds, in a store of DICOM files; empty where nothing."""


FREE_TEXT = "whatever the report says, names too"
PSEUDONYM = "a pseudonym; the key tells whose"

MEANING: dict[str, Column] = {
    "id": Column("the row's name, the same whenever it is prepared with the same key", PSEUDONYM),
    "image": Column(
        "the picture, after its window: grey 8-bit JPEG or PNG, CT and MR 16-bit PNG (manifest.json says which)",
        "what is burned into the pixels; a face in a head volume",
    ),
    "text": Column("what training reads: the wanted sections of the report, or nothing", FREE_TEXT),
    "text_from": Column("how the text was found: given, sections, whole ..., or why there is none", ""),
    "report": Column("the report as it was joined, whole", FREE_TEXT),
    "sections": Column("the report's sections, each with its name", FREE_TEXT),
    "sentences": Column("the sentences of `text`", FREE_TEXT),
    "needs_prior": Column("of each of these sentences, whether it speaks of a former picture", ""),
    "findings": Column(
        "what the report says of the chest is there or not, by name; null where it is of another part", "a diagnosis"
    ),
    "language": Column("of the report; unknown where it cannot be told", ""),
    "patient_id": Column("who, within a hospital (issuer or site)", PSEUDONYM),
    "study_id": Column("the examination", PSEUDONYM),
    "study_datetime": Column("when it was made, not shifted", "the real date"),
    "prior_study_id": Column("the patient's examination before, by date", PSEUDONYM),
    "modality": Column("CR, DX, CT, MR ...", ""),
    "body_part": Column("as the header has it", ""),
    "view": Column("PA, AP, LATERAL ..., or unknown; never guessed", ""),
    "laterality": Column("L or R, where the header says it", ""),
    "sex": Column("as the header or table has it", "as it says"),
    "age": Column("in years, when it was made", "as it says; over 89 it may single somebody out"),
    "ethnicity": Column("as the header or table has it", "as it says"),
    "site": Column("the institution's name", "where they were examined"),
    "scanner": Column("manufacturer and model", ""),
    "flags": Column("codes of what is odd about the row", ""),
    "split": Column("train, validation or test; a patient is in one", ""),
    "source_id": Column("the file or table row it came from; the line of sources.parquet", PSEUDONYM),
    "instance_id": Column("the DICOM object it came from", PSEUDONYM),
    "width": Column("of the stored picture", ""),
    "height": Column("of the stored picture", ""),
    "pixel_hash": Column("SHA-256 of the pixels: the same picture has the same", "who has the picture finds the row"),
    "phash": Column("64 bits that similar pictures share", "who has the picture finds the row"),
    "shown": Column("by which rule grey was made of a DICOM picture, with its numbers, as JSON", ""),
    "window_width": Column("how wide the window was, in the unit of the stored values", ""),
    "row_hash": Column("SHA-256 of the whole row", ""),
    "version": Column("the version of the store that brought the row, or changed it last", ""),
}
"""Every column that each store has, `mmssl.data.store.SCHEMA`; columns that come with a source are its own."""


def table(names: list[str]) -> str:
    """The columns as a Markdown table, in the order given.

    >>> print(table(["split"]))
    | column | what it holds | of a person |
    | --- | --- | --- |
    | `split` | train, validation or test; a patient is in one | nothing |
    """
    lines = [f"| `{name}` | {MEANING[name].what} | {MEANING[name].person or 'nothing'} |" for name in names]
    return "\n".join(["| column | what it holds | of a person |", "| --- | --- | --- |", *lines])
