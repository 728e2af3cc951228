"""A store in memory and a model whose right answer is known, for tests of evaluation."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mmssl import where as filters


class MemoryStore:
    """The rows of a store without its pictures: columns as lists, `split` and `id` made where they are not given."""

    def __init__(self, columns, path="memory.store"):
        count = len(next(iter(columns.values())))
        given = {
            "id": [f"{i:016x}" for i in range(count)],
            "patient_id": [f"p{i}" for i in range(count)],
            "study_id": [f"s{i}" for i in range(count)],
            "split": ["test"] * count,
        } | columns
        self.table = pa.table(given)
        self.path, self.content_hash = Path(path), "c0ffee"

    @property
    def columns(self):
        return [*self.table.column_names, "image"]

    def select(self, *, split=None, where=None, columns=None):
        table = self.table.append_column("row", pa.array(range(len(self.table)), pa.int64()))
        keep = [split in (None, "all", one) for one in table["split"].to_pylist()]
        table = table.filter(pa.array(keep))
        if where:
            table = table.filter(filters.parse(where).check(table.schema).expression())
        wanted = table.column_names if columns is None else columns
        return table.select(list(dict.fromkeys(["row", "id", *wanted])))


class Oracle:
    """Gives every row and every text the vector it is told to; records how many rows were asked for at a time."""

    def __init__(self, images, texts, *, scale=10.0, path="oracle", context=10_000, has_text=True):
        self.images, self.texts = unit(np.asarray(images, float)), texts
        self.scale, self.path, self.context, self.has_text = scale, Path(path), context, has_text
        self.hash, self.asked, self.bias = f"hash of {path}", [], 0.0

    @property
    def dim(self):
        return self.images.shape[1]

    def encode_rows(self, store, rows):
        self.asked.append(len(rows))
        return self.images[list(rows)].astype(np.float32)

    def encode_text(self, texts):
        return unit(np.stack([np.asarray(self.texts[text], float) for text in texts])).astype(np.float32)

    def truncated(self, texts):
        return [len(text) > self.context for text in texts]


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
