"""Which defects a picture has, from its measures: reason codes for what is set aside, flags for what is said.

Each rule looks for one thing and is silent where it is not sure: what is set aside here trains nobody, and what is
missed is one picture in a million. What the rules can and cannot see stands at each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt, Le

from mmssl.data.kinds import Fit, Kind, Kinds, chest_turn, offset
from mmssl.data.measures import Measures

Share = Annotated[float, Ge(0), Le(1)]

REASONS: dict[str, str] = {
    "too_small": "a side has too few pixels",
    "constant": "all pixels have one value",
    "blank": "all pixels have nearly the same value, or there is nothing but noise",
    "document": "a page with lines of words",
    "screenshot": "a program's window, with bars, panels and words",
    "saturated": "nearly all pixels are black or white, as in a film exposed far too much, or a mask",
    "inverted": "in negative: bright where it should be dark",
    "wrong_modality": "not of the modality that is said: coloured, or like the pictures of another one",
    "wrong_body_part": "like the pictures of another part of the body, and not like those of the one that is said",
    "wrong_view": "like the pictures of another view, and not like those of the one that is said",
}
"""Why a picture is set aside; the first that holds is its reason."""

FLAGS: dict[str, str] = {
    "rotated": "lies on its side or on its head",
    "mirrored": "left and right seem to have changed places",
    "off_centre": "what is to be seen lies to one side, further than is usual in pictures of its kind",
}
"""What is said of a picture that stays."""

GREY = ("CR", "CT", "DX", "MG", "MR", "PX", "RF", "RG", "XA", "XR")
"""Modalities whose pictures have no colour of their own."""

DARK_AROUND = ("CR", "CT", "DX", "MG", "MR", "PX", "RG", "XR")
"""Modalities in which what lies beside the body is black."""


@dataclass(frozen=True)
class Quality:
    """Which defects of pictures are looked for, and from where on they are some."""

    too_small: bool = True
    constant: bool = True
    blank: bool = True
    document: bool = True
    screenshot: bool = True
    saturated: bool = True
    inverted: bool = True
    wrong_kind: bool = True
    """`wrong_modality`, `wrong_body_part` and `wrong_view`."""
    orientation: bool = True
    """`rotated` and `mirrored`."""
    off_centre: bool = True
    min_side: Annotated[int, Ge(1)] = 16
    """A picture with a side of fewer pixels is too small."""
    blank_spread: Annotated[float, Ge(0)] = 2.0
    """A picture whose grey values (of 255) have a standard deviation below this is blank ..."""
    blank_reach: Annotated[float, Ge(0)] = 4.0
    """... or where all but the darkest and brightest hundredth lie within so many grey values ..."""
    blank_grain: Annotated[float, Ge(-1), Le(1)] = 0.12
    """... and one whose neighbouring pixels, in a copy of 64 x 64, correlate less than this is noise."""
    page: Share = 0.6
    """A document has at least this share of its pixels near the grey of its paper ..."""
    page_lines: Annotated[int, Ge(1)] = 4
    """... at least so many lines of words ..."""
    page_strokes: Share = 0.045
    """... and at least this share of its pixels at a strong edge, as letters are."""
    panels: Share = 0.3
    """A screenshot has at least this share of its pixels in areas of one grey, neither black nor white ..."""
    straight: Annotated[int, Ge(1)] = 5
    """... at least so many straight edges across a quarter of it or more ..."""
    strokes: Share = 0.012
    """... and at least this share of its pixels at a strong edge, as letters are."""
    words_side: Annotated[int, Ge(1)] = 128
    """A picture with a side of fewer pixels can hold no words."""
    middle: Share = 0.05
    """A saturated picture has less than this share of its pixels between black and white."""
    negative_border: Annotated[float, Ge(0), Le(255)] = 160.0
    """A picture in negative has a border brighter than this, where pictures of its kind are not known."""
    colour: Share = 0.5
    """Share of coloured pixels from which a picture is none of a grey modality."""
    turned: Annotated[float, Gt(0), Le(1)] = 0.4
    """A picture is rotated or in negative where, put back, it is nearer to its kind by this factor (squared)."""
    other_kind: Annotated[float, Gt(0), Le(1)] = 0.3
    """A picture is of another kind where it is nearer to that by this factor (squared), and far from its own."""
    fits: Annotated[float, Gt(0)] = 1.25
    """How far from the other kind it may be, in units of what 95 of 100 pictures of that kind do not exceed."""
    astray: Share = 0.12
    """How far beyond what is usual in its kind a picture is off the centre, in shares of its sides ..."""
    astray_unknown: Share = 0.55
    """... and how far at all, where its kind is not known."""


class Judgement(NamedTuple):
    """What is wrong with a picture."""

    reason: str | None
    flags: tuple[str, ...]
    detail: str | None = None
    """The kind that it looks like, or how it was turned."""


def judge(measures: Measures, columns: Mapping[str, Any], settings: Quality, kinds: Kinds) -> Judgement:
    """The first reason to set a picture aside, and what else is to be said of it.

    Args:
        measures: of the picture.
        columns: what the header or the table says: modality, body_part, view.
        settings: which defects are looked for.
        kinds: what pictures look like here; `Kinds({})` where that is not known.
    """
    for reason in spoilt(measures, columns, settings):
        return Judgement(reason, ())
    fit = kinds.fit(columns, measures)
    turn = _turned(fit, settings) if fit else chest_turn(columns, measures)
    if settings.inverted and (turn == "inverted" or (fit is None and _is_negative(measures, columns, settings))):
        return Judgement("inverted", ())
    if settings.wrong_kind and turn is None and fit and (other := _other_kind(fit, settings)):
        return Judgement(_difference(fit.kind, other), (), " ".join(filter(None, other)))
    flags = []
    if settings.orientation and turn not in (None, "inverted"):
        flags.append("rotated")
    elif settings.orientation and fit and fit.mirror > 0 and fit.mirrored <= 1.5 * fit.usual:
        flags.append("mirrored")
    if settings.off_centre and not flags and _is_astray(measures, fit, settings):
        flags.append("off_centre")
    return Judgement(None, tuple(flags), turn)


def spoilt(measures: Measures, columns: Mapping[str, Any], settings: Quality) -> Iterator[str]:
    """Reasons that a picture alone gives; one that has none may stand as a reference for its kind."""
    legible = min(measures.width, measures.height) >= settings.words_side
    if settings.too_small and min(measures.width, measures.height) < settings.min_side:
        yield "too_small"
    if settings.constant and measures.is_constant:
        yield "constant"
    if settings.blank and _is_blank(measures, settings):
        yield "blank"
    if settings.document and legible and _is_page(measures, settings):
        yield "document"
    if settings.screenshot and legible and _is_window(measures, settings):
        yield "screenshot"
    if settings.saturated and 1 - measures.dark - measures.bright < settings.middle:
        yield "saturated"
    if settings.wrong_kind and columns.get("modality") in GREY and measures.colour >= settings.colour:
        yield "wrong_modality"


def _is_blank(measures: Measures, settings: Quality) -> bool:
    return (
        measures.spread < settings.blank_spread
        or measures.reach < settings.blank_reach
        or measures.grain < settings.blank_grain
    )


def _is_page(measures: Measures, settings: Quality) -> bool:
    return (
        measures.page >= settings.page
        and measures.lines >= settings.page_lines
        and measures.edges >= settings.page_strokes
    )


def _is_window(measures: Measures, settings: Quality) -> bool:
    return (
        measures.panels >= settings.panels
        and measures.straight >= settings.straight
        and measures.edges >= settings.strokes
    )


def _turned(fit: Fit, settings: Quality) -> str | None:
    """How a picture was turned: put back, it fits its kind as pictures of that kind do, and as it is it does not."""
    name = min(fit.turned, key=lambda one: fit.turned[one])
    distance = fit.turned[name]
    return name if distance <= 1.5 * fit.usual and distance < settings.turned * fit.own else None


def _is_negative(measures: Measures, columns: Mapping[str, Any], settings: Quality) -> bool:
    """Bright all around, and darker inside, without the straight edge that a collimator leaves.

    A film without air beside the body is not found so.
    """
    return (
        columns.get("modality") in DARK_AROUND
        and measures.border > settings.negative_border
        and measures.framed > 0.5
        and measures.inside < measures.border - 30
        and measures.shutters < 2
    )


def _other_kind(fit: Fit, settings: Quality) -> Kind | None:
    """The kind that a picture is of, where it fits that well and its own not at all."""
    if not fit.others:
        return None
    name = min(fit.others, key=lambda one: fit.others[one])
    own = fit.own / fit.usual
    return (
        name
        if fit.others[name] <= settings.fits and own > 1.2 and fit.others[name] < settings.other_kind * own
        else None
    )


def _difference(said: Kind, seen: Kind) -> str:
    """What of a header is wrong, the gravest first."""
    return "wrong_modality" if said[0] != seen[0] else "wrong_body_part" if said[1] != seen[1] else "wrong_view"


def _is_astray(measures: Measures, fit: Fit | None, settings: Quality) -> bool:
    if fit is not None:
        return fit.astray > settings.astray
    return max(map(abs, offset(measures))) > settings.astray_unknown
