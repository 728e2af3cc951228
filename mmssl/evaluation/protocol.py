"""What a protocol is to the house: the contract of `mmssl/protocols/NAME.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mmssl import figures
from mmssl.evaluation import rows

if TYPE_CHECKING:
    import pyarrow as pa


class Subset(NamedTuple):
    """Which rows of a store are meant, and where their truth lies; the protocol then chooses among them."""

    split: str = "test"
    where: str | None = None
    labels: Path | None = None
    """A table with the truth, where the store has none."""
    column: str | None = None
    """A column with lists of findings, where there is none for each label."""


class Judged(NamedTuple):
    """What a protocol says of models."""

    result: dict[str, Any]
    """Ready for JSON: `headline` (the number it is known by), `labels`, `means`, `counts`, `notes`, `warnings` ..."""
    predictions: "pa.Table"
    """row, study, label, probability, truth."""
    curves: list[figures.Curve]


class EvaluationProtocol(Protocol):
    """`mmssl/protocols/NAME.py`, class `Protocol`.

    Its constructor's keyword-only arguments are what a user may change; with another value than the default it is no
    longer the published protocol, which the result says.
    """

    def definition(self) -> dict[str, Any]:
        """All that fixes the result but the rows and the models, readable; its hash is the protocol's."""
        ...

    def choose(self, store: rows.Store, subset: Subset) -> Any:
        """The rows to judge by and their truth, before any model is loaded.

        Raises:
            WrongUse: with everything that the store lacks.
        """
        ...

    def judge(self, embedders: Sequence[rows.Embedder], store: rows.Store, case: Any) -> Judged:
        """What the models say of the rows that `choose` chose."""
        ...
