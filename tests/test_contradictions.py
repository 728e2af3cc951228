"""Defects of texts: found where both sides say it outright, and never guessed."""

import pytest

from mmssl.data.contradictions import FLAGS, PARTS, SYNONYMS, TextDefects, text_flags


def flags(text, **columns):
    return text_flags(text, columns, TextDefects())


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        (None, "text_missing"),
        ("  \n ", "text_missing"),
        ("Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS.", "text_placeholder"),
        ("N/A", "text_placeholder"),
        ("CT", "text_too_short"),
        ("ok.", "text_too_short"),
    ],
)
def test_a_text_that_says_nothing_is_found(text, flag):
    assert flags(text) == (flag,)


@pytest.mark.parametrize("text", ["Sarcoidosis", "Normal.", "No findings.", "mass", "Unchanged."])
def test_a_single_word_may_be_a_whole_finding(text):
    assert flags(text) == ()


CONTRADICTIONS = [
    ("Left knee: no fracture.", {"laterality": "R", "body_part": "KNEE"}, "text_other_side"),
    ("Radiographs of the right hand show a fracture.", {"laterality": "L", "body_part": "HAND"}, "text_other_side"),
    ("KNEE, LEFT: Effusion.", {"laterality": "R", "body_part": "KNEE"}, "text_other_side"),
    ("The right breast is dense.", {"laterality": "L", "body_part": "BREAST"}, "text_other_side"),
    ("The prostate is enlarged.", {"sex": "F"}, "text_other_sex"),
    ("Uterine fibroids.", {"sex": "M"}, "text_other_sex"),
    ("Testicular mass.", {"sex": "female"}, "text_other_sex"),
    ("Knee MRI: torn meniscus.", {"body_part": "CHEST"}, "text_other_part"),
    ("Axial brain MRI with a lesion.", {"body_part": "ABDOMEN"}, "text_other_part"),
    ("Chest x-ray without effusion.", {"body_part": "HAND"}, "text_other_part"),
    ("CT of the neck shows a lesion.", {"body_part": "KNEE"}, "text_other_part"),
    ("Lumbar spine radiographs.", {"body_part": "SKULL"}, "text_other_part"),
]

SOUND = [
    ("Left pleural effusion.", {"laterality": "R", "body_part": "CHEST"}),  # a chest has both sides
    ("Left knee.", {"body_part": "KNEE"}),
    ("Left knee.", {"laterality": "L", "body_part": "KNEE"}),
    ("Left knee.", {"laterality": "B", "body_part": "KNEE"}),
    ("Left and right knee.", {"laterality": "R", "body_part": "KNEE"}),
    ("Both knees; the left knee has an effusion.", {"laterality": "R", "body_part": "KNEE"}),
    ("Compared to the left knee. No fracture.", {"laterality": "R", "body_part": "KNEE"}),
    ("The left hand is not imaged; knee normal.", {"laterality": "R", "body_part": "KNEE"}),
    ("Knee with the left lateral meniscus torn.", {"laterality": "R", "body_part": "KNEE"}),
    ("No prostate is seen.", {"sex": "F"}),
    ("Uterus and prostate.", {"sex": "F"}),
    ("Status post prostatectomy; prior prostate cancer.", {"sex": "F"}),
    ("Prostate enlarged.", {"sex": "M"}),
    ("Prostate enlarged.", {"sex": "O"}),
    ("Mother with ovarian cancer.", {"sex": "M"}),
    ("Knee MRI.", {"body_part": "WHOLEBODY"}),
    ("Knee pain after a fall.", {"body_part": "CHEST"}),
    ("Pneumonia; history of knee MRI.", {"body_part": "CHEST"}),
    ("CT of the chest, abdomen and pelvis.", {"body_part": "PELVIS"}),
    ("Chest CT with the upper abdomen.", {"body_part": "ABDOMEN"}),
    ("Hand radiographs.", {"body_part": "WRIST"}),
    ("Brain MRI.", {"body_part": "NECK"}),
    ("Shoulder x-ray.", {"body_part": "CHEST"}),
    ("The head of the radius is intact.", {"body_part": "ELBOW"}),
    ("On the other hand, there is no effusion.", {"body_part": "CHEST"}),
]


@pytest.mark.parametrize(("text", "columns", "flag"), CONTRADICTIONS)
def test_what_both_sides_say_outright_is_found(text, columns, flag):
    assert flags(text, **columns) == (flag,)


@pytest.mark.parametrize(("text", "columns"), SOUND)
def test_what_is_left_open_is_no_contradiction(text, columns):
    assert flags(text, **columns) == ()


@pytest.mark.parametrize(("text", "columns", "flag"), CONTRADICTIONS)
def test_nothing_is_said_where_the_columns_say_nothing(text, columns, flag):
    assert flags(text) == flags(text, **dict.fromkeys(columns)) == flags(text, **dict.fromkeys(columns, "")) == ()


def test_each_check_can_be_switched_off():
    off = TextDefects(placeholder=False, contradictions=False, min_letters=0)
    assert text_flags("N/A", {}, off) == ()
    for text, columns, _ in CONTRADICTIONS:
        assert text_flags(text, columns, off) == ()


def test_every_flag_is_raised_by_some_text_here():
    raised = {flag for _, _, flag in CONTRADICTIONS} | {"text_missing", "text_placeholder", "text_too_short"}
    assert raised == set(FLAGS)
    assert set(SYNONYMS.values()) <= set(PARTS)
