"""DICOM series as volumes: against the phantom's formula, dcm2niix and nibabel, and what no volume can be made of."""

import itertools
import shutil
import subprocess

import nibabel
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from mmssl.data import dicom_series, volumes
from mmssl.errors import CannotDo, Unreadable, WrongUse
from tests import scans
from tests.scans import ORIENTATIONS, Scan

SHUFFLED = [5, 0, 7, 1, 2, 11, 3, 4, 6, 8, 10, 9]
ROUGH = 2e-6  # places are written with six decimals


def dcm2niix(folder, out):
    out.mkdir()
    command = ["dcm2niix", "-z", "n", "-b", "n", "-f", "%s", "-o", out, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: nibabel.load(path) for path in sorted(out.glob("*.nii"))}


def assert_same_in_the_patient(volume, image):
    """Voxel by voxel, through the affines: each of ours lies where one of theirs lies, and has its number."""
    way = np.linalg.inv(image.affine) @ volume.affine
    whole = np.rint(way)
    assert np.abs(way - whole).max() < 1e-4, "the two grids are not the same, or not of the same spacing"
    places = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    theirs = (places @ whole[:3, :3].T + whole[:3, 3]).astype(int)
    assert sorted(volume.shape) == sorted(image.shape)
    assert theirs.min() >= 0
    assert (theirs.max(axis=(0, 1, 2)) == np.array(image.shape) - 1).all()
    values = np.asanyarray(image.dataobj)[tuple(np.moveaxis(theirs, -1, 0))]
    assert np.array_equal(values, volume.values)


def reasons(found):
    """How many files have each reason, over all that `read_all` gave."""
    told = [reason for one in found for reason in one.files.values()]
    return {reason: told.count(reason) for reason in told}


# ---- agreement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True], ids=["", "numbers_reversed"])
@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_voxel_is_where_the_phantom_has_it(tmp_path, orientation, modality, reverse):
    scan = Scan(modality, ORIENTATIONS[orientation], reverse=reverse)
    scan.write(tmp_path)
    volume = volumes.read(tmp_path)
    assert np.array_equal(volume.values, scan.values())
    assert volume.values.dtype == np.int16
    assert np.allclose(volume.affine, scan.affine(), atol=ROUGH, rtol=0)
    assert np.allclose(volume.spacing, (1.25, 1.5, 4.0), atol=ROUGH, rtol=0), "of positions, not SliceThickness"
    assert volume.unit == ("HU" if modality == "CT" else "as given")
    assert volume.flags == ()
    # and without any affine of the test's own: the marker on the patient's left is there, and the one at the head
    for place, value in (((18, 0, 0), 318), ((0, -14, 0), 500), ((0, 0, 16), 700)):
        index = np.linalg.inv(volume.affine) @ [-place[0], -place[1], place[2], 1]
        number = volume.values[tuple(np.rint(index[:3]).astype(int))]
        assert abs(number - (0 if modality == "CT" else 1024) - value) < 5


@pytest.mark.needs_dcm2niix
@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcm2niix_makes_the_same_volume(tmp_path, orientation, modality):
    Scan(modality, ORIENTATIONS[orientation], reverse=True).write(tmp_path / "in")
    (image,) = dcm2niix(tmp_path / "in", tmp_path / "out").values()
    assert_same_in_the_patient(volumes.read(tmp_path / "in"), image)
    assert_same_in_the_patient(volumes.read(tmp_path / "out" / "1.nii", modality=modality), image)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_file_of_many_frames_in_any_order(tmp_path, modality, orientation):
    scan = Scan(modality, ORIENTATIONS[orientation])
    path = scans.save(scan.enhanced(SHUFFLED), tmp_path / "all.dcm")
    volume = volumes.read(path)
    assert np.array_equal(volume.values, np.stack([one.values for one in scan.slices], -1).transpose(1, 0, 2))
    assert np.allclose(volume.affine, scan.affine(), atol=1e-9, rtol=0)
    assert volume.unit == ("HU" if modality == "CT" else "as given")


@pytest.mark.needs_dcm2niix
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_dcm2niix_reads_many_frames_alike(tmp_path, modality):
    """It takes the distance of frames from their thickness, so here that is told truly."""
    scan = Scan(modality, ORIENTATIONS["oblique"])
    path = scans.save(scan.enhanced(SHUFFLED, thickness=4.0), tmp_path / "in" / "all.dcm")
    (image,) = dcm2niix(tmp_path / "in", tmp_path / "out").values()
    assert_same_in_the_patient(volumes.read(path), image)


@pytest.mark.needs_dcm2niix
def test_a_tilted_gantry_is_in_the_affine_and_resampling_straightens_it(tmp_path):
    scan = Scan(tilt=-15.0, signed=True, GantryDetectorTilt=15.0)
    scan.write(tmp_path / "in")
    volume = volumes.read(tmp_path / "in")
    assert volume.flags == ("gantry_tilt",)
    assert np.allclose(volume.affine, scan.affine(), atol=ROUGH, rtol=0)
    made = dcm2niix(tmp_path / "in", tmp_path / "out")
    assert_same_in_the_patient(volume, made["1"])
    # dcm2niix straightens along the columns of pixels; our voxels, asked for at its places, say the same
    straight = made["1_Tilt_1"]
    places = np.stack(np.meshgrid(*map(np.arange, straight.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    ours = np.linalg.inv(volume.affine) @ straight.affine @ np.insert(places, 3, 1, axis=1).T
    inside = ((ours[:3] >= 0) & (ours[:3] <= np.array(volume.shape)[:, None] - 1)).all(axis=0)
    values = ndimage.map_coordinates(volume.values.astype(float), ours[:3], order=1)
    theirs = np.asarray(straight.dataobj).reshape(-1)
    assert inside.mean() > 0.7
    assert np.abs(values - theirs)[inside].max() <= 1
    level = volumes.resample(volume, (1.25, 1.5, 4.0))
    assert level.flags == ()
    assert np.allclose(level.affine[:3, :3], np.diag([-1.25, -1.5, 4.0]))
    assert level.values.min() == -1024, "what no slice has seen is told from air"


def test_a_tilt_that_only_the_header_tells(tmp_path):
    Scan(GantryDetectorTilt=12.5).write(tmp_path)
    assert volumes.read(tmp_path).flags == ("tilt_not_in_positions",)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_nibabel_reads_what_is_written(tmp_path, orientation):
    Scan("CT", ORIENTATIONS[orientation]).write(tmp_path / "in")
    volume = volumes.read(tmp_path / "in")
    for name in ("a.nii", "a.nii.gz"):
        volumes.write(volume, tmp_path / name)
        image = nibabel.load(tmp_path / name)
        assert image.get_data_dtype() == np.int16
        assert np.array_equal(np.asanyarray(image.dataobj), volume.values)
        assert np.allclose(image.affine, volume.affine, atol=1e-5)
        assert np.allclose(image.get_qform(), volume.affine, atol=1e-4), "who reads the qform sees the same"
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
        assert nibabel.aff2axcodes(image.affine) == tuple(volume.axes)
        again = volumes.read(tmp_path / name)
        assert (again.unit, again.flags) == ("HU", ())
        assert np.array_equal(again.values, volume.values)
        turned = nibabel.as_closest_canonical(image)
        assert np.array_equal(np.asanyarray(turned.dataobj), volumes.canonical(again).values)
        assert np.allclose(turned.affine, volumes.canonical(again).affine, atol=1e-5)


# ---- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.needs_dcm2niix
def test_a_slope_of_its_own_in_every_slice(tmp_path):
    """As PET has it: the same activity is stored by other numbers in every slice."""
    scan = Scan("PT", RescaleIntercept=0, Units="BQML")
    for number, one in enumerate(scan.slices):
        one.values, one.header = one.values + 1024.0, {"RescaleSlope": 0.25 * (number + 2)}
    scan.write(tmp_path / "in")
    volume = volumes.read(tmp_path / "in")
    assert volume.values.dtype == np.float32
    assert (volume.unit, volume.rule, volume.flags) == ("as given", "rescaled", ("rescale_varies",))
    steps = np.array([0.25 * (number + 2) for number in range(12)])
    assert (np.abs(volume.values - scan.values()) <= steps / 2).all()
    (image,) = dcm2niix(tmp_path / "in", tmp_path / "out").values()
    assert np.allclose(np.flip(np.asarray(image.dataobj), 1), volume.values, atol=1e-3)


@pytest.mark.parametrize(
    ("header", "kind", "unit", "rule", "flags"),
    [
        ({}, np.int16, "HU", "hounsfield", ()),
        ({"RescaleType": None}, np.int16, "HU", "hounsfield", ()),
        ({"RescaleSlope": 0.5}, np.int16, "HU", "hounsfield", ()),
        ({"RescaleSlope": 0.3}, np.float32, "HU", "hounsfield", ()),
        ({"RescaleType": "mgml"}, np.int16, "as given", "rescaled", ()),
        ({"RescaleSlope": None, "RescaleIntercept": None}, np.int16, "as given", "stored_values", ("no_rescale",)),
    ],
    ids=["plain", "no_type", "halves", "thirds", "density", "none"],
)
def test_hounsfield_units_once(tmp_path, header, kind, unit, rule, flags):
    scan = Scan("CT", count=3)
    for one in scan.slices:
        one.header = dict(header)
    slope = header.get("RescaleSlope", 1) or 1
    scan.write(tmp_path)
    volume = volumes.read(tmp_path)
    wanted = scan.values() + (1024 if rule == "stored_values" else 0)
    assert np.abs(volume.values - wanted).max() <= slope / 2 + 1e-3
    assert (volume.values.dtype, volume.unit, volume.rule, volume.flags) == (kind, unit, rule, flags)


@pytest.mark.parametrize("header", [{"RescaleSlope": None, "RescaleIntercept": None}, {"RescaleType": "US"}])
def test_slices_whose_numbers_mean_different_things_are_no_volume(tmp_path, header):
    scan = Scan(count=4)
    scan.slices[2].header = header
    scan.write(tmp_path)
    assert reasons(volumes.read_all(tmp_path)) == {"unsupported_pixel_format": 4}


# ---- what is set aside ---------------------------------------------------------------------------------------------


def test_a_missing_slice(tmp_path):
    scan = Scan()
    wanted = scan.values()
    del scan.slices[5]
    scan.write(tmp_path)
    assert reasons(volumes.read_all(tmp_path)) == {"missing_slices": 11}
    with pytest.raises(CannotDo, match=r"missing_slices, a series with gaps of whole slices; find the slices"):
        volumes.read(tmp_path)
    filled = volumes.read(tmp_path, gaps=True)
    assert filled.flags == ("slices_interpolated",)
    assert np.allclose(filled.spacing, (1.25, 1.5, 4))
    assert np.array_equal(np.delete(filled.values, 5, axis=2), np.delete(wanted, 5, axis=2))
    assert np.array_equal(filled.values[:, :, 5], np.rint((wanted[:, :, 4] + wanted[:, :, 6]) / 2))


def test_a_slice_that_lies_elsewhere(tmp_path):
    scan = Scan(count=6, step=4.0)
    scan.slices[2].position = scan.slices[2].position + np.array([0, 0, 1.0])
    scan.write(tmp_path)
    assert reasons(volumes.read_all(tmp_path)) == {"unequal_spacing": 6}
    filled = volumes.read(tmp_path, gaps=True)
    one, moved = (scan.slices[place].values.T for place in (1, 2))
    assert np.array_equal(filled.values[:, :, 2], np.rint(one + (moved - one) * 4 / 5)), "linear between its neighbours"


def test_positions_of_few_digits_are_equal_enough(tmp_path):
    """0.625 mm written as 0.6 and 0.7: no gap differs more than the writing explains."""
    scan = Scan(count=9, step=0.625)
    for one in scan.slices:
        one.position = np.round(one.position, 2)
    scan.write(tmp_path)
    assert abs(volumes.read(tmp_path).spacing[2] - 0.625) < 1e-3


def test_slices_that_slip_sideways(tmp_path):
    scan = Scan(count=6)
    scan.slices[3].position = scan.slices[3].position + np.array([2.0, 0, 0])
    scan.write(tmp_path)
    assert reasons(volumes.read_all(tmp_path)) == {"not_a_stack": 6}


def test_a_slice_that_came_twice(tmp_path):
    scan = Scan()
    paths = scan.write(tmp_path)
    twin = tmp_path / "twin.dcm"
    shutil.copy(paths[3], twin)
    (found,) = volumes.read_all(tmp_path)
    assert found.volume.flags == ("duplicate_slices",)
    assert np.array_equal(found.volume.values, scan.values())
    assert reasons([found]) == {None: 12, "duplicate_slice": 1}
    assert [path for path, reason in found.files.items() if reason] in ([paths[3]], [twin])


def test_two_pictures_of_one_place_that_nothing_tells_apart(tmp_path):
    scan = Scan()
    scan.write(tmp_path)
    other = scan.dataset(scan.slices[3])
    other.SOPInstanceUID, other.PixelData = "1.2.3", bytes(len(other.PixelData))
    scans.save(other, tmp_path / "other.dcm")
    assert reasons(volumes.read_all(tmp_path)) == {"conflicting_slices": 13}


def both(tmp_path, one, other):
    """Two scans as one series."""
    other.header["SeriesInstanceUID"] = one.header["SeriesInstanceUID"]
    return one.write(tmp_path / "one"), other.write(tmp_path / "other")


@pytest.mark.parametrize(
    ("modality", "header"),
    [
        ("MR", {"EchoTime": 80.0}),
        ("MR", {"DiffusionBValue": 1000.0}),
        ("MR", {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}),
        ("CT", {"NominalPercentageOfCardiacPhase": 70.0}),
        ("CT", {"ConvolutionKernel": "B70f"}),
        ("CT", {"AcquisitionNumber": 2}),
        ("PT", {"FrameReferenceTime": 600.0}),
    ],
    ids=["echo", "diffusion", "phase_image", "cardiac_phase", "kernel", "acquisition", "time"],
)
def test_a_series_of_several_volumes_is_split_by_what_tells_them_apart(tmp_path, modality, header):
    two = [Scan(modality, shift=0), Scan(modality, **header)]
    for one in two[1].slices:
        one.values = one.values + 10
    files = both(tmp_path, *two)
    found = list(volumes.read_all(tmp_path))
    assert [set(one.files) for one in found] == [set(paths) for paths in files]
    assert reasons(found) == {None: 24}
    for one, scan in zip(found, two, strict=True):
        assert np.array_equal(one.volume.values, scan.values())
        assert one.volume.flags == ("series_split",)
    with pytest.raises(CannotDo, match=r"there are 2 volumes \(12 slices, 12 slices\); take read_all"):
        volumes.read(tmp_path)


def test_what_differs_from_slice_to_slice_divides_nothing(tmp_path):
    """An acquisition for each slice, and one slice twice: still one volume, not thirteen of a slice each."""
    scan = Scan()
    for number, one in enumerate(scan.slices):
        one.header = {"AcquisitionNumber": number + 1}
    scan.write(tmp_path)
    again = scan.dataset(scan.slices[4])
    again.AcquisitionNumber, again.SOPInstanceUID = 99, "1.2.3"
    scans.save(again, tmp_path / "again.dcm")
    (found,) = volumes.read_all(tmp_path)
    assert reasons([found]) == {None: 12, "duplicate_slice": 1}


@pytest.mark.parametrize("keyword", ["SliceThickness", "AcquisitionNumber"])
def test_thin_slices_below_and_thick_ones_above(tmp_path, keyword):
    """As a head is scanned, in one series; without a word in the header they stay one series of unequal spacing."""
    base, above = Scan(count=6, step=2.5), Scan(count=5, step=5.0)
    for number, one in enumerate(above.slices):
        one.position = base.slices[-1].position + np.array([0, 0, 4.0 + 5.0 * number])
    for scan, value in ((base, 1), (above, 2)):
        scan.header |= {"SliceThickness": 9, keyword: value}
    files = both(tmp_path, base, above)
    found = list(volumes.read_all(tmp_path))
    assert [set(one.files) for one in found] == [set(paths) for paths in files]
    assert [one.volume.spacing[2] for one in found] == [2.5, 5.0]
    for scan in (base, above):
        scan.header |= {keyword: 9}
    both(tmp_path, base, above)
    assert reasons(volumes.read_all(tmp_path)) == {"unequal_spacing": 11}


def test_steps_of_a_table_are_no_slabs(tmp_path):
    """Four slices an acquisition, and one at the edge of an acquisition is missing: a gap, not six volumes."""
    scan = Scan(count=24)
    for number, one in enumerate(scan.slices):
        one.header = {"AcquisitionNumber": number // 4}
    del scan.slices[8]
    scan.write(tmp_path)
    assert reasons(volumes.read_all(tmp_path)) == {"missing_slices": 23}


def test_other_directions_sizes_and_spacings_are_other_volumes(tmp_path):
    others = [Scan(directions=ORIENTATIONS["coronal"]), Scan(rows=24), Scan(spacing=(1.0, 1.0)),
              Scan(FrameOfReferenceUID="1.2.3")]  # fmt: skip
    for number, scan in enumerate([Scan(), *others]):
        scan.header["SeriesInstanceUID"] = "1.2.3.4"
        scan.write(tmp_path / str(number))
    found = list(volumes.read_all(tmp_path))
    assert len(found) == 5
    assert all(one.volume.flags == ("series_split",) for one in found)
    assert [one.volume.shape[1] for one in found] == [40, 40, 24, 40, 40]


def test_a_strange_picture_in_a_series(tmp_path):
    scan = Scan()
    good = scan.write(tmp_path)
    strange = Scan(rows=24, count=1)
    both(tmp_path, Scan(count=0), strange)
    found = list(volumes.read_all(tmp_path))
    assert reasons(found) == {None: 12, "mixed_series": 1}
    assert set(found[0].files) == set(good)
    assert found[0].volume.flags == ()


def test_one_slice_is_no_volume(tmp_path):
    Scan(count=1).write(tmp_path)
    assert reasons(volumes.read_all(tmp_path)) == {"too_few_slices": 1}


def test_every_file_of_a_folder_has_its_reason(tmp_path):
    good = Scan().write(tmp_path / "good")
    Scan(series="2", count=2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]).write(tmp_path / "scout")
    Scan("MR", series="7", count=2, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]).write(tmp_path / "tiles")
    nowhere = Scan(series="3", count=2)
    for one in nowhere.slices:
        one.position = None
    nowhere.write(tmp_path / "nowhere")
    colour = Scan(series="4", count=1).dataset(Scan(count=1).slices[0])
    colour.SamplesPerPixel, colour.PhotometricInterpretation = 3, "RGB"
    scans.save(colour, tmp_path / "colour.dcm")
    film = Scan(series="5", count=1).dataset(Scan(count=1).slices[0])
    film.Modality = "DX"
    scans.save(film, tmp_path / "film.dcm")
    unnamed = Scan(series="6", count=1)
    unnamed.slices[0].header = {"SeriesInstanceUID": None}
    unnamed.write(tmp_path / "unnamed")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "empty.dcm").write_bytes(b"")
    found = list(volumes.read_all(tmp_path))
    assert reasons(found) == {
        None: 12, "localizer": 2, "mosaic": 2, "geometry_unknown": 2, "not_scalar": 1, "not_volumetric": 1,
        "series_unknown": 1, "not_dicom": 1, "empty": 1,
    }  # fmt: skip
    assert sum(len(one.files) for one in found) == sum(path.is_file() for path in tmp_path.rglob("*"))
    assert {path for path, reason in found[0].files.items() if reason is None} == set(good)
    assert set(reasons(found)) - {None} <= set(volumes.REASONS)
    assert np.array_equal(volumes.read(tmp_path).values, Scan().values()), "what is no slice is passed over"


@pytest.mark.parametrize(
    ("place", "left"), [(0, {"truncated": 1, None: 11}), (6, {"truncated": 1, "missing_slices": 11})]
)
def test_a_slice_that_cannot_be_read(tmp_path, place, left):
    """At an end the volume is that much shorter, and says so; in the middle it has a gap."""
    paths = Scan().write(tmp_path)
    paths[place].write_bytes(paths[place].read_bytes()[:-500])
    (found,) = volumes.read_all(tmp_path)
    assert reasons([found]) == left
    if place == 0:
        assert found.volume.flags == ("slices_unreadable",)
        assert np.array_equal(found.volume.values, Scan().values()[:, :, 1:])


def test_frames_of_one_file_that_are_several_volumes(tmp_path):
    scan = Scan("MR")
    dataset = scan.enhanced(list(range(12)) * 2)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        echo = pydicom.Dataset()
        echo.EffectiveEchoTime = 20.0 if number < 12 else 80.0
        frame.MREchoSequence = pydicom.Sequence([echo])
    path = scans.save(dataset, tmp_path / "two.dcm")
    found = list(volumes.read_all(path))
    assert [one.volume.shape for one in found] == [(48, 40, 12)] * 2
    groups = dicom_series.series({path: dicom_series.header(path)})
    assert [group.members[path] for group in groups] == [tuple(range(12)), tuple(range(12, 24))]


def test_frames_without_places_of_their_own_are_no_volume(tmp_path):
    """One place in the header is not that of all frames."""
    dataset = Scan().enhanced()
    del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    dataset.PixelSpacing = [1, 1]
    path = scans.save(dataset, tmp_path / "frames.dcm")
    assert reasons(volumes.read_all(path)) == {"geometry_unknown": 1}


def test_a_sequence_that_pydicom_cannot_convert(tmp_path):
    path = scans.save(Scan("MR", count=3).enhanced(), tmp_path / "all.dcm")
    path.write_bytes(path.read_bytes().replace(b"\x20\x00\x13\x91SQ", b"\x20\x00\x13\x91S9"))
    (found,) = volumes.read_all(path)
    assert found.volume is None
    assert found.files[path] in ("header_unreadable", "geometry_unknown")


def test_headers_of_any_bytes_are_read_or_set_aside(tmp_path):
    """Also where pydicom raises what it likes: every file has its reason, without a warning."""
    random = np.random.default_rng(5)
    good = Scan("MR", count=2, rows=8, columns=8).write(tmp_path)
    whole = [path.read_bytes() for path in good]
    whole.append(scans.save(Scan("MR", count=3, rows=8, columns=8).enhanced(), tmp_path / "all.dcm").read_bytes())
    spoilt = tmp_path / "spoilt.dcm"
    for number in range(60):
        content = bytearray(whole[number % 3])
        for place in random.integers(132, len(content) - 100, 4):
            content[place] = random.choice([0, 32, 57, 255, random.integers(0, 256)])
        spoilt.write_bytes(content)
        told = {reason for one in volumes.read_all([*good, spoilt]) for reason in one.files.values()}
        assert told - {None} <= set(volumes.REASONS)


def test_more_voxels_than_the_limit(tmp_path, monkeypatch):
    paths = Scan().write(tmp_path)
    monkeypatch.setattr("mmssl.data.voxels.MAX_VOXELS", 48 * 40 * 11)
    volume, told = dicom_series.build(paths)
    assert volume.shape == (48, 40, 11)
    assert list(told.values()).count("too_large") == 1


def test_the_whole_header_reading_is_of_headers_alone(tmp_path, monkeypatch):
    """Grouping decodes nothing, so a tree of a million files can be planned."""
    paths = Scan().write(tmp_path)
    monkeypatch.setattr("mmssl.data.dicom_frames.decode", None)
    (group,) = dicom_series.series({path: dicom_series.header(path) for path in paths})
    assert group.reason is None
    assert list(group.members) == paths, "in the order of the slices"
    assert group.parts == [(path, (0,)) for path in paths]


# ---- what is said --------------------------------------------------------------------------------------------------


def test_errors_say_what_there_is_and_what_to_do(tmp_path):
    with pytest.raises(CannotDo, match="no file was given"):
        volumes.read([])
    with pytest.raises(CannotDo, match="missing, no file of that name"):
        volumes.read(tmp_path / "no.nii.gz")
    with pytest.raises(WrongUse, match=r"written as \.nii or \.nii\.gz"):
        volumes.write(volumes.Volume(np.zeros((2, 2, 2), np.int16), np.eye(4)), tmp_path / "a.mha")
    long = volumes.Volume(np.zeros((40000, 1, 1), np.int16), np.eye(4))
    with pytest.raises(WrongUse, match="at most 32767 voxels along an axis"):
        volumes.write(long, tmp_path / "a.nii")
    assert list(tmp_path.iterdir()) == []


def test_every_reason_and_flag_that_the_code_gives_has_a_meaning():
    from pathlib import Path

    import mmssl.data

    folder = Path(mmssl.data.__file__).parent
    given = set()
    for name in ("dicom_series", "dicom_planes", "stacks", "nifti", "voxels"):
        text = (folder / f"{name}.py").read_text()
        words = [word.strip('",()[]:') for word in text.split()]
        given |= {word for word in words if word in {**volumes.REASONS, **volumes.FLAGS}}
    assert set(volumes.FLAGS) - {"series_split"} <= given
    for code, meaning in itertools.chain(volumes.REASONS.items(), volumes.FLAGS.items()):
        assert code.islower()
        assert len(meaning) > 10
    with pytest.raises(Unreadable, match="truncated"):
        raise Unreadable("truncated")
