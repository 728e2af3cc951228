"""The phantoms' hospital: what it writes is what it says, and the same again for the same seed."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pydicom
import pytest

from mmssl.errors import WrongUse
from mmssl.phantoms import anatomy, film, findings, hospital, wording
from mmssl.phantoms.findings import Finding

NUM_PATIENTS = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, hospital.Summary]:
    out = tmp_path_factory.mktemp("hospital")
    return out, hospital.write(out, seed=3, n=NUM_PATIENTS)


def _table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def _readable(folder: Path) -> list[pydicom.Dataset]:
    """Every file that opens as DICOM and has all its pixels."""
    kept = []
    for path in sorted(folder.rglob("*.dcm")):
        try:
            dataset = pydicom.dcmread(path)
            dataset.pixel_array  # noqa: B018
        except Exception:
            continue
        kept.append(dataset)
    return kept


def _shown(dataset: pydicom.Dataset) -> np.ndarray:
    """What a viewer shows, 0 black .. 1 white: rescale, window, polarity."""
    values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    low = float(dataset.WindowCenter) - float(dataset.WindowWidth) / 2
    shown = np.clip((values - low) / float(dataset.WindowWidth), 0, 1)
    return 1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


def test_a_hospital_has_all_that_a_hospital_hands_over(made):
    out, summary = made
    files = _readable(out / "dicom")
    assert summary.files == len(list((out / "dicom").rglob("*.dcm")))
    assert {file.BitsStored for file in files} == {12, 16}
    assert {file.PhotometricInterpretation for file in files} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({(file.Rows, file.Columns) for file in files}) > 10
    assert {file.ViewPosition for file in files} == {"PA", "AP"}
    sites = {(file.InstitutionName, file.Manufacturer, file.ManufacturerModelName, file.Modality) for file in files}
    assert len(sites) == 2
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID", "StudyDate"):
        assert all(file[keyword].value for file in files), keyword
    assert all(file.BodyPartExamined == "CHEST" and float(file.WindowWidth) > 1 for file in files)
    assert len({file.PatientID for file in files}) == NUM_PATIENTS == summary.patients
    studies = {(file.PatientID, file.AccessionNumber) for file in files}
    assert max(Counter(patient for patient, _ in studies).values()) > 1, "nobody has a prior study"
    assert max(Counter(file.AccessionNumber for file in files).values()) > 1, "no study has two images"


def test_tables_are_keyed_by_accession(made):
    out, summary = made
    truth, reports = _table(out / "truth.csv"), _table(out / "reports.csv")
    accessions = [row["AccessionNumber"] for row in truth]
    assert len(set(accessions)) == len(accessions) == summary.studies
    assert {row["AccessionNumber"] for row in reports} <= set(accessions)
    assert {file.AccessionNumber for file in _readable(out / "dicom")} == set(accessions)
    assert all(
        row["report"] and row["sex"] in "FM" and row["age"].isdigit() and row["site"] and row["date"] for row in reports
    )
    assert {name for row in truth for name in row["truth"].split("|")} <= _all_names()


def _all_names() -> set[str]:
    every = [Finding(kind, side, lobe, calcified) for kind in findings.WEIGHTS for side in ("left", "right", "")
             for lobe in findings.LOBES for calcified in (False, True)]  # fmt: skip
    return {name.strip() for finding in every for name in findings.names([finding])} | {findings.NO_FINDING}


def test_same_seed_same_bytes_and_no_identity_in_two_seeds(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        hospital.write(tmp_path / name, seed=seed, n=6)
    contents = {
        name: {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in "abc"
    }
    assert contents["a"] == contents["b"]
    one, other = (_readable(tmp_path / name / "dicom") for name in "ac")
    for keyword in ("PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert {file[keyword].value for file in one}.isdisjoint(file[keyword].value for file in other), keyword


def test_numbers_of_patients_and_accessions_never_meet():
    made = [hospital._number(seed, index, salt=618_033_988_749) for seed in (0, 1, 2, 999) for index in range(5000)]
    assert len(set(made)) == len(made)
    assert any(number.startswith("0") for number in made)


def test_more_processes_write_the_same(tmp_path, monkeypatch):
    hospital.write(tmp_path / "one", seed=8, n=5)
    monkeypatch.setattr(hospital, "FEW_PATIENTS", 1)
    hospital.write(tmp_path / "many", seed=8, n=5)
    assert (tmp_path / "one/reports.csv").read_bytes() == (tmp_path / "many/reports.csv").read_bytes()


def test_spoilt_files_are_planted(tmp_path, monkeypatch):
    """Every study gets one, so that each kind is seen: truncated, empty, garbage, blank, copied."""
    real = Random.choices

    def choices(self, population, *args, **kwargs):
        if "corrupt" in population:
            return [self.choice(("corrupt", "blank", "duplicate"))]
        return real(self, population, *args, **kwargs)

    monkeypatch.setattr(Random, "choices", choices)
    summary = hospital.write(tmp_path, seed=1, n=20)
    assert min(summary.corrupt, summary.blank, summary.duplicates) > 0
    assert len(list(tmp_path.rglob("IM8.dcm"))) == summary.corrupt
    blank = [pydicom.dcmread(path).pixel_array for path in tmp_path.rglob("IM9.dcm")]
    assert len(blank) == summary.blank
    assert all(pixels.min() == pixels.max() for pixels in blank)
    copies = list(tmp_path.rglob("IM1_copy.dcm"))
    assert len(copies) == summary.duplicates
    assert all(copy.read_bytes() == (copy.parent / "IM1.dcm").read_bytes() for copy in copies)
    assert len(_readable(tmp_path)) == summary.files - summary.corrupt


def test_both_polarities_show_a_dark_surround_and_dark_lungs(made):
    """The film's corners are air, so black; a MONOCHROME1 file that was not inverted would show them white."""
    files = [file for file in _readable(made[0] / "dicom") if file.pixel_array.min() < file.pixel_array.max()]
    for polarity in ("MONOCHROME1", "MONOCHROME2"):
        shown = [_shown(file) for file in files if file.PhotometricInterpretation == polarity]
        corners = [min(image[5, 5], image[5, -6], image[-6, 5], image[-6, -6]) for image in shown]
        middle = [
            image[image.shape[0] // 2, image.shape[1] // 2 - 8 : image.shape[1] // 2 + 8].mean() for image in shown
        ]
        assert np.mean(corners) < 0.25 < 0.4 < np.mean(middle), polarity


def _film(found: list[Finding], number: int) -> np.ndarray:
    random = Random(number)
    body = anatomy.sample_body(random, breasts=False)
    return film.draw(body, found, anatomy.sample_exposure(random, scanner="crisp", view="PA", leads=False))


@pytest.mark.parametrize(
    ("kind", "sign"), [("effusion", 1), ("pneumothorax", -1), ("consolidation", 1), ("nodule", 1), ("fracture", 1)]
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_finding_of_the_patients_left_is_on_the_films_right(kind, sign, side):
    """Against the same film without it, most of the change is on its side, brighter for fluid, darker for free air."""
    lobe = {"left": "LLL", "right": "RLL"}[side] if kind == "consolidation" else ""
    own, other = [], []
    for number in range(5):
        finding = Finding(kind, side, lobe, size=0.6, contrast=0.8)
        change = _film([finding], number) - _film([], number)
        half = change.shape[1] // 2
        left, right = (
            change[:, half + 40 :],
            change[:, : half - 40],
        )  # away from the middle: the patient is never quite straight
        here, there = (left, right) if side == "left" else (right, left)
        own.append(np.sort(sign * here.ravel())[-60:].mean())
        other.append(np.abs(there).max())
    assert np.mean(own) > 0.05
    assert np.mean(other) < 0.5 * np.mean(own)


def test_the_heart_grows_with_cardiomegaly():
    gain = [
        (_film([Finding("cardiomegaly", size=0.5, contrast=0.5)], number) - _film([], number)).sum()
        for number in range(4)
    ]
    assert min(gain) > 0


def test_subtle_findings_change_the_film_less():
    for kind in ("effusion", "pneumothorax", "consolidation", "nodule"):
        subtle, plain = (
            np.mean(
                [
                    np.abs(_film([Finding(kind, "left", "LLL", size=s, contrast=s)], n) - _film([], n)).sum()
                    for n in range(3)
                ]
            )
            for s in (0.02, 0.95)
        )
        assert subtle < 0.6 * plain, kind


# --- reports -------------------------------------------------------------------------------------------------

_SAYS = {
    "effusion": r"effusion|pleural fluid|blunt",
    "pneumothorax": r"pneumothora",
    "cardiomegaly": r"cardiomegaly|enlarged|heart size|normal in size|cardiac silhouette",
    "consolidation": r"consolidation|airspace|pneumonia|focal opacity",
    "nodule": r"nodul|granuloma",
    "fracture": r"fracture|ribs are intact|osseous",
    "pacemaker": r"pacemaker",
    "hernia": r"hernia",
    "edema": r"edema|congestion|vascularity",
}
_DENIES = re.compile(r"\b(no|normal|sharp|intact)\b(?! in the heart)", re.I)


def _sentences(report: str) -> list[str]:
    """FINDINGS and IMPRESSION, or the whole where there are no headings, by sentence."""
    parts = re.split(r"(?im)^(findings?|impression|conclusion)\s*:", report)
    body = " ".join(parts[2::2]) if len(parts) > 1 else report
    body = re.split(r"(?i)electronically signed", body)[0]
    return [sentence.strip() for sentence in re.split(r"(?<=\.)\s+(?:\d+\.\s)?", body) if len(sentence) > 3]


def test_reports_say_what_is_true_of_kind_side_and_absence():
    """By rules that know nothing of how the report was written."""
    random = Random(0)
    said: Counter[str] = Counter()
    for _ in range(1500):
        found = findings.sample(random)
        text = wording.report(wording.Study(found, ["leads"], ["PA"], None, 50, "F"), random)
        sentences = _sentences(text)
        affirmed = set()
        for sentence in sentences:
            sides = set(re.findall(r"\b(left|right)\b", sentence.lower()))
            for kind, pattern in _SAYS.items():
                if not re.search(pattern, sentence, re.I):
                    continue
                here = {finding.side for finding in found if finding.kind == kind}
                if _DENIES.search(sentence) and "leads intact" not in sentence:
                    assert not here & (sides or {"left", "right", ""}), (sentence, found)
                    said["no " + kind] += 1
                elif kind in {finding.kind for finding in found}:
                    assert sides <= here or not sides, (sentence, found)
                    affirmed.add(kind)
                else:
                    raise AssertionError((sentence, found, text))
        assert affirmed == {finding.kind for finding in found}, text
        if not found:
            assert not re.search(r"possible|suspected|probable", text, re.I)
    assert all(said["no " + kind] > 5 for kind in _SAYS), said


def test_reports_vary_in_form_and_ask_of_what_is_not_there():
    random = Random(1)
    texts = [wording.report(wording.Study([], [], ["PA"], None, 50, "M"), random) for _ in range(300)]
    assert len(set(texts)) > 290
    assert any(re.search(r"(?i)rule out pneumothorax", text) for text in texts)
    headings = {match.upper() for text in texts for match in re.findall(r"(?m)^([A-Za-z ]+):", text)}
    assert {"EXAM", "INDICATION", "COMPARISON", "TECHNIQUE", "FINDINGS", "IMPRESSION", "CONCLUSION"} <= headings
    assert any(":" not in text for text in texts), "some reports have no headings"
    doubtful = [
        wording.report(
            wording.Study([Finding("nodule", "left", size=0, contrast=0)], [], ["PA"], None, 50, "M"), random
        )
        for _ in range(40)
    ]
    assert any(re.search(r"(?i)possible|questionable|suspected|probable", text) for text in doubtful)


def test_names_are_particular_and_general():
    assert findings.names([]) == ["No Finding"]
    assert findings.names([Finding("nodule", "left", calcified=True)]) == ["Left Calcified Nodule", "Left Nodule"]
    assert findings.names([Finding("consolidation", "right", "RML")]) == [
        "Right Middle Lobe Consolidation",
        "Right Consolidation",
    ]


def test_prompts_ask_only_for_what_truth_names():
    assert set(wording.PROMPTS["classes"]) <= _all_names()
    assert len(wording.PROMPTS["classes"]) >= 10
    assert len(wording.SIDED) >= 5
    assert {f"{side} {name}" for side in ("Left", "Right") for name in wording.SIDED} <= _all_names()


def test_findings_are_common_normals_too_and_several_at_once():
    random = Random(2)
    drawn = [findings.sample(random) for _ in range(4000)]
    share = Counter(name for found in drawn for name in findings.names(found))
    assert 0.2 < share[findings.NO_FINDING] / 4000 < 0.3
    assert all(share[name] > 100 for name in wording.PROMPTS["classes"]), share
    assert sum(len(found) > 1 for found in drawn) > 1000


def test_different_patients_are_no_near_duplicates(made):
    """Under the default rule of cleaning: pHash within 4 of 64 bits, and correlation .99 of the 128-pixel images."""
    from imagehash import phash
    from PIL import Image

    seen: dict[str, list] = {}
    for file in _readable(made[0] / "dicom"):
        if file.pixel_array.min() < file.pixel_array.max():
            image = Image.fromarray((255 * _shown(file)).astype(np.uint8))
            small = np.asarray(image.resize((128, 128), Image.Resampling.BOX), np.float32).ravel()
            seen.setdefault(file.PatientID, []).append((phash(image), (small - small.mean()) / small.std()))
    patients = list(seen)
    for number, one in enumerate(patients):
        for other in patients[:number]:
            for hash_one, one_image in seen[one]:
                for hash_other, other_image in seen[other]:
                    close = hash_one - hash_other <= 4 and float(one_image @ other_image) / one_image.size >= 0.99
                    assert not close, (one, other)


def test_importing_loads_nothing_heavy():
    code = "import sys, mmssl.phantoms.hospital as h; print({'numpy', 'torch', 'pydicom'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


@pytest.mark.parametrize(("wrong", "said"), [
    ({"n": 0}, "0 patients were asked for; from 1 to 100000 can be made"),
    ({"n": 200_000}, "200000 patients were asked for"),
    ({"seed": -1}, "the seed is -1; it must not be negative"),
])  # fmt: skip
def test_wrong_numbers_are_refused(tmp_path, wrong, said):
    with pytest.raises(WrongUse, match=said):
        hospital.write(tmp_path, **wrong)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(WrongUse, match="is not an empty folder; name another"):
        hospital.write(tmp_path, n=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_hospital_is_there_whole_or_not_at_all(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hospital.write(tmp_path / "hospital", n=3, progress=stop)
    assert not list(tmp_path.iterdir())
