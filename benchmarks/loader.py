"""Our loader against open_clip's CSV data set and training transforms, images a second of one worker.

    MMSSL_DATA=DATA python -m benchmarks.loader

The same JPEGs of at most 320 px, 224 px out, the same random crop (a square of 90 to 100 % of the side), captions
tokenised on both sides, batches of 64 as float tensors ready for the tower. What our policy adds on the batch is timed
apart (`views_per_s`). One thread each, in turns, each in a process of its own as a worker is: ours with freed memory
kept by the C library, as `mmssl pretrain` sets it.
"""

import csv
import itertools
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
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

SIZE, BATCH, BATCHES, ROUNDS, CROP = 224, 64, 20, 5, 0.95


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
    rows = batches.training_rows(Store(store))
    tokenizer = plugins.find("encoders", "open_clip_text")(name="ViT-B-32").tokenizer
    reading = batches.Reading(size=SIZE, crop=CROP)
    return rows, lambda: batches.loader(rows, reading, batches.Order(len(rows), BATCH, seed=0), tokenizer, workers=0)


def our_turn(folder: Path, scratch: Path):
    """What our side does in a turn, in a process of its own, as a loader's worker is one."""
    keep_memory()  # as `mmssl pretrain` does, and its workers after it
    _, ours = our_loader(folder, scratch / "store")
    stream, mean, std = ours(), (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def turn() -> None:
        for batch in itertools.islice(stream, BATCHES):
            x = normalise(batch.images[:, 0].float().div_(255), mean, std)
            assert x.shape == (BATCH, 3, SIZE, SIZE)
            assert x.dtype == torch.float32

    return turn


def policy_turn(folder: Path, scratch: Path):
    """What our policy adds on the batch."""
    keep_memory()
    _, ours = our_loader(folder, scratch / "store")
    one = next(ours())

    def turn() -> None:
        for number in range(BATCHES):
            device_view(one.images[:, 0], one.image, POLICIES["slice"], 0, number, 0)

    return turn


def peer_turn(folder: Path, scratch: Path):
    loading = peer_loader(folder, scratch / "train.tsv")
    stream = itertools.chain.from_iterable(itertools.repeat(loading))

    def turn() -> None:
        for images, _ in itertools.islice(stream, BATCHES):
            assert images.shape == (BATCH, 3, SIZE, SIZE)

    return turn


TURNS = {
    "open_clip": peer_turn,
    "ours": our_turn,
    "our policy": policy_turn,
}


def serve(name: str, folder: Path, scratch: Path, line) -> None:
    """A contestant's process: works a turn whenever it is asked to."""
    torch.set_num_threads(1)
    console.quiet = True
    turn = TURNS[name](folder, scratch)
    line.send("ready")
    while line.recv() == "turn":
        turn()
        line.send("done")


def main() -> None:
    folder = common.data("medpix")
    common.settings(size=SIZE, batch=BATCH, batches=BATCHES, rounds=ROUNDS, crop=f"{CROP} to 1 of the side")
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        console.quiet = True
        prepare(folder, Path(scratch, "store"), layout="medpix")
        lines = {}
        for name in TURNS:
            lines[name], far = spawn.Pipe()
            spawn.Process(target=serve, args=(name, folder, Path(scratch), far), daemon=True).start()
            assert lines[name].recv() == "ready"

        def ask(name: str) -> Callable[[], float]:
            def work() -> float:
                lines[name].send("turn")
                lines[name].recv()
                return BATCH * BATCHES

            return work

        rates = common.alternate({name: ask(name) for name in TURNS}, rounds=ROUNDS)
        for line in lines.values():
            line.send("end")
    common.show(rates, "images/s")
    print(f"peer: {statistics.median(rates['open_clip']):.1f}")
    print(f"views_per_s: {statistics.median(rates['our policy']):.1f}")
    print(f"ratio: {common.ratio(rates, 'ours', 'open_clip'):.3f}")


if __name__ == "__main__":
    main()
