"""The sentences of a report, and the texts among them that say nothing."""

from __future__ import annotations

import re
import unicodedata

from mmssl.data import english
from mmssl.data.tokens import sentencizer

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
    for sentence in sentencizer()(text).sents:
        piece = sentence.text.strip()
        if found and (piece[:1].islower() or english.SHORT.search(found[-1])):
            found[-1] = text[start : sentence.end_char].strip()
        elif piece:
            start = sentence.start_char
            found.append(piece)
    return found


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
