"""The files of a language as tables: read, checked, and every mistake in them said with file and line."""

import functools
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mmssl.data import english
from mmssl.data.phrases import expand
from mmssl.errors import meant

FILES = ("language.yaml", "findings.yaml", "cues.yaml")

ASSERTIONS = ("absent", "uncertain", "historical", "hypothetical", "other_person")
PLACES = ("before", "after", "anywhere", "old")
LISTS = (
    *(
        "ignored",
        "stop",
        "there",
        "articles",
        "singular",
        "infinitive",
        "with",
        "fillers",
        "opens",
        "and",
        "or",
        "verbs",
        "seen",
        "affirming",
        "left",
        "right",
        "bilateral",
        "regions",
        "no_side",
    ),
    *("alternatives", "comparing", "still", "needs_prior", "not_prior", "boilerplate"),
)
_CODE = re.compile(r"(SCT:\d{6,18}|RADLEX:RID\d+)")


@dataclass(frozen=True)
class Term:
    """One finding and the words for it."""

    name: str
    code: str | None = None
    source: str | None = None
    """Where the code was read."""
    phrases: tuple[str, ...] = ()
    opposite: tuple[str, ...] = ()
    """Phrases whose absence is this finding."""
    unless: tuple[str, ...] = ()
    """Words of a sentence in which those phrases say nothing, and nothing is implied."""
    excepted: tuple[str, ...] = ()
    """What looks like the finding, and is none."""
    things: tuple[str, ...] = ()
    """What something is said of (heart), and what is said (enlarged) where the finding is ..."""
    present: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    old: bool = False
    """Whether an old one is still seen."""
    sides: bool = True


@dataclass
class Parts:
    """What the files of a language say, before it is whole."""

    settings: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, Term] = field(default_factory=dict)
    cues: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    implied: list[tuple[str, str]] = field(default_factory=list)
    """(place, name) of what is implied, to be looked up when all names are known."""


def read_language(folder: Path, problems: list[str]) -> Parts:
    parts = Parts()
    for name in FILES:
        file = File.read(folder / name, problems)
        if file is None:
            continue
        if name == "language.yaml":
            parts.settings = _settings(file)
        elif name == "findings.yaml":
            parts.terms = read_terms(file, parts)
        else:
            _cues(file, parts)
    return parts


TERM_KEYS = ("code", "source", "phrases", "opposite", "unless", "except", "of", "old", "sides", "implies")
OF_KEYS = ("things", "present", "uncertain", "absent")
LANGUAGE_KEYS = ("names", "spacy", "share", "words", "headings")


@dataclass
class File:
    """A YAML file as plain values, with the line of each key and what is wrong with it."""

    path: Path
    raw: dict[str, Any]
    lines: dict[str, int]
    problems: list[str]

    @classmethod
    def read(cls, path: Path, problems: list[str]) -> "File | None":
        try:
            text = path.read_text(encoding="utf-8")
            raw, node = yaml.safe_load(text), yaml.compose(text)
        except FileNotFoundError:
            problems.append(f"{path}: no such file")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read as text: {error}")
        except yaml.YAMLError as error:
            problems.append(f"{path}: not YAML: {' '.join(str(error).split())}")
        else:
            lines: dict[str, int] = {}
            doubles = _find_lines(node, "", lines)
            if isinstance(raw, dict):
                file = cls(path, raw, lines, problems)
                for key, line in doubles:
                    problems.append(f"{path}:{line}: {key}: stands twice, in line {lines[key]} too")
                return file
            problems.append(f"{path}: a table is a mapping, this is {'empty' if raw is None else type(raw).__name__}")
        return None

    def problem(self, key: str, said: str) -> None:
        self.problems.append(f"{self.place(key)}{key}: {said}")

    def place(self, key: str) -> str:
        """`file:line: ` of a key, or of the nearest key above it."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return f"{self.path}:{self.lines[key]}: " if key else f"{self.path}: "

    def known(self, prefix: str, given: Mapping[Any, Any], keys: Sequence[str]) -> None:
        for key in given:
            if key not in keys:
                said = meant(str(key), list(keys))
                self.problem(f"{prefix}{key}", f"unknown key{said}; known keys are {', '.join(keys)}")

    def texts(self, key: str, value: Any) -> list[str]:
        """A list of texts; numbers and YAML's own words must be in quotes."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.problem(key, f"must be a list of texts, say [text, text], got {value!r}")
            return []
        for number, one in enumerate(value):
            if not isinstance(one, str) or not one.strip():
                self.problem(f"{key}.{number}", f"must be a text, got {one!r}; put it in quotes")
        return [one.strip() for one in value if isinstance(one, str) and one.strip()]

    def phrases(self, key: str, value: Any) -> tuple[str, ...]:
        """The phrases that lines stand for."""
        found: list[str] = []
        known = self.texts(key, value)
        for number, line in enumerate(value if known else ()):
            try:
                found += expand(line.strip()) if isinstance(line, str) else []
            except ValueError as error:
                self.problem(f"{key}.{number}", f"{line!r} {error}")
        return tuple(dict.fromkeys(found))

    def flag(self, key: str, value: Any) -> bool:
        if not isinstance(value, bool):
            self.problem(key, f"must be yes or no, got {value!r}")
        return bool(value)


def _find_lines(node: yaml.Node | None, prefix: str, lines: dict[str, int]) -> list[tuple[str, int]]:
    """Fills in the line of every key and item; gives the keys that stand twice, of which YAML takes the last."""
    doubles: list[tuple[str, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted, line = f"{prefix}{key.value}", key.start_mark.line + 1
            if dotted in lines:
                doubles.append((dotted, line))
            lines.setdefault(dotted, line)
            doubles += _find_lines(value, f"{dotted}.", lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[f"{prefix}{number}"] = value.start_mark.line + 1
            doubles += _find_lines(value, f"{prefix}{number}.", lines)
    return doubles


def read_terms(file: File, parts: Parts, more: Sequence[str] = ()) -> dict[str, Term]:
    file.known("", file.raw, ("findings", *more))
    given = file.raw.get("findings")
    if not isinstance(given, dict) or not given:
        file.problem("findings", "write NAME: {phrases: [phrase, phrase]} for each finding")
        return {}
    found: dict[str, Term] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not name.strip():
            file.problem("findings", f"a name is text, got {name!r}; put it in quotes")
        elif not isinstance(value, dict):
            file.problem(f"findings.{name}", f"must be {{phrases: [phrase, phrase]}}, got {value!r}")
        else:
            found[name.strip()] = _term(file, name, value, parts)
    return found


def _term(file: File, name: str, given: dict[Any, Any], parts: Parts) -> Term:
    key = f"findings.{name}"
    file.known(f"{key}.", given, TERM_KEYS)
    code, source = given.get("code"), given.get("source")
    if code is not None and not (isinstance(code, str) and _CODE.fullmatch(code)):
        file.problem(f"{key}.code", f"must be SCT: or RADLEX:RID and a number, say SCT:36118008, got {code!r}")
    if code is not None and not (isinstance(source, str) and source.strip()):
        file.problem(f"{key}.code", "has no source; write `source:` and where the code was read")
    of = given.get("of", {})
    if not isinstance(of, dict) or not of.get("things"):
        if "of" in given:
            file.problem(f"{key}.of", f"must be {{things: [...], present: [...], absent: [...]}}, got {of!r}")
        of = {}
    file.known(f"{key}.of.", of, OF_KEYS)
    implies = file.texts(f"{key}.implies", given.get("implies"))
    parts.implied += [(file.place(f"{key}.implies"), one) for one in implies]
    term = Term(
        name=name.strip(), code=code, source=source, implies=tuple(implies),
        phrases=file.phrases(f"{key}.phrases", given.get("phrases")),
        opposite=file.phrases(f"{key}.opposite", given.get("opposite")),
        unless=file.phrases(f"{key}.unless", given.get("unless")),
        excepted=file.phrases(f"{key}.except", given.get("except")),
        things=file.phrases(f"{key}.of.things", of.get("things")),
        present=file.phrases(f"{key}.of.present", of.get("present")),
        uncertain=file.phrases(f"{key}.of.uncertain", of.get("uncertain")),
        absent=file.phrases(f"{key}.of.absent", of.get("absent")),
        old=file.flag(f"{key}.old", given.get("old", False)),
        sides=file.flag(f"{key}.sides", given.get("sides", True)),
    )  # fmt: skip
    if not any((term.phrases, term.opposite, term.things, code, term.excepted)):
        file.problem(key, "has no words; give `phrases:`")
    return term


def _cues(file: File, parts: Parts) -> None:
    file.known("", file.raw, (*ASSERTIONS, *LISTS))
    for assertion in ASSERTIONS:
        given = file.raw.get(assertion, {})
        if not isinstance(given, dict):
            file.problem(assertion, f"must be {{before: [...], after: [...]}}, got {given!r}")
            continue
        file.known(f"{assertion}.", given, PLACES)
        for place in PLACES:
            parts.cues[assertion, place] = file.phrases(f"{assertion}.{place}", given.get(place))
    for name in LISTS:
        parts.lists[name] = file.phrases(name, file.raw.get(name))


@functools.lru_cache(maxsize=1)
def _of_spacy() -> frozenset[str]:
    """The codes of its languages, found without loading it."""
    spec = importlib.util.find_spec("spacy")
    assert spec is not None, "spaCy is a dependency"
    assert spec.submodule_search_locations, "spaCy is a package"
    folder = Path(spec.submodule_search_locations[0], "lang")
    return frozenset(path.name for path in folder.iterdir() if (path / "__init__.py").is_file())


def _settings(file: File) -> dict[str, Any]:
    file.known("", file.raw, LANGUAGE_KEYS)
    share = file.raw.get("share", 0.5)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 < share <= 1:
        file.problem("share", f"must be above 0 and at most 1, got {share!r}")
    words, spacy = file.raw.get("words", ""), file.raw.get("spacy", "xx")
    if not isinstance(words, str):
        file.problem("words", f"must be a text of words between spaces, got {words!r}")
    if spacy not in _of_spacy():
        file.problem("spacy", f"must be the code of a language of spaCy, say xx for any, got {spacy!r}")
    headings = file.raw.get("headings") or {}
    if not isinstance(headings, dict):
        file.problem("headings", f"must be {{findings: [heading, heading]}}, got {headings!r}")
        headings = {}
    file.known("headings.", headings, [*english.HEADINGS])
    headings = {name: some for name, some in headings.items() if name in english.HEADINGS}
    return {
        "names": tuple(name.casefold() for name in file.texts("names", file.raw.get("names"))),
        "spacy": spacy,
        "share": share,
        "words": sorted(set(str(words).casefold().split())),
        "headings": tuple((name, file.phrases(f"headings.{name}", some)) for name, some in headings.items()),
    }
