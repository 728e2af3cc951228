from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from mmssl.embed import Embedder, flat, opened
from mmssl.errors import WrongUse


def test_a_picture_of_any_mode_is_flattened_and_a_plain_one_is_not_touched(tmp_path):
    values = np.array([[10, 200], [90, 30]], np.uint8)
    plain = Image.fromarray(values)
    assert flat(plain) is plain
    plain.save(tmp_path / "clear.png", transparency=200)
    assert np.asarray(flat(opened(tmp_path / "clear.png"))).tolist() == [[10, 0], [90, 30]]
    for name, picture in (("palette", plain.quantize(4)), ("bits", plain.convert("1")), ("alpha", plain.convert("LA"))):
        picture.save(tmp_path / f"{name}.png")
        assert np.asarray(flat(opened(tmp_path / f"{name}.png"))).tolist() == np.asarray(picture.convert("L")).tolist()


@pytest.fixture
def embedder():
    """One that would fail if it came to encode anything."""
    return Embedder(cast(Any, SimpleNamespace(joint=object())), info={}, path=Path("x"), hash="")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lung", "give a list: ['lung']"),
        (["lung", 3, None], "say ['left pleural effusion']; [1] is of type int; [2] is None"),
        (np.array(["lung"]), "give a list of texts, say ['left pleural effusion']; this is of type numpy.ndarray"),
    ],
)
def test_texts_that_are_no_list_of_texts_are_refused(embedder, given, said):
    with pytest.raises(WrongUse) as error:
        embedder.encode_text(given)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("film.png", "give a list: ['film.png']"),
        (Path("film.png"), "give a list: ['film.png']"),
        (Image.new("L", (9, 9)), "give a list: [image]"),
        (
            ["film.png", np.zeros((9, 9))],
            "give a list of PIL images or paths, say ['film.png']; [1] is of type numpy.ndarray",
        ),
        (np.zeros((2, 9, 9)), "say ['film.png']; this is of type numpy.ndarray"),
    ],
)
def test_images_that_are_no_list_of_images_are_refused(embedder, given, said):
    with pytest.raises(WrongUse) as error:
        embedder.encode_image(given)
    assert said in str(error.value)
