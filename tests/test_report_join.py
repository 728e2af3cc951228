"""Reports from sources of every kind find their studies; every line and every study is accounted for."""

import json
from datetime import date, datetime

import pyarrow.parquet as pq
import pytest

from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare import clean, join, report_choice, report_join
from mmssl.prepare.plan import Names
from mmssl.prepare.report_join import Reports, StudyFacts
from mmssl.prepare.settings import Join
from mmssl.types import Picture, Study
from tests.preparing import made, source, write_csv
from tests.report_sources import diagnostic_report, ndjson, obr, obx, oru


def study(name, patient="p", day=None, **keys):
    columns = {"study_datetime": datetime(2024, 1, day, 9)} if day else {}
    return Study(
        name, patient, (Picture(f"{name}.dcm", None), Picture(f"{name}2.dcm", None)), columns=columns, keys=keys
    )


def joined(path, studies, settings=None, **options):
    """{study: report}, {study: flags}, counts."""
    found, told = join.with_reports(studies, path, settings or Join(), **options)
    counts = told.counts(path)
    json.dumps(counts)
    assert sum(counts["studies"].values()) == len(studies)
    assert sum(counts["images"].values()) == sum(len(one.pictures) for one in studies)
    reports = {one.study_id: one.report for one in found if one.report is not None}
    return reports, {one.study_id: one.columns["flags"] for one in found if "flags" in one.columns}, counts


def table(tmp_path, *rows, columns=("AccessionNumber", "report", "status", "issued")):
    return write_csv(tmp_path / "r.csv", [dict(zip(columns, row, strict=True)) for row in rows])


def test_of_several_rows_the_newest_final_one_with_its_addenda(tmp_path):
    path = table(
        tmp_path,
        ("1", "draft", "preliminary", "2024-01-01 08:00"),
        ("1", "first", "final", "2024-01-01 09:00"),
        ("1", "late addendum", "addendum", "2024-01-03"),
        ("1", "early addendum", "addendum", "2024-01-02"),
        ("2", "draft", "P", "2024-01-01"),
        ("3", "wrong side", "final", ""),
        ("3", "right side", "corrected", ""),
        ("4", "one", "final", "2024-01-01 09:00"),
        ("4", "other", "final", "2024-01-01 09:00"),
        ("5", "gone", "cancelled", ""),
        ("6", "nobody's", "final", ""),
        ("", "keyless", "final", ""),
        ("1", " ", "final", ""),
    )
    studies = [study(f"s{n}", AccessionNumber=str(n)) for n in range(1, 6)]
    reports, flags, counts = joined(path, studies)
    assert reports == {
        "s1": "first\n\nADDENDUM: early addendum\n\nADDENDUM: late addendum", "s2": "draft", "s3": "right side"
    }  # fmt: skip
    assert flags == {"s2": ["report_preliminary"], "s4": ["report_ambiguous"]}
    assert counts == {
        "file": "r.csv",
        "key": "AccessionNumber",
        "lines": {
            "ambiguous": 2, "matched": 5, "rejected": 1, "superseded": 2, "unmatched": 1, "without_key": 1,
            "without_text": 1,
        },
        "studies": {"ambiguous": 1, "matched": 3, "unmatched": 1},
        "images": {"ambiguous": 2, "matched": 6, "unmatched": 2},
        "reasons": {
            "ambiguous": {"same_time": 2}, "rejected": {"cancelled": 1}, "studies": {"same_time": 1},
            "superseded": {"not_final": 1, "older": 1},
        },
        "status": {"addendum": 2, "amended": 1, "final": 7, "preliminary": 2},
    }  # fmt: skip


def test_columns_of_state_and_time_can_be_named(tmp_path):
    rows = (("1", "old", "fertig", "2024-01-02", "y"), ("1", "new", "final", "2024-01-01", "x"))
    path = table(tmp_path, *rows, columns=("AccessionNumber", "report", "Stand", "wann", "status"))
    studies = [study("s", AccessionNumber="1")]
    assert joined(path, studies)[1] == {"s": ["report_ambiguous"]}
    assert joined(path, studies, Join(time="wann"))[0] == {"s": "old"}
    path = table(tmp_path, ("1", "old", "P"), ("1", "new", "F"), columns=("AccessionNumber", "report", "Stand"))
    assert joined(path, studies, Join(status="Stand"))[0] == {"s": "new"}
    with pytest.raises(WrongUse, match=r"join\.status=Stadn: .* has no such column, did you mean 'Stand'\?"):
        joined(path, studies, Join(status="Stadn"))


@pytest.mark.parametrize("mark", [";", ",", "\\", "~", " ; "])
def test_one_report_of_several_accessions_is_given_to_each(tmp_path, mark):
    path = table(tmp_path, (f"1{mark}2", "both"), ("3", "one"), ("a,b", "whole"), columns=("accession", "report"))
    studies = [study(name, AccessionNumber=name) for name in ("1", "2", "3", "a,b", "a")]
    reports, _, counts = joined(path, studies)
    assert reports == {"1": "both", "2": "both", "3": "one", "a,b": "whole"}
    assert (counts["lines"], counts["studies"]) == ({"matched": 3}, {"matched": 4, "unmatched": 1})


def test_a_report_of_several_accessions_is_not_given_to_several_patients(tmp_path):
    path = table(tmp_path, ("1;2", "both"), ("2", "own"), ("3;4", "none there"), columns=("accession", "report"))
    studies = [study("a", "p", AccessionNumber="1"), study("b", "q", AccessionNumber="2")]
    reports, flags, counts = joined(path, studies)
    assert reports == {}
    assert flags == {"a": ["report_ambiguous"], "b": ["report_ambiguous"]}
    assert counts["lines"] == {"ambiguous": 2, "unmatched": 1}


def test_rows_with_the_same_text_are_given_to_each_accession(tmp_path):
    path = table(tmp_path, ("1", "both"), ("2", "both"), columns=("accession", "report"))
    reports, _, _ = joined(path, [study("a", AccessionNumber="1"), study("b", AccessionNumber="2")])
    assert reports == {"a": "both", "b": "both"}


def test_the_patient_alone_is_not_enough_the_day_must_agree(tmp_path):
    columns = ("PatientID", "report", "study_date")
    rows = (("P", "on the 3rd", "2024-01-03"), ("P", "on the 5th", "2024-01-05"), ("Q", "undated", ""),
            ("R", "undated", ""), ("S", "late", "2024-01-09"))  # fmt: skip
    path = table(tmp_path, *rows, columns=columns)
    studies = [
        study("p3", "P", 3, PatientID="P"),
        study("p4", "P", 4, PatientID="P"),
        study("p5", "P", 5, PatientID="P"),
    ]
    studies += [
        study("q1", "Q", 1, PatientID="Q"),
        study("q2", "Q", 2, PatientID="Q"),
        study("r", "R", 1, PatientID="R"),
    ]
    studies += [study("s", "S", 8, PatientID="S")]
    reports, flags, counts = joined(path, studies)
    assert reports == {"p3": "on the 3rd", "p5": "on the 5th", "r": "undated"}
    assert flags == {name: ["report_ambiguous"] for name in ("q1", "q2", "s")}
    assert counts["reasons"] == {
        "ambiguous": {"date_differs": 1, "no_date": 1}, "studies": {"date_differs": 1, "no_date": 2}
    }  # fmt: skip
    assert joined(path, studies, Join(days=1))[0]["s"] == "late"


def test_a_report_without_the_usual_key_goes_by_the_next_that_it_has(tmp_path):
    """As in a feed where the UID, or the accession, is not always filled in."""
    columns = ("StudyInstanceUID", "AccessionNumber", "PatientID", "study_date", "report", "report_status", "issued")
    path = table(
        tmp_path,
        ("", "A1", "P", "", "draft", "P", "2024-01-03"),
        ("1.1", "A1", "P", "", "final", "F", "2024-01-04"),
        ("", "", "P", "2024-01-05", "by the day", "F", ""),
        ("", "", "P", "2024-01-03", "maybe of something else", "F", ""),
        ("9.9", "A2", "P", "2024-01-05", "of a study that is not here", "F", ""),
        ("", "", "", "2024-01-05", "nobody's", "F", ""),
        columns=columns,
    )
    studies = [study("a", "P", 3, StudyInstanceUID="1.1", AccessionNumber="A1", PatientID="P"),
               study("b", "P", 5, StudyInstanceUID="1.2", AccessionNumber="A2", PatientID="P")]  # fmt: skip
    reports, flags, counts = joined(path, studies)
    assert (reports, flags) == ({"a": "final", "b": "by the day"}, {})
    assert counts["key"] == "StudyInstanceUID or AccessionNumber or PatientID"
    assert counts["lines"] == {"ambiguous": 1, "matched": 2, "superseded": 1, "unmatched": 1, "without_key": 1}
    assert counts["reasons"] == {"ambiguous": {"several_reports": 1}, "superseded": {"not_final": 1}}
    reports, _, counts = joined(path, studies, Join(reports="StudyInstanceUID"))
    assert (reports, counts["lines"]) == ({"a": "final"}, {"matched": 1, "unmatched": 1, "without_key": 4})
    again = table(tmp_path, ("1.1", "", "", "", "final", "F", ""), ("", "", "P", "2024-01-03", "final", "F", ""),
                  columns=columns)  # fmt: skip
    assert joined(again, studies)[2]["lines"] == {"matched": 2}  # it says the same


def test_who_gave_out_a_patient_id_tells_patients_apart(tmp_path):
    lines = "\r".join(oru([obr("", seen="20240103"), obx("north")], patient="7^^^NGH"))
    (tmp_path / "a.hl7").write_text(lines)
    studies = [study("a", "NGH\\7", 3, PatientID="7"), study("b", "SGH\\7", 3, PatientID="7")]
    reports, flags, _ = joined(tmp_path / "a.hl7", studies, origin=join.Origin(ids_name_realm=True))
    assert (reports, flags) == ({"a": "north"}, {})
    (tmp_path / "a.hl7").write_text(lines.replace("NGH", ""))
    reports, flags, _ = joined(tmp_path / "a.hl7", studies, origin=join.Origin(ids_name_realm=True))
    assert (reports, list(flags)) == ({}, ["a", "b"])


def test_a_feed_of_messages_from_preliminary_to_corrected(tmp_path):
    def message(text, status, hour):
        return oru([obr("A1", status=status, changed=f"20240131{hour}0000", seen="20240130"), obx(text)])

    folder = tmp_path / "feed"
    folder.mkdir()
    sent = [("Draft.", "P", 10), ("Left.", "F", 11), ("Right.", "C", 12), ("ADDENDUM: Call made.", "F", 13)]
    for number, one in enumerate(sent):
        (folder / f"{number}.hl7").write_text("\r".join(message(*one)))
    found, told = join.with_reports([study("s", AccessionNumber="A1", PatientID="P1")], folder, Join())
    assert found[0].report == "Right.\n\nADDENDUM: Call made."
    assert found[0].columns["study_datetime"] == datetime(2024, 1, 30)
    assert told.rows == {"matched": 2, "superseded": 2}


def test_fhir_and_text_files_join_too(tmp_path):
    path = ndjson(tmp_path / "r.ndjson", diagnostic_report(
        id="x", identifier=[{"value": "A1"}], conclusion="Edema.", language="en-US"))  # fmt: skip
    found, _ = join.with_reports([study("s", AccessionNumber="A1")], path, Join())
    assert (found[0].report, found[0].columns["language"]) == ("IMPRESSION: Edema.", "en")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "1.2.3.txt").write_text("Clear.")
    found, told = join.with_reports([study("s", StudyInstanceUID="1.2.3")], tmp_path / "t", Join())
    assert (found[0].report, told.key) == ("Clear.", "StudyInstanceUID")
    (tmp_path / "t" / "a.xml").write_text("<x/>")
    with pytest.raises(
        WrongUse, match=r"files of several kinds \(1 of openi, 1 of text\): say which with join\.layout=KIND"
    ):
        join.with_reports([study("s", StudyInstanceUID="1.2.3")], tmp_path / "t", Join())
    found, told = join.with_reports([study("s", StudyInstanceUID="1.2.3")], tmp_path / "t", Join(layout="text"))
    assert (found[0].report, told.rows) == ("Clear.", {"matched": 1, "rejected": 1})
    (tmp_path / "t" / "a.xml").unlink()
    with pytest.raises(WrongUse, match=r"no report of t belongs to any image.*\n  StudyInstanceUID: 1 in the reports"):
        join.with_reports([study("s", StudyInstanceUID="9")], tmp_path / "t", Join())


def test_prepare_takes_messages_as_it_takes_a_table(tmp_path):
    path = source(tmp_path / "in", [{"study_id": f"s{n}", "AccessionNumber": f"A{n}"} for n in range(3)])
    messages = [
        [obr("A0", status="P"), obx("Draft.")], [obr("A0"), obx("Large heart."), obx("Clear lungs.")],
        [obr("A1", status="P"), obx("No edema.")],
    ]  # fmt: skip
    (tmp_path / "feed.hl7").write_text("\r".join(line for one in messages for line in oru(one)))
    found = made(path, tmp_path / "store", reports=tmp_path / "feed.hl7")
    assert [found[f"{n}.png"]["report"] for n in range(3)] == ["Large heart.\nClear lungs.", "No edema.", None]
    assert "report_preliminary" in found["1.png"]["flags"]
    told = json.loads((tmp_path / "store" / "manifest.json").read_text())["reports"]
    assert told["lines"] == {"matched": 2, "superseded": 1}


# ---- the joining itself --------------------------------------------------------------------------------------------


def facts(name, **keys):
    return StudyFacts(name, keys, person=name, day=date(2024, 1, 1))


def test_what_came_of_every_line_is_written_without_ids_of_the_source(tmp_path):
    path = table(tmp_path, ("1;2", "a", "F"), ("1", "b", "P"), ("9", "c", "F"), ("3", "d", "void"),
                 columns=("AccessionNumber", "report", "status"))  # fmt: skip
    opened = join.report_source(path, Join())
    people = [StudyFacts(name, {"AccessionNumber": key}, "p") for name, key in (("s1", "1"), ("s2", "2"), ("s3", "3"))]
    for names in (Names(None), Names(b"sixteen bytes or more")):
        ids = {name: names.of("study", name) for name in ("s1", "s3")}
        reports = Reports(people, opened.records(), folder=tmp_path)
        join.join_reports(reports, opened, Join(), join.ANY)
        reports.write(tmp_path / "joined.parquet", names, ids.get)
        rows = pq.read_table(tmp_path / "joined.parquet").to_pylist()
        assert [(row["state"], row["reason"], row["status"]) for row in rows] == [
            ("matched", None, "final"), ("superseded", "not_final", "preliminary"), ("unmatched", None, "final"),
            ("rejected", "cancelled", None),
        ]  # fmt: skip
        assert [row["study_ids"] for row in rows] == [[names.of("study", "s1")], [], [], []]
        assert [row["report_id"] for row in rows] == [*(names.of("report", one) for one in ("1;2", "1", "9")), None]
        assert {row["file"] for row in rows} == ({"r.csv"} if names.key is None else {None})
        assert [row["line"] for row in rows] == [2, 3, 4, 5]
        reports.close()
    assert not list(tmp_path.glob(".reports-*"))  # nobody else can open what was kept


def test_reasons_and_flags_are_explained_once():
    from mmssl.data.report_files import record

    assert not set(report_choice.REASONS) & set(record.REASONS)
    told = {"reasons": {"rejected": {"empty": 1, "bundle": 2}, "studies": {"no_date": 1}}}
    assert [(one.side, one.reason, one.number) for one in join.whys(told)] == [
        ("rejected", "bundle", 2), ("rejected", "empty", 1), ("studies", "no_date", 1)
    ]  # fmt: skip
    assert join.whys({"lines": {"matched": 1}}) == []
    assert report_join.FLAGS["report_ambiguous"] == clean.FLAGS["report_ambiguous"]


def test_many_reports_lie_on_disk(tmp_path):
    """What is larger than the database keeps in memory is found again, also where its file has no name any more."""
    path = write_csv(tmp_path / "r.csv", [{"AccessionNumber": n, "report": f"{n} " * 400} for n in range(4000)])
    opened = join.report_source(path, Join())
    for folder in (None, tmp_path):
        reports = Reports(
            [facts(str(n), AccessionNumber=str(n)) for n in range(0, 4000, 2)], opened.records(), folder=folder
        )
        told = join.join_reports(reports, opened, Join(), join.ANY)
        assert told.rows == {"matched": 2000, "unmatched": 2000}
        assert all(reports.of(str(n)).report == (f"{n} " * 400).strip() for n in range(0, 4000, 2))
        assert reports.of("1").report is None
        reports.close()


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    """What SQLite raises then is no mistake of ours."""
    path = write_csv(tmp_path / "r.csv", [{"AccessionNumber": n, "report": "x" * 5000} for n in range(3000)])
    monkeypatch.setattr(report_join, "_SCHEMA", f"pragma max_page_count = 300; {report_join._SCHEMA}")
    with pytest.raises(CannotDo, match="cannot be kept on disk while they are joined: database or disk is full"):
        Reports(
            [facts(str(n), AccessionNumber=str(n)) for n in range(3000)], join.report_source(path, Join()).records()
        )
