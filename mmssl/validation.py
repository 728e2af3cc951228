"""What a run looks at while it trains: retrieval, nearest neighbours, and whether the embeddings collapse."""

from pathlib import Path
from typing import Any

import numpy as np

from mmssl import console, metrics
from mmssl.data.batches import TrainingRows
from mmssl.data.store import Store
from mmssl.embed import Embedder
from mmssl.errors import WrongUse, meant
from mmssl.model import Network
from mmssl.settings import Pretrain

COLLAPSED = 2.0
"""An effective rank below this means that embeddings lie on a line or in a point."""
FEW = 16
"""Embeddings; of fewer the rank cannot say much."""
NEIGHBOURS = 20
HITS = 10


class Validator:
    """Measures the network as it is now on the first rows of the validation split (which lie in hash order)."""

    def __init__(self, settings: Pretrain, store: Store, network: Network) -> None:
        self.settings, self.store, self.network = settings, store, network
        self.embedder = Embedder(network, info={}, path=Path("this run"), hash="")
        self.knn = settings.validation.knn
        if self.knn is not None and self.knn not in store.columns:
            raise WrongUse(
                f"validation.knn: the store has no column {self.knn!r}{meant(self.knn, store.columns)}; "
                f"it has {', '.join(store.columns)}"
            )
        columns = ["text", *([self.knn] if self.knn else [])]
        table = store.select(split="validation", where=settings.data.where, columns=columns)
        self.table = table.slice(0, settings.validation.rows)

    def __call__(self, rows: TrainingRows) -> dict[str, Any]:
        """`R@10` and its two directions, `knn`, `rank_image`, `rank_text`; what cannot be measured is left out.

        Puts the network into evaluation mode; the loop puts it back.
        """
        self.network.eval()
        found: dict[str, Any] = {"rows": len(self.table)}
        some = len(self.table) > 1
        looked_at = self.table.column("row").to_pylist() if some else rows.row[:512].tolist()
        image = self.embedder.encode_rows(self.store, looked_at)
        found["rank_image"] = metrics.effective_rank(image)
        if self.embedder.has_text:
            found |= self.retrieval(image) if some else self.rank_of_texts(rows.text[:512])
        if some and self.knn and (share := self.neighbours(image, rows)) is not None:
            found["knn"] = share
        told = {"rank_image": len(image), "rank_text": found.pop("texts", 0)}
        collapsed = [name for name, count in told.items() if count >= FEW and found.get(name, COLLAPSED) < COLLAPSED]
        if collapsed:
            found["warning"] = "collapse"
            console.warn(
                f"{' and '.join(collapsed)} below {COLLAPSED:g}: the embeddings are collapsing onto one "
                "another; lower optim.lr, lengthen optim.warmup, or raise data.batch_size"
            )
        return found

    def retrieval(self, image: np.ndarray) -> dict[str, float]:
        """R@10 over the distinct texts, as `mmssl retrieve` has it: a hit is an image whose own text is that one.

        It is left out where there are too few images or texts for ten hits to leave any out.
        """
        texts = [(text or "").strip() for text in self.table.column("text").to_pylist()]
        told = [place for place, text in enumerate(texts) if text]
        distinct = list(dict.fromkeys(texts[place] for place in told))
        if len(distinct) < 2:
            return {}
        text = self.embedder.encode_text(distinct)
        rank = {"rank_text": metrics.effective_rank(text), "texts": len(distinct)}
        if min(len(distinct), len(told)) <= HITS:
            return rank
        similarity = text @ image[told].T  # [Q, G]
        right = np.array([[texts[place] == own for place in told] for own in distinct])
        forward = float(np.mean(metrics.recall_at_k(similarity, right, HITS)))
        back = float(np.mean(metrics.recall_at_k(similarity.T, right.T, HITS)))
        return {
            "R@10": (forward + back) / 2,
            "text_to_image_R@10": forward,
            "image_to_text_R@10": back,
            **rank,
        }

    def rank_of_texts(self, texts: list[str]) -> dict[str, float]:
        """Of the training texts, where there are none to validate on."""
        distinct = list(dict.fromkeys(text for text in texts if text))
        if len(distinct) < 2:
            return {}
        return {"rank_text": metrics.effective_rank(self.embedder.encode_text(distinct)), "texts": len(distinct)}

    def neighbours(self, image: np.ndarray, rows: TrainingRows) -> float | None:
        """Share of validation rows whose value the majority of the nearest training images has; None: too few known."""
        assert self.knn is not None, "called only where a column is named"
        some = rows.row[: self.settings.validation.rows]
        values = self.store.select(columns=[self.knn]).column(self.knn).to_pylist()
        known = [int(row) for row in some if values[row] is not None]
        if len(known) < NEIGHBOURS:
            return None
        train = self.embedder.encode_rows(self.store, known)
        names = np.array([_name(values[row]) for row in known])
        right = []
        nearest = np.argsort(-image @ train.T, axis=1, kind="stable")[:, :NEIGHBOURS]
        for own, places in zip(self.table.column(self.knn).to_pylist(), nearest, strict=True):
            if own is not None:
                found, counts = np.unique(names[places], return_counts=True)
                right.append(found[counts.argmax()] == _name(own))
        return float(np.mean(right)) if right else None


def _name(value: Any) -> str:
    return "|".join(sorted(map(str, value))) if isinstance(value, list) else str(value)
