"""What pictures of one kind look like, learnt from those at hand: so that one of another kind, on its side, turned over
or in negative can be told from the small pictures alone.

A kind is what a header says: modality, body part, view. Of each a few hundred pictures are kept while pixels are
decoded (`References`), and a normal distribution over their small pictures says how well one fits (`Kinds`). With
embeddings of a checkpoint in place of small pictures the same distances say more; nothing here depends on which it is.
Letters: N pictures, D values of one, K kinds, S pixels of the side of a thumb.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mmssl.data.measures import THUMB, Measures

if TYPE_CHECKING:
    import numpy as np

Kind = tuple[str, str, str]
"""Modality, body part, view; empty where the header does not say."""

ENOUGH = 60
"""Pictures without which nothing is said of a kind."""
MOST = 1000
"""Pictures of a kind that are looked at."""
MOST_KINDS = 64

FILMS = ("CR", "DX", "RG", "XR")
"""Modalities that are one: films, whatever takes them."""

_SIDE = THUMB // 2
_SHRINK = 0.2  # of the covariance towards a sphere: there are fewer pictures than values
_TRIM = 0.8  # share of the references that the second fit keeps, so that spoilt ones among them do not count


LOPSIDED = ("ABDOMEN", "CHEST", "CHESTABDPELVIS", "CHESTABDOMEN", "LUNG", "THORAX")
"""Parts of the body whose left is unlike their right."""


def kind_of(columns: Mapping[str, Any]) -> Kind | None:
    """What the header says; None where it names no part of the body: all that is left would look too different.

    AP and PA are one view, because a picture alone does not tell them apart.

    >>> kind_of({"modality": "CR", "body_part": "chest", "view": "AP"}), kind_of({"modality": "CT"})
    (('DX', 'CHEST', 'FRONTAL'), None)
    """
    modality, part, view = (str(columns.get(name) or "").strip().upper() for name in ("modality", "body_part", "view"))
    view = "" if view == "UNKNOWN" else "FRONTAL" if view in ("AP", "PA") else view
    return ("DX" if modality in FILMS else modality, part, view) if modality and part else None


class References:
    """A sample of every kind, chosen by hash, so that it does not depend on the order in which pictures come."""

    def __init__(self) -> None:
        self._heaps: dict[Kind, list[tuple[int, bytes, float, float]]] = {}
        self._counts: dict[Kind, int] = {}

    def add(self, columns: Mapping[str, Any], measures: Measures, key: str) -> None:
        """Takes a picture into account that shows no defect by itself; `key` is its pixel hash (hexadecimal)."""
        kind = kind_of(columns)
        if kind is None:
            return
        self._counts[kind] = self._counts.get(kind, 0) + 1
        across, down = offset(measures)
        heap = self._heaps.setdefault(kind, [])
        one = (-int(key[:15], 16), measures.thumb, across, down)
        if len(heap) < MOST:
            heapq.heappush(heap, one)
        elif one > heap[0]:
            heapq.heapreplace(heap, one)

    def kinds(self) -> Kinds:
        """What they look like, of each kind that has enough."""
        found = sorted(self._counts, key=lambda kind: (-self._counts[kind], kind))
        large = [kind for kind in found if len(self._heaps[kind]) >= ENOUGH][:MOST_KINDS]
        return Kinds({kind: _fit(kind, sorted(self._heaps[kind])) for kind in large})


class Look(NamedTuple):
    """How the pictures of one kind look."""

    mean: np.ndarray
    """[D]"""
    precision: np.ndarray
    """[D, D] inverse of the shrunk covariance."""
    usual: float
    """Squared distance that about 95 of 100 do not exceed."""
    offsets: tuple[float, float, float, float]
    """Least and greatest offset, across and down, of 99 of 100."""
    mirror: np.ndarray | None
    """[D] weights that tell a picture from its mirror image; None where they cannot."""
    mirror_cut: float


class Fit(NamedTuple):
    """How a picture fits its own kind and others; squared distances, 0 is perfect."""

    kind: Kind
    own: float
    usual: float
    """What 95 of 100 of its kind do not exceed."""
    turned: dict[str, float]
    """The same picture put back from `rotated_90` ... `inverted`, against its own kind."""
    others: dict[Kind, float]
    """Against the other kinds, in units of what 95 of 100 of these do not exceed."""
    mirror: float
    """Above 0: rather its mirror image, where its kind tells ..."""
    mirrored: float
    """... and the squared distance of that from its own kind."""
    astray: float
    """How far it is off the centre, beyond what is usual in its kind."""


class Kinds:
    """Says how a picture fits its kind."""

    def __init__(self, looks: Mapping[Kind, Look]) -> None:
        self.looks = dict(looks)

    def fit(self, columns: Mapping[str, Any], measures: Measures) -> Fit | None:
        """None where nothing is known of the picture's kind."""
        kind = kind_of(columns)
        look = self.looks.get(kind) if kind else None
        if kind is None or look is None:
            return None
        thumb = _thumb(measures.thumb)
        others = {
            name: _distance(_vectors(thumb), other) / other.usual for name, other in self.looks.items() if name != kind
        }
        turned = {name: _distance(_vectors(back(thumb)), look) for name, back in TURNS.items()}
        mirror = float(_sides(thumb) @ look.mirror) + look.mirror_cut if look.mirror is not None else -1.0
        return Fit(
            kind=kind,
            own=_distance(_vectors(thumb), look),
            usual=look.usual,
            turned=turned,
            others=others,
            mirror=mirror,
            mirrored=_distance(_vectors(thumb[:, ::-1]), look),
            astray=_astray(measures, look),
        )


_CHEST = """
0000256666520000 00138aaaaaa83100 0148aaabbaaa8410 469ba88bb88ab964 6abb867bb768bba6 5aba658bb856aba5 28a8557bb7558a82
1797557bb7557971 1696668bb8666961 1686679bb9766861 168679abba976861 16879abccba97861 169abccccccba961 16accccddcccca61
17bccccddccccb71 1589999999999851
"""
"""The mean of made-up frontal chest films, [16, 16] hexadecimal digits: dark lungs, bright between and below them."""
_CLEAR, _ALIKE = 0.2, 0.45  # correlations with it: by how much better a turned film fits, and how well at least


def chest_turn(columns: Mapping[str, Any], measures: Measures) -> str | None:
    """How a frontal chest film was turned (one of `TURNS`), where too few are at hand to learn from.

    By its likeness to a mean of made-up films, so only what is plain: of 600 real films of 64 pixels none was touched
    as it was, and five in six were found once they had been turned or made negative.
    """
    import numpy as np

    kind = kind_of(columns)
    if kind not in (("DX", "CHEST", "FRONTAL"), ("DX", "CHEST", "")):
        return None
    chest = np.array([int(digit, 16) for digit in "".join(_CHEST.split())], dtype=np.float64)
    chest -= chest.mean()
    chest /= np.linalg.norm(chest)
    thumb = _thumb(measures.thumb)
    own = float(_vectors(thumb) @ chest)
    alike = {name: float(_vectors(back(thumb)) @ chest) for name, back in TURNS.items()}
    name = max(alike, key=lambda one: alike[one])
    return name if alike[name] > max(own + _CLEAR, _ALIKE) else None


def offset(measures: Measures) -> tuple[float, float]:
    """How far what is to be seen lies off the middle, across and down, from -1 to 1."""
    return measures.left + measures.right - 1, measures.top + measures.bottom - 1


def _turn(times: int) -> Callable[[Any], Any]:
    def back(thumb: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.rot90(thumb, times, (-2, -1))

    return back


TURNS: dict[str, Callable[[Any], Any]] = {
    "rotated_90": _turn(1),
    "rotated_180": _turn(2),
    "rotated_270": _turn(3),
    "inverted": lambda thumb: -thumb,
}
"""What puts a picture back that was turned clockwise by so many degrees, or is in negative."""


def _thumb(data: bytes) -> np.ndarray:
    """[S, S] grey values around 0."""
    import numpy as np

    return np.frombuffer(data, np.uint8).reshape(THUMB, THUMB).astype(np.float64) - 127.5


def _vectors(thumbs: np.ndarray) -> np.ndarray:
    """[..., D] of mean 0 and length 1, of thumbs [..., S, S]: exposure makes no difference."""
    import numpy as np

    values = thumbs.reshape(*thumbs.shape[:-2], _SIDE, 2, _SIDE, 2).mean((-3, -1))
    values = values.reshape(*thumbs.shape[:-2], -1)
    values = values - values.mean(-1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-6)


def _distance(vector: np.ndarray, look: Look) -> float:
    away = vector - look.mean
    return float(away @ look.precision @ away)


def _fit(kind: Kind, references: Sequence[tuple[int, bytes, float, float]]) -> Look:
    import numpy as np

    thumbs = np.stack([_thumb(one[1]) for one in references])  # [N, S, S]
    vectors, turned = _vectors(thumbs), [_vectors(back(thumbs)) for back in TURNS.values()]
    kept, upright = _trimmed(vectors, turned)
    distances = _away(vectors, kept)
    low, high = np.percentile(np.array([one[2:] for one in references])[kept], [0.5, 99.5], axis=0)
    offsets = float(low[0]), float(high[0]), float(low[1]), float(high[1])
    # three medians are as far as 95 of 100 sound pictures go, and spoilt ones do not change a median much; where most
    # are more alike than that, nine tenths
    usual = max(3 * float(np.median(distances)), float(np.percentile(distances, 90)))
    sound = np.flatnonzero(upright & (distances < 2 * usual))
    mirror, cut = _mirror(np.stack([_sides(thumbs[place]) for place in sound])) if kind[1] in LOPSIDED else (None, 0.0)
    return Look(*_normal(vectors[kept]), usual, offsets, mirror, cut)


def _trimmed(vectors: np.ndarray, turned: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(places of those that fit best, [N] whether each fits better as it is than turned).

    Fitted three times, each time without those that fitted worst, or better when they are turned: so spoilt ones among
    the references do not count.
    """
    import numpy as np

    kept, upright = np.arange(len(vectors)), np.ones(len(vectors), dtype=bool)
    for _ in range(3):
        normal = _normal(vectors[kept])
        distances = _distances(vectors, *normal)
        upright = np.min([_distances(one, *normal) for one in turned], axis=0) >= distances
        order = np.argsort(np.where(upright, distances, np.inf), kind="stable")
        kept = np.sort(order[: int(_TRIM * len(vectors))])
    return kept, upright


def _normal(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, precision) of vectors [N, D]."""
    import numpy as np

    mean = vectors.mean(0)
    covariance = np.cov((vectors - mean).T)
    size = len(mean)
    level = max(float(np.trace(covariance)) / size, 1e-9)
    covariance = (1 - _SHRINK) * covariance + _SHRINK * level * np.eye(size)
    return mean, np.linalg.inv(covariance)


def _away(vectors: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """[N] how far each is from a kind that was fitted without it, by five-fold trial: as one that comes later."""
    import numpy as np

    distances = np.empty(len(vectors))
    for part in range(5):
        out = np.arange(len(vectors)) % 5 == part
        distances[out] = _distances(vectors[out], *_normal(vectors[kept[~out[kept]]]))
    return distances


def _distances(vectors: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    import numpy as np

    away = vectors - mean
    return np.einsum("ij,ij->i", away @ precision, away)


def _astray(measures: Measures, look: Look) -> float:
    across, down = offset(measures)
    left, right, top, bottom = look.offsets
    return max(left - across, across - right, top - down, down - bottom)


# ---- left and right ------------------------------------------------------------------------------------------------


def _sides(thumb: np.ndarray) -> np.ndarray:
    """[D] by how much the left half is brighter than the right one, about the line where they are most alike."""
    import numpy as np

    ranks = thumb.ravel().argsort(kind="stable").argsort(kind="stable").reshape(thumb.shape) / thumb.size - 0.5
    reach = THUMB // 6
    best, found = -2.0, ranks
    for shift in range(-reach, reach + 1):
        part = ranks[:, max(0, shift) : THUMB + min(0, shift)]
        level = part - part.mean()
        alike = float((level * level[:, ::-1]).sum() / max(float((level * level).sum()), 1e-9))
        if alike > best:
            best, found = alike, part
    places = np.linspace(0, found.shape[1] - 1, THUMB)
    low = np.minimum(places.astype(int), found.shape[1] - 2)
    wide = found[:, low] + (places - low) * (found[:, low + 1] - found[:, low])
    return (wide - wide[:, ::-1])[:, : THUMB // 2].ravel()


def _mirror(sides: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Weights by which pictures [N, D] differ from their mirror images, and what is added so that those exceed 0.

    The score of a picture and of its mirror image differ in sign alone. The cut is where, by five-fold trial, one sound
    picture in 160 is called mirrored (by the median and its spread, which the mirrored ones among them do not change);
    where fewer than 8 of 10 mirror images would be found there, nothing is said.
    """
    import numpy as np

    scores, cut = np.zeros(len(sides)), 0.0
    for _ in range(3):  # those below the cut are left out: weights would learn by heart that they are sound
        kept = scores >= cut
        for part in range(5):
            away = np.arange(len(sides)) % 5 == part
            scores[away] = sides[away] @ _weights(sides[kept & ~away])
        middle = float(np.median(scores))
        cut = min(middle - 2.5 * 1.4826 * float(np.median(np.abs(scores - middle))), 0.0)
    if (scores > -cut).mean() < 0.8:
        return None, 0.0
    return -_weights(sides[scores >= cut]), cut


def _weights(sides: np.ndarray) -> np.ndarray:
    """[D] of length 1."""
    import numpy as np

    mean, covariance = sides.mean(0), np.cov(sides.T)
    size = len(mean)
    covariance = 0.9 * covariance + 0.1 * float(np.trace(covariance)) / size * np.eye(size)
    weights = np.linalg.solve(covariance, mean)
    return weights / max(float(np.linalg.norm(weights)), 1e-12)
