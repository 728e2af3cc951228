"""Pictures: complete files without anything outside them, the same for the same numbers."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from mmssl import figures

PICTURES = {
    "roc": lambda **o: figures.roc_curves(
        [figures.Curve(f"Label {i} & <co>", [0, 0.2, 1], [0, 0.7, 1], 0.75) for i in range(30)], **o
    ),
    "roc of nothing": lambda **o: figures.roc_curves([], **o),
    "reliability": lambda **o: figures.reliability_diagram(
        [figures.Bins("before", [0.1, 0.9], [0.0, 0.5], [30, 3], 0.2), figures.Bins("after", [], [], [], 0.0)], **o
    ),
    "loss": lambda **o: figures.loss_curve(
        range(1, 101), np.geomspace(5, 1, 100).tolist(), validation=([50, 100], [0.1, 0.4], "R@10"), **o
    ),
    "loss of one step": lambda **o: figures.loss_curve([1], [4.0], **o),
    "bars": lambda **o: figures.bar_table(
        [figures.Bar("Edema", 0.91, 0.88, 0.95), figures.Bar("$x^$ mass", 0.4)], chance=0.5, **o
    ),
    "bars of nothing": lambda **o: figures.bar_table([], **o),
    "two histograms": lambda **o: figures.two_histograms(
        [0, 1, 2], {"before": [0.5, 0.5], "now <&>": [1, 0]}, name="$age$", **o
    ),
    "two bars": lambda **o: figures.two_bars(["F", "M & $x$"], {"before": [0.5, 0.5], "now <&>": [1, 0]}, **o),
}


@pytest.mark.parametrize("name", PICTURES)
def test_svg_is_whole_and_stands_alone(name):
    svg = PICTURES[name](format="svg")
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert b"<image" not in svg
    assert b"<script" not in svg
    for one in root.iter():
        links = [value for key, value in one.attrib.items() if key.endswith("href")]
        assert all(link.startswith("#") for link in links)
    assert svg == PICTURES[name](format="svg")


def test_png():
    image = Image.open(io.BytesIO(PICTURES["roc"](format="png")))
    image.load()
    assert image.width > 600
    assert PICTURES["bars"](format="png") == PICTURES["bars"](format="png")


def test_the_running_mean_is_a_mean_of_the_last_values(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_bytes", lambda figure, _: drawn.append(figure))
    losses = np.random.default_rng(0).random(120)
    figures.loss_curve(range(120), losses.tolist())
    smooth = drawn[0].axes[0].lines[1].get_ydata()
    assert smooth[0] == pytest.approx(losses[0])
    assert smooth[50] == pytest.approx(losses[48:51].mean())


def test_importing_draws_nothing():
    code = "import sys, mmssl.figures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
