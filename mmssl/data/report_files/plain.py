"""Reports as plain text, one a file."""

from collections.abc import Iterator

from mmssl.data.report_files.members import Member, decoded
from mmssl.data.report_files.record import Options, Place, Record, Rejected, status
from mmssl.errors import Unreadable

ENDINGS = (".txt",)


def records(member: Member, options: Options) -> Iterator[Record | Rejected]:
    """The one report of a file; a file's name is tried as every key, since it says nothing of which it is."""
    place = Place(member.name)
    try:
        text = decoded(member.read(), options.encoding).strip()
    except Unreadable as error:
        yield Rejected(error.reason, place)
        return
    yield Record(member.stem, text, place, keys=named(member.stem), status=status(None, text))  # type: ignore[arg-type]


def named(name: str) -> dict[str, str]:
    """What a report may be joined by whose only key is the name of its file."""
    return dict.fromkeys(("AccessionNumber", "StudyInstanceUID", "PatientID"), name)
