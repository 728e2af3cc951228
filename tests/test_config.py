"""Every mistake that a configuration can have, with the exact message."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt

from mmssl import config, settings
from mmssl.errors import WrongUse
from mmssl.files import CONFIGS
from mmssl.prepare.settings import Prepare


@dataclass(frozen=True)
class Part:
    part_kind: ClassVar[str] = "objectives"
    kind: str
    weight: Annotated[float, Gt(0)] = 1.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inner:
    path: Path
    mode: Literal["fast", "exact"] = "exact"
    pair: tuple[float, float] = (0.9, 0.98)


@dataclass(frozen=True)
class Outer:
    inner: Inner
    parts: dict[str, Part] = field(default_factory=dict)
    steps: Annotated[int, Ge(1)] | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self):
        if self.steps == 13:
            raise ValueError("steps is 13, and no run of 13 steps ever ended well")


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A part outside the package, named by its dotted path."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").touch()
    (tmp_path / "lab" / "hard.py").write_text(
        "class Objective:\n    def __init__(self, *, margin: float = 0.2, rounds: int): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return "lab.hard"


def load(tmp_path, text, *overrides, schema=Outer):
    (tmp_path / "a.yaml").write_text(text)
    return config.load(Path("a.yaml"), list(overrides), schema)


def message(tmp_path, text, *overrides):
    with pytest.raises(config.ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value)


def test_a_sound_file_becomes_the_schema_with_every_default(tmp_path, parts):
    text = f"inner:\n  path: my.store\nparts:\n  first: {{kind: {parts}, rounds: 3}}\n"
    made = load(tmp_path, text, "inner.pair=[0.5, 0.6]", "steps=7", "names=[a, b]", "parts.first.weight=2")
    assert made == Outer(
        inner=Inner(path=Path("my.store"), pair=(0.5, 0.6)),
        parts={"first": Part(kind=parts, weight=2.0, options={"margin": 0.2, "rounds": 3})},
        steps=7,
        names=("a", "b"),
    )


def test_what_was_read_can_be_written_and_read_again(tmp_path, parts):
    made = load(tmp_path, f"inner: {{path: x}}\nparts: {{first: {{kind: {parts}, rounds: 3}}}}\n")
    assert config.build(config.plain(made), Outer) == made


def test_the_last_override_wins(tmp_path, parts):
    assert load(tmp_path, "inner: {path: x}\nsteps: 1\n", "steps=2", "steps=3").steps == 3


def test_all_mistakes_are_told_at_once_with_their_places(tmp_path, parts):
    text = f"""\
inner:
  paht: my.store
  mode: quick
steps: ten
parts:
  first:
    kind: {parts}
    rouns: 3
    weight: 0
  image_reprot: {{}}
whatever: 1
"""
    from mmssl import plugins

    assert message(tmp_path, text, "inner.pair=[1, x]", "parts.first.margin=wide").splitlines() == [
        "11 problems in the config",
        "  a.yaml:2: inner.paht: unknown key, did you mean 'path'?; known keys are path, mode, pair",
        "  a.yaml:3: inner.mode: input should be 'fast' or 'exact', got 'quick'",
        "  command line: inner.pair: input should be a valid number, unable to parse string as a number, got [1, 'x']",
        "  a.yaml:1: inner.path: required",
        "  a.yaml:4: steps: input should be a valid integer, unable to parse string as an integer, got 'ten'",
        "  a.yaml:9: parts.first.weight: input should be greater than 0, got 0",
        "  command line: parts.first.margin: input should be a valid number, unable to parse string as a number, "
        "got 'wide'",
        "  a.yaml:6: parts.first.rounds: required",
        "  a.yaml:8: parts.first.rouns: unknown key, did you mean 'rounds'?; known keys are margin, rounds, kind, "
        "weight",
        "  a.yaml:10: parts.image_reprot: no such part in objectives: 'image_reprot', did you mean 'image_report'?; "
        f"there are {', '.join(plugins.names('objectives'))}",
        "  a.yaml:11: whatever: unknown key; known keys are inner, parts, steps, names",
    ]


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("inner: {path: x}", ["steps"], "command line: 'steps' is no override; write key=value, say seed=1"),
        (
            "inner: {path: x}",
            ["inner.path.x=1"],
            "command line: 'inner.path.x=1': path is a value, not a group of keys",
        ),
        ("- 1", [], "a.yaml: a config is a mapping of keys to values, this is a list"),
        ("just words", [], "a.yaml: a config is a mapping of keys to values, this is a str"),
        ("", [], "1 problem in the config\n  a.yaml: inner: required"),
        ("inner: 3", [], "1 problem in the config\n  a.yaml:1: inner: must be a mapping of keys to values, got 3"),
        ("inner:", [], "1 problem in the config\n  a.yaml:1: inner: must be a mapping of keys to values, got None"),
        (
            "inner: {path: x}\nparts: [a]",
            [],
            "1 problem in the config\n  a.yaml:2: parts: must be a mapping of names to options, got ['a']",
        ),
        (
            "inner: {path: x}\nparts:\n  first: {kind: no.such.module}",
            [],
            "1 problem in the config\n  a.yaml:3: parts.first.kind: No module named 'no'",
        ),
    ],
)
def test_each_mistake_has_its_message(tmp_path, parts, text, overrides, expected):
    assert message(tmp_path, text, *overrides) == expected


def test_a_rule_between_keys_is_told_too(tmp_path, parts):
    assert message(tmp_path, "inner: {path: x}\nsteps: 13\n").endswith(
        "steps is 13, and no run of 13 steps ever ended well"
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("parts.first.kind=image_reprot", "parts.first.kind: no such part in objectives: 'image_reprot', did you"),
        ("steps=13", "steps is 13, and no run of 13 steps"),
        ("innner.mode=fast", "innner: unknown key, did you mean 'inner'?"),
    ],
)
def test_what_was_typed_is_located_on_the_command_line(tmp_path, parts, override, expected):
    text = "inner: {path: x}\nparts:\n  first: {kind: image_report}\nsteps: 3\n"
    told = message(tmp_path, text, override).splitlines()
    assert told[0] == "1 problem in the config"
    assert told[1].startswith(f"  command line: {expected}")


@pytest.mark.parametrize("name", ["3", "2024", "007", "1e3", "2024-05-06", "true"])
def test_a_path_may_look_like_a_number(tmp_path, parts, name):
    assert load(tmp_path, "inner: {path: x}", f"inner.path={name}").inner.path == Path(name)
    if name in ("3", "2024", "2024-05-06"):
        assert load(tmp_path, f"inner: {{path: {name}}}").inner.path == Path(name)


@pytest.mark.parametrize("name", ["|", "#", "007", "no", "null", "~", "2020-01-01", "Report: text", "cap #1", "[x]"])
def test_a_text_is_what_was_typed(name):
    assert config.load({}, [f"columns.text={name}"], Prepare).columns == {"text": name}
    if len(name) == 1 and name != "~":
        assert config.load({}, [f"separator={name}"], Prepare).separator == name


def test_a_text_may_be_quoted_and_a_path_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    read = config.load({}, ["separator=';'", "key=~/k", "encoding=null"], Prepare)
    assert (read.separator, read.key, read.encoding) == (";", tmp_path / "k", None)


def test_one_name_stands_for_a_list_of_it(tmp_path, parts):
    assert load(tmp_path, "inner: {path: x}", "names=a").names == ("a",)


def test_a_section_that_there_is_not_names_those_there_are():
    from mmssl.prepare import settings as preparing

    with pytest.raises(config.ConfigError) as caught:
        preparing.read({}, ["text.sections=impresion"])
    assert "command line: text: sections=['impresion']" in str(caught.value)
    assert "impression" in str(caught.value)


def test_not_yaml_is_told_with_its_place(tmp_path, parts):
    told = message(tmp_path, "inner: [1")
    assert told.startswith("a.yaml: not YAML: while parsing a flow sequence")
    assert "line 1, column 8" in told


def test_not_text_is_told(tmp_path, parts):
    Path("b.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(config.ConfigError, match=r"^b\.yaml: cannot be read as text: 'utf-8' codec can't decode"):
        config.load(Path("b.yaml"), [], Outer)


def test_a_folder_is_no_config(tmp_path, parts):
    with pytest.raises(config.ConfigError, match=r"^lab is a folder; give a YAML file$"):
        config.load(Path("lab"), [], Outer)


def test_a_missing_file_is_told_with_what_is_shipped(tmp_path, parts):
    with pytest.raises(config.ConfigError) as caught:
        config.load(Path("tinny.yaml"), [], Outer)
    assert str(caught.value) == (
        "no such config: tinny.yaml, did you mean 'tiny'?; with mmssl come cxr, demo, images, medpix, tiny, by name; "
        "else give the path of a YAML file"
    )


@pytest.mark.parametrize("given", ["tiny", "configs/pretrain/tiny.yaml"])
def test_a_shipped_config_is_found_from_any_folder_and_ones_own_file_wins(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    assert settings.read(Path(given), ["data.path=x"]).encoders.image.kind == "tiny_image"
    assert settings.read(Path(given), ["data.path=x"]).seed == 0
    (tmp_path / given).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / given).write_text((CONFIGS / "pretrain" / "tiny.yaml").read_text().replace("seed: 0", "seed: 7"))
    assert settings.read(Path(given), ["data.path=x"]).seed == 7


def test_the_folder_that_the_demo_wrote_does_not_hide_the_shipped_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert settings.read(Path("demo"), ["data.path=x"]).encoders.image.kind != "tiny_image"


def test_a_config_mistake_is_wrong_use():
    assert issubclass(config.ConfigError, WrongUse)


TINY = {
    "data": {"path": "my.store"},
    "encoders": {"image": {"kind": "tiny_image"}},
    "objectives": {"image_image": {}},
    "optim": {"steps": 1},
}


@pytest.mark.parametrize(
    ("overrides", "given"),
    [
        (["optim.epochs=2", "optim.steps=3"], "optim.steps and optim.epochs"),
        (["minutes=2", "optim.steps=3"], "optim.steps and minutes"),
        (["optim.steps=null"], "none"),
    ],
)
def test_a_run_has_exactly_one_length(overrides, given):
    with pytest.raises(config.ConfigError) as caught:
        settings.read(TINY, overrides)
    assert str(caught.value).endswith(
        "the length of a run is exactly one of optim.steps, optim.epochs and minutes, "
        f"given: {given}; set the others to null"
    )


@pytest.mark.parametrize(("override", "left"), [("minutes=2", {"minutes"}), ("optim.epochs=2", {"optim.epochs"})])
def test_a_length_on_the_command_line_takes_the_place_of_the_files(override, left):
    made = settings.read(TINY, [override])
    lengths = {"optim.steps": made.optim.steps, "optim.epochs": made.optim.epochs, "minutes": made.minutes}
    assert {name for name, value in lengths.items() if value is not None} == left


def test_a_rule_between_keys_is_told_beside_other_mistakes():
    words = ["optim.steps=1", "minutes=1", "foo=1", "optim.lr=-1"]
    with pytest.raises(WrongUse) as error:
        config.load(TINY, words, settings.Pretrain)
    said = str(error.value)
    assert said.startswith("3 problems in the config")
    assert "given: optim.steps and minutes" in said
    with pytest.raises(WrongUse) as error:
        config.load(TINY, ["optim.steps=many"], settings.Pretrain)
    assert str(error.value).startswith("1 problem in the config"), "no length is missing, the one there is of no use"


def test_a_run_needs_an_objective():
    with pytest.raises(config.ConfigError, match="at least one is needed, say image_report"):
        settings.read({**TINY, "objectives": {}}, [])
