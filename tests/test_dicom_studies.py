"""Which pictures of a study are wanted, and from where they were taken, told from headers alone."""

import pytest
from pydicom.dataset import Dataset

from mmssl.data import dicom, dicom_studies, dicom_views
from mmssl.data.dicom_studies import Wanted
from tests.test_dicom import file, ramp

DX, DX_RAW = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1"
CAPTURE, CT = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.2"


def item(**elements):
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def read(**header):
    return dicom.read(file(ramp(), **header))


def reasons(*headers, **wanted):
    return dicom_studies.reasons([read(**header) for header in headers], Wanted(**wanted))


# ---- for processing ------------------------------------------------------------------------------------------------

RAW = {"SOPClassUID": DX_RAW, "SOPInstanceUID": "1.5", "PresentationIntentType": "FOR PROCESSING"}
SHOWN = {"SOPClassUID": DX, "SOPInstanceUID": "1.6", "PresentationIntentType": "FOR PRESENTATION"}
NOON = {"AcquisitionDate": "20240131", "AcquisitionTime": "120000"}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ({}, {"SourceImageSequence": [item(ReferencedSOPInstanceUID="1.5")]}),
        ({"IrradiationEventUID": "1.7"}, {"IrradiationEventUID": "1.7"}),
        ({**NOON, "ViewPosition": "PA"}, {**NOON, "ViewPosition": "PA"}),
    ],
)
def test_a_raw_image_goes_where_its_picture_is(raw, shown):
    assert reasons(RAW | raw, SHOWN | shown) == ["for_processing", None]
    assert reasons(RAW | raw, SHOWN | shown, for_processing="keep") == [None, None]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ({}, {}),
        ({"ViewPosition": "PA"}, {"ViewPosition": "PA"}),  # an exposure that was repeated
        ({"IrradiationEventUID": "1.7"}, {"IrradiationEventUID": "1.8"}),
        ({**NOON, "ViewPosition": "PA"}, {**NOON, "ViewPosition": "LL"}),
        ({**NOON, "ImageLaterality": "L"}, {**NOON, "ImageLaterality": "R"}),
        (NOON, {**NOON, "AcquisitionTime": "120001"}),
        (NOON, {**NOON, "Modality": "MG"}),
        ({**NOON, "AcquisitionTime": "000000"}, {**NOON, "AcquisitionTime": "000000"}),
        ({**NOON, "AcquisitionTime": "12"}, {**NOON, "AcquisitionTime": "12"}),
        (NOON, {**NOON, **RAW, "SOPInstanceUID": "1.6"}),
        (NOON, {**NOON, "SOPClassUID": CAPTURE}),
    ],
)
def test_a_raw_image_without_its_picture_stays(raw, shown):
    assert reasons(RAW | raw, SHOWN | shown, secondary_capture="keep") == [None, None]


def test_a_picture_that_names_another_source_is_not_the_twin_of_its_second():
    other = RAW | NOON | {"SOPInstanceUID": "1.4"}
    shown = SHOWN | NOON | {"SourceImageSequence": [item(ReferencedSOPInstanceUID="1.4")]}
    assert reasons(RAW | NOON, other, shown) == [None, "for_processing", None]


def test_a_raw_image_alone_and_dropped_if_asked():
    assert reasons(RAW) == [None]
    assert reasons(RAW, for_processing="drop") == ["for_processing"]
    assert read(SOPClassUID=DX_RAW).kind.doubts == ("for_processing",)


# ---- captures, localizers, test images -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capture", "beside", "alone"),
    [
        ({"SOPClassUID": CAPTURE}, "secondary_capture", None),
        ({"SOPClassUID": CAPTURE, "ConversionType": "WSD"}, "secondary_capture", None),
        ({"SOPClassUID": f"{CAPTURE}.4"}, "secondary_capture", None),
        ({"SOPClassUID": CAPTURE, "ConversionType": "SD"}, "secondary_capture", "secondary_capture"),
        ({"SOPClassUID": CAPTURE, "ConversionType": "DF"}, None, None),
        ({"ConversionType": "DI"}, "secondary_capture", None),
        ({}, None, None),
    ],
)
def test_captures(capture, beside, alone):
    assert reasons(capture, {"SOPClassUID": DX}) == [beside, None]
    assert reasons(capture, capture) == [alone, alone]
    assert reasons(capture, {"SOPClassUID": DX}, secondary_capture="keep") == [None, None]


def test_captures_are_dropped_if_asked():
    assert reasons({"SOPClassUID": CAPTURE, "ConversionType": "DF"}, secondary_capture="drop") == ["secondary_capture"]


def test_a_capture_beside_a_report_or_a_phantom_is_alone():
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "Modality": "SR"}
    phantom = {"QualityControlImage": "YES"}
    assert reasons({"SOPClassUID": CAPTURE}, report, phantom) == [None, "not_an_image", "test_image"]
    assert reasons(phantom, test_image="keep") == [None]


@pytest.mark.parametrize(
    "header",
    [
        {"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"Modality": "MR", "SeriesDescription": "3-plane localiser"},
        {"Modality": "CT", "SeriesDescription": "Topogram  0.6  T20s"},
        {"Modality": "MR", "ProtocolName": "SCOUT_HEAD"},
    ],
)
def test_localizers(header):
    assert reasons(header) == ["localizer"]
    assert reasons(header, localizer="keep") == [None]


def test_what_is_no_localizer():
    axial = {"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SeriesDescription": "chest"}
    needle = {"Modality": "MG", "SeriesDescription": "needle localizer"}
    assert reasons(axial, needle) == [None, None]


@pytest.mark.parametrize("kind", ["66.4", "66.7", "481.2", "11.1", "9.1.1", "104.1", "67"])
def test_classes_that_are_no_picture_even_with_pixels(kind):
    assert read(SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{kind}").reason == "not_an_image"


def test_classes_that_are():
    for kind in ("30", "481.1", "77.1.4", "6.1", "1.2", "1.3", "128"):
        assert read(SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{kind}").reason is None


# ---- views ---------------------------------------------------------------------------------------------------------


def code(value, scheme):
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning="x")]


@pytest.mark.parametrize(
    ("view", "header"),
    [
        ("PA", {"ViewPosition": "PA"}),
        ("PA", {"ViewPosition": "pa ", "ViewCodeSequence": code("399348003", "SCT")}),
        ("LATERAL", {"ViewPosition": "LAT"}),
        ("LL", {"ViewPosition": "LL"}),
        ("LL", {"ViewPosition": "LEFT LATERAL"}),
        ("MLO", {"ViewPosition": "MLO", "Modality": "MG"}),
        ("XTABLE LATERAL", {"ViewPosition": "XTABLE LATERAL"}),
        ("AP", {"ViewCodeSequence": code("399348003", "SCT")}),
        ("AP", {"ViewPosition": "", "ViewCodeSequence": code("R-10206", "SRT")}),
        ("AP", {"ViewPosition": "UNKNOWN", "ViewCodeSequence": code("R-10206", "SNM3")}),
        ("unknown", {"ViewCodeSequence": code("399348003", "99LOCAL")}),
        ("PA", {"ViewCodeSequence": code("1", "SCT"), "SeriesDescription": "CHEST PA"}),
        ("LL", {"SeriesDescription": "Thorax LL"}),
        ("unknown", {"SeriesDescription": "bone length LL"}),
        ("LATERAL", {"ProtocolName": "Chest Lat."}),
        ("AP", {"SeriesDescription": "chest", "AcquisitionDeviceProcessingDescription": "CHEST,AP"}),
        ("PA", {"StudyDescription": "XR chest postero-anterior"}),
        ("unknown", {"SeriesDescription": "PA AND LATERAL", "StudyDescription": "CHEST PA"}),
        ("unknown", {"SeriesDescription": "CHEST 2 VIEWS"}),
        ("unknown", {"SeriesDescription": "left lateral decubitus"}),
        ("unknown", {"SeriesDescription": "paediatric chest, lateralised, map"}),
        ("unknown", {"SeriesDescription": "AP", "Modality": "CT"}),
        ("CC", {"SeriesDescription": "R CC", "Modality": "MG"}),
        ("MLO", {"SeriesDescription": "LMLO", "Modality": "MG"}),
        ("unknown", {"SeriesDescription": "30 CC contrast"}),
        ("unknown", {}),
        ("unknown", {"ViewPosition": "Jane Doe's film, PA"}),
    ],
)
def test_the_view(view, header):
    assert read(**header).columns["view"] == view


def test_a_view_of_the_study_is_that_of_its_only_picture():
    told = {"StudyDescription": "CHEST PA"}
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "Modality": "SR"}
    assert dicom_studies.views([read(**told), read(**told)]) == ["unknown", "unknown"]
    assert dicom_studies.views([read(**told), read(**told | report)])[0] == "PA"
    assert dicom_studies.views([read(**told, SeriesDescription="LAT"), read(**told)]) == ["LATERAL", "unknown"]


def test_the_codes_are_those_of_the_standard_as_pydicom_has_them():
    from pydicom.sr import _cid_dict, _concepts_dict, _snomed_dict

    known = {
        code
        for cid in (4010, 4014)
        for name in _cid_dict.cid_concepts[cid]["SCT"]
        for code, (_, cids) in _concepts_dict.concepts["SCT"][name].items()
        if cid in cids
    }
    assert dicom_views.CODES["SCT"].keys() <= known
    srt = _snomed_dict.mapping["SCT"]
    assert dicom_views.CODES["SRT"] == {srt[code]: view for code, view in dicom_views.CODES["SCT"].items()}
    assert set(dicom_views.CODES["SCT"].values()) == dicom_views.VIEWS.keys()
    names = _concepts_dict.concepts["SCT"]
    for name, view in {"PosteroAnterior": "PA", "AnteroPosterior": "AP", "LeftLateral": "LL", "RightLateral": "RL",
                       "LateralProjection": "LATERAL", "CranioCaudal": "CC", "MedioLateralObliqueProjection": "MLO",
                       "LateroMedial": "LM", "CaudoCranial": "FB"}.items():  # fmt: skip
        assert view in {dicom_views.CODES["SCT"].get(code) for code in names[name]}


@pytest.mark.parametrize(
    ("side", "header"),
    [
        ("L", {"ImageLaterality": "L", "Laterality": "R"}),
        ("R", {"ImageLaterality": "", "Laterality": "r"}),
        ("B", {"Laterality": "BILATERAL"}),
        (None, {"Laterality": "?"}),
        (None, {}),
    ],
)
def test_the_side(side, header):
    assert read(**header).columns["laterality"] == side


def test_the_side_of_a_frame():
    def anatomy(side):
        return item(FrameAnatomySequence=[item(FrameLaterality=side)])

    import numpy as np

    values = np.stack([ramp(), ramp()])
    groups = {"PerFrameFunctionalGroupsSequence": [anatomy("L"), anatomy("R")]}
    frames = dicom.pixels(file(values, frames=2, Modality="OP", **groups))
    assert [frame.columns for frame in frames] == [{"laterality": "L"}, {"laterality": "R"}]
