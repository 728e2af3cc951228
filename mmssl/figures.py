"""Pictures of results as bytes of SVG or PNG, to be saved, or shown in a page by `mmssl.page.data_uri`.

matplotlib is imported when something is drawn, without its global state or a display; the same numbers give the same
bytes.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["svg", "png"]
GREY = "#8a8f98"
BLUE = "#2563a8"
ORANGE = "#c8641e"
GREEN = "#3d8b5f"


class Curve(NamedTuple):
    """One label's ROC curve."""

    name: str
    false: ArrayLike
    """False positive rates from 0 to 1, as `metrics.roc` gives them."""
    true: ArrayLike
    area: float


class Bins(NamedTuple):
    """One reliability curve: what `metrics.reliability` gives, and its calibration error."""

    name: str
    probability: ArrayLike
    share: ArrayLike
    count: ArrayLike
    error: float


class Bar(NamedTuple):
    """One value with its interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def roc_curves(curves: Sequence[Curve], *, format: Format = "svg") -> bytes:
    """ROC curves of labels, the best area first in the legend."""
    from matplotlib import colormaps

    figure, axes = _new(6.4, 4.8)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    colours = colormaps["tab20"].colors if len(curves) > 10 else colormaps["tab10"].colors  # pyright: ignore
    for i, curve in enumerate(sorted(curves, key=lambda c: -c.area)):
        dashes = "-" if i < len(colours) else "--"
        axes.plot(
            np.asarray(curve.false), np.asarray(curve.true), color=colours[i % len(colours)], linestyle=dashes,
            linewidth=1.4, label=f"{_plain(curve.name)} {curve.area:.2f}",
        )  # fmt: skip
    _square(axes, "false positive rate", "true positive rate")
    if curves:
        axes.legend(
            title="AUROC", loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7, title_fontsize=8, frameon=False,
            ncols=1 + (len(curves) - 1) // 24,
        )  # fmt: skip
    return _bytes(figure, format)


def reliability_diagram(curves: Sequence[Bins], *, format: Format = "svg") -> bytes:
    """How often what is said with a probability is so: on the diagonal where it can be believed.

    A dot's area follows the number of rows in its bin.
    """
    figure, axes = _new(4.8, 4.8)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for curve, colour in zip(curves, (ORANGE, BLUE, GREY), strict=False):
        count = np.asarray(curve.count, float)
        sizes = 12 + 160 * count / max(float(count.sum()), 1.0)
        label = f"{_plain(curve.name)}, ECE {curve.error:.3f}"
        axes.plot(np.asarray(curve.probability), np.asarray(curve.share), color=colour, linewidth=1)
        axes.scatter(
            np.asarray(curve.probability), np.asarray(curve.share), s=sizes, color=colour, alpha=0.7, label=label
        )
    _square(axes, "probability said", "share that is so")
    if curves:
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(curves), fontsize=8, frameon=False, markerscale=0.6
        )
    return _bytes(figure, format)


def loss_curve(
    steps: Sequence[float],
    losses: Sequence[float],
    *,
    validation: tuple[Sequence[float], Sequence[float], str] | None = None,
    format: Format = "svg",
) -> bytes:
    """The training loss and its running mean over steps; beside it a validation metric (steps, values, name)."""
    figure, axes = _new(6.4, 3.2)
    x, y = np.asarray(steps, float), np.asarray(losses, float)
    axes.plot(x, y, color=BLUE, linewidth=0.6, alpha=0.35)
    if len(y):
        window = max(1, len(y) // 40)
        sums = np.cumsum(np.concatenate([[0.0], y]))
        ends = np.arange(1, len(y) + 1)
        begins = np.maximum(ends - window, 0)
        axes.plot(x, (sums[ends] - sums[begins]) / (ends - begins), color=BLUE, linewidth=1.6, label="training loss")
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color=BLUE)
    if validation is not None:
        beside = axes.twinx()
        beside.plot(validation[0], validation[1], color=ORANGE, marker="o", markersize=3, linewidth=1.2)
        beside.set_ylabel(validation[2], color=ORANGE)
        beside.spines["top"].set_visible(False)
        beside.tick_params(labelsize=8)
    return _bytes(figure, format)


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, format: Format = "svg") -> bytes:
    """Values over steps, a line for each name: {name: (steps, values)}; a single line's name labels the axis."""
    figure, axes = _new(6.4, 2.6)
    for (name, (x, y)), colour in zip(series.items(), itertools.cycle((BLUE, ORANGE, GREEN, GREY)), strict=False):
        marker = "o" if len(x) < 40 else None
        axes.plot(x, y, color=colour, linewidth=1.2, marker=marker, markersize=3, label=_plain(name))
    axes.set_xlabel("step")
    if len(series) == 1:
        axes.set_ylabel(_plain(next(iter(series))))
    else:
        axes.legend(fontsize=8, frameon=False)
    return _bytes(figure, format)


def bar_table(bars: Sequence[Bar], *, chance: float | None = None, format: Format = "svg") -> bytes:
    """Values as bars with their intervals, one line each, from top to bottom; a dotted line where chance is."""
    figure, axes = _new(6.4, 0.9 + 0.27 * max(len(bars), 1))
    places = np.arange(len(bars))
    axes.barh(places, [bar.value for bar in bars], color=BLUE, alpha=0.75, height=0.62)
    for place, bar in zip(places, bars, strict=True):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [place, place], color="black", linewidth=1)
        end = max(bar.value, bar.high if bar.high is not None else bar.value)
        axes.annotate(f"{bar.value:.2f}", (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    if chance is not None:
        axes.axvline(chance, color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(places, [_plain(bar.name) for bar in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08 if all(bar.value <= 1 for bar in bars) else None)
    return _bytes(figure, format)


def two_histograms(
    edges: Sequence[float], shares: Mapping[str, Sequence[float]], *, name: str, format: Format = "svg"
) -> bytes:
    """Shares of two groups in bins [K + 1 edges]: {group: shares [K]}, the first in grey."""
    figure, axes = _new(5.2, 2.6)
    for (group, share), colour in zip(shares.items(), (GREY, BLUE), strict=True):
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(share, edges, color=colour, linewidth=1.4, label=_plain(group))
    axes.set_xlabel(_plain(name))
    axes.set_ylabel("share")
    axes.legend(fontsize=8, frameon=False)
    return _bytes(figure, format)


def two_bars(names: Sequence[str], shares: Mapping[str, Sequence[float]], *, format: Format = "svg") -> bytes:
    """Shares of two groups, a pair of bars for each name from top to bottom: {group: shares}, the first in grey."""
    figure, axes = _new(5.2, 1.0 + 0.38 * len(names))
    places = np.arange(len(names))
    for (group, share), colour, shift in zip(shares.items(), (GREY, BLUE), (-0.19, 0.19), strict=True):
        axes.barh(places + shift, share, height=0.36, color=colour, alpha=0.8, label=_plain(group))
        for place, value in zip(places + shift, share, strict=True):
            axes.annotate(f"{value:.0%}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(places, [_plain(name) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(max(share) for share in shares.values()))
    axes.set_xlabel("share")
    axes.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return _bytes(figure, format)


def _new(width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _plain(name: str) -> str:
    """A name whose dollar signs are no formula."""
    return name.replace("$", r"\$")


def _square(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _bytes(figure: "Figure", format: Format) -> bytes:
    import matplotlib

    held = io.BytesIO()
    about = {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "mmssl", "svg.fonttype": "path"}):
        figure.savefig(held, format=format, dpi=144, metadata=about, bbox_inches="tight", pad_inches=0.1)
    return held.getvalue()
