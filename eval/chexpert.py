"""CheXpert's findings by CheXzero's rules, step by step: what `mmssl evaluate chexpert` does, to read and to change.

python -m eval.chexpert runs/first/best my.store results
"""

import sys
from pathlib import Path

import numpy as np

import mmssl
from mmssl import console, files, prompts
from mmssl.evaluation import answers, chexzero, frontal, truth
from mmssl.evaluation.judge import Threshold

FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


def main(checkpoint: Path, store_path: Path, out: Path) -> None:
    """Judges a model on the five findings of CheXpert's competition; the protocol has all 14, and thresholds."""
    model, store = mmssl.load(checkpoint), mmssl.Store(store_path)

    # One image a study: the first PA film, else the first AP film. Studies with lateral films alone are counted out.
    columns = [f"label_{name}" for name in FIVE]
    table = store.select(split="test", columns=["patient_id", "study_id", "view", "source_id", *columns])
    keys = list(zip(table["source_id"].to_pylist(), table["id"].to_pylist(), strict=True))
    chosen = frontal.one_each(table["study_id"].to_pylist(), table["view"].to_pylist(), keys, order=("PA", "AP"))
    table = table.take(chosen.places)
    console.say(f"{len(table)} studies; left out: {chosen.studies_left}, images {chosen.images_left}")

    # Each finding is asked as "X" against "no X". The pair is weighed by a softmax over the bare cosines, without the
    # scale that was learned: for one pair the same as a sigmoid of their difference.
    phrases = {name: [name.lower()] for name in FIVE}
    asked = prompts.build({"task": "multi_label", "scoring": "chexzero", "classes": phrases})
    positive, negative = answers.class_vectors(model, asked)  # [L, D] each
    assert negative is not None, "findings have an opposite"
    images = model.encode_rows(store, table["row"].to_pylist())  # [N, D]
    up, down = np.exp(images @ positive.T), np.exp(images @ negative.T)
    probability = up / (up + down)  # [N, L]

    # What is true: 1 or 0; -1 (uncertain) and what is not known are left out.
    values = {column: table[column].to_pylist() for column in columns}
    known = truth.of_labels(values, FIVE, column=None, columns=dict(zip(FIVE, columns, strict=True)))
    known = truth.decided(known, "ignore")

    # 1,000 draws of patients with replacement; the interval runs from the 25th to the 975th of the sorted values.
    none = {name: Threshold(None, "this page takes no threshold") for name in FIVE}
    verdict = chexzero.judge(FIVE, known, probability, table["patient_id"].to_pylist(), thresholds=none)
    mean = chexzero.mean(verdict, FIVE)
    lines = [[name, one.get("n"), one["auroc"], *(one["auroc_ci"] or (None, None))]
             for name, one in {**verdict.labels, "mean": mean}.items()]  # fmt: skip
    console.table("chexpert, by hand", ["label", "n", "AUROC", "from", "to"], lines)
    files.write_json(out / "by_hand.json", {"mean": mean, "labels": verdict.labels})

    # The same by the protocol, with all 14 findings, its page, and the hash of its definition.
    result = mmssl.evaluate("chexpert", checkpoint, store_path, f"out={out}")
    console.say(
        f"the protocol {result['hashes']['protocol'][:12]} says {result['headline']['value']}, by hand {mean['auroc']}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m eval.chexpert CHECKPOINT STORE OUT")
    main(*map(Path, sys.argv[1:]))
