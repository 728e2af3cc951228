"""Prompt sets: what a file becomes, every mistake at once, and the traps that lint names."""

from pathlib import Path

import pytest

from mmssl import prompts
from mmssl.errors import WrongUse

MULTI_LABEL = """\
column: label_truth
task: multi_label
uncertain: ignore
classes: {Edema: [edema, vascular congestion], No Finding: [normal]}
positive: ["{}"]
negative: ["no {}"]
overrides: {No Finding: {positive: ["clear lungs"], negative: ["abnormal chest"]}}
"""
MULTI_CLASS = """\
column: body_region
task: multi_class
classes: {Head: [brain, head CT], Thorax: [chest, lung]}
templates: ["{}", "an image of the {}"]
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "prompts.yaml"
        path.write_text(text, encoding="utf-8")
        return prompts.read(path)

    return read


def wrong(read, text):
    with pytest.raises(WrongUse) as error:
        read(text)
    return str(error.value)


def test_multi_label(read):
    asked = read(MULTI_LABEL)
    edema, normal = asked.classes
    assert asked.names == ("Edema", "No Finding")
    assert edema.positive == ("edema", "vascular congestion")
    assert edema.negative == ("no edema", "no vascular congestion")
    assert (normal.positive, normal.negative) == (("clear lungs",), ("abnormal chest",))
    assert (asked.column, asked.uncertain, asked.scoring) == ("label_truth", "ignore", "learned")
    assert asked.texts[-2:] == ["clear lungs", "abnormal chest"]
    assert prompts.lint(asked) == []


def test_multi_class(read):
    asked = read(MULTI_CLASS)
    assert asked.classes[0].positive == ("brain", "an image of the brain", "head CT", "an image of the head CT")
    assert asked.classes[0].negative == ()
    assert prompts.lint(asked) == []


def test_defaults_and_columns(read):
    asked = read("task: multi_label\nclasses: {Edema: [edema], Rib: [rib fracture]}\ncolumns: {Edema: a, Rib: b}\n")
    assert [one.column for one in asked.classes] == ["a", "b"]
    assert asked.classes[1].negative == ("no rib fracture",)
    assert asked.column is None


def test_an_override_may_give_one_side_and_use_the_phrase(read):
    asked = read("task: multi_label\nclasses: {Edema: [edema]}\noverrides: {Edema: {negative: ['free of {}']}}\n")
    assert (asked.classes[0].positive, asked.classes[0].negative) == (("edema",), ("free of edema",))


def test_every_mistake_at_once_with_its_line(read):
    said = wrong(read, """\
task: multi_labels
uncertain: ignored
classes:
  Edema: edema
  No Finding: []
  Yes: [3]
positive: ["{label}"]
negativ: ["no {}"]
overrides:
  Edma: {positive: ["x"]}
  Edema: {positve: ["x"]}
columns: {Edem: label_Edema}
""")  # fmt: skip
    assert said.startswith("11 problems in the prompts ")
    for line in (
        "prompts.yaml:1: task: must be one of multi_label, multi_class, did you mean 'multi_label'?, "
        "got 'multi_labels'",
        "prompts.yaml:2: uncertain: must be one of ignore, positive, negative, did you mean 'ignore'?, got 'ignored'",
        "prompts.yaml:4: classes.Edema: must be a list of at least one text, say ['edema'], got 'edema'",
        "prompts.yaml:5: classes.No Finding: must be a list of at least one text, say [text, text], got []",
        "prompts.yaml:3: classes: a name is text, got True; put it in quotes",
        "prompts.yaml:7: positive: the place of the phrase is written {}, got '{label}'",
        "prompts.yaml:8: negativ: unknown key, did you mean 'negative'?; known keys are task, classes, column,",
        "prompts.yaml:10: overrides.Edma: no such class, did you mean 'Edema'?; classes are Edema, No Finding",
        "prompts.yaml:11: overrides.Edema.positve: unknown key, did you mean 'positive'?; known keys are",
        "prompts.yaml:12: columns.Edem: no such class, did you mean 'Edema'?",
        "prompts.yaml:12: columns: none is given for Edema, No Finding",
    ):
        assert line in said, said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a prompt set is a mapping with task, classes ..., this is nothing"),
        ("- a\n", "this is a list"),
        ("a: [\n", "not YAML"),
        ("task: multi_label\n", "classes: required; write name: [phrase, phrase] for each class"),
        ("classes: {a: [b]}\n", "task: required; it is one of multi_label, multi_class"),
        ("task: multi_class\nclasses: {a: [b]}\n", "multi_class decides between at least two classes, got a"),
        (MULTI_CLASS + "negative: ['no {}']\n", "negative: belongs to task: multi_label; multi_class takes templates"),
        (MULTI_LABEL + "templates: ['{}']\n", "templates: belongs to task: multi_class"),
        (MULTI_LABEL + "columns: {Edema: a, No Finding: b}\n", "not both"),
        (MULTI_LABEL + "classes: {Rib: [rib]}\n", "prompts.yaml:8: classes: stands twice, in line 4 too"),
        (MULTI_LABEL + "scoring: clip\n", "scoring: must be one of learned, chexzero, got 'clip'"),
    ],
)
def test_mistakes(read, text, message):
    assert message in wrong(read, text)


@pytest.mark.parametrize("given", ["chexpert5", "configs/prompts/chexpert5.yaml"])
def test_a_shipped_set_is_found_from_any_folder(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    assert "Edema" in prompts.read(given).names
    with pytest.raises(WrongUse, match="is a folder; give a YAML file"):
        prompts.read(tmp_path)


def test_a_file_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(WrongUse, match=r"no such prompts: .*nothing.yaml; with mmssl come .*chexpert5, .*by name"):
        prompts.read(tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(WrongUse, match="cannot be read as text"):
        prompts.read(tmp_path / "latin.yaml")


def test_the_hash_is_of_what_is_asked(read):
    first = read(MULTI_LABEL)
    reordered = "classes: {No Finding: [normal], Edema: [vascular congestion, edema]}\n" + "\n".join(
        line for line in MULTI_LABEL.splitlines() if not line.startswith("classes")
    )
    assert read("# a remark\n" + reordered).hash == first.hash
    for change in (("no {}", "without {}"), ("ignore", "negative"), ("task", "scoring: chexzero\ntask"),
                   ("label_truth", "label_other"), ("edema,", "oedema,"), ("Edema:", "Oedema:")):  # fmt: skip
        assert read(MULTI_LABEL.replace(*change)).hash != first.hash, change


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: {No Finding: [No Finding]}", "'no No Finding' says 'no no', which turns this label around; give"),
        ("classes: {No Finding: [normal]}", "'no normal' says 'no normal'"),
        ("classes: {Normal: [healthy heart]}", "says 'no healthy'"),
        ("classes: {Normal: [ordinary heart]}", "Normal: looks like the absence of something"),
        ("classes: {Edema: [edema]}\nnegative: ['{}']", "same text 'edema', which can tell nothing"),
        ("classes: {Edema: [edema]}\nnegative: [normal chest]", "template 'normal chest' has no {}"),
        ("classes: {Edema: [edema, Edema.]}", "the phrase 'edema' is given more than once"),
        ("classes: {Edema: [edema], Oedema: [edema]}", "Oedema and Edema are asked with the same text 'edema'"),
        ("classes: {Edema: [possible edema]}", "Edema: a positive text says 'possible'"),
    ],
)
def test_lint_names_the_trap(read, text, said):
    warnings = prompts.lint(read(f"task: multi_label\n{text}\n"))
    assert len(warnings) == 1, warnings
    assert said in warnings[0]


SHIPPED = sorted(prompts.SHIPPED.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_what_is_shipped_reads_without_warning(path: Path):
    assert prompts.lint(prompts.read(path)) == []


def test_chexpert_is_there():
    assert {"chexpert5", "chexpert14"} <= {path.stem for path in SHIPPED}
    assert len(prompts.read(prompts.SHIPPED / "chexpert14.yaml").names) == 14
