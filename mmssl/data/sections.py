"""Radiology reports as text: their sections by headings in many spellings, and the part of them to train on."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from mmssl.data import english

SECTIONS = (*english.HEADINGS, "preamble", "signature")
"""Every name that `sections` gives: `preamble` is what stands before the first heading."""


def _alternatives(phrases: Iterable[str]) -> str:
    return "|".join(
        sorted(
            (p.replace(" ?", "\0").replace(" ", r"[ \t]+").replace("\0", " ?") for p in phrases), key=len, reverse=True
        )
    )


Headings = tuple[tuple[str, tuple[str, ...]], ...]
"""Headings of a user's language, ((section, phrases), ...), beside the built-in ones."""


@functools.lru_cache(maxsize=8)
def _heading(own: Headings) -> re.Pattern[str]:
    phrases = {name: list(some) for name, some in english.HEADINGS.items()}
    for name, some in own:
        phrases[name] += [re.escape(one).replace("\\ ", " ") for one in some]
    names = "|".join(f"(?P<{name}>{_alternatives(some)})" for name, some in phrases.items())
    return re.compile(
        rf"(?<![\w/-])(?:{names}|(?P<header>{_alternatives(english.HEADERS)}))"
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

_FILLING = re.compile(r"[ \t*_=-]{81,}")
"""Longer than any page is wide: cut, because the time of what looks for marks grows with its square."""

_BEFORE = 200
"""Characters before a heading that are looked at."""

_DASHES = re.compile(r"^[ \t]*-{2,}[ \t]*([^\n-][^\n]*?)[ \t]*-{2,}[ \t]*$", re.MULTILINE)

FINDINGS = ("findings", "impression")
WHY = ("indication", "history")
"""Sections that say why a picture was taken: never part of a text to train on unless asked for."""

How = Literal["sections", "otherwise", "whole", "no_section", "empty"]
WHOLE = "whole"
"""In `otherwise`: all of a report but its signature and why the picture was taken."""


class _Part(NamedTuple):
    name: str
    text: str
    headed: bool  # False: text before the first heading, after a mere title, or a signature
    also: str = ""  # the other section that its heading names: FINDINGS/IMPRESSION


def sections(report: str, headings: Headings = ()) -> list[tuple[str, str]]:
    """A report as (name, text) in its own order; names are those of `SECTIONS`, empty sections are left out.

    >>> sections("INDICATION: cough. FINDINGS: No effusion.")
    [('indication', 'cough.'), ('findings', 'No effusion.')]
    """
    return [(part.name, part.text) for part in _parts(report, headings) if part.text]


def training_text(
    report: str, sections: Sequence[str] = FINDINGS, otherwise: Sequence[str] = (), headings: Headings = ()
) -> tuple[str, How]:
    """The text of a report to train on, and how it was found.

    - `sections`: the wanted sections under their headings, in the order wanted. What stands under FINDINGS/IMPRESSION
      is either.
    - `otherwise`: there is none of them, and this is the first section named there that has text; `whole` is a name.
    - `whole`: the report has no headings, and all of it but its signature is taken.
    - `no_section`: it has headings, but none that is wanted, or nothing under it; the text is empty.
    - `empty`: there is no report.

    An addendum alone stands for the findings that it adds to; beside them it is taken where it is asked for.

    >>> training_text("FINDINGS: Clear. COMPARISON: None.", ["impression"], otherwise=["recommendation", "findings"])
    ('Clear.', 'otherwise')
    """
    parts = [part for part in _parts(report, headings) if part.text]
    added = [part.text for part in parts if part.name == "addendum"]
    if not any(part.headed for part in _parts(report, headings)):
        whole = [part.text for part in parts if part.name == "preamble"]
        whole += added if "addendum" in sections or not whole else []
        return "\n".join(whole), "whole" if whole else "empty"
    wanted = list(dict.fromkeys(part for name in sections for part in parts if name in (part.name, part.also)))
    if wanted:
        return "\n".join(part.text for part in wanted), "sections"
    for name in otherwise:
        found = [part.text for part in parts if (_is_whole(part) if name == WHOLE else name in (part.name, part.also))]
        if found:
            return "\n".join(found), "otherwise"
    if added and not any(part.name in FINDINGS for part in parts):
        return "\n".join(added), "sections"
    return "", "no_section"


def _is_whole(part: _Part) -> bool:
    return part.name not in (*WHY, "signature", "administrative")


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
def _parts(report: str, own: Headings = ()) -> tuple[_Part, ...]:
    text = _plain(report, own)
    cuts = list(_headings(text, own))
    cuts += [(match.start(), match.end(), "findings", "") for match in english.FILM.finditer(text)]
    cuts += [(match.start(), match.start(), "signature", "") for match in english.SIGNATURE.finditer(text)]
    cuts.sort()
    parts: list[_Part] = []
    place, name, also = 0, "preamble", ""
    for start, end, next_name, next_also in [*cuts, (len(text), len(text), "", "")]:
        if start < place:  # a heading inside a signature's line, or the other way round
            continue
        body = text[place:start].strip(" \t\n*")
        if name == "signature" and not any(part.text for part in parts):
            line, _, rest = body.partition("\n")  # signed at the top: only that line is the signature
            parts += [_Part("signature", line, False), _Part("preamble", rest.strip(), False)]
        elif name == "comparison" and english.SEEN.match(body):  # an empty heading, and findings without one
            parts += [_Part(name, "", True), _Part("findings", body, True)]
        elif body or name not in ("preamble", "signature"):
            parts.append(_Part(name, body, name not in ("preamble", "signature", "addendum"), also))
        place, name, also = end, "preamble" if next_name == "header" else next_name, next_also
    return tuple(parts)


def _plain(report: str, own: Headings) -> str:
    """Without the marks of Markdown and HTML; a word in bold or in brackets gets a colon, as headings have."""
    heading = _heading(own)
    text = report.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ").replace("\\.br\\", "\n")
    text = _FILLING.sub(lambda run: run[0][:80], text)
    if "<" in text:
        text = _TAG.sub(lambda tag: "\n" if tag[1] else "", text)
    if "**" in text or "__" in text:
        text = _BOLD.sub(lambda bold: f"\n{bold[2]}: " if heading.fullmatch(f"{bold[2]}:") else bold[2], text)
    if "[" in text:
        text = _BRACKETS.sub(lambda found: f"{found[1]}: " if heading.fullmatch(f"{found[1]}:") else found[0], text)
    if "--" in text:
        text = _DASHES.sub(r"\1", text)
    return _RULER.sub("", _HASHES.sub(r"\1:", text))


def _headings(text: str, own: Headings) -> Iterator[tuple[int, int, str, str]]:
    """(start, end, section, the other section that it names too or nothing) of each heading."""
    for match in _heading(own).finditer(text):
        start = _heading_start(match, text)
        if start is not None:
            name = next(name for name, value in match.groupdict().items() if value is not None and name != "mark")
            yield start, match.end(), name, "impression" if english.BOTH.match(match[0]) else ""


def _heading_start(match: re.Match[str], text: str) -> int | None:
    """Where a heading starts, if a phrase stands as headings do, by its place, its case and the mark behind it."""
    words = re.sub(r"\(.*", "", match[0]).strip(" \t:-\u2013\u2014")
    strong = english.STRONG.fullmatch(words) is not None
    begin = text.rfind("\n", 0, match.start()) + 1
    before = text[max(0, match.start() - _BEFORE) : match.start()]
    gap, before = before, before.rstrip()
    ended = not before or before[-1] in ".!?;:])" or "\n\n" in gap[len(before) :].replace(" ", "")
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
