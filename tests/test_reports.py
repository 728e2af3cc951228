"""Reports in the many ways that hospitals write them; what is expected is written out by hand."""

import random

import pytest

from mmssl.data import reports

# ---- sections ------------------------------------------------------------------------------------------------------

PARTS = {"indication": "Cough.", "comparison": "None.", "findings": "No effusion.", "impression": "Normal chest."}

SPELLINGS = {
    "INDICATION: Cough. COMPARISON: None. FINDINGS: No effusion. IMPRESSION: Normal chest.",
    "INDICATION: Cough.\nCOMPARISON: None.\nFINDINGS: No effusion.\nIMPRESSION: Normal chest.",
    "Indication: Cough. Comparison: None. Findings: No effusion. Impression: Normal chest.",
    "indication: Cough.\ncomparison: None.\nfindings: No effusion.\nimpression: Normal chest.",
    "INDICATION\nCough.\n\nCOMPARISON\nNone.\n\nFINDINGS\nNo effusion.\n\nIMPRESSION\nNormal chest.",
    "Indication\nCough.\n\nComparison\nNone.\n\nFindings\nNo effusion.\n\nImpression\nNormal chest.",
    "Indication - Cough.\nComparison - None.\nFindings - No effusion.\nImpression - Normal chest.",
    "INDICATION \u2013 Cough.\nCOMPARISON \u2013 None.\nFINDINGS \u2014 No effusion.\nIMPRESSION \u2014 Normal chest.",
    "**Indication**\nCough.\n**Comparison**\nNone.\n**Findings**\nNo effusion.\n**Impression**\nNormal chest.",
    "**Indication:** Cough. **Comparison:** None. **Findings:** No effusion. **Impression:** Normal chest.",
    "__INDICATION__: Cough.\n__COMPARISON__: None.\n__FINDINGS__: No effusion.\n__IMPRESSION__: Normal chest.",
    "## Indication\nCough.\n## Comparison\nNone.\n## Findings\nNo effusion.\n## Impression\nNormal chest.",
    "=== INDICATION ===\nCough.\n=== COMPARISON ===\nNone.\n"
    "=== FINDINGS ===\nNo effusion.\n=== IMPRESSION ===\nNormal chest.",
    "<b>INDICATION:</b> Cough.<br/><b>COMPARISON:</b> None.<br>"
    "<b>FINDINGS:</b> No effusion.<p>IMPRESSION: Normal chest.</p>",
    "REASON FOR EXAM: Cough.\nPRIOR STUDIES: None.\nREPORT: No effusion.\nCONCLUSION: Normal chest.",
    "Clinical information: Cough.\r\nComparison: None.\r\nDescription: No effusion.\r\nOpinion: Normal chest.",
    "REASON FOR THE EXAMINATION:  Cough.\n  COMPARISONS:  None.\n "
    "CHEST FINDINGS: No effusion.\nFINAL IMPRESSION: Normal chest.",
    "1. INDICATION: Cough.\n2. COMPARISON: None.\n3. FINDINGS: No effusion.\n4. IMPRESSION: Normal chest.",
    "FINAL REPORT\nINDICATION: Cough.\nCOMPARISON: None.\n"
    "FINDINGS: No effusion.\nIMPRESSION: Normal chest.\nEND OF IMPRESSION",
    "INDICATION:\\.br\\Cough.\\.br\\COMPARISON:\\.br\\None.\\.br\\"
    "FINDINGS:\\.br\\No effusion.\\.br\\IMPRESSION: Normal chest.",
    "[INDICATION] Cough.\n[COMPARISON]: None.\n[Findings:] No effusion.\n[IMPRESSION]\nNormal chest.",
    "Indication (as given): Cough.\nComparison: None.\nFindings (chest): No effusion.\nImpression: Normal chest.",
}


@pytest.mark.parametrize("report", sorted(SPELLINGS))
def test_headings_in_their_many_spellings(report):
    assert dict(reports.sections(report)) == PARTS
    assert reports.training_text(report) == ("No effusion.\nNormal chest.", "sections")


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("Indication: cough Findings: clear Impression: ok", ["indication", "findings", "impression"]),
        ("INDICATION: right lateral chest FINDINGS: Stable.", ["indication", "findings"]),
        ("CLINICAL IMPRESSION: pneumonia. IMPRESSION: clear.", ["indication", "impression"]),
        ("Clinical findings: fever. Findings: clear.", ["indication", "findings"]),
        ("ADMITTING DIAGNOSIS: sepsis\nDIAGNOSIS: normal", ["indication", "impression"]),
        ("HISTORY AND INDICATION: x\nFINDINGS AND IMPRESSION: y", ["history", "findings"]),
        ("IMPRESSION AND RECOMMENDATIONS: y", ["impression"]),
        ("FINDINGS: LUNGS: clear. HEART: normal. BONES: intact.", ["findings"]),
        ("FINDINGS: No other findings: all clear.", ["findings"]),
        ("FINDINGS: NO ACUTE FINDINGS: ALL CLEAR.", ["findings"]),
        ("The impression of the radiologist: no change in findings.", ["preamble"]),
        ("There are no acute\nfindings: none. Nothing else.", ["preamble"]),
        (
            "indication: rule out pneumothorax\nfindings: no effusion\nimpression: normal",
            ["indication", "findings", "impression"],
        ),
        ("Indication\nrule out pneumothorax\nFindings\nno effusion", ["indication", "findings"]),
        ("Indication rule out pneumothorax\nFindings\nno effusion", ["preamble", "findings"]),
        ("Chest film without other\nFindings\nof note [sic]", ["preamble"]),
        ("ADDENDUM: A fracture.\nFINDINGS: Clear.", ["addendum", "findings"]),
        (
            "Exam: XR\nTechnique: PA\nProcedure: none\nRecommendation: none",
            ["exam", "technique", "exam", "recommendation"],
        ),
        ("CHEST, PA AND LATERAL: The lungs are clear.\nIMPRESSION: Normal.", ["findings", "impression"]),
        ("CT CHEST: Helical images were made.\nFINDINGS: x", ["preamble", "findings"]),
        ("FINDINGS: x\nICD-10 CODES: J18.9\nSTATUS: final", ["findings", "administrative", "administrative"]),
    ],
)
def test_what_is_a_heading_and_what_is_not(report, expected):
    assert [name for name, _ in reports.sections(report)] == expected
    assert set(expected) <= set(reports.SECTIONS)


def test_masked_words_are_kept():
    assert reports.sections("INDICATION: ___F with cough.\nFINDINGS: XXXX and ___ are clear.") == [
        ("indication", "___F with cough."),
        ("findings", "XXXX and ___ are clear."),
    ]


@pytest.mark.parametrize(
    "signature",
    [
        "Dictated by: Jane Roe, MD",
        "DICTATED BY: JANE ROE\nELECTRONICALLY SIGNED BY: JOHN DOE\n01/02/2020",
        "Electronically signed by Jane Roe on 1/2/2020",
        "This report was electronically signed by Jane Roe",
        "Signed: Jane Roe",
        "Attending radiologist: Jane Roe",
        "Interpreted by: Jane Roe",
        "Reviewed and electronically signed by: Jane Roe",
        "Radiologist: Jane Roe",
        "I, Jane Roe, have personally reviewed the images and agree.",
    ],
)
@pytest.mark.parametrize("place", ["{report}\n{signature}", "{report}\n\n{signature}", "{report} {signature}"])
@pytest.mark.parametrize("report", ["FINDINGS: No effusion.", "No effusion."])
def test_signatures_are_never_text(signature, place, report):
    text, _ = reports.training_text(place.format(report=report, signature=signature))
    assert text == "No effusion."


def test_a_signature_at_the_top():
    assert reports.training_text("Dictated by: Jane Roe\nThe lungs are clear.") == ("The lungs are clear.", "whole")


# ---- the text to train on ------------------------------------------------------------------------------------------


def test_which_sections_is_a_choice():
    report = "INDICATION: rule out pneumothorax. IMPRESSION: ok. FINDINGS: clear. RECOMMENDATION: none."
    assert reports.training_text(report) == ("clear.\nok.", "sections")
    assert reports.training_text(report, ["impression"]) == ("ok.", "sections")
    assert reports.training_text(report, ["impression", "findings"]) == ("ok.\nclear.", "sections")
    assert reports.training_text(report, ["technique"]) == ("", "no_section")


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("The lungs are clear. No effusion.", ("The lungs are clear. No effusion.", "whole")),
        ("FINAL REPORT\nThe lungs are clear.", ("The lungs are clear.", "whole")),
        ("INDICATION: rule out pneumothorax", ("", "no_section")),
        ("TECHNIQUE: PA. COMPARISON: pneumonia in 2019.", ("", "no_section")),
        ("FINDINGS:\nIMPRESSION:\n", ("", "no_section")),
        ("FINDINGS: \nIMPRESSION: Clear.", ("Clear.", "sections")),
        ("", ("", "empty")),
        ("  \n ", ("", "empty")),
        ("Dictated by: Jane Roe", ("", "empty")),
        ("Clear lungs.\nADDENDUM: A fracture.", ("Clear lungs.", "whole")),
        ("Addendum: Small thrombus in the left vein.", ("Small thrombus in the left vein.", "whole")),
        ("INDICATION: fall.\nADDENDUM: A fracture.", ("A fracture.", "sections")),
        ("FINDINGS: Clear.\nADDENDUM: A fracture.", ("Clear.", "sections")),
    ],
)
def test_reports_without_the_wanted_headings(report, expected):
    assert reports.training_text(report) == expected


@pytest.mark.parametrize(
    "heading",
    [
        *("FINDINGS/IMPRESSION", "FINDINGS AND IMPRESSION", "Findings & Impression", "FINDINGS / CONCLUSION"),
        *("IMPRESSION/FINDINGS", "Impression and Findings", "FINDINGS-IMPRESSION", "Findings and Opinion"),
        *("FINDINGS/INTERPRETATION", "FINDINGS / DIAGNOSIS"),
    ],
)
@pytest.mark.parametrize("wanted", [["findings"], ["impression"], ["findings", "impression"]])
def test_one_heading_of_findings_and_impression_is_either(heading, wanted):
    report = f"INDICATION: cough\n{heading}: Clear."
    assert reports.training_text(report, wanted) == ("Clear.", "sections")
    assert reports.sections(report) == [("indication", "cough"), ("findings", "Clear.")]


def test_what_stands_in_another_section_is_not_an_impression():
    assert reports.training_text("FINDINGS: Clear.", ["impression"]) == ("", "no_section")
    assert reports.training_text("FINDINGS/IMPRESSION: Clear. IMPRESSION: Ok.", ["impression"]) == (
        "Clear.\nOk.",
        "sections",
    )


@pytest.mark.parametrize(
    ("otherwise", "expected"),
    [
        ((), ("", "no_section")),
        (("recommendation",), ("", "no_section")),
        (("recommendation", "findings"), ("Clear.", "otherwise")),
        (("findings", "technique"), ("Clear.", "otherwise")),
        (("whole",), ("PA.\nClear.", "otherwise")),
    ],
)
def test_what_is_taken_otherwise_is_a_choice_in_order(otherwise, expected):
    report = "INDICATION: cough. TECHNIQUE: PA. FINDINGS: Clear.\nDictated by: Jane Roe"
    assert reports.training_text(report, ["impression"], otherwise) == expected


def test_what_is_wanted_goes_before_what_is_taken_otherwise():
    report = "FINDINGS: Clear. IMPRESSION: Ok.\nADDENDUM: A fracture."
    assert reports.training_text(report, ["impression"], ["findings"]) == ("Ok.", "sections")
    assert reports.training_text("ADDENDUM: A fracture.\nTECHNIQUE: PA.", ["impression"]) == ("A fracture.", "sections")


@pytest.mark.parametrize(
    "heading",
    [
        *("ADDENDUM:", "Addendum:", "ADDENDA:", "ADDENDUM #1:", "ADDENDUM 2:", "Addendum No. 1:", "ADDENDUM 1 of 2:"),
        *("***ADDENDUM***\n", "--- ADDENDUM ---\n", "ADDENDUM\n", "**Addendum**\n", "[ADDENDUM]", "=== ADDENDUM ===\n"),
        *("ADDENDUM (1/2/2020):", "Addendum dated 01/02/2020:", "ADDENDUM BY DR. ROE ON 1/2/2020 10:15 AM:"),
        *("ADDENDUM TO REPORT:", "Addendum to the final report:", "ADDENDUM BEGINS:", "START OF ADDENDUM:"),
        *("AMENDMENT:", "AMENDED REPORT:", "Corrected report:", "REVISED IMPRESSION:", "CORRECTION:"),
    ],
)
def test_addenda_in_their_many_spellings(heading):
    report = f"FINDINGS: Clear.\nIMPRESSION: Ok.\n{heading} A fracture."
    assert reports.sections(report) == [("findings", "Clear."), ("impression", "Ok."), ("addendum", "A fracture.")]
    assert reports.training_text(report)[0] == "Clear.\nOk."
    assert reports.training_text(report, ["findings", "addendum"])[0] == "Clear.\nA fracture."


def test_an_addendum_above_the_report_and_one_with_an_end():
    above = "ADDENDUM: A fracture.\nORIGINAL REPORT:\nThe lungs are clear."
    assert reports.sections(above) == [("addendum", "A fracture."), ("preamble", "The lungs are clear.")]
    ended = "ADDENDUM: A fracture.\nEND OF ADDENDUM\nThe lungs are clear."
    assert reports.sections(ended) == [("addendum", "A fracture."), ("preamble", "The lungs are clear.")]
    assert reports.training_text("Clear lungs.\nADDENDUM: A fracture.", ["findings", "addendum"]) == (
        "Clear lungs.\nA fracture.",
        "whole",
    )


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("COMPARISON:\nThere is a left effusion.", ["findings"]),
        ("FINDINGS: Chest  Comparison: The heart is enlarged.", ["findings", "findings"]),
        ("COMPARISON: There is no prior study.", ["comparison"]),
        ("COMPARISON: There are no previous films.", ["comparison"]),
        ("COMPARISON: PA film of 2019.", ["comparison"]),
    ],
)
def test_an_empty_comparison_before_findings_that_have_no_heading(report, expected):
    assert [name for name, _ in reports.sections(report)] == expected


def test_an_addendum_is_no_section_that_was_not_asked_for():
    report = "FINDINGS: Clear.\nADDENDUM: A fracture."
    assert reports.training_text(report, ["impression"]) == ("", "no_section")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, text) for text in ("Comparison: prior CT. New mass is seen.", "Procedure: biopsy of node")),
        ("Exam: CT. Large mass. Indication: cough", "CT. Large mass."),
        *((text, None) for text in ("INDICATION: rule out pneumothorax", "A mass.", "Addendum: A mass.", "")),
        ("Comparison: none. Impression: Clear.", None),
    ],
)
def test_a_caption_with_headings_is_kept_whole_but_for_why_the_picture_was_taken(text, expected):
    assert reports.caption(text) == expected


LEAKS = ("SECRETINDICATION", "SECRETHISTORY", "SECRETTECHNIQUE", "SECRETCOMPARISON", "SECRETSIGNATURE")


def test_nothing_but_findings_and_impression_in_any_order_and_style():
    rng = random.Random(0)
    unwanted = {
        "INDICATION": LEAKS[0],
        "CLINICAL HISTORY": LEAKS[1],
        "TECHNIQUE": LEAKS[2],
        "COMPARISON": LEAKS[3],
        "DICTATED BY": LEAKS[4],
    }
    wanted = {"FINDINGS": "Left effusion seen.", "IMPRESSION": "Pneumonia likely."}
    for _ in range(300):
        parts = [*unwanted.items(), *wanted.items()]
        rng.shuffle(parts)
        style = rng.choice([str.upper, str.title, str.capitalize])
        join = rng.choice(["\n", "\n\n", ". ", " "])
        mark = rng.choice([": ", ":\n", " : "])
        report = join.join(f"{style(name)}{mark}{text}" for name, text in parts)
        text, how = reports.training_text(report)
        assert how == "sections", report
        assert "Left effusion seen" in text, report
        assert "Pneumonia likely" in text, report
        assert not any(leak in text for leak in LEAKS), report


# ---- sentences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A 2.5 cm nodule. No effusion.", ["A 2.5 cm nodule.", "No effusion."]),
        ("Seen by Dr. Smith. Approx. 3 mm larger.", ["Seen by Dr. Smith.", "Approx. 3 mm larger."]),
        ("Nodule vs. granuloma. Calcified, e.g. old.", ["Nodule vs. granuloma.", "Calcified, e.g. old."]),
        ("1. No effusion. 2. Heart normal. 3. Done.", ["No effusion.", "Heart normal.", "Done."]),
        ("1.No effusion.\n2.Heart normal.", ["No effusion.", "Heart normal."]),
        ("1) No effusion\n2) Heart normal", ["No effusion", "Heart normal"]),
        ("- No effusion\n- Heart normal\n\u2022 Old fracture", ["No effusion", "Heart normal", "Old fracture"]),
        ("No effusion\nHeart normal\nLungs clear", ["No effusion", "Heart normal", "Lungs clear"]),
        (
            "There is a small effusion on the\nleft. The heart is normal.",
            ["There is a small effusion on the left.", "The heart is normal."],
        ),
        (
            "There is no focal consolidation, pleural effusion or pneumothorax.  Bilateral\nnodular opacities most "
            "likely represent nipple shadows. The cardiomediastinal\nsilhouette is normal.",
            [
                "There is no focal consolidation, pleural effusion or pneumothorax.",
                "Bilateral nodular opacities most likely represent nipple shadows.",
                "The cardiomediastinal silhouette is normal.",
            ],
        ),
        ("Clear lungs\n\nNormal heart", ["Clear lungs", "Normal heart"]),
        ("Heart is normal.No effusion.", ["Heart is normal.", "No effusion."]),
        ("No effusion.. Heart normal...", ["No effusion.", "Heart normal."]),
        ("Stable at 2 cm. Next.", ["Stable at 2 cm.", "Next."]),
        ("Fracture of T12. Level L1. No change.", ["Fracture of T12.", "Level L1.", "No change."]),
        ("At 3:45 p.m. the tube was moved. It is fine.", ["At 3:45 p.m. the tube was moved.", "It is fine."]),
        ("Is there an effusion? No! Clear.", ["Is there an effusion?", "No!", "Clear."]),
        ("XXXX XXXX are clear. The XXXX is normal.", ["XXXX XXXX are clear.", "The XXXX is normal."]),
        ("No effusion", ["No effusion"]),
        ("", []),
        (" . \n - \n", []),
    ],
)
def test_sentences(text, expected):
    assert reports.sentences(text) == expected


def test_every_word_of_a_text_is_in_one_sentence():
    rng = random.Random(1)
    words = [
        "effusion",
        "2.5",
        "cm",
        "Dr.",
        "Smith.",
        "No",
        "approx.",
        "left,",
        "The",
        "clear.",
        "1.",
        "L1.",
        "XXXX",
        "is",
    ]
    for _ in range(300):
        text = rng.choice(["", "- "]) + "".join(
            word + rng.choice([" ", " ", " ", "\n"]) for word in rng.choices(words, k=25)
        )
        kept = " ".join(reports.sentences(text)).split()
        marks = {"1.", "-"}  # marks of lists go
        assert [word for word in kept if word not in marks] == [word for word in text.split() if word not in marks]


# ---- placeholders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", None, "-", "...", "?", "1", "12/3", "N/A", "n/a.", "NA", "None", "none.", "NULL", "nan", "TBD"),
        *("Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS.", "replace this text", "No caption", "[No caption]"),
        *("xxx", "XXXX XXXX.", "x", "See report", "see above.", "Insert text here", "Lorem ipsum dolor sit amet"),
        *("Figure 1", "Image 12", "Caption goes here", "report to follow", "In progress.", "(none)", '"N/A"'),
    ],
)
def test_what_says_nothing(text):
    assert reports.is_placeholder(text)


@pytest.mark.parametrize(
    "text",
    [
        *("Normal", "No findings.", "Unchanged", "Negative", "Clear", "Pelvis", "Sarcoidosis", "No change.", "Chest."),
        *("No acute disease", "None of the lesions enhance", "See the 2 cm nodule in the left lung", "XXXX is normal"),
        *(
            "Figure 1 shows a fracture",
            "Image of the chest",
            "Unknown mass in the liver",
            "Test of lung function normal",
        ),
        *("Type 2 odontoid fracture", "Add-on view of the chest", "Enter the stomach: the tube does", "CT"),
    ],
)
def test_what_a_radiologist_may_have_meant(text):
    assert not reports.is_placeholder(text)


def test_normalised_texts_are_the_same_where_nothing_differs():
    same = {"No effusion.", " no  EFFUSION", "No\neffusion!", "\uff2eo effusion ;", "no effusion"}
    assert {reports.normalise(text) for text in same} == {"no effusion"}
    assert reports.normalise("No effusion. Left.") != reports.normalise("No effusion. Right.")
