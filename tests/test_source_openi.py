"""Open-i's chest X-rays: reports from XML, their images in two forms, codes, and all that is missing."""

import pickle
import tarfile

import pytest

from mmssl import plugins
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare.job import prepare
from mmssl.sources.openi import Source
from tests import replicas
from tests.preparing import made, reasons, rows_of

TEXTS = {
    "CXR1": "Lungs of CXR1 are clear.\nNormal.",
    "CXR2": "The heart of CXR2 is large.",
    "CXR3": "No change in CXR3.",
}
IMAGES = {image: uid for uid, (images, _, _) in replicas.OPENI_REPORTS.items() for image in images}


def check(rows):
    assert len(rows) == len(IMAGES)
    for name, uid in IMAGES.items():
        row = rows[name]
        assert (row["study_id"], row["patient_id"], row["text"]) == (uid, uid, TEXTS[uid])
        assert row["report"].startswith("INDICATION: Cough.\n")
        assert (row["body_part"], row["study_datetime"]) == ("CHEST", None)
        assert row["source_caption"] == "PA and lateral"
    assert rows["CXR1_1_IM-0001-4001"]["label_mesh"] == ["normal"]
    assert rows["CXR2_IM-0652-1001"]["label_mesh"] == ["Cardiomegaly", "Opacity"]
    assert rows["CXR2_IM-0652-1001"]["mesh_major"][2] == "Opacity/lung/base/right"
    assert rows["CXR3_IM-1384-1001"]["label_mesh"] is None
    assert rows["CXR3_IM-1384-1001"]["mesh_automatic"] == ["cough"]


@pytest.mark.parametrize("reports", ["ecgen-radiology", "NLMCXR_reports/ecgen-radiology", "NLMCXR_reports.tgz"])
def test_png(tmp_path, reports):
    root = replicas.openi(tmp_path / "in", reports=reports)
    rows = {name.split("/")[1].removesuffix(".png"): row for name, row in made(root, tmp_path / "out").items()}
    check(rows)
    assert {(row["modality"], row["view"]) for row in rows.values()} == {("XR", None)}
    why = reasons(tmp_path / "out")
    assert sorted(filter(None, why.values())) == ["missing"]  # the report that names no image
    assert len(why) == len(IMAGES) + 1


def test_dicom(tmp_path):
    root = replicas.openi(tmp_path / "in", kind="dcm")
    found = made(root, tmp_path / "out", layout="openi")
    assert set(found) == {
        "NLMCXR_dcm/1/1_IM-0001-3001.dcm", "NLMCXR_dcm/1/1_IM-0001-4001.dcm", "NLMCXR_dcm/2/2_IM-0652-1001.dcm",
        "NLMCXR_dcm/3/3_IM-1384-1001.dcm",
    }  # fmt: skip
    check({f"CXR{name.split('/')[1]}_" + name.split("/")[2].removesuffix(".dcm").removeprefix("" if "/1/" in name else
          f"{name.split('/')[1]}_"): row for name, row in found.items()})  # fmt: skip
    assert [found[name]["view"] for name in sorted(found)] == ["PA", "LL", "PA", "PA"]
    assert {row["modality"] for row in found.values()} == {"CR"}


def test_the_archive_itself_may_be_named_and_may_lie_elsewhere(tmp_path):
    root = replicas.openi(tmp_path / "in", reports="NLMCXR_reports.tgz")
    assert len(made(root / "NLMCXR_reports.tgz", tmp_path / "out")) == len(IMAGES)
    (root / "NLMCXR_reports.tgz").rename(tmp_path / "r.tgz")
    overrides = [f"source.reports={tmp_path / 'r.tgz'}"]
    assert len(made(root, tmp_path / "other", layout="openi", overrides=overrides)) == len(IMAGES)


def test_what_is_missing_or_left_over_is_accounted_for(tmp_path):
    root = replicas.openi(tmp_path / "in")
    (root / "NLMCXR_png/CXR2_IM-0652-1001.png").unlink()
    (root / "ecgen-radiology/9.xml").write_text("<eCitation><uId")
    for name in ("CXR3_IM-1384-2001", "CXR77_IM-2318-1001", "other"):
        replicas.image(root / f"NLMCXR_png/{name}.png", next(replicas.numbers))
    replicas.dicom(root / "NLMCXR_dcm/3/3_IM-1384-1001.dcm", 5)
    made(root, tmp_path / "out", layout="openi")
    assert {name: why for name, why in reasons(tmp_path / "out").items() if why} == {
        "CXR2_IM-0652-1001.png": "missing",
        "4.xml": "missing",
        "9.xml": "bad_row",
        "NLMCXR_dcm/3/3_IM-1384-1001.dcm": "duplicate",
    }
    rows = rows_of(tmp_path / "out")
    left = {name: rows[f"NLMCXR_png/{name}.png"] for name in ("CXR3_IM-1384-2001", "CXR77_IM-2318-1001", "other")}
    assert all("not_in_metadata" in row["flags"] for row in left.values())
    assert [row["patient_id"] for row in left.values()] == ["CXR3", "CXR77", "NLMCXR_png/other.png"]
    assert left["CXR3_IM-1384-2001"]["text"] == TEXTS["CXR3"]
    assert left["CXR77_IM-2318-1001"]["text"] is None


def test_mistakes_are_told_with_what_to_do(tmp_path):
    root = replicas.openi(tmp_path / "in", reports="NLMCXR_reports/ecgen-radiology")
    for place in ("NLMCXR_reports/ecgen-radiology", "NLMCXR_reports"):
        with pytest.raises(WrongUse, match=f"say {root}$"):
            prepare(root / place, tmp_path / "out", layout="openi")
    with pytest.raises(WrongUse, match=r"has no reports of Open-i: NLMCXR_reports\.tgz"):
        prepare(root / "NLMCXR_png", tmp_path / "out", layout="openi")
    (root / "NLMCXR_png").rename(tmp_path / "elsewhere")
    with pytest.raises(WrongUse, match=r"has no images: unpack NLMCXR_png\.tgz"):
        prepare(root, tmp_path / "out")
    with pytest.raises(WrongUse, match=r"source\.reports=.*: no report of Open-i is there"):
        prepare(root, tmp_path / "out", layout="openi", overrides=[f"source.reports={tmp_path / 'elsewhere'}"])
    with tarfile.open(tmp_path / "images.tgz", "w:gz") as archive:
        archive.add(tmp_path / "elsewhere", "NLMCXR_png")
    replicas.image(root / "x.png", 1)
    with pytest.raises(WrongUse, match=r"has no \.xml in it: it is not NLMCXR_reports\.tgz"):
        prepare(root, tmp_path / "out", layout="openi", overrides=[f"source.reports={tmp_path / 'images.tgz'}"])
    packed = replicas.openi(tmp_path / "packed", reports="NLMCXR_reports.tgz") / "NLMCXR_reports.tgz"
    packed.write_bytes(packed.read_bytes()[:-300])
    with pytest.raises(CannotDo, match="was its download interrupted"):
        prepare(tmp_path / "packed", tmp_path / "out", overrides=[f"source.reports={packed}"], layout="openi")


def test_only_this_layout_is_recognised(tmp_path):
    root = replicas.openi(tmp_path / "in", reports="NLMCXR_reports.tgz")
    for place in (root, root / "NLMCXR_reports.tgz", replicas.openi(tmp_path / "other")):
        assert [name for name in plugins.names("sources") if plugins.find("sources", name).recognises(place)] == [
            "openi"
        ]
    assert not Source.recognises(tmp_path)
    assert not Source.recognises(root / "NLMCXR_png")


def test_studies_are_told_twice_and_a_source_pickles(tmp_path):
    source = Source(replicas.openi(tmp_path / "in"))
    once = list(source.studies())
    assert list(pickle.loads(pickle.dumps(source)).studies()) == list(source.studies()) == once
    first = source.fingerprint()
    (tmp_path / "in/NLMCXR_png/CXR2_IM-0652-1001.png").unlink()
    assert source.fingerprint() != first
