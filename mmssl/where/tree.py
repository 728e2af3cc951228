"""What a filter says, as a tree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Value = str | int | float | bool | datetime
Operator = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True)
class Given:
    """A value as written, and where."""

    value: Value
    at: int


@dataclass(frozen=True)
class Compare:
    column: str
    op: Operator
    given: Given
    at: int


@dataclass(frozen=True)
class In:
    column: str
    given: tuple[Given, ...]
    at: int


@dataclass(frozen=True)
class Contains:
    column: str
    given: Given
    at: int


@dataclass(frozen=True)
class IsNull:
    column: str
    at: int


@dataclass(frozen=True)
class Not:
    part: Tree


@dataclass(frozen=True)
class Together:
    how: Literal["and", "or"]
    parts: tuple[Tree, ...]


Leaf = Compare | In | Contains | IsNull
Tree = Leaf | Not | Together


def leaves(tree: Tree) -> list[Leaf]:
    match tree:
        case Not(part):
            return leaves(part)
        case Together(_, parts):
            return [leaf for part in parts for leaf in leaves(part)]
        case _:
            return [tree]
