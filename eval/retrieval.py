"""Retrieval on a split, step by step: what `mmssl retrieve` does, as a page to read and to change.

python -m eval.retrieval runs/first/best my.store results
"""

import sys
from pathlib import Path

import mmssl
from mmssl import console, files, retrieval
from mmssl.overlap import guard


def main(checkpoint: Path, store_path: Path, out: Path) -> None:
    """Measures how well texts find their images and images their texts, and shows a few answers."""
    store = mmssl.Store(store_path)
    seen = guard.look([checkpoint], store, split="test")  # raises where the model was trained on any of these patients
    model = mmssl.load(checkpoint)

    # A query is a distinct text; right is an image whose own text is identical, and in a second count one of its study.
    result = retrieval.run(model, store, split="test")
    guard.add(result, seen)
    retrieval.show(result)
    files.write_json(out / "retrieval.json", result)

    # The same by hand for the first texts: the cosine of unit vectors is their dot product.
    pairs = retrieval.pairs_in(store.select(split="test", columns=["text", "patient_id", "study_id"]))
    images = model.encode_rows(store, pairs.table["row"].to_pylist())  # [N, D]
    texts = model.encode_text(pairs.texts[:5])  # [5, D]
    nearest = (-texts @ images.T).argsort(axis=1)[:, :3]
    for i, text in enumerate(pairs.texts[:5]):
        console.say(f"\n{text[:200]}")
        for place in nearest[i]:
            own = "its own: " if place in pairs.images_of_text[i] else ""
            console.say(f"   {texts[i] @ images[place]:.3f}  {own}{pairs.texts[pairs.text[place]][:100]}")
    console.say(f"\nwritten to {out}: retrieval.json")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m eval.retrieval CHECKPOINT STORE OUT")
    main(*map(Path, sys.argv[1:]))
