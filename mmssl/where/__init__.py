"""The filter language: `view in ('PA', 'AP') and age > 60`, the same rows in every place that takes a filter.

    comparison   = != < <= > >=  (also == and <>), in (...), not in (...), is null, is not null
    lists        flags contains 'blank'
    together     and, or, not, parentheses
    values       'text' or "text" (a quote inside is doubled), 12.5, true, false, '2024-01-31', '2024-01-31 10:30'
    columns      age, label_Edema; in backticks where the name is no plain word: `label_Pleural Effusion`

Missing values behave as in SQL: a comparison with nothing is neither true nor false, so neither `age > 60` nor
`not age > 60` takes a row without an age; `is null` does. NaN is a missing value. Text compares by code point,
a date without a time is its midnight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmssl import errors
from mmssl.where import engines, reading
from mmssl.where.columns import kind_of, mismatches
from mmssl.where.engines import OWN as OWN
from mmssl.where.engines import given_name as given_name
from mmssl.where.engines import sql_name as sql_name
from mmssl.where.tree import Tree, leaves

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc


def parse(text: str) -> Where:
    """Reads a filter; what is asked of which column is checked later, by `Where.check`.

    Raises:
        WrongUse: with the place where it cannot be read.
    """
    return Where(text, reading.read(text))


@dataclass
class Where:
    """A filter that could be read; `check` binds it to the columns of a table, which the other two need.

    >>> parse("age > 60 and sex = 'F'").columns()
    ['age', 'sex']
    """

    text: str
    tree: Tree
    types: Mapping[str, pa.DataType] | None = None
    """Of the columns it names; None until checked."""

    def columns(self) -> list[str]:
        """The columns it reads, each once."""
        return list(dict.fromkeys(leaf.column for leaf in leaves(self.tree)))

    def check(self, schema: pa.Schema) -> Where:
        """This filter itself, from now on bound to a table's columns.

        Raises:
            WrongUse: with every unknown column and every value of the wrong kind.
        """
        kinds = {field.name: kind_of(field.type) for field in schema}
        usable = [name for name, kind in kinds.items() if kind != "other"]
        found: dict[str, int] = {}
        for leaf in leaves(self.tree):
            if leaf.column not in kinds:
                near = errors.meant(leaf.column, usable)
                found.setdefault(f"there is no column {leaf.column!r}{near}", leaf.at)
            else:
                for problem, at in mismatches(leaf, schema.field(leaf.column).type):
                    found.setdefault(problem, at)
        if found:
            lines = [*reading.shown(self.text, list(found.values())), *found]
            if any(leaf.column not in kinds for leaf in leaves(self.tree)):
                lines.append(f"columns are {', '.join(usable)}")
            count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
            raise errors.WrongUse("\n  ".join([f"{count} in the filter", *lines]))
        self.types = {name: schema.field(name).type for name in self.columns()}
        return self

    def expression(self) -> pc.Expression:
        """For pyarrow: `table.filter(...)`; in Parquet scans only where no column read holds NaN.

        A scan decides by statistics which row groups to read, and Parquet's statistics pass over NaN.
        """
        return engines.expression(self.tree, self._types())

    def sql(self) -> str:
        """For LanceDB (DataFusion); its columns are named by `sql_name`, its numbers hold null instead of NaN."""
        return engines.sql(self.tree, self._types())

    def _types(self) -> Mapping[str, pa.DataType]:
        assert self.types is not None, "bind the filter to a table first: parse(text).check(schema)"
        return self.types
