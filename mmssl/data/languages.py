"""The tables of findings and cues by which reports are read: the shipped languages, and what a user adds to them.

A language is a folder with `language.yaml`, `findings.yaml` and `cues.yaml`; those of English, in
`mmssl/languages/en`, show every key. All of a user's mistakes are named at once, with file and line.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mmssl.data.language_files import ASSERTIONS, FILES, LISTS, PLACES, File, Parts, Term, read_language, read_terms
from mmssl.errors import WrongUse, many, meant

__all__ = ["ASSERTIONS", "LISTS", "NORMAL", "PLACES", "Language", "Languages", "Term", "load", "shipped"]

SHIPPED = Path(__file__).parent.parent / "languages"

NORMAL = "No Finding"
"""The finding that is there where no other is."""

_WORD = re.compile(r"[^\W\d_]+")


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
            problems.append(
                f"{folder}: no folder of languages; it holds a folder each, say de/ with {', '.join(FILES)}"
            )
        places |= own
    raw = {code: read_language(place, problems) for code, place in places.items()}
    if findings is not None:
        _add(raw, findings, problems)
    _check_implied(raw, problems)
    if problems:
        raise WrongUse(many("the tables of languages", problems))
    return Languages(tuple(_made(code, parts) for code, parts in raw.items()))


def _made(code: str, parts: Parts) -> Language:
    terms = tuple(parts.terms.values())
    settings = parts.settings
    told = repr((code, settings, terms, sorted(parts.cues.items()), sorted(parts.lists.items())))
    words = _words(phrase for some in (*parts.cues.values(), *parts.lists.values()) for phrase in some)
    words |= set(settings["words"])
    named = _words(
        phrase for term in terms for some in vars(term).values() if isinstance(some, tuple) for phrase in some
    )
    return Language(
        code=code, key=hashlib.sha256(told.encode()).hexdigest(), names=(code.casefold(), *settings["names"]),
        spacy=settings["spacy"], terms=terms, cues=dict(parts.cues), lists=dict(parts.lists),
        headings=settings["headings"], words=frozenset(words), neutral=frozenset(named - words),
        share=settings["share"],
    )  # fmt: skip


def _words(phrases: Iterable[str]) -> set[str]:
    return {word for phrase in phrases for word in _WORD.findall(phrase.casefold())}


def _add(raw: dict[str, Parts], path: Path, problems: list[str]) -> None:
    """A table of the user's added to the findings of a language; what it says of a known one comes to that."""
    file = File.read(path, problems)
    if file is None:
        return
    code = file.raw.get("language", "en")
    if code not in raw:
        file.problem("language", f"no such language{meant(str(code), list(raw))}; there are {', '.join(raw)}")
        return
    parts = raw[code]
    for name, term in read_terms(file, parts, more=("language",)).items():
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


def _check_implied(raw: dict[str, Parts], problems: list[str]) -> None:
    for parts in raw.values():
        for place, name in parts.implied:
            if name not in parts.terms:
                problems.append(f"{place}no such finding: {name!r}{meant(name, list(parts.terms))}")
