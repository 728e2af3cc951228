"""What rows say of their texts."""

import pytest

from tests.preparing import made, source

EDEMA = "FINDINGS: A mass with surrounding edema. No hemorrhage."


def findings(folder, text, **columns):
    rows = [{"text": "words", "patient_id": "p"}, {"report": text, "patient_id": "q", **columns}]
    rows = [{"report": "", "modality": "", "body_part": "", **row} for row in rows]
    told = made(source(folder / "in", rows), folder / "out")["1.png"]["findings"]
    return None if told is None else {one["name"]: (one["assertion"], one["laterality"]) for one in told}


@pytest.mark.parametrize(
    ("columns", "is_read"),
    [
        ({"modality": "MR", "body_part": "BRAIN"}, False),
        ({"modality": "MR"}, False),
        ({"modality": "CT", "body_part": "CHEST"}, True),
        ({"modality": "DX"}, True),
        ({}, True),
        ({"modality": "DX", "body_part": "KNEE"}, False),
    ],
)
def test_findings_of_the_chest_are_read_of_the_chest_alone(tmp_path, columns, is_read):
    """Their codes are those of pulmonary edema and of nodules of the lung."""
    found = findings(tmp_path, EDEMA, **columns)
    assert (found is not None) == is_read
    assert not is_read or found["Edema"][0] == "present"


def test_a_report_of_another_part_that_speaks_of_the_chest_is_read(tmp_path):
    text = "FINDINGS: Small left pleural effusion at the base. No hydronephrosis."
    assert findings(tmp_path, text, modality="CT", body_part="ABDOMEN") == {"Pleural Effusion": ("present", "left")}


def test_a_side_is_said_where_all_mentions_agree(tmp_path):
    text = "FINDINGS: Right pleural effusion. Left pleural effusion. Right pneumothorax."
    assert findings(tmp_path, text, modality="DX") == {
        "Pleural Effusion": ("present", "bilateral"), "Pneumothorax": ("present", "right"),
    }  # fmt: skip
