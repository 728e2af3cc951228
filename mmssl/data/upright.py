"""How a picture is put upright where its header says outright that it is not: by PatientOrientation alone.

PatientOrientation (0020,0020), PS3.3 C.7.6.1.1.1, says towards which side of the patient the rows and the columns of
the pixels run. FieldOfViewRotation and FieldOfViewHorizontalFlip (PS3.3 C.8.11.4) say what the detector did before the
pixels were stored, which PatientOrientation, if it is there, takes into account: they are no reason to turn anything.
EXIF is heeded where image files are opened (`images.open_image`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

FRONTAL = ("AP", "PA")
LATERAL = ("LL", "RL", "LATERAL")

_FRONTAL = {
    ("R", "F"): "FLIP_LEFT_RIGHT",
    ("L", "H"): "FLIP_TOP_BOTTOM",
    ("R", "H"): "ROTATE_180",
    ("F", "L"): "TRANSPOSE",
    ("F", "R"): "ROTATE_270",
    ("H", "L"): "ROTATE_90",
    ("H", "R"): "TRANSVERSE",
}
"""(towards which side rows run, and columns): what is to be done."""


def turn_of(orientation: Sequence[str] | None, view: str | None) -> str | None:
    """What puts a film upright: the name of a `PIL.Image.Transpose`, None where it is upright or that is not sure.

    A frontal film is upright with the patient's left at the right and the feet below; a lateral one with the feet
    below, whichever way the patient looks, so it is never flipped from left to right.

    >>> turn_of(["L", "F"], "PA"), turn_of(["R", "F"], "PA"), turn_of(["F", "R"], "PA"), turn_of(["A", "F"], "LL")
    (None, 'FLIP_LEFT_RIGHT', 'ROTATE_270', None)

    Args:
        orientation: PatientOrientation, two values; of each the first letter is its chief direction.
        view: ViewPosition; of any other view than frontal and lateral nothing is said.
    """
    if orientation is None or len(orientation) != 2:
        return None
    rows, columns = (str(value).strip().upper()[:1] for value in orientation)
    if view in FRONTAL:
        return _FRONTAL.get((rows, columns))
    if view in LATERAL and rows in ("A", "P"):
        return "ROTATE_180" if columns == "H" else None
    if view in LATERAL and columns in ("A", "P"):
        return {"F": "ROTATE_270", "H": "ROTATE_90"}.get(rows)
    return None


def turned(image: Image.Image, turn: str | None) -> Image.Image:
    """The picture, transposed as `turn_of` says; itself for None."""
    from PIL import Image

    return image if turn is None else image.transpose(Image.Transpose[turn])
