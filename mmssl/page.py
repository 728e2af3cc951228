"""HTML pages that are one file each: styles and pictures inside, no script, nothing loaded from anywhere.

A page extends `base.html` and takes cards, tables, facts and figures from `parts.html`.
"""

from __future__ import annotations

import base64
import io
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

RESEARCH_NOTE = "For research use only. Not a medical device: not for diagnosis, nor for any decision about a patient."


def render(template: str, **values: Any) -> str:
    """A page from `mmssl/templates`; whatever it shows is escaped, and a value it lacks is an error.

    >>> render("base.html", title="<Hits>").count("&lt;Hits&gt;")
    2
    """
    import jinja2

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"shown": shown, "data_uri": data_uri}
    pages.globals |= {"research_note": RESEARCH_NOTE}
    return pages.get_template(template).render(**values)


def thumbnail(image: Image.Image, *, side: int = 256) -> bytes:
    """JPEG of an 8-bit "L" or "RGB" image whose longer side is at most `side` pixels; never enlarged."""
    small = image.copy()
    small.thumbnail((side, side))
    held = io.BytesIO()
    small.save(held, "JPEG", quality=85)
    return held.getvalue()


def data_uri(data: bytes) -> str:
    """A JPEG, PNG or SVG as a page holds it: `<img src="{{ thumbnail | data_uri }}">`.

    >>> data_uri(bytes([0x89]) + b"PNG")
    'data:image/png;base64,iVBORw=='
    """
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg" if data.startswith(b"\xff\xd8") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def shorten(text: str, length: int) -> str:
    """The first words of a text, in at most `length` characters.

    >>> shorten("No effusion or pneumothorax.", 20)
    'No effusion or...'
    """
    return text if len(text) <= length else f"{text[: length - 3].rsplit(maxsplit=1)[0].rstrip(' .,;:')}..."


def years(age: float) -> str:
    """An age as people say it.

    >>> years(64.48), years(0.25)
    ('64 y', '3 months')
    """
    return f"{age:.0f} y" if age >= 2 else f"{age * 12:.0f} months"


def shown(value: object) -> str:
    """A value as a page shows it: three decimals, whole numbers bare, lists by comma, a hyphen for nothing.

    >>> [shown(v) for v in (0.51234, 60.0, None, ["blank", "dup"], True)]
    ['0.512', '60', '-', 'blank, dup', 'yes']
    """
    if value is None or value == "" or value == [] or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.3f}"
    if isinstance(value, datetime):
        midnight = (value.hour, value.minute, value.second) == (0, 0, 0)
        return f"{value:%Y-%m-%d}" if midnight else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(one) for one in value)
    return str(value)
