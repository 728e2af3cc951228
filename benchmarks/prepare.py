"""`mmssl prepare` on DICOM files against the loop that every README has, files a second.

    python -m benchmarks.prepare            # uncompressed and compressed files, one core and two
    python -m benchmarks.prepare memory     # peak memory at 2,000 and at 20,000 studies (some minutes)

The peer reads a file with pydicom, stretches `pixel_array.astype(float)` from its least to its largest value to 8 bits,
makes it as small as we do and writes a JPEG of quality 95. Ours is the whole command with cleaning on: headers, window,
hashes, measures, duplicates, splits, store, pages. Each runs in a process of its own with one thread; on one core ours
has its one worker there too. In turns, so that a machine that slows down slows both.
"""

import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import common

SIDE, PLAIN, CODED, ROUNDS = 2048, 300, 60, 3
SYNTAXES = ("JPEG2000Lossless", "JPEGLSLossless", "RLELossless")
STUDIES = (2_000, 20_000)


def write(path: Path, number: int, *, side: int, syntax: str | None = None) -> None:
    """A made-up film of 12 bits in 16, its own in structure and noise."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.uniform(300, 3500, (9, 9)).astype(np.float32))
    values = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    values = values + random.normal(0, 12, (side, side)).astype(np.float32)
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.1"
    film.StudyInstanceUID, film.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.0"
    film.PatientID, film.IssuerOfPatientID, film.AccessionNumber = f"P{number // 2}", "NGH", f"A{number}"
    film.Modality, film.BodyPartExamined, film.ViewPosition = "DX", "CHEST", "PA"
    film.PatientSex, film.PatientAge, film.StudyDate = "FM"[number // 2 % 2], f"{20 + number % 70:03d}Y", "20240102"
    film.Rows = film.Columns = side
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.PixelData = np.clip(values, 0, 4095).astype(np.uint16).tobytes()
    if syntax is not None:
        film.compress(getattr(uid, syntax), generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save_as(path, enforce_file_format=True)


def peer(files: list[Path], out: Path) -> None:
    import pydicom

    out.mkdir()
    for file in files:
        pixels = pydicom.dcmread(file).pixel_array.astype(float)
        pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255
        image = Image.fromarray(pixels.astype(np.uint8)).resize((512, 512))
        image.save(out / f"{file.stem}.jpg", quality=95)


def ours(folder: Path, out: Path, workers: int) -> None:
    from mmssl import console
    from mmssl.prepare.job import prepare

    console.quiet = True
    prepare(folder, out, workers=workers)


def _timed(seconds, cores, work, arguments):
    os.sched_setaffinity(0, cores)
    start = time.perf_counter()
    work(*arguments)
    seconds.value = time.perf_counter() - start


def turn(cores: set[int], work, *arguments) -> float:
    """Seconds that it takes in a process of its own on these cores; what is imported here is there already."""
    context = multiprocessing.get_context("fork")
    seconds = context.Value("d", 0.0)
    process = context.Process(target=_timed, args=(seconds, cores, work, arguments))
    process.start()
    process.join()
    assert process.exitcode == 0, "a turn failed"
    return seconds.value


def speed(folder: Path, cores: list[int]) -> None:
    plain, coded, scratch = folder / "plain", folder / "coded", folder / "scratch"
    for number in range(PLAIN):
        write(plain / f"{number:04d}.dcm", number, side=SIDE)
    for number in range(CODED):
        write(coded / f"{number:04d}.dcm", number, side=SIDE, syntax=SYNTAXES[number % len(SYNTAXES)])
    one, two = {cores[0]}, set(cores[:2])
    rates: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        for name, source, cores_here, workers in (
            ("peer", plain, one, 0), ("ours", plain, one, 1), ("ours, two workers", plain, two, 2),
            ("peer, compressed", coded, one, 0), ("ours, compressed", coded, one, 1),
        ):  # fmt: skip
            files = sorted(source.iterdir())
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            arguments = (source, scratch / "out", workers) if workers else (files, scratch / "out")
            rates.setdefault(name, []).append(len(files) / turn(cores_here, ours if workers else peer, *arguments))
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
    common.show(rates, "files/s")
    print(f"peer: {statistics.median(rates['peer']):.2f} files/s")
    print(f"ratio: {common.ratio(rates, 'ours', 'peer'):.2f}")
    print(f"ratio_compressed: {common.ratio(rates, 'ours, compressed', 'peer, compressed'):.2f}")
    if len(cores) > 1:
        print(f"scaling: {common.ratio(rates, 'ours, two workers', 'ours'):.2f}")


def _peak(megabytes, source, out):
    ours(source, out, 1)
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    megabytes.value = max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024


def memory(folder: Path) -> None:
    """The largest of the processes, at two sizes of a source of small films, one a study."""
    peaks = []
    for studies in STUDIES:
        source = folder / str(studies)
        for number in range(studies):
            write(source / f"{number // 1000:03d}/{number}.dcm", number, side=64)
        context = multiprocessing.get_context("spawn")
        megabytes = context.Value("d", 0.0)
        process = context.Process(target=_peak, args=(megabytes, source, folder / f"{studies}.store"))
        process.start()
        process.join()
        assert process.exitcode == 0, "prepare failed"
        peaks.append(megabytes.value)
        print(f"peak_{studies}: {peaks[-1]:.0f} MiB", flush=True)
    print(f"memory: {peaks[1] / peaks[0]:.2f} of the peak at {STUDIES[0]} studies")


def main(what: str = "speed") -> None:
    cores = sorted(os.sched_getaffinity(0))
    common.settings(files=f"{PLAIN} and {CODED} of {SIDE} x {SIDE}", rounds=ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        if what == "memory":
            memory(Path(folder))
        else:
            import mmssl.prepare.job  # noqa: F401  imported once, so that no turn has to

            speed(Path(folder), cores)


if __name__ == "__main__":
    main(*sys.argv[1:])
