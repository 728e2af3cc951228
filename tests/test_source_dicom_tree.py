"""A folder of DICOM files: studies, patients, priors, and every file accounted for."""

import datetime
import itertools
import os
import pickle
import shutil

import numpy as np
import pytest

from mmssl import console
from mmssl.errors import Unreadable
from mmssl.sources.dicom_tree import Source
from tests.test_dicom import dataset as dicom_dataset
from tests.test_dicom import ramp, save

numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", True)


def put(path, *, values=None, **header):
    """Write a small DICOM file; every one is an instance of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = dicom_dataset(ramp() if values is None else values, **header)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.9.{next(numbers)}"
    save(made, path)


def studies(path, **options):
    return list(Source(path, **options).studies())


def by_file(path):
    return {picture.source_id: study for study in studies(path) for picture in study.pictures}


def test_files_are_grouped_by_patient_and_study(tmp_path):
    put(tmp_path / "a" / "1", PatientID="7", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.2", InstanceNumber=2)
    put(tmp_path / "b" / "2", PatientID="7", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.2", InstanceNumber=1)
    put(
        tmp_path / "c.dcm",
        PatientID="7",
        StudyInstanceUID="1.2",
        ViewPosition="PA",
        PatientSex="F",
        AccessionNumber="09",
    )
    second, first = studies(tmp_path)  # files of a folder come before the folders in it
    assert (first.study_id, second.study_id) == ("1.1", "1.2")
    assert first.patient_id == second.patient_id == "\\7"
    assert [picture.source_id for picture in first.pictures] == ["b/2", "a/1"]
    assert second.columns["sex"] == "F"
    assert second.pictures[0].columns["view"] == "PA"
    assert second.keys == {"AccessionNumber": "09", "StudyInstanceUID": "1.2", "PatientID": "7"}


def test_a_patient_is_issuer_or_site_and_id(tmp_path):
    put(tmp_path / "1", PatientID="7", StudyInstanceUID="1.1", InstitutionName="East")
    put(tmp_path / "2", PatientID="7", StudyInstanceUID="1.2", InstitutionName="West")
    put(tmp_path / "3", PatientID="7", StudyInstanceUID="1.3", InstitutionName="West", IssuerOfPatientID="East")
    found = by_file(tmp_path)
    assert found["1"].patient_id == found["3"].patient_id != found["2"].patient_id


def test_birth_dates_tell_people_apart_and_are_no_columns(tmp_path):
    put(tmp_path / "1", PatientID="0", StudyInstanceUID="1.1", PatientBirthDate="19500131")
    put(tmp_path / "2", PatientID="0", StudyInstanceUID="1.1", PatientBirthDate="19620228")
    put(tmp_path / "3", PatientID="0", StudyInstanceUID="1.2", PatientBirthDate="19000101")  # stands for unknown
    put(tmp_path / "4", PatientID="0", StudyInstanceUID="1.3", PatientBirthDate="1950.01.31")
    found = by_file(tmp_path)
    assert len(found["1"].births) == 2
    assert found["3"].births == ()
    assert len(found["4"].births) == 1
    assert set(found["4"].births) < set(found["1"].births)
    assert "1950" not in repr(found)


def test_one_study_uid_of_two_patients_is_two_studies(tmp_path):
    put(tmp_path / "1", PatientID="7", StudyInstanceUID="1.1")
    put(tmp_path / "2", PatientID="8", StudyInstanceUID="1.1")
    assert len({study.study_id for study in studies(tmp_path)}) == 2


def test_a_file_without_a_patient_is_of_the_one_who_has_its_study(tmp_path):
    put(tmp_path / "1", PatientID="7", StudyInstanceUID="1.1", PatientSex="F")
    put(tmp_path / "2", StudyInstanceUID="1.1")
    for name, patient in (("3", "8"), ("4", "9"), ("5", "")):
        put(tmp_path / name, PatientID=patient, StudyInstanceUID="1.2")
    found = by_file(tmp_path)
    assert found["2"] is found["1"]
    assert (found["1"].study_id, found["1"].patient_id) == ("1.1", "\\7")
    assert [picture.columns.get("flags") for picture in found["1"].pictures] == [None, ["patient_from_study"]]
    assert (found["5"].patient_id, len(found["5"].pictures)) == (None, 1)


def test_names_that_are_not_utf_8_can_be_written(tmp_path):
    put(tmp_path / os.fsdecode(b"caf\xe9") / "1", PatientID="7")
    assert list(by_file(tmp_path)) == ["caf\\xe9/1"]
    assert Source(tmp_path).fingerprint()


def test_without_a_patient_the_study_is_its_own(tmp_path):
    put(tmp_path / "1", StudyInstanceUID="1.1")
    put(tmp_path / "2", StudyInstanceUID="1.1", PatientID="")
    (study,) = studies(tmp_path)
    assert study.patient_id is None
    assert len(study.pictures) == 2


def test_without_a_study_uid(tmp_path):
    put(tmp_path / "1", PatientID="7", AccessionNumber="5")
    put(tmp_path / "2", PatientID="7", AccessionNumber="5")
    put(tmp_path / "3", PatientID="8", AccessionNumber="5")
    put(tmp_path / "4", PatientID="8")
    put(tmp_path / "5", PatientID="8")
    found = by_file(tmp_path)
    assert found["1"] is found["2"]
    assert len({found[name].study_id for name in "12345"}) == 4


def priors(path):
    found = by_file(path)
    return {name: study.columns["prior_study_id"] for name, study in found.items()}


def test_the_prior_study_is_found_by_date_not_by_id(tmp_path):
    for name, date in {"1": "20200101", "3": "20210101", "2": "20220101"}.items():
        put(tmp_path / name, PatientID="7", StudyInstanceUID=f"1.{name}", StudyDate=date)
    put(tmp_path / "4", PatientID="8", StudyInstanceUID="1.4", StudyDate="20230101")
    assert priors(tmp_path) == {"1": None, "2": "1.3", "3": "1.1", "4": None}


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([("20200101", ""), ("20200101", "")], [None, None]),
        ([("20200101", "080000"), ("20200101", "090000")], [None, "1.0"]),
        ([("20200101", "080000"), ("20200101", "")], [None, None]),
        ([("20200101", "090000"), ("20200101", "090000")], [None, None]),
        ([("20200101", ""), ("", "")], [None, None]),
        ([("20200101", ""), ("20200101", ""), ("20210101", "")], [None, None, None]),  # two could be meant
        ([("20200101", "080000"), ("20200101", "090000"), ("20210101", "")], [None, "1.0", "1.1"]),
    ],
)
def test_where_the_date_does_not_tell_there_is_no_prior(tmp_path, moments, expected):
    for number, (date, time) in enumerate(moments):
        header = {"StudyDate": date, "StudyTime": time}
        put(tmp_path / str(number), PatientID="7", StudyInstanceUID=f"1.{number}", **header)
    assert list(priors(tmp_path).values()) == expected


def test_studies_without_a_patient_have_no_prior(tmp_path):
    for number in range(2):
        put(tmp_path / str(number), StudyInstanceUID=f"1.{number}", StudyDate=f"202{number}0101")
    assert set(priors(tmp_path).values()) == {None}


def test_columns_of_a_study_come_from_the_first_file_that_knows(tmp_path):
    put(tmp_path / "1", PatientID="7", StudyInstanceUID="1.1")
    put(tmp_path / "2", PatientID="7", StudyInstanceUID="1.1", PatientAge="030Y", StudyDate="20200101")
    (study,) = studies(tmp_path)
    assert study.columns["age"] == 30
    assert study.columns["study_datetime"] == datetime.datetime(2020, 1, 1)


def test_nothing_vanishes(tmp_path):
    put(tmp_path / "deep" / "er" / "good", PatientID="7", StudyInstanceUID="1.1")
    put(
        tmp_path / "dose",
        PatientID="7",
        StudyInstanceUID="1.1",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2",
        Modality="RTDOSE",
    )
    (tmp_path / "notes.txt").write_text("PatientID 007, Jane Doe")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut").write_bytes((tmp_path / "deep" / "er" / "good").read_bytes()[:170])
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    found = {picture.source_id: picture.reason for study in studies(tmp_path) for picture in study.pictures}
    assert found == {
        "deep/er/good": None,
        "dose": "not_an_image",
        "notes.txt": "not_dicom",
        ".hidden": "not_dicom",
        "empty": "empty",
        "cut": "truncated",
        "gone": "missing",
        "pipe": "missing",
    }
    assert len({study.study_id for study in studies(tmp_path)}) == 7  # the dose belongs to the picture's study


def test_a_folder_that_may_not_be_listed_is_accounted_for(tmp_path, monkeypatch):
    put(tmp_path / "open" / "1", PatientID="7")
    put(tmp_path / "shut" / "2", PatientID="8")

    def scandir(path, scandir=os.scandir):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = {picture.source_id: picture.reason for study in studies(tmp_path) for picture in study.pictures}
    assert found == {"open/1": None, "shut": "no_permission"}


def test_links_to_folders_are_followed_once(tmp_path):
    put(tmp_path / "elsewhere" / "1", PatientID="7")
    put(tmp_path / "in" / "2", PatientID="8")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    assert sorted(by_file(tmp_path / "in")) == ["2", "link/1"]


def test_decoding_gives_frames(tmp_path):
    values = np.stack([np.full((4, 5), 10 * k, np.uint8) for k in range(3)])
    put(tmp_path / "1", values=values, frames=3, Modality="US")
    source = pickle.loads(pickle.dumps(Source(tmp_path)))
    ((study,),) = (list(source.studies()),)
    frames = source.decode(study.pictures[0])
    assert [int(np.asarray(image)[0, 0]) for image, _ in frames] == [0, 10, 20]
    assert len(Source(tmp_path, max_frames=2).decode(study.pictures[0])) == 2
    (tmp_path / "1").write_bytes(b"")
    with pytest.raises(Unreadable, match="empty"):
        source.decode(study.pictures[0])


def test_the_same_order_every_time(tmp_path):
    for number in range(12):
        put(tmp_path / str(number), PatientID=str(number % 5), StudyInstanceUID=f"1.{number % 7}")
    once = studies(tmp_path)
    copy = shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    again = studies(copy)
    assert [study.study_id for study in once] == [study.study_id for study in again]
    assert [[p.source_id for p in s.pictures] for s in once] == [[p.source_id for p in s.pictures] for s in again]


def test_the_fingerprint_follows_the_contents_not_the_place(tmp_path):
    put(tmp_path / "in" / "1", PatientID="7")
    put(tmp_path / "in" / "2", PatientID="8")
    once = Source(tmp_path / "in").fingerprint()
    shutil.copytree(tmp_path / "in", tmp_path / "copy")
    assert Source(tmp_path / "copy").fingerprint() == once
    put(tmp_path / "in" / "2", PatientID="9")
    changed = Source(tmp_path / "in").fingerprint()
    assert changed != once
    os.rename(tmp_path / "in" / "2", tmp_path / "in" / "3")
    assert Source(tmp_path / "in").fingerprint() != changed


def test_which_folders_are_recognised(tmp_path):
    put(tmp_path / "dicom" / "deep" / "IM0001")
    (tmp_path / "dicom" / "readme.txt").write_text("about")
    assert Source.recognises(tmp_path / "dicom")
    assert not Source.recognises(tmp_path / "dicom" / "deep" / "IM0001")
    assert not Source.recognises(tmp_path / "nowhere")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG")
    assert not Source.recognises(tmp_path / "pictures")
    (tmp_path / "dicom" / "metadata.csv").write_text("Series UID,Collection,File Location\n")  # as TCIA has it
    assert Source.recognises(tmp_path / "dicom")
    (tmp_path / "dicom" / "metadata.csv").write_text("file_name\n")
    assert not Source.recognises(tmp_path / "dicom")


def test_an_empty_folder(tmp_path):
    assert studies(tmp_path) == []
    assert not Source.recognises(tmp_path)


def test_no_header_value_outside_the_listed_columns(tmp_path):
    secrets = {
        "PatientName": "SECRET^NAME",
        "PatientAddress": "SECRET STREET",
        "ReferringPhysicianName": "SECRET^DOCTOR",
        "StudyDescription": "SECRET study",
        "SeriesDescription": "SECRET series",
        "ImageComments": "SECRET comment",
        "PatientBirthDate": "19510203",
        "OtherPatientIDs": "SECRET1",
        "DeviceSerialNumber": "SECRET2",
    }
    put(tmp_path / "1", PatientID="7", StudyInstanceUID="1.1", StudyDate="20200203", **secrets)
    told = repr(studies(tmp_path))
    assert "SECRET" not in told
    assert "1951" not in told
    assert "'age': 69.0" in told


def reasons(path, **options):
    found = studies(path, **options)
    return {picture.source_id: picture.reason for study in found for picture in study.pictures}


def test_pictures_that_are_not_wanted_have_a_reason(tmp_path):
    raw = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1", "IrradiationEventUID": "1.7"}
    capture = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}
    one, other = ({"PatientID": "7", "StudyInstanceUID": uid} for uid in ("1.1", "1.2"))
    put(tmp_path / "shown", **one, IrradiationEventUID="1.7")
    put(tmp_path / "raw", **one, **raw)
    put(tmp_path / "screenshot", **one, **capture)
    put(tmp_path / "phantom", **one, QualityControlImage="YES")
    put(tmp_path / "scout", **one, Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    put(tmp_path / "raw alone", **other, **raw)
    put(tmp_path / "film", **{**other, "StudyInstanceUID": "1.3"}, **capture)
    expected = {
        "shown": None, "raw": "for_processing", "screenshot": "secondary_capture", "phantom": "test_image",
        "scout": "localizer", "raw alone": None, "film": None,
    }  # fmt: skip
    assert reasons(tmp_path) == expected
    kept = {"for_processing": "keep", "secondary_capture": "keep", "localizer": "keep", "test_image": "keep"}
    assert set(reasons(tmp_path, **kept).values()) == {None}
    dropped = {"for_processing": "drop", "secondary_capture": "drop"}
    assert reasons(tmp_path, **dropped) == expected | {"raw alone": "for_processing", "film": "secondary_capture"}


def test_a_view_that_only_the_study_names(tmp_path):
    put(tmp_path / "1", PatientID="7", StudyInstanceUID="1.1", StudyDescription="CHEST PA")
    put(tmp_path / "2", PatientID="7", StudyInstanceUID="1.2", StudyDescription="CHEST PA")
    put(tmp_path / "3", PatientID="7", StudyInstanceUID="1.2", StudyDescription="CHEST PA", ViewPosition="LL")
    views = {one.source_id: one.columns["view"] for study in studies(tmp_path) for one in study.pictures}
    assert views == {"1": "PA", "2": "unknown", "3": "LL"}


@pytest.mark.parametrize(("frame", "grey"), [("first", 0), ("middle", 20), (1, 10)])
def test_one_frame_of_each_file(tmp_path, frame, grey):
    put(tmp_path / "1", values=np.stack([np.full((4, 5), 10 * k, np.uint8) for k in range(4)]), frames=4, Modality="US")
    source = Source(tmp_path, frame=frame)
    ((study,),) = (list(source.studies()),)
    assert [int(np.asarray(image)[0, 0]) for image, _ in source.decode(study.pictures[0])] == [grey]
    with pytest.raises(Unreadable, match="no_such_frame"):
        Source(tmp_path, frame=4).decode(study.pictures[0])


def test_how_grey_is_kept_is_asked_of_the_source(tmp_path):
    put(tmp_path / "1", values=ramp(), Modality="PT")
    ((study,),) = (list(Source(tmp_path).studies()),)
    modes = [Source(tmp_path, measured=names).decode(study.pictures[0])[0][0].mode for names in ((), ("PT",))]
    assert modes == ["L", "I;16"]
