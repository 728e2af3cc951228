"""Asking an index: in words, with an image, or both; filtered, and without a patient's own images."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmssl import console, page
from mmssl import where as filters
from mmssl.errors import CannotDo, WrongUse
from mmssl.files import check_file_to_write, whole_file
from mmssl.search.index import Encodes, Index, open_index

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MOST = 1000
"""Hits that can be asked for."""
MOST_VALUES = 20
"""Values of a column that a remark names."""
FIRST = ("id", "score", "study_id", "patient_id", "text")
Hit = dict[str, Any]


def search(
    index: Path | str,
    query: str | None = None,
    *,
    k: int = 10,
    where: str | None = None,
    image: Path | str | Image.Image | None = None,
    not_patient: str | Sequence[str] | None = None,
    html: Path | str | None = None,
    checkpoint: Path | str | None = None,
) -> list[Hit]:
    """The images that match best, best first.

    Args:
        index: as `mmssl index` makes it.
        query: what to look for, in words.
        image: an image to look for more of (PNG, JPEG, DICOM); with `query` too, halfway between both.
        k: how many hits, at most 1000.
        where: a filter over the index's columns, `sex = 'F' and age > 60`.
        not_patient: patients whose images are left out; blanks around a name do not count.
        html: file for the hits as pictures.
        checkpoint: where the index's checkpoint is now, if it was moved.

    Returns:
        For each hit id, score (cosine similarity, -1 to 1), study_id, patient_id, text and all other columns of the
        store; equal scores by id.

    Raises:
        WrongUse: for an empty query, words asked of images alone, an unknown column, or another checkpoint.
        CannotDo: where the index is not whole, or its checkpoint is gone.
    """
    if html is not None:
        check_file_to_write(Path(html), option="--html")
    opened = open_index(Path(index))
    _check(opened, query, image, k)
    condition = _condition(opened, where, _patients(not_patient))
    embedder = _embedder(opened, checkpoint)
    hits, thumbnails = find(opened, _vector(embedder, query, image), k=k, condition=condition)
    _remark(opened, hits, where)
    if html is not None:
        asked = Asked(query, image, where, _patients(not_patient))
        with whole_file(Path(html)) as part:
            part.write_text(contact_sheet(opened, asked, hits, thumbnails), encoding="utf-8")
        console.say(f"the hits as pictures: {html}")
    return hits


# ---- what is asked -------------------------------------------------------------------------------------------------


def _check(index: Index, query: str | None, image: Path | str | Image.Image | None, k: int) -> None:
    problems = []
    if image is None and not (query or "").strip():
        problems.append('the query is empty; say what to look for, "left pleural effusion", or give an image')
    elif query is not None and not query.strip():
        problems.append("the query is empty; leave it out to search by the image alone")
    elif query is not None and index.info["kind"] == "image":
        problems.append(
            f"{index.path} cannot be asked in words: its checkpoint learnt from images alone and has no text tower; "
            "search with an image (--image FILE), or index the store with a checkpoint that learnt from reports"
        )
    if isinstance(image, (str, Path)) and not Path(image).is_file():
        is_folder = Path(image).is_dir()
        problems.append(f"{image} is a folder; give one image" if is_folder else f"there is no image {image}")
    if not 1 <= k <= MOST:
        problems.append(f"{k} hits cannot be asked for, only 1 to {MOST}")
    if problems:
        raise WrongUse("\n".join(problems))


def _patients(given: str | Sequence[str] | None) -> list[str]:
    return [patient.strip() for patient in ([given] if isinstance(given, str) else given or [])]


def _condition(index: Index, where: str | None, patients: list[str]) -> str | None:
    """Filter and patient exclusion as SQL; all values pass through the filter language."""
    texts = [where] if where is not None else []
    if patients:
        quoted = ", ".join("'" + patient.replace("'", "''") + "'" for patient in patients)
        texts.append(f"patient_id is null or patient_id not in ({quoted})")
    for patient in patients:
        own = filters.parse("patient_id = '" + patient.replace("'", "''") + "'").check(index.columns)
        with index.reading():
            known = index.table.count_rows(own.sql())
        if not known:
            console.warn(f"the index knows no patient {patient!r}; nothing was left out for it")
    parts = [f"({filters.parse(text).check(index.columns).sql()})" for text in texts]
    return " AND ".join(parts) or None


def _embedder(index: Index, checkpoint: Path | str | None) -> Encodes:
    """The encoders that the index was made with."""
    from mmssl import embed

    made_with = index.info["checkpoint"]["hash"]
    place = Path(checkpoint) if checkpoint else index.place_of("checkpoint")
    if not place.exists():
        if checkpoint:
            raise WrongUse(f"there is no checkpoint at {checkpoint}")
        raise CannotDo(
            f"the checkpoint that {index.path} was made with is no longer at {place}; "
            "say where it is now: --checkpoint CHECKPOINT"
        )
    embedder = embed.load(place)
    if embedder.hash != made_with:
        raise WrongUse(
            f"{place} is another checkpoint ({embedder.hash[:12]}) than the one that {index.path} was made with "
            f"({made_with[:12]}), and similarities between the two mean nothing; "
            "name the right one (--checkpoint CHECKPOINT), or make the index anew"
        )
    return embedder


def _vector(embedder: Encodes, query: str | None, image: Path | str | Image.Image | None) -> np.ndarray:
    """[D] float32 of length one."""
    import numpy as np

    vectors = []
    if query is not None:
        if embedder.truncated([query])[0]:
            words, read = query.split(), _words_read(embedder, query.split())
            console.warn(
                f"the query is longer than the model reads; of its {len(words)} words the first {read} count, "
                f"up to: ... {' '.join(words[max(0, read - 4) : read])}"
            )
        vectors.append(embedder.encode_text([query])[0])
    if image is not None:
        vectors.append(embedder.encode_image([image])[0])
    mean = np.mean(vectors, axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    if length < 1e-6:
        raise CannotDo("words and image point in opposite directions, and nothing lies between them; ask one at a time")
    return np.asarray(mean / length, np.float32)


def _words_read(embedder: Encodes, words: list[str]) -> int:
    """How many of the first words the text tower takes in whole."""
    least, most = 0, len(words)
    while least < most:
        middle = (least + most + 1) // 2
        if embedder.truncated([" ".join(words[:middle])])[0]:
            most = middle - 1
        else:
            least = middle
    return least


# ---- what is found -------------------------------------------------------------------------------------------------


def find(index: Index, vector: np.ndarray, *, k: int, condition: str | None = None) -> tuple[list[Hit], list[bytes]]:
    """The k nearest rows to a vector [D] of length one, and their thumbnails; `condition` is SQL of `Where.sql`."""
    import numpy as np

    fetch = k + 16
    while True:  # enough rows that none of those with the last hit's score is missing, so that ties go by id
        asked = index.table.search(vector, vector_column_name="vector").distance_type("dot").limit(fetch)
        if condition:
            asked = asked.where(condition, prefilter=True)
        with index.reading():
            found = asked.to_arrow()
        distance = found["_distance"].to_numpy()
        if len(found) < fetch or distance[-1] > distance[k - 1] + 2e-6:
            break
        fetch *= 4
    vectors = np.stack(found["vector"].to_numpy()).astype(np.float64) if len(found) else np.empty((0, len(vector)))
    scores = vectors @ vector.astype(np.float64)
    ids = found["id"].to_pylist()
    order = sorted(range(len(found)), key=lambda i: (-round(scores[i], 6), ids[i]))[:k]
    best = found.take(np.array(order, np.int64))
    rows = best.drop_columns([*filters.OWN, "_distance"]).to_pylist()
    hits = [_hit(row, score) for row, score in zip(rows, scores[order].tolist(), strict=True)]
    return hits, best["thumbnail"].to_pylist()


def _hit(row: dict[str, Any], score: float) -> Hit:
    values = {filters.given_name(name): _short(value) for name, value in row.items()} | {"score": round(score, 6)}
    return {name: values[name] for name in [*FIRST, *(name for name in values if name not in FIRST)]}


def _short(value: Any) -> Any:
    """60.1 as it was written, not 60.099998 as float32 holds it."""
    return float(f"{value:.7g}") if isinstance(value, float) and math.isfinite(value) else value


def _remark(index: Index, hits: list[Hit], where: str | None) -> None:
    """Says what a user should know about the hits."""
    if not hits:
        console.say(f"no hits: none of the {index.info['rows']} images in {index.path} is left by the filter")
    for column, values in _values_of(index, where) if not hits and where else ():
        console.say(f"{column} has the values {', '.join(values)}")
    changed = _store_changed(index)
    if changed:
        console.warn(changed)


def _values_of(index: Index, where: str) -> Iterator[tuple[str, list[str]]]:
    """What the columns of words in a filter hold, where that is little."""
    for column in filters.parse(where).check(index.columns).columns():
        name = filters.sql_name(column)
        if str(index.columns.field(column).type) in ("string", "large_string"):
            with index.reading():
                found = index.table.search().select([name]).limit(index.info["rows"]).to_arrow()[name]
            values = sorted(value for value in found.unique().to_pylist() if value is not None)
            if len(values) <= MOST_VALUES:
                yield column, values


def _store_changed(index: Index) -> str | None:
    """What to say where the store is not what it was when the index was built; it may be gone."""
    from mmssl.data.store import Store

    was, place = index.info["store"], index.place_of("store")
    try:
        now = Store(place)
    except CannotDo:
        gone = "can no longer be opened" if place.exists() else "is no longer there"
        return f"the store {place} {gone}: hits show what it held when {index.path} was built"
    if now.content_hash == was["content_hash"]:
        return None
    versions = "" if now.version == was["version"] else f" (version {was['version']} then, {now.version} now)"
    return (
        f"the store {now.path} has changed since {index.path} was built{versions}: hits show what it held then; to see "
        f"what it holds now, run: {_again(index, now.path)}"
    )


def _again(index: Index, store: Path) -> str:
    """The command that makes an index anew."""
    words = ["mmssl", "index", str(index.place_of("checkpoint")), str(store), str(index.path)]
    words += ["--split", index.info["split"]] if index.info["split"] != "all" else []
    return shlex.join(words + (["--where", index.info["where"]] if index.info["where"] else []))


# ---- what is shown -------------------------------------------------------------------------------------------------


def print_hits(hits: Sequence[Hit], *, title: str | None = None) -> None:
    """A table of hits to stdout that fits 80 columns; none where there are no hits."""
    if not hits:
        return
    rows = [
        [
            rank,
            hit["score"],
            _shown_id(hit["study_id"] or hit["id"]),
            ", ".join(_facts(hit)),
            page.shorten(" ".join((hit["text"] or "").split()), 100),
        ]
        for rank, hit in enumerate(hits, 1)
    ]
    columns = ["#", "similarity", "study", "about", "text"]
    console.table(title or ("1 hit" if len(hits) == 1 else f"{len(hits)} hits"), columns, rows, is_result=True)


def _shown_id(name: str) -> str:
    """An id, or the beginning of a pseudonym, by which --json has it whole."""
    return f"{name[:8]}..." if len(name) > 24 else name


def _facts(
    hit: Hit, names: Sequence[str] = ("modality", "body_part", "view", "sex", "age", "study_datetime", "split")
) -> list[str]:
    """What is known of a hit, in words."""
    told = {name: page.shown(hit[name]) for name in names if hit[name] not in (None, "unknown")}
    if "age" in told:
        told["age"] = page.years(hit["age"])
    return list(told.values())


def to_json(hits: Sequence[Hit]) -> str:
    """Hits as JSON, dates as ISO 8601; null for infinities, which JSON does not have."""
    return json.dumps(_finite(list(hits)), indent=2, ensure_ascii=False, allow_nan=False, default=_iso)


def _finite(value: Any) -> Any:
    """The value with null for every number in it that is not finite."""
    match value:
        case dict():
            return {name: _finite(one) for name, one in value.items()}
        case list():
            return [_finite(one) for one in value]
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value


def _iso(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in JSON")


class Asked(NamedTuple):
    """A query as a contact sheet repeats it."""

    query: str | None
    image: Path | str | Image.Image | None
    where: str | None
    patients: list[str]


def contact_sheet(index: Index, asked: Asked, hits: Sequence[Hit], thumbnails: Sequence[bytes]) -> str:
    """A page with the hits as pictures."""
    name = Path(asked.image).name if isinstance(asked.image, (str, Path)) else "a given image"
    parts = [f'"{asked.query}"' if asked.query else "", f"like {name}" if asked.image is not None else ""]
    heading = " and ".join(filter(None, parts))
    facts = {
        "filter": asked.where, "without patient": ", ".join(asked.patients),
        "shown": f"{len(hits)} of {index.info['rows']} images", "index": index.path.resolve().name,
        "checkpoint": index.info["checkpoint"]["hash"][:12], "store": index.info["store"]["content_hash"][:12],
    }  # fmt: skip
    return page.render(
        "hits.html",
        title=f"mmssl search: {heading}",
        heading=heading,
        facts=[(key, value) for key, value in facts.items() if value],
        example=None if asked.image is None else _example(asked.image),
        hits=[_card(rank, hit, picture) for rank, (hit, picture) in enumerate(zip(hits, thumbnails, strict=True), 1)],
        deidentified=index.info["deidentified"],
    )


def _card(rank: int, hit: Hit, thumbnail: bytes) -> dict[str, Any]:
    tags = _facts(hit, ("modality", "body_part", "view", "sex", "age", "study_datetime", "site", "split"))
    text, report = hit["text"] or "", hit["report"] or ""
    short = page.shorten(text, 300)
    return {
        "thumbnail": thumbnail,
        "title": f"Hit {rank}",
        "score": f"similarity {hit['score']:.3f}",
        "tags": tags,
        "warnings": hit["flags"] or [],
        "text": short,
        "more": report if report.strip() not in short else text if text != short else None,
        "small": f"study {hit['study_id'] or '-'}, patient {hit['patient_id'] or 'not known'}",
    }


def _example(image: Path | str | Image.Image) -> bytes:
    """Thumbnail of the image that was searched with."""
    from mmssl.data import images
    from mmssl.embed import opened

    return page.thumbnail(images.view8(opened(image), None))
