"""Two small stores with planted leaks, and checkpoints that say what they were trained on without being trained."""

import json

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from mmssl.data.store import Store
from mmssl.overlap import seen
from mmssl.prepare.job import prepare
from tests.preparing import picture, write_csv

KEY = "0123456789abcdef0123456789abcdef"


def rows(first, patients=12, *, site=None, prefix="p"):
    """Two pictures of each patient; their numbers are seeds, so that equal numbers are equal pictures."""
    found = []
    for number in range(first, first + patients):
        for view in (0, 1):
            one = {
                "image": f"{2 * number + view}.png", "patient_id": f"{prefix}{number}", "study_id": f"1.2.840.{number}",
                "text": f"Report {number}, view {view}.", "split": ("train", "test", "validation")[number % 3],
            }  # fmt: skip
            found.append(one | ({"site": site} if site else {}))
    return found


def make(folder, rows, *, key=None, near=None, **options):
    """A store of such rows; `near`: {row's place: seed of the picture that it nearly is}."""
    source = folder / "source"
    source.mkdir(parents=True)
    near = near or {}
    for place, row in enumerate(rows):
        seed = near.get(place, int(row["image"].removesuffix(".png")))
        image = picture(seed, size=(160, 140))
        if place in near:  # a copy that was made brighter and saved again, as by an export for a lecture
            pixels = np.asarray(image, np.float32) * 0.97 + 6
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(source / row["image"])
    write_csv(source / "table.csv", rows)
    overrides = ["clean=off"]
    if key is not None:
        (folder / "key").write_text(key)
        overrides += ["ids=keyed", f"key={folder / 'key'}"]
    prepare(source / "table.csv", folder / "store", overrides=overrides, workers=1, **options)
    return Store(folder / "store")


def checkpoint(folder, store, *, parents=(), config=None, **options):
    """A checkpoint's folder with all but the weights: what it was trained on is what a run would write."""
    folder.mkdir(parents=True)
    train = store.select(split="train", columns=[])["row"].to_numpy()
    told = {
        "format": 1, "config": config or {}, "weights_sha256": "",
        "store": {
            "content_hash": store.content_hash, "version": store.version, "key_id": store.manifest.get("key_id"),
        },
        "intensity": store.manifest["intensity"],
    }  # fmt: skip
    (folder / "checkpoint.json").write_text(json.dumps(told))
    (folder / "model.safetensors").touch()
    (folder / seen.FILE).write_bytes(seen.of_run(store, train, [str(one) for one in parents], **options))
    return folder


def facts(store, split=None):
    """Rows of a store as a loop reads them."""
    return [row for row in Store(store.path).select(split=split).to_pylist()]


def in_file(folder):
    return pq.read_table(folder / seen.FILE).to_pylist()
