"""Public data sets in miniature: the file names and columns as published, with pictures and words that are made up."""

import csv
import gzip
import io
import itertools
import tarfile
import zipfile

import numpy as np
from PIL import Image

from mmssl.data import observations
from tests.preparing import picture
from tests.test_dicom import dataset, save


def image(path, seed, size=(64, 56)):
    """A picture of its own as a file; the ending says of what kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)


def image16(path, seed):
    """A 16-bit PNG whose values lie above those of 8 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(picture(seed, (64, 56))).astype(np.uint16) * 16 + 500).save(path)


def dicom(path, seed, **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = dataset(np.asarray(picture(seed, (64, 56))).astype(np.uint16) * 16, **header)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.9.{seed}"
    save(made, path)


def table(path, columns, rows):
    """A CSV, packed where its name ends in .gz."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    content = text.getvalue().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def labelled(**cells):
    """The fourteen cells of a row, empty where nothing is said; names with _ for their blanks."""
    known = {name.replace("_", " "): value for name, value in cells.items()}
    assert known.keys() <= set(observations.NAMES)
    return [known.get(name, "") for name in observations.NAMES]


# ---- MIMIC-CXR -----------------------------------------------------------------------------------------------------

MIMIC_METADATA = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns",
    "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip

MIMIC_REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough.

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 {findings}

 IMPRESSION:

 {impression}
"""

# The order of study ids is not that of time: 50000003 is the first of its patient, 50000001 the last.
MIMIC_STUDIES = {
    "50000001": ("10000001", "21800801", "93014.531", "train"),
    "50000002": ("10000001", "21800506", "213014.531", "train"),
    "50000003": ("10000001", "21800506", "131.0", "train"),
    "50000004": ("10000002", "21760101", "1200.125", "validate"),
    "50000005": ("11000001", "21990101", "235959.0", "test"),
    "50000006": ("11000001", "21990102", "", "test"),
}
"""study: patient, StudyDate, StudyTime, split."""

MIMIC_IMAGES = {
    "aaaa0001": ("50000001", "PA", "postero-anterior"),
    "aaaa0002": ("50000001", "LL", "lateral"),
    "aaaa0003": ("50000002", "", "antero-posterior"),
    "aaaa0004": ("50000003", "", ""),
    "aaaa0005": ("50000004", "AP", "antero-posterior"),
    "aaaa0006": ("50000005", "PA", "postero-anterior"),
    "aaaa0007": ("50000006", "PA", "postero-anterior"),
}
"""image: study, ViewPosition, ViewCodeSequence_CodeMeaning."""


def mimic_text(study):
    return MIMIC_REPORT.format(findings=f"Lungs of {study} are clear.", impression=f"Normal chest in {study}.")


def mimic_place(study, name=""):
    subject = MIMIC_STUDIES[study][0]
    return f"files/p{subject[:2]}/p{subject}/s{study}{name}"


def mimic_jpg(root, *, packed=True, reports="zip"):
    """MIMIC-CXR-JPG with the reports of MIMIC-CXR beside it, as zip or unpacked."""
    for number, (name, (study, _, _)) in enumerate(MIMIC_IMAGES.items()):
        image(root / mimic_place(study) / f"{name}.jpg", number)
    mimic_tables(root, ".csv.gz" if packed else ".csv")
    mimic_reports(root, reports)
    return root


def mimic_tables(root, ending):
    rows = [
        [name, MIMIC_STUDIES[study][0], study, "CHEST (PA AND LAT)", view, 56, 64, *MIMIC_STUDIES[study][1:3],
         "CHEST (PA AND LAT)", code, "Erect"]
        for name, (study, view, code) in MIMIC_IMAGES.items()
    ]  # fmt: skip
    table(root / f"mimic-cxr-2.0.0-metadata{ending}", MIMIC_METADATA, reversed(rows))
    splits = [[name, study, MIMIC_STUDIES[study][0], MIMIC_STUDIES[study][3]]
              for name, (study, _, _) in MIMIC_IMAGES.items()]  # fmt: skip
    table(root / f"mimic-cxr-2.0.0-split{ending}", ["dicom_id", "study_id", "subject_id", "split"], splits)
    for labeller, edema in (("chexpert", "-1.0"), ("negbio", "1.0")):
        rows = [
            ["10000001", "50000001", *labelled(Edema=edema, Pneumonia="0.0", Atelectasis="1.0")],
            ["10000002", "50000004", *labelled(No_Finding="1.0")],
        ]
        names = ["subject_id", "study_id", *observations.NAMES]
        table(root / f"mimic-cxr-2.0.0-{labeller}{ending}", names, rows)


def mimic_reports(root, how):
    if how == "zip":
        root.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w") as archive:
            for study in MIMIC_STUDIES:
                archive.writestr(mimic_place(study, ".txt"), mimic_text(study))
    else:
        for study in MIMIC_STUDIES:
            file = root / how / mimic_place(study, ".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(mimic_text(study))


def mimic_dicom(root):
    """MIMIC-CXR: DICOM files whose headers alone have the dates, and the table of splits that belongs to the JPGs."""
    for number, (name, (study, view, _)) in enumerate(MIMIC_IMAGES.items()):
        _, date, clock, _ = MIMIC_STUDIES[study]
        whole, _, rest = clock.partition(".")
        time = f"{whole:0>6}.{rest or 0}" if clock else ""
        header = {"StudyDate": date, "StudyTime": time, "ViewPosition": view, "Modality": "DX"}
        dicom(root / mimic_place(study) / f"{name}.dcm", number, **header)
    rows = [[MIMIC_STUDIES[study][0], study, name, f"{mimic_place(study)}/{name}.dcm"]
            for name, (study, _, _) in MIMIC_IMAGES.items()]  # fmt: skip
    table(root / "cxr-record-list.csv.gz", ["subject_id", "study_id", "dicom_id", "path"], rows)
    rows = [[MIMIC_STUDIES[study][0], study, mimic_place(study, ".txt")] for study in MIMIC_STUDIES]
    table(root / "cxr-study-list.csv.gz", ["subject_id", "study_id", "path"], rows)
    splits = [[name, study, MIMIC_STUDIES[study][0], MIMIC_STUDIES[study][3]]
              for name, (study, _, _) in MIMIC_IMAGES.items()]  # fmt: skip
    table(root / "mimic-cxr-2.0.0-split.csv.gz", ["dicom_id", "study_id", "subject_id", "split"], splits)
    mimic_reports(root, "zip")
    return root


numbers = itertools.count(1000)
"""Seeds of pictures that belong to no table."""


# ---- Open-i --------------------------------------------------------------------------------------------------------

OPENI = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <meta type="rr"/>
   <uId id="{uid}"/>
   <articleDate>2013-08-01</articleDate>
   <publisher>Indiana University</publisher>
   <MedlineCitation>
      <Article>
         <Abstract>
            <AbstractText Label="COMPARISON">{comparison}</AbstractText>
            <AbstractText Label="INDICATION">Cough.</AbstractText>
            <AbstractText Label="FINDINGS">{findings}</AbstractText>
            <AbstractText Label="IMPRESSION">{impression}</AbstractText>
         </Abstract>
      </Article>
   </MedlineCitation>
   <MeSH>
{codes}
   </MeSH>
{images}
</eCitation>
"""

OPENI_REPORTS = {
    "CXR1": (["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"], ["normal"], ("Lungs of CXR1 are clear.", "Normal.")),
    "CXR2": (["CXR2_IM-0652-1001"], ["Cardiomegaly/mild", "Opacity/lung/base/left", "Opacity/lung/base/right"],
             ("The heart of CXR2 is large.", "")),
    "CXR3": (["CXR3_IM-1384-1001"], ["No Indexing"], ("", "No change in CXR3.")),
    "CXR4": ([], ["normal"], ("Clear.", "Normal.")),
}  # fmt: skip
"""uId: its images, what people coded, findings and impression."""


def openi_xml(uid):
    images, major, (findings, impression) = OPENI_REPORTS[uid]
    codes = [f"      <major>{code}</major>" for code in major] + ["      <automatic>cough</automatic>"]
    shown = [f'   <parentImage id="{image}"><caption>PA and\n lateral</caption></parentImage>' for image in images]
    return OPENI.format(
        uid=uid, comparison="", findings=findings, impression=impression, codes="\n".join(codes),
        images="\n".join(shown),
    )  # fmt: skip


def openi(root, *, kind="png", reports="ecgen-radiology"):
    """Reports unpacked in a folder, or in a .tgz of that name; images as PNG or DICOM."""
    if reports.endswith(".tgz"):
        root.mkdir(parents=True, exist_ok=True)
        with tarfile.open(root / reports, "w:gz") as archive:
            folder = tarfile.TarInfo("ecgen-radiology")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for uid in OPENI_REPORTS:
                content = openi_xml(uid).encode()
                member = tarfile.TarInfo(f"ecgen-radiology/{uid[3:]}.xml")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        (root / reports).mkdir(parents=True)
        for uid in OPENI_REPORTS:
            (root / reports / f"{uid[3:]}.xml").write_text(openi_xml(uid))
    for seed, name in enumerate(name for images, _, _ in OPENI_REPORTS.values() for name in images):
        if kind == "png":
            image(root / "NLMCXR_png" / f"{name}.png", seed)
        else:
            number, _, rest = name.removeprefix("CXR").partition("_")
            plain = f"{number}_{rest.removeprefix(f'{number}_')}.dcm"
            view = "LL" if name.endswith("4001") else "PA"
            dicom(root / "NLMCXR_dcm" / number / plain, seed, ViewPosition=view, Modality="CR")
    return root


# ---- CheXpert ------------------------------------------------------------------------------------------------------

CHEXPERT = {
    "train/patient00001/study1/view1_frontal": ("Female", "68", "Frontal", "AP", {"Edema": "-1.0", "No_Finding": ""}),
    "train/patient00001/study2/view1_frontal": ("Female", "68", "Frontal", "PA", {"Pneumonia": "0.0"}),
    "train/patient00001/study2/view2_lateral": ("Female", "68", "Lateral", "", {"Pneumonia": "0.0"}),
    "train/patient00002/study1/view1_frontal": ("Unknown", "0", "Frontal", "", {"No_Finding": "1.0"}),
    "valid/patient64541/study1/view1_frontal": ("Male", "73", "Frontal", "AP", {"Cardiomegaly": "1.0"}),
    "test/patient64741/study1/view1_frontal": ("", "", "", "", {"Atelectasis": "1.0"}),
    "test/patient64741/study1/view2_lateral": ("", "", "", "", {"Atelectasis": "1.0"}),
}
"""image: Sex, Age, Frontal/Lateral, AP/PA, labels."""

CHEXPERT_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *observations.NAMES)

PLUS_COLUMNS = (
    "path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order",
    "report", "section_narrative", "section_clinical_history", "section_history", "section_comparison",
    "section_technique",
    "section_procedure_comments", "section_findings", "section_impression", "section_end_of_impression",
    "section_summary", "section_accession_number", "age", "sex", "race", "ethnicity", "interpreter_needed",
    "insurance_type", "recent_bmi", "deceased", "split",
)  # fmt: skip


def chexpert(root, *, name="CheXpert-v1.0-small", packed=False, test="test_labels.csv"):
    """Images and tables; `name` is what stands before each Path in train.csv and valid.csv."""
    for seed, place in enumerate(CHEXPERT):
        image(root / f"{place}.jpg", seed)
    ending = ".csv.gz" if packed else ".csv"
    for split in ("train", "valid"):
        rows = [[f"{name}/{place}.jpg", *said, *labelled(**labels)]
                for place, (*said, labels) in CHEXPERT.items() if place.startswith(split)]  # fmt: skip
        table(root / f"{split}{ending}", CHEXPERT_COLUMNS, rows)
    tests = {place: labels for place, (*_, labels) in CHEXPERT.items() if place.startswith("test")}
    if test == "groundtruth.csv":
        studies = {place.rpartition("/")[0]: labels for place, labels in tests.items()}
        rows = [[f"CheXpert-v1.0/{study}", *labelled(**labels)] for study, labels in studies.items()]
        table(root / test, ["Study", *observations.NAMES], rows)
    else:
        rows = [[f"{place}.jpg", *labelled(**labels)] for place, labels in tests.items()]
        table(root / test, ["Path", *observations.NAMES], rows)
    return root


def chexpert_plus(root, *, images=None):
    """The table of reports; with images in the folder of that name, where it is told."""
    rows = []
    for seed, (place, (sex, age, side, position, _)) in enumerate(CHEXPERT.items()):
        if place.startswith("test"):
            continue
        study = place.rpartition("/")[0]
        cells = dict.fromkeys(PLUS_COLUMNS, "") | {
            "path_to_image": f"{place}.jpg", "frontal_lateral": side, "ap_pa": position, "sex": sex, "age": f"{age}.0",
            "deid_patient_id": place.split("/")[1], "patient_report_date_order": str(9 - seed), "race": "White",
            "ethnicity": "Non-Hispanic/Non-Latino", "split": place.split("/")[0],
            "report": f"NARRATIVE:\nall of {study}\nACCESSION NUMBER: 123", "section_clinical_history": "Cough.",
            "section_impression": f"1. No change,\n\n2. in {study}.", "section_accession_number": "123",
            "section_end_of_impression": "2-ABNORMAL",
        }  # fmt: skip
        if study.endswith("patient00002/study1"):
            cells["section_clinical_history"] = cells["section_impression"] = ""
        rows.append([cells[column] for column in PLUS_COLUMNS])
        if images:
            ending = ".dcm" if "DICOM" in images else ".png"
            (dicom if ending == ".dcm" else image)(root / images / f"{place}{ending}", seed)
    table(root / "df_chexpert_plus_240401.csv", PLUS_COLUMNS, rows)
    return root


# ---- PadChest ------------------------------------------------------------------------------------------------------

PADCHEST_TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"

PADCHEST_COLUMNS = (
    "", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
    "ViewPosition_DICOM", "Projection", "MethodProjection", "Pediatric", "Modality_DICOM", "Manufacturer_DICOM",
    "PhotometricInterpretation_DICOM", "PixelRepresentation_DICOM", "PixelAspectRatio_DICOM", "SpatialResolution_DICOM",
    "BitsStored_DICOM", "WindowCenter_DICOM", "WindowWidth_DICOM", "Rows_DICOM", "Columns_DICOM",
    "XRayTubeCurrent_DICOM", "Exposure_DICOM", "ExposureInuAs_DICOM", "ExposureTime", "RelativeXRayExposure_DICOM",
    "ReportID", "Report", "MethodLabel", "Labels", "Localizations", "LabelsLocalizationsBySentence", "labelCUIS",
    "LocalizationsCUIS",
)  # fmt: skip

PADCHEST = {
    "100_a.png": ("0", "20140915", "S3", "P1", "1930.0", "F", "PA", "['pleural effusion', ' unchanged']"),
    "100_b.png": ("0", "20140915", "S3", "P1", "1930.0", "F", "L", "['pleural effusion', ' unchanged']"),
    "200_a.png": ("1", "20120101", "S9", "P1", "1930.0", "F", "AP_horizontal", "['normal']"),
    "300_a.png": ("54", "20130101", "S1", "P1", "1930.0", "F", "PA", "[]"),
    "400_a.png": ("54", "20130101", "S2", "P2", "", "None", "COSTAL", ""),
}
"""ImageID: ImageDir, date, study, patient, birth, sex, Projection, Labels. P1's studies are S9, S1, S3 by date."""


def padchest(root, *, packed=False, flat=None, replaced=()):
    """Images of 16 bits in a folder for each ImageDir, or 8-bit ones in one; `replaced`: {image: {column: cell}}."""
    rows = []
    for seed, (name, (folder, date, study, patient, birth, sex, view, labels)) in enumerate(PADCHEST.items()):
        if flat is None:
            image16(root / folder / name, seed)
        else:
            image(root / flat / name, seed)
        cells = dict.fromkeys(PADCHEST_COLUMNS, "") | {
            "": str(seed), "ImageID": name, "ImageDir": folder, "StudyDate_DICOM": date, "StudyID": study,
            "PatientID": patient, "PatientBirth": birth, "PatientSex_DICOM": sex, "Projection": view,
            "MethodProjection": "Manual review of DICOM fields", "Pediatric": "No", "Modality_DICOM": "CR",
            "Manufacturer_DICOM": "ImagingDynamicsCompanyLtd", "ReportID": f"4{seed}", "Labels": labels,
            "Report": f"sin hallazg patolog en {study} ." if study != "S2" else "", "MethodLabel": "Physician",
            "Localizations": "['loc basal']", "LabelsLocalizationsBySentence": "[['normal']]",
        }  # fmt: skip
        cells |= dict(replaced).get(name, {})
        rows.append([cells[column] for column in PADCHEST_COLUMNS])
    table(root / (PADCHEST_TABLE + (".gz" if packed else "")), PADCHEST_COLUMNS, rows)
    return root


# ---- ROCO ----------------------------------------------------------------------------------------------------------

ROCO = {
    "train": {"ROCO_00002": "Axial CT of the pelvis (arrow).", "ROCO_00003": "Findings: a nodule. Impression: mass."},
    "validation": {"ROCO_00020": "Chest radiograph with effusion."},
    "test": {"ROCO_00001": "Ultrasound of the gallbladder."},
}


def roco(root, *, base="data", by_links=True):
    """ROCO's files, images called as its script calls them or by their IDs; a figure of no radiology in train."""
    seed = 0
    for split, captions in ROCO.items():
        for kind in ("radiology", "non-radiology"):
            folder = root / base / split / kind
            (folder / "images").mkdir(parents=True)
            other = {"ROCO_81826": "A chart."} if split == "train" else {}
            some = captions if kind == "radiology" else other
            lines = {name: f"PMC{7000 + seed + number}" for number, name in enumerate(some)}
            (folder / "captions.txt").write_text("".join(f"{name}\t {text}\n" for name, text in some.items()))
            (folder / "keywords.txt").write_text("".join(f"{name}\t\tarrow\tpelvis\n" for name in some))
            (folder / "cuis.txt").write_text("".join(f"{name}\t\tC0000726\n" for name in some))
            (folder / "dlinks.txt").write_text("".join(
                f"{name}\twget -r ftp://somewhere/cb/dd/{article}.tar.gz -P /path/to/Dir\tg-{article}.01.jpg\n"
                for name, article in lines.items()
            ))  # fmt: skip
            for name, article in lines.items():
                image(folder / "images" / f"{f'{article}_g-{article}.01' if by_links else name}.jpg", seed)
                seed += 1
    return root


ROCO_2 = {
    "train": {"ROCOv2_2023_train_000001": ("Head CT, with, commas.", "C0040405;C0018670"),
              "ROCOv2_2023_train_000002": ('Says "no effusion".', "")},
    "valid": {"ROCOv2_2023_valid_000001": ("Chest film.", "C1306645")},
    "test": {"ROCOv2_2023_test_000001": ("Ultrasound.", "C0041618")},
}  # fmt: skip


def roco2(root, *, images="{split}"):
    for number, (split, captions) in enumerate(ROCO_2.items()):
        rows = [[name, text] for name, (text, _) in captions.items()]
        table(root / f"{split}_captions.csv", ["ID", "Caption"], rows)
        for kind in ("concepts", "concepts_manual"):
            table(
                root / f"{split}_{kind}.csv", ["ID", "CUIs"], [[name, codes] for name, (_, codes) in captions.items()]
            )
        for seed, name in enumerate(captions):
            image(root / images.format(split=split) / f"{name}.jpg", 10 * number + seed)
    table(root / "cui_mapping.csv", ["CUI", "Canonical name"], [["C0040405", "X-Ray Computed Tomography"]])
    return root
