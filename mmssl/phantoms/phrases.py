"""The phrases that phantoms' reports are put together from."""

from __future__ import annotations

from .findings import Kind, Trait

# {side}, {lobe}, {size}, {place} are filled in. The first list is for FINDINGS, the second, shorter, for IMPRESSION.
PRESENT: dict[str, tuple[list[str], list[str]]] = {
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
ABSENT: dict[Kind, list[str]] = {
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
ABSENT_ON_A_SIDE: dict[Kind, list[str]] = {
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
ABSENT_TOGETHER: dict[frozenset[Kind], list[str]] = {
    frozenset({"consolidation", "effusion", "pneumothorax"}): [
        "No focal consolidation, effusion or pneumothorax.",
        "No consolidation, pleural effusion or pneumothorax.",
    ],
    frozenset({"effusion", "pneumothorax"}): ["No pleural effusion or pneumothorax.", "No pneumothorax or effusion."],
    frozenset({"consolidation", "effusion"}): ["No consolidation or effusion.", "No consolidation or pleural fluid."],
    frozenset({"consolidation", "nodule"}): ["No consolidation or nodule.", "No nodule or focal opacity."],
    frozenset({"cardiomegaly", "edema"}): ["No cardiomegaly or edema.", "Normal heart size and pulmonary vascularity."],
}
OFTEN_MENTIONED: dict[Kind, float] = {
    "effusion": 0.6,
    "pneumothorax": 0.6,
    "cardiomegaly": 0.5,
    "consolidation": 0.5,
    "nodule": 0.2,
    "fracture": 0.3,
    "pacemaker": 0.04,
    "hernia": 0.04,
    "edema": 0.3,
}
NORMAL = ["The lungs are clear.", "Both lungs are clear.", "Lungs are well expanded and clear.", "Clear lungs."]
NORMAL_IMPRESSION = [
    "No acute cardiopulmonary abnormality.",
    "Normal chest radiograph.",
    "No acute cardiopulmonary process.",
    "Normal chest.",
    "No acute disease.",
]
UNREMARKABLE = ["Mediastinal contours are normal.", "The mediastinum is unremarkable.", "Hilar contours are normal."]
TRAITS: dict[Trait, list[str]] = {
    "low volumes": ["Lung volumes are low.", "Low lung volumes.", "Poor inspiration."],
    "prominent aorta": ["The aortic knob is prominent.", "Prominent aorta.", "The aorta is tortuous."],
    "scoliosis": ["Mild scoliosis of the thoracic spine.", "Scoliosis."],
    "leads": ["ECG leads overlie the chest.", "Monitoring leads are noted."],
    "breast shadows": ["Breast shadows overlie the lung bases."],
}
DOUBT = ["Possible {}", "Questionable {}", "Suspected {}", "Probable {}"]
ASKED = [
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
HEADINGS = {
    "exam": ["EXAM", "EXAMINATION", "Exam", "STUDY"],
    "indication": ["INDICATION", "Indication", "CLINICAL INDICATION", "HISTORY", "Clinical history", "REASON FOR EXAM"],
    "comparison": ["COMPARISON", "Comparison", "COMPARISONS"],
    "technique": ["TECHNIQUE", "Technique", "PROCEDURE"],
    "findings": ["FINDINGS", "Findings", "FINDINGS", "Findings", "FINDING"],
    "impression": ["IMPRESSION", "Impression", "IMPRESSION", "CONCLUSION", "Conclusion"],
}
BILATERAL: dict[Kind, str] = {"effusion": "Bilateral pleural effusions.", "fracture": "Bilateral rib fractures."}
READERS = ["A. Hale", "M. Okafor", "J. Lindqvist", "R. Banerjee"]
