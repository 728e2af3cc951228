"""Patients who turned out to be one: a table of old ids and new ones, chains and circles included."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmssl.data import tables
from mmssl.data.splits import Split, most_protected
from mmssl.errors import CannotDo, WrongUse, many, meant

FILE = "merges.parquet"
"""In a store: every id that was merged, in the store's own ids, so that who knew a patient by an old one is told."""
OLD = ("old", "old_id", "old id", "from", "merged")
NEW = ("new", "new_id", "new id", "to", "into")
"""How the two columns may be called."""
SHOWN = 20


@dataclass(frozen=True)
class Merges:
    """Whose ids are one patient's."""

    of: Mapping[str, str] = field(default_factory=dict)
    """{id: the id that stands for all of them}; one that stands for itself is not in it."""
    circles: int = 0
    """Patients with ids that lead back to themselves: the alphabetically first stands for them."""
    forks: int = 0
    """Patients one of whose old ids has several new ones, which are one patient's then."""

    def __call__(self, patient: str) -> str:
        return self.of.get(patient, patient)

    @property
    def groups(self) -> dict[str, list[str]]:
        """{the id that stands: all ids of this patient, itself the first}."""
        found: dict[str, list[str]] = {}
        for old, stands in sorted(self.of.items()):
            found.setdefault(stands, [stands]).append(old)
        return found


def read(path: Path, *, encoding: str = "utf-8", separator: str | None = None) -> list[tuple[str, str]]:
    """The pairs (old id, new id) of a table.

    Raises:
        WrongUse: with every line that lacks one, or where the columns are called otherwise.
        CannotDo: where the file cannot be read.
    """
    table = tables.read(path, encoding=encoding, separator=separator)
    named = {name.strip().lower(): name for name in table.columns}
    old, new = (next((named[name] for name in names if name in named), None) for names in (OLD, NEW))
    if old is None or new is None:
        raise WrongUse(
            f"{path}: merges have the columns old and new{meant('old', table.columns) if old is None else ''}; this "
            f"table has {', '.join(table.columns)}"
        )
    pairs, problems = [], [f"line {line}: {reason}" for line, reason in table.bad]
    for line, row in zip(table.lines, table.rows, strict=True):
        before, after = tables.key(row.get(old)), tables.key(row.get(new))
        if before and after:
            pairs.append((before, after))
        elif before or after:  # a line of nothing is none
            problems.append(f"line {line}: no {new if before else old} id")
    if problems:
        rest = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise WrongUse(many(str(path), problems[:SHOWN] + rest))
    return pairs


def merge_map(pairs: Iterable[tuple[str, str]]) -> Merges:
    """Every id with the one that stands for its patient: the last of its chain.

    >>> merge_map([("a", "b"), ("b", "c"), ("x", "y")]).of
    {'a': 'c', 'b': 'c', 'x': 'y'}
    """
    parent: dict[str, str] = {}
    news: dict[str, set[str]] = {}

    def root(one: str) -> str:
        while parent.setdefault(one, one) != one:
            parent[one] = one = parent[parent[one]]
        return one

    for old, new in pairs:
        parent[root(old)] = root(new)
        if old != new:
            news.setdefault(old, set()).add(new)
    members: dict[str, list[str]] = {}
    for one in list(parent):
        members.setdefault(root(one), []).append(one)
    found: dict[str, str] = {}
    circles = forks = 0
    for ids in members.values():
        ends = sorted(one for one in ids if one not in news)
        circles += not ends and len(ids) > 1
        forks += any(len(news.get(one, ())) > 1 for one in ids)
        stands = ends[0] if ends else min(ids)
        found |= {one: stands for one in ids if one != stands}
    return Merges(dict(sorted(found.items())), circles, forks)


def resolved(pairs: Iterable[tuple[str, str]], known: Collection[str]) -> tuple[list[tuple[str, str]], list[str]]:
    r"""Pairs with the ids as a source has them: a bare PatientID stands for the one `issuer\PatientID` there is.

    Returns:
        The pairs, and what is wrong with ids that several issuers gave out, in words without the ids themselves.
    """
    problems: list[str] = []
    whole: dict[str, set[str]] = {}
    for name in known:
        whole.setdefault(name.rpartition("\\")[2], set()).add(name)

    def found(name: str, line: int) -> str:
        several = whole.get(name, {name})
        if name in known or len(several) == 1:
            return name if name in known else next(iter(several))
        problems.append(rf"pair {line}: an id that {len(several)} issuers or sites gave out; write ISSUER\ID")
        return name

    return [(found(old, line), found(new, line)) for line, (old, new) in enumerate(pairs, 1)], problems


def unknown(pairs: Iterable[tuple[str, str]], known: Collection[str]) -> list[tuple[str, str]]:
    """The pairs of which neither id is known: a merge of somebody who is not here, or a mistake."""
    return [pair for pair in pairs if pair[0] not in known and pair[1] not in known]


class Moved(NamedTuple):
    """A patient whose ids were in different splits."""

    patient: str
    """The id that stands."""
    was: dict[str, Split]
    """The ids that were there, each with its split."""
    now: Split


def moved(merges: Merges, split_of: Mapping[str, Split]) -> list[Moved]:
    """Patients whose ids are in several splits of a store, each with the split that keeps most from training.

    Args:
        merges: in the ids of the store.
        split_of: {patient id: its split} of the store; of the ids that are merged is enough.
    """
    found = []
    for stands, ids in merges.groups.items():
        was: dict[str, Split] = {one: split_of[one] for one in ids if one in split_of}
        if len(set(was.values())) > 1:
            found.append(Moved(stands, was, most_protected(was.values())))
    return found


def in_ids_of(merges: Merges, name: Callable[[str], str]) -> Merges:
    """The same merges in other ids, as those of a store: `name` is what an id is called there."""
    return Merges({name(old): name(stands) for old, stands in merges.of.items()}, merges.circles, merges.forks)


def write(folder: Path, merges: Merges) -> None:
    """Keeps merges, in the ids of the store, in the folder of a store that is being written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = pa.array(list(merges.of), pa.string()), pa.array(list(merges.of.values()), pa.string())
    pq.write_table(pa.table(dict(zip(("old", "new"), columns, strict=True))), folder / FILE)


def kept(folder: Path) -> list[tuple[str, str]]:
    """The merges that a store has known, all versions together; none where it keeps none."""
    import pyarrow.parquet as pq

    if not (folder / FILE).is_file():
        return []
    try:
        table = pq.read_table(folder / FILE, columns=["old", "new"])
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise CannotDo(f"{folder / FILE} cannot be read: {type(error).__name__}; prepare the store again") from None
    return list(zip(table["old"].to_pylist(), table["new"].to_pylist(), strict=True))


def told(changes: Sequence[Moved], saw: Mapping[Path, int]) -> list[str]:
    """What a user must know of patients who changed their split; counts, and the store's own ids."""
    if not changes:
        return []
    ways: dict[str, int] = {}
    for one in changes:
        way = f"from {' and '.join(sorted(set(one.was.values()) - {one.now}))} to {one.now}"
        ways[way] = ways.get(way, 0) + 1
    lines = [f"merges moved {count} patients {way}" for way, count in sorted(ways.items())]
    lines += [f"{path} was trained on {count} of them" for path, count in sorted(saw.items()) if count]
    return lines


def as_json(changes: Sequence[Moved]) -> list[dict[str, Any]]:
    return [one._asdict() for one in changes]
