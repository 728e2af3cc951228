"""The tables of findings and cues by which reports are read: the shipped languages, and what a user adds to them.

A language is a folder with `language.yaml`, `findings.yaml` and `cues.yaml`; those of English, in
`mmssl/languages/en`, show every key. All of a user's mistakes are named at once, with file and line.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from mmssl.data import english
from mmssl.data.phrases import expand
from mmssl.errors import WrongUse, many, meant

SHIPPED = Path(__file__).parent.parent / "languages"
FILES = ("language.yaml", "findings.yaml", "cues.yaml")

ASSERTIONS = ("absent", "uncertain", "historical", "hypothetical", "other_person")
PLACES = ("before", "after", "anywhere", "old")
LISTS = (
    *("ignored", "stop", "with", "fillers", "opens", "and", "or", "verbs", "seen", "affirming", "left", "right", "bilateral", "no_side"),
    *("alternatives", "still", "needs_prior", "not_prior", "boilerplate"),
)
NORMAL = "No Finding"
"""The finding that is there where no other is."""

_CODE = re.compile(r"(SCT:\d{6,18}|RADLEX:RID\d+)")
_WORD = re.compile(r"[^\W\d_]+")


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


@dataclass(frozen=True, eq=False)
class Language:
    """Everything by which reports of one language are read; equal where `key` is."""

    code: str
    key: str
    """A hash of all that follows."""
    names: tuple[str, ...]
    spacy: str
    """Whose rules part words: `spacy.blank` of it."""
    terms: tuple[Term, ...]
    cues: Mapping[tuple[str, str], tuple[str, ...]]
    """{(assertion, place): phrases}"""
    lists: Mapping[str, tuple[str, ...]]
    headings: tuple[tuple[str, tuple[str, ...]], ...]
    """Of sections, beside those of English, which many systems print whatever the language of the text."""
    words: frozenset[str]
    """By which a text is known to be in this language ..."""
    neutral: frozenset[str]
    """... and names of findings, which many languages take from Latin, so that they prove nothing."""
    share: float
    """Of the words of a text that are not neutral, how many must be known."""

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Language) and other.key == self.key

    def __repr__(self) -> str:
        return f"Language({self.code!r}, {len(self.terms)} findings, {self.key[:8]})"

    def known(self, words: Sequence[str]) -> float:
        """The share of words, in lower case, that are known; 0 where all of them are neutral."""
        telling = [word for word in words if word not in self.neutral]
        return sum(word in self.words for word in telling) / len(telling) if telling else 0.0


@dataclass(frozen=True)
class Languages:
    """The languages that can be read."""

    each: tuple[Language, ...]

    def find(self, name: str) -> Language | None:
        """The language of a name (en, eng, English, en-US), or None.

        >>> shipped().find("en-US").code, shipped().find("de")
        ('en', None)
        """
        said = name.strip().casefold()
        said = said if any(said in one.names for one in self.each) else re.split(r"[-_]", said)[0]
        return next((one for one in self.each if said in one.names), None)

    def of(self, text: str) -> Language | None:
        """The language that a text is in, or None where too few of its words are known.

        >>> shipped().of("No pleural effusion is seen.").code, shipped().of("Kein Pneumothorax. Herz normal.")
        ('en', None)
        """
        words = [word for word in _WORD.findall(text.casefold()) if word.strip("x")]
        share, best = max(((one.known(words), one) for one in self.each), key=lambda pair: pair[0])
        return best if share >= best.share else None

    def without_code(self) -> dict[str, list[str]]:
        """{language: names of findings without a code}."""
        return {one.code: [term.name for term in one.terms if term.code is None] for one in self.each}


@functools.lru_cache(maxsize=1)
def shipped() -> Languages:
    return load()


def load(*, findings: Path | None = None, folder: Path | None = None) -> Languages:
    """The shipped languages, with a table of findings and with languages of the user's own.

    Args:
        findings: A YAML file like `findings.yaml`; `language: en` says what it is added to (en if left out).
        folder: A folder of languages, a folder each; one with the name of a shipped language takes its place.

    Raises:
        WrongUse: with every mistake of every file, each with file and line.
    """
    problems: list[str] = []
    places = {path.name: path for path in sorted(SHIPPED.iterdir()) if path.is_dir() and path.name.isalpha()}
    if folder is not None:
        own = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
        if not own:
            problems.append(f"{folder}: no folder of languages; it holds a folder each, say de/ with {', '.join(FILES)}")
        places |= own
    raw = {code: _language(place, problems) for code, place in places.items()}
    if findings is not None:
        _add(raw, findings, problems)
    _check_implied(raw, problems)
    if problems:
        raise WrongUse(many("the tables of languages", problems))
    return Languages(tuple(_made(code, parts) for code, parts in raw.items()))


@dataclass
class _Parts:
    """What the files of a language say, before it is whole."""

    settings: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, Term] = field(default_factory=dict)
    cues: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    implied: list[tuple[str, str]] = field(default_factory=list)
    """(place, name) of what is implied, to be looked up when all names are known."""


def _language(folder: Path, problems: list[str]) -> _Parts:
    parts = _Parts()
    for name in FILES:
        file = _File.read(folder / name, problems)
        if file is None:
            continue
        if name == "language.yaml":
            parts.settings = _settings(file)
        elif name == "findings.yaml":
            parts.terms = _terms(file, parts)
        else:
            _cues(file, parts)
    return parts


def _made(code: str, parts: _Parts) -> Language:
    terms = tuple(parts.terms.values())
    settings = parts.settings
    told = repr((code, settings, terms, sorted(parts.cues.items()), sorted(parts.lists.items())))
    words = _words(phrase for some in (*parts.cues.values(), *parts.lists.values()) for phrase in some)
    words |= set(settings["words"])
    named = _words(phrase for term in terms for some in vars(term).values() if isinstance(some, tuple) for phrase in some)
    return Language(
        code=code, key=hashlib.sha256(told.encode()).hexdigest(), names=(code.casefold(), *settings["names"]),
        spacy=settings["spacy"], terms=terms, cues=dict(parts.cues), lists=dict(parts.lists),
        headings=settings["headings"], words=frozenset(words), neutral=frozenset(named - words),
        share=settings["share"],
    )  # fmt: skip


def _words(phrases: Iterable[str]) -> set[str]:
    return {word for phrase in phrases for word in _WORD.findall(phrase.casefold())}


def _add(raw: dict[str, _Parts], path: Path, problems: list[str]) -> None:
    """A table of the user's added to the findings of a language; what it says of a known one comes to that."""
    file = _File.read(path, problems)
    if file is None:
        return
    code = file.raw.get("language", "en")
    if code not in raw:
        file.problem("language", f"no such language{meant(str(code), list(raw))}; there are {', '.join(raw)}")
        return
    parts = raw[code]
    for name, term in _terms(file, parts, more=("language",)).items():
        twin = next((known for known in parts.terms if known != name and known.casefold() == name.casefold()), None)
        if twin:
            file.problem(f"findings.{name}", f"there is {twin!r} already; write it the same way to add to it")
        parts.terms[name] = _joined(parts.terms[name], term) if name in parts.terms else term


def _joined(known: Term, added: Term) -> Term:
    """Phrases of both, and what else the addition says."""
    empty = Term(known.name)
    changes: dict[str, Any] = {}
    for one in fields(Term):
        old, new, default = (vars(term)[one.name] for term in (known, added, empty))
        if isinstance(new, tuple):
            changes[one.name] = tuple(dict.fromkeys((*old, *new)))
        elif new != default:
            changes[one.name] = new
    return replace(known, **changes)


def _check_implied(raw: dict[str, _Parts], problems: list[str]) -> None:
    for parts in raw.values():
        for place, name in parts.implied:
            if name not in parts.terms:
                problems.append(f"{place}no such finding: {name!r}{meant(name, list(parts.terms))}")


# ---- files ---------------------------------------------------------------------------------------------------------

TERM_KEYS = ("code", "source", "phrases", "opposite", "except", "of", "old", "sides", "implies")
OF_KEYS = ("things", "present", "uncertain", "absent")
LANGUAGE_KEYS = ("names", "spacy", "share", "words", "headings")


@dataclass
class _File:
    """A YAML file as plain values, with the line of each key and what is wrong with it."""

    path: Path
    raw: dict[str, Any]
    lines: dict[str, int]
    problems: list[str]

    @classmethod
    def read(cls, path: Path, problems: list[str]) -> "_File | None":
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
        for number, line in enumerate(self.texts(key, value)):
            try:
                found += expand(line)
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


def _terms(file: _File, parts: _Parts, more: Sequence[str] = ()) -> dict[str, Term]:
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


def _term(file: _File, name: str, given: dict[Any, Any], parts: _Parts) -> Term:
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


def _cues(file: _File, parts: _Parts) -> None:
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


def _settings(file: _File) -> dict[str, Any]:
    file.known("", file.raw, LANGUAGE_KEYS)
    share = file.raw.get("share", 0.5)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 < share <= 1:
        file.problem("share", f"must be above 0 and at most 1, got {share!r}")
    words, spacy = file.raw.get("words", ""), file.raw.get("spacy", "xx")
    if not isinstance(words, str):
        file.problem("words", f"must be a text of words between spaces, got {words!r}")
    if not isinstance(spacy, str):
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
