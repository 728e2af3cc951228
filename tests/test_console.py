"""What a user sees, and where: results on standard output, remarks and progress on standard error."""

import pytest

from mmssl import console


@pytest.fixture(autouse=True)
def not_quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", False)


def test_a_remark_goes_to_standard_error(capsys):
    console.say("two files had no report")
    assert capsys.readouterr() == ("", "two files had no report\n")


def test_a_warning_goes_to_standard_error_under_quiet_too(capsys, monkeypatch):
    monkeypatch.setattr(console, "quiet", True)
    console.say("two files had no report")
    console.warn("the store has changed")
    assert capsys.readouterr() == ("", "warning: the store has changed\n")


def test_a_table_goes_to_standard_output_with_numbers_to_the_right(capsys):
    console.table("Scores", ["label", "auroc"], [["Edema [left]", 0.91234], ["Hernia", None]])
    out, err = capsys.readouterr()
    lines = [line.strip(" │┃|") for line in out.splitlines()]
    assert lines[0] == "Scores"
    assert [line.split() for line in lines if "Edema" in line] == [["Edema", "[left]", "│", "0.912"]]
    assert [line.split()[-1] for line in lines if "Hernia" in line] == ["-"]
    assert err == ""


def test_progress_without_a_terminal_is_a_line_at_the_end(capsys):
    with console.progress("reading", 7, "files") as advance:
        advance(3)
        advance(4, note="2 rejected")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("reading: 7/7, ")
    assert err.endswith(" s, 2 rejected\n")
    assert "files/s" in err


def test_progress_can_leave_the_rate_to_the_note(capsys):
    with console.progress("training", 2, "steps", rate=False) as advance:
        advance(2, note="3.0 steps/s")
    assert capsys.readouterr().err == "training: 2/2, 0 s, 3.0 steps/s\n"


def test_progress_says_something_every_ten_seconds(capsys, monkeypatch):
    clock = iter([0.0, 6.0, 11.0, 11.0, 11.0, 12.0, 12.0, 12.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("reading", None, "files") as advance:
        advance()  # 6 s: nothing yet
        advance()  # 11 s: a line
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["reading: 2", "reading: 2"]


def test_an_exception_passes_through_progress(capsys):
    with pytest.raises(KeyError), console.progress("reading", 1):
        raise KeyError("x")


def test_quiet_shows_nothing_of_this(capsys, monkeypatch):
    monkeypatch.setattr(console, "quiet", True)
    console.say("x")
    console.table("t", ["a"], [[1]])
    with console.progress("reading", 1) as advance:
        advance()
        advance(1, note="x")
    assert capsys.readouterr() == ("", "")
    console.table("scores", ["label"], [["Edema"]], is_result=True)
    out, err = capsys.readouterr()
    assert ("Edema" in out, err) == (True, ""), "what was asked for is no remark"
