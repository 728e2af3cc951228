"""From where a picture was taken, and of which side, as a header says it: never guessed.

A view is one of `VIEWS`, or another code of the header's own, or `unknown`. It comes from ViewPosition, else
ViewCodeSequence, else from the words that describe series and study, where these name one view and not two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from mmssl.data import dicom_values

if TYPE_CHECKING:
    from pydicom import Dataset

UNKNOWN = "unknown"

VIEWS: dict[str, str] = {
    "PA": "postero-anterior", "AP": "antero-posterior", "FRONTAL": "frontal, whichever way",
    "LATERAL": "lateral, whichever way", "LL": "left lateral", "RL": "right lateral",
    "OBLIQUE": "oblique", "LAO": "left anterior oblique", "RAO": "right anterior oblique",
    "LPO": "left posterior oblique", "RPO": "right posterior oblique",
    "CC": "cranio-caudal", "MLO": "medio-lateral oblique", "ML": "medio-lateral", "LM": "latero-medial",
    "LMO": "latero-medial oblique", "XCCL": "cranio-caudal exaggerated laterally",
    "XCCM": "cranio-caudal exaggerated medially", "FB": "caudo-cranial", "SIO": "superolateral to inferomedial oblique",
    "ISO": "inferomedial to superolateral oblique", "AXIAL": "axial", "SPECIMEN": "tissue specimen",
}  # fmt: skip
"""Views under one name each, with what it means."""

_SAME = {
    "LAT": "LATERAL", "LATERO-LATERAL": "LATERAL", "LATEROLATERAL": "LATERAL", "LLAT": "LL", "RLAT": "RL",
    "LEFT LATERAL": "LL", "RIGHT LATERAL": "RL", "L LAT": "LL", "R LAT": "RL", "POSTERO-ANTERIOR": "PA",
    "POSTEROANTERIOR": "PA", "POSTERO_ANTERIOR": "PA", "ANTERO-POSTERIOR": "AP", "ANTEROPOSTERIOR": "AP",
    "ANTERO_POSTERIOR": "AP", "TS": "SPECIMEN",
}  # fmt: skip
"""Other ways of writing them in ViewPosition."""

_NOT_SAID = ("UNKNOWN", "NONE", "OTHER", "OT", "NA", "N/A", "U", "UNDEFINED", "UNSPECIFIED", "DEFAULT", "FREE")

CODES: dict[str, dict[str, str]] = {
    "SCT": {
        "272479007": "PA", "399348003": "AP", "399033003": "FRONTAL", "399067008": "LATERAL", "399173006": "LL",
        "399198007": "RL", "399182000": "OBLIQUE", "399135007": "LAO", "399356000": "RAO", "399006002": "LPO",
        "399038007": "RPO", "399162004": "CC", "399368009": "MLO", "399260004": "ML", "399352003": "LM",
        "399099002": "LMO", "399192008": "XCCL", "399101009": "XCCM", "399196006": "FB", "399188001": "SIO",
        "441555000": "ISO", "399061009": "AXIAL", "119376003": "SPECIMEN", "127457009": "SPECIMEN",
    },
    "SRT": {
        "R-40888": "PA", "R-10206": "AP", "R-10202": "FRONTAL", "R-102CD": "LATERAL", "R-10236": "LL",
        "R-10232": "RL", "R-102C1": "OBLIQUE", "R-10220": "LAO", "R-40985": "RAO", "R-10212": "LPO",
        "R-10210": "RPO", "R-10242": "CC", "R-10226": "MLO", "R-10224": "ML", "R-10228": "LM",
        "R-10230": "LMO", "R-1024A": "XCCL", "R-1024B": "XCCM", "R-10244": "FB", "R-102D0": "SIO",
        "R-40AAA": "ISO", "R-10241": "AXIAL", "G-8300": "SPECIMEN", "G-8310": "SPECIMEN",
    },
}  # fmt: skip
"""Codes of PS3.16 CID 4010 (DX View) and CID 4014 (View for Mammography) -> view, as pydicom 3.0.2 has them in
`pydicom.sr` (SNOMED CT, and the SNOMED RT codes of older files). `SNM3` and `99SDM` are older names of SRT."""

_SCHEMES = {"SCT": "SCT", "SRT": "SRT", "SNM3": "SRT", "99SDM": "SRT"}

From = Literal["position", "code", "series", "study"]

_PROJECTIONS = ("DX", "CR", "DR", "RG", "MG", "IO", "PX", "XA", "RF", "OT", "SC", None)
"""Modalities in which such words name a view; in CT, AP is abdomen and pelvis."""

_WORDS = {
    "PA": "PA", "AP": "AP", "FRONTAL": "FRONTAL", "LAT": "LATERAL", "LATERAL": "LATERAL",
    "POSTEROANTERIOR": "PA", "ANTEROPOSTERIOR": "AP",
}  # fmt: skip
_CHEST_WORDS = {"LL": "LL", "RL": "RL"}  # elsewhere, lower left and lower limb
_BREAST_WORDS = {name: name for name in ("CC", "MLO", "ML", "LM", "LMO", "XCCL", "XCCM")}
_CHEST = ("CHEST", "THORAX", "TORAX", "LUNG", "LUNGS")
_DECUBITUS = re.compile(r"DECUB|RECUMB")

_DESCRIPTIONS: tuple[tuple[str, From], ...] = (
    ("SeriesDescription", "series"),
    ("ProtocolName", "series"),
    ("AcquisitionDeviceProcessingDescription", "series"),
    ("StudyDescription", "study"),
)

TAGS = ("ViewPosition", "ViewCodeSequence", *(keyword for keyword, _ in _DESCRIPTIONS))

_SIDES = {
    "L": "L", "LEFT": "L", "R": "R", "RIGHT": "R", "B": "B", "BOTH": "B", "BILATERAL": "B", "U": "U", "UNPAIRED": "U",
}  # fmt: skip


def view(dataset: Dataset) -> tuple[str, From | None]:
    """The view, and what told it; (`unknown`, None) where nothing does, or two things are named."""
    if found := normal(dicom_values.text(dataset, "ViewPosition")):
        return found, "position"
    if found := _coded(dataset):
        return found, "code"
    modality = dicom_values.text(dataset, "Modality")
    for keyword, told in _DESCRIPTIONS if modality in _PROJECTIONS else ():
        named = in_words(dicom_values.text(dataset, keyword) or "", modality)
        if named:
            return (named.pop(), told) if len(named) == 1 else (UNKNOWN, None)
    return UNKNOWN, None


def normal(code: str | None) -> str | None:
    """A value of ViewPosition under its one name; other codes in capitals as they are; None where it says nothing.

    >>> normal("lat"), normal("Left Lateral"), normal("XTABLE LATERAL"), normal("unknown")
    ('LATERAL', 'LL', 'XTABLE LATERAL', None)
    """
    code = " ".join((code or "").upper().split())
    if not re.fullmatch(r"[A-Z0-9 _/-]{1,16}", code) or code in _NOT_SAID or not re.search("[A-Z]", code):
        return None
    return _SAME.get(code, code)


def in_words(text: str, modality: str | None = None) -> set[str]:
    """The views that a description names; {`unknown`} where it names a position of the patient that looks like one.

    >>> sorted(in_words("Chest PA and lateral")), in_words("CHEST A/P PORTABLE"), in_words("R MLO", "MG")
    (['LATERAL', 'PA'], set(), {'MLO'})
    """
    text = text.upper()
    words = re.split(r"[^A-Z]+", text.replace("POSTERO-ANT", "POSTEROANT").replace("ANTERO-POST", "ANTEROPOST"))
    known = dict(_WORDS)
    if modality == "MG":
        known = {**_BREAST_WORDS, **{side + name: name for side in "LR" for name in ("CC", "MLO")}}
    elif any(word in _CHEST for word in words):
        known |= _CHEST_WORDS
    found = {known[word] for word in words if word in known}
    return {UNKNOWN} if "LATERAL" in found and _DECUBITUS.search(text) else found


def laterality(dataset: Dataset) -> str | None:
    """L, R, B (both) or U (unpaired), by ImageLaterality, then Laterality."""
    for keyword in ("ImageLaterality", "Laterality"):
        if side := side_of(dicom_values.text(dataset, keyword)):
            return side
    return None


def side_of(code: str | None) -> str | None:
    """A side under its one letter; None where none is meant.

    >>> side_of("Left"), side_of("U"), side_of("?")
    ('L', 'U', None)
    """
    return _SIDES.get((code or "").upper())


def _coded(dataset: Dataset) -> str | None:
    found = set()
    for item in dicom_values.items(dataset, "ViewCodeSequence"):
        scheme = _SCHEMES.get((dicom_values.text(item, "CodingSchemeDesignator") or "").upper(), "")
        found.add(CODES.get(scheme, {}).get(dicom_values.text(item, "CodeValue") or "", None))
    return found.pop() if len(found) == 1 else None
