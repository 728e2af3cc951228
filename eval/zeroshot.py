"""Zero-shot classification of a split, step by step: what `mmssl zeroshot` does, as a page to read and to change.

python -m eval.zeroshot runs/first/best my.store configs/prompts/chexpert5.yaml results
"""

import sys
from pathlib import Path

import mmssl
from mmssl import console, prompts
from mmssl.evaluation import answers, results
from mmssl.overlap import guard
from mmssl.zeroshot import fit, run


def main(checkpoint: Path, store_path: Path, prompt_file: Path, out: Path) -> None:
    """Asks a model in words, and writes what it answers and how good that is to `out`."""
    asked = prompts.read(prompt_file)
    for trap in prompts.lint(asked):
        console.warn(trap)
    for one in asked.classes[:3]:
        console.say(f"{one.name}: {one.positive[0]!r}" + (f" against {one.negative[0]!r}" if one.negative else ""))

    store = mmssl.Store(store_path)
    seen = guard.look([checkpoint], store, split="test")  # raises where the model was trained on any of these patients
    model = mmssl.load(checkpoint)

    # Each class is the mean of its texts' unit vectors; an image is as near to it as their cosine says.
    positive, negative = answers.class_vectors(model, asked)
    if negative is not None:
        pairs = [[name, float(p @ n)] for name, p, n in zip(asked.names, positive, negative, strict=True)]
        console.table("how alike a label and its opposite are", ["label", "cosine"], pairs)

    # What calibration would do, from the validation split alone; `mmssl calibrate` keeps it beside the checkpoint.
    try:
        results.show_calibration(fit(model, store, asked, split="validation"))
    except (mmssl.WrongUse, mmssl.CannotDo) as error:
        console.say(str(error))

    # The verdict on test: thresholds come from validation, intervals from 1,000 draws of patients.
    for unit in ("image", "study"):
        outcome = run([model], store, asked, split="test", unit=unit)
        guard.add(outcome.result, seen)
        results.show(outcome.result)
        results.save(outcome, out / unit)
    console.say(f"written to {out}: image, study")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: python -m eval.zeroshot CHECKPOINT STORE PROMPTS OUT")
    main(*map(Path, sys.argv[1:]))
