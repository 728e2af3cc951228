"""Radiology reports as text: sections by their headings, the part to train on, sentences, placeholders."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

HEADINGS: dict[str, tuple[str, ...]] = {
    "findings": (
        "findings?",
        "findings? ?(?:and|&|/) ?(?:impressions?|conclusions?|opinion)",
        "(?:radiographic|radiologic(?:al)?|imaging|x-?ray|ct|mri?|chest|cxr) findings?",
        "description(?: of findings)?",
        "observations?",
        "results?",
        "report",
        "body of report",
    ),
    "impression": (
        "impressions?",
        "impressions? ?(?:and|&|/) ?(?:recommendations?|plan)",
        "(?:final|overall|radiographic|radiological|ct|mri?|chest|cxr|preliminary) impressions?",
        "impressions?/(?:conclusions?|opinion)",
        "conclusions?",
        "conclusions? ?(?:and|&|/) ?recommendations?",
        "opinions?",
        "(?:final |radiological )?diagnos[ie]s",
        "summary(?: of findings)?",
        "assessment",
        "interpretation",
    ),
    "indication": (
        "indications?",
        "(?:clinical|exam(?:ination)?|study) indications?",
        "indications? ?(?:and|&|/|for) ?(?:clinical )?(?:history|exam(?:ination)?|study|procedure)",
        "reasons? for (?:the )?(?:exam(?:ination)?|study|test|visit|referral|request|this exam(?:ination)?|consult)",
        "reason",
        "clinical (?:information|info|data|details?|statement|question|indications?|impressions?|findings?|diagnosis"
        "|presentation|context|notes?|concern|problem|background|symptoms?)",
        "clinical",
        "(?:admitting|admission|provisional|working|referring|referral|presumptive|differential) diagnos[ie]s",
        "(?:chief|presenting) complaints?",
        "symptoms?",
        "(?:signs?|symptoms?) ?(?:and|&|/) ?(?:signs?|symptoms?)",
        "question(?:s)?(?: to be answered)?",
        "rule out",
    ),
    "history": (
        "(?:(?:clinical|medical|patient|relevant|brief|pertinent|past medical|surgical|present|additional) )?history",
        "history ?(?:and|&|/) ?(?:indications?|reason for (?:exam|study))",
        "clinical history ?(?:and|&|/) ?(?:indications?|information|reason for (?:exam|study))",
        "history of present illness",
        "hx",
    ),
    "technique": (
        "techniques?",
        "(?:imaging |ct |mri? |scan(?:ning)? |exam(?:ination)? )?(?:techniques?|protocols?)",
        "(?:procedure|exam(?:ination)?|study) ?(?:and|&|/) ?techniques?",
        "contrast(?: media| agent)?",
        "(?:radiation )?dose(?: report)?",
        "views?(?: obtained)?",
        "number of views",
        "method(?:s|ology)?",
    ),
    "comparison": (
        "comparisons?",
        "comparisons?(?: (?:exam(?:ination)?s?|stud(?:y|ies)|films?|radiographs?|date|made|is|with|to|none))?",
        "compared?(?: (?:with|to))",
        "(?:prior|previous|reference|relevant prior) (?:exam(?:ination)?s?|stud(?:y|ies)|films?|imaging|reports?)",
        "priors?",
    ),
    "exam": (
        "exam(?:ination)?s?",
        "(?:type|name|date|time|title) of (?:exam(?:ination)?|study|service|procedure)",
        "(?:exam(?:ination)?|study|procedure|service|report|accession) (?:type|name|date|time|title|number|performed|description|code)",
        "procedures?(?: performed)?",
        "stud(?:y|ies)(?: performed)?",
        "accession(?: (?:number|no))?",
        "modality",
        "protocol name",
        "(?:patient(?: name)?|name|mrn|dob|date of birth|age|sex|gender|order(?:ing)? (?:physician|provider)"
        "|referring (?:physician|provider|doctor|dr)|date|location)",
    ),
    "recommendation": (
        "recommendations?",
        "(?:follow-?up|recommended|suggested) ?(?:recommendations?|action|plan|imaging)?",
        "plan",
        "advice",
        "suggestions?",
    ),
    "notification": (
        "notifications?",
        "(?:critical|urgent|significant) (?:results?|findings?|value|communication)(?: (?:communication|notification))?",
        "communications?(?: of (?:critical )?(?:results?|findings?))?",
    ),
    "addendum": ("addend(?:um|a)(?: ?#?\\d{1,2})?", "addendum to report", "(?:late|corrected) addendum", "amendment"),
}
"""The canonical sections, and how their headings are spelt (regular expressions, in any case)."""

HEADERS = (
    "final report",
    "preliminary report",
    "radiology report",
    "wet read",
    "(?:final )?narrative",
    "end of report",
)
"""Titles of a whole report; they name no section, and a report with these alone counts as one without headings."""

SECTIONS = (*HEADINGS, "preamble", "signature")
"""Every name that `sections` gives: `preamble` is what stands before the first heading."""

_MODIFIERS = frozenset(
    "no acute the these those this other incidental additional significant associated above below positive negative "
    "new prior previous major minor pertinent key main relevant abnormal normal and or of with for other's similar "
    "following remaining unexpected".split()
)
"""A word before FINDINGS: that makes it part of a sentence, not a heading."""


def _alternatives(phrases: Iterable[str]) -> str:
    return "|".join(
        sorted(
            (p.replace(" ?", "\0").replace(" ", r"[ \t]+").replace("\0", " ?") for p in phrases), key=len, reverse=True
        )
    )


_NAMES = "|".join(f"(?P<{name}>{_alternatives(phrases)})" for name, phrases in HEADINGS.items())
_HEADING = re.compile(
    rf"(?<![\w/-])(?:{_NAMES}|(?P<header>{_alternatives(HEADERS)}))"
    r"(?:[ \t]*\([^()\n]{0,40}\))?"
    r"[ \t]*(?P<mark>:|[-\u2013\u2014](?=\s)|(?=[ \t]*$))",
    re.IGNORECASE | re.MULTILINE,
)
_SIGNATURE = re.compile(
    r"(?:^|(?<=[.!?;])\s)[ \t*_-]*(?:"
    r"(?:this (?:report|study|exam(?:ination)?) (?:was|has been) )?(?:electronically|digitally) (?:signed|approved|verified|authenticated|finali[sz]ed)\b"
    r"|(?:dictated|signed|reported|transcribed|verified|approved|interpreted|read|reviewed|finali[sz]ed|authenticated|prepared|released)"
    r"(?: and (?:signed|approved|verified|electronically signed|finali[sz]ed|dictated|reviewed))?(?: (?:by|on)\b|/|[ \t]*:)"
    r"|(?:dictating|attending|reading|interpreting|reporting|signing|resident|staff|consultant) (?:radiologist|physician|doctor|attending|provider)[ \t]*:"
    r"|(?:radiologist|resident|attending|signature|transcriptionist|dictation (?:date|time)|date dictated|d/?t)[ \t]*:"
    r"|i,? .{0,60}(?:have )?(?:personally )?(?:reviewed|viewed|interpreted) the (?:images?|films?|study|above)"
    r"|(?:i|the) (?:attending|teaching|staff)(?: radiologist| physician)?,? .{0,40}(?:personally )?(?:reviewed|viewed)"
    r")",
    re.IGNORECASE | re.MULTILINE,
)
_BOLD = re.compile(r"(\*\*|__)[ \t]*([^*_\n]{1,60}?)[ \t]*:?[ \t]*\1[ \t]*:?")
_TAG = re.compile(
    r"<\s*/?\s*(br|p|div|li|tr|h[1-6])\b[^<>]*>|<\s*/?\s*(?:b|i|u|em|strong|span|ul|ol|table|tbody|td)\b[^<>]*>",
    re.IGNORECASE,
)
_HASHES = re.compile(r"^[ \t]*#{1,6}[ \t]+([^\n#]*?)[ \t]*:?[ \t]*#*$", re.MULTILINE)
_RULER = re.compile(
    r"^[ \t]*(?:={2,}|-{2,}|_{3,}|\*{2,})[ \t]*|[ \t]*(?:={2,}|-{3,}|_{3,}|\*{2,})[ \t]*$", re.MULTILINE
)

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


def training_text(report: str, sections: Sequence[str] = ("findings", "impression")) -> tuple[str, How]:
    """The text of a report to train on, and how it was found.

    - `sections`: the wanted sections under their headings, in the order wanted.
    - `whole`: the report has no headings, and all of it but its signature is taken.
    - `no_section`: it has headings, but none that is wanted, or nothing under it; the text is empty.
    - `empty`: there is no report.
    """
    parts = _parts(report)
    if not any(part.headed for part in parts):
        whole = "\n".join(part.text for part in parts if part.name == "preamble" and part.text)
        return whole, "whole" if whole else "empty"
    wanted = [part.text for name in sections for part in parts if part.name == name and part.text]
    return "\n".join(wanted), "sections" if wanted else "no_section"


def _parts(report: str) -> list[_Part]:
    text = _plain(report)
    cuts = [(match.start(), match.end(), name) for match, name in _headings(text)]
    cuts += [(match.start(), match.start(), "signature") for match in _SIGNATURE.finditer(text)]
    cuts.sort()
    parts: list[_Part] = []
    place, name = 0, "preamble"
    for start, end, next_name in [*cuts, (len(text), len(text), "")]:
        if start < place:  # a heading inside a signature's line, or the other way round
            continue
        body = text[place:start].strip(" \t\r\n*_")
        if name == "signature" and not any(part.text for part in parts):
            line, _, rest = body.partition("\n")  # signed at the top: only that line is the signature
            parts += [_Part("signature", line, False), _Part("preamble", rest.strip(), False)]
        elif body or name not in ("preamble", "signature"):
            parts.append(_Part(name, body, name not in ("preamble", "signature", "addendum")))
        place, name = end, "preamble" if next_name == "header" else next_name
    return parts


def _plain(report: str) -> str:
    """Without the marks of Markdown and HTML; a bold word becomes one with a colon, as headings are."""
    text = report.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ")
    if "<" in text:
        text = _TAG.sub(lambda tag: "\n" if tag[1] else "", text)
    if "**" in text or "__" in text:
        text = _BOLD.sub(lambda bold: f"\n{bold[2]}: " if _HEADING.fullmatch(f"{bold[2]}:") else bold[2], text)
    return _RULER.sub("", _HASHES.sub(r"\1:", text))


def _headings(text: str) -> Iterable[tuple[re.Match[str], str]]:
    for match in _HEADING.finditer(text):
        if _is_heading(match, text):
            yield match, str(match.lastgroup if match.lastgroup != "mark" else _group(match))


def _group(match: re.Match[str]) -> str:
    return next(name for name, value in match.groupdict().items() if value is not None and name != "mark")


def _is_heading(match: re.Match[str], text: str) -> bool:
    """Whether a phrase stands as a heading does: by its place, its case and the mark behind it."""
    words = re.sub(r"\(.*", "", match[0]).strip(" \t:-\u2013\u2014")
    shouted, capital = words.isupper(), words[:1].isupper()
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    before = text[: match.start()].rstrip()
    ended = not before or before[-1] in ".!?;:])" or "\n\n" in text[len(before) : match.start()].replace(" ", "")
    if not re.sub(r"^[ \t]*(?:\(?\d{1,2}[.)]|[a-zA-Z][.)]|[-*\u2022>])?[ \t]*", "", line):  # first on its line
        if match["mark"] == ":":
            return capital or ended
        if match["mark"]:
            return capital
        return shouted or (capital and ended)
    if not match["mark"]:
        return False
    last = re.search(r"([^\W\d_]+)\W*$", before)
    joined = bool(last) and before[-1:].isalpha() and last[1].lower() in _MODIFIERS if last else False
    if match["mark"] == ":":
        return (shouted and not joined) or (capital and ended)
    return shouted and ended


# ---- sentences -----------------------------------------------------------------------------------------------------

_ITEM = re.compile(
    r"(?:^|(?<=[.!?;:]))[ \t]*(?:\(?\d{1,2}[.)]|[-*\u2022\u00b7\u25aa>]+)[ \t]+(?=[^\W_])|(?:^|(?<=[.!?;:]))[ \t]*\(?\d{1,2}[.)](?=[A-Z])"
)
_PLAIN_END = re.compile(r"(?<=[a-z]{3}[.!?])\s+(?=[A-Z])|(?<=[a-z]{3}[.!?])(?=[A-Z][a-z]+ )")
_HARD = re.compile(r"[.!?](?=.)")
_SHORT = re.compile(
    r"(?:^|[\s(])(?:dr|drs|mr|mrs|ms|prof|st|approx|ca|vs|resp|incl|esp|no|nos|fig|figs|e\.g|i\.e|etc|min|max|avg|dept|inc|jr|sr"
    r"|ant|post|lat|sup|inf|rt|lt|bilat|diam|ref|cf|al|temp|est|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec)\.$",
    re.IGNORECASE,
)


def sentences(text: str) -> list[str]:
    """A text as sentences: items of lists and bullets are their own, wrapped lines are joined, marks of lists go.

    >>> sentences("1. No effusion. 2. A 2.5 cm nodule, approx. 3 mm\\nlarger, seen by Dr. Smith.")
    ['No effusion.', 'A 2.5 cm nodule, approx. 3 mm larger, seen by Dr. Smith.']
    """
    found: list[str] = []
    for block in _blocks(text):
        for item in _ITEM.split(block):
            found += _split(" ".join(item.split()))
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
    if line[0].islower() or former[-1] in ",-/(" or _SHORT.search(former):
        return True
    if former[-1] in ".!?:;":
        return False
    return width >= 50 and len(former) + 1 + len(line.split(maxsplit=1)[0]) > width


def _split(text: str) -> list[str]:
    """One line into sentences: where a plain rule is sure, by it, else by spaCy's tokens."""
    found: list[str] = []
    for piece in _PLAIN_END.split(text):
        if found and _SHORT.search(found[-1]):
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return [sentence for piece in found for sentence in (_by_tokens(piece) if _HARD.search(piece) else [piece])]


def _by_tokens(text: str) -> list[str]:
    found: list[str] = []
    for sentence in _spacy()(text).sents:
        piece = sentence.text.strip()
        if found and (piece[:1].islower() or _SHORT.search(found[-1])):
            found[-1] = text[text.find(found[-1]) : sentence.end_char].strip()
        elif piece:
            found.append(piece)
    return found


@functools.lru_cache(maxsize=1)
def _spacy() -> Any:
    import spacy

    language = spacy.blank("en")
    language.add_pipe("sentencizer")
    return language


# ---- words that say nothing ----------------------------------------------------------------------------------------

_NOTHING = frozenset(
    (
        "n/a;na;n.a;none;nil;null;nan;not available;not applicable;not provided;not given;not reported;not recorded;"
        "none available;none provided;none given;none recorded;unavailable;unknown;untitled;tbd;tba;todo;pending;test;"
        "no caption;no caption available;no caption provided;no report;no report available;no text;no text available;"
        "no description;no description available;no description provided;no data;no information;no info;no comment;"
        "no comments;caption;caption here;caption goes here;image;picture;photo;figure;title;text;description;report;"
        "placeholder;see report;see below;see above;see text;see findings;see impression;see full report;"
        "see separate report;see attached;see attached report;see dictated report;see caption;as above;as below;"
        "same as above;as described above;refer to report;report pending;report to follow;dictation pending;"
        "report not available;no dictation;your text here;enter text here;type here;undefined;missing;empty;blank"
    ).split(";")
)
_NOTHING_LIKE = re.compile(
    r"(?:replace|insert|enter|type|add|put|write) (?:this|your|text|a|the|caption|image)\b.*(?:here|caption|text|-).*"
    r"|replace this\b.*|lorem ipsum\b.*|(?:image|figure|fig|picture|slide|series|slice)\.? ?#?\d{1,4}[a-z]?|x[x\s./-]*"
)


def is_placeholder(text: str | None) -> bool:
    """Whether a text says nothing of the image: empty, without a letter, or a known filler; conservative.

    Only whole texts are judged. What a radiologist may have meant ("normal", "no findings", "unchanged") is none.

    >>> [is_placeholder(t) for t in ("Replace this - figure caption", "N/A", "No findings.", "Normal")]
    [True, True, False, False]
    """
    said = normalise(text or "").strip("[](){}<>\"'*-_. ")
    if not any(char.isalpha() for char in said):
        return True
    return said in _NOTHING or _NOTHING_LIKE.fullmatch(said) is not None


def normalise(text: str) -> str:
    """A text without what makes no difference: case, whitespace, closing punctuation, Unicode's look-alikes.

    >>> normalise("  No  Effusion. ")
    'no effusion'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .,;:!")
