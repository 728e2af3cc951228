"""Our loader against open_clip's CSV data set and training transforms, images a second of one worker.

    MMSSL_DATA=DATA python -m benchmarks.loader

The same JPEGs of at most 320 px, 224 px out, the same random crop (a square of 90 to 100 % of the side), captions
tokenised on both sides, batches of 64 as float tensors ready for the tower. What our policy adds on the batch is timed
apart (`views_per_s`). One thread each, alternating in one process.
"""

import csv
import itertools
import json
import statistics
import tempfile
from pathlib import Path

import open_clip
import torch
from open_clip.transform import AugmentationCfg, PreprocessCfg, image_transform_v2
from torch.utils.data import DataLoader

from benchmarks import common
from mmssl import console, plugins
from mmssl.data import batches
from mmssl.data.store import Store
from mmssl.data.transforms import POLICIES, device_view, normalise
from mmssl.hardware import keep_memory
from mmssl.prepare.job import prepare

SIZE, BATCH, BATCHES, ROUNDS, CROP = 224, 64, 8, 5, 0.95


def peer_loader(folder: Path, table: Path) -> DataLoader:
    """open_clip's own: open_clip_train.data.CsvDataset with open_clip's training transform."""
    from open_clip_train.data import CsvDataset

    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["filepath", "title"])
        for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["split"] == "train":
                writer.writerow([folder / row["image"], row["caption"]])
    transform = image_transform_v2(
        PreprocessCfg(size=SIZE), is_train=True, aug_cfg=AugmentationCfg(scale=(CROP**2, 1.0))
    )
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    data = CsvDataset(str(table), transform, "filepath", "title", sep="\t", tokenizer=tokenizer)
    return DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=0, drop_last=True)


def our_loader(folder: Path, store: Path):
    """Ours as shipped, for the same rows and captions."""
    prepare(folder, store, layout="medpix")
    rows = batches.training_rows(Store(store))
    tokenizer = plugins.find("encoders", "open_clip_text")(name="ViT-B-32").tokenizer
    reading = batches.Reading(size=SIZE, crop=CROP)
    return rows, lambda: batches.loader(rows, reading, batches.Order(len(rows), BATCH, seed=0), tokenizer, workers=0)


def main() -> None:
    folder = common.data("medpix")
    torch.set_num_threads(1)
    console.quiet = True
    common.settings(size=SIZE, batch=BATCH, batches=BATCHES, rounds=ROUNDS, crop=f"{CROP} to 1 of the side")
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    with tempfile.TemporaryDirectory() as scratch:
        theirs = peer_loader(folder, Path(scratch, "train.tsv"))
        rows, ours = our_loader(folder, Path(scratch, "store"))
        stream, peer_stream = ours(), itertools.chain.from_iterable(itertools.repeat(theirs))

        def our_batches() -> float:
            keep_memory()  # as `mmssl pretrain` does
            for batch in itertools.islice(stream, BATCHES):
                x = normalise(batch.images[:, 0].float().div_(255), mean, std)
                assert x.shape == (BATCH, 3, SIZE, SIZE)
                assert x.dtype == torch.float32
            return BATCH * BATCHES

        def peer_batches() -> float:
            keep_memory(False)
            for images, _ in itertools.islice(peer_stream, BATCHES):
                assert images.shape == (BATCH, 3, SIZE, SIZE)
            return BATCH * BATCHES

        one = next(stream)

        def views() -> float:
            keep_memory()
            for number in range(BATCHES):
                device_view(one.images[:, 0], one.image, POLICIES["slice"], 0, number, 0)
            return BATCH * BATCHES

        rates = common.alternate({"open_clip": peer_batches, "ours": our_batches, "our policy": views}, rounds=ROUNDS)
    common.show(rates, "images/s")
    print(f"rows: {len(rows)}")
    print(f"peer: {statistics.median(rates['open_clip']):.1f}")
    print(f"views_per_s: {statistics.median(rates['our policy']):.1f}")
    print(f"ratio: {common.ratio(rates, 'ours', 'open_clip'):.3f}")


if __name__ == "__main__":
    main()
