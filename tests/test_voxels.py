"""What one does with a volume: turned as nibabel turns, cut as radiologists look, resampled as the formula says."""

import itertools

import nibabel
import numpy as np
import pytest

from mmssl.data import voxels
from mmssl.data.voxels import Volume
from tests.scans import ORIENTATIONS, Scan

CODES = ["".join(code) for code in itertools.product(*map("".join, ("RL", "AP", "SI")))]
EVERY = ["".join(way) for code in CODES for way in itertools.permutations(code)]  # 48


def linear(volume):
    """A number for each voxel that is linear in its place in the patient, so that interpolation is exact."""
    places = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    world = places @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return (world @ [3.0, -2.0, 1.5] + 100).astype(np.float32)


def in_direction(axes, shape=(6, 5, 4), spacing=(0.8, 1.5, 3.0)):
    """A volume whose axes lead to these letters, and whose numbers tell all of its voxels apart."""
    affine = np.diag([0.0, 0, 0, 1])
    for axis, letter in enumerate(axes):
        affine["RLAPSI".index(letter) // 2, axis] = spacing[axis] * (1 if letter in "RAS" else -1)
    affine[:3, 3] = (10, -20, 30)
    return Volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine)


@pytest.mark.parametrize("axes", EVERY)
def test_canonical_is_that_of_nibabel(axes):
    volume = in_direction(axes)
    assert volume.axes == axes
    assert nibabel.aff2axcodes(volume.affine) == tuple(axes)
    turned = voxels.canonical(volume)
    theirs = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.values, volume.affine))
    assert np.array_equal(turned.values, np.asanyarray(theirs.dataobj))
    assert np.allclose(turned.affine, theirs.affine)
    assert turned.axes == "RAS"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_canonical_of_oblique_volumes(orientation):
    scan = Scan(directions=ORIENTATIONS[orientation], count=5)
    volume = Volume(scan.values().astype(np.int16), scan.affine())
    turned = voxels.canonical(volume)
    theirs = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.values, volume.affine))
    assert np.array_equal(turned.values, np.asanyarray(theirs.dataobj))
    assert np.allclose(turned.affine, theirs.affine)


def test_between_two_axes_each_is_taken_once():
    """At 45 degrees every choice is as good, but not the same axis twice."""
    c = np.sqrt(0.5)
    for signs in itertools.product((1, -1), repeat=2):
        affine = np.eye(4)
        affine[:3, :3] = np.array([[c, -c * signs[0], 0], [c, c, 0], [0, 0, signs[1]]])
        assert voxels.canonical(Volume(np.zeros((3, 3, 3), np.int16), affine)).axes == "RAS"


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LPI", "PIR", "ASL", "SLA"])
def test_slices_are_seen_as_they_are_read(axes):
    """A marker at the patient's right, front and head, wherever the axes of the file lead."""
    marked = np.zeros((6, 6, 6), np.int16)
    volume = Volume(marked, in_direction(axes, marked.shape, (1, 1, 1)).affine)
    corner = np.rint(np.linalg.inv(volume.affine) @ _corner(volume)).astype(int)[:3]
    marked[tuple(corner)] = 1
    shown = {plane: np.argwhere(voxels.slices(volume, plane)).tolist() for plane in ("axial", "coronal", "sagittal")}
    assert shown == {
        "axial": [[5, 0, 0]],  # the last slice; the front is above, the right on the left
        "coronal": [[5, 0, 0]],  # the frontmost slice; the head is above, the right on the left
        "sagittal": [[5, 0, 0]],  # the rightmost slice; the head is above, the face on the left
    }


def _corner(volume):
    """The rightmost, foremost and uppermost of the corner voxels."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in volume.shape))))
    world = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return [*world.max(axis=0), 1]


def test_the_shape_of_slices():
    volume = in_direction("RAS", (6, 5, 4))
    assert voxels.slices(volume, "axial").shape == (4, 5, 6)
    assert voxels.slices(volume, "coronal").shape == (5, 4, 6)
    assert voxels.slices(volume, "sagittal").shape == (6, 4, 5)


@pytest.mark.parametrize(
    ("axes", "spacing", "plane"),
    [
        ("LPS", (0.7, 0.7, 5), "axial"),
        ("LIP", (0.7, 0.7, 5), "coronal"),
        ("PIR", (0.5, 0.5, 3), "sagittal"),
        ("PIR", (1, 1, 1), "axial"),
    ],
)
def test_the_plane_in_which_a_scan_was_made(axes, spacing, plane):
    assert voxels.finest_plane(in_direction(axes, spacing=spacing)) == plane


def test_slices_at_least_so_far_apart():
    volume = in_direction("LPS", (4, 4, 101), (1, 1, 0.75))
    places = voxels.every(volume, "axial", 10)
    assert 50 in places
    assert set(np.diff(places)) == {13}, "9.75 mm: the largest whole number of slices within 10 mm"
    assert voxels.every(volume, "axial", 0) == list(range(101))
    assert voxels.every(volume, "axial", None) == [50]


# ---- resampling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [2.0, (0.5, 1.0, 3.0), (5.0, 5.0, 5.0)])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "LAS", "IRP"])
def test_resampling_keeps_every_place_in_the_patient(axes, spacing):
    volume = in_direction(axes, (20, 24, 18), (0.8, 1.5, 3.0))
    volume = Volume(linear(volume), volume.affine)
    made = voxels.resample(volume, spacing)
    assert np.allclose(made.spacing, spacing)
    assert made.axes == axes
    places = np.stack(np.meshgrid(*map(np.arange, made.shape), indexing="ij"), axis=-1)
    old = (np.insert(places, 3, 1, axis=-1) @ (np.linalg.inv(volume.affine) @ made.affine).T)[..., :3]
    inside = ((old >= 0) & (old <= np.array(volume.shape) - 1)).all(axis=-1)
    assert inside.any()
    assert np.allclose(made.values[inside], linear(made)[inside], atol=1e-3)
    # the same box, to half a voxel of the new grid on each side
    for one in (volume, made):
        size = np.array(one.shape) * one.spacing
        middle = one.affine[:3, :3] @ (np.array(one.shape) - 1) / 2 + one.affine[:3, 3]
        if one is volume:
            box, centre = size, middle
    assert np.allclose(middle, centre)
    assert (np.abs(size - box) <= np.array(made.spacing) / 2 + 1e-6).all()


def test_resampling_to_the_same_spacing_changes_nothing():
    volume = in_direction("LPS")
    made = voxels.resample(volume, volume.spacing)
    assert np.array_equal(made.values, volume.values)
    assert np.allclose(made.affine, volume.affine)


@pytest.mark.parametrize("tilt", [20.0, -20.0])
def test_resampling_straightens_a_tilt(tilt):
    scan = Scan(tilt=tilt, count=15)
    volume = Volume(linear(Volume(scan.values(), scan.affine())), scan.affine(), flags=("gantry_tilt",))
    assert voxels.is_sheared(volume.affine)
    made = voxels.resample(volume, (1.25, 1.5, 4.0), outside=-5000)
    assert not voxels.is_sheared(made.affine)
    assert made.flags == ()
    known = made.values != -5000
    assert 0.5 < known.mean() < 0.95, "the corners that no slice has seen"
    core = (slice(2, -2), slice(16, -16), slice(2, -2))
    assert np.allclose(made.values[core], linear(made)[core], atol=0.01)


@pytest.mark.parametrize("spacing", [0, -1, (1, 0, 1), float("nan")])
def test_a_spacing_that_is_none(spacing):
    with pytest.raises(ValueError, match=r"one or three numbers of millimetres above 0"):
        voxels.resample(in_direction("RAS"), spacing)


# ---- windows -------------------------------------------------------------------------------------------------------


def test_a_window_is_the_contracts_or_the_one_given():
    units = np.array([-3000, -1000, -500, 0, 40, 1000, 3000], np.int16).reshape(1, 1, -1)
    volume = Volume(units, np.eye(4), "HU")
    assert voxels.window(volume).ravel().tolist() == [0, 0, 64, 128, 133, 255, 255]
    assert voxels.window(volume, -160, 240).ravel().tolist() == [0, 0, 0, 102, 128, 255, 255]
    assert not voxels.window(volume, 5, 5).any()


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_what_has_no_unit_is_shown_between_its_percentiles(dtype):
    values = np.random.default_rng(1).permutation(np.arange(-500, 1500)).reshape(20, 10, 10).astype(dtype)
    shown = voxels.window(Volume(values, np.eye(4)))
    low, high = np.percentile(values, [0.5, 99.5], method="inverted_cdf")
    expected = np.floor(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255 + 0.5)
    assert np.array_equal(shown, expected)


def test_functions_leave_a_volume_as_it_is():
    volume = in_direction("PIR")
    before, affine = volume.values.copy(), volume.affine.copy()
    voxels.canonical(volume)
    voxels.resample(volume, 2)
    voxels.window(volume)
    voxels.slices(volume)
    assert np.array_equal(volume.values, before)
    assert np.array_equal(volume.affine, affine)
