"""What an index holds of a store that has changed since: pictures that need not be embedded anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

PICTURE = ("pixel_hash", "modality", "width", "height")
"""Columns that decide what an encoder sees of an input."""
KNOWN = ("id", "row_hash", *PICTURE)


def lancedb() -> Any:
    """The library, quiet."""
    os.environ.setdefault("LANCEDB_LOG", "error")  # else it warns on the screen that a new table does not exist yet
    import lancedb as library

    return library


@dataclass(frozen=True)
class Changes:
    """How the rows of an index become those of a store: all of them are added, replaced or kept."""

    added: int
    replaced: int
    removed: int
    kept: int
    embedded: int
    """Of the added and the replaced: those whose picture is new."""

    def said(self) -> str:
        return (
            f"{self.added} rows added, {self.replaced} replaced, {self.removed} removed, {self.kept} kept; "
            f"{self.embedded} pictures embedded"
        )


class Held:
    """Vectors and thumbnails of an index's rows, for the rows of a store that show the same.

    A row is held where id and `row_hash` are the same: all that it says. Its picture is held too where only the text
    has changed: it is of the same input, with the same pixels, made to the same size, of the same modality.
    """

    def __init__(self, table: Any, num_rows: int, rows: pa.Table) -> None:
        """Looks up which rows of a store are there.

        Args:
            table: the LanceDB table of an index.
            num_rows: of that table.
            rows: of the store, that are to be in the index.
        """
        self._table = table
        there = table.search().select(list(KNOWN)).with_row_id(True).limit(num_rows).to_arrow()
        before = {line["id"]: line for line in there.to_pylist()}
        self._place: dict[str, int] = {}
        added = kept = 0
        for now in rows.select(list(KNOWN)).to_pylist():
            then = before.pop(now["id"], None)
            if then is None:
                added += 1
                continue
            same = now["row_hash"] is not None and now["row_hash"] == then["row_hash"]
            kept += same
            if same or (now["pixel_hash"] is not None and all(now[name] == then[name] for name in PICTURE)):
                self._place[now["id"]] = then["_rowid"]
        self.changes = Changes(added, len(rows) - added - kept, len(before), kept, len(rows) - len(self._place))

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._place

    def take(self, row_ids: Sequence[str]) -> dict[str, tuple[Any, bytes]]:
        """{row id: vector [D] float32, thumbnail} of rows that are held."""
        if not row_ids:
            return {}
        found = self._table.take_row_ids([self._place[one] for one in row_ids])
        table = found.select(["id", "vector", "thumbnail"]).to_arrow()  # in an order of its own
        vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        thumbnails = table["thumbnail"].to_pylist()
        return dict(zip(table["id"].to_pylist(), zip(vectors, thumbnails, strict=True), strict=True))
