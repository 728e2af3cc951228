import doctest
import io

import jinja2
import pytest
from PIL import Image

from mmssl import page


def parts(call, **values):
    """A page that shows one part."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader("mmssl/templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    env.filters |= {"shown": page.shown, "data_uri": page.data_uri}
    return env.from_string('{% import "parts.html" as parts %}' + f"{{{{ parts.{call} }}}}").render(**values)


def test_examples_in_docstrings():
    assert doctest.testmod(page).failed == 0


def test_every_page_is_for_research_and_loads_nothing():
    text = page.render("base.html", title="A & B")
    assert "A &amp; B" in text
    assert page.RESEARCH_NOTE in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: light" in text
    for outside in ("http://", "https://", "<script", "@import", "<link", "url("):
        assert outside not in text


def test_a_value_that_a_page_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        page.render("base.html")


def test_whatever_is_shown_is_escaped():
    hostile = "<img src=x onerror=alert(1)>"
    for text in (
        parts("facts([(x, x)])", x=hostile),
        parts("table([x], [[x, x]], x)", x=hostile),
        parts("figure(image, x)", x=hostile, image=b"\xff\xd8"),
        parts("card(none, x, x, [x], [x], x, x, x, x)", x=hostile),
        page.render("base.html", title=hostile),
    ):
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text


def test_a_table_names_its_rows_and_columns():
    text = parts("table(['label', 'AUROC'], [['Edema', 0.91234], ['Nodule', none]], 'zero-shot')")
    assert "zero-shot" in text
    for said in ('<th scope="col">AUROC</th>', '<th scope="row">Edema</th>', "<td>0.912</td>", "<td>-</td>"):
        assert said in text


@pytest.mark.parametrize(
    ("size", "small"), [((512, 384), (256, 192)), ((100, 2000), (13, 256)), ((40, 30), (40, 30)), ((1, 1), (1, 1))]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_thumbnails_keep_their_shape_and_are_never_enlarged(size, small, mode):
    image = Image.new(mode, size, "gray")
    opened = Image.open(io.BytesIO(page.thumbnail(image)))
    assert (opened.format, opened.size, opened.mode) == ("JPEG", small, mode)
    assert image.size == size


def test_texts_are_shortened_between_words():
    assert page.shorten("one two three", 13) == "one two three"
    assert page.shorten("one two three", 12) == "one two..."
    assert page.shorten("pneumonoultramicroscopic", 10) == "pneumon..."


def test_pictures_are_held_by_their_kind():
    assert page.data_uri(b"\x89PNG....").startswith("data:image/png;base64,")
    assert page.data_uri(b"\xff\xd8....").startswith("data:image/jpeg;base64,")
    assert page.data_uri(b"<svg></svg>").startswith("data:image/svg+xml;base64,")
