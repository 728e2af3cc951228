"""Findings read from chest X-ray reports against those that people coded, and reports a second of one core.

    MMSSL_DATA=DATA python -m benchmarks.reports

DATA/openi_reports.tgz holds Open-i reports whose `MeSH/major` codes people gave after reading them. A hash of the name
of a report puts it into the half that the rules were developed on, or into the half that was only measured. Coders mark
what they hold to be there, so a finding counts as found where it is present or uncertain; counting only what is present
is printed too (`present_only`). `--errors` prints every disagreement of the development half, to be read.
"""

import argparse
import hashlib
import os
import statistics
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

from benchmarks import common
from mmssl.data import findings, reports

CODES = {
    "Cardiomegaly": ("cardiomegaly", "cardiac shadow/enlarged"),
    "Pleural Effusion": ("pleural effusion", "hydropneumothorax", "hemopneumothorax", "hemothorax"),
    "Atelectasis": ("pulmonary atelectasis",),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax", "hemopneumothorax"),
    "Edema": ("pulmonary edema",),
    "Fracture": ("fractures, bone",),
    "Nodule": ("nodule",),
    "Hiatal Hernia": ("hernia, hiatal",),
}
"""The beginnings of the codes that stand for a finding, in lower case, up to the end or a slash."""

ENOUGH = 30
"""Positives, of all reports, that a finding needs to count in the macro average."""


class Report(NamedTuple):
    name: str
    text: str
    codes: tuple[str, ...]
    developed: bool
    """Whether it is of the half that the rules were developed on."""


def read_all() -> list[Report]:
    found = []
    with tarfile.open(common.data("openi_reports.tgz")) as archive:
        for member in archive:
            if member.name.endswith(".xml"):
                root = ElementTree.parse(archive.extractfile(member)).getroot()
                name = member.name.rpartition("/")[2].removesuffix(".xml")
                parts = [(one.get("Label"), (one.text or "").strip()) for one in root.iter("AbstractText")]
                text = "\n".join(f"{label}: {part}" for label, part in parts if part)
                codes = tuple((one.text or "").strip().lower() for one in root.iter("major"))
                half = hashlib.sha256(name.encode()).digest()[0] % 2
                found.append(Report(name, text, codes, half == 0))
    return sorted(found)


def is_coded(report: Report, finding: str) -> bool:
    return any(code == start or code.startswith(f"{start}/") for code in report.codes for start in CODES[finding])


def scores(truth: list[bool], said: list[bool]) -> dict[str, float]:
    hits = sum(a and b for a, b in zip(truth, said, strict=True))
    precision, recall = hits / max(sum(said), 1), hits / max(sum(truth), 1)
    return {
        "positives": sum(truth),
        "precision": precision,
        "recall": recall,
        "f1": 2 * hits / max(sum(truth) + sum(said), 1),
    }


def measure(every: list[Report], parsed: dict[str, reports.Parsed]) -> None:
    halves = {
        "all": every,
        "developed": [one for one in every if one.developed],
        "measured": [one for one in every if not one.developed],
    }
    counted = [name for name in CODES if sum(is_coded(one, name) for one in every) >= ENOUGH]
    print(f"findings with at least {ENOUGH} positives: {', '.join(counted)}")
    for half, some in halves.items():
        for way, statuses in (("", ("present", "uncertain")), ("present_only.", ("present",))):
            f1 = {}
            for name in CODES:
                truth = [is_coded(one, name) for one in some]
                said = [parsed[one.name].findings.get(name) in statuses for one in some]
                figures = scores(truth, said)
                f1[name] = figures["f1"]
                key = f"{half}.{way}{name.lower().replace(' ', '_')}"
                for figure, value in figures.items():
                    print(f"{key}.{figure}: {value:d}" if figure == "positives" else f"{key}.{figure}: {value:.3f}")
            print(f"{half}.{way}macro_f1: {statistics.mean(f1[name] for name in counted):.3f}")
            print(f"{half}.{way}least_f1: {min(f1[name] for name in counted):.3f}")
            print(f"{half}.{way}macro_f1_of_all_eight: {statistics.mean(f1.values()):.3f}")


def rate(every: list[Report]) -> None:
    """Reports a second of one process on one core: as they come, and with nothing remembered of former reports.

    By the clock, and by the time that the process had, which a busy machine does not change.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    findings.read.cache_clear()
    start, start_cpu = time.perf_counter(), time.process_time()
    for one in every:
        reports.parse(one.text)
    print(f"reports_per_s: {len(every) / (time.perf_counter() - start):.0f}")
    print(f"reports_per_cpu_s: {len(every) / (time.process_time() - start_cpu):.0f}")
    some = every[:500]
    start = time.process_time()
    for one in some:
        findings.read.cache_clear()
        reports.parse(one.text)
    print(f"reports_per_cpu_s_without_cache: {len(some) / (time.process_time() - start):.0f}")


def show_errors(every: list[Report], parsed: dict[str, reports.Parsed]) -> None:
    for name in CODES:
        for one in every:
            status = parsed[one.name].findings.get(name)
            if one.developed and is_coded(one, name) != (status in ("present", "uncertain")):
                print(f"\n{name}: report {one.name}, coded {is_coded(one, name)}, read as {status}; {one.codes}")
                for sentence in parsed[one.name].sentences:
                    if sentence.section in reports.SEEN:
                        said = [f.assertion for f in sentence.findings if f.name == name]
                        print(f"    {' '.join(said):10s} {sentence.text}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--errors", action="store_true", help="print the disagreements of the development half")
    errors = options.parse_args().errors
    every = read_all()
    common.settings(reports=len(every), developed=sum(one.developed for one in every))
    start = time.perf_counter()
    reports.parse("Clear.")
    print(f"seconds_to_start: {time.perf_counter() - start:.2f}")
    rate(every)
    parsed = {one.name: reports.parse(one.text) for one in every}
    measure(every, parsed)
    if errors:
        show_errors(every, parsed)


if __name__ == "__main__":
    main()
