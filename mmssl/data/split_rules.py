"""Splits by time and by site, beside those drawn by a hash: a patient as a whole is kept for one purpose.

Nothing is decided by what is not there: a patient of whom no study has a date, or a site, stops the job, or goes where
the settings say such patients go.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Le

from mmssl.data.splits import PROTECTED, Split, split_of
from mmssl.errors import WrongUse, many, meant

Share = Annotated[float, Ge(0), Le(1)]
DRAWN_TEST = 0.1
KNOWN_SHOWN = 20


@dataclass(frozen=True)
class Splits:
    """Who is trained on, and who is kept: by a hash of who they are, by time, or by site."""

    by: Literal["patient", "time", "site"] = "patient"
    """`time`: the newest are kept; `site`: whole sites are."""
    validation: Share = 0.1
    """Share of patients; for `time` and `site` of those who would be trained on, unless validation is named too."""
    test: Share = DRAWN_TEST
    """Share of patients, for `patient` alone."""
    test_from: date | None = None
    """For `time`: patients with a study on this day or later are test ..."""
    validation_from: date | None = None
    """... and of the others those with one on this day or later are validation."""
    decided_by: Literal["last", "first"] = "last"
    """Which study of a patient decides: by the last, nothing is trained on that was made from that day on."""
    test_sites: tuple[str, ...] = ()
    """For `site`: all who were ever seen there are test ..."""
    validation_sites: tuple[str, ...] = ()
    """... and of the others, those who were seen there are validation."""
    unknown: Literal["stop", "train", "validation", "test"] = "stop"
    """Where patients go of whom no date, or no site, is known."""

    def __post_init__(self) -> None:
        problems = [*self._of_shares(), *self._of_time(), *self._of_sites()]
        if problems:
            raise ValueError("; ".join(problems))

    def _of_shares(self) -> list[str]:
        found = []
        if self.by == "patient" and self.validation + self.test > 1:
            found.append(f"validation={self.validation:g} and test={self.test:g} are more than all patients")
        if self.by != "patient" and self.test != DRAWN_TEST:
            found.append(f"test={self.test:g} is for by=patient; by={self.by} says who is test by dates or sites")
        if self.by == "patient" and self.unknown != "stop":
            found.append(f"unknown={self.unknown} is for by=time and by=site; by=patient needs neither date nor site")
        return found

    def _of_time(self) -> list[str]:
        given = {"test_from": self.test_from, "validation_from": self.validation_from}
        named = [f"{name}={value}" for name, value in given.items() if value is not None]
        if self.by != "time":
            stray = [*named, *(["decided_by=first"] if self.decided_by == "first" else [])]
            return [f"{' and '.join(stray)} only with by=time, this is by={self.by}"] if stray else []
        if not named:
            return ["by=time needs test_from=YYYY-MM-DD, validation_from=YYYY-MM-DD, or both"]
        if self.test_from and self.validation_from and self.validation_from >= self.test_from:
            return [f"{' and '.join(named)}: validation comes before test"]
        return []

    def _of_sites(self) -> list[str]:
        given = {"test_sites": self.test_sites, "validation_sites": self.validation_sites}
        named = [f"{name}={list(value)}" for name, value in given.items() if value]
        if self.by != "site":
            return [f"{' and '.join(named)} only with by=site, this is by={self.by}"] if named else []
        if not named:
            return ["by=site needs test_sites=[NAME, ...], validation_sites=[NAME, ...], or both"]
        twice = sorted({_plain(one) for one in self.test_sites} & {_plain(one) for one in self.validation_sites})
        return [f"{', '.join(twice)}: in test_sites and in validation_sites"] if twice else []


class Fact(NamedTuple):
    """What the split of a study may depend on."""

    person: str
    """Who it is of: (issuer or site, PatientID) in one text."""
    drawn_by: str
    """What a share is drawn by, and time is decided for: PatientID alone, whoever gave it out."""
    date: date | None
    """Of the study; a datetime will do."""
    site: str | None


@dataclass(frozen=True)
class Assigned:
    """Who is in which split, and what has to be said about it."""

    rule: Splits
    split: Mapping[str, Split] = field(default_factory=dict)
    """By `drawn_by` for time, by `person` for sites; empty where shares alone decide."""
    remarks: tuple[str, ...] = ()

    def of(self, fact: Fact) -> Split:
        """The split of a study."""
        rule = self.rule
        if rule.by == "patient":
            return split_of(fact.drawn_by, validation=rule.validation, test=rule.test)
        found = self.split[fact.drawn_by if rule.by == "time" else fact.person]
        named = rule.validation_from if rule.by == "time" else rule.validation_sites
        if found == "train" and not named:
            return split_of(fact.drawn_by, validation=rule.validation, test=0.0)
        return found


def assign(facts: Iterable[Fact], rule: Splits, *, grows: bool = False) -> Assigned:
    """The splits of all studies, seen once, one after the other; some 300 bytes are held for each patient.

    Args:
        facts: of each study.
        rule: who is kept for what.
        grows: these come onto a store that is there: test or training need have nobody new.

    Raises:
        WrongUse: with all that is wrong: sites that there are not, nobody in test or to train on, and patients of whom
            nothing is known that decides.
    """
    if rule.by == "patient":
        return Assigned(rule)
    return _by_time(facts, rule, grows) if rule.by == "time" else _by_site(facts, rule, grows)


# ---- by time -------------------------------------------------------------------------------------------------------


@dataclass
class _Times:
    """What is held of one patient."""

    decides: date | None = None
    earlier: int = 0
    """Studies before the first day that is kept for test or validation."""
    undated: int = 0


def _by_time(facts: Iterable[Fact], rule: Splits, grows: bool) -> Assigned:
    later = max if rule.decided_by == "last" else min
    first_day = min(day for day in (rule.test_from, rule.validation_from) if day)
    people: dict[str, _Times] = {}
    span: list[date] = []
    for fact in facts:
        one = people.setdefault(fact.drawn_by, _Times())
        if fact.date is None:
            one.undated += 1
            continue
        day = fact.date.date() if isinstance(fact.date, datetime) else fact.date
        one.decides = day if one.decides is None else later(one.decides, day)
        one.earlier += day < first_day
        span = [min(span[0], day), max(span[1], day)] if span else [day, day]
    unknown = sum(one.decides is None for one in people.values())
    found: dict[str, Split] = {name: _of_day(one.decides, rule) for name, one in people.items()}
    problems = _unknown_stop(unknown, "no study has a date", rule)
    if span and not grows:
        problems += _empty(found.values(), rule, f"studies are from {span[0]} to {span[1]}")
    if problems:
        raise WrongUse(many("splits.by=time", problems))
    kept = [one for name, one in people.items() if found[name] != "train" and one.decides is not None]
    earlier = sum(one.earlier for one in kept)
    partly = sum(one.undated > 0 and one.decides is not None for one in people.values())
    remarks = [
        f"{sum(one.earlier > 0 for one in kept)} patients kept for evaluation have {earlier} studies from before "
        f"{first_day} too, which went with them"
        if earlier
        else "",
        f"{partly} patients have studies without a date; their other studies decided" if partly else "",
        _unknown_remark(unknown, "studies without a date alone", rule),
    ]
    return Assigned(rule, found, tuple(one for one in remarks if one))


def _of_day(day: date | None, rule: Splits) -> Split:
    if day is None:
        return "train" if rule.unknown == "stop" else rule.unknown
    if rule.test_from and day >= rule.test_from:
        return "test"
    return "validation" if rule.validation_from and day >= rule.validation_from else "train"


# ---- by site -------------------------------------------------------------------------------------------------------


def _by_site(facts: Iterable[Fact], rule: Splits, grows: bool) -> Assigned:
    kept: dict[str, Split] = {_plain(site): "validation" for site in rule.validation_sites}
    kept |= {_plain(site): "test" for site in rule.test_sites}
    people: dict[
        str, int
    ] = {}  # a bit for each split whose sites a patient was seen at, the most protected the highest
    names: dict[str, str] = {}
    for fact in facts:
        seen = people.setdefault(fact.person, 0)
        if fact.site is None or not fact.site.strip():
            continue
        plain = _plain(fact.site)
        names.setdefault(plain, fact.site.strip())
        people[fact.person] = seen | 1 << PROTECTED[kept.get(plain, "train")]
    unknown = sum(not seen for seen in people.values())
    found: dict[str, Split] = {name: _of_seen(seen, rule) for name, seen in people.items()}
    known = sorted(names.values())
    problems = _unknown_stop(unknown, "no study has a site", rule)
    absent = [] if grows else [one for one in (*rule.test_sites, *rule.validation_sites) if _plain(one) not in names]
    shown = ", ".join(known[:KNOWN_SHOWN]) + (" ..." if len(known) > KNOWN_SHOWN else "")
    problems += [f"no study is from the site {one!r}{meant(one, known)}; there are {shown or 'none'}" for one in absent]
    if not absent and not grows:
        problems += _empty(found.values(), rule, f"sites are {shown or 'not known'}")
    if problems:
        raise WrongUse(many("splits.by=site", problems))
    several = sum(seen.bit_count() > 1 for seen in people.values())
    remarks = [
        f"{several} patients were seen at sites of different splits and went to the most protected one, with all "
        "their studies"
        if several
        else "",
        _unknown_remark(unknown, "studies without a site alone", rule),
    ]
    return Assigned(rule, found, tuple(one for one in remarks if one))


def _of_seen(seen: int, rule: Splits) -> Split:
    if not seen:
        return "train" if rule.unknown == "stop" else rule.unknown
    return tuple(PROTECTED)[seen.bit_length() - 1]


def _plain(site: str) -> str:
    """A site's name without what people write differently: capitals and spaces."""
    return " ".join(site.casefold().split())


# ---- what has to be said -------------------------------------------------------------------------------------------


def _unknown_stop(unknown: int, what: str, rule: Splits) -> list[str]:
    if not unknown or rule.unknown != "stop":
        return []
    return [f"of {unknown} patients {what}: splits.unknown=train, validation or test says where they go"]


def _unknown_remark(unknown: int, what: str, rule: Splits) -> str:
    return f"{unknown} patients have {what}; they went to {rule.unknown}, as splits.unknown says" if unknown else ""


def _empty(found: Iterable[Split], rule: Splits, there: str) -> list[str]:
    """Splits that were asked for and have nobody."""
    asked = {
        "test": rule.test_from or rule.test_sites,
        "validation": rule.validation_from or rule.validation_sites,
        "train": True,
    }
    have = set(found)
    return [f"nobody would be in {name}: {there}" for name, wanted in asked.items() if wanted and name not in have]
