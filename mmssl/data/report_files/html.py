"""The words of a report that was written as HTML."""

import re
from html.parser import HTMLParser

_BREAKS = frozenset(
    ("br", "p", "div", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "hr", "section")
)
_HIDDEN = frozenset(("script", "style", "head", "template"))


def text(html: str) -> str:
    r"""The words, a line where a browser begins one.

    >>> text("<div><b>FINDINGS:</b> Heart &lt; 50&nbsp;%.<br/>No effusion.</div><script>x</script>")
    'FINDINGS: Heart < 50 %.\nNo effusion.'
    """
    reader = _Words()
    reader.feed(html)
    reader.close()
    lines = "".join(reader.found).replace("\u00a0", " ").split("\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(" ".join(line.split()) for line in lines)).strip()


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.hidden = 0
        self.kept = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in _HIDDEN
        self.kept += tag == "pre"
        if tag in _BREAKS:
            self.found.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = max(0, self.hidden - (tag in _HIDDEN))
        self.kept = max(0, self.kept - (tag == "pre"))
        if tag in _BREAKS and tag != "br":
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.found.append(data if self.kept else re.sub(r"[ \t\r\n]+", " ", data))
