"""Reports as FHIR DiagnosticReport resources, one a line (NDJSON, as bulk export writes them)."""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from email.message import Message
from typing import Any, NamedTuple

from mmssl.data.report_files import html
from mmssl.data.report_files.members import DAMAGED, MOST_BYTES, Member, decoded
from mmssl.data.report_files.record import Options, Place, Record, Rejected, is_addendum, language, moment
from mmssl.errors import Unreadable

ENDINGS = (".ndjson", ".jsonl")

_STATUS = {
    "registered": "not_issued", "partial": "preliminary", "preliminary": "preliminary", "final": "final",
    "modified": "amended", "amended": "amended", "corrected": "amended", "appended": "addendum",
    "cancelled": "cancelled", "entered-in-error": "entered_in_error",
}  # fmt: skip
_DICOM_UID = "urn:dicom:uid"
_OID = "urn:oid:"


def records(member: Member, options: Options) -> Iterator[Record | Rejected]:
    """The report of each line, called by the resource's id, else by file and line."""
    try:
        with member.open() as file:
            number = 0
            while line := file.readline(MOST_BYTES + 1):
                number += 1
                place = Place(member.name, number)
                if len(line) > MOST_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MOST_BYTES)
                    yield Rejected("too_large", place)
                elif line.strip():
                    yield _of_line(line, options, place, f"{member.stem}#{number}")
    except DAMAGED:
        yield Rejected("unreadable", Place(member.name))


def _of_line(line: bytes, options: Options, place: Place, name: str) -> Record | Rejected:
    try:
        resource = json.loads(decoded(line, "utf-8"))
    except (ValueError, RecursionError):
        return Rejected("bad_json", place)
    except Unreadable as error:
        return Rejected(error.reason, place)
    if not isinstance(resource, dict):
        return Rejected("bad_json", place)
    if resource.get("resourceType") != "DiagnosticReport":
        return Rejected("bundle" if resource.get("resourceType") == "Bundle" else "other_resource", place)
    state = _STATUS.get(str(resource.get("status")), "unknown")
    if state in ("cancelled", "entered_in_error", "not_issued"):
        return Rejected(state, place)
    try:
        text = _text(resource, options)
    except Unreadable as error:
        return Rejected(error.reason, place)
    state = "addendum" if is_addendum(text) else state
    period = _dict(resource.get("effectivePeriod"))
    meta = _dict(resource.get("meta"))
    return Record(
        str(resource.get("id") or name), text, place, keys=_keys(resource), status=state,  # type: ignore[arg-type]
        issued=moment(resource.get("issued") or meta.get("lastUpdated"))[0],
        study_date=moment(resource.get("effectiveDateTime") or period.get("start"))[1],
        language=language(resource.get("language")), issuer=_patient(resource).system,
    )  # fmt: skip


# ---- text ----------------------------------------------------------------------------------------------------------


def _text(resource: dict[str, Any], options: Options) -> str:
    """The form as plain text, else as HTML, else the conclusion, else what stands for the whole resource.

    Raises:
        Unreadable: empty, no_plain_text, bad_encoding.
    """
    forms = _dicts(resource.get("presentedForm"))
    problems: list[str] = []
    for kind in ("text/plain", "text/html"):
        texts: list[str] = []
        for form in forms:
            if _kind(form)[0] == kind:
                try:
                    texts.append(_attached(form, options))
                except Unreadable as error:
                    problems.append(error.reason)
        if text := "\n".join(text for text in texts if text):
            return text
    conclusion = _words(resource.get("conclusion"))
    if conclusion:
        return conclusion if "\n" in conclusion or ":" in conclusion else f"IMPRESSION: {conclusion}"
    if text := html.text(_words(_dict(resource.get("text")).get("div"))):
        return text
    raise Unreadable(problems[0] if problems else "no_plain_text" if forms else "empty")


def _kind(form: dict[str, Any]) -> tuple[str, str | None]:
    """The media type of an attachment, and the character set that it names."""
    header = Message()
    header["Content-Type"] = _words(form.get("contentType"))
    return header.get_content_type() if _words(form.get("contentType")) else "", header.get_content_charset()


def _attached(form: dict[str, Any], options: Options) -> str:
    kind, named = _kind(form)
    data = _words(form.get("data"))
    if not data:
        raise Unreadable("no_plain_text")  # it lies at an address, and nothing is fetched
    try:
        content = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("bad_encoding") from None
    text = decoded(content, named or options.encoding)
    return html.text(text) if kind == "text/html" else text.strip()


# ---- keys ----------------------------------------------------------------------------------------------------------


class _Patient(NamedTuple):
    id: str | None
    system: str | None


def _keys(resource: dict[str, Any]) -> dict[str, str]:
    """By the types of identifiers: ACSN is an accession; one without a type is so too where there is no other."""
    orders = _referred(resource, "basedOn")
    studies = [*_referred(resource, "imagingStudy"), *_referred(resource, "study")]
    own = _dicts(resource.get("identifier"))
    of_orders = [one for order in orders for one in order]
    of_studies = [one for study in studies for one in study]
    numbers = [one for one in (*own, *of_orders, *of_studies) if _is_typed(one, "ACSN")]
    numbers = numbers or [one for one in of_orders if not _types(one)]
    numbers = numbers or [one for one in own if _is_typed(one, "FILL")] or [one for one in own if not _types(one)]
    found = {
        "AccessionNumber": "~".join(dict.fromkeys(_value(one) for one in numbers if _value(one))),
        "StudyInstanceUID": "~".join(
            dict.fromkeys(_value(one) for one in of_studies if one.get("system") == _DICOM_UID and _value(one))
        ),
        "PatientID": _patient(resource).id,
    }
    return {name: key for name, key in found.items() if key}


def _referred(resource: dict[str, Any], name: str) -> list[list[dict[str, Any]]]:
    """The identifiers of what a resource refers to: those beside the reference, and those of what is contained."""
    contained = {f"#{one.get('id')}": one for one in _dicts(resource.get("contained"))}
    found = []
    for reference in _dicts(resource.get(name)):
        inner = contained.get(_words(reference.get("reference")), {})
        found.append([*_dicts(reference.get("identifier")), *_dicts(inner.get("identifier"))])
    return found


def _patient(resource: dict[str, Any]) -> _Patient:
    """The medical record number, else another identifier, else the id of the Patient resource."""
    told = [one for each in _referred(resource, "subject") for one in each]
    told.sort(key=lambda one: not _is_typed(one, "MR"))
    named = next((one for one in told if _value(one)), None)
    if named is not None:
        return _Patient(_value(named), _words(named.get("system")) or None)
    reference = _words(_dict(resource.get("subject")).get("reference"))
    return _Patient(None if reference.startswith("#") else reference.rpartition("/")[2] or None, None)


def _value(identifier: dict[str, Any]) -> str:
    return _words(identifier.get("value")).removeprefix(_OID)


def _types(identifier: dict[str, Any]) -> list[str]:
    return [_words(one.get("code")) for one in _dicts(_dict(identifier.get("type")).get("coding"))]


def _is_typed(identifier: dict[str, Any], code: str) -> bool:
    return code in _types(identifier)


def _dicts(value: Any) -> list[dict[str, Any]]:
    """What may be one or several objects, or anything else, as a list of objects."""
    several: Iterable[Any] = value if isinstance(value, list) else [value]
    return [one for one in several if isinstance(one, dict)]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
