"""What is wrong with a text: nothing said, too little, or outright another picture than the one it belongs to.

A contradiction is flagged only where both sides say it: the text names one side, one part of the body or one sex and
no other, and the columns say another. What a text leaves open, hedges, denies or compares with is no contradiction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge

from mmssl.data import reports

FLAGS: dict[str, str] = {
    "text_missing": "no text to train on",
    "text_placeholder": "the text was a placeholder and is not trained on; it is in `report`, or in `source_text` "
    "beside another report",
    "text_too_short": "the text has too few letters to say anything",
    "text_other_side": "the text names the other side of the body only",
    "text_other_sex": "the text speaks of a body of the other sex",
    "text_other_part": "the text names an examination of another part of the body",
}
"""Defects of a text; they never drop an image, unless `clean.text` is `drop`."""

PARTS: dict[str, tuple[str, ...]] = {
    "HEAD": ("brain", "head", "skull", "cranial"),
    "NECK": ("neck", "thyroid"),
    "CHEST": ("chest", "thorax", "lung", "lungs"),
    "BREAST": ("breast", "breasts", "mammogram", "mammography"),
    "ABDOMEN": ("abdomen", "abdominal"),
    "PELVIS": ("pelvis",),
    "CSPINE": ("cervical spine", "c-spine"),
    "TSPINE": ("thoracic spine", "t-spine"),
    "LSPINE": ("lumbar spine", "lumbosacral spine", "l-spine"),
    "SHOULDER": ("shoulder",),
    "ELBOW": ("elbow",),
    "WRIST": ("wrist",),
    "HAND": ("hand", "finger", "thumb"),
    "HIP": ("hip",),
    "KNEE": ("knee",),
    "ANKLE": ("ankle",),
    "FOOT": ("foot", "toe"),
}
"""Parts of the body as DICOM names them in BodyPartExamined, and the words for an examination of them."""

OVERLAP = (
    {"HEAD", "NECK", "CSPINE"},
    {"CHEST", "BREAST", "TSPINE", "ABDOMEN"},
    {"ABDOMEN", "PELVIS", "LSPINE", "HIP"},
    {"SHOULDER", "CHEST"},
    {"WRIST", "HAND", "ELBOW"},
    {"ANKLE", "FOOT", "KNEE"},
)
"""Parts that one picture may show together: none of a set contradicts another of it."""

SYNONYMS: dict[str, str] = {
    "BRAIN": "HEAD", "SKULL": "HEAD", "CRANIUM": "HEAD", "THORAX": "CHEST", "LUNG": "CHEST", "C SPINE": "CSPINE",
    "CERVICAL SPINE": "CSPINE", "T SPINE": "TSPINE", "THORACIC SPINE": "TSPINE", "L SPINE": "LSPINE",
    "LUMBAR SPINE": "LSPINE", "MAMMA": "BREAST", "FINGER": "HAND", "TOE": "FOOT",
}  # fmt: skip

PAIRED = ("SHOULDER", "ELBOW", "WRIST", "HAND", "HIP", "KNEE", "ANKLE", "FOOT", "BREAST")
"""Parts of which a picture shows one of two: only there does a side in the text say which picture it is."""

_IMAGING = (
    r"(?:x-?rays?|radiographs?|films?|ct|cta|mri|mra|mr|ultrasound|sonogram|scan|examination|series|study|views?)"
)
_LINK = r"(?:scan|images?|examination|study|of|the|a|an|left|right|both|bilateral|two|three|views?|and|lateral|pa|ap)"
_WOMAN = r"uterus|uterine|ovary|ovaries|ovarian|vaginal?|cervix uteri|myometri\w+|endometri\w+|adnexal?|pregnan\w+"
_MAN = r"prostate|prostatic|testis|testes|testicle|testicular|scrot\w+|seminal vesicles?|penis|penile|epididym\w+"
_OPEN = re.compile(
    r"\b(?:mother|father|family|relative|sister|brother|wife|husband|fetus|fetal"
    r"|surgically|status post|s/p|prior|previous|compared|comparison|history|transgender|cross-sex|donor)\b",
    re.IGNORECASE,
)
"""Words in a sentence after which it need not be of what the picture shows."""
_DENIED = re.compile(r"\b(?:no|not|without|absent|absence|denies|never)\b", re.IGNORECASE)
"""Words in a sentence after which an organ that it names may be missing."""


@dataclass(frozen=True)
class TextDefects:
    """Which defects of texts are looked for."""

    placeholder: bool = True
    contradictions: bool = True
    """The text names another side, sex or part of the body than the columns do."""
    min_letters: Annotated[int, Ge(0)] = 4
    """A text with fewer letters is too short; a single word may be a whole diagnosis."""


def text_flags(text: str | None, columns: Mapping[str, Any], settings: TextDefects) -> tuple[str, ...]:
    """What is wrong with the text of an image; empty where nothing is.

    >>> told = {"laterality": "R", "body_part": "KNEE"}
    >>> text_flags("Left knee: no fracture.", told, TextDefects()), text_flags("Knee: normal.", told, TextDefects())
    (('text_other_side',), ())

    Args:
        text: to train on.
        columns: laterality, sex, body_part of the image, where they are known.
        settings: which defects are looked for.
    """
    if not (text or "").strip():
        return ("text_missing",)
    assert text is not None
    if settings.placeholder and reports.is_placeholder(text):
        return ("text_placeholder",)
    if sum(map(str.isalpha, text)) < settings.min_letters:
        return ("text_too_short",)
    return tuple(_contradictions(text, columns)) if settings.contradictions else ()


def _contradictions(text: str, columns: Mapping[str, Any]) -> Iterator[str]:
    sentences = [sentence for sentence in re.split(r"(?<=[.!?;])\s+|\n+", text) if not _OPEN.search(sentence)]
    said = " \n ".join(sentences)
    part = _part(columns.get("body_part"))
    if _other_side(said, _side(columns.get("laterality")), part):
        yield "text_other_side"
    affirmed = " \n ".join(sentence for sentence in sentences if not _DENIED.search(sentence))
    if _other_sex(affirmed, str(columns.get("sex") or "").strip().upper()[:1]):
        yield "text_other_sex"
    if part and _other_part(said, part):
        yield "text_other_part"


def _part(value: Any) -> str | None:
    """A body part by DICOM's name, None where it is none that is known here.

    >>> _part("c-spine"), _part("Thorax"), _part("WHOLEBODY")
    ('CSPINE', 'CHEST', None)
    """
    name = re.sub(r"[\s_-]+", " ", str(value or "")).strip().upper()
    name = SYNONYMS.get(name, name.replace(" ", ""))
    return name if name in PARTS else None


def _side(value: Any) -> str | None:
    """`left` or `right`; None for both, unpaired or not known."""
    return {"L": "left", "LEFT": "left", "R": "right", "RIGHT": "right"}.get(str(value or "").strip().upper())


def _other_side(said: str, side: str | None, part: str | None) -> bool:
    """Whether the text names the part that the picture shows on the other side, and nowhere its own side."""
    if side is None or part not in PAIRED:
        return False
    other = "right" if side == "left" else "left"
    words = "|".join(map(re.escape, PARTS[part]))
    named = re.search(rf"\b{other} (?:{words})s?\b|\b(?:{words}),? {other}\b", said, re.IGNORECASE)
    return named is not None and not re.search(rf"\b(?:{side}|both|bilateral\w*|contralateral)\b", said, re.IGNORECASE)


def _other_sex(said: str, sex: str) -> bool:
    """Whether the text speaks of organs that bodies of the sex that is said do not have, and of none that they have."""
    if sex not in ("F", "M"):
        return False
    own, other = (_WOMAN, _MAN) if sex == "F" else (_MAN, _WOMAN)
    return bool(re.search(rf"\b(?:{other})\b", said, re.IGNORECASE)) and not re.search(
        rf"\b(?:{own})\b", said, re.IGNORECASE
    )


def _other_part(said: str, part: str) -> bool:
    """Whether the text calls itself an examination of another part ("knee MRI"), and the picture's is nowhere in it."""
    own = {part, *(name for group in OVERLAP if part in group for name in group)}
    if any(re.search(rf"\b{re.escape(word)}s?\b", said, re.IGNORECASE) for name in own for word in PARTS[name]):
        return False
    words = "|".join(re.escape(word) for name, words in PARTS.items() if name not in own for word in words)
    before = rf"\b(?:{words}) (?:{_LINK} )?{_IMAGING}\b"
    after = rf"\b{_IMAGING} (?:{_LINK} ){{1,4}}(?:{words})\b"
    return re.search(f"{before}|{after}", said, re.IGNORECASE) is not None
