import pytest

from mmssl.data import table_rows, tables
from mmssl.errors import CannotDo, WrongUse
from tests.preparing import write_jsonl


def table(tmp_path, text, name="t.csv", **options):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.read(tmp_path / name, **options)


def test_cells_of_a_csv_stay_text(tmp_path):
    read = table(tmp_path, 'id,n\n007,1e5\n" 42 ","a\nb"\n')
    assert read.rows == [{"id": "007", "n": "1e5"}, {"id": " 42 ", "n": "a\nb"}]
    assert read.lines == [2, 3]


def test_a_byte_order_mark_and_tabs(tmp_path):
    assert table(tmp_path, b"\xef\xbb\xbfimage\ttext\nx.png\ta, b\n", "t.tsv").rows == [
        {"image": "x.png", "text": "a, b"}
    ]


def test_lines_that_are_no_rows_are_kept_apart(tmp_path):
    read = table(tmp_path, "a,b\n1,2\n3\n\n4,5,6\n7,8\n")
    assert [row["a"] for row in read.rows] == ["1", "7"]
    assert read.bad == [(3, "bad_row"), (5, "bad_row")]
    lines = table(tmp_path, '{"a": 1}\nnothing\n[1]\n\n{"b": null}\n', "t.jsonl")
    assert lines.rows == [{"a": 1}, {"b": None}]
    assert lines.columns == ["a", "b"]
    assert lines.bad == [(2, "bad_row"), (3, "bad_row")]


def test_a_wrong_encoding_is_said_with_its_place_and_can_be_named(tmp_path):
    text = "image,text\nx.png,\u00f6dem\n".encode("latin-1")
    with pytest.raises(CannotDo) as said:
        table(tmp_path, text)
    assert str(said.value) == (
        f"{tmp_path}/t.csv is not utf-8: line 2 has the byte 0xf6; save it as UTF-8, or name its encoding, "
        "say encoding=latin-1"
    )
    assert table(tmp_path, text, encoding="latin-1").rows == [{"image": "x.png", "text": "\u00f6dem"}]
    with pytest.raises(WrongUse, match="encoding=latin1000: no such encoding"):
        table(tmp_path, text, encoding="latin1000")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_that_is_marked_as_utf_16_is_read_as_such(tmp_path, encoding):
    mark = "" if encoding == "utf-16" else "\ufeff"
    read = table(tmp_path, f"{mark}image,text\nx.png,\u00f6dem\n".encode(encoding))
    assert (read.columns, read.rows) == (["image", "text"], [{"image": "x.png", "text": "\u00f6dem"}])


def test_a_table_with_another_separator_says_how_to_read_it(tmp_path):
    text = "image;text\nx.png;a, b\n"
    with pytest.raises(WrongUse, match=r"looks as if ';' separates its columns, not ','.*say separator=';', in quotes"):
        table(tmp_path, text)
    assert table(tmp_path, text, separator=";").rows == [{"image": "x.png", "text": "a, b"}]
    assert table(tmp_path, "image\nx.png\n").columns == ["image"]


def test_what_is_no_table(tmp_path):
    with pytest.raises(WrongUse, match="is empty: the first line of a table names its columns"):
        table(tmp_path, "")
    with pytest.raises(WrongUse, match="has columns of the same name: a"):
        table(tmp_path, "a,b,a\n")
    with pytest.raises(WrongUse, match=r"is no table; a table ends in .csv, .tsv, .jsonl, .parquet"):
        tables.read(tmp_path / "t.xlsx")
    with pytest.raises(CannotDo, match="cannot be read: No such file or directory"):
        tables.read(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(CannotDo, match="cannot be read as Parquet"):
        tables.read(tmp_path / "bad.parquet")


def test_which_column_means_what():
    columns = ["image", "caption", "sex", "text"]
    assert table_rows.mapping(columns, {"text": "caption"}) == {"image": "image", "sex": "sex", "text": "caption"}
    assert table_rows.mapping(["file_name", "image"], {}, image="file_name")["image"] == "file_name"


@pytest.mark.parametrize("name", ["PatientID", "Patient ID", "subject_id", "SubjectID"])
def test_patients_and_studies_are_known_by_the_names_that_others_give_them(name):
    columns = ["image", "AccessionNumber", name, "Study_Instance_UID"]
    assert table_rows.mapping(columns, {}) == {"image": "image", "patient_id": name, "study_id": "Study_Instance_UID"}
    assert table_rows.mapping(columns[:2], {}) == {"image": "image", "study_id": "AccessionNumber"}
    own = table_rows.mapping([*columns, "patient_id", "who"], {"study_id": "who"})
    assert (own["patient_id"], own["study_id"]) == ("patient_id", "who")


def test_every_mistake_of_a_mapping_is_said_at_once():
    with pytest.raises(WrongUse) as said:
        table_rows.mapping(["img", "caption"], {"txt": "caption", "report": "captoin"}, name="t.csv")
    message = str(said.value)
    assert "columns.txt=caption: txt is nothing that a column can be, did you mean 'text'?" in message
    assert "columns.report=captoin: t.csv has no column 'captoin', did you mean 'caption'?" in message
    assert "t.csv has no column 'image', which names the picture of each row" in message
    assert "say which one it is: columns.image=NAME" in message


def test_cells_of_our_own_columns():
    ages = {
        "60": 60,
        "060Y": 60,
        "6 months": 0.5,
        "018M": 1.5,
        "2.5": 2.5,
        "old": None,
        "-3": None,
        "": None,
        "nan": None,
    }
    assert {age: table_rows.own("age", age) for age in ages} == ages
    assert [table_rows.own("sex", sex) for sex in ("male", "F", "Other", "N/A", "unknown")] == [
        "M",
        "F",
        "Other",
        None,
        None,
    ]
    assert str(table_rows.own("study_datetime", "2024/03/01 10:20")) == "2024-03-01 10:20:00"
    assert table_rows.own("study_datetime", "yesterday") is None
    assert table_rows.own("split", "Dev") == "validation"


def test_a_column_has_one_type():
    assert tables.typed(["1", "-1", "", None]) == [1, -1, None, None]
    assert tables.typed(["0.5", "1"]) == [0.5, 1]
    assert tables.typed(["001", "2"]) == ["001", "2"]
    assert tables.typed(["1234567890123456789", "2"]) == ["1234567890123456789", "2"]
    assert tables.typed(["123456789012345678", "-2"]) == [123456789012345678, -2]
    assert tables.typed([True, False, None]) == [1, 0, None]
    assert tables.typed(["a|b", "", None], lists=True) == [["a", "b"], [], None]
    assert tables.typed(["a", "", " ", None, "NaN"], lists=True) == ["a", "", "", None, None]
    assert tables.typed(["a", ""]) == ["a", None]
    assert tables.typed(["1", "", None], lists=True) == [1, None, None]
    assert tables.typed(["", ""], lists=True) == [None, None]
    assert tables.typed(["a|b", "c"]) == ["a|b", "c"]
    assert tables.typed([["a"], ["b", " c "]]) == [["a"], ["b", "c"]]
    assert tables.typed([{"x": 1}, "y"]) == ['{"x": 1}', "y"]


def test_keys_are_trimmed_text_and_found_however_they_are_spelt():
    assert [tables.key(value) for value in (" 0042 ", 42, 42.0, "NaN", None)] == ["0042", "42", "42", None, None]
    assert tables.key_columns(["Study_Instance_UID", "patient id", "accession_number"]) == {
        "AccessionNumber": "accession_number",
        "StudyInstanceUID": "Study_Instance_UID",
        "PatientID": "patient id",
    }


def test_rows_are_studies_by_site_patient_and_study(tmp_path):
    rows = [
        {"image": "a", "site": "N", "patient_id": "1", "study_id": "7"},
        {"image": "b", "site": "S", "patient_id": "1", "study_id": "7"},
        {"image": "c", "site": "N", "patient_id": "1", "study_id": "7"},
        {"image": "d", "site": "N", "patient_id": "1"},
    ]
    read = tables.read(write_jsonl(tmp_path / "t.jsonl", rows))
    found = table_rows.studies(
        read, table_rows.mapping(read.columns, {}), lambda number, image: (tmp_path / image, None)
    )
    assert [[picture.source_id for picture in study.pictures] for study in found] == [["a", "c"], ["b"], ["d"]]
    assert [study.study_id for study in found] == ["7", "7", "d"]


def test_names_of_rows_are_unique_and_doubled_ids_are_flagged(tmp_path):
    rows = [
        {"image": "x", "id": "1"},
        {"image": "y", "id": "1"},
        {"image": "v", "id": "1"},
        {"image": "w", "id": "2#2"},
        {"image": "x", "id": "2"},
        {"image": "y", "id": "2"},
        {"image": "z", "id": ""},
        {"image": "z"},
        {"image": ""},
    ]
    read = tables.read(write_jsonl(tmp_path / "t.jsonl", rows))
    found = table_rows.studies(read, table_rows.mapping(read.columns, {}), lambda number, image: (None, None))
    told = {picture.source_id: picture.columns.get("flags") for study in found for picture in study.pictures}
    again = ["duplicate_id"]
    assert told == {
        "1": None, "1#2": again, "1#3": again, "2#2": None, "2": None, "2#3": again, "z": None, "z#2": None,
        "row 9": None,
    }  # fmt: skip


def test_half_a_character_is_replaced_when_a_table_is_read(tmp_path):
    rows = '{"t": "a \\ud800 b", "n": [{"\\uDFFF": "\\ude00\\ud83d"}]}\n{"t": "\\ud83d\\ude00 \\\\ud800"}\nno \\ud800\n'
    read = table(tmp_path, rows, "t.jsonl")
    assert read.rows == [{"t": "a \ufffd b", "n": [{"\ufffd": "\ufffd\ufffd"}]}, {"t": "\U0001f600 \\ud800"}]
    assert read.bad == [(3, "bad_row")]


def test_columns_that_meet_each_other_all_stay(tmp_path):
    row = {"image": "x", "findings": 1, "source_findings": 2, "flags": 3, "id": 4, "source_id": 5, "name": 6}
    read = tables.read(write_jsonl(tmp_path / "t.jsonl", [row]))
    assert table_rows.extra_columns(read, ["image", "name"]) == {
        "source_source_findings": [1], "source_findings": [2], "source_flags": [3], "source_source_id": [4],
        "source_source_source_id": [5],
    }  # fmt: skip


def test_rows_without_a_patient_are_of_the_one_patient_who_has_their_study(tmp_path):
    rows = [
        {"image": "a", "study_id": "1"},
        {"image": "b", "study_id": "1", "patient_id": "P", "site": "N"},
        {"image": "c", "study_id": "1", "site": "S"},
        {"image": "d", "study_id": "2", "patient_id": "P"},
        {"image": "e", "study_id": "2", "patient_id": "Q"},
        {"image": "f", "study_id": "2"},
        {"image": "g", "id": "1"},
    ]
    read = tables.read(write_jsonl(tmp_path / "t.jsonl", rows))
    columns = table_rows.mapping(read.columns, {})
    found = table_rows.with_patients(table_rows.studies(read, columns, lambda number, image: (tmp_path / image, None)))
    told = [(study.patient_id, [picture.path.name for picture in study.pictures]) for study in found]
    assert told == [("P", ["b", "a"]), (None, ["c"]), ("P", ["d"]), ("Q", ["e"]), (None, ["f"]), (None, ["g"])]
    assert [picture.columns.get("flags") for picture in found[0].pictures] == [None, ["patient_from_study"]]
