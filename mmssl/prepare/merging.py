r"""Patients who turned out to be one: by which ids a store knows them, the split they come to, and what that changes.

Merges are kept in a store and hold for all that comes later: an old id that arrives again is the patient it was merged
into. An id is written as the source has it; `ISSUER\ID` where several issuers or sites gave it out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mmssl.data import merges
from mmssl.data.merges import Merges, Moved
from mmssl.data.splits import Split, most_protected
from mmssl.data.store import Store
from mmssl.errors import CannotDo, WrongUse, many
from mmssl.prepare.names import Names
from mmssl.prepare.whose import Fact, Reading

Pairs = Sequence[tuple[str, str]]
SHOWN = 20


class Before(Protocol):
    """What a store knows of its patients."""

    @property
    def settled(self) -> Mapping[str, Split]: ...

    @property
    def sites(self) -> Mapping[str, set[str]]: ...

    @property
    def merges(self) -> Pairs: ...


@dataclass(frozen=True)
class Merged:
    """Whose ids are one patient's, all in the ids of the store."""

    whose: Merges = field(default_factory=Merges)
    split: Mapping[str, Split] = field(default_factory=dict)
    """{the id that stands: its split} of those who have one."""
    changes: tuple[Moved, ...] = ()
    """Those whose ids were in different splits."""
    remarks: tuple[str, ...] = ()

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row that the store has, as the patient's who it is of."""
        if "patient_missing" in (row["flags"] or ()):  # its patient is called by its study
            return dict(row)
        patient = self.whose(row["patient_id"])
        return {**row, "patient_id": patient, "split": self.split.get(patient, row["split"])}


def in_store_ids(
    pairs: Pairs, facts: Sequence[Fact], patient_ids: Sequence[str], named: Names, reading: Reading, before: Before
) -> list[tuple[str, str]]:
    """Pairs of (old id, new id) as the store calls them.

    Raises:
        WrongUse: for ids that several issuers or sites gave out, and for a source without patients.
    """
    if pairs and not reading.patients_known:
        raise WrongUse("--merges: the source names no patients, so none can be merged")
    known = {_whole(fact): name for fact, name in zip(facts, patient_ids, strict=True) if fact.patient_id is not None}
    whole, problems = merges.resolved(pairs, known)
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise WrongUse(many("the merges", [*problems[:SHOWN], *more]))

    def stored(name: str) -> str:
        if name in known:
            return known[name]
        realm, _, patient = ("", "", name) if reading.ids_name_realm else name.rpartition("\\")
        if named.key is not None:
            return named.of("patient", f"{realm}\0{patient}")
        return patient if not realm or realm in before.sites.get(patient, ()) else f"{realm}:{patient}"

    return [(stored(old), stored(new)) for old, new in whole]


def merged(
    pairs: Pairs, facts: Sequence[Fact], patient_ids: Sequence[str], given: Mapping[str, Split], before: Before
) -> Merged:
    """Those whose ids are one patient's now, by these pairs and by all that the store was told before.

    Args:
        pairs: in the ids of the store.
        facts: of each study.
        patient_ids: what the store calls the patient of each study.
        given: {person: split}; of a patient's ids the most protected split holds, and that of the store counts too.
        before: the store that is there.
    """
    whose = merges.merge_map([*before.merges, *pairs])
    ids = {one for group in whose.groups.values() for one in group}
    was: dict[str, Split] = {one: before.settled[one] for one in ids if one in before.settled}
    here = set[str]()
    for fact, patient in zip(facts, patient_ids, strict=True):
        if fact.patient_id is not None:
            here.add(patient)
            if patient in ids and fact.person in given:
                was.setdefault(patient, given[fact.person])
    split: dict[str, Split] = {}
    for stands, group in whose.groups.items():
        its: list[Split] = [was[one] for one in group if one in was]
        if its:
            split[stands] = most_protected(its)
    changes = [one for one in merges.moved(whose, was) if _is_news(one, before.settled)]
    strangers = merges.unknown(pairs, here | before.settled.keys())
    remarks = [
        f"{len(strangers)} of {len(pairs)} merges name nobody of the source or the store" if strangers else "",
        f"merges: {whose.circles} patients have ids that lead back to themselves; the first by name stands for them"
        if pairs and whose.circles
        else "",
        f"merges: {whose.forks} patients have an old id with several new ones, which are one patient's now"
        if pairs and whose.forks
        else "",
        *merges.told(changes, {}),
    ]
    return Merged(whose, split, tuple(changes), tuple(one for one in remarks if one))


def applied(
    found: Merged,
    facts: Sequence[Fact],
    patient_ids: Sequence[str],
    given: Mapping[str, Split],
    settled: Mapping[str, Split],
) -> tuple[Sequence[Fact], Sequence[str], Mapping[str, Split], Mapping[str, Split]]:
    """Studies of merged patients as one person's, with the split that was given to any of their ids, or settled."""
    groups = found.whose.groups
    if not groups:
        return facts, patient_ids, given, settled
    names = [
        patient if fact.patient_id is None else found.whose(patient)
        for fact, patient in zip(facts, patient_ids, strict=True)
    ]
    stands: dict[str, Fact] = {}  # the id that stands is drawn by itself, if it is here
    for fact, patient, name in zip(facts, patient_ids, names, strict=True):
        if fact.patient_id is not None and name in groups and (name not in stands or patient == name):
            stands[name] = fact
    one_person: list[Fact] = []
    all_given = dict(given)
    for fact, name in zip(facts, names, strict=True):
        is_merged = fact.patient_id is not None and name in groups
        one_person.append(
            fact._replace(person=stands[name].person, patient=stands[name].patient) if is_merged else fact
        )
        if is_merged and fact.person in given:
            all_given[stands[name].person] = found.split[name]
    there = [name for name, group in groups.items() if any(one in settled for one in group)]
    now: dict[str, Split] = {one: split for one, split in settled.items() if one not in found.whose.of}
    for name in there:
        now[name] = found.split[name]
    return one_person, names, all_given, now


def checkpoints(found: Merged, store: Store) -> list[str]:
    """Which checkpoints were trained on patients who changed their split, and which cannot say, in words."""
    from mmssl.overlap.facts import Ids
    from mmssl.overlap.witnesses import witnesses

    ids = list(dict.fromkeys(one for change in found.changes for one in (change.patient, *change.was)))
    if not ids:
        return []
    try:
        known = witnesses(store.path, Ids.of_store(store), ids)
    except CannotDo as error:
        return [f"which checkpoints were trained on patients that merges moved cannot be told: {error}"]
    saw: dict[Path, int] = {one.checkpoint: len({found.whose(name) for name in one.patients}) for one in known.saw}
    lines = merges.told(found.changes, saw)
    return [*lines[len(merges.told(found.changes, {})) :], *known.not_known]


def _whole(fact: Fact) -> str:
    return rf"{fact.realm}\{fact.patient_id}" if fact.realm else str(fact.patient_id)


def _is_news(one: Moved, settled: Mapping[str, Split]) -> bool:
    """Whether rows of the store change their split, or none are there yet: merges that were told before do neither."""
    there = [split for name, split in one.was.items() if name in settled and settled[name] == split]
    return not there or any(split != one.now for split in there)
