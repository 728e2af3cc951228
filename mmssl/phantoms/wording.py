"""Writes the radiologist's report of a phantom: sections, synonyms, negations, doubt, and what is no finding at all.

Every sentence of FINDINGS and IMPRESSION is true of the study; doubt is written only of what is subtle. INDICATION
asks about things that need not be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from random import Random
from typing import Any, Literal, NamedTuple

from .findings import LOBES, NO_FINDING, Finding, Kind, Trait


class Study(NamedTuple):
    """What a report is written about."""

    findings: Sequence[Finding]
    traits: Sequence[Trait]
    views: Sequence[Literal["PA", "AP"]]
    prior: date | None
    age: int
    sex: str


# {side}, {lobe}, {size}, {place} are filled in. The first list is for FINDINGS, the second, shorter, for IMPRESSION.
_PRESENT: dict[str, tuple[list[str], list[str]]] = {
    "effusion": (
        [
            "There is a {size} {side} pleural effusion.",
            "{size} {side}-sided pleural effusion.",
            "{side} pleural effusion, {size}, with blunting of the {side} costophrenic angle.",
            "A {size} effusion layers at the {side} base.",
            "Blunted {side} costophrenic angle from a {size} pleural effusion.",
            "{size} amount of pleural fluid on the {side}.",
        ],
        ["{size} {side} pleural effusion.", "{side} pleural effusion.", "{side}-sided effusion."],
    ),
    "pneumothorax": (
        [
            "There is a {size} {side} pneumothorax.",
            "{size} {side}-sided pneumothorax.",
            "{side} pneumothorax with a visible pleural line.",
            "A pleural line is seen on the {side}, a {size} pneumothorax.",
            "{side} apical and lateral pneumothorax, {size}.",
        ],
        ["{size} {side} pneumothorax.", "{side} pneumothorax.", "{side}-sided pneumothorax."],
    ),
    "cardiomegaly": (
        [
            "The heart is enlarged.",
            "There is cardiomegaly.",
            "Cardiac silhouette is {size} enlarged.",
            "{size} cardiomegaly.",
            "Increased cardiothoracic ratio, consistent with cardiomegaly.",
        ],
        ["Cardiomegaly.", "Enlarged heart.", "{size} cardiomegaly."],
    ),
    "consolidation": (
        [
            "{side} {lobe} consolidation.",
            "There is consolidation in the {side} {lobe}.",
            "Airspace opacity in the {side} {lobe}, consistent with consolidation.",
            "Focal opacity projects over the {side} {lobe}.",
            "Patchy consolidation is present in the {side} {lobe}.",
            "{side} {lobe} airspace disease.",
        ],
        ["{side} {lobe} consolidation.", "{side} {lobe} pneumonia.", "Consolidation of the {side} {lobe}."],
    ),
    "noncalcified": (
        [
            "There is a nodule in the {place} {side} lung.",
            "{side} lung nodule in the {place} zone.",
            "Noncalcified nodule in the {side} {place} lung.",
            "A soft tissue nodule projects over the {side} {place} zone.",
            "Rounded nodular opacity in the {place} {side} lung.",
        ],
        ["{side} lung nodule.", "Noncalcified nodule in the {side} lung.", "{side} pulmonary nodule, CT advised."],
    ),
    "calcified": (
        [
            "There is a calcified nodule in the {place} {side} lung.",
            "Calcified {side} lung nodule in the {place} zone.",
            "Dense calcified granuloma in the {side} {place} lung.",
            "A calcified nodule projects over the {side} {place} zone.",
        ],
        [
            "Calcified nodule in the {side} lung.",
            "{side} calcified granuloma.",
            "Calcified {side} lung nodule, benign.",
        ],
    ),
    "fracture": (
        [
            "There is a {side} rib fracture.",
            "{size} {side} rib fracture with callus.",
            "{side}-sided rib fracture.",
            "Fracture of the {side} ribs in the {place} chest.",
            "Displaced fracture of a {side} {place} rib.",
        ],
        ["{side} rib fracture.", "{side}-sided rib fracture.", "Fractured {side} rib."],
    ),
    "pacemaker": (
        [
            "A {side} chest wall pacemaker is in place.",
            "Pacemaker with leads in the heart.",
            "{side}-sided cardiac pacemaker.",
            "There is a pacemaker generator over the {side} chest, leads intact.",
        ],
        ["Pacemaker in place.", "{side}-sided pacemaker.", "Cardiac pacemaker."],
    ),
    "hernia": (
        [
            "There is a {size} hiatal hernia.",
            "{size} hiatal hernia with an air-fluid level.",
            "Retrocardiac density with an air-fluid level, a hiatal hernia.",
            "Hiatus hernia behind the heart.",
        ],
        ["Hiatal hernia.", "{size} hiatal hernia.", "Hiatus hernia."],
    ),
    "edema": (
        [
            "There is {size} pulmonary edema.",
            "Perihilar haze and vascular congestion, consistent with {size} edema.",
            "{size} interstitial edema with Kerley lines.",
            "Pulmonary vascular congestion and edema.",
        ],
        ["Pulmonary edema.", "{size} pulmonary edema.", "Vascular congestion and edema."],
    ),
}
_ABSENT: dict[Kind, list[str]] = {
    "effusion": [
        "No pleural effusion.",
        "No effusion.",
        "The costophrenic angles are sharp.",
        "There is no pleural effusion.",
    ],
    "pneumothorax": ["No pneumothorax.", "There is no pneumothorax.", "No evidence of pneumothorax."],
    "cardiomegaly": [
        "The heart is normal in size.",
        "Heart size is normal.",
        "Normal cardiac silhouette.",
        "No cardiomegaly.",
    ],
    "consolidation": [
        "No consolidation.",
        "No focal consolidation.",
        "No airspace opacity.",
        "No evidence of pneumonia.",
    ],
    "nodule": ["No nodule.", "No lung nodule is seen.", "No suspicious pulmonary nodule."],
    "fracture": ["No rib fracture.", "The ribs are intact.", "No acute osseous abnormality.", "No fracture is seen."],
    "pacemaker": ["No pacemaker."],
    "hernia": ["No hiatal hernia."],
    "edema": ["No pulmonary edema.", "No edema.", "Pulmonary vascularity is normal.", "No vascular congestion."],
}
_ABSENT_ON_A_SIDE: dict[Kind, list[str]] = {
    "effusion": [
        "No {side} pleural effusion.",
        "No effusion on the {side}.",
        "The {side} costophrenic angle is sharp.",
    ],
    "pneumothorax": ["No {side} pneumothorax.", "No pneumothorax on the {side}."],
    "consolidation": ["No {side} lung consolidation.", "No consolidation on the {side}."],
    "nodule": ["No {side} lung nodule.", "No nodule on the {side}."],
    "fracture": ["No {side} rib fracture.", "The {side} ribs are intact."],
}
_ABSENT_TOGETHER: dict[frozenset[Kind], list[str]] = {
    frozenset({"effusion", "pneumothorax"}): ["No pleural effusion or pneumothorax.", "No pneumothorax or effusion."],
    frozenset({"consolidation", "effusion"}): [
        "No consolidation or effusion.",
        "No focal consolidation or pleural effusion.",
    ],
    frozenset({"consolidation", "nodule"}): ["No consolidation or nodule."],
    frozenset({"consolidation", "effusion", "pneumothorax"}): ["No focal consolidation, effusion or pneumothorax."],
}
_OFTEN_MENTIONED: dict[Kind, float] = {
    "effusion": 0.8,
    "pneumothorax": 0.75,
    "cardiomegaly": 0.75,
    "consolidation": 0.7,
    "nodule": 0.35,
    "fracture": 0.5,
    "pacemaker": 0.05,
    "hernia": 0.06,
    "edema": 0.45,
}
_NORMAL = ["The lungs are clear.", "Both lungs are clear.", "Lungs are well expanded and clear.", "Clear lungs."]
_NORMAL_IMPRESSION = [
    "No acute cardiopulmonary abnormality.",
    "Normal chest radiograph.",
    "No acute cardiopulmonary process.",
    "Normal chest.",
    "No acute disease.",
]
_UNREMARKABLE = ["Mediastinal contours are normal.", "The mediastinum is unremarkable.", "Hilar contours are normal."]
_TRAITS: dict[Trait, list[str]] = {
    "low volumes": ["Lung volumes are low.", "Low lung volumes.", "Poor inspiration."],
    "prominent aorta": ["The aortic knob is prominent.", "Prominent aorta.", "The aorta is tortuous."],
    "scoliosis": ["Mild scoliosis of the thoracic spine.", "Scoliosis."],
    "leads": ["ECG leads overlie the chest.", "Monitoring leads are noted."],
    "breast shadows": ["Breast shadows overlie the lung bases."],
}
_DOUBT = ["Possible {}", "Questionable {}", "Suspected {}", "Probable {}"]
_ASKED = [
    "Rule out pneumothorax.",
    "Cough and fever, evaluate for pneumonia.",
    "Shortness of breath, ? pleural effusion.",
    "Chest pain.",
    "Fall from a ladder, question rib fracture.",
    "Pacemaker placement, evaluate for pneumothorax.",
    "Known lung nodule, follow up.",
    "Dyspnea, rule out edema or effusion.",
    "Preoperative evaluation.",
    "Assess for cardiomegaly.",
    "History of hiatal hernia, epigastric pain.",
    "Smoker with weight loss, exclude left upper lobe nodule.",
]
_HEADINGS = {
    "exam": ["EXAM", "EXAMINATION", "Exam", "STUDY"],
    "indication": ["INDICATION", "Indication", "CLINICAL INDICATION", "HISTORY", "Clinical history", "REASON FOR EXAM"],
    "comparison": ["COMPARISON", "Comparison", "COMPARISONS"],
    "technique": ["TECHNIQUE", "Technique", "PROCEDURE"],
    "findings": ["FINDINGS", "Findings", "FINDINGS", "Findings", "FINDING"],
    "impression": ["IMPRESSION", "Impression", "IMPRESSION", "CONCLUSION", "Conclusion"],
}


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
    text = gap.join(f"{capital(random.choice(_HEADINGS[name]))}{mark}{words}" for name, words in body.items())
    if style == "sections" and random.random() < 0.3:
        text += f"{gap}Electronically signed by: Dr. {random.choice(('A. Hale', 'M. Okafor', 'J. Lindqvist', 'R. Banerjee'))}"
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
        "indication": random.choice(("", f"{study.age} year old {woman_or_man}. ")) + random.choice(_ASKED),
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
    traits = [random.choice(_TRAITS[trait]) for trait in study.traits if random.random() < 0.7]
    absent = _absent(study.findings, random)
    if not study.findings and random.random() < 0.7:
        absent.insert(0, random.choice(_NORMAL))
    if random.random() < 0.3:
        absent.append(random.choice(_UNREMARKABLE))
    return seen + traits + absent if random.random() < 0.7 else absent + traits + seen


def _impression(study: Study, random: Random) -> list[str]:
    if not study.findings:
        return [random.choice(_NORMAL_IMPRESSION)]
    words = [_present(finding, 1, random) for finding in study.findings]
    words = _join_sides(study.findings, words, random)
    if random.random() < 0.25:
        words += _absent(study.findings, random)[:1]
    return words


def _join_sides(findings: Sequence[Finding], sentences: list[str], random: Random) -> list[str]:
    """Write "bilateral" of what is on both sides, sometimes."""
    both = {"effusion": "Bilateral pleural effusions.", "fracture": "Bilateral rib fractures."}
    for kind, words in both.items():
        places = [number for number, finding in enumerate(findings) if finding.kind == kind]
        if len(places) == 2 and random.random() < 0.4:
            sentences = [
                words if number == places[0] else sentence
                for number, sentence in enumerate(sentences)
                if number != places[1]
            ]
            return sentences
    return sentences


def _present(finding: Finding, part: Literal[0, 1], random: Random) -> str:
    key = finding.kind if finding.kind != "nodule" else "calcified" if finding.calcified else "noncalcified"
    words = random.choice(_PRESENT[key][part]).format(
        side=finding.side,
        lobe=LOBES[finding.lobe][1] if finding.lobe else "",
        size=_size(finding, random),
        place=_place(finding),
    )
    if finding.subtle and random.random() < 0.6:
        short = random.choice(_PRESENT[key][1]).format(
            side=finding.side,
            lobe=LOBES[finding.lobe][1] if finding.lobe else "",
            size=_size(finding, random),
            place="",
        )
        words = random.choice(_DOUBT).format(short[0].lower() + short[1:])
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
        return "multiple" if 2.2 * finding.size >= 1 else "single"
    small, large = ("small", "tiny", "minimal"), ("large",)
    return random.choice(small) if finding.size < 0.33 else "moderate" if finding.size < 0.7 else random.choice(large)


def _place(finding: Finding) -> str:
    return "upper" if finding.down < 0.4 else "mid" if finding.down < 0.62 else "lower"


def _absent(findings: Sequence[Finding], random: Random) -> list[str]:
    """Say what is not there: most of it, not always, and of one side where the other has it."""
    present = {finding.kind for finding in findings}
    named = [kind for kind, often in _OFTEN_MENTIONED.items() if kind not in present and random.random() < often]
    sentences: list[str] = []
    for group, words in _ABSENT_TOGETHER.items():
        if group <= set(named) and random.random() < 0.4:
            sentences.append(random.choice(words))
            named = [kind for kind in named if kind not in group]
    for kind in named:
        sided = kind in _ABSENT_ON_A_SIDE and random.random() < 0.15
        words = random.choice(_ABSENT_ON_A_SIDE[kind] if sided else _ABSENT[kind])
        sentences.append(words.format(side=random.choice(("left", "right"))))
    for kind in _ABSENT_ON_A_SIDE:
        sides = {finding.side for finding in findings if finding.kind == kind}
        if len(sides) == 1 and random.random() < 0.45:
            other = "right" if sides == {"left"} else "left"
            sentences.append(random.choice(_ABSENT_ON_A_SIDE[kind]).format(side=other))
    random.shuffle(sentences)
    return [sentence[0].upper() + sentence[1:] for sentence in sentences]


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
        classes[f"{side.title()} Pleural Effusion"] = [f"{side} pleural effusion", f"{side}-sided effusion"]
        classes[f"{side.title()} Pneumothorax"] = [f"{side} pneumothorax", f"{side}-sided pneumothorax"]
        classes[f"{side.title()} Calcified Nodule"] = [
            f"calcified nodule in the {side} lung",
            f"{side} calcified granuloma",
        ]
        classes[f"{side.title()} Noncalcified Nodule"] = [
            f"noncalcified nodule in the {side} lung",
            f"{side} lung nodule",
        ]
        classes[f"{side.title()} Rib Fracture"] = [f"{side} rib fracture", f"{side}-sided rib fracture"]
    for side, lobe in LOBES.values():
        classes[f"{side.title()} {lobe.title()} Consolidation"] = [
            f"{side} {lobe} consolidation",
            f"{side} {lobe} pneumonia",
        ]
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
    "negative": ["no {}"],
    "overrides": {NO_FINDING: {"positive": ["{}"], "negative": ["abnormal chest"]}},
}
