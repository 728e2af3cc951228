"""How far a word reaches: a sentence cut where lists, clauses and asides begin, and the reach of a cue over the cuts.

After ConText (Harkema et al. 2009): a cue before its findings reaches to the end of its clause, a cue after them back
to its beginning. What a clause is, is told here by rules: commas and "and" join the items of a list ("no effusion,
edema and nodule"), unless a verb ("and the heart is enlarged"), a cue ("and possible edema") or an adjective of what is
seen (", small effusion") begins something new.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Literal, NamedTuple

from mmssl.data.tokens import Mark, Tokens

Join = Literal["start", "stop", "there", "with", "or", "and", "comma", "slash", "colon", "opens"]

_STRENGTH: tuple[Join, ...] = ("stop", "there", "with", "or", "and", "slash", "colon", "comma", "opens")
_STOPS = (";", "(", ")", "[", "]", ".", "..", "...", "\u2026")
_COLONS = ("\u2013", "\u2014", "--", ":")
_MARKS: dict[str, Join] = {
    **dict[str, Join].fromkeys(_STOPS, "stop"),
    **dict[str, Join].fromkeys(_COLONS, "colon"),
    ",": "comma",
    "/": "slash",
}


_KINDS: tuple[Join, ...] = ("stop", "with", "and", "or")
"""Joins that are lists of a language, too."""


class Segment(NamedTuple):
    """A run of tokens that no cut divides."""

    start: int
    end: int
    join: Join
    """How it is joined to the one before."""
    verb: bool
    """Whether it has a verb, or says in short what a verb would ("heart normal")."""
    clause: bool
    """Whether its verb makes it a clause of its own: any but one that only says that a thing is seen."""
    affirming: bool
    """Whether it begins with what only something seen has."""
    cued: bool
    """Whether it begins with a cue of its own."""
    full: bool
    """Whether a finding, or a thing of which something is said, is named in it."""


class Clauses:
    """The segments of a sentence, and which of them a cue reaches."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.segments = list(_segments(tokens))
        self._starts = [segment.start for segment in self.segments]

    def place(self, token: int) -> int:
        """The number of the segment that a token is in; that after a cut, for the cut itself."""
        return max(bisect.bisect_right(self._starts, token) - 1, 0)

    def reach(self, cue: Mark) -> tuple[int, int]:
        """The tokens (first, one after the last) that a cue is about."""
        assertion, place = cue.value
        here = self.place(cue.start)
        if place == "anywhere":
            return self._around(here)
        if place == "old":
            return cue.end, self.segments[here].end
        return self._forward(cue, here, assertion) if place == "before" else self._back(cue, here)

    def _around(self, here: int) -> tuple[int, int]:
        """The whole clause of a cue, with its lists and asides."""
        apart = [one.join in ("stop", "there") or (one.clause and one.join != "with") for one in self.segments]
        first = last = here
        while first and not apart[first]:
            first -= 1
        while last + 1 < len(self.segments) and not apart[last + 1]:
            last += 1
        return self.segments[first].start, self.segments[last].end

    def _forward(self, cue: Mark, here: int, assertion: str) -> tuple[int, int]:
        first = last = self.place(cue.end - 1)
        for number in range(last + 1, len(self.segments)):
            bare = number == first + 1 and self._is_bare(cue.end, self.segments[number - 1].end)
            if not self._passes(number, assertion, bare=bare):
                break
            last = number
        return cue.end, self.segments[last].end

    def _is_bare(self, start: int, end: int) -> bool:
        """Whether nothing but fillers and commas stands in some tokens."""
        filled = {token for mark in self.tokens.of("fillers") for token in range(mark.start, mark.end)}
        return all(token in filled or self.tokens.words[token] in _MARKS for token in range(start, end))

    def _passes(self, number: int, assertion: str, *, bare: bool) -> bool:
        """Whether a cue before reaches into a segment from the one before it; `bare`: nothing stands between."""
        segment = self.segments[number]
        wide = assertion in ("hypothetical", "other_person")
        if bare and segment.join in ("comma", "colon", "there", "with"):
            return True
        match segment.join:
            case "there" | "with" | "opens":
                return wide
            case "or" | "slash":
                return not segment.clause
            case "and":
                return not (segment.clause or segment.affirming or segment.cued)
            case "comma":
                return not segment.clause and (self._closes(number) or not (segment.affirming or segment.cued))
            case _:
                return False

    def _closes(self, number: int) -> bool:
        """Whether an item after a comma belongs to a list that an "or" closes."""
        for segment in self.segments[number + 1 :]:
            if segment.clause or segment.join not in ("comma", "or", "slash"):
                return False
            if segment.join == "or":
                return True
        return False

    def _back(self, cue: Mark, here: int) -> tuple[int, int]:
        """Back to the subject of what is said: over a list that "and" or "or" closes, never past another verb."""
        first = here
        one = any(mark.start == cue.start for mark in self.tokens.of("singular"))
        alone = not self._named(self.segments[here].start, cue.start)
        closed = self.segments[here].join in ("or", "slash") or (self.segments[here].join == "and" and not one)
        while first:
            join, former = self.segments[first].join, self.segments[first - 1]
            if former.verb or join not in ("and", "or", "slash", "comma") or not (alone or closed):
                break
            first -= 1
            alone = alone and not former.full
        return self.segments[first].start, cue.start

    def _named(self, start: int, end: int) -> bool:
        return any(start <= mark.start < end for mark in self.tokens.of("finding", "opposite", "thing"))


def _segments(tokens: Tokens) -> Iterator[Segment]:
    cuts = _cuts(tokens)
    start, join = 0, "start"
    for first, last, next_join in [*cuts, (len(tokens.words), len(tokens.words), "stop")]:
        if first > start or join == "start":
            yield _segment(tokens, start, first, join)
            start, join = last, next_join
        else:  # two cuts side by side: ", and"
            strongest = min((join, next_join), key=lambda one: _STRENGTH.index(one))
            start, join = last, strongest


def _cuts(tokens: Tokens) -> list[tuple[int, int, Join]]:
    """(start, end, join) of what divides a sentence, in order; none within a phrase."""
    whole = [mark for mark in tokens.of("finding", "opposite", "except", "thing", "state", "cue", "ignored", "no_side")]
    inside = {token for mark in whole for token in range(mark.start, mark.end) if mark.end - mark.start > 1}
    cuts: list[tuple[int, int, Join]] = []
    there = {mark.start for mark in tokens.of("there")}
    for kind in _KINDS:
        for mark in tokens.of(kind):
            cuts.append((mark.start, mark.end, "there" if mark.start in there else kind))
    for mark in tokens.of("opens"):
        cuts.append((mark.start, mark.start, "opens"))
    for place, word in enumerate(tokens.words):
        if word in _MARKS:
            cuts.append((place, place + 1, _MARKS[word]))
        elif word == "-" and tokens.spaced[place]:
            cuts.append((place, place + 1, "colon"))
    kept: list[tuple[int, int, Join]] = []
    for cut in sorted(cuts, key=lambda cut: (cut[0], -cut[1])):
        if cut[0] not in inside and (not kept or cut[0] >= kept[-1][1]):
            kept.append(cut)
    return kept


def _segment(tokens: Tokens, start: int, end: int, join: Join) -> Segment:
    def here(*kinds: str) -> list[Mark]:
        return [mark for mark in tokens.of(*kinds) if start <= mark.start < end]

    said = bool(here("state")) and bool(here("thing"))
    infinitives = {mark.end for mark in here("infinitive")}
    verbs = [mark for mark in here("verbs") if mark.start not in infinitives]
    seen = {mark.start for mark in here("seen")}
    clause = said or any(not seen & set(range(verb.end, min(verb.end + 4, end))) for verb in verbs)
    articles = {mark.start for mark in here("articles")}
    content = next((token for token in range(start, end) if token not in articles), start)
    return Segment(
        start, end, join,
        verb=said or bool(verbs), clause=clause,
        affirming=any(mark.start == content for mark in here("affirming")),
        cued=any(mark.start == content and mark.value[1] in ("before", "old") for mark in here("cue")),
        full=bool(here("finding", "opposite", "thing")),
    )  # fmt: skip
