"""What volumes become in a store: a row that `datasets` opens, or slices; and tables that name NIfTI files."""

import gzip
import io
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import mmssl
from mmssl.data import dicom, images, intensity, nifti, table_rows, volume_rows, volumes, voxels
from mmssl.data.store import Store, schema_with
from mmssl.data.voxels import Volume
from mmssl.errors import Unreadable
from mmssl.types import Picture
from tests.scans import ORIENTATIONS, Scan


def stored(image):
    """The numbers in a picture after it went through a store's PNG, as they were measured."""
    kept = images.standardise(image)
    assert kept.bits == 16
    opened = Image.open(io.BytesIO(kept.bytes))
    opened.load()
    slope, intercept = intensity.scale_of(opened) or (1.0, 0.0)
    offset = 32768 if opened.info[intensity.UNIT] == intensity.HU else 0
    return np.asarray(opened).astype(float) * slope + intercept - offset


@pytest.mark.parametrize(
    ("orientation", "plane"), [("axial", "axial"), ("coronal", "coronal"), ("oblique_sagittal", "sagittal")]
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_series_is_one_row_with_its_middle_slice(tmp_path, orientation, plane, modality):
    paths = Scan(modality, ORIENTATIONS[orientation]).write(tmp_path)
    ((image, columns),), reasons = volume_rows.open_series(paths)
    assert set(reasons.values()) == {None}
    volume = volumes.read(tmp_path)
    assert np.array_equal(stored(image), voxels.slices(volume, plane)[6])
    assert image.info[intensity.UNIT] == (intensity.HU if modality == "CT" else intensity.AS_GIVEN)
    turned = volumes.canonical(volume)
    assert columns["shape"] == list(turned.shape)
    assert np.allclose(columns["spacing"], turned.spacing)
    assert columns["modality"] == modality
    kept = nibabel.Nifti1Image.from_bytes(gzip.decompress(columns["volume"]["bytes"]))
    assert "".join(nibabel.aff2axcodes(kept.affine)) == "RAS"
    assert np.array_equal(np.asanyarray(kept.dataobj), turned.values)


def test_a_series_that_is_no_volume_gives_no_row_and_its_reasons(tmp_path):
    scan = Scan()
    del scan.slices[4]
    found, reasons = volume_rows.open_series(scan.write(tmp_path))
    assert found == []
    assert list(reasons.values()) == ["missing_slices"] * 11


def test_datasets_opens_the_volumes_of_a_store(tmp_path):
    """The column as a store has it: plain Parquet, whose metadata name `datasets`' Nifti feature."""
    import datasets

    Scan().write(tmp_path / "in")
    volume = volumes.read(tmp_path / "in")
    _, columns = volume_rows.row(volume)
    schema = schema_with(volume_rows.types())
    told = json.loads(schema.metadata[b"huggingface"])
    told["info"]["features"] |= volume_rows.FEATURES
    schema = schema.with_metadata({"huggingface": json.dumps(told)})
    row = {name: columns.get(name) for name in schema.names}
    pq.write_table(pa.Table.from_pylist([row], schema=schema), tmp_path / "train.parquet")
    opened = datasets.load_dataset("parquet", data_files=str(tmp_path / "train.parquet"), split="train")
    assert isinstance(opened.features["volume"], datasets.Nifti)
    image = opened[0]["volume"]
    turned = volumes.canonical(volume)
    assert np.array_equal(np.asanyarray(image.dataobj), turned.values)
    assert np.allclose(image.affine, turned.affine, atol=1e-5)
    assert opened[0]["shape"] == [48, 40, 12]
    again = nifti.read(opened.cast_column("volume", datasets.Nifti(decode=False))[0]["volume"]["bytes"])
    assert np.array_equal(again.values, turned.values)
    assert again.unit == "HU"


def test_slices_of_a_volume_share_one_scale():
    """A dark slice is not stretched to look like a bright one."""
    ramp = np.broadcast_to(np.arange(9) / 7.0 - 0.5, (4, 5, 9))
    whole = np.rint(ramp * 1000).astype(np.int16)
    for values in (ramp.astype(np.float32), whole, whole + np.int16(600)):
        found = volume_rows.cut(Volume(values, np.diag([1.0, 1, 5, 1])), every=0)
        scales = {intensity.scale_of(image) for image, _ in found}
        assert len(scales) == 1
        seen = np.stack([stored(image) for image, _ in found])
        assert np.allclose(seen, values[::-1, ::-1].transpose(2, 1, 0), atol=1e-4 if values.dtype == np.float32 else 0)


def test_which_slices_of_a_nifti_file_become_rows(tmp_path):
    values = np.arange(8 * 8 * 101, dtype=np.int16).reshape(8, 8, 101)
    content = nifti.encode(Volume(values, np.diag([-0.7, -0.7, 0.75, 1])))
    assert len(volume_rows.open_nifti(content)) == 7, "slices 11, 24 ... 89, the middle one (50) among them"
    assert len(volume_rows.open_nifti(content, every=0)) == 101
    assert len(volume_rows.open_nifti(content, every=None)) == 1
    assert len(volume_rows.open_nifti(content, plane="coronal", every=0)) == 8
    ((image, columns),) = volume_rows.open_nifti(content, modality="CT", images="volumes")
    assert columns["shape"] == [8, 8, 101]
    assert image.info[intensity.UNIT] == intensity.HU
    assert columns["flags"] == ["hu_unlikely"]


def test_what_the_table_says_of_a_nifti_file_stands(tmp_path):
    content = nifti.encode(Volume(np.zeros((8, 8, 8), np.int16), np.eye(4), "HU"))
    (_, columns), *_ = table_rows.opened(Picture("a", None, columns={"modality": "PT"}), content)
    assert "modality" not in columns, "the row's own is not overwritten"
    (image, columns), *_ = table_rows.opened(Picture("a", None), content)
    assert columns["modality"] == "CT", "we wrote it as Hounsfield units"
    assert image.info[intensity.UNIT] == intensity.HU


def test_a_table_that_names_nifti_and_other_files(tmp_path):
    """`mmssl prepare pairs.csv`: ids of the table, a row a slice, a line and a reason for every input."""
    rng = np.random.default_rng(5)
    values = np.rint(rng.normal(0, 300, (64, 64, 30)) + np.indices((64, 64, 30))[0] * 10).astype(np.int16)
    whole = Volume(values, np.diag([-0.7, -0.7, 3, 1]))
    volumes.write(whole, tmp_path / "chest.nii.gz")
    volumes.write(whole, tmp_path / "plain.nii")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "chest.nii.gz").read_bytes()[:9000])
    lost = bytearray((tmp_path / "plain.nii").read_bytes())
    lost[252:256] = bytes(4)
    (tmp_path / "lost.nii").write_bytes(lost)
    nibabel.Nifti1Image(np.stack([values, values], -1), np.eye(4)).to_filename(tmp_path / "two.nii.gz")
    names = ["chest.nii.gz", "cut.nii.gz", "lost.nii", "two.nii.gz"]
    rows = ["image,text,patient_id,modality"]
    rows += [f"{name},A report of {name},{number},CT" for number, name in enumerate(names)]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    mmssl.prepare(tmp_path / "pairs.csv", tmp_path / "store", split="train", clean=False, workers=1)
    store = Store(tmp_path / "store")
    made = store.select(columns=["patient_id", "text", "modality", "source_id"]).to_pylist()
    assert len(made) == 10, "30 slices of 3 mm: one every 9 mm"
    assert {row["patient_id"] for row in made} == {"0"}
    assert {row["modality"] for row in made} == {"CT"}
    wanted = [voxels.slices(whole, "axial")[place] for place in voxels.every(whole, "axial", 10)]
    for row, values in zip(made, wanted, strict=True):
        image = Image.open(io.BytesIO(store.image_bytes(row["row"])))
        assert np.array_equal(np.asarray(image).astype(int) - 32768, values)
        assert image.info[intensity.UNIT] == intensity.HU, "the table says that it is a CT"
    told = pq.read_table(tmp_path / "store" / "sources.parquet").to_pylist()
    assert {row["source_id"]: row["reason"] for row in told} == {
        "chest.nii.gz": None,
        "cut.nii.gz": "truncated",
        "lost.nii": "orientation_unknown",
        "two.nii.gz": "several_volumes",
    }
    assert [len(row["row_ids"]) for row in told if row["reason"] is None] == [10]


def test_a_folder_with_metadata_and_one_without(tmp_path):
    volume = Volume(np.arange(4096, dtype=np.int16).reshape(16, 16, 16), np.eye(4))
    for folder in ("listed", "bare"):
        volumes.write(volume, tmp_path / folder / "a.nii.gz")
        volumes.write(Volume(volume.values[::-1], np.eye(4)), tmp_path / folder / "b.nii")
    (tmp_path / "listed" / "metadata.csv").write_text("file_name,text\na.nii.gz,one\n")
    for folder, texts in (("listed", ["one", None]), ("bare", [None, None])):
        out = tmp_path / f"{folder}.store"
        mmssl.prepare(tmp_path / folder, out, layout="image_folder", split="train", clean=False, workers=1)
        found = Store(out).select(columns=["text"]).to_pylist()
        assert sorted((row["text"] for row in found), key=str) == sorted(texts, key=str)


def test_a_nifti_file_is_known_by_name_or_by_bytes(tmp_path):
    content = nifti.encode(Volume(np.zeros((4, 4, 4), np.int16), np.eye(4)))
    assert volume_rows.is_nifti(tmp_path / "A.NII.GZ")
    assert volume_rows.is_nifti(content)
    assert not volume_rows.is_nifti(tmp_path / "a.gz")
    assert not dicom.is_dicom(content)
    with pytest.raises(Unreadable, match="missing"):
        volume_rows.open_nifti(tmp_path / "a.nii")


def test_the_page_about_volumes_runs(tmp_path, monkeypatch, capsys):
    """Every block of docs/volumes.md, in order, and what its comments say is printed."""
    page = (Path(__file__).parent.parent / "docs" / "volumes.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    Scan().write(Path("series"))
    Scan(count=1, series="2").write(Path("archive/one"))
    Scan("MR", series="3").write(Path("archive/three"))
    twice = volumes.read("series")
    volumes.write(Volume(twice.values - np.int16(1024), twice.affine), "other.nii.gz")
    exec(compile("\n".join(blocks), "docs/volumes.md", "exec"), {})
    printed = capsys.readouterr().out
    said = re.findall(r"print\(.*\)\s+# (.*)", "\n".join(blocks))
    assert len(said) == 4
    for line in said:
        assert line.split(":")[0] in printed if line.startswith("LPS") else line in printed
    assert "00_0.dcm too_few_slices a series of a single slice" in printed
    assert "RAS (2.0, 2.0, 2.0)" in printed
