"""`mmssl reports`: one JSON line a report, whole or not at all, over a stand-in for what understands the words."""

import json

import pytest

import mmssl
from mmssl import cli, console
from mmssl import reports as command
from mmssl.data import reports as engine
from mmssl.errors import CannotDo, WrongUse
from tests import report_engine
from tests.preparing import write_csv
from tests.report_sources import diagnostic_report, ndjson, obr, obx, openi, oru


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(engine, "parse", report_engine.parse, raising=False)
    monkeypatch.setattr(console, "quiet", False)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ROWS = [
    {"id": "007", "report": "FINDINGS: No effusion. Edema.", "language": ""},
    {"id": "8", "report": "", "language": ""},
    {"id": "9", "report": "Kein Erguss. Edema.", "language": "German"},
    {"id": "10", "report": "Größerer effusion.", "language": "eng"},
]
FIRST = {
    "id": "007",
    "sections": {"findings": "No effusion. Edema."},
    "sentences": [
        {"text": "No effusion.", "section": "findings", "findings": [
            {"name": "Pleural Effusion", "code": "60046008", "assertion": "absent", "laterality": None}]},
        {"text": "Edema.", "section": "findings", "findings": [
            {"name": "Edema", "code": None, "assertion": "present", "laterality": None}]},
    ],
    "findings": {"Pleural Effusion": "absent", "Edema": "present"},
}  # fmt: skip


def test_a_line_for_each_report(tmp_path, capsys):
    source, out = write_csv(tmp_path / "r.csv", ROWS), tmp_path / "new" / "r.jsonl"
    with open(source, "a") as file:
        file.write("half a row\n")
    told = mmssl.reports(source, out)
    found = lines(out)
    assert found[0] == FIRST
    assert found[1] == {"id": "8", "sections": {}, "sentences": [], "findings": {}}
    assert [one["id"] for one in found] == ["007", "8", "9", "10"]
    assert found[2]["findings"] == {}  # a language without rules is no guess
    assert "Größerer" in out.read_text(encoding="utf-8")
    assert told == {
        "reports": 4, "empty": 1, "rejected": {"bad_row": 1}, "languages": {"en": 2, "unknown": 1},
        "findings": {
            "Pleural Effusion": {"present": 1, "absent": 1, "uncertain": 0},
            "Edema": {"present": 1, "absent": 0, "uncertain": 0},
        },
    }  # fmt: skip
    assert lines(tmp_path / "new" / "r.rejected.jsonl") == [{"file": "r.csv", "line": 6, "reason": "bad_row"}]
    shown = capsys.readouterr()
    assert "in a language without rules" in shown.out
    assert "set aside: 1 bad_row (a line that is no row of the table)" in shown.err


def test_every_kind_of_source_is_taken(tmp_path, capsys):
    text = "FINDINGS: Edema."
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.txt").write_text(text)
    (tmp_path / "a.xml").write_text(openi(1, ("FINDINGS", "Edema.")))
    (tmp_path / "a.hl7").write_text("\r".join(oru([obr(), obx(text)])))
    ndjson(tmp_path / "a.ndjson", diagnostic_report(id="a", conclusion=text))
    write_csv(tmp_path / "a.csv", [{"accession": "a", "befund": text}])
    for name in ("t", "a.xml", "a.hl7", "a.ndjson"):
        assert cli.run(["reports", str(tmp_path / name), "--out", str(tmp_path / f"{name}.jsonl")]) == 0
    words = ["reports", "columns.text=befund", str(tmp_path / "a.csv"), "--out", str(tmp_path / "a.csv.jsonl")]
    assert cli.run(words) == 0
    expected = {"id": "a", **report_engine_line(text)}
    for name in ("t", "a.xml", "a.hl7", "a.ndjson", "a.csv"):
        assert lines(tmp_path / f"{name}.jsonl") == [expected]


def report_engine_line(text):
    found = report_engine.parse(text)
    sentences = [
        {"text": s.text, "section": s.section, "findings": [f._asdict() for f in s.findings]} for s in found.sentences
    ]
    return {"sections": found.sections, "sentences": sentences, "findings": found.findings}


def test_what_does_not_name_its_language_is_in_the_one_that_is_said(tmp_path):
    source = write_csv(tmp_path / "r.csv", ROWS)
    told = mmssl.reports(source, tmp_path / "a.jsonl", language="de")
    assert told["languages"] == {"unknown": 2, "en": 1}


def test_several_processes_give_the_same_in_the_same_order(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "CHUNK", 3)
    monkeypatch.setattr(command, "ALONE", 2)
    rows = [{"id": n, "report": f"FINDINGS: Edema number {n}."} for n in range(50)]
    source = write_csv(tmp_path / "r.csv", rows)
    one = mmssl.reports(source, tmp_path / "one.jsonl", workers=1)
    two = mmssl.reports(source, tmp_path / "two.jsonl", workers=2)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert [line["id"] for line in lines(tmp_path / "two.jsonl")] == [str(n) for n in range(50)]
    assert one == two


def test_a_file_that_is_there_stays(tmp_path, capsys):
    source, out = write_csv(tmp_path / "r.csv", ROWS), tmp_path / "r.jsonl"
    mmssl.reports(source, out)
    written = out.read_bytes()
    mmssl.reports(source, out)
    assert "is there already, and is the same: nothing to do" in capsys.readouterr().err
    for content, number in (
        (written + b"{}\n", 5), (written[:-1], 4), (written.replace(b"Edema.", b"Edema!", 1), 1), (b"", 1)
    ):  # fmt: skip
        out.write_bytes(content)
        with pytest.raises(WrongUse, match=f"is there already, and is not what .* they part in line {number}; name"):
            mmssl.reports(source, out)
        assert out.read_bytes() == content


def test_nothing_is_left_where_it_cannot_be_done(tmp_path, monkeypatch):
    source, out = write_csv(tmp_path / "r.csv", [{"id": 1, "report": "x", "status": "cancelled"}]), tmp_path / "r.jsonl"
    with pytest.raises(CannotDo, match=r"has no report, and nothing is written: 1 cancelled \(the examination"):
        mmssl.reports(source, out)
    good = write_csv(tmp_path / "g.csv", ROWS)
    monkeypatch.setattr(engine, "parse", lambda *asked: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mmssl.reports(good, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.csv", "r.csv"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["r.csv"], "Missing option '--out'"),
        (["gone.csv", "--out", "o"], "gone.csv cannot be read: there is no such file"),
        (["r.csv", "--out", "r.csv"], "--out r.csv would lie in its source r.csv; name a place beside it"),
        (["t", "--out", "t/o.jsonl"], "--out t/o.jsonl would lie in its source t"),
        (["r.csv", "--out", "t"], "--out t: this is a folder; name a file in it"),
        (["r.csv", "--out", "o", "columns.text=reprot"], "has no such column, did you mean 'report'?"),
        (["r.csv", "--out", "o", "colums.text=x"], "colums: unknown key, did you mean 'columns'?"),
        (["r.csv", "--out", "o", "separator=;;"], "separator=';;': it is one character"),
        (["r.csv", "--out", "o", "separator=;"], "looks as if ',' separates its columns, not ';'"),
        (["latin.csv", "--out", "o"], "latin.csv is not utf-8: line 2 has the byte 0xe4"),
        (["r.csv", "--out", "o", "--layout", "tabel"], "did you mean 'table'?"),
        (["r.csv", "--out", "o", "workers=0"], "workers: input should be greater than or equal to 1"),
    ],
)
def test_what_a_user_may_do_wrong(tmp_path, monkeypatch, capsys, words, meant):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "r.csv", ROWS)
    (tmp_path / "latin.csv").write_bytes(b"id,report\n1,m\xe4\n")
    (tmp_path / "t").mkdir()
    assert cli.run(["reports", *words]) in (1, 2)
    out, err = capsys.readouterr()
    assert meant in " ".join((out + err).replace("│", " ").split())
    assert not (tmp_path / "o").exists()
