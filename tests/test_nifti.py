"""NIfTI in and out: nibabel's files as the other side, broken and odd files, and what a file does not say."""

import gzip
import io
import struct
import tracemalloc

import nibabel
import numpy as np
import pytest

from mmssl.data import nifti, volumes
from mmssl.data.voxels import Volume
from mmssl.errors import CannotDo, Unreadable

AFFINE = np.array([[-0.7, 0, 0, 90], [0, 0.1, -2.4, 40], [0, 0.7, 0.3, -60], [0, 0, 0, 1.0]])
VALUES = np.random.default_rng(7).integers(-1024, 2000, (7, 6, 5)).astype(np.int16)


def made(values=VALUES, affine=AFFINE, *, sform=1, qform=0, kind=nibabel.Nifti1Image, **header):
    """A file of nibabel's as bytes."""
    image = kind(values, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(header.pop("other", None), code=qform)
    for name, value in header.items():
        if name == "scale":
            image.header.set_slope_inter(*value)
        else:
            image.header[name] = value
    return image.to_bytes()


def reason(content, **options):
    with pytest.raises(Unreadable) as caught:
        nifti.read(content, **options)
    assert caught.value.reason in volumes.REASONS
    return caught.value.reason


# ---- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("packed", [False, True], ids=["nii", "gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", ">i2", "u2", "i4", "f4", "f8"])
def test_numbers_and_places_are_those_of_nibabel(kind, packed, dtype):
    values = np.abs(VALUES).astype(dtype) if "1" not in dtype else (np.abs(VALUES) % 100).astype(dtype)
    content = made(values, kind=kind)
    image = kind.from_bytes(content)
    volume = nifti.read(gzip.compress(content) if packed else content)
    assert np.array_equal(volume.values, image.get_fdata())
    assert np.array_equal(volume.affine, image.affine)
    assert volume.values.dtype == np.int16, "all of these are whole and fit"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([0.5, 1]), np.float32),
        (np.array([40000], np.uint16), np.float32),
        (np.array([-40000], np.int32), np.float32),
        (np.array([32767], np.uint16), np.int16),
        (np.array([np.nan, 3.0]), np.int16),
        (np.array([np.inf, 0.25]), np.float32),
    ],
)
def test_int16_where_nothing_is_lost_else_float32(values, kind):
    volume = nifti.read(made(values.reshape(-1, 1, 1)))
    assert volume.values.dtype == kind
    assert np.array_equal(volume.values.ravel(), np.nan_to_num(values, posinf=0))


@pytest.mark.parametrize("scale", [(1.0, -1024.0), (2.0, 3.0), (0.5, 0.0), (0.1, -7.25)])
def test_slope_and_intercept_of_the_file_once(scale):
    """The header is written by hand: nibabel would divide the numbers when it writes."""
    content = bytearray(made(np.abs(VALUES)))
    content[112:120] = struct.pack("<ff", *scale)
    volume = nifti.read(bytes(content))
    slope, inter = (float(np.float32(one)) for one in scale)
    assert np.allclose(volume.values, np.abs(VALUES) * slope + inter, rtol=1e-6)
    assert volume.rule == "rescaled"
    assert np.allclose(volume.values, nibabel.Nifti1Image.from_bytes(bytes(content)).get_fdata(), rtol=1e-6)


@pytest.mark.parametrize("scale", [(0.0, 5.0), (np.nan, np.nan), (1.0, 0.0)])
def test_a_slope_of_0_or_no_number_means_none(scale):
    content = bytearray(made())
    content[112:120] = struct.pack("<ff", *scale)
    volume = nifti.read(bytes(content))
    assert np.array_equal(volume.values, VALUES)
    assert volume.rule == "stored_values"


def body(shape=(40, 40, 20)):
    """A CT: padding in the corners, air, tissue, some bone."""
    rng = np.random.default_rng(3)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    far = np.hypot(x, y)
    values = np.where(far < 0.6, 40.0, -1000.0) + rng.normal(0, 20, shape)
    values[:5, 15:25] = 700
    return np.where(far > 1.1, -3024, np.rint(values)).astype(np.int16)


def test_hounsfield_units_are_rescaled_no_second_time():
    """Files that hold Hounsfield units stay as they are, whatever a table beside them says of slopes."""
    volume = nifti.read(made(body()), modality="CT")
    assert np.array_equal(volume.values, body())
    assert (volume.unit, volume.modality, volume.flags) == ("HU", "CT", ())
    assert nifti.read(made(body())).unit == "as given", "the file does not say that it is a CT"


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda units: units.clip(-1024) - 1024,
        lambda units: np.where(units < -500, -1024, units) - 1024,
        lambda units: np.where(np.arange(20) < 5, units.clip(-1024) - 1024, units.clip(-1024)),
        lambda units: units.clip(-1024) + 1024,
        lambda units: units * 0 + 7,
    ],
    ids=["twice", "twice_without_noise", "twice_in_some_slices", "never", "constant"],
)
def test_numbers_that_are_hardly_hounsfield_units_are_flagged(spoilt):
    values = spoilt(body().astype(np.int32)).astype(np.int16)
    assert nifti.read(made(values), modality="CT").flags == ("hu_unlikely",)
    assert nifti.read(made(values)).flags == ()


# ---- places --------------------------------------------------------------------------------------------------------


def test_the_sform_is_taken_before_the_qform():
    straight = np.diag([2.0, 2, 2, 1])
    assert np.allclose(nifti.read(made(sform=2, qform=1, other=straight)).affine, AFFINE)
    assert nifti.read(made(sform=2, qform=1, other=straight)).flags == ("forms_disagree",)
    assert np.allclose(nifti.read(made(sform=0, qform=1, other=straight)).affine, straight)
    image = nibabel.Nifti1Image.from_bytes(made(sform=0, qform=1, other=straight))
    assert np.allclose(image.affine, straight)


def test_forms_that_say_the_same_with_few_digits_agree():
    straight = np.diag([-0.7, -0.7, 2.5, 1])
    assert nifti.read(made(affine=straight, sform=1, qform=1, other=straight)).flags == ()


def test_a_file_that_says_not_how_it_lies_is_refused_or_assumed_as_asked(tmp_path):
    content = made(pixdim=[1, 0.5, 0.6, 3, 1, 1, 1, 1])
    content = content[:252] + bytes(4) + content[256:]  # both codes 0, which nibabel would not write
    assert reason(content) == "orientation_unknown"
    assumed = nifti.read(content, assume_ras=True)
    assert assumed.flags == ("orientation_assumed",)
    assert np.allclose(assumed.affine, np.diag([0.5, 0.6, 3, 1]))
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(CannotDo, match=r"a\.nii: orientation_unknown, .* give assume_ras=True"):
        volumes.read(tmp_path / "a.nii")


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan, 0, 0, 0], [1e-9, 0, 0, 3]], ids=["zero", "nan", "flat"])
def test_an_affine_that_can_mean_nothing_is_none(row):
    broken = AFFINE.copy()
    broken[0] = row
    content = bytearray(made())
    content[280:328] = broken[:3].astype("<f4").tobytes()
    assert reason(bytes(content)) == "orientation_unknown"
    content[280:284] = b"\x01\x00\xa0\x7f"  # a signalling not-a-number, of which numpy warns
    assert reason(bytes(content)) == "orientation_unknown"


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
def test_millimetres_whatever_the_file_measures_in(code, factor):
    volume = nifti.read(made(xyzt_units=code))
    assert np.allclose(volume.affine[:3], AFFINE[:3] * factor)


# ---- what is no volume ---------------------------------------------------------------------------------------------


def test_several_volumes():
    content = made(np.stack([VALUES, VALUES + 1], axis=-1))
    assert reason(content) == "several_volumes"
    assert np.array_equal(nifti.read(content, number=1).values, VALUES + 1)
    with pytest.raises(IndexError, match="number 2: the file has 2 volumes"):
        nifti.read(content, number=2)
    assert np.array_equal(nifti.read(made(VALUES[..., None])).values, VALUES), "one of one is that one"
    assert nifti.read(made(VALUES[..., 0])).shape == (7, 6, 1)


def test_voxels_that_are_no_single_numbers():
    colours = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert reason(made(colours)) == "not_scalar"
    assert reason(made(VALUES.astype(np.complex64))) == "not_scalar"
    assert reason(made(np.zeros((4, 3, 2, 1, 3), np.float32))) == "not_scalar"


@pytest.mark.parametrize("packed", [False, True], ids=["nii", "gz"])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.95, 0.999])
def test_a_file_that_ends_early(packed, left):
    content = gzip.compress(made()) if packed else made()
    assert reason(content[: int(len(content) * left)]) == "truncated"


def test_a_compressed_file_whose_checksum_is_cut_off_or_wrong():
    content = gzip.compress(made())
    assert reason(content[:-3]) == "truncated"
    assert reason(content[:-8] + bytes(8)) == "decode_failed"
    assert reason(content[:60] + bytes(40) + content[100:]) == "decode_failed"


def test_a_bomb_is_never_unfolded(monkeypatch):
    """Refused by what the header announces, or read no further than that."""
    header = bytearray(made(np.zeros((2, 2, 2), np.int16))[:352])
    header[40:56] = struct.pack("<8h", 4, 32767, 32767, 1000, 1, 1, 1, 1)
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(header)
        file.write(bytes(2**24))
    assert reason(buffer.getvalue()) == "too_large"
    small = made(VALUES)
    longer = gzip.compress(small + bytes(2**25), 1)
    tracemalloc.start()
    assert np.array_equal(nifti.read(longer).values, VALUES)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**23
    monkeypatch.setattr("mmssl.data.voxels.MAX_VOXELS", VALUES.size - 1)
    assert reason(small) == "too_large"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"not a volume at all" * 40, "not_a_volume"),
        (gzip.compress(b"text" * 500), "not_a_volume"),
        (b"\x1f\x8b\x08\x00rubbish" * 90, "decode_failed"),
        (made()[:40] + struct.pack("<8h", 3, -7, 6, 5, 1, 1, 1, 1) + made()[56:], "header_unreadable"),
        (made()[:40] + struct.pack("<8h", 9, 7, 6, 5, 1, 1, 1, 1) + made()[56:], "header_unreadable"),
        (made()[:70] + struct.pack("<h", 3333) + made()[72:], "header_unreadable"),
    ],
    ids=["empty", "text", "packed_text", "bad_gzip", "negative_size", "nine_axes", "no_such_type"],
)
def test_a_file_that_is_none(content, why):
    assert reason(content) == why


def test_a_volume_of_one_voxel_is_smaller_than_the_longest_header():
    assert nifti.read(gzip.compress(made(np.full((1, 1, 1), 7, np.int16)))).values.item() == 7


def test_headers_of_any_bytes_are_read_or_refused(caplog):
    """Nothing but `Unreadable` comes out, without a warning, and nibabel keeps what it read to itself."""
    random, whole = np.random.default_rng(11), made()
    for _ in range(300):
        content = bytearray(whole)
        for place in random.integers(0, 352, 4):
            content[place] = random.integers(0, 256)
        volume, why = None, None
        try:
            volume = nifti.read(bytes(content), modality="CT", assume_ras=True)
        except Unreadable as error:
            why = error.reason
        assert why in volumes.REASONS if volume is None else np.isfinite(volume.affine).all()
    assert not caplog.records


def test_a_volume_is_known_by_its_first_bytes():
    assert nifti.is_nifti(made()[:400])
    assert nifti.is_nifti(made(kind=nibabel.Nifti2Image)[:540])
    assert nifti.is_nifti(gzip.compress(made())[:400])
    assert not nifti.is_nifti(b"\x89PNG\r\n\x1a\n" + bytes(600))
    assert not nifti.is_nifti(gzip.compress(b"text" * 500))


# ---- out -----------------------------------------------------------------------------------------------------------


def test_the_same_bytes_every_time(tmp_path):
    volume = Volume(VALUES, AFFINE, "HU")
    one, other = tmp_path / "one.nii.gz", tmp_path / "other.nii.gz"
    volumes.write(volume, one)
    volumes.write(volume, other)
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes()[4:8] == bytes(4), "no time"
    assert gzip.decompress(one.read_bytes()) == nifti.encode(volume, compressed=False)
    assert one.name.encode() not in one.read_bytes()


@pytest.mark.parametrize("unit", ["HU", "as given"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_there_and_back(tmp_path, unit, dtype):
    volume = Volume(body().astype(dtype) / (1 if dtype == np.int16 else 3), AFFINE, unit)
    volumes.write(volume, tmp_path / "a.nii.gz")
    again = volumes.read(tmp_path / "a.nii.gz")
    assert again.values.dtype == dtype
    assert np.array_equal(again.values, volume.values)
    assert np.allclose(again.affine, AFFINE, atol=1e-5)
    assert again.unit == unit


def test_what_was_written_as_hounsfield_units_is_not_doubted():
    """A cut through a lung has no soft tissue, and its slopes were seen to be right when it was read."""
    content = nifti.encode(Volume(np.full((4, 4, 4), -850, np.int16), AFFINE, "HU"))
    assert nifti.read(content, modality="CT").flags == ()
    assert nifti.read(made(np.full((4, 4, 4), -850, np.int16)), modality="CT").flags == ("hu_unlikely",)


def test_what_other_readers_find(tmp_path):
    content = nifti.encode(Volume(VALUES, AFFINE, "HU"), compressed=False)
    header = nibabel.Nifti1Header(content[:348])
    assert (float(header["scl_slope"]), float(header["scl_inter"])) == (1, 0), "as dcm2niix writes it"
    assert header.get_xyzt_units()[0] == "mm"
    assert header["descrip"].item() == b"mmssl HU"
    sheared = AFFINE.copy()
    sheared[:3, 2] += [0, 0.5, 0.5]
    header = nibabel.Nifti1Header(nifti.encode(Volume(VALUES, sheared), compressed=False)[:348])
    assert int(header["qform_code"]) == 0, "a quaternion has no shear, and an approximate one would mislead"
    assert np.allclose(header.get_zooms(), np.linalg.norm(sheared[:3, :3], axis=0))


def test_arrays_in_any_order_of_memory(tmp_path):
    flipped = np.asfortranarray(VALUES)[::-1, :, ::-1]
    content = nifti.encode(Volume(flipped, AFFINE), compressed=False)
    assert np.array_equal(np.asarray(nibabel.Nifti1Image.from_bytes(content).dataobj), flipped)
