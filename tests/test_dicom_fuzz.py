"""Headers with bytes changed at random: a picture comes out, or a reason code; nothing else, and no crash."""

from pathlib import Path

import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmssl.data import dicom, images
from mmssl.errors import Unreadable
from tests.test_dicom import dataset, ramp, save

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.suffix in (".dcm", ""))


def pictures(data):
    return [images.standardise(frame.image) for frame in dicom.pixels(data, max_frames=2)]


def outcome(data, way):
    """What `way` makes of a file: a reason code that has a meaning, or None."""
    try:
        way(data)
    except Unreadable as error:
        return error.reason
    return None


def assert_read_or_refused(data):
    for way in (dicom.read, pictures):
        assert outcome(data, way) in {None, *dicom.REASONS}


@pytest.mark.filterwarnings("error")
@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from([path for path in FILES if path.stat().st_size < 100_000]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_bytes_of_a_header_changed_at_random(path, changes):
    data = bytearray(path.read_bytes())
    end = data.rfind(b"\xe0\x7f\x10\x00") + 12  # of the header: what native decoders make of codes is for other tests
    end = min(len(data), end) if end > 12 else len(data)
    for place, byte in changes:
        data[int(place * (end - 1))] = byte
    assert_read_or_refused(bytes(data))


def test_what_was_found_by_changing_bytes():
    """Each of these once raised what was no `Unreadable`."""
    data = save(dataset(ramp(), PatientAge="0304Y"))
    assert_read_or_refused(data.replace(b"0304Y", b"0\xb24Y "))
    place = data.index(b"\xe0\x7f\x10\x00OW")
    assert_read_or_refused(data[: place + 4] + b"OG" + data[place + 6 :])
