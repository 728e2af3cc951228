"""Our pictures of DICOM files against dcmtk's and gdcm's: stored values exactly, grey and colour within 1 level."""

import warnings
from typing import NamedTuple

import numpy as np
import pydicom
import pydicom.config

from mmssl.data import dicom, dicom_frames, images, intensity
from mmssl.errors import Unreadable
from tests import dicom_oracle
from tests.dicom_oracle import CannotSay

LEVELS = 1
"""Levels that a shown value may differ by: both sides round ..."""

CHROMA_LEVELS = 2
"""... dcmtk twice where chroma becomes colour, and is then up to 2 levels from the standard's formula, ours 1."""


class Verdict(NamedTuple):
    what: str
    """`stored values` or `picture`."""
    said: str
    """equal | close (within LEVELS) | differs | no picture | refused by both | refused by us | not read by them."""
    why: str = ""

    @property
    def is_good(self):
        return self.said not in ("differs", "refused by us")


def compare(path, folder):
    """Verdicts on one file; programs write into `folder`."""
    try:
        made = dicom.pixels(path)
    except Unreadable as error:
        if error.reason in ("not_an_image", "not_dicom"):
            return [Verdict("stored values", "no picture", error.reason)]
        try:
            dicom_oracle.stored(path, folder)
        except CannotSay:
            return [Verdict("stored values", "refused by both", error.reason)]
        return [Verdict("stored values", "refused by us", error.reason)]
    values = _stored(path, len(made))
    try:
        stored = _equal(values, _either(path, folder))
    except CannotSay as error:
        stored = Verdict("stored values", "not read by them", str(error))
    return [stored, *(_picture(path, folder, frame, one, values[frame]) for frame, one in enumerate(made))]


def _either(path, folder):
    """Stored values by the program of the transfer syntax, or by gdcm where that gives up."""
    try:
        return dicom_oracle.stored(path, folder)
    except CannotSay:
        return dicom_oracle.stored(path, folder, "gdcmconv")


def _stored(path, frames):
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    with warnings.catch_warnings(action="ignore"):
        dataset = pydicom.dcmread(path, force=True)
    return [values for values, _ in dicom_frames.decode(dataset, list(range(frames)))]


def _equal(ours, theirs):
    if ours[0].dtype.kind == "f":
        return Verdict("stored values", "not read by them", "floats")
    if np.shape(ours) != theirs.shape:
        return Verdict("stored values", "differs", f"shape {np.shape(ours)}, {theirs.shape}")
    apart = np.abs(np.stack(ours).astype(np.int64) - theirs)
    if not apart.any():
        return Verdict("stored values", "equal")
    return Verdict("stored values", "differs", f"{(apart > 0).mean():.2%} of the values, by {apart.max()} at most")


def _picture(path, folder, frame, made, values):
    """What dcmtk draws with the window that our rule used; what we keep as a measurement, as we show it."""
    shown, grey = made.shown, made.image
    if shown.rule in ("hounsfield", "stored_values"):
        return _measured(path, folder, frame, made, values)
    options = []
    if shown.rule in ("window", "percentiles"):
        if shown.function == "LINEAR_EXACT":
            return Verdict("picture", "not read by them", "dcmtk has no LINEAR_EXACT")
        half = (shown.high - shown.low + (shown.function != "SIGMOID")) / 2
        options = ["+Ww", repr(shown.low + half), repr(2 * half), "+Wfs" if shown.function == "SIGMOID" else "+Wfl"]
    elif shown.rule == "voi_lut":
        options = ["+Wl", shown.number]
    elif grey.mode == "L" and set(np.unique(values)) <= {0, 1}:
        options = ["+Wm"]  # else dcmtk shows a 1 as 127
    return _close(path, folder, frame, np.asarray(grey), options)


def _measured(path, folder, frame, made, values):
    if made.shown.rule == "stored_values":
        slope, intercept = images.standardise(made.image, short_side=1 << 16).scale or (1, 0)
        same = np.array_equal(np.asarray(made.image) * slope + intercept, values)
        return Verdict("picture", "equal" if same else "differs", "stored values, as they are")
    low, high = intensity.INTENSITY["hu_window"]
    center, width = (low + high + 1) / 2, high - low + 1
    return _close(path, folder, frame, np.asarray(images.view8(made.image, "CT")), ["+Ww", center, width, "+Wfl"])


def _close(path, folder, frame, ours, options):
    try:
        theirs = dicom_oracle.shown(path, folder, *options, frame=frame)
    except CannotSay as error:
        return Verdict("picture", "not read by them", str(error))
    if ours.shape != theirs.shape:
        return Verdict("picture", "differs", f"shape {ours.shape}, {theirs.shape}")
    apart = np.abs(ours.astype(np.int64) - theirs)
    most = apart.max()
    levels = CHROMA_LEVELS if ours.ndim == 3 and dicom_oracle.header(path)["photometric"].startswith("YBR") else LEVELS
    said = "equal" if not most else "close" if most <= levels else "differs"
    return Verdict(
        "picture", said, f"{(apart > LEVELS).mean():.2%} of the values, by {most} at most" if most > 1 else ""
    )
