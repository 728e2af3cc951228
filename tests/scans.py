"""Series of DICOM slices made for tests: a phantom with markers by which every swap and flip is seen, in any direction.

The phantom is a function of the place in the patient (millimetres, LPS), so that what any voxel must hold is known
from where it lies, whatever the direction of the slices.
"""

import math

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

CLASSES = {"CT": uid.CTImageStorage, "MR": uid.MRImageStorage, "PT": uid.PositronEmissionTomographyImageStorage}
ENHANCED = {"CT": uid.EnhancedCTImageStorage, "MR": uid.EnhancedMRImageStorage}

AXIAL = (1, 0, 0), (0, 1, 0)
CORONAL = (1, 0, 0), (0, 0, -1)
SAGITTAL = (0, 1, 0), (0, 0, -1)
PRONE = (-1, 0, 0), (0, -1, 0)
FEET_FIRST = (-1, 0, 0), (0, 1, 0)


def turned(directions, degrees):
    """Directions of rows and columns, turned about three axes one after the other."""
    found = np.array(directions, float)
    for axis, angle in enumerate(np.radians(degrees)):
        c, s = math.cos(angle), math.sin(angle)
        rotation = np.insert(np.insert([[c, -s], [s, c]], axis, 0, axis=0), axis, 0, axis=1)
        rotation[axis, axis] = 1
        found = found @ rotation.T
    return tuple(map(tuple, found))


ORIENTATIONS = {
    "axial": AXIAL,
    "coronal": CORONAL,
    "sagittal": SAGITTAL,
    "prone": PRONE,
    "feet_first": FEET_FIRST,
    "oblique": turned(AXIAL, (12, -25, 8)),
    "double_oblique_coronal": turned(CORONAL, (-17, 9, 31)),
    "oblique_sagittal": turned(SAGITTAL, (7, 14, -21)),
}


def phantom(place):
    """Hounsfield units of places [..., 3] in LPS: air, an ellipsoid of tissue, and a marker of its own at each side."""
    x, y, z = np.moveaxis(np.asarray(place), -1, 0)
    units = np.where((x / 30) ** 2 + (y / 24) ** 2 + (z / 27) ** 2 < 1, 40.0 + x + 2 * y - z, -1000.0)
    balls = [((18, 0, 0), 7, 300), ((0, -14, 0), 6, 500), ((0, 0, 16), 8, 700), ((-12, 8, -10), 5, 900)]
    for centre, radius, value in balls:  # left, front, head; one between
        distance = sum((a - b) ** 2 for a, b in zip((x, y, z), centre, strict=True))
        units = np.where(distance < radius**2, value + x, units)
    return np.rint(units)


class Slice:
    """One slice of a scan, with what its header and its pixels are made of."""

    def __init__(self, number, position, values, header):
        self.number, self.position, self.values, self.header = number, position, values, header


class Scan:
    """A scan: slices of `directions` through the phantom, `step` mm apart, which lean by `tilt` degrees."""

    def __init__(self, modality="CT", directions=AXIAL, *, count=12, rows=40, columns=48, spacing=(1.5, 1.25), step=4.0,
                 tilt=0.0, reverse=False, shift=0.0, series="1", **header):  # fmt: skip
        self.modality, self.directions, self.spacing = modality, directions, spacing
        row, column = (np.asarray(one, float) for one in directions)
        normal = np.cross(row, column)
        slide = normal + column * math.tan(math.radians(tilt))
        corner = -row * spacing[1] * (columns - 1) / 2 - column * spacing[0] * (rows - 1) / 2 + shift
        self.slices = []
        for number in range(count):
            position = corner + slide * step * (number - (count - 1) / 2)
            i, j = np.meshgrid(np.arange(columns), np.arange(rows))
            places = position + i[..., None] * row * spacing[1] + j[..., None] * column * spacing[0]
            self.slices.append(Slice(count - number if reverse else number + 1, position, phantom(places), {}))
        self.header = {
            "SeriesInstanceUID": f"1.2.826.0.1.3680043.8.498.77.{series}",
            "SeriesNumber": series.split(".")[-1],
            "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.77",
            "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.78",
            "PatientID": "P1",
            "PatientName": "Nobody",
            "PatientPosition": "HFS",
            "StudyDate": "20240101",
            "StudyTime": "120000",
            "Manufacturer": "GE MEDICAL SYSTEMS",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SliceThickness": step + 1,  # a trap: slices overlap, the distance is that of the positions
            **({"GantryDetectorTilt": tilt} if tilt else {}),
            **({"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"} if modality == "CT" else {}),
            **({"EchoTime": 20, "RepetitionTime": 500, "MagneticFieldStrength": 1.5} if modality == "MR" else {}),
            **header,
        }

    def affine(self):
        """Of the volume, worked out by hand: columns, rows, slices in the order of the normal; RAS."""
        row, column = (np.asarray(one, float) for one in self.directions)
        positions = [one.position for one in self.slices]
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = row * self.spacing[1], column * self.spacing[0]
        affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
        affine[:3, 3] = positions[0]
        return np.diag([-1, -1, 1, 1]) @ affine

    def values(self):
        """[X, Y, Z] of that volume; numbers of an MR have no unit, and none of them is negative."""
        units = np.stack([one.values for one in self.slices], axis=-1).transpose(1, 0, 2)
        return units if "RescaleIntercept" in self.header else units + 1024

    def write(self, folder):
        """The files, named in an order of no meaning."""
        names = [f"{(7 * number) % 97:02d}_{number}.dcm" for number in range(len(self.slices))]
        paths = []
        for name, one in zip(names, self.slices, strict=True):
            save(self.dataset(one), folder / name)
            paths.append(folder / name)
        return paths

    def dataset(self, one):
        series = self.header["SeriesInstanceUID"]
        header = {keyword: value for keyword, value in {**self.header, **one.header}.items() if value is not None}
        slope, intercept = header.get("RescaleSlope", 1), header.get("RescaleIntercept", -1024)
        stored = np.rint((one.values - intercept) / slope).astype("<i2" if header.get("signed") else "<u2")
        made = blank(CLASSES[self.modality], stored, signed=bool(header.pop("signed", False)))
        made.SOPInstanceUID = f"{series}.{one.number}"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.Modality, made.InstanceNumber = self.modality, one.number
        made.PixelSpacing = list(self.spacing)
        made.ImageOrientationPatient = [f"{value:.8f}" for direction in self.directions for value in direction]
        if one.position is not None:
            made.ImagePositionPatient = [f"{value:.6f}" for value in one.position]
        for keyword, value in header.items():
            setattr(made, keyword, value)
        return made

    def enhanced(self, order=None, *, thickness=9.0):
        """All of it as one file of many frames, which come in any order."""
        order = list(range(len(self.slices))) if order is None else order
        stored = np.stack([self.slices[place].values + 1024 for place in order]).astype("<u2")
        made = blank(ENHANCED[self.modality], stored, signed=False)
        for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "ImageType",
                        "SeriesNumber", "Manufacturer", "PatientName", "StudyDate", "StudyTime"):  # fmt: skip
            setattr(made, keyword, self.header[keyword])
        made.Modality, made.NumberOfFrames, made.InstanceNumber = self.modality, len(order), 1
        made.SOPInstanceUID = f"{self.header['SeriesInstanceUID']}.9"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        orientation = [value for direction in self.directions for value in direction]
        shared = group(
            PlaneOrientationSequence={"ImageOrientationPatient": orientation},
            PixelMeasuresSequence={"PixelSpacing": list(self.spacing), "SliceThickness": thickness},
        )
        made.SharedFunctionalGroupsSequence = Sequence([shared])
        frames = []
        for number, place in enumerate(order, 1):
            one = self.slices[place]
            content = {"StackID": "1", "InStackPositionNumber": place + 1, "DimensionIndexValues": [1, place + 1]}
            frame = group(
                PlanePositionSequence={"ImagePositionPatient": [float(value) for value in one.position]},
                FrameContentSequence={**content, "FrameAcquisitionNumber": number, **one.header},
                PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
            )
            frames.append(frame)
        made.PerFrameFunctionalGroupsSequence = Sequence(frames)
        return made


def group(**macros):
    """A functional group: {sequence: {keyword: value}}."""
    found = Dataset()
    for sequence, values in macros.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(found, sequence, Sequence([item]))
    return found


def blank(kind, stored, *, signed):
    """A data set around pixels, [H, W] or [frames, H, W]."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = kind
    made.Rows, made.Columns = stored.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, int(signed)
    made.PixelData = stored.tobytes()
    made["PixelData"].VR = "OW"
    return made


def save(made, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, made, enforce_file_format=True)
    return path
