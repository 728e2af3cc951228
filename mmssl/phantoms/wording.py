"""Writes the radiologist's report of a phantom: sections, synonyms, negations, doubt, and what is no finding at all.

Every sentence of FINDINGS and IMPRESSION is true of the study; doubt is written only of what is subtle. INDICATION
asks about things that need not be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from random import Random
from typing import Any, Literal, NamedTuple

from . import phrases
from .findings import LOBES, NO_FINDING, Finding, Kind, Trait


class Study(NamedTuple):
    """What a report is written about."""

    findings: Sequence[Finding]
    traits: Sequence[Trait]
    views: Sequence[Literal["PA", "AP"]]
    prior: date | None
    age: int
    sex: str


def report(study: Study, random: Random) -> str:
    """Write one report; the same random state writes the same report."""
    findings, impression = _findings(study, random), _impression(study, random)
    style = random.choices(("sections", "short", "plain"), (0.80, 0.12, 0.08))[0]
    if style == "plain":  # without headings, and then without an indication either
        return " ".join(findings + impression)
    body = {"findings": " ".join(findings), "impression": _numbered(impression, random)}
    if style == "short" and random.random() < 0.5:  # one of the two is missing
        body = {"impression": " ".join(findings + impression)}
    if style == "sections":
        body = {**_preamble(study, random), **body}
    capital = random.choice((str.upper, str, str.capitalize))
    mark, gap = random.choice(((": ", "\n\n"), (": ", "\n"), (":\n", "\n\n"), (": ", "\n")))
    text = gap.join(f"{capital(random.choice(phrases.HEADINGS[name]))}{mark}{words}" for name, words in body.items())
    if style == "sections" and random.random() < 0.3:
        text += f"{gap}Electronically signed by: Dr. {random.choice(phrases.READERS)}"
    return text


def _preamble(study: Study, random: Random) -> dict[str, str]:
    views = " and ".join(study.views)
    woman_or_man = "woman" if study.sex == "F" else "man"
    prior = (
        f"Chest radiograph of {study.prior.isoformat()}."
        if study.prior
        else random.choice(("None.", "None available."))
    )
    parts = {
        "exam": random.choice((f"Chest radiograph, {views}.", f"XR CHEST {views}", f"Portable chest {views}.")),
        "indication": random.choice(("", f"{study.age} year old {woman_or_man}. ")) + random.choice(phrases.ASKED),
        "comparison": prior,
        "technique": random.choice((f"{views} view of the chest.", f"Digital radiograph in {views} projection.")),
    }
    kept = {"exam": 0.8, "indication": 0.9, "comparison": 0.8, "technique": 0.6}
    return {name: words for name, words in parts.items() if random.random() < kept[name]}


def _numbered(sentences: list[str], random: Random) -> str:
    if len(sentences) > 1 and random.random() < 0.3:
        return "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, 1))
    return " ".join(sentences)


def _findings(study: Study, random: Random) -> list[str]:
    seen = [_present(finding, 0, random) for finding in study.findings]
    seen = _join_sides(study.findings, seen, random)
    random.shuffle(seen)
    traits = [random.choice(phrases.TRAITS[trait]) for trait in study.traits if random.random() < 0.7]
    absent = _absent(study.findings, random)
    if not study.findings and random.random() < 0.7:
        absent.insert(0, random.choice(phrases.NORMAL))
    if random.random() < 0.3:
        absent.append(random.choice(phrases.UNREMARKABLE))
    return seen + traits + absent if random.random() < 0.7 else absent + traits + seen


def _impression(study: Study, random: Random) -> list[str]:
    if not study.findings:
        return [random.choice(phrases.NORMAL_IMPRESSION)]
    words = [_present(finding, 1, random) for finding in study.findings]
    words = _join_sides(study.findings, words, random)
    if random.random() < 0.25:
        words += _absent(study.findings, random)[:1]
    return words


def _join_sides(findings: Sequence[Finding], sentences: list[str], random: Random) -> list[str]:
    """Write "bilateral" of what is on both sides, sometimes."""
    joined = list(sentences)
    for kind, words in phrases.BILATERAL.items():
        places = [number for number, finding in enumerate(findings) if finding.kind == kind]
        if len(places) == 2 and random.random() < 0.4:
            joined[places[0]], joined[places[1]] = words, ""
    return [sentence for sentence in joined if sentence]


def _present(finding: Finding, part: Literal[0, 1], random: Random) -> str:
    key = finding.kind if finding.kind != "nodule" else "calcified" if finding.calcified else "noncalcified"
    words = random.choice(phrases.PRESENT[key][part]).format(
        side=finding.side,
        lobe=LOBES[finding.lobe][1] if finding.lobe else "",
        size=_size(finding, random),
        place=_place(finding),
    )
    if finding.subtle and random.random() < 0.6:
        short = random.choice(phrases.PRESENT[key][1]).format(
            side=finding.side,
            lobe=LOBES[finding.lobe][1] if finding.lobe else "",
            size=_size(finding, random),
            place="",
        )
        words = random.choice(phrases.DOUBT).format(short[0].lower() + short[1:])
    return words[0].upper() + words[1:]


def _size(finding: Finding, random: Random) -> str:
    if finding.kind in ("cardiomegaly", "edema"):
        return (
            "mild"
            if finding.size + finding.contrast < 0.7
            else "moderate"
            if finding.size + finding.contrast < 1.3
            else "severe"
        )
    if finding.kind == "fracture":
        return "multiple" if 2.9 * finding.size >= 1 else "single"
    small, large = ("small", "tiny", "minimal"), ("large",)
    return random.choice(small) if finding.size < 0.33 else "moderate" if finding.size < 0.7 else random.choice(large)


def _place(finding: Finding) -> str:
    return "upper" if finding.down < 0.4 else "mid" if finding.down < 0.62 else "lower"


def _absent(findings: Sequence[Finding], random: Random) -> list[str]:
    """Say what is not there: most of it, not always, and of one side where the other has it."""
    present = {finding.kind for finding in findings}
    named: list[Kind] = [
        kind for kind, often in phrases.OFTEN_MENTIONED.items() if kind not in present and random.random() < often
    ]
    sentences: list[str] = []
    for group, words in phrases.ABSENT_TOGETHER.items():
        if group <= set(named) and random.random() < 0.7:
            sentences.append(random.choice(words))
            named = [kind for kind in named if kind not in group]
    for kind in named:
        sided = kind in phrases.ABSENT_ON_A_SIDE and random.random() < 0.15
        words = (phrases.ABSENT_ON_A_SIDE if sided else phrases.ABSENT)[kind]
        sentences.append(random.choice(words).format(side=random.choice(("left", "right"))))
    for kind, words in phrases.ABSENT_ON_A_SIDE.items():
        sides = {finding.side for finding in findings if finding.kind == kind}
        if len(sides) == 1 and random.random() < 0.45:
            sentences.append(random.choice(words).format(side="right" if sides == {"left"} else "left"))
    random.shuffle(sentences)
    return sentences


# X of "left X" and "right X" queries -> how one asks for it; the truth's name is f"{Side} {X}".
SIDED: dict[str, tuple[str, ...]] = {
    "Pleural Effusion": ("{side} pleural effusion",),
    "Pneumothorax": ("{side} pneumothorax",),
    "Consolidation": ("{side} lung consolidation",),
    "Nodule": ("{side} lung nodule",),
    "Rib Fracture": ("{side} rib fracture",),
}


def _classes() -> dict[str, list[str]]:
    classes: dict[str, list[str]] = {}
    for side in ("left", "right"):
        lobes = [lobe for of, lobe in LOBES.values() if of == side]
        classes[f"{side.title()} Pleural Effusion"] = [f"{side} pleural effusion", f"{side}-sided effusion"]
        classes[f"{side.title()} Pneumothorax"] = [f"{side} pneumothorax", f"{side}-sided pneumothorax"]
        classes[f"{side.title()} Consolidation"] = [
            *(f"{side} {lobe} consolidation" for lobe in lobes),
            *(f"{side} {lobe} pneumonia" for lobe in lobes),
        ]
        classes[f"{side.title()} Nodule"] = [
            f"{side} lung nodule",
            f"calcified nodule in the {side} lung",
            f"noncalcified nodule in the {side} lung",
        ]
        classes[f"{side.title()} Rib Fracture"] = [f"{side} rib fracture", f"{side}-sided rib fracture"]
    classes["Cardiomegaly"] = ["cardiomegaly", "enlarged heart"]
    classes["Pacemaker"] = ["pacemaker", "cardiac pacemaker"]
    classes["Hiatal Hernia"] = ["hiatal hernia", "hiatus hernia"]
    classes["Edema"] = ["pulmonary edema", "vascular congestion and edema"]
    classes[NO_FINDING] = ["normal chest radiograph", "no acute cardiopulmonary abnormality"]
    return classes


# A prompt file (see the README) as a dict: what `mmssl demo` writes to OUT/prompts.yaml.
PROMPTS: dict[str, Any] = {
    "column": "label_truth",
    "task": "multi_label",
    "classes": _classes(),
    "positive": ["{}"],
    # Impressions say what is there and seldom what is not, so a finding is held against a normal film.
    "negative": ["normal chest radiograph", "no acute cardiopulmonary abnormality"],
    "overrides": {
        NO_FINDING: {
            "positive": ["{}"],
            "negative": [
                "pleural effusion",
                "pneumothorax",
                "consolidation",
                "lung nodule",
                "rib fracture",
                "cardiomegaly",
            ],
        }
    },
}
