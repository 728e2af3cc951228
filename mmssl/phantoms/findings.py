"""What a phantom patient has: findings with side, place, size and contrast, and the names they bear in `truth.csv`."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Literal, NamedTuple

Kind = Literal[
    "effusion", "pneumothorax", "cardiomegaly", "consolidation", "nodule", "fracture", "pacemaker", "hernia", "edema"
]
Side = Literal["left", "right", ""]  # the patient's side; "" where a finding has none
Trait = Literal["low volumes", "prominent aorta", "scoliosis", "leads", "breast shadows"]  # seen, but no finding

LOBES: dict[str, tuple[Side, str]] = {
    "RUL": ("right", "upper lobe"),
    "RML": ("right", "middle lobe"),
    "RLL": ("right", "lower lobe"),
    "LUL": ("left", "upper lobe"),
    "LLL": ("left", "lower lobe"),
}
NO_FINDING = "No Finding"


class Finding(NamedTuple):
    kind: Kind
    side: Side = ""
    lobe: str = ""  # a key of LOBES, consolidation only
    calcified: bool = False  # nodule only
    size: float = 0.5  # 0 smallest .. 1 largest that is drawn
    contrast: float = 0.5  # 0 subtle .. 1 plain
    across: float = 0.5  # place in the lung: 0 midline .. 1 chest wall
    down: float = 0.5  # 0 apex .. 1 diaphragm

    @property
    def subtle(self) -> bool:
        return self.size + self.contrast < 0.35


WEIGHTS: dict[Kind, float] = {
    "effusion": 1.4,
    "pneumothorax": 1.2,
    "cardiomegaly": 1.0,
    "consolidation": 1.9,
    "nodule": 1.7,
    "fracture": 1.7,
    "pacemaker": 0.7,
    "hernia": 0.7,
    "edema": 0.9,
}
BOTH_SIDES: dict[Kind, float] = {
    "effusion": 0.2,
    "pneumothorax": 0.04,
    "consolidation": 0.15,
    "nodule": 0.12,
    "fracture": 0.08,
}
COUNTS = (0.30, 0.38, 0.22, 0.08, 0.02)  # chance of 0, 1, 2, 3, 4 kinds of finding in one study


def sample(random: Random) -> list[Finding]:
    """Draw the findings of one study; a quarter have none."""
    kinds = list(WEIGHTS)
    chosen: list[Kind] = []
    for _ in range(random.choices(range(len(COUNTS)), COUNTS)[0]):
        kind = random.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        kinds.remove(kind)
        chosen.append(kind)
    return [finding for kind in chosen for finding in _of_kind(kind, random)]


def _of_kind(kind: Kind, random: Random) -> list[Finding]:
    if kind in ("cardiomegaly", "hernia", "edema"):
        return [_one(kind, "", random)]
    if kind == "pacemaker":
        return [_one(kind, random.choices(("left", "right"), (0.8, 0.2))[0], random)]
    both = random.random() < BOTH_SIDES[kind]
    sides: tuple[Side, ...] = ("left", "right") if both else (random.choice(("left", "right")),)
    return [_one(kind, side, random) for side in sides]


def _one(kind: Kind, side: Side, random: Random) -> Finding:
    lobe = random.choice([name for name, (of, _) in LOBES.items() if of == side]) if kind == "consolidation" else ""
    return Finding(
        kind=kind,
        side=side,
        lobe=lobe,
        calcified=kind == "nodule" and random.random() < 0.5,
        size=random.betavariate(1.6, 0.9),  # most are plain, and the tail goes down to nothing
        contrast=random.betavariate(1.6, 0.9),
        across=random.uniform(0.35, 0.85),
        down=random.uniform(0.15, 0.85),
    )


def later(findings: list[Finding], random: Random) -> list[Finding]:
    """Draw a patient's findings at the next study: most stay, some have grown or gone, and new ones may come."""
    kept: list[Finding] = []
    for finding in findings:
        lasting = finding.kind in ("pacemaker", "hernia", "cardiomegaly", "nodule")
        if lasting or random.random() < 0.6:
            step = 0.0 if finding.kind == "pacemaker" else random.uniform(-0.2, 0.3)
            kept.append(finding._replace(size=min(1.0, max(0.0, finding.size + step))))
    had = {finding.kind for finding in kept}
    return kept + [finding for finding in sample(random) if finding.kind not in had and random.random() < 0.5]


def names(findings: Iterable[Finding]) -> list[str]:
    """Name all that is really there, the particular ("Left Calcified Nodule") and the general ("Left Nodule")."""
    found = [name for finding in findings for name in _names(finding)]
    return list(dict.fromkeys(found)) or [NO_FINDING]


def _names(finding: Finding) -> tuple[str, ...]:
    side = finding.side.title()
    if finding.kind == "effusion":
        return (f"{side} Pleural Effusion",)
    if finding.kind == "pneumothorax":
        return (f"{side} Pneumothorax",)
    if finding.kind == "fracture":
        return (f"{side} Rib Fracture",)
    if finding.kind == "consolidation":
        return (f"{side} {LOBES[finding.lobe][1].title()} Consolidation", f"{side} Consolidation")
    if finding.kind == "nodule":
        own = f"{side} {'Calcified' if finding.calcified else 'Noncalcified'} Nodule"
        return (own, f"{side} Nodule")
    return (
        {"cardiomegaly": "Cardiomegaly", "pacemaker": "Pacemaker", "hernia": "Hiatal Hernia", "edema": "Edema"}[
            finding.kind
        ],
    )
