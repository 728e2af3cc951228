import io
import json
import stat
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmssl import console
from mmssl.data.store import Store
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare import summary
from mmssl.prepare.clean import FLAGS, REASONS
from mmssl.prepare.duplicates import close_pairs
from mmssl.prepare.job import prepare
from tests.preparing import made, picture, pictures, reasons, rows_of, source, write_csv


def nudged(seed, amount=1):
    """Nearly the picture of a seed: every seventh pixel a little brighter."""
    values = np.asarray(picture(seed)).astype(int)
    values.ravel()[::7] += amount
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def manifest(store):
    return json.loads((store / "manifest.json").read_text())


# ---- nothing vanishes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A table of every kind of odd image, one row each, beside good ones."""
    folder = tmp_path_factory.mktemp("odd")
    pictures(folder / "in", ["good.png", "other.png"])
    here = folder / "in"
    Image.new("L", (1, 1), 9).save(here / "one.png")
    Image.new("L", (64, 64), 90).save(here / "flat.png")
    picture(11, channels=4).save(here / "rgba.png")
    picture(12, channels=3).convert("P").save(here / "palette.png")
    Image.fromarray(np.asarray(picture(13)).astype(np.uint16) * 257).save(here / "deep.png")
    picture(14, size=(900, 700)).save(here / "large.jpg", quality=90)
    (here / "zero.png").write_bytes(b"")
    (here / "cut.png").write_bytes((here / "good.png").read_bytes()[:200])
    (here / "text.png").write_text("no picture")
    names = [file.name for file in sorted(here.iterdir())] + ["gone.png", ""]
    table = write_csv(here / "t.csv", [{"image": name, "text": f"about {name}"} for name in names])
    with open(table, "a") as file:
        file.write("a,b,c,d\n")
    prepare(table, folder / "out", workers=2)
    return folder / "out"


def test_every_line_of_a_table_is_kept_or_has_a_reason(odd):
    assert reasons(odd) == {
        "good.png": None, "other.png": None, "rgba.png": None, "palette.png": None, "deep.png": None, "large.jpg": None,
        "one.png": "too_small", "flat.png": "constant", "zero.png": "empty", "cut.png": "truncated",
        "text.png": "not_an_image", "gone.png": "missing", "row 14": "missing", "row 15": "bad_row",
    }  # fmt: skip


def test_the_sum_closes(odd):
    counts = manifest(odd)["counts"]
    lines = pq.read_table(odd / "sources.parquet").to_pylist()
    assert counts["inputs"] == len(lines) == 14
    assert counts["kept"] + counts["rejected"] == counts["inputs"]
    assert sum(counts["reasons"].values()) == counts["rejected"] == 8
    ids = [row_id for line in lines for row_id in line["row_ids"]]
    assert ids
    assert sorted(ids) == sorted(row["id"] for row in Store(odd).select().to_pylist())
    assert len(ids) == counts["rows"] == 6
    assert all((line["reason"] is None) == bool(line["row_ids"]) for line in lines)
    rejected = pq.read_table(odd / "rejected.parquet").to_pylist()
    assert {line["source_id"]: line["reason"] for line in rejected} == {n: r for n, r in reasons(odd).items() if r}


def test_what_is_rejected_is_named_by_the_path_that_was_looked_for(tmp_path, capsys):
    table = source(tmp_path / "in", [{"text": "words", "image": f"{n}.png"} for n in range(6)])
    for number in range(1, 5):
        (tmp_path / f"in/{number}.png").unlink()
    (tmp_path / "in/5.png").write_bytes((tmp_path / "in/0.png").read_bytes())
    made(table, tmp_path / "out")
    told = capsys.readouterr().err
    here = tmp_path / "in"
    assert f"rejected as missing: {here}/1.png, {here}/2.png, {here}/3.png, ...\n" in told
    assert f"rejected as duplicate: {here}/5.png (as 0.png)\n" in told
    assert f"all that was rejected is in {tmp_path}/out/rejected.parquet\n" in told
    detail = pq.read_table(tmp_path / "out/rejected.parquet")["detail"].to_pylist()
    assert detail == [*(f"{here}/{n}.png" for n in range(1, 5)), "0.png"]
    made(table, tmp_path / "keyed", ids="keyed")
    assert str(here) not in capsys.readouterr().err
    assert pq.read_table(tmp_path / "keyed/rejected.parquet")["detail"].to_pylist()[:4] == [None] * 4


def test_pixels_are_kept_as_they_are_where_they_can_be(odd):
    store = Store(odd)
    rows = {row["source_id"]: row for row in store.select().to_pylist()}
    folder = odd.parent / "in"
    for name in ("good.png", "rgba.png", "palette.png"):
        assert store.image_bytes(rows[name]["row"]) == (folder / name).read_bytes()
    assert {store.image(row["row"]).mode for row in rows.values()} == {"L", "RGB"}
    stored = {name: Image.open(io.BytesIO(store.image_bytes(row["row"]))) for name, row in rows.items()}
    assert {name: image.mode for name, image in stored.items()} == {
        "good.png": "L", "other.png": "L", "rgba.png": "RGBA", "palette.png": "P", "deep.png": "I;16",
        "large.jpg": "L",
    }  # fmt: skip
    assert min(stored["large.jpg"].size) == 512
    assert (rows["large.jpg"]["width"], rows["large.jpg"]["height"]) == stored["large.jpg"].size
    assert np.array_equal(np.asarray(stored["deep.png"]), np.asarray(picture(13)).astype(np.uint16) * 257)


def test_the_preview_shows_rows_and_is_one_file(odd):
    page = (odd / "preview.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6
    assert "about good.png" in page
    assert "rejected: truncated" in page
    assert ">the same pixels" not in page
    assert '<td class="words">a side has too few pixels</td><td class="words">one.png</td>' in page
    assert "patients may cross splits" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_every_code_is_explained(odd):
    from mmssl.data import dicom

    assert set(filter(None, reasons(odd).values())) <= {*REASONS, *dicom.REASONS}
    assert set(manifest(odd)["flags"]) <= set(FLAGS)


# ---- again ---------------------------------------------------------------------------------------------------------


def test_running_again_does_nothing_and_says_so(tmp_path, capsys):
    table = source(tmp_path / "in", [{"text": f"text {n}"} for n in range(4)])
    first = prepare(table, tmp_path / "out", workers=1)
    before = (tmp_path / "out/manifest.json").stat().st_mtime_ns
    capsys.readouterr()
    again = prepare(table, tmp_path / "out", workers=2)
    assert (first.skipped, again.skipped) == (False, True)
    assert again.rows == first.rows == 4
    assert "made from this source in the same way: 4 rows; nothing to do" in capsys.readouterr().err
    assert (tmp_path / "out/manifest.json").stat().st_mtime_ns == before


def test_other_settings_are_refused_and_nothing_is_touched(tmp_path):
    table = source(tmp_path / "in", [{"text": f"text {n}"} for n in range(4)])
    made(table, tmp_path / "out")
    content = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    with pytest.raises(WrongUse) as said:
        prepare(table, tmp_path / "out", intensity={"short_side": 256}, clean=False, columns={"text": "text"})
    assert str(said.value).splitlines() == [
        f"3 problems in {tmp_path}/out, made with other settings; prepare into a new folder",
        "  clean.enabled: true then, false now",
        "  intensity.short_side: 512 then, 256 now",
        '  columns.text: not given then, "text" now',
    ]
    table.write_text(table.read_text().replace("text 1", "t one"))
    with pytest.raises(WrongUse, match=r"intensity\.short_side: 512 then, 256 now") as said:
        prepare(table, tmp_path / "out", intensity={"short_side": 256}, columns={"text": "text"})
    assert "columns" not in str(said.value)  # how another source is read is its own affair
    with pytest.raises(WrongUse, match=r"has ids that are given, this source's would be keyed: say ids=given"):
        prepare(table, tmp_path / "out", ids="keyed")
    assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()} == content


def test_places_that_cannot_be_meant(tmp_path):
    table = source(tmp_path / "in", [{"text": "words"}])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("x")
    with pytest.raises(WrongUse, match="is a folder with other things in it; name a new one"):
        prepare(table, tmp_path / "full")
    with pytest.raises(WrongUse, match="is a file; a store is a folder"):
        prepare(table, tmp_path / "full/thesis.tex")
    with pytest.raises(WrongUse, match="would lie inside its source"):
        prepare(tmp_path / "in", tmp_path / "in/store", layout="image_folder")
    with pytest.raises(CannotDo, match=r"--reports .*none.csv cannot be read: there is no such file"):
        prepare(table, tmp_path / "out", reports=tmp_path / "none.csv")


def test_no_row_kept_is_an_error_that_counts_why_and_leaves_nothing(tmp_path):
    table = write_csv(tmp_path / "in/t.csv", [{"image": "a.png", "text": "x"}, {"image": "b.png", "text": "y"}])
    with pytest.raises(CannotDo) as said:
        prepare(table, tmp_path / "out")
    assert str(said.value).splitlines() == [
        "no row is kept: 2 missing",
        f"  missing: {tmp_path}/in/a.png, {tmp_path}/in/b.png",
        "are these the right places? source.root=FOLDER says where the paths of the table begin",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


def test_all_mistakes_of_the_settings_at_once(tmp_path):
    table = source(tmp_path / "in", [{"text": "words"}])
    with pytest.raises(WrongUse) as said:
        prepare(
            table,
            tmp_path / "out",
            overrides=["split=tset", "claen=off", "clean.pictures.page=-1", "clean=maybe"],
        )
    message = str(said.value)
    assert message.startswith("4 problems")
    assert "split: input should be 'train', 'validation' or 'test', got 'tset'" in message
    assert "claen: unknown key, did you mean 'clean'?" in message
    assert "clean.pictures.page" in message
    assert "clean.enabled: input should be a valid boolean" in message
    with pytest.raises(WrongUse, match=r"(?s)table takes .*colums: no option of table, did you mean 'columns'\?"):
        prepare(table, tmp_path / "out", overrides=["source.colums=x"])
    with pytest.raises(WrongUse, match=r"validation=0.6 and test=0.5 are more than all patients"):
        prepare(table, tmp_path / "out", splits={"validation": 0.6, "test": 0.5})
    with pytest.raises(WrongUse, match="imprssion"):
        prepare(table, tmp_path / "out", overrides=["text.sections=[imprssion]"])
    assert not (tmp_path / "out").exists()


# ---- splits --------------------------------------------------------------------------------------------------------


def test_a_patient_is_in_one_split_and_stays_there_when_the_source_grows(tmp_path):
    rows = [{"image": f"{n}.png", "text": "words", "patient_id": f"p{n // 3}"} for n in range(60)]
    few = made(source(tmp_path / "in", rows[:30]), tmp_path / "few", splits={"validation": 0.3, "test": 0.3})
    many = made(source(tmp_path / "in", rows[::-1]), tmp_path / "many", splits={"validation": 0.3, "test": 0.3})
    of_patient = {}
    for row in many.values():
        of_patient.setdefault(row["patient_id"], set()).add(row["split"])
    assert all(len(found) == 1 for found in of_patient.values())
    assert len(set.union(*of_patient.values())) == 3
    assert {name: row["split"] for name, row in few.items()} == {name: many[name]["split"] for name in few}


def test_given_splits_are_respected_and_the_rest_is_drawn(tmp_path):
    rows = [{"text": "words", "patient_id": f"p{n}", "split": "Test" if n < 5 else ""} for n in range(60)]
    found = made(source(tmp_path / "in", rows), tmp_path / "out", splits={"validation": 0.3, "test": 0.3})
    assert {found[f"{n}.png"]["split"] for n in range(5)} == {"test"}
    assert {found[f"{n}.png"]["split"] for n in range(5, 60)} == {"train", "validation", "test"}


def test_a_patient_in_two_given_splits_is_refused_with_the_list(tmp_path):
    rows = [
        {"text": "words", "patient_id": f"p{n // 2}", "split": "train" if n % 2 or n > 6 else "test"} for n in range(20)
    ]
    with pytest.raises(WrongUse) as said:
        made(source(tmp_path / "in", rows), tmp_path / "out")
    assert str(said.value).splitlines() == [
        "4 problems in the splits that were given; a patient may be in one only",
        *(f"  patient p{n}: test and train" for n in range(4)),
        "give all rows of a patient one split in the source, or leave the cells of some empty: they follow the others; "
        "split=NAME puts the whole source into one",
    ]


def test_a_split_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(WrongUse, match="splits that are not known here: 'fold3'; known are train"):
        made(source(tmp_path / "in", [{"text": "words", "split": "fold3"}]), tmp_path / "out")


def test_the_same_number_at_two_sites_is_two_patients(tmp_path):
    rows = [
        {"text": "words", "patient_id": "007", "site": site, "split": split}
        for site, split in (("N", "train"), ("S", "test"))
    ]
    found = made(source(tmp_path / "in", rows), tmp_path / "out")
    assert [found[f"{n}.png"]["patient_id"] for n in range(2)] == ["N:007", "S:007"]
    assert [found[f"{n}.png"]["split"] for n in range(2)] == ["train", "test"]


def test_all_in_one_split(tmp_path):
    rows = [{"text": "words", "split": "train"}] * 5
    found = made(source(tmp_path / "in", rows), tmp_path / "out", overrides=["split=test"])
    assert {row["split"] for row in found.values()} == {"test"}


def test_a_source_without_patients_says_so_and_one_with_some_keeps_the_rest_in_train(tmp_path, capsys):
    made(source(tmp_path / "in", [{"text": "words"}] * 3), tmp_path / "out")
    assert "patients may cross splits" in capsys.readouterr().err
    assert manifest(tmp_path / "out")["patients_known"] is False
    assert "columns.patient_id=NAME (there are image, text)" in manifest(tmp_path / "out")["remarks"][0]
    assert "<td>-</td>" in (tmp_path / "out/preview.html").read_text()
    rows = [{"text": "words", "patient_id": "p" if n % 2 else ""} for n in range(30)]
    found = made(source(tmp_path / "in", rows), tmp_path / "known", splits={"validation": 0.4, "test": 0.4})
    assert {row["split"] for name, row in found.items() if int(name[:-4]) % 2 == 0} == {"train"}
    assert manifest(tmp_path / "known")["counts"]["patient_missing"] == 15
    assert found["0.png"]["flags"] == ["patient_missing"]
    assert found["1.png"]["flags"] == []


@pytest.mark.parametrize("name", ["PatientID", "subject_id"])
def test_rows_of_a_patient_who_is_called_otherwise_share_a_split(tmp_path, name):
    rows = [{"text": "words", name: f"p{n // 3}"} for n in range(30)]
    found = made(source(tmp_path / "in", rows), tmp_path / "out", splits={"validation": 0.4, "test": 0.4})
    told = {row["patient_id"]: {one["split"] for one in found.values() if one["patient_id"] == row["patient_id"]}
            for row in found.values()}  # fmt: skip
    assert (len(told), {len(splits) for splits in told.values()}) == (10, {1})


# ---- text ----------------------------------------------------------------------------------------------------------


def test_a_defect_of_text_never_drops_an_image(tmp_path):
    texts = ["No effusion.", "Replace this - description", "", "nan", "INDICATION: rule out pneumothorax"]
    table = source(tmp_path / "in", [{"text": text} for text in texts])
    found = made(table, tmp_path / "out")
    told = [(found[f"{n}.png"]["text"], found[f"{n}.png"]["report"], found[f"{n}.png"]["flags"]) for n in range(5)]
    assert told == [
        ("No effusion.", "No effusion.", []),
        (None, "Replace this - description", ["text_placeholder"]),
        (None, None, ["text_missing"]),
        (None, None, ["text_missing"]),
        (None, "INDICATION: rule out pneumothorax", ["text_only_other_sections"]),
    ]
    off = made(table, tmp_path / "off", overrides=["clean=off"])
    assert off["1.png"]["text"] == "Replace this - description"
    assert all(row["flags"] == [] for row in off.values())


def test_a_placeholder_beside_another_report_is_kept(tmp_path):
    rows = [("Replace this - caption", "FINDINGS: mass."), ("a mass", "FINDINGS: mass.")]
    table = source(tmp_path / "in", [{"text": text, "report": report} for text, report in rows])
    found = made(table, tmp_path / "out")
    told = [(found[f"{n}.png"]["text"], found[f"{n}.png"]["source_text"]) for n in range(2)]
    assert told == [(None, "Replace this - caption"), ("a mass", None)]
    assert found["0.png"]["flags"] == ["text_placeholder"]
    assert "source_text" not in made(table, tmp_path / "off", overrides=["clean=off"])["0.png"]


def test_a_text_with_other_headings_is_a_caption_and_a_report_with_them_has_no_text(tmp_path):
    said = "Exam: chest CT. Large mass."
    row = made(source(tmp_path / "in", [{"text": said}]), tmp_path / "text")["0.png"]
    assert (row["text"], row["report"], row["flags"]) == (said, said, [])
    rows = [{"report": said}, {"report": ""}, {"report": "FINDINGS:"}]
    found = made(source(tmp_path / "in", rows), tmp_path / "report")
    assert [found[f"{n}.png"]["flags"] for n in range(3)] == [
        ["text_only_other_sections"], ["text_missing"], ["text_missing"],
    ]  # fmt: skip
    assert {row["text"] for row in found.values()} == {None}


def test_findings_and_impression_are_trained_on_and_the_whole_is_kept(tmp_path):
    report = "INDICATION: fall.\nFINDINGS: No fracture.\nIMPRESSION: Normal.\nElectronically signed by: Dr. X"
    table = source(tmp_path / "in", [{"report": report}])
    row = made(table, tmp_path / "out")["0.png"]
    assert row["text"] == "No fracture.\nNormal."
    assert row["report"] == report
    assert row["sentences"] == ["No fracture.", "Normal."]
    assert [section["name"] for section in row["sections"]][:3] == ["indication", "findings", "impression"]
    row = made(table, tmp_path / "short", overrides=["text.sections=[impression]"])["0.png"]
    assert row["text"] == "Normal."
    assert manifest(tmp_path / "out")["text"] == {"sections": 1, "rows_with_text": 1}


@pytest.mark.parametrize("cleaning", ["clean=on", "clean=off"])
def test_rows_with_and_without_a_text_add_up(tmp_path, cleaning):
    texts = ["A mass.", "FINDINGS: Clear.", "N/A -", "", "INDICATION: cough", "FINDINGS:", "Exam: CT. A mass."]
    made(source(tmp_path / "in", [{"text": text} for text in texts]), tmp_path / "out", overrides=[cleaning])
    numbers = dict(summary.texts(manifest(tmp_path / "out")))
    parts = {"with": [*summary.WITH_TEXT.values()], "without": [*summary.WITHOUT_TEXT.values()]}
    for part, kinds in parts.items():
        assert numbers[f"  {part} text"] == sum(numbers.get(f"    {kind}", 0) for kind in kinds)
    assert numbers["  with text"] + numbers["  without text"] == len(texts)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"Captions": "a", "kind": "b"}], "say columns.text=Captions (there are image, Captions, kind)"),
        ([{"kind": "b"}], "say columns.text=NAME (there are image, kind)"),
    ],
)
def test_a_store_without_a_text_says_where_the_source_may_have_it(tmp_path, rows, said):
    made(source(tmp_path / "in", rows), tmp_path / "out")
    remark = next(one for one in manifest(tmp_path / "out")["remarks"] if one.startswith("no row has a text"))
    assert remark.endswith(said)


def test_a_folder_of_images_without_a_text_is_told_of_its_table(tmp_path):
    pictures(tmp_path / "in/CXR", ["0.png"])
    made(tmp_path / "in", tmp_path / "out")
    assert "a table metadata.csv beside the images" in " ".join(manifest(tmp_path / "out")["remarks"])


def test_a_text_beside_a_report_is_taken_as_it_is(tmp_path):
    row = made(source(tmp_path / "in", [{"text": "INDICATION: x", "report": "whole"}]), tmp_path / "out")["0.png"]
    assert (row["text"], row["report"]) == ("INDICATION: x", "whole")
    assert manifest(tmp_path / "out")["text"]["given"] == 1


# ---- cleaning ------------------------------------------------------------------------------------------------------


def alike(tmp_path, rows, second=None):
    """A table whose rows 0 and 1 are equal pictures, or nearly."""
    table = source(tmp_path / "in", rows)
    (second or picture(0)).save(tmp_path / "in/1.png")
    return table


@pytest.mark.parametrize(
    ("second", "code"), [(picture(0), "duplicate"), (nudged(0), "near_duplicate")], ids=["equal", "nearly"]
)
def test_of_two_alike_of_one_patient_one_goes_and_of_two_patients_both_stay_flagged(tmp_path, second, code):
    one = alike(tmp_path, [{"text": "words", "patient_id": "p", "study_id": f"s{n}"} for n in range(3)], second)
    made(one, tmp_path / "one")
    assert reasons(tmp_path / "one") == {"0.png": None, "1.png": code, "2.png": None}
    assert pq.read_table(tmp_path / "one/rejected.parquet")["detail"].to_pylist() == ["0.png"]
    two = alike(tmp_path, [{"text": "words", "patient_id": f"p{n}", "study_id": f"s{n}"} for n in range(3)], second)
    found = made(two, tmp_path / "two")
    assert [found[f"{n}.png"]["flags"] for n in range(3)] == [[code], [code], []]
    made(two, tmp_path / "off", overrides=[f"clean.{code}s=off"])
    assert all(row["flags"] == [] for row in rows_of(tmp_path / "off").values())


def test_rows_of_one_study_are_no_near_duplicates_but_may_be_the_same_picture(tmp_path):
    rows = [{"text": "words", "patient_id": "p", "study_id": "s"} for n in range(3)]
    made(alike(tmp_path, rows, nudged(0)), tmp_path / "near")
    assert set(reasons(tmp_path / "near").values()) == {None}
    made(alike(tmp_path, rows), tmp_path / "same")
    assert reasons(tmp_path / "same")["1.png"] == "duplicate"


def test_alike_hashes_alone_make_no_near_duplicate(tmp_path):
    rows = [{"text": "words", "patient_id": "p", "study_id": f"s{n}"} for n in range(2)]
    table = alike(tmp_path, rows, nudged(0, 60))
    made(table, tmp_path / "out", overrides=["clean.correlation=0.99999"])
    assert set(reasons(tmp_path / "out").values()) == {None}


def test_where_no_patients_are_known_equal_pictures_are_one_and_near_ones_two(tmp_path):
    made(alike(tmp_path, [{"text": "words"}] * 3), tmp_path / "same")
    assert reasons(tmp_path / "same") == {"0.png": None, "1.png": "duplicate", "2.png": None}
    found = made(alike(tmp_path, [{"text": "words"}] * 3, nudged(0)), tmp_path / "near")
    assert [found[f"{n}.png"]["flags"] for n in range(3)] == [["near_duplicate"], ["near_duplicate"], []]


TEXTS = ["A mass.", "Large tumour.", " a MASS", "", "Another picture."]
"""Of one picture, four times, and of another."""


def told(found):
    """{row: (text, study, split, flags)}."""
    return {name: (row["text"], row["study_id"], row["split"], row["flags"]) for name, row in found.items()}


@pytest.mark.parametrize("more", [{}, {"patient_id": "p"}], ids=["nobody known", "one patient"])
def test_several_captions_of_one_file_are_rows_of_one_study(tmp_path, more):
    rows = [{"image": f"{n // 4}.png", "text": text, **more} for n, text in enumerate(TEXTS)]
    found = made(source(tmp_path / "in", rows), tmp_path / "out")
    assert {name: (text, study, flags) for name, (text, study, _, flags) in told(found).items()} == {
        "0.png": ("A mass.", "0.png", []), "0.png#2": ("Large tumour.", "0.png", ["duplicate_other_text"]),
        "1.png": ("Another picture.", "1.png", []),
    }  # fmt: skip
    assert found["0.png"]["split"] == found["0.png#2"]["split"]
    assert Counter(reasons(tmp_path / "out").values()) == {None: 3, "duplicate": 2}
    assert "1 rows have a picture that is there already" in " ".join(manifest(tmp_path / "out")["remarks"])


@pytest.mark.parametrize("seed", range(8))
def test_one_picture_under_two_names_with_two_texts_crosses_no_split(tmp_path, seed):
    names = [f"{seed}{letter}.png" for letter in "abcde"]
    table = source(tmp_path / "in", [{"image": name, "text": text} for name, text in zip(names, TEXTS, strict=True)])
    for name in names[1:4]:
        picture(0).save(tmp_path / "in" / name)
    found = told(made(table, tmp_path / "out", splits={"validation": 0.3, "test": 0.4}))
    assert list(reasons(tmp_path / "out").values()) == [None, None, "duplicate", "duplicate", None]
    first = found[names[0]]
    assert found[names[1]] == ("Large tumour.", first[1], first[2], ["duplicate_other_text"])
    assert first == ("A mass.", names[0], first[2], [])


def test_two_studies_of_a_patient_with_one_picture_and_two_texts_both_stay(tmp_path):
    rows = [{"text": f"text {n}", "patient_id": "p", "study_id": f"s{n}"} for n in range(2)]
    for name, second, flags in (
        ("equal", picture(0), [[], ["duplicate_other_text"]]),
        ("nearly", nudged(0), [["near_duplicate"]] * 2),
    ):
        found = told(made(alike(tmp_path / name, rows, second), tmp_path / name / "out"))
        assert [found[f"{n}.png"][::2] for n in range(2)] == [(f"text {n}", found["0.png"][2]) for n in range(2)]
        assert [found[f"{n}.png"][1] for n in range(2)] == ["s0", "s1"]
        assert [found[f"{n}.png"][3] for n in range(2)] == flags


def test_a_picture_given_to_train_and_to_test_with_two_texts_stays_in_test(tmp_path):
    rows = [{"text": f"text {n}", "split": "test" if n else "train"} for n in range(2)]
    found = made(alike(tmp_path, rows), tmp_path / "out")
    assert told(found) == {"1.png": ("text 1", "1.png", "test", [])}
    assert reasons(tmp_path / "out")["0.png"] == "duplicate_other_text"


def test_rows_given_to_evaluation_are_flagged_unless_asked_otherwise_or_unreadable(tmp_path):
    rows = [{"text": "words", "patient_id": "p", "study_id": f"s{n}", "split": "test"} for n in range(5)]
    table = alike(tmp_path, rows)
    Image.new("L", (40, 40), 3).save(tmp_path / "in/2.png")
    Image.new("L", (3, 3), 3).save(tmp_path / "in/3.png")
    (tmp_path / "in/4.png").write_bytes(b"")
    found = made(table, tmp_path / "out")
    assert {name: row["flags"] for name, row in found.items()} == {
        "0.png": [], "1.png": ["duplicate"], "2.png": ["constant"], "3.png": ["too_small"],
    }  # fmt: skip
    assert reasons(tmp_path / "out")["4.png"] == "empty"
    made(table, tmp_path / "drop", overrides=["clean.evaluation=drop"])
    dropped = reasons(tmp_path / "drop")
    assert list(dropped.values()) == [None, "duplicate", "constant", "too_small", "empty"]
    assert any("clean.evaluation=drop" in remark for remark in manifest(tmp_path / "drop")["remarks"])
    assert manifest(tmp_path / "drop")["source"]["options"]["clean"]["evaluation"] == "drop"


def test_of_rows_with_one_id_the_first_stays_and_those_given_to_evaluation(tmp_path):
    rows = [{"text": f"text {n}", "id": "a" if n < 4 else "b", "split": "test" if n == 2 else ""} for n in range(5)]
    table = source(tmp_path / "in", rows)
    found = made(table, tmp_path / "out")
    assert reasons(tmp_path / "out") == {
        "a": None, "a#2": "duplicate_id", "a#3": None, "a#4": "duplicate_id", "b": None,
    }  # fmt: skip
    assert {name: (row["text"], row["flags"]) for name, row in found.items()} == {
        "a": ("text 0", []), "a#3": ("text 2", ["duplicate_id"]), "b": ("text 4", []),
    }  # fmt: skip
    assert manifest(tmp_path / "out")["flags"] == {"duplicate_id": 1}
    made(table, tmp_path / "drop", overrides=["clean.evaluation=drop"])
    assert reasons(tmp_path / "drop")["a#3"] == "duplicate_id"
    off = made(table, tmp_path / "off", overrides=["clean=off"])
    assert {name: row["flags"] for name, row in off.items()} == {
        "a": [], "a#2": ["duplicate_id"], "a#3": ["duplicate_id"], "a#4": ["duplicate_id"], "b": [],
    }  # fmt: skip


def test_cleaning_off_keeps_all_that_can_be_read(tmp_path):
    table = alike(tmp_path, [{"text": f"text {n}", "patient_id": "p"} for n in range(4)])
    Image.new("L", (1, 1), 3).save(tmp_path / "in/2.png")
    (tmp_path / "in/3.png").write_bytes(b"")
    found = made(table, tmp_path / "out", clean=False)
    assert reasons(tmp_path / "out") == {"0.png": None, "1.png": None, "2.png": None, "3.png": "empty"}
    assert all(row["flags"] == [] for row in found.values())


def test_a_flat_picture_of_sixteen_bits_is_blank_although_stretching_would_show_noise(tmp_path):
    table = source(tmp_path / "in", [{"text": "text a"}, {"text": "text b"}])
    noise = np.random.default_rng(0).integers(20_000, 20_002, (40, 40)).astype(np.uint16)
    Image.fromarray(noise).save(tmp_path / "in/1.png")
    made(table, tmp_path / "out")
    assert reasons(tmp_path / "out")["1.png"] == "blank"


@pytest.mark.parametrize("bits", [0, 3, 4])
def test_close_pairs_are_those_that_comparing_all_with_all_finds(bits):
    random = np.random.default_rng(bits)
    centres = random.integers(0, 2**63, 40, dtype=np.uint64)
    flips = [sum(1 << int(b) for b in random.choice(64, random.integers(0, 7), replace=False)) for _ in range(200)]
    hashes = np.array([int(centres[i % 40]) ^ flip for i, flip in enumerate(flips)], dtype=np.uint64)
    slow = [
        (i, j) for i in range(200) for j in range(i + 1, 200) if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= bits
    ]
    assert list(close_pairs(hashes, bits)) == slow
    assert slow


# ---- ids -----------------------------------------------------------------------------------------------------------


def test_ids_of_tables_stay_as_given_unless_asked_otherwise(tmp_path):
    people = [{"patient_id": "patient-0042", "study_id": f"study-{n}"} for n in range(2)]
    rows = [{"image": f"scan-{n}.png", "text": "words", **one} for n, one in enumerate(people)]
    table = source(tmp_path / "in", rows)
    found = made(table, tmp_path / "given")
    assert found["scan-0.png"]["patient_id"] == "patient-0042"
    assert manifest(tmp_path / "given")["ids"] == "given"
    assert not (tmp_path / "given.key").exists()
    keyed = made(table, tmp_path / "keyed", overrides=["ids=keyed"])
    assert manifest(tmp_path / "keyed")["ids"] == "keyed"
    assert len({row["patient_id"] for row in keyed.values()}) == 1
    assert len({row["study_id"] for row in keyed.values()}) == 2
    for file in ("keyed.key", "keyed.sources.private"):
        assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600
    told = [json.loads(line) for line in (tmp_path / "keyed.sources.private").read_text().splitlines()]
    assert {line["path"] for line in told} == {"scan-0.png", "scan-1.png"}
    assert {line["source_id"] for line in told} == set(keyed)
    secret = (tmp_path / "keyed.key").read_text().strip()
    for file in (tmp_path / "keyed").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(word in content for word in (b"patient-0042", b"study-1", b"scan-0.png", secret.encode()))


def test_the_same_key_gives_the_same_ids_and_another_one_others(tmp_path):
    table = source(tmp_path / "in", [{"text": "words", "patient_id": "p"}])
    (tmp_path / "mine").write_text("a secret of some length")
    ids = [
        set(made(table, tmp_path / name, ids="keyed", key=key))
        for name, key in (("a", tmp_path / "mine"), ("b", tmp_path / "mine"), ("c", None))
    ]
    assert ids[0] == ids[1] != ids[2]
    assert not (tmp_path / "a.key").exists()
    with pytest.raises(WrongUse, match="was made with another key"):
        prepare(table, tmp_path / "c", ids="keyed", key=tmp_path / "mine")
    with pytest.raises(WrongUse, match="no such file; leave it out and"):
        prepare(table, tmp_path / "d", ids="keyed", key=tmp_path / "none")
    (tmp_path / "short").write_text("short")
    with pytest.raises(WrongUse, match="a key has at least 16 bytes, this one 5"):
        prepare(table, tmp_path / "d", ids="keyed", key=tmp_path / "short")


def test_quiet_is_quiet(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console, "quiet", True)
    made(source(tmp_path / "in", [{"text": "words"}]), tmp_path / "out")
    told = capsys.readouterr()
    assert told.out == told.err == ""
