"""What two sides have in common: patients, studies, equal pictures, and pictures that are nearly equal.

Pure functions of `Side`; nothing here knows a file. Shape letters: N and M images, G groups of a side (its splits).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmssl.data import alike
from mmssl.data.merges import merge_map
from mmssl.overlap.facts import Facts, Numbers, Side

Rows = NDArray[np.int64]
What = Literal["patient", "study", "image", "near"]
BY_IDS: tuple[What, ...] = ("patient", "study")
ALL: tuple[What, ...] = (*BY_IDS, "image")
PLURAL: dict[What, str] = {"patient": "patients", "study": "studies", "image": "equal images", "near": "near images"}


class Common(NamedTuple):
    """Something that two groups share."""

    count: int
    """Patients or studies in both; of pictures, those of B."""
    a: Rows
    """The images of A it is about, by their places."""
    b: Rows


@dataclass(frozen=True)
class Cell:
    """A group of A against a group of B; what was not compared is not there."""

    a: str
    b: str
    found: dict[What, Common]


@dataclass(frozen=True)
class Found:
    """What two sides have in common, group by group."""

    cells: list[Cell]
    why_not: dict[What, str]
    """Why patients or studies could not be compared."""
    confirmed: bool
    """Whether near pictures were confirmed by their pixels; else they are candidates."""


class Near(NamedTuple):
    """Which images have a near one on the other side: one bit for each group there."""

    a: NDArray[np.uint8]  # [N]
    b: NDArray[np.uint8]  # [M]


def compare(a: Side, b: Side, *, near: Near | None = None, confirmed: bool = False, by_ids: bool = True) -> Found:
    """Every group of A against every group of B.

    Args:
        a: one side.
        b: the other.
        near: as `candidates` or `confirm.confirmed` finds it; None: not looked for.
        confirmed: which of the two it was.
        by_ids: False: images alone are compared.
    """
    a, b = _by_one_number(a, b)
    why_not = _why_not(a, b) if by_ids else dict.fromkeys(BY_IDS, "only images were asked for")
    shared: dict[What, tuple[Rows, Rows]] = {
        what: _shared(*_columns(a, what), *_columns(b, what)) for what in ALL if what not in why_not
    }
    cells = []
    for i, name_a in enumerate(a.groups):
        for j, name_b in enumerate(b.groups):
            found: dict[What, Common] = {}
            for what, (places_a, places_b) in shared.items():
                of_a, of_b = places_a[a.group[places_a] == i], places_b[b.group[places_b] == j]
                found[what] = _common(what, a, b, of_a, of_b)
            if near is not None:
                found["near"] = _near(a, b, near, (i, j), equal=found["image"])
            cells.append(Cell(name_a, name_b, found))
    return Found(cells, why_not, confirmed)


def _by_one_number(a: Side, b: Side) -> tuple[Side, Side]:
    """The sides, every patient who was merged on either of them under one number on both."""
    pairs = [(str(old), str(new)) for old, new in (*a.merged, *b.merged)]
    if not pairs:
        return a, b
    stands = merge_map(pairs).of
    old = np.array(sorted(int(one) for one in stands), np.uint64)
    new = np.array([int(stands[str(one)]) for one in old.tolist()], np.uint64)

    def renumbered(side: Side) -> Side:
        patient = side.facts.patient.copy()
        merged = _among(patient, old)
        patient[merged] = new[np.searchsorted(old, patient[merged])]
        return replace(side, facts=replace(side.facts, patient=patient))

    return renumbered(a), renumbered(b)


def _common(what: What, a: Side, b: Side, of_a: Rows, of_b: Rows) -> Common:
    """What some images of either side share, and which of them it is."""
    (ids_a, sites_a), (ids_b, sites_b) = _columns(a, what), _columns(b, what)
    inner_a, inner_b = _shared(ids_a[of_a], sites_a[of_a], ids_b[of_b], sites_b[of_b])
    count = len(inner_b) if what == "image" else len(np.unique(ids_a[of_a][inner_a]))
    return Common(count, of_a[inner_a], of_b[inner_b])


def _near(a: Side, b: Side, near: Near, groups: tuple[int, int], *, equal: Common) -> Common:
    """The near images of two groups that have no equal one there."""
    i, j = groups
    close_a = np.flatnonzero(_bit(near.a, j) & (a.group == i))
    close_b = np.flatnonzero(_bit(near.b, i) & (b.group == j))
    rest_a, rest_b = np.setdiff1d(close_a, equal.a), np.setdiff1d(close_b, equal.b)
    return Common(len(rest_b), rest_a, rest_b)


def _columns(side: Side, what: What) -> tuple[Numbers, Numbers]:
    """By what things of a kind are told again, and the sites that must not contradict it."""
    facts = side.facts
    if what == "image":
        return facts.pixels, np.zeros(len(facts), np.uint64)
    return (facts.patient if what == "patient" else facts.study), facts.site


def _why_not(a: Side, b: Side) -> dict[What, str]:
    """Why ids of two sides cannot be told to be the same; nothing where some can."""
    found: dict[What, str] = {}
    for what in BY_IDS:
        unknown = [str(side.path) for side in (a, b) if not _columns(side, what)[0].any()]
        if unknown:
            found[what] = f"the {PLURAL[what]} of {' and '.join(unknown)} are not known"
        elif not keys_of(a) & keys_of(b):
            found[what] = f"{a.path} has {said(a)}, {b.path} has {said(b)}"
    return found


def keys_of(side: Side) -> set[str]:
    return {one.key for one in side.ids}


def said(side: Side) -> str:
    """Of what kind the ids of a side are."""
    return " and ".join(dict.fromkeys(one.said for one in side.ids))


def _shared(a: Numbers, site_a: Numbers, b: Numbers, site_b: Numbers) -> tuple[Rows, Rows]:
    """Places in both sides of the numbers that both have, 0 apart; where both sites are known, they are the same."""
    common = np.intersect1d(a, b)
    common = common[common != 0]
    in_a, in_b = np.flatnonzero(_among(a, common)), np.flatnonzero(_among(b, common))
    if not (site_a[in_a].any() and site_b[in_b].any()):
        return in_a, in_b
    one, other = (a[in_a], site_a[in_a]), (b[in_b], site_b[in_b])
    return in_a[_has_partner(*one, *other)], in_b[_has_partner(*other, *one)]


def _among(values: Numbers, known: Numbers) -> NDArray[np.bool_]:
    """Which values are in `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return known[place] == values


def _has_partner(ids: Numbers, sites: Numbers, others: Numbers, other_sites: Numbers) -> NDArray[np.bool_]:
    """Which (id, site) have one with the same id at the same site, or at one that is not known, among the others."""
    pairs = np.stack([np.concatenate([ids, others]), np.concatenate([sites, other_sites])], axis=1)
    number = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()  # of each (id, site)
    same = np.isin(number[: len(ids)], number[len(ids) :])
    somewhere = np.unique(others[other_sites == 0])
    return np.where(sites == 0, _among(ids, np.unique(others)), same | _among(ids, somewhere))


def _bit(bits: NDArray[np.uint8], number: int) -> NDArray[np.bool_]:
    return (bits >> number & 1).astype(bool)


# ---- near pictures, by their perceptual hashes ---------------------------------------------------------------------


class Looks(NamedTuple):
    """The different perceptual hashes of one side, and who has them."""

    look: Numbers  # [L] sorted
    of: Rows  # [N] place in `look`; -1 where there is none
    groups: NDArray[np.uint8]  # [L] a bit for each group that has it


def looks_of(facts: Facts, group: NDArray[np.uint8]) -> Looks:
    known = facts.pixels != 0
    look, of = np.unique(facts.look[known], return_inverse=True)
    places = np.full(len(facts), -1)
    places[known] = of.ravel()
    groups = np.zeros(len(look), np.uint8)
    np.bitwise_or.at(groups, of.ravel(), np.uint8(1) << group[known])
    return Looks(look, places, groups)


def candidates(a: Side, b: Side, *, bits: int = alike.BITS) -> Near:
    """Images whose perceptual hashes are close; one that is equal in its pixels is close to the other as well."""
    ours, theirs = looks_of(a.facts, a.group), looks_of(b.facts, b.group)
    near_a, near_b = np.zeros(len(ours.look), np.uint8), np.zeros(len(theirs.look), np.uint8)
    for i, j in alike.close_pairs(ours.look, theirs.look, bits=bits):
        np.bitwise_or.at(near_a, i, theirs.groups[j])
        np.bitwise_or.at(near_b, j, ours.groups[i])
    return Near(_spread(near_a, ours.of), _spread(near_b, theirs.of))


def _spread(of_looks: NDArray[np.uint8], of: Rows) -> NDArray[np.uint8]:
    """From looks to the images that have them."""
    return np.append(of_looks, np.uint8(0))[of]


def close_rows(a: Side, b: Side, *, bits: int = alike.BITS) -> Iterator[tuple[int, Rows]]:
    """Images of A, each with those of B whose perceptual hashes are close and whose pixels are not equal."""
    ours, theirs = looks_of(a.facts, a.group), looks_of(b.facts, b.group)
    rows_a, rows_b = _rows_of(ours), _rows_of(theirs)
    for looks_a, looks_b in alike.close_pairs(ours.look, theirs.look, bits=bits):
        for one, other in zip(looks_a.tolist(), looks_b.tolist(), strict=True):
            for i in rows_a(one):  # thousands may look alike, and all of them with all would not fit into memory
                j = rows_b(other)
                j = j[b.facts.pixels[j] != a.facts.pixels[i]]
                if len(j):
                    yield int(i), j


def _rows_of(looks: Looks) -> Callable[[int], Rows]:
    """A function from a look's place to the images that have it."""
    order = np.argsort(looks.of, kind="stable")
    starts = np.searchsorted(looks.of[order], np.arange(len(looks.look) + 1))
    return lambda one: order[starts[one] : starts[one + 1]]
