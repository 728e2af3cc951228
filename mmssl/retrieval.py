"""How well texts find their images, and images their texts.

Primary R@k: queries are the distinct texts, and a hit is an image whose own text is identical (white space around it
apart). Second, R@k_study: an image of the same study counts too. The other way round likewise. Shape letters: N images
with a text, T distinct texts, Q queries, G gallery, L labels, K bootstrap draws.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import mmssl
from mmssl import console, files, metrics
from mmssl.errors import WrongUse
from mmssl.evaluation import rows, truth
from mmssl.overlap import guard

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

KS = (1, 5, 10)
CELLS = 4_000_000
"""Similarities held at once."""
DECIMALS = 6
"""Similarities nearer to each other are ties: identical images must not be told apart by rounding."""
FEWEST = 5
"""A label needs so many queries to have a precision."""
MOST_VALUES = 50
"""A column of texts with more values than this holds no labels."""


def retrieve(
    checkpoint: Path | str,
    store: Path | str,
    *,
    split: str = "test",
    where: str | None = None,
    overlap: guard.Asked = "refuse",
    out: Path | str | None = None,
) -> dict[str, Any]:
    """Recall and precision of a split's texts against its images, both ways, with intervals over patients.

    Ties stand in random order, so a model that tells nothing apart scores `chance_R@10`. Images without a text are in
    neither the queries nor the gallery, and counted.

    Args:
        checkpoint: its folder, or a run's.
        store: as `mmssl prepare` makes it.
        split: train, validation, test or all.
        where: of the split, only such rows.
        overlap: what to do where the checkpoint was trained on patients or images of these rows; `allow` goes on, and
            says in the result how many.
        out: folder for retrieval.json.

    Returns:
        What retrieval.json holds: `text_to_image` and `image_to_text` with `R@10`, `R@10_ci`, `R@10_study`,
        `chance_R@10`, `queries`, `gallery`, `precision_at_k` by label ...; `hashes`, `overlap`, `warnings`.

    Raises:
        WrongUse: for a split without texts, a checkpoint of images alone or trained on these rows, an `out` that is a
            file.
        CannotDo: for a checkpoint or store that cannot be read.
    """
    from mmssl import embed
    from mmssl.data.store import Store

    if out is not None:
        files.check_folder_to_write(Path(out), option="--out")
    opened = Store(Path(store))
    seen = guard.look([Path(checkpoint)], opened, split=split, where=where, overlap=overlap)
    result = run(embed.load(Path(checkpoint)), opened, split=split, where=where)
    guard.add(result, seen)
    for warning in result["warnings"]:
        console.warn(warning)
    show(result)
    if out is not None:
        files.write_json(Path(out) / "retrieval.json", result)
        console.say(f"written to {out}: retrieval.json")
    return result


def run(embedder: rows.Embedder, store: rows.Store, *, split: str = "test", where: str | None = None) -> dict[str, Any]:
    """`retrieve` on a model in memory; writes and shows nothing."""
    rows.need_text(embedder, "match images and texts")
    labels = [name for name in store.columns if name.startswith("label_")]
    everything = rows.choose(store, split=split, where=where, columns=["text", *labels])
    pairs = pairs_in(everything)
    if not pairs.texts:
        raise WrongUse(
            f"none of the {len(everything)} rows in the split {split!r}{f' where {where}' if where else ''} has a "
            "text: there is nothing to match images with"
        )
    cut = [text for text, long in zip(pairs.texts, embedder.truncated(pairs.texts), strict=True) if long]
    warnings = []
    if cut:
        warnings.append(
            f"{len(cut)} of {len(pairs.texts)} texts are longer than {embedder.path} reads and are cut, the first "
            f"{_short(cut[0])!r}"
        )
    image = np.concatenate([vectors for _, vectors in rows.embedded(embedder, store, pairs.table["row"].to_pylist())])
    text = encode(embedder, pairs.texts)
    label_names, labelled, skipped = labels_of(pairs.table, labels)
    warnings += skipped
    of_text = text_labels(labelled, pairs)
    ways = {
        "text_to_image": Way(text, image, pairs.images_of_text, pairs.images_of_texts_studies, of_text, labelled),
        "image_to_text": Way(image, text, [np.array([t]) for t in pairs.text], pairs.texts_of_study, labelled, of_text),
    }
    weights = {"text_to_image": pairs.weight_texts, "image_to_text": lambda w: w}
    people = rows.patients(pairs.table)
    return {
        "mmssl": mmssl.__version__,
        "split": split,
        "where": where,
        "checkpoint": str(embedder.path),
        "store": str(store.path),
        "hashes": {
            "checkpoint": embedder.hash,
            "prompts": None,
            "split": rows.fingerprint(everything),
            "store": store.content_hash,
        },
        "images": len(everything),
        "without_text": len(everything) - len(pairs.table),
        "patients": len(set(people)),
        "texts_cut": len(cut),
        "bootstrap": {"draws": metrics.DRAWS, "over": "patients", "level": 0.95, "seed": metrics.SEED},
        **{
            name: judged(way, people, weights[name], label_names, title=name.replace("_", " "))
            for name, way in ways.items()
        },
        "warnings": warnings,
    }


class Pairs:
    """The images that have a text, and which text is whose."""

    def __init__(self, table: "pa.Table", texts: list[str], text: Numbers) -> None:
        self.table, self.texts, self.text = table, texts, text
        place: dict[str, int] = {}
        self.study = np.array([place.setdefault(name, len(place)) for name in rows.study_names(table)], np.int64)  # [N]
        self.images_of_text = _lists(self.text, len(texts))
        images_of_study = _lists(self.study, len(place))
        texts_of_study = [np.unique(self.text[images]) for images in images_of_study]
        self.texts_of_study = [texts_of_study[study] for study in self.study]
        """For each image, the texts of its study."""
        self.images_of_texts_studies = [
            np.concatenate([images_of_study[study] for study in np.unique(self.study[images])])
            for images in self.images_of_text
        ]
        """For each text, the images of every study that it belongs to."""

    def weight_texts(self, weights: Floats) -> Floats:
        """How often a text counts, the mean over its images: [K, N] -> [K, T]."""
        order = np.argsort(self.text, kind="stable")
        starts = np.searchsorted(self.text[order], np.arange(len(self.texts)))
        return np.add.reduceat(weights[:, order], starts, axis=1) / np.bincount(self.text, minlength=len(self.texts))


def pairs_in(table: "pa.Table") -> Pairs:
    """The rows of a table that have a text; texts are the same when they are identical but for white space around."""
    own = [(text or "").strip() for text in table["text"].to_pylist()]
    place: dict[str, int] = {}
    number = np.array([place.setdefault(text, len(place)) for text in own if text], np.int64)
    there = np.array([i for i, text in enumerate(own) if text], np.int64)
    return Pairs(table.take(there), list(place), number)


class Way(NamedTuple):
    """One direction of retrieval."""

    queries: NDArray[np.float32]  # [Q, D]
    gallery: NDArray[np.float32]  # [G, D]
    right: Sequence[Numbers]
    """For each query, its right answers in the gallery."""
    right_study: Sequence[Numbers]
    query_labels: Floats  # [Q, L] of 1, 0, NaN
    gallery_labels: Floats  # [G, L]


def judged(
    way: Way, people: Sequence[str], weight: metrics.Statistic, labels: Sequence[str], *, title: str
) -> dict[str, Any]:
    """R@k by both protocols, chance, and precision by label, with intervals.

    `weight` takes weights of images [K, N] to weights of queries [K, Q].
    """
    queries, gallery = len(way.queries), len(way.gallery)
    kinds = {"": way.right, "_study": way.right_study}
    hits = {f"R@{k}{kind}": np.empty(queries) for kind in kinds for k in KS}
    precise = np.empty((queries, len(KS), len(labels)))
    block = max(1, CELLS // gallery)
    with console.progress(title, queries, "queries") as advance:
        for start in range(0, queries, block):
            here = slice(start, min(start + block, queries))
            similarity = np.round(way.queries[here] @ way.gallery.T, DECIMALS)
            for kind, right in kinds.items():
                mask = _mask(right[here], gallery)
                for k, values in zip(KS, metrics.recalls_at(similarity, mask, KS).T, strict=True):
                    hits[f"R@{k}{kind}"][here] = values
            if labels:
                precise[here] = metrics.precisions_at(similarity, way.gallery_labels, KS)
            advance(here.stop - here.start)
    found: dict[str, Any] = {"queries": queries, "gallery": gallery}
    names, values = list(hits), np.stack(list(hits.values()), axis=1)
    drawn = _draws(lambda w: _weighted(weight(w), values), people)
    for j, name in enumerate(names):
        found[name] = float(values[:, j].mean())
        found[f"{name}_ci"] = None if drawn is None else metrics.interval(drawn[:, j])
    for kind, right in kinds.items():
        count = np.array([len(one) for one in right])
        for k in KS:
            found[f"chance_R@{k}{kind}"] = float(metrics.chance_at_k(count, gallery, k).mean())
    found["precision_at_k"] = _precision(way, people, weight, labels, precise)
    return found


def _precision(
    way: Way, people: Sequence[str], weight: metrics.Statistic, labels: Sequence[str], precise: Floats
) -> dict[str, Any]:
    """For each label, over the queries that have it: which share of the first k hits has it as well."""
    asked = way.query_labels == 1  # [Q, L]
    enough = [i for i in range(len(labels)) if asked[:, i].sum() >= FEWEST]
    values = {i: precise[asked[:, i], :, i] for i in enough}  # [q, 3] each

    def of_all(weights: Floats) -> Floats:  # [K, N] -> [K, L, 3]
        of_queries = weight(weights)
        found = np.full((len(weights), len(labels), len(KS)), np.nan)
        for i, one in values.items():
            found[:, i] = _weighted(of_queries[:, asked[:, i]], one)
        return found

    drawn = _draws(of_all, people) if enough else None
    found: dict[str, Any] = {}
    for i, name in enumerate(labels):
        count = int(asked[:, i].sum())
        entry: dict[str, Any] = {"queries": count, "prevalence": _mean(way.gallery_labels[:, i])}
        for j, k in enumerate(KS):
            entry[f"P@{k}"] = _mean(values[i][:, j]) if i in values else None
            entry[f"P@{k}_ci"] = None if drawn is None or i not in values else metrics.interval(drawn[:, i, j])
        entry["reason"] = None if i in values else f"{count} queries have it, {FEWEST} are needed"
        found[name] = entry
    return found


def labels_of(table: "pa.Table", columns: Sequence[str]) -> tuple[list[str], Floats, list[str]]:
    """The labels in label columns: their names, 1, 0 or NaN for each image [N, L], and columns that hold none.

    A column of lists, or of texts, has a label for each of its names; a column of 1 | 0 | -1 | null is one label.
    """
    names: list[str] = []
    found: list[Floats] = []
    skipped: list[str] = []
    for column in columns:
        cells = table[column].to_pylist()
        try:
            one = truth.from_numbers(cells, column)
        except WrongUse:
            seen = sorted({name for cell in cells for name in truth.names_in(cell) or []})
            if len(seen) > MOST_VALUES:
                skipped.append(f"{column} has {len(seen)} different values and is not taken for labels")
                continue
            names += seen
            found.append(truth.from_lists(cells, seen))
        else:
            if not np.isnan(one).all():
                names.append(column.removeprefix("label_"))
                found.append(truth.decided(one, "ignore")[:, None])
    return names, np.concatenate(found, axis=1) if found else np.empty((len(table), 0)), skipped


def text_labels(labelled: Floats, pairs: Pairs) -> Floats:
    """The labels of texts, [T, L]: 1 where at least half of a text's images have it, NaN where none is known."""
    known = ~np.isnan(labelled)
    total = np.zeros((len(pairs.texts), labelled.shape[1]))
    count = np.zeros_like(total)
    np.add.at(total, pairs.text, np.where(known, labelled, 0.0))
    np.add.at(count, pairs.text, known)
    share = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return np.where(np.isnan(share), np.nan, share >= 0.5)


def encode(embedder: rows.Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors of texts in chunks, with progress; [T, D]."""
    found = []
    with console.progress("texts", len(texts), "texts") as advance:
        for start in range(0, len(texts), rows.CHUNK):
            some = texts[start : start + rows.CHUNK]
            found.append(np.asarray(embedder.encode_text(some), np.float32))
            advance(len(some))
    return np.concatenate(found)


def show(result: dict[str, Any]) -> None:
    """The results as tables."""
    lines = []
    for name, said in (("text_to_image", "image for a text"), ("image_to_text", "text for an image")):
        way = result[name]
        for kind, how in (("", "own text"), ("_study", "own study")):
            values = [way[f"R@{k}{kind}"] for k in KS]
            span = way[f"R@10{kind}_ci"]
            shown = None if span is None else f"{span[0]:.3f} to {span[1]:.3f}"
            lines.append([said, how, *values, shown, way[f"chance_R@10{kind}"], way["queries"], way["gallery"]])
    columns = ["find", "right is", *(f"R@{k}" for k in KS), "95 % of R@10", "chance R@10", "queries", "gallery"]
    console.table(f"retrieval, {result['split']}: {result['patients']} patients", columns, lines, is_result=True)
    by_label = result["text_to_image"]["precision_at_k"]
    enough = {name: entry for name, entry in by_label.items() if entry["reason"] is None}
    if enough:
        lines = [[name, e["queries"], *(e[f"P@{k}"] for k in KS), e["prevalence"]] for name, e in enough.items()]
        columns = ["label", "queries", *(f"P@{k}" for k in KS), "prevalence"]
        console.table(
            "of the first k images for a text with the label, how many have it", columns, lines, is_result=True
        )
    if result["without_text"]:
        console.say(f"{result['without_text']} of {result['images']} images have no text and took no part")


def _draws(statistic: metrics.Statistic, people: Sequence[str]) -> Floats | None:
    return metrics.bootstrap(statistic, people) if len(set(people)) > 1 else None


def _weighted(weights: Floats, values: Floats) -> Floats:
    """Means of values [Q, M] under weights [K, Q], NaN left out: [K, M]; NaN where nothing weighs."""
    known = ~np.isnan(values)
    total, of = weights @ np.where(known, values, 0.0), weights @ known
    return np.divide(total, of, out=np.full_like(total, np.nan), where=of > 0)


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _mask(right: Sequence[Numbers], gallery: int) -> NDArray[np.bool_]:
    mask = np.zeros((len(right), gallery), bool)
    mask[np.repeat(np.arange(len(right)), [len(one) for one in right]), np.concatenate(right)] = True
    return mask


def _lists(number: Numbers, count: int) -> list[Numbers]:
    """For each of `count` numbers, where it stands."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(number.tolist()):
        places[one].append(place)
    return [np.array(places[one], np.int64) for one in range(count)]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
