"""The demo's page: everything it made, in one self-contained file that a person looks at."""

import json
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl import page, runpage
from mmssl.data.store import Store
from mmssl.files import whole_file
from mmssl.jobs.demo_checks import MEANING

if TYPE_CHECKING:
    from mmssl.jobs.demo_checks import Check, SidedHits

PAIRS, HITS, THUMBNAIL = 8, 5, 200


def write(out: Path, checks: "Sequence[Check]", searches: "Sequence[SidedHits]", *, metric: str) -> Path:
    """OUT/report.html from what the demo left in OUT."""
    store = Store(out / "store")
    found = json.loads((out / "zeroshot" / "zeroshot.json").read_text(encoding="utf-8"))
    retrieval = json.loads((out / "retrieval" / "retrieval.json").read_text(encoding="utf-8"))
    html = page.render(
        "report.html",
        title="mmssl demo",
        heading="What a model learned from reports alone",
        lead=(
            "Chest films and reports of a hospital that does not exist were prepared, a small image encoder and a "
            "small text encoder were trained on the pairs alone, and then asked. All numbers are of patients that "
            "the model never saw."
        ),
        facts=_facts(store),
        checks=[(*astuple(one), MEANING[one.name]) for one in checks],
        loss_curve=runpage.loss_curve(*runpage.read(out / "run" / "metrics.jsonl"), metric=metric),
        pairs=[_pair(store, row) for row in _some_rows(store)],
        zeroshot=_labels(found),
        pictures=_pictures(out / "zeroshot"),
        retrieval=_retrieval(retrieval),
        searches=[_search(store, asked) for asked in searches],
    )
    path = out / "report.html"
    with whole_file(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def _facts(store: Store) -> list[tuple[str, Any]]:
    rows = {split: len(store.select(split=split, columns=[])) for split in ("train", "validation", "test")}
    test = store.select(split="test", columns=["patient_id"])
    patients = len(set(test.column("patient_id").to_pylist()))
    return [*((f"{split} images", count) for split, count in rows.items()), ("test patients", patients)]


def _some_rows(store: Store) -> list[int]:
    table = store.select(split="train", columns=["text"])
    told = [row for row, text in zip(*(table.column(c).to_pylist() for c in ("row", "text")), strict=True) if text]
    return told[:: max(1, len(told) // PAIRS)][:PAIRS]


def _pair(store: Store, row: int) -> dict[str, Any]:
    table = store.select(columns=["view", "sex", "age", "site", "text", "flags"]).slice(row, 1).to_pylist()[0]
    tags = [table["view"], table["sex"], table["age"] and f"{table['age']:.0f} y", table["site"]]
    return {
        "thumbnail": page.thumbnail(store.image(row), side=THUMBNAIL),
        "title": f"row {row}",
        "tags": [tag for tag in tags if tag],
        "warnings": table["flags"] or [],
        "text": table["text"],
    }


def _labels(found: dict[str, Any]) -> list[list[Any]]:
    def line(name: str, one: dict[str, Any]) -> list[Any]:
        low, high = one.get("auroc_ci") or (None, None)
        return [name, one["auroc"], low, high, one.get("auprc"), one.get("positives"), one.get("n")]

    labels = sorted(found["labels"].items(), key=lambda item: -(item[1]["auroc"] or 0))
    return [line("macro", found["macro"]), *(line(name, one) for name, one in labels)]


def _pictures(folder: Path) -> list[tuple[bytes, str]]:
    known = {"roc": "ROC curves by label", "reliability": "How often what is said with a probability is so"}
    return [
        (file.read_bytes(), caption) for stem, caption in known.items() for file in sorted(folder.glob(f"{stem}.*"))[:1]
    ]


def _retrieval(found: dict[str, Any]) -> list[list[Any]]:
    keys = ("R@1", "R@5", "R@10", "chance_R@10", "queries", "gallery")
    names = {"text_to_image": "image for a report", "image_to_text": "report for an image"}
    return [[said, *(found[name].get(key) for key in keys)] for name, said in names.items()]


def _search(store: Store, asked: "SidedHits") -> dict[str, Any]:
    rows = {number: row for row, number in enumerate(store.select(columns=[]).column("id").to_pylist())}
    cards = [
        {
            "thumbnail": page.thumbnail(store.image(rows[hit["id"]]), side=THUMBNAIL),
            "title": f"hit {rank}",
            "score": f"similarity {hit['score']:.3f}",
            "tags": hit["label_truth"] or [],
            "warnings": [],
            "text": hit["text"],
        }
        for rank, hit in enumerate(asked.hits[:HITS], start=1)
    ]
    return {"query": asked.query, "hits": cards}
