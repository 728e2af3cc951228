"""One frontal image of each study, by a rule that needs no look at the picture."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

UNKNOWN = ("", "UNKNOWN")
"""Words that say nothing of a view."""


class Chosen(NamedTuple):
    """Which rows stand for their study, and what became of all others."""

    places: list[int]
    """Rows, in the order of their keys."""
    views: dict[str, int]
    """How many were chosen with which view."""
    images_left: dict[str, int]
    """Rows that were not chosen, by reason; with the chosen ones they are all."""
    studies_left: dict[str, int]
    """Studies without a chosen row, by reason; with the chosen ones they are all."""


def one_each(
    studies: Sequence[str], views: Sequence[str | None], keys: Sequence[Any], *, order: Sequence[str]
) -> Chosen:
    """The row of each study whose view comes first in `order`, and among equals the one with the lowest key.

    Args:
        studies: of each row.
        views: of each row; capitals do not matter.
        keys: of each row, different from one another and comparable.
        order: the frontal views, in the order in which they are taken.

    >>> chosen = one_each(["a", "a", "b"], ["AP", "pa", "LATERAL"], [1, 2, 3], order=["PA", "AP"])
    >>> chosen.places, chosen.images_left["another frontal image of the study"], chosen.studies_left["no frontal view"]
    ([1], 1, 1)
    """
    seen = [(view or "").strip().upper() for view in views]
    rank = {view.upper(): i for i, view in enumerate(order)}
    of_study: defaultdict[str, list[int]] = defaultdict(list)
    for place, study in enumerate(studies):
        of_study[study].append(place)
    places, studies_left = [], Counter({"no frontal view": 0, "view not known": 0})
    for those in of_study.values():
        if frontal := [place for place in those if seen[place] in rank]:
            places.append(min(frontal, key=lambda place: (rank[seen[place]], keys[place])))
        else:
            unsure = any(seen[place] in UNKNOWN for place in those)
            studies_left["view not known" if unsure else "no frontal view"] += 1
    taken = set(places)
    images_left = Counter({"another frontal image of the study": 0, "not frontal": 0, "view not known": 0})
    for place, view in enumerate(seen):
        if place not in taken:
            reason = "view not known" if view in UNKNOWN else "not frontal"
            images_left["another frontal image of the study" if view in rank else reason] += 1
    places.sort(key=lambda place: keys[place])
    return Chosen(places, dict(Counter(seen[place] for place in places)), dict(images_left), dict(studies_left))
