"""Reports from files of every kind: what is read is compared with what was written, each defect has its reason."""

import io
import json
import tarfile
import zipfile
from datetime import date, datetime

import hl7 as library
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl.data.report_files import hl7, members
from mmssl.data.report_files.record import REASONS, Options, Record, Rejected
from mmssl.data.report_files.source import open_source
from mmssl.errors import CannotDo, WrongUse
from tests.preparing import write_csv, write_jsonl
from tests.report_sources import TEXTS, attached, diagnostic_report, ndjson, obr, obx, openi, oru


def read(path, **options):
    """Reports, and {place: reason} of what is none."""
    kind = options.pop("kind", None)
    found = list(open_source(path, kind=kind, options=Options(**options)).records())
    rejected = {str(one.place): one.reason for one in found if isinstance(one, Rejected)}
    assert set(rejected.values()) <= set(REASONS)
    return [one for one in found if isinstance(one, Record)], rejected


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- tables --------------------------------------------------------------------------------------------------------

ROWS = [
    {"accession_number": "007", "MRN": "8", "Report": TEXTS[0], "report_status": "Final", "signed": "2024-01-31 12:00",
     "study_date": "2024-01-30", "language": "en-US", "sex": "female"},
    {"accession_number": "", "MRN": "9", "Report": TEXTS[1], "report_status": "A", "signed": "", "study_date": "?",
     "language": "", "sex": ""},
    {"accession_number": "3", "MRN": "", "Report": "", "report_status": "P", "signed": "", "study_date": "",
     "language": "", "sex": ""},
    {"accession_number": "4", "MRN": "", "Report": "Clear.", "report_status": "cancelled", "signed": "",
     "study_date": "", "language": "", "sex": ""},
]  # fmt: skip


def table_as(kind, folder, rows):
    match kind:
        case "csv":
            return write_csv(folder / "r.csv", rows)
        case "tsv":
            return write_csv(folder / "r.tsv", rows, "\t")
        case "jsonl":
            return write_jsonl(folder / "r.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "r.parquet")
    return folder / "r.parquet"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table(tmp_path, kind):
    found, rejected = read(table_as(kind, tmp_path, ROWS))
    first, second, empty = found
    assert first._replace(place=None) == Record(
        "007", TEXTS[0], None, keys={"AccessionNumber": "007", "PatientID": "8"}, status="final",
        issued=datetime(2024, 1, 31, 12), study_date=date(2024, 1, 30), language="en",
        columns={"sex": "F", "study_datetime": datetime(2024, 1, 30), "language": "en-US"},
    )  # fmt: skip
    assert (second.id, second.text, second.status, second.issued, second.study_date) == (
        "9", TEXTS[1], "unknown", None, None
    )  # fmt: skip
    assert (empty.id, empty.text, empty.status) == ("3", "", "preliminary")
    assert list(rejected.values()) == ["cancelled"]


def test_columns_of_a_table_can_be_named(tmp_path):
    path = write_csv(tmp_path / "r.csv", [{"Befund": "klar", "Nr": "0042", "wann": "2024-02-01", "Stand": "corrected"}])
    told = {"text": "Befund", "AccessionNumber": "Nr", "time": "wann", "status": "Stand"}
    [found], _ = read(path, columns=told)
    assert (found.id, found.text, found.status, found.issued) == ("0042", "klar", "amended", datetime(2024, 2, 1))
    with pytest.raises(WrongUse) as said:
        read(path, columns={"txt": "Befund", "id": "Nummer"})
    assert str(said.value).splitlines() == [
        "columns.txt=Befund: txt is nothing that a column of reports can be, did you mean 'text'?; known are text, id, "
        "status, time, date, language, AccessionNumber, StudyInstanceUID, PatientID",
        f"columns.id=Nummer: {path} has no such column; there are Befund, Nr, wann, Stand",
    ]
    with pytest.raises(WrongUse, match=r"has no column with reports, say report; .* name it with columns\.text=NAME"):
        read(path)


def test_a_table_that_is_scanned_is_the_table_that_is_read(tmp_path):
    """Row by row there is the same as in one piece: odd line ends, bad rows, marks of Unicode."""
    from mmssl.data import tables

    contents = {
        "a.csv": b'\xef\xbb\xbfid,text\r\n1,"two\nlines"\r\n2,x,y\r\n\r\n3,\xc3\xa4\r\n',
        "b.csv": "id,text\n1,ä\n".encode("utf-16"),
        "c.jsonl": b'{"id": 0,\r"text": "c"}\n{"id": 1, "text": "a\\u2028b"}\r\n[1]\n\n{"id"',
        "d.jsonl": b'{"id": 2, "more": "\\ud800"}',
    }
    for name, content in contents.items():
        path = written(tmp_path / name, content)
        table, scan = tables.read(path), tables.scan(path)
        rows = list(scan.rows())
        assert scan.columns == table.columns
        assert [row for _, row in rows if row is not None] == table.rows
        assert [line for line, row in rows if row is not None] == table.lines
        assert [(line, "bad_row") for line, row in rows if row is None] == table.bad
    with pytest.raises(CannotDo, match=r"is not utf-8: line 2 has the byte 0xe4.*encoding=latin-1"):
        read(written(tmp_path / "d.csv", b"id,text\n1,m\xe4\n"))
    assert read(tmp_path / "d.csv", encoding="latin-1")[0][0].text == "mä"


# ---- plain text ----------------------------------------------------------------------------------------------------


def test_a_folder_of_text_files(tmp_path):
    written(tmp_path / "b" / "s2.txt", TEXTS[1])
    written(tmp_path / "a" / "s1.txt", "\ufeffADDENDUM: left, not right.\n")
    written(tmp_path / "c" / "s1.txt", TEXTS[2].encode("utf-16"))
    written(tmp_path / "c" / "latin.txt", "müde".encode("latin-1"))
    written(tmp_path / "c" / "none.txt", " \n")
    written(tmp_path / "readme.md", "x")
    written(tmp_path / ".hidden.txt", "x")
    found, rejected = read(tmp_path)
    assert [(one.id, one.text, one.status) for one in found] == [
        ("s1", "ADDENDUM: left, not right.", "addendum"), ("s2", TEXTS[1], "unknown"), ("none", "", "unknown"),
        ("c/s1", TEXTS[2], "unknown"),
    ]  # fmt: skip
    assert rejected == {"readme.md": "other_file", "c/latin.txt": "bad_encoding"}
    assert found[1].keys == {"AccessionNumber": "s2", "StudyInstanceUID": "s2", "PatientID": "s2"}
    assert [one.text for one in read(tmp_path, encoding="latin-1")[0] if one.id == "latin"] == ["müde"]


def test_a_file_that_is_too_large_or_closed_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MOST_BYTES", 100)
    written(tmp_path / "a.txt", "x" * 101)
    written(tmp_path / "b.txt", "x" * 100)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    found, rejected = read(tmp_path)
    assert [one.id for one in found] == ["b"]
    assert rejected == {"a.txt": "too_large", "gone.txt": "unreadable"}


# ---- Open-i and archives -------------------------------------------------------------------------------------------

ENTITIES = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><eCitation><Abstract>&b;</Abstract></eCitation>'
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><eCitation><Abstract>&a;</Abstract></eCitation>'
FILES = {
    "e/207.xml": openi(207, ("FINDINGS", "No\n effusion &lt; 2&#160;mm."), ("IMPRESSION", ""), ("COMPARISON", "None.")),
    "e/208.xml": openi(208, ("FINDINGS", ""), language="fre"),
    "e/bad.xml": "<eCitation><Abstract>",
    "e/bomb.xml": ENTITIES,
    "e/outside.xml": OUTSIDE,
    "e/utf16.xml": OUTSIDE.encode("utf-16"),
    "e/other.xml": "<PubmedArticle/>",
    "e/note.pdf": "x",
}
REJECTED = {
    "e/bad.xml": "bad_xml", "e/bomb.xml": "xml_entities", "e/outside.xml": "xml_entities",
    "e/utf16.xml": "xml_entities", "e/other.xml": "other_xml", "e/note.pdf": "other_file",
}  # fmt: skip


def packed(path, files):
    """Files as a folder, a .zip or a .tgz."""
    contents = {name: one if isinstance(one, bytes) else one.encode() for name, one in files.items()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    elif path.suffix == ".tgz":
        with tarfile.open(path, "w:gz") as archive:
            for name, content in contents.items():
                told = tarfile.TarInfo(name)
                told.size = len(content)
                archive.addfile(told, io.BytesIO(content))
    else:
        for name, content in contents.items():
            written(path / name, content)
    return path


@pytest.mark.parametrize("name", ["openi", "openi.zip", "openi.tgz"])
def test_openi_as_a_folder_and_as_an_archive(tmp_path, name):
    before = set(tmp_path.iterdir())
    found, rejected = read(packed(tmp_path / name, FILES))
    assert sorted((one.id, one.text, one.language) for one in found) == [
        ("207", "FINDINGS: No effusion < 2 mm.\nCOMPARISON: None.", "en"), ("208", "", "fr")
    ]  # fmt: skip
    assert found[0].keys == {"AccessionNumber": "CXR207", "StudyInstanceUID": "207", "PatientID": "207"}
    assert rejected == REJECTED
    assert set(tmp_path.iterdir()) - before == {tmp_path / name}  # nothing was unpacked


def test_archives_that_are_spoilt_or_made_to_fill_the_memory(tmp_path, monkeypatch):
    whole = packed(tmp_path / "whole.tgz", {f"{n}.txt": f"{n} " * 2000 for n in range(20)})
    assert len(read(whole)[0]) == 20
    written(tmp_path / "half.tgz", whole.read_bytes()[: whole.stat().st_size // 2])
    written(tmp_path / "none.zip", b"PK\x03\x04nothing")
    for name in ("half.tgz", "none.zip"):
        with pytest.raises(CannotDo, match="is a damaged archive"):
            read(tmp_path / name)
    monkeypatch.setattr(members, "SPARE", 1 << 20)
    bomb = packed(tmp_path / "bomb.tgz", {"a.txt": "x", "b.txt": b"\0" * (30 << 20)})
    with pytest.raises(CannotDo, match=r"^\S+ unpacks to more than 200 times its size"):
        read(bomb)
    large = packed(tmp_path / "bomb.zip", {"a.txt": "x", "b.txt": b"\0" * (30 << 20)})
    assert read(large)[1] == {"b.txt": "too_large"}
    content = bytearray(packed(tmp_path / "locked.zip", {"a.txt": "x"}).read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1  # says that it is encrypted
    assert read(written(tmp_path / "locked.zip", bytes(content)))[1] == {"a.txt": "unreadable"}


def test_links_in_an_archive_lead_nowhere(tmp_path):
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as archive:
        told = tarfile.TarInfo("../../up.txt")
        told.size = 1
        archive.addfile(told, io.BytesIO(b"x"))
        link = tarfile.TarInfo("passwd.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert [one.id for one in read(path)[0]] == ["up"]


# ---- HL7 -----------------------------------------------------------------------------------------------------------


def hl7_file(path, *messages, end="\r", framed=False, encoding="utf-8"):
    texts = [end.join(segments) + end for segments in messages]
    frame = (b"\x0b", b"\x1c\r") if framed else (b"", b"")
    return written(path, b"".join(frame[0] + text.encode(encoding) + frame[1] for text in texts))


LONG = [
    obx("Heart and lungs \\T\\ bones.~Second line\\.br\\third", identifier="71020&GDT^Chest"),
    obx("Size 5\\S\\2 at \\X41\\.", type="FT", identifier="71020&GDT^Chest"),
    obx("J90^Pleural effusion^I10", type="CE", identifier="71020&IMP^Chest"),
    obx("41", type="NM"),
    obx("1.2.3^^Application^DICOM", type="RP", identifier="113014^DICOM Study^DCM"),
]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("framed", [False, True])
def test_hl7_messages_however_they_are_written(tmp_path, end, framed):
    first = oru([obr("A1"), *LONG], [obr("A2", status="P", changed=""), obx("Müde Lunge.")])
    first[2] = first[2].replace("OBR|||", "OBR|1|P5|F5")  # the orders' numbers, which the accession goes before
    second = oru(["ORC|RE||F7", obr("", status="C"), obx("Corrected.")], patient="X^^^^SS~P2^^^SGH^MR")
    path = hl7_file(tmp_path / "day.hl7", first, second, end=end, framed=framed)
    found, rejected = read(path)
    assert not rejected
    assert [one.id for one in found] == ["day", "day#2", "day#3"]
    assert found[0]._replace(place=None) == Record(
        "day",
        "FINDINGS:\nHeart and lungs & bones.\nSecond line\nthird\nSize 5^2 at A.\nIMPRESSION:\nPleural effusion",
        None,
        keys={"AccessionNumber": "A1", "StudyInstanceUID": "1.2.3", "PatientID": "P1"},
        status="final", issued=datetime(2024, 1, 31, 12), study_date=date(2024, 1, 31), issuer="NGH",
    )  # fmt: skip
    assert (found[1].text, found[1].status, found[1].issued, found[1].keys["AccessionNumber"]) == (
        "Müde Lunge.", "preliminary", None, "A2"
    )  # fmt: skip
    assert (found[2].status, found[2].keys, found[2].issuer) == (
        "amended", {"AccessionNumber": "F7", "PatientID": "P2"}, "SGH"
    )  # fmt: skip


def test_hl7_agrees_with_the_library(tmp_path):
    """Fields, components and escapes are those that the library `hl7` finds, where it reads them at all."""
    segments = oru([obr("A\\T\\1"), obx("One \\F\\ two \\S\\ three \\R\\ four \\E\\ five~\\T\\ six \\X41\\")])
    theirs = library.parse("\r".join(segments))
    [ours], _ = read(hl7_file(tmp_path / "a.hl7", segments))
    lines = [theirs.unescape(str(one)) for one in theirs.segments("OBX")[0][5]]
    assert ours.text.split("\n") == lines
    assert ours.keys["AccessionNumber"] == theirs.unescape(str(theirs.segments("OBR")[0][18]))
    assert ours.keys["PatientID"] == str(theirs.segments("PID")[0][3][0][0])
    assert ours.issuer == str(theirs.segments("PID")[0][3][0][3][0])
    assert ours.issued.strftime("%Y%m%d%H%M%S") == str(theirs.segments("OBR")[0][22])


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("8859/15~", "iso8859-15"), ("GB 18030-2000", "gb18030")],
)
def test_hl7_in_its_own_character_set(tmp_path, charset, encoding):
    text = "肺纹理" if encoding == "gb18030" else "Größe, müde"
    [found], _ = read(hl7_file(tmp_path / "a.hl7", oru([obr(), obx(text)], charset=charset), encoding=encoding))
    assert found.text == text


def test_what_is_wrong_with_hl7_messages(tmp_path):
    good = oru([obr("A1"), obx("Fine.")])
    messages = [
        ["junk before", "more"],
        good,
        oru([obr(), obx("x")], kind="ADT^A08"),
        oru([obr(status="X"), obx("x")]),
        oru([obr(status="I"), obx("x")]),
        oru([obr(), obx("of another patient", status="W")]),
        oru([obr(), obx("deleted", status="D"), obx("kept")]),
        oru([obr(), "OBX|1|ED|71020||^application^pdf^Base64^JVBER||||||F"]),
        oru([obr(), obx("x")], charset="KLINGON"),
        oru(),
        ["MSH|||||"],
        oru([obr(), obx("F\xfcr")], charset=""),
        [r"BHS|^~\&|x", *good, "BTS|1"],
    ]
    content = [one[1:] if one[0].startswith("BHS") else one for one in messages]
    path = tmp_path / "a.hl7"
    path.write_bytes(b"".join(("\r".join(one) + "\r").encode("latin-1") for one in content))
    found, rejected = read(path)
    assert [one.text for one in found] == ["Fine.", "kept", "Fine."]
    assert list(rejected.values()) == [
        "bad_hl7", "other_message", "cancelled", "not_issued", "entered_in_error", "empty", "bad_encoding", "empty",
        "bad_hl7", "bad_encoding",
    ]  # fmt: skip
    assert read(path, encoding="latin-1")[0][2].text == "Für"


def test_batches_and_states_of_hl7(tmp_path):
    messages = [
        [r"FHS|^~\&|x", r"BHS|^~\&|x", *oru([obr(status=""), obx("a", status="C")])],
        oru([obr(status="F"), obx("b", status="B")]),
        oru([obr(status="A"), obx("ADDENDUM: c")]),
        oru([obr(status="A"), obx("d")]),
        oru([obr(status=""), obx("e", status="")]),
        [*oru([obr(status=""), obx("f", status="P"), "ZDS|1.2.9^^Application^DICOM"]), "BTS|6", "FTS|1"],
    ]
    found, rejected = read(hl7_file(tmp_path / "a.txt", *messages, framed=False))
    assert not rejected
    states = ["amended", "addendum", "addendum", "preliminary", "unknown", "preliminary"]
    assert [one.status for one in found] == states
    assert found[-1].keys["StudyInstanceUID"] == "1.2.9"


def test_hl7_is_read_in_blocks(tmp_path, monkeypatch):
    """Where a block of the file ends makes no difference, and a message without end is not kept."""
    path = hl7_file(tmp_path / "a.hl7", *[oru([obr(f"A{n}"), *LONG]) for n in range(5)], framed=True, end="\r\n")
    expected = read(path)[0]
    for size in (1, 7, 64):
        monkeypatch.setattr(hl7, "_STEP", size)
        assert read(path)[0] == expected
    monkeypatch.setattr(hl7, "MOST_BYTES", 1000)
    assert max(len(segment) for segment in hl7._segments(io.BytesIO(b"x" * 100_000))) <= 1000 + 1 + 64
    whole = oru([obr("B"), obx("fine")])
    path = hl7_file(tmp_path / "b.hl7", oru([obr("A"), obx("x" * 2000), obx("y" * 100)]), whole)
    found, rejected = read(path)
    assert ([one.text for one in found], list(rejected.values())) == (["fine"], ["too_large"])


# ---- FHIR ----------------------------------------------------------------------------------------------------------


def test_fhir_reports(tmp_path):
    acsn = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
    mr = {"coding": [{"code": "MR"}]}
    order = {"resourceType": "ServiceRequest", "id": "o", "identifier": [{"type": acsn, "value": "A7"}]}
    study = {"id": "s", "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]}
    patient = {"id": "p", "identifier": [{"value": "card"}, {"type": mr, "value": "P1", "system": "urn:ngh"}]}
    path = ndjson(
        tmp_path / "r.ndjson",
        diagnostic_report(
            id="one", issued="2024-01-31T00:30:00.5+01:00", effectiveDateTime="2024-01-31T00:10:00+01:00",
            language="en-GB", contained=[order, study, patient], basedOn=[{"reference": "#o"}],
            imagingStudy=[{"reference": "#s"}], subject={"reference": "#p"}, conclusion="Normal.",
            presentedForm=[{"contentType": "application/pdf", "data": "JVBER"}, attached(TEXTS[1])],
        ),
        diagnostic_report(
            id="two", status="amended", effectivePeriod={"start": "2024-02-01"}, identifier=[{"value": "A8"}],
            basedOn=[{"identifier": {"value": "A8"}}, {"identifier": {"value": "A9"}}],
            subject={"reference": "Patient/77"},
            presentedForm=[attached("<p>L\xe4ngs</p><p>quer</p>", "text/html; charset=latin-1", "latin-1")],
        ),
        diagnostic_report(status="appended", conclusion="No edema.", meta={"lastUpdated": "2024-02-03T00:00:00Z"}),
        diagnostic_report(id="four", status="partial", text={"div": "<div>Big <b>mass</b></div>"}),
    )  # fmt: skip
    found, rejected = read(path)
    assert not rejected
    assert found[0]._replace(place=None) == Record(
        "one", TEXTS[1], None, keys={"AccessionNumber": "A7", "StudyInstanceUID": "1.2.3", "PatientID": "P1"},
        status="final", issued=datetime(2024, 1, 30, 23, 30, 0, 500000), study_date=date(2024, 1, 31), language="en",
        issuer="urn:ngh",
    )  # fmt: skip
    assert (found[1].text, found[1].keys, found[1].status, found[1].study_date) == (
        "Längs\n\nquer", {"AccessionNumber": "A8~A9", "PatientID": "77"}, "amended", date(2024, 2, 1)
    )  # fmt: skip
    assert (found[2].id, found[2].text, found[2].status, found[2].issued) == (
        "r#3", "IMPRESSION: No edema.", "addendum", datetime(2024, 2, 3)
    )  # fmt: skip
    assert (found[3].text, found[3].status) == ("Big mass", "preliminary")


def test_what_is_wrong_with_fhir_lines(tmp_path):
    path = ndjson(
        tmp_path / "r.jsonl",
        {"resourceType": "Bundle", "entry": []},
        {"resourceType": "Patient"},
        diagnostic_report(status="cancelled", conclusion="x"),
        diagnostic_report(status="entered-in-error", conclusion="x"),
        diagnostic_report(status="registered", conclusion="x"),
        diagnostic_report(presentedForm=[{"contentType": "application/pdf", "data": "JVBER"}]),
        diagnostic_report(presentedForm=[{"contentType": "text/plain", "url": "https://example.org/report"}]),
        diagnostic_report(presentedForm=[{"contentType": "text/plain", "data": "***"}]),
        diagnostic_report(),
        [1],
        diagnostic_report(conclusion="half \ud800 a character"),
    )
    with open(path, "ab") as file:
        file.write(b'{"half": \n' + json.dumps(diagnostic_report(conclusion="\xe4")).encode() + b"\n\xff\n")
    found, rejected = read(path)
    assert [one.text for one in found] == ["IMPRESSION: half \ufffd a character", "IMPRESSION: ä"]
    assert list(rejected.values()) == [
        "bundle", "other_resource", "cancelled", "entered_in_error", "not_issued", "no_plain_text", "no_plain_text",
        "bad_encoding", "empty", "bad_json", "bad_json", "bad_encoding",
    ]  # fmt: skip


# ---- which kind ----------------------------------------------------------------------------------------------------


def test_a_kind_is_recognised_or_asked_for(tmp_path):
    written(tmp_path / "a.xml", openi(1, ("FINDINGS", "x")))
    written(tmp_path / "b.txt", "Clear.")
    with pytest.raises(WrongUse, match=r"files of several kinds \(1 of openi, 1 of text\): say which with --layout"):
        read(tmp_path)
    found, rejected = read(tmp_path, kind="text")
    assert ([one.id for one in found], rejected) == (["b"], {"a.xml": "other_file"})
    with pytest.raises(WrongUse, match="one of table, text, openi, hl7, fhir, not 'txt'"):
        read(tmp_path, kind="txt")
    with pytest.raises(WrongUse, match=r"a\.xml is read as openi, which has no columns: leave out columns\.text"):
        read(tmp_path / "a.xml", columns={"text": "x"})
    with pytest.raises(CannotDo, match="there is no such file or folder"):
        read(tmp_path / "gone")
    (tmp_path / "nothing").mkdir()
    write_jsonl(tmp_path / "nothing" / "r.jsonl", ROWS)
    with pytest.raises(WrongUse, match="is no source of reports; a source is a table"):
        read(tmp_path / "nothing")
    (tmp_path / "nothing" / "manifest.json").touch()
    with pytest.raises(WrongUse, match="is a store, and a source of reports is needed in its place"):
        read(tmp_path / "nothing")
    with pytest.raises(WrongUse, match="is a folder; a table is one file"):
        read(tmp_path, kind="table")


def test_a_source_that_changed_has_another_fingerprint(tmp_path):
    written(tmp_path / "r" / "a.txt", "Clear.")
    path = tmp_path / "r"
    first = open_source(path).fingerprint()
    assert open_source(path).fingerprint() == first
    written(path / "a.txt", "Dense.")
    second = open_source(path).fingerprint()
    written(path / "b.txt", "Clear.")
    assert len({first, second, open_source(path).fingerprint()}) == 3
