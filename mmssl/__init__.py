"""mmssl: vision-language pre-training on clinical images and reports.

Every command is a function of the same name here (`mmssl.prepare`, `mmssl.pretrain`, ...). A name is imported when it
is first asked for, so `import mmssl` loads no heavy library.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

HOMES = {
    "CannotDo": ("mmssl.errors", "CannotDo"),
    "Embedder": ("mmssl.embed", "Embedder"),
    "Store": ("mmssl.data.store", "Store"),
    "WrongUse": ("mmssl.errors", "WrongUse"),
    "calibrate": ("mmssl.zeroshot", "calibrate"),
    "demo": ("mmssl.jobs.demo", "demo"),
    "drift": ("mmssl.drift.job", "drift"),
    "evaluate": ("mmssl.evaluate", "evaluate"),
    "export": ("mmssl.export", "export"),
    "index": ("mmssl.search.index", "index"),
    "load": ("mmssl.embed", "load"),
    "overlap": ("mmssl.overlap.job", "overlap"),
    "phantom": ("mmssl.phantoms.hospital", "write"),
    "prepare": ("mmssl.prepare.job", "prepare"),
    "pretrain": ("mmssl.train", "pretrain"),
    "reports": ("mmssl.reports", "reports"),
    "retrieve": ("mmssl.retrieval", "retrieve"),
    "search": ("mmssl.search.query", "search"),
    "zeroshot": ("mmssl.zeroshot", "zeroshot"),
}
"""Where each public name lives: its module, and its name there."""

__all__ = [
    "CannotDo",
    "Embedder",
    "Store",
    "WrongUse",
    "__version__",
    "calibrate",
    "demo",
    "drift",
    "evaluate",
    "export",
    "index",
    "load",
    "overlap",
    "phantom",
    "prepare",
    "pretrain",
    "reports",
    "retrieve",
    "search",
    "zeroshot",
]

if TYPE_CHECKING:
    import inspect

    from mmssl.data.store import Store as Store
    from mmssl.drift.job import drift as drift
    from mmssl.embed import Embedder as Embedder
    from mmssl.embed import load as load
    from mmssl.errors import CannotDo as CannotDo
    from mmssl.errors import WrongUse as WrongUse
    from mmssl.evaluate import evaluate as evaluate
    from mmssl.export import export as export
    from mmssl.jobs.demo import demo as demo
    from mmssl.overlap.job import overlap as overlap
    from mmssl.phantoms.hospital import write as phantom
    from mmssl.prepare.job import prepare as prepare
    from mmssl.reports import reports as reports
    from mmssl.retrieval import retrieve as retrieve
    from mmssl.search.index import index as index
    from mmssl.search.query import search as search
    from mmssl.train import pretrain as pretrain
    from mmssl.zeroshot import calibrate as calibrate
    from mmssl.zeroshot import zeroshot as zeroshot


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'mmssl' has no attribute {name!r}")
    if f"mmssl.{name}" in SHARED:
        return importlib.import_module(f"mmssl.{name}")
    return _home(name)


def _home(name: str) -> Any:
    module, attribute = HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})


SHARED = {
    "mmssl.drift", "mmssl.evaluate", "mmssl.export", "mmssl.overlap", "mmssl.prepare", "mmssl.reports",
    "mmssl.search", "mmssl.zeroshot",
}  # fmt: skip
"""Modules that have the name of a public function."""


class _Job(ModuleType):
    """A module that is called as the function of its name.

    Python binds a submodule to the package under its own name as soon as anything imports it, which would hide a
    function of that name: `mmssl.zeroshot(...)` would work or not by what was imported before. So it is both.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _home(self.__name__.removeprefix("mmssl."))(*args, **kwargs)

    @property
    def __wrapped__(self) -> Any:
        return _home(self.__name__.removeprefix("mmssl."))

    @property
    def __signature__(self) -> inspect.Signature:
        import inspect

        return inspect.signature(self.__wrapped__)

    @property
    def __doc__(self) -> str:  # pyright: ignore
        """What `help` shows of a module, which has no place for a signature."""
        import inspect
        import textwrap

        call = f"{self.__wrapped__.__name__}{self.__signature__}"
        return f"{inspect.getdoc(self.__wrapped__)}\n\n{textwrap.fill(call, 100, subsequent_indent='    ')}"


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and value.__name__ in SHARED:
            value.__class__ = _Job
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
