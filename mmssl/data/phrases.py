"""A short way to write many phrases at once: `(small) <left|right> effusion(s)`."""

import re

MOST = 3000
"""Of the phrases that one line may stand for; more is a slip of the pen, and slow to start."""

_TOKEN = re.compile(r"[()<>|]|[^()<>|]+")
_CLOSING = {"(": ")", "<": ">"}


def expand(line: str) -> list[str]:
    """Every phrase that a line stands for: (x) may be left out, <a|b> is one of them, (a|b) one or none.

    >>> expand("(no) <left|right> effusion(s)")[:3]
    ['left effusion', 'left effusions', 'right effusion']

    Raises:
        ValueError: with what is wrong with the line.
    """
    tokens = _TOKEN.findall(line)
    found, place = _alternatives(tokens, 0, "")
    assert place == len(tokens), "a line is read whole"
    phrases = list(dict.fromkeys(" ".join(phrase.split()) for phrase in found))
    if not all(phrases):
        raise ValueError("may stand for no words at all; leave one outside ( )")
    return phrases


def _alternatives(tokens: list[str], place: int, closing: str) -> tuple[list[str], int]:
    """The phrases up to the closing bracket, and the place of what comes after them."""
    found: list[str] = []
    row = [""]
    while place < len(tokens):
        token = tokens[place]
        if token == closing:
            return found + row, place
        if token in _CLOSING:
            inner, place = _alternatives(tokens, place + 1, _CLOSING[token])
            if place == len(tokens):
                raise ValueError(f"{token} is not closed; write ( ) around what may be left out, < > around a choice")
            row = [a + b for a in row for b in ([""] if token == "(" else []) + inner]
        elif token == "|":
            found, row = found + row, [""]
        elif token in _CLOSING.values():
            raise ValueError(f"{token} closes nothing; write ( ) around what may be left out, < > around a choice")
        else:
            row = [phrase + token for phrase in row]
        if len(row) + len(found) > MOST:
            raise ValueError(f"stands for more than {MOST} phrases; write several lines")
        place += 1
    if "|" in tokens and not closing and found:
        raise ValueError("| stands between the words of a choice: <a|b> is one of them, (a|b) one or none")
    return found + row, place
