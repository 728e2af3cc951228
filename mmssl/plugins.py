"""Parts chosen by name: the file `mmssl/KIND/NAME.py` is the part NAME, its constructor's signature its schema."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

from mmssl.errors import WrongUse, meant

CLASS = {
    "encoders": "Encoder",
    "objectives": "Objective",
    "sources": "Source",
    "exports": "Export",
    "protocols": "Protocol",
}
"""What the class of each kind of part is called in its file."""

GIVEN = ("files",)
"""Keyword arguments that the house gives, not the config: a text tower's saved files."""


def names(kind: str) -> list[str]:
    """Every built-in part of a kind, found without importing any of them."""
    return sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent / kind)]))


def find(kind: str, name: str, *, trust: list[str] | None = None) -> type:
    """The class a config names; a dotted path (`my_lab.losses`) finds one outside this package.

    A dotted path is code, so where the name comes from a file of somebody else (a checkpoint), `trust` lists the
    modules that may be imported; None means that the user wrote the name.
    """
    if "." in name:
        if trust is not None and name not in trust:
            raise WrongUse(
                f"{name!r} is code outside mmssl; load it with trust=[{name!r}] if you know where this comes from"
            )
        module = importlib.import_module(name)
    elif name in names(kind):
        module = importlib.import_module(f"mmssl.{kind}.{name}")
    else:
        known = names(kind)
        raise WrongUse(f"no such part in {kind}: {name!r}{meant(name, known)}; there are {', '.join(known)}")
    return getattr(module, CLASS[kind])


def options(part: type) -> dict[str, tuple[Any, Any]]:
    """The options of a part as {name: (type, default)}; `...` stands for no default."""
    signature = inspect.signature(part, eval_str=True)
    return {
        p.name: (p.annotation, ... if p.default is p.empty else p.default)
        for p in signature.parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in GIVEN
    }


def takes(part: type, argument: str) -> bool:
    """Whether a part's constructor takes an argument that the house gives: `files`, or an objective's `width`."""
    return argument in inspect.signature(part).parameters
