"""Cleaning against a set of made-up pictures with one defect planted in some: what is found, and what is touched.

    python -m benchmarks.cleaning [SOUND] [EACH]

4,000 sound pictures and 50 with each defect, drawn anew from a seed that no test uses. A defect counts as found under
its own code; a page and a window may stand for each other, both being words instead of a picture. `touched` is the
share of sound pictures of which anything is said. `measure_ms` is what measuring costs one core for a picture of 512
pixels.
"""

import sys
import time
from collections import Counter, defaultdict

import numpy as np
from PIL import Image

from benchmarks import common
from mmssl.data import images, kinds, quality
from mmssl.data.measures import measure
from mmssl.phantoms import spoilt

WORDS = ("document", "screenshot")


def main(sound: int = 4000, each: int = 50) -> None:
    common.settings(sound=sound, each=each, seed=2026)
    settings, references, told = quality.Quality(), kinds.References(), []
    for number, case in enumerate(spoilt.cases(2026, sound=sound, each=each)):
        view = images.view8(images.shrink(images.plain_mode(case.image), 512), case.columns["modality"])
        measures = measure(case.image, view)
        told.append((case.defect, case.columns, measures))
        if next(quality.spoilt(measures, case.columns, settings), None) is None:
            references.add(case.columns, measures, f"{number * 2654435761 % 2**60:015x}")
    known = references.kinds()
    answers: defaultdict[str | None, Counter[str]] = defaultdict(Counter)
    for defect, columns, measures in told:
        judgement = quality.judge(measures, columns, settings, known)
        answers[defect][judgement.reason or "+".join(judgement.flags)] += 1
    for defect in spoilt.PLANT:
        said = answers[defect]
        right = sum(said[name] for name in (WORDS if defect in WORDS else (defect,)))
        others = {name or "nothing": count for name, count in said.items() if name != defect}
        print(f"recall_{defect}: {right / said.total():.3f}" + (f"  (else: {others})" if others else ""))
    if sound:
        print(f"touched: {1 - answers[None][''] / sound:.4f}  {dict(answers[None])}")
    print(f"measure_ms: {cost():.2f}")


def cost() -> float:
    """Milliseconds for one grey picture of 512 pixels."""
    values = np.add.outer(np.arange(512), np.arange(512)) // 5 + np.random.default_rng(0).integers(0, 40, (512, 512))
    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    times = []
    for _ in range(50):
        start = time.process_time()
        measure(image, image)
        times.append(time.process_time() - start)
    return 1000 * sorted(times)[len(times) // 2]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
