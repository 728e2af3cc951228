"""What other people's programs see in a DICOM file: dcmtk and gdcm, never pydicom or mmssl.

`stored` gives the values of a file's frames before anything is done to them, `shown` the grey or RGB picture that dcmtk
draws of one. Encapsulated pixels are decompressed by the program of their transfer syntax; the numbers are then cut out
of the native pixel data by the header as dcmdump tells it.
"""

import re
import subprocess

import numpy as np
from PIL import Image

JPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
RLE = "1.2.840.10008.1.2.5"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")

HALVED = ("YBR_FULL_422", "YBR_PARTIAL_422")

TAGS = {
    "syntax": "0002,0010", "samples": "0028,0002", "photometric": "0028,0004", "planar": "0028,0006",
    "frames": "0028,0008", "rows": "0028,0010", "columns": "0028,0011", "allocated": "0028,0100",
    "bits": "0028,0101", "high": "0028,0102", "signed": "0028,0103", "segmented": "0028,1221",
}  # fmt: skip

_LINE = re.compile(r"\(([0-9a-f]{4},[0-9a-f]{4})\) \w\w (?:\[(.*?)\]|(\S+))")


class CannotSay(Exception):
    """The programs cannot read the file either, or not this part of it."""


def _run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise CannotSay(f"{command[0]} gave up")
    return done.stdout.decode("latin-1")


def header(path):
    """What dcmdump reads of the elements in TAGS, as text; nested ones left out."""
    wanted = [word for tag in TAGS.values() for word in ("+P", tag)]
    lines = _run("dcmdump", "-q", "-Un", "+p", *wanted, path).splitlines()
    found = {match[1]: match[2] or match[3] for line in lines if (match := _LINE.match(line))}
    return {name: found[tag].strip(" \0") for name, tag in TAGS.items() if tag in found}


def native(path, folder, program=None):
    """A copy with native pixels in little endian, made by `program` or by that of dcmtk for its transfer syntax."""
    syntax = header(path).get("syntax", NATIVE[0])
    of_syntax = [(JPEG, "dcmdjpeg"), (JPEG_LS, "dcmdjpls"), ((RLE,), "dcmdrle"), (NATIVE, "dcmconv")]
    program = program or next((one for syntaxes, one in of_syntax if syntax in syntaxes), "gdcmconv")
    out = folder / f"{program}.dcm"
    options = {"gdcmconv": ["--raw", "--explicit"], "dcmdjpeg": ["-q", "+cn"], "dcmconv": ["-q", "+te"]}
    _run(program, *options.get(program, ["-q"]), path, out)
    return out


def stored(path, folder, program=None):
    """Stored values of all frames, [frames, H, W] or [frames, H, W, 3] int64."""
    plain = native(path, folder, program)
    told = header(plain)
    raw = folder / "raw"
    _run("gdcmraw", "-i", plain, "-t", "7fe0,0010", "-o", raw)
    number = {name: int(text) for name, text in told.items() if text.isdigit()}
    if not {"rows", "columns", "allocated", "bits", "high"} <= number.keys():
        raise CannotSay("no picture is described")
    frames, samples = number.get("frames", 1), number.get("samples", 1)
    halved = told.get("photometric") in HALVED and program is None and told["syntax"] == header(path)["syntax"]
    size = frames * number["rows"] * number["columns"] * (2 if halved else samples)
    data = raw.read_bytes()
    if number["allocated"] in (1, 12):
        cells = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: size * number["allocated"]]
        values = cells.reshape(-1, number["allocated"]).astype(np.int64) @ (1 << np.arange(number["allocated"]))
    else:
        values = np.frombuffer(data[: size * number["allocated"] // 8], f"<u{number['allocated'] // 8}")
    if values.size < size:
        raise CannotSay("the file is cut short")
    values = values[:size].astype(np.int64) >> (number["high"] + 1 - number["bits"])
    values &= 2 ** number["bits"] - 1
    if number.get("signed"):
        values -= (values >> (number["bits"] - 1)) << number["bits"]
    shape = (frames, number["rows"], number["columns"])
    if halved:  # two grey values, then blue and red for both pixels
        pairs = values.reshape(-1, 4)
        return np.stack([pairs[:, (0, 2, 3)], pairs[:, (1, 2, 3)]], axis=1).reshape(*shape, 3)
    if samples == 1:
        return values.reshape(shape)
    if number.get("planar"):
        return np.moveaxis(values.reshape(frames, samples, *shape[1:]), 1, -1)
    return values.reshape(*shape, samples)


def shown(path, folder, *options, frame=0):
    """The picture that dcmtk draws of a frame, [H, W] or [H, W, 3] int64."""
    told = header(path)
    syntax = told.get("syntax", NATIVE[0])
    program = "dcml2pnm" if syntax in JPEG_LS else "dcmj2pnm"
    if syntax not in (*NATIVE, *JPEG, *JPEG_LS, RLE):
        path = native(path, folder)
    if "segmented" in told:  # dcmtk knows none
        _run("gdcmconv", "--decompress-lut", path, folder / "whole.dcm")
        path = folder / "whole.dcm"
    out = folder / "shown.pnm"
    out.unlink(missing_ok=True)
    _run(program, "-q", "-O", "+F", frame + 1, *options, path, out)
    if not out.exists():
        raise CannotSay(f"{program} gave up")
    with Image.open(out) as image:
        return np.asarray(image).astype(np.int64)
