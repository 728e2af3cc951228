"""`mmssl drift STORE`: what has moved between versions of a store, with tests, as a table, JSON and a page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mmssl
from mmssl import console, figures, files, page
from mmssl.data.store import Store
from mmssl.drift import compare, measures, sample
from mmssl.errors import WrongUse

FEW = 100
"""Patients of a group below which a warning is given: only great differences are found."""
DRAWN = 30
"""Pictures on the page, and values of a picture."""
VALUES = 10


def drift(
    store: Path | str, *, from_version: int | None = None, to_version: int | None = None, out: Path | str | None = None
) -> dict[str, Any]:
    """Compares the rows of two versions of a store, and says what has moved.

    A row is of the version that brought it, or changed it last. Of each patient one row is looked at (of each study,
    where patients are not known), as the tests take rows to be independent.

    Example:
        drift("my.store", from_version=1, to_version=3)["tests"][0]["said"]

    Args:
        store: as `mmssl prepare` makes it, grown at least once.
        from_version: whose rows are compared with; all before the other version, if not given.
        to_version: whose rows are compared; the newest, if not given.
        out: folder for drift.json and drift.html.

    Returns:
        What drift.json holds: `groups`, `warnings`, `tests` with the greatest effect first, and `skipped`.

    Raises:
        WrongUse: for a version that the store does not have, or that has no row.
    """
    if out is not None:
        files.check_folder_to_write(Path(out), option="--out")
    opened = Store(Path(store))
    wanted = _versions(opened, from_version, to_version)
    unit = "patients" if opened.manifest["patients_known"] else "studies"
    before, now = sample.groups(opened, wanted, measures.columns(opened))
    for group in (before, now):
        if not group.rows:
            raise WrongUse(f"{opened.path} has no row of {group.name}: it brought none, or all were replaced since")
    known, skipped = measures.measures(opened, before, now)
    tests, not_tested = compare.compared(known, unit)
    result = {
        "mmssl": mmssl.__version__,
        "store": {"name": opened.path.name, "version": opened.version, "content_hash": opened.content_hash},
        "unit": unit,
        "alpha": compare.ALPHA,
        "groups": [{"name": group.name, "rows": group.rows, unit: group.units} for group in (before, now)],
        "warnings": _warnings(before, now, unit),
        "tests": tests,
        "skipped": skipped | not_tested,
    }
    if out is not None:
        write(result, Path(out))
    return result


def _versions(
    store: Store, from_version: int | None, to_version: int | None
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """{name of a group: which versions are of it}, the earlier one first."""
    if store.version == 1:
        raise WrongUse(f"{store.path} has one version, and drift compares two: prepare what is new onto it first")
    now = store.version if to_version is None else to_version
    for option, version in (("--to", to_version), ("--from", from_version)):
        if version is not None and not 1 <= version <= store.version:
            raise WrongUse(f"{option} {version}: {store.path} has the versions 1 to {store.version}")
    if from_version is None:
        if now == 1:
            raise WrongUse("--to 1: there is nothing before version 1; name a version to compare with by --from")
        name = "version 1" if now == 2 else f"versions 1 to {now - 1}"
        return {name: lambda versions: versions < now, f"version {now}": lambda versions: versions == now}
    if from_version == now:
        raise WrongUse(f"--from {from_version}: this is the version that is compared; name another")
    return {
        f"version {from_version}": lambda versions: versions == from_version,
        f"version {now}": lambda versions: versions == now,
    }


def _warnings(before: sample.Group, now: sample.Group, unit: str) -> list[str]:
    """Why the result may not be trusted."""
    few = [f"{group.name} has only {group.units} {unit}" for group in (before, now) if group.units < FEW]
    return [f"{', and '.join(few)}: only great differences are found"] if few else []


# ---- what is shown -------------------------------------------------------------------------------------------------


def show(result: dict[str, Any]) -> None:
    """The tests as a table, and in words what has moved."""
    before, now = result["groups"]
    unit = result["unit"]
    title = f"drift: {now['name']} ({now[unit]} {unit}) against {before['name']} ({before[unit]} {unit})"
    console.table(title, COLUMNS, [line(one) for one in result["tests"]], is_result=True)
    for text in result["warnings"]:
        console.warn(text)
    moved = [f"  {one['name']}: {one['said']}" for one in result["tests"] if one["moved"] == "moved"]
    console.say("\n".join(["what has moved:", *moved]) if moved else "nothing has moved that could be shown")
    for why in dict.fromkeys(result["skipped"].values()):
        names = [name for name, reason in result["skipped"].items() if reason == why]
        console.say(f"not compared: {', '.join(names)} ({why})")


COLUMNS = ["what", "", "effect", "q", "p", "PSI", "what is seen"]


def line(one: dict[str, Any]) -> list[Any]:
    """A test as a row of the table."""
    return [one["name"], one["moved"], one["effect"], _small(one["q"]), _small(one["p"]), one["psi"], one["said"]]


def _small(p: float) -> str:
    """A p value.

    >>> _small(0.0312), _small(1e-9)
    ('0.031', '< 0.001')
    """
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def write(result: dict[str, Any], out: Path) -> None:
    """drift.json and drift.html in a folder."""
    drawn = [(picture(one, result["groups"]), f"{one['name']}: {one['said']}") for one in result["tests"][:DRAWN]]
    html = page.render(
        "drift.html",
        title=f"What has moved in {result['store']['name']}",
        result=result,
        moved=[one for one in result["tests"] if one["moved"] == "moved"],
        columns=COLUMNS,
        lines=[line(one) for one in result["tests"]],
        figures=drawn,
        skipped=[[name, why] for name, why in result["skipped"].items()],
    )
    out.mkdir(parents=True, exist_ok=True)
    with files.whole_file(out / "drift.html") as part:
        part.write_text(html, encoding="utf-8")
    files.write_json(out / "drift.json", result)
    console.say(f"written to {out}: drift.json, drift.html")


def picture(one: dict[str, Any], groups: list[dict[str, Any]]) -> bytes:
    """The distributions of both groups, as SVG."""
    shares = [np.array(side) / max(sum(side), 1) for side in one["counts"]]
    series = {group["name"]: share.tolist() for group, share in zip(groups, shares, strict=True)}
    if one["kind"] == "number":
        return figures.two_histograms(one["edges"], series, name=one["name"])
    shown = one["values"][:VALUES]
    if len(shown) < len(one["values"]):
        series = {name: [*share[:VALUES], sum(share[VALUES:])] for name, share in series.items()}
        shown = [*shown, "all others"]
    return figures.two_bars([page.shorten(value, 40) for value in shown], series)
