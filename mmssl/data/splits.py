"""Which split a patient belongs to: by a hash of who they are, so that neither growth nor reordering moves anyone."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

Split = Literal["train", "validation", "test"]

NAMES: Mapping[str, Split] = {
    "train": "train", "training": "train",
    "validation": "validation", "validate": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "development": "validation", "tune": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What others call the splits."""


def place(patient: str) -> float:
    """A number in [0, 1) that belongs to a patient for good; uniform over patients.

    >>> place("A|1") == place("A|1"), 0 <= place("A|2") < 1
    (True, True)
    """
    return int.from_bytes(hashlib.sha256(f"split\0{patient}".encode()).digest()[:8], "big") / 2**64


def split_of(patient: str, *, validation: float, test: float) -> Split:
    """The split of a patient for the shares asked for; changing one share moves as few patients as possible.

    >>> {split_of(str(i), validation=0.5, test=0.5) for i in range(40)} == {"validation", "test"}
    True
    """
    where = place(patient)
    if where < test:
        return "test"
    return "validation" if where >= 1 - validation else "train"


def in_two(given: Iterable[tuple[str, Split]]) -> dict[str, set[Split]]:
    """The patients that were given to more than one split.

    >>> in_two([("a", "train"), ("a", "test"), ("b", "test")]) == {"a": {"train", "test"}}
    True
    """
    found: dict[str, set[Split]] = {}
    for patient, split in given:
        found.setdefault(patient, set()).add(split)
    return {patient: splits for patient, splits in found.items() if len(splits) > 1}


PROTECTED: Mapping[Split, int] = {"train": 0, "validation": 1, "test": 2}
"""How well the splits are kept from training: whoever is found to be in two belongs to the more protected one."""


def most_protected(found: Iterable[Split]) -> Split:
    """Of splits, the one that is kept from training most.

    >>> most_protected(["train", "test", "validation"]), most_protected(["train", "validation"])
    ('test', 'validation')
    """
    return max(found, key=lambda split: PROTECTED[split])
