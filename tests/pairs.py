"""A small store of pictures that a tiny model can learn to name: a bright bar, where and how, said in words."""

import json

import numpy as np
from PIL import Image

from mmssl.data.store import Store
from mmssl.prepare.job import prepare

SIDES, PLACES = ("left", "right"), ("upper", "lower")


def write_pairs(folder, *, patients=60, seed=0, text=True):
    """Two images a patient, of one study; every eighth image has no text of its own."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(2 * patients):
        patient = number // 2
        side, place = SIDES[patient % 2], PLACES[patient // 2 % 2]
        pixels = rng.integers(20, 60, (40, 36))
        rows = slice(2, 18) if place == "upper" else slice(22, 38)
        columns = slice(20, 34) if side == "left" else slice(2, 16)  # the patient's left is on the right
        pixels[rows, columns] += rng.integers(90, 150)
        name = f"images/{number:03d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        said = f"There is a {side} bar. It lies in the {place} zone. Case {patient}."
        row = {"image": name, "patient_id": f"p{patient}", "study_id": f"s{patient}", "side": side}
        lines.append(row | ({"text": said} if text and number % 8 else {}))
    table = folder / "pairs.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return table


def make_store(folder, **options):
    """A prepared store of `write_pairs`."""
    table = write_pairs(folder / "source", **options)
    prepare(table, folder / "store", overrides=["splits.validation=0.2", "splits.test=0.2", "clean=off"])
    return Store(folder / "store")
