"""From the text of a filter to its tree."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mmssl import errors
from mmssl.where.tree import Compare, Contains, Given, In, IsNull, Not, Operator, Together, Tree

LONGEST, DEEPEST, MOST = 10_000, 20, 500
"""Characters of a filter, parentheses and `not` within one another, comparisons: what every engine still takes."""


TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<quoted>`(?:[^`]|``)+`)
    | (?P<word>[^\W\d]\w*)
    | (?P<op><=|>=|==|!=|<>|=|<|>)
    | (?P<mark>[(),])
    )""",
    re.VERBOSE,
)
WORDS = ("and", "or", "not", "in", "is", "null", "contains", "true", "false")
OPERATORS: dict[str, Operator] = {
    "=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip


@dataclass(frozen=True)
class Token:
    kind: str  # text, number, quoted, word, op, mark, end
    text: str
    at: int

    def said(self) -> str:
        return self.text.lower() if self.kind == "word" else self.text


def read(text: str) -> Tree:
    """The tree of a filter.

    Raises:
        WrongUse: with the place where it cannot be read.
    """
    if not isinstance(text, str) or not text.strip():
        raise errors.WrongUse("the filter is empty; write one like  age > 60 and sex = 'F'  or leave it out")
    if len(text) > LONGEST:
        raise errors.WrongUse(f"the filter has {len(text)} characters, at most {LONGEST} are read")
    return _Reader(text).all()


class _Reader:
    """Recursive descent: any = all (or all)*; all = one (and one)*; one = not one | ( any ) | comparison."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.place = 0
        self.comparisons = 0

    def _tokens(self) -> list[Token]:
        found, at = [], 0
        while self.text[at:].strip():
            match = TOKEN.match(self.text, at)
            if match is None or match.lastgroup is None:
                start = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                sign = self.text[start]
                if sign in "'\"`":
                    raise self._error(f"this {sign} is never closed", start)
                what = "this is no number" if sign.isdigit() or sign in "+-." else f"{sign!r} has no meaning here"
                raise self._error(what, start)
            found.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        return [*found, Token("end", "", len(self.text.rstrip()))]

    def all(self) -> Tree:
        tree = self._together("or", 0)
        if self.next.kind != "end":
            raise self._error("and, or, or the end of the filter is expected here")
        return tree

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def _take(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def _taken(self, *words: str) -> bool:
        """Takes these words or marks if they come next."""
        coming = self.tokens[self.place : self.place + len(words)]
        if [t.said() if t.kind in ("word", "mark") else None for t in coming] != list(words):
            return False
        self.place += len(words)
        return True

    def _together(self, how: Literal["and", "or"], depth: int) -> Tree:
        part: Callable[[int], Tree] = self._one if how == "and" else lambda depth: self._together("and", depth)
        parts = [part(depth)]
        while self._taken(how):
            parts.append(part(depth))
        return parts[0] if len(parts) == 1 else Together(how, tuple(parts))

    def _one(self, depth: int) -> Tree:
        if depth > DEEPEST:
            raise self._error(f"more than {DEEPEST} parentheses and nots are within one another here")
        if self._taken("not"):
            return Not(self._one(depth + 1))
        if self._taken("("):
            tree = self._together("or", depth + 1)
            self._expect(")")
            return tree
        return self._comparison()

    def _comparison(self) -> Tree:
        self.comparisons += 1
        if self.comparisons > MOST:
            raise self._error(f"more than {MOST} comparisons; use  column in (...)  for many values")
        start = self.next
        if start.kind == "quoted":
            column = start.text[1:-1].replace("``", "`")
        elif start.kind == "word" and start.said() not in WORDS:
            column = start.text
        else:
            raise self._error("the name of a column is expected here")
        self._take()
        if self.next.kind == "op":
            op = OPERATORS[self._take().text]
            return Compare(column, op, self._value(), start.at)
        if self._taken("contains"):
            return Contains(column, self._value(), start.at)
        if self._taken("is", "not", "null"):
            return Not(IsNull(column, start.at))
        if self._taken("is", "null"):
            return IsNull(column, start.at)
        negated = self._taken("not", "in")
        if negated or self._taken("in"):
            inside = In(column, self._values(), start.at)
            return Not(inside) if negated else inside
        raise self._error(f"after {column}, one of = != < <= > >= in, not in, contains, is null is expected here")

    def _values(self) -> tuple[Given, ...]:
        self._expect("(")
        values = [self._value()]
        while self._taken(","):
            values.append(self._value())
        self._expect(")")
        return tuple(values)

    def _value(self) -> Given:
        token = self.next
        if token.kind == "word" and token.said() == "date" and self.tokens[self.place + 1].kind == "text":
            self._take()
            when = moment(_unquoted(self.next.text))
            if when is None:
                raise self._error("this is no date; write it like '2024-01-31' or '2024-01-31 10:30'")
            return Given(when, self._take().at)
        if token.kind == "text":
            return Given(_unquoted(self._take().text), token.at)
        if token.kind == "number":
            return Given(self._number(self._take()), token.at)
        if token.kind == "word" and token.said() in ("true", "false"):
            return Given(self._take().said() == "true", token.at)
        if token.kind == "word" and token.said() == "null":
            raise self._error("nothing compares to null; write  is null  or  is not null")
        if token.kind in ("word", "quoted") and token.said() not in WORDS:
            raise self._error(f"a value is expected here; text is written in quotes: '{token.text.strip('`')}'")
        raise self._error("a value is expected here: 'text', a number, true, false")

    def _number(self, token: Token) -> int | float:
        if re.fullmatch(r"[+-]?\d+", token.text):
            return int(token.text)
        if math.isinf(value := float(token.text)):
            raise self._error("this number is too large", token.at)
        return value

    def _expect(self, mark: str) -> None:
        if not self._taken(mark):
            raise self._error(f"{mark} is expected here")

    def _error(self, problem: str, at: int | None = None) -> errors.WrongUse:
        at = self.next.at if at is None else at
        return errors.WrongUse("\n  ".join(["the filter cannot be read", *shown(self.text, [at]), problem]))


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


def moment(text: str) -> datetime | None:
    """A day, or a day and a time to the second, without a time zone."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?", text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def shown(text: str, places: list[int]) -> list[str]:
    """The filter, or the part of it around the first place, and a line of carets under the places."""
    shown, start = re.sub(r"\s", " ", text), 0
    if len(text) > 100:
        start = max(0, min(places) - 50)
        shown = ("..." if start else "") + shown[start : start + 97] + ("..." if start + 97 < len(text) else "")
    inside = {place - start + (3 if start else 0) for place in places}
    width = max(place for place in inside if place <= len(shown))
    return [shown, "".join("^" if i in inside else " " for i in range(width + 1))]
