"""The tables that reports are read by: phrases written short, what users add, languages, and mistakes."""

import pytest
import yaml

from mmssl.data import languages, reports
from mmssl.data.phrases import MOST, expand
from mmssl.errors import CannotDo, WrongUse

# ---- phrases -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("effusion", ["effusion"]),
        ("effusion(s)", ["effusion", "effusions"]),
        ("(pleural) effusion", ["effusion", "pleural effusion"]),
        ("<left|right> lung", ["left lung", "right lung"]),
        ("(left|right) lung", ["lung", "left lung", "right lung"]),
        ("<a (b)|c> d", ["a d", "a b d", "c d"]),
        ("a  b", ["a b"]),
        ("<a|a>", ["a"]),
    ],
)
def test_a_line_stands_for_phrases(line, expected):
    assert expand(line) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("(left", "is not closed"),
        ("left)", "closes nothing"),
        ("<left|right", "is not closed"),
        ("left|right", "stands between"),
        ("(left)", "no words at all"),
        ("<a|b|c|d|e|f|g|h|i|j>" * 4, f"more than {MOST}"),
    ],
)
def test_what_is_wrong_with_a_line(line, said):
    with pytest.raises(ValueError, match=said):
        expand(line)


# ---- what is shipped -----------------------------------------------------------------------------------------------

CHEXPERT = [
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
]


def test_the_names_are_those_of_chexpert_and_four_more():
    [english] = languages.shipped().each
    assert [term.name for term in english.terms] == [*CHEXPERT, "Nodule", "Mass", "Hiatal Hernia", "Granuloma"]


def test_codes_are_those_that_were_read_with_their_source_and_the_others_are_counted():
    [english] = languages.shipped().each
    assert {term.name: term.code for term in english.terms if term.code} == {
        "Edema": "SCT:19242006",
        "Pneumothorax": "SCT:36118008",
        "Pleural Effusion": "SCT:60046008",
        "Nodule": "SCT:27925004",
        "Mass": "SCT:4147007",
    }
    assert all("PS3.16" in term.source for term in english.terms if term.code)
    assert len(languages.shipped().without_code()["en"]) == 13


# ---- a table of the user's -----------------------------------------------------------------------------------------


def written(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    return path


def test_a_user_adds_names_phrases_and_codes(tmp_path):
    table = {
        "Scoliosis": {"phrases": ["(thoracic) scoliosis"], "sides": False},
        "Fracture": {"phrases": ["broken collarbone"], "code": "RADLEX:RID12", "source": "made up for this test"},
        "Edema": {"phrases": ["wet lungs"], "except": ["wet lungs of the newborn"]},
    }
    tables = languages.load(findings=written(tmp_path / "mine.yaml", {"findings": table}))
    text = "No scoliosis. Broken collarbone on the left. Old rib fracture. Wet lungs. Left effusion."
    assert reports.parse(text, "en", tables).findings == {
        "Scoliosis": "absent",
        "Fracture": "present",
        "Edema": "present",
        "Pleural Effusion": "present",
    }
    found = {one.name: one for s in reports.parse(text, "en", tables).sentences for one in s.findings}
    assert found["Fracture"].code == "RADLEX:RID12"
    assert found["Pleural Effusion"].code == "SCT:60046008"
    assert "Edema" not in reports.parse("Wet lungs of the newborn.", "en", tables).findings
    assert "Scoliosis" not in reports.parse(text).findings
    assert len(tables.without_code()["en"]) == 13  # Scoliosis has none, Fracture has one now


MISTAKES = """\
findings:
  Scoliosis:
    phrase: [scoliosis]
  Edema:
    phrases: wet lungs
    sides: perhaps
  Kyphosis:
    phrases: [kyphosis, no, "(curved"]
    code: 12345
  Lordosis:
    phrases: [lordosis]
    code: SCT:12345678
    implies: [Scoliosys]
  fracture:
    phrases: [broken]
  Bone:
    of: {thing: [bones]}
  Edema:
    phrases: [oedema of the lung]
"""


def test_all_mistakes_of_a_table_are_said_at_once_with_file_and_line(tmp_path):
    path = written(tmp_path / "mine.yaml", MISTAKES)
    with pytest.raises(WrongUse) as caught:
        languages.load(findings=path)
    lines = str(caught.value).splitlines()
    expected = [
        (3, "findings.Scoliosis.phrase: unknown key, did you mean 'phrases'?"),
        (2, "findings.Scoliosis: has no words"),
        (8, "findings.Kyphosis.phrases.1: must be a text, got False; put it in quotes"),
        (8, "findings.Kyphosis.phrases.2: '(curved' ( is not closed"),
        (9, "findings.Kyphosis.code: must be SCT: or RADLEX:RID and a number"),
        (12, "findings.Lordosis.code: has no source"),
        (13, "no such finding: 'Scoliosys', did you mean 'Scoliosis'?"),
        (14, "findings.fracture: there is 'Fracture' already"),
        (17, "findings.Bone.of: must be {things: [...]"),
        (18, "findings.Edema: stands twice, in line 4 too"),
    ]
    for line, said in expected:
        assert any(one.strip().startswith(f"{path}:{line}: ") and said in one for one in lines), (line, said, lines)
    assert lines[0] == f"{len(lines) - 1} problems in the tables of languages"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a, b]", "a table is a mapping"),
        ("", "a table is a mapping, this is empty"),
        ("findings: {", "not YAML"),
        ("findings: {}", "write NAME"),
        ("finding: {A: {phrases: [a]}}", "did you mean 'findings'"),
        ("language: de\nfindings: {A: {phrases: [a]}}", "no such language; there are en"),
        ("findings: {1: {phrases: [a]}}", "put it in quotes"),
        ("findings: {A: [a]}", "must be {phrases"),
    ],
)
def test_what_is_no_table(tmp_path, text, said):
    with pytest.raises(WrongUse, match=said):
        languages.load(findings=written(tmp_path / "mine.yaml", text))


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(WrongUse, match="no such file"):
        languages.load(findings=tmp_path / "mine.yaml")


# ---- languages -----------------------------------------------------------------------------------------------------

GERMAN = {
    "language.yaml": {
        "names": ["de", "deu", "german", "deutsch"],
        "spacy": "de",
        "words": "der die das kein keine ist im am des und oder mit ohne nicht links rechts unauffällig kleiner",
        "headings": {"findings": ["Befund"], "impression": ["Beurteilung"], "indication": ["Fragestellung"]},
    },
    "findings.yaml": {
        "findings": {
            "Pneumothorax": {"phrases": ["pneumothorax"]},
            "Pleural Effusion": {"phrases": ["(<linksseitiger|rechtsseitiger>) pleuraerguss", "erguss"]},
        }
    },
    "cues.yaml": {
        "absent": {"before": ["<kein|keine|ohne>"], "after": ["nicht nachweisbar"]},
        "uncertain": {"before": ["V.a.", "möglicher"]},
        "hypothetical": {"before": ["ausschluss"]},
        "stop": ["aber"],
        "and": ["und"],
        "or": ["oder"],
        "left": ["links", "linksseitiger"],
        "right": ["rechts", "rechtsseitiger"],
    },
}


@pytest.fixture(scope="module")
def with_german(tmp_path_factory):
    folder = tmp_path_factory.mktemp("languages")
    for name, value in GERMAN.items():
        written(folder / "de" / name, value)
    return languages.load(folder=folder)


def test_a_user_adds_a_language_as_a_folder(with_german):
    report = "Fragestellung: Ausschluss Pneumothorax.\nBefund: Kein Pneumothorax, aber Erguss links."
    parsed = reports.parse(report, "German", with_german)
    assert parsed.language == "de"
    assert parsed.sections == {
        "indication": "Ausschluss Pneumothorax.",
        "findings": "Kein Pneumothorax, aber Erguss links.",
    }
    assert parsed.findings == {"Pneumothorax": "absent", "Pleural Effusion": "present"}
    assert parsed.sentences[1].findings[1].laterality == "left"
    assert reports.parse(report, None, with_german).language == "de"
    assert reports.parse("There is no effusion.", None, with_german).language == "en"


@pytest.mark.parametrize("name", ["en", "EN", "eng", "English", "en-US", "en_GB", " en "])
def test_english_by_its_names(name):
    assert reports.parse("Left effusion.", name).findings == {"Pleural Effusion": "present"}


@pytest.mark.parametrize("name", ["de", "fr-FR", "", "unknown", "klingon"])
def test_an_unsupported_language_is_unknown_and_nothing_is_said_of_findings(name):
    parsed = reports.parse("FINDINGS: Pneumothorax.", name)
    assert parsed.language == reports.UNKNOWN
    assert parsed.findings == {}
    assert parsed.sections == {"findings": "Pneumothorax."}
    assert [(sentence.text, sentence.findings) for sentence in parsed.sentences] == [("Pneumothorax.", ())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lungs are clear. No effusion.", "en"),
        ("Stable cardiomegaly. Small left effusion.", "en"),
        ("INDICATION: cough. FINDINGS: XXXX XXXX normal heart.", "en"),
        ("Kein Pneumothorax. Herz normal.", "unknown"),
        ("Der Herzschatten ist nicht verbreitert. Keine Infiltrate, kein Pleuraerguss.", "unknown"),
        ("Pas d'épanchement pleural. Pneumothorax gauche minime.", "unknown"),
        ("No hay derrame pleural ni neumotórax. Silueta cardiaca normal.", "unknown"),
        ("Não há derrame pleural. Sem pneumotórax.", "unknown"),
        ("Non versamento pleurico. No pneumotorace.", "unknown"),
        ("Pneumothorax.", "unknown"),
        ("", "unknown"),
        ("1234 XXXX", "unknown"),
    ],
)
def test_a_language_that_is_not_given_is_told_from_the_words_or_unknown(text, expected):
    assert reports.parse(text, None).language == expected


def test_a_language_with_mistakes_says_them_all(tmp_path):
    folder = tmp_path / "languages"
    written(folder / "de" / "language.yaml", "names: [de]\nshare: 2\nheadings: {Befund: [x]}\nspacys: de\n")
    written(folder / "de" / "cues.yaml", "absent: [kein]\nuncertain: {befor: [x]}\nstops: [aber]\n")
    with pytest.raises(WrongUse) as caught:
        languages.load(folder=folder)
    said = str(caught.value)
    for one in (
        "language.yaml:2: share: must be above 0 and at most 1, got 2",
        "language.yaml:3: headings.Befund: unknown key",
        "language.yaml:4: spacys: unknown key, did you mean 'spacy'?",
        "findings.yaml: no such file",
        "cues.yaml:1: absent: must be {before",
        "cues.yaml:2: uncertain.befor: unknown key, did you mean 'before'?",
        "cues.yaml:3: stops: unknown key, did you mean 'stop'?",
    ):
        assert one in said


def test_a_spacy_language_that_is_none_is_said(tmp_path):
    folder = tmp_path / "languages"
    for name, value in GERMAN.items():
        written(folder / "de" / name, value | {"spacy": "zzz"} if name == "language.yaml" else value)
    with pytest.raises(WrongUse, match="zzz"):
        languages.load(folder=folder)


def test_a_spacy_language_that_wants_more_than_is_there_is_said(tmp_path, monkeypatch):
    import spacy

    def blank(code):
        raise ImportError("needs a package")

    folder = tmp_path / "languages"
    for name, value in GERMAN.items():
        written(folder / "de" / name, value | {"share": 0.9} if name == "language.yaml" else value)
    monkeypatch.setattr(spacy, "blank", blank)
    with pytest.raises(CannotDo, match="needs a package; say `spacy: xx`"):
        reports.parse("Befund: Kein Erguss.", "de", languages.load(folder=folder))


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_without_languages(tmp_path, kind):
    folder = tmp_path / "languages"
    if kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("")
    with pytest.raises(WrongUse, match="no folder of languages"):
        languages.load(folder=folder)
