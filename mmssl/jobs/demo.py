"""The whole way on data it makes itself: phantoms, prepare, pre-train, zero-shot, retrieve, index, search, a page.

It calls what a user calls, in that order, and then checks what came out against floors.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from mmssl import console
from mmssl.errors import CannotDo, WrongUse
from mmssl.files import remove_parts, write_json

PATIENTS = 1900
"""So many that at least 330 patients are to be expected in test."""
PREPARE = ("splits.test=0.2", "splits.validation=0.08", "text.sections=[impression]")
"""As CheXzero has it, the impression alone is trained on: what was found, and little of what was not."""
CONFIG = Path(__file__).parent.parent / "configs" / "pretrain" / "demo.yaml"


def demo(out: Path | str, *, seed: int = 0) -> Path:
    """Runs the whole way in `out`; returns the page, OUT/report.html.

    Everything it makes lies in OUT/{hospital,store,run,zeroshot,retrieval,index}; a demo that was interrupted goes on.

    Raises:
        CannotDo: where a floor does not hold (all is written before that), or a step fails.
        WrongUse: where `out` holds the demo of another seed.
    """
    from mmssl.phantoms import wording
    from mmssl.retrieval import retrieve
    from mmssl.search.index import index
    from mmssl.train import pretrain
    from mmssl.zeroshot import calibrate, zeroshot

    out = Path(out)
    begin(out, seed)
    make_store(out, seed)
    prompts = out / "prompts.yaml"
    prompts.write_text(yaml.safe_dump(wording.PROMPTS, sort_keys=False), encoding="utf-8")
    console.say("3/6 pretrain: image and text encoders, from pairs alone")
    settings = (f"data.path={out / 'store'}", f"run={out / 'run'}", f"seed={seed}")
    checkpoint = pretrain(CONFIG, *settings, resume=True)
    console.say("4/6 zeroshot and retrieve: findings without labels, reports for images and images for reports")
    try:
        calibrate(checkpoint, out / "store", prompts=prompts)
    except CannotDo as error:  # too few positives of every finding among the validation patients
        console.say(f"not calibrated: {error}")
    found = zeroshot([checkpoint], out / "store", prompts=prompts, split="test", out=out / "zeroshot")
    retrieval = retrieve(checkpoint, out / "store", split="test", out=out / "retrieval")
    console.say("5/6 index: every test image, ready to be asked for")
    index(checkpoint, out / "store", out / "index", split="test")
    console.say("6/6 search: in words")
    from mmssl.jobs import demo_checks, demo_page

    hits = demo_checks.sided_hits(out / "index", wording.SIDED)
    checks = [
        demo_checks.check("macro_auroc", found["macro"]["auroc"], 0.90),
        demo_checks.check("laterality", demo_checks.laterality(hits), demo_checks.SIDE_FLOOR),
        demo_checks.check("laterality_found", demo_checks.found(hits), 0.5),
        demo_checks.check(
            "text_to_image_R@10",
            retrieval["text_to_image"]["R@10"],
            5 * retrieval["text_to_image"]["chance_R@10"],
        ),
        demo_checks.check(
            "pixel_regression",
            found["macro"]["auroc"] - demo_checks.pixel_auroc(out / "store", list(found["labels"])),
            0.05,
        ),
    ]
    write_json(out / "checks.json", [asdict(one) for one in checks])
    page = demo_page.write(out, checks, hits, metric="R@10")
    console.table(
        "checks", ["name", "value", "floor", "held"], [list(asdict(one).values()) for one in checks], is_result=True
    )
    console.say(f"see {page}")
    broken = [one for one in checks if not one.held]
    if broken:
        said = ", ".join(f"{one.name} is {one.value:.3f}, its floor {one.floor:.3f}" for one in broken)
        raise CannotDo(f"the demo ran through, and not every floor held: {said}; see {page}")
    return page


def make_store(out: Path, seed: int) -> None:
    """OUT/hospital and OUT/store. The key of the pseudonyms follows from the seed: these patients do not exist, and
    the same seed is to give the same numbers.
    """
    from mmssl.phantoms import hospital
    from mmssl.prepare import names
    from mmssl.prepare.job import prepare

    console.say(f"1/6 phantom: a hospital of {PATIENTS} patients that do not exist")
    if not (out / "hospital").exists():
        with console.progress("phantoms", PATIENTS, "patients") as advance:
            made = hospital.write(out / "hospital", seed=seed, n=PATIENTS, progress=lambda done, total: advance(1))
        console.table("hospital", ["what", "count"], list(made._asdict().items()))
    console.say("2/6 prepare: from DICOM files and reports to a store")
    key = out / "store.key"
    if not key.exists():
        names.write_private(key, [hashlib.sha256(f"mmssl demo {seed}".encode()).hexdigest() + "\n"])
    prepare(
        out / "hospital" / "dicom",
        out / "store",
        reports=out / "hospital" / "reports.csv",
        labels=out / "hospital" / "truth.csv",
        overrides=list(PREPARE),
    )


def begin(out: Path, seed: int) -> None:
    """Notes the seed; a folder that holds another demo, or something else, is not written into."""
    note = out / "demo.json"
    said = {"seed": seed, "patients": PATIENTS}
    if note.exists():
        before: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        if before != said:
            raise WrongUse(f"{out} holds the demo with {before}, not {said}: name another folder, or remove it")
    elif out.exists() and any(out.iterdir()):
        raise WrongUse(f"{out} is not empty and holds no demo: name another folder")
    write_json(note, said)
    remove_parts(out)
