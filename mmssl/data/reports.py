"""Radiology reports as text: sections by their headings, the part to train on, sentences, placeholders."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from mmssl.data import english

SECTIONS = (*english.HEADINGS, "preamble", "signature")
"""Every name that `sections` gives: `preamble` is what stands before the first heading."""


def _alternatives(phrases: Iterable[str]) -> str:
    return "|".join(
        sorted(
            (p.replace(" ?", "\0").replace(" ", r"[ \t]+").replace("\0", " ?") for p in phrases), key=len, reverse=True
        )
    )


_NAMES = "|".join(f"(?P<{name}>{_alternatives(phrases)})" for name, phrases in english.HEADINGS.items())
_HEADING = re.compile(
    rf"(?<![\w/-])(?:{_NAMES}|(?P<header>{_alternatives(english.HEADERS)}))"
    r"(?:[ \t]*\([^()\n]{0,40}\))?"
    r"[ \t]*(?P<mark>:|[-\u2013\u2014](?=\s)|(?=[ \t]*$))",
    re.IGNORECASE | re.MULTILINE,
)
_LEAD = re.compile(
    rf"[ \t]*(?:\(?\d{{1,2}}[.)]|[a-zA-Z][.)]|[-*\u2022>])?[ \t]*(?P<kind>{english.KIND})?", re.IGNORECASE
)
_BOLD = re.compile(r"(\*\*|__)[ \t]*([^*_\n]{1,60}?)[ \t]*:?[ \t]*\1[ \t]*:?")
_BRACKETS = re.compile(r"^[ \t]*\[[ \t]*([^\[\]\n]{1,60}?)[ \t]*:?[ \t]*\][ \t]*:?", re.MULTILINE)
_TAG = re.compile(
    r"<\s*/?\s*(br|p|div|li|tr|h[1-6])\b[^<>]*>|<\s*/?\s*(?:b|i|u|em|strong|span|ul|ol|table|tbody|td)\b[^<>]*>",
    re.IGNORECASE,
)
_HASHES = re.compile(r"^[ \t]*#{1,6}[ \t]+([^\n#]*?)[ \t]*:?[ \t]*#*$", re.MULTILINE)
_RULER = re.compile(
    r"^[ \t]*[=_*-]{3,}[ \t]*$|^[ \t]*(?:={2,}|\*{2,})[ \t]*|[ \t]*(?:={2,}|\*{2,})[ \t]*$", re.MULTILINE
)

FINDINGS = ("findings", "impression")
WHY = ("indication", "history")
"""Sections that say why a picture was taken: never part of a text to train on unless asked for."""

How = Literal["sections", "whole", "no_section", "empty"]


class _Part(NamedTuple):
    name: str
    text: str
    headed: bool  # False: text before the first heading, after a mere title, or a signature


def sections(report: str) -> list[tuple[str, str]]:
    """A report as (name, text) in its own order; names are those of `SECTIONS`, empty sections are left out.

    >>> sections("INDICATION: cough. FINDINGS: No effusion.")
    [('indication', 'cough.'), ('findings', 'No effusion.')]
    """
    return [(part.name, part.text) for part in _parts(report) if part.text]


def training_text(report: str, sections: Sequence[str] = FINDINGS) -> tuple[str, How]:
    """The text of a report to train on, and how it was found.

    - `sections`: the wanted sections under their headings, in the order wanted.
    - `whole`: the report has no headings, and all of it but its signature is taken.
    - `no_section`: it has headings, but none that is wanted, or nothing under it; the text is empty.
    - `empty`: there is no report.

    An addendum alone stands for the findings that it adds to.
    """
    parts = _parts(report)
    added = "\n".join(part.text for part in parts if part.name == "addendum" and part.text)
    if not any(part.headed for part in parts):
        whole = "\n".join(part.text for part in parts if part.name == "preamble" and part.text) or added
        return whole, "whole" if whole else "empty"
    wanted = [part.text for name in sections for part in parts if part.name == name and part.text]
    if not wanted and not any(part.name in FINDINGS and part.text for part in parts):
        wanted = [added] if added else []
    return "\n".join(wanted), "sections" if wanted else "no_section"


def caption(text: str) -> str | None:
    """The whole of a text that has headings and is no report; None where it is read as a report is.

    A caption may say `Exam: chest CT. Large mass.`; what is findings there has no heading. Why a picture was taken
    is left out here too.

    >>> caption("Exam: chest CT. Large mass."), caption("EXAM: CT. FINDINGS: Large mass."), caption("Large mass.")
    ('Exam: chest CT. Large mass.', None, None)
    """
    parts = _parts(text)
    headed = {part.name for part in parts if part.headed}
    if not headed or headed & {*FINDINGS}:
        return None
    if not headed & {*WHY} and not any(part.name == "signature" for part in parts):
        return text.strip()
    return "\n".join(part.text for part in parts if part.text and part.name not in (*WHY, "signature")) or None


@functools.lru_cache(maxsize=64)  # the sections and the text to train on are asked for one after the other
def _parts(report: str) -> tuple[_Part, ...]:
    text = _plain(report)
    cuts = list(_headings(text))
    cuts += [(match.start(), match.end(), "findings") for match in english.FILM.finditer(text)]
    cuts += [(match.start(), match.start(), "signature") for match in english.SIGNATURE.finditer(text)]
    cuts.sort()
    parts: list[_Part] = []
    place, name = 0, "preamble"
    for start, end, next_name in [*cuts, (len(text), len(text), "")]:
        if start < place:  # a heading inside a signature's line, or the other way round
            continue
        body = text[place:start].strip(" \t\n*")
        if name == "signature" and not any(part.text for part in parts):
            line, _, rest = body.partition("\n")  # signed at the top: only that line is the signature
            parts += [_Part("signature", line, False), _Part("preamble", rest.strip(), False)]
        elif body or name not in ("preamble", "signature"):
            parts.append(_Part(name, body, name not in ("preamble", "signature", "addendum")))
        place, name = end, "preamble" if next_name == "header" else next_name
    return tuple(parts)


def _plain(report: str) -> str:
    """Without the marks of Markdown and HTML; a word in bold or in brackets gets a colon, as headings have."""
    text = report.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ").replace("\\.br\\", "\n")
    if "<" in text:
        text = _TAG.sub(lambda tag: "\n" if tag[1] else "", text)
    if "**" in text or "__" in text:
        text = _BOLD.sub(lambda bold: f"\n{bold[2]}: " if _HEADING.fullmatch(f"{bold[2]}:") else bold[2], text)
    if "[" in text:
        text = _BRACKETS.sub(lambda found: f"{found[1]}: " if _HEADING.fullmatch(f"{found[1]}:") else found[0], text)
    return _RULER.sub("", _HASHES.sub(r"\1:", text))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, section) of each heading."""
    for match in _HEADING.finditer(text):
        start = _heading_start(match, text)
        if start is not None:
            name = next(name for name, value in match.groupdict().items() if value is not None and name != "mark")
            yield start, match.end(), name


def _heading_start(match: re.Match[str], text: str) -> int | None:
    """Where a heading starts, if a phrase stands as headings do, by its place, its case and the mark behind it."""
    words = re.sub(r"\(.*", "", match[0]).strip(" \t:-\u2013\u2014")
    strong = english.STRONG.fullmatch(words) is not None
    begin = text.rfind("\n", 0, match.start()) + 1
    before = text[: match.start()].rstrip()
    ended = not before or before[-1] in ".!?;:])" or "\n\n" in text[len(before) : match.start()].replace(" ", "")
    word = before[re.search(r"[^\W\d_]*$", before).start() :]  # type: ignore[union-attr]  # matches always
    modified = word.lower() in english.MODIFIERS
    lead = _LEAD.fullmatch(text, begin, match.start())
    if lead:
        named = text[lead.start("kind") if lead["kind"] else match.start() : match.end()]
        shouted, capital = named.isupper(), named[0].isupper()
        if match["mark"] == ":":
            sure = capital or ended or (strong and not modified)
        else:
            sure = capital if match["mark"] else shouted or (capital and strong and (ended or not modified))
        return begin if sure else None
    shouted, capital = words.isupper(), words[:1].isupper()
    if not match["mark"] or not capital:
        return None
    if modified and word.isupper() == shouted:
        return None
    sure = ended or shouted or strong if match["mark"] == ":" else shouted and ended
    return match.start() if sure else None


# ---- sentences -----------------------------------------------------------------------------------------------------

_START = r"(?:^|(?<=[.!?;:]))[ \t]*"
_ITEM = re.compile(
    rf"{_START}(?:\(?\d{{1,2}}[.)]|[-*\u2022\u00b7\u25aa>]+)[ \t]+(?=[^\W_])|{_START}\(?\d{{1,2}}[.)](?=[A-Z])"
)
"""The mark of an item of a list."""

_DOTS = re.compile(r"([.!?])\.+(?=\s|$)")
_PLAIN_END = re.compile(r"(?<=[a-z]{3}[.!?])\s+(?=[A-Z])|(?<=[a-z]{3}[.!?])(?=[A-Z][a-z]+ )")
_HARD = re.compile(r"[.!?](?=.)")


def sentences(text: str) -> list[str]:
    r"""A text as sentences: items of lists and bullets are their own, wrapped lines are joined, marks of lists go.

    >>> sentences("1. No effusion. 2. A 2.5 cm nodule, approx. 3 mm\nlarger, seen by Dr. Smith.")
    ['No effusion.', 'A 2.5 cm nodule, approx. 3 mm larger, seen by Dr. Smith.']
    """
    found: list[str] = []
    for block in _blocks(text):
        for item in _ITEM.split(block):
            found += _split(_DOTS.sub(r"\1", " ".join(item.split())))
    return [sentence for sentence in found if any(char.isalnum() for char in sentence)]


def _blocks(text: str) -> list[str]:
    """Runs of lines that belong together: a wrapped line goes on with the next."""
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    width = max((len(line) for line in lines), default=0)
    blocks: list[str] = []
    former = ""
    for line in lines:
        if former and line and _goes_on(former, line, width):
            blocks[-1] += f" {line}"
        elif line:
            blocks.append(line)
        former = line
    return blocks


def _goes_on(former: str, line: str, width: int) -> bool:
    """Whether a line is the rest of the one above: its first word did not fit there, or it begins in lower case."""
    if _ITEM.match(line):
        return False
    if line[0].islower() or former[-1] in ",-/(" or english.SHORT.search(former):
        return True
    if former[-1] in ".!?:;":
        return False
    return width >= 50 and len(former) + 1 + len(line.split(maxsplit=1)[0]) > width


def _split(text: str) -> list[str]:
    """One line into sentences: where a plain rule is sure, by it, else by spaCy's tokens."""
    found: list[str] = []
    for piece in _PLAIN_END.split(text):
        if found and english.SHORT.search(found[-1]):
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return [sentence for piece in found for sentence in (_by_tokens(piece) if _HARD.search(piece) else [piece])]


def _by_tokens(text: str) -> list[str]:
    found: list[str] = []
    start = 0
    for sentence in _spacy()(text).sents:
        piece = sentence.text.strip()
        if found and (piece[:1].islower() or english.SHORT.search(found[-1])):
            found[-1] = text[start : sentence.end_char].strip()
        elif piece:
            start = sentence.start_char
            found.append(piece)
    return found


@functools.lru_cache(maxsize=1)
def _spacy() -> Any:
    import spacy

    language = spacy.blank("en")
    language.add_pipe("sentencizer")
    return language


# ---- words that say nothing ----------------------------------------------------------------------------------------


def is_placeholder(text: str | None) -> bool:
    """Whether a text says nothing of the image: empty, without a letter, or a known filler; conservative.

    Only whole texts are judged. What a radiologist may have meant ("normal", "no findings", "unchanged") is none.

    >>> [is_placeholder(t) for t in ("Replace this - figure caption", "N/A", "No findings.", "Normal")]
    [True, True, False, False]
    """
    said = normalise(text or "").strip("[](){}<>\"'*-_. ")
    if not any(char.isalpha() for char in said):
        return True
    return said in english.NOTHING or english.NOTHING_LIKE.fullmatch(said) is not None


def normalise(text: str) -> str:
    """A text without what makes no difference: case, whitespace, closing punctuation, Unicode's look-alikes.

    >>> normalise("  No  Effusion. ")
    'no effusion'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .,;:!")
