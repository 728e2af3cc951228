"""Reports of Open-i (Indiana University): one XML file each, `AbstractText` by section."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.parsers import expat

from mmssl.data.report_files.members import Member
from mmssl.data.report_files.plain import named
from mmssl.data.report_files.record import Options, Place, Record, Rejected, language
from mmssl.errors import Unreadable

ENDINGS = (".xml",)


def records(member: Member, options: Options) -> Iterator[Record | Rejected]:
    """The one report of a file; its number and its `uId` (CXR207) are tried as keys.

    The dates in it are those of publication, and say nothing of the examination.
    """
    place = Place(member.name)
    try:
        root = parsed(member.read())
    except Unreadable as error:
        yield Rejected(error.reason, place)
        return
    parts = root.findall(".//AbstractText")
    if root.tag != "eCitation" or root.find(".//Abstract") is None:
        yield Rejected("other_xml", place)
        return
    text = "\n".join(_section(part) for part in parts if _words(part))
    uid = root.find("uId")
    keys = named(member.stem) | ({"AccessionNumber": uid.get("id", "")} if uid is not None and uid.get("id") else {})
    yield Record(member.stem, text, place, keys=keys, language=language(root.findtext(".//Language")))


def _section(part: ElementTree.Element) -> str:
    label = (part.get("Label") or "").strip()
    return f"{label}: {_words(part)}" if label else _words(part)


def _words(part: ElementTree.Element) -> str:
    return re.sub(r"\s+", " ", "".join(part.itertext())).strip()


def parsed(content: bytes) -> ElementTree.Element:
    """An XML document that declares no entities; nothing outside it is ever read.

    Raises:
        Unreadable: bad_xml, xml_entities.
    """
    try:
        look = expat.ParserCreate()
        look.EntityDeclHandler = _refuse
        look.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError):
        raise Unreadable("bad_xml") from None


def _refuse(*declared: object) -> None:
    raise Unreadable("xml_entities")
