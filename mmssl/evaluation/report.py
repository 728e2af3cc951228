"""The results of a protocol on the screen and as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmssl import console, figures, page

METRICS = ("auroc", "auprc", "mcc", "f1")


def show(result: Mapping[str, Any]) -> None:
    """A table of labels and means, and what has no value or was left out."""
    counts = result["counts"]
    lines = [[name, *_line(one)] for name, one in [*_means(result), *result["labels"].items()]]
    title = (
        f"{named(result)}, {result['split']}: {counts['judged']} of {counts['studies']} studies, "
        f"{counts['patients']} patients"
    )
    columns = ["label", "n", "positives", "AUROC", "95 %", "AUPRC", "MCC", "F1"]
    console.table(title, columns, lines, is_result=True)
    for reason, names in _reasons(result, "reason").items():
        console.say(f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no AUROC: {reason}")
    for reason, names in _reasons(result, "threshold_reason").items():
        console.say(f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no MCC and no F1: {reason}")
    for what in ("studies", "images"):
        left = {reason: count for reason, count in counts[f"{what}_left"].items() if count}
        if left:
            console.say(f"{what} left out: {', '.join(f'{count} {reason}' for reason, count in left.items())}")


def html(result: Mapping[str, Any], curves: Sequence[figures.Curve]) -> str:
    """The page: one file that shows what was measured, on what, and how."""
    bars = [
        figures.Bar(name, one["auroc"], *(one["auroc_ci"] or (None, None)))
        for name, one in [*_means(result), *result["labels"].items()]
        if one["auroc"] is not None
    ]
    headline = result["headline"]
    value = "not defined" if headline["value"] is None else f"{headline['value']:.3f}"
    span = f" ({_span(headline['interval'])})" if headline["interval"] else ""
    return page.render(
        "evaluation.html",
        title=f"{named(result)}: {headline['name']} {value}{span}",
        result=result,
        lines=[[name, *_page_line(one)] for name, one in [*_means(result), *result["labels"].items()]],
        without=[[reason, ", ".join(names)] for reason, names in _without(result)],
        published=[[name, *_page_line(one)] for name, one in result["as_published"].items()],
        rows=_rows(result["counts"]),
        prompts=[[name, *(" | ".join(one[side]) for side in ("positive", "negative"))]
                 for name, one in result["prompts"].items()],
        hashes=_hashes(result),
        bars=figures.bar_table(bars, chance=0.5) if bars else None,
        roc=figures.roc_curves(curves) if curves else None,
    )  # fmt: skip


def named(result: Mapping[str, Any]) -> str:
    """The protocol's name, with a mark where it is not as it was published."""
    protocol = result["protocol"]
    return f"{protocol['name']}{' (modified)' if protocol['modified'] else ''}"


def _means(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(f"mean of {counted(one)}", one) for one in result["means"].values()]


def counted(mean: Mapping[str, Any]) -> str:
    """How many labels a mean is of, and should be of.

    >>> counted({"labels": 5, "of": 5}), counted({"labels": 2, "of": 5})
    ('5', '2 of the 5')
    """
    labels, of = mean["labels"], mean["of"]
    return str(of) if labels == of else f"{labels} of the {of}"


def _line(one: Mapping[str, Any]) -> list[Any]:
    counts = [one.get("n"), one.get("positives")]
    return [*counts, one["auroc"], _span(one["auroc_ci"]), one["auprc"], one["mcc"], one["f1"]]


def _page_line(one: Mapping[str, Any]) -> list[Any]:
    numbers = [f"{one[key]:.3f} ({_span(one[f'{key}_ci'])})" if one[f"{key}_ci"] else one[key] for key in METRICS]
    return [one.get("n"), one.get("positives"), *numbers, one.get("threshold")]


def _reasons(result: Mapping[str, Any], key: str) -> dict[str, list[str]]:
    """{reason: labels} of what has no value, each label once."""
    found: dict[str, list[str]] = {}
    for name, one in result["labels"].items():
        if one[key] and (key == "reason" or one["reason"] is None):
            found.setdefault(one[key], []).append(name)
    return found


def _without(result: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    return [*_reasons(result, "reason").items(), *_reasons(result, "threshold_reason").items()]


def _rows(counts: Mapping[str, Any]) -> list[list[Any]]:
    """What became of all images and studies."""
    judged = [[f"judged, {view}", count, count] for view, count in counts["views"].items()]
    images, studies = counts["images_left"], counts["studies_left"]
    left = [
        [f"left out: {why}", images.get(why, 0), studies.get(why, 0)]
        for why in {**images, **studies}
        if images.get(why) or studies.get(why)
    ]
    return [["all", counts["images"], counts["studies"]], *judged, *left]


def _hashes(result: Mapping[str, Any]) -> list[list[Any]]:
    models = [[f"checkpoint {one['path']}", one["hash"]] for one in result["checkpoints"]]
    store = result["store"]
    return [
        ["the protocol's definition", result["hashes"]["protocol"]],
        ["ids of the judged rows", result["hashes"]["rows"]],
        [f"store {store['path']}, version {store['version']}", store["content_hash"]],
        *models,
    ]


def _span(interval: Sequence[float] | None) -> str | None:
    return None if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
