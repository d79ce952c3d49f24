"""A synthetic chest radiograph, drawn by formula: for the demo, golden cases and tests. It depicts no person.

Every structure adds to or takes from one attenuation map, 0 (direct exposure, black) .. 1 (white). Coordinates: `x`
runs -1 .. 1 from the left to the right edge of the image (the patient's right side is at -1), `y` 0 .. 1 downwards.
"""

import io
import math
import uuid
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxr_edge.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset

    Plane = NDArray[np.floating]  # attenuation, float32, broadcasts to (rows, columns)

BITS_STORED = 12
STORED_MAX = 2**BITS_STORED - 1
SIDE_MAX = 2**16 - 1  # Rows and Columns are US, PS3.3 C.7.6.3
UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "phantom.cxr-edge.invalid")


class _Grid(NamedTuple):
    """float32 coordinates that broadcast to (rows, columns)."""

    x: "Plane"
    y: "Plane"


def chest_phantom(rows: int, columns: int, *, seed: int = 0, opacity: float = 0.0) -> "NDArray[np.uint8]":
    """Draws a synthetic frontal chest radiograph.

    The pixels equal the standard rendering (PS3.3 C.11.2.1.2) of `phantom_dicom` with the same arguments.

    Args:
        rows: height in pixels, at least 1.
        columns: width in pixels, at least 1.
        seed: chooses anatomy and noise; the same seed gives the same pixels.
        opacity: 0 clear lungs .. 1 a dense consolidation in the right lower zone (on the left of the image).

    Returns:
        uint8 (rows, columns), 0 black .. 255 white, C-contiguous.

    Raises:
        UsageError: rows or columns below 1, seed below 0, or opacity outside 0 .. 1.
    """
    stored = _stored_values(rows, columns, seed, opacity)
    return np.asarray(stored.astype(np.uint32) * 255 // STORED_MAX, dtype=np.uint8)


def phantom_dicom(*, rows: int = 1024, columns: int = 840, seed: int = 0, opacity: float = 0.0) -> bytes:
    """Makes a DICOM file of the phantom: Digital X-Ray Image - For Presentation (PS3.3 A.26), explicit little endian.

    12 bits stored in 16, MONOCHROME2, one window over the whole range. UIDs are `2.25.` and the integer of a version 5
    UUID (PS3.5 B.2) in `UID_NAMESPACE`: patient, study and series follow from the seed alone, so phantoms of one seed
    are one study; the SOP instance follows from all arguments.

    Args:
        rows: height in pixels, 1 .. 65535.
        columns: width in pixels, 1 .. 65535.
        seed: as for `chest_phantom`.
        opacity: as for `chest_phantom`.

    Returns:
        the complete file.

    Raises:
        UsageError: as for `chest_phantom`, and where rows or columns exceed 65535.
    """
    import pydicom

    dataset = pydicom.Dataset()
    _describe_patient_and_study(dataset, seed)
    _describe_acquisition(dataset)
    _describe_image(dataset, f"instance:{rows}:{columns}:{seed}:{opacity!r}", seed)
    _put_pixels(dataset, _stored_values(rows, columns, seed, opacity))
    dataset.file_meta = _file_meta(dataset)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True, little_endian=True, implicit_vr=False)
    return buffer.getvalue()


def _stored_values(rows: int, columns: int, seed: int, opacity: float) -> "NDArray[np.uint16]":
    """The 12-bit radiograph, uint16 (rows, columns)."""
    if not (1 <= rows <= SIDE_MAX and 1 <= columns <= SIDE_MAX):
        message = f"a phantom of {rows} rows and {columns} columns; need 1 to {SIDE_MAX} of each"
        raise UsageError(message)
    if not 0.0 <= opacity <= 1.0:
        message = f"a phantom with opacity {opacity}; need 0 to 1"
        raise UsageError(message)
    if seed < 0:
        message = f"a phantom with seed {seed}; need 0 or more"
        raise UsageError(message)
    rng = np.random.Generator(np.random.PCG64(seed))
    grid = _Grid(
        x=(np.arange(0.5, columns, dtype=np.float32) * (2.0 / columns) - 1.0)[np.newaxis, :],
        y=(np.arange(0.5, rows, dtype=np.float32) / rows)[:, np.newaxis],
    )
    attenuation = _attenuation(grid, rng, opacity)
    return np.asarray(np.clip(attenuation * STORED_MAX, 0, STORED_MAX), dtype=np.uint16)


def _attenuation(grid: _Grid, rng: np.random.Generator, opacity: float) -> "Plane":
    """All structures, float32 (rows, columns), about 0 .. 1."""
    breadth, sway, level = (1.0 + 0.06 * (rng.random(3) - 0.5)).tolist()
    patient = _Grid(x=grid.x / breadth + (sway - 1.0), y=grid.y * level)
    body, heart, mediastinum = _body(patient), _heart(patient), _mediastinum(patient)
    air = _lungs(patient) * (1.0 - 0.92 * np.maximum(heart, mediastinum))
    total = 0.03 + body * (0.46 + 0.12 * patient.y) + 0.06 * heart + 0.10 * mediastinum
    total += body * _bones(patient) - air * (0.34 - 0.06 * np.abs(patient.x))
    total += air * (_vessels(patient, rng) + opacity * _consolidation(patient, rng))
    noise = rng.random(total.shape, dtype=np.float32) - 0.5
    return np.asarray(total + 0.03 * noise * (0.3 + total))


def _soft(distance: "Plane", softness: float) -> "Plane":
    """1 well inside (distance below 0) .. 0 well outside, with an edge about `softness` wide."""
    t = np.clip(0.5 - distance / (2.0 * softness), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _body(grid: _Grid) -> "Plane":
    """Neck, shoulders and trunk; thinner, so darker, towards the flanks."""
    neck, shoulder, trunk = 0.27, 1.12, 0.90
    to_shoulder = _soft(0.13 - grid.y, 0.09)
    to_trunk = _soft(0.36 - grid.y, 0.16)
    half_width = neck + (shoulder - neck) * to_shoulder + (trunk - shoulder) * to_trunk
    relative = np.abs(grid.x) / half_width
    thickness = np.sqrt(np.clip(1.0 - 0.75 * relative**2, 0.0, 1.0))
    return np.asarray(_soft(relative - 1.0, 0.03) * thickness)


def _lungs(grid: _Grid) -> "Plane":
    """Both lung fields, cut off below by the diaphragm, whose right dome stands higher under the liver."""
    t = np.clip((grid.y - 0.10) / 0.70, 0.0, 1.0)
    centre = 0.37 + 0.08 * t
    half_width = 0.38 * (1.0 - (1.0 - t) ** 2.6) ** 0.62 - 0.04
    side = np.abs(grid.x)
    right = _soft(grid.x, 0.02)
    dome = 0.755 - 0.03 * right + 0.62 * np.clip(side - 0.36, -0.3, 1.0) ** 2
    return _soft(np.abs(side - centre) - half_width, 0.035) * _soft(grid.y - dome, 0.018)


def _bones(grid: _Grid) -> "Plane":
    """Spine, ten pairs of ribs (posterior and fainter anterior arcs) and the clavicles."""
    side = np.abs(grid.x)
    cage = _soft(side - (0.80 - 0.42 * np.clip(0.42 - grid.y, 0.0, 1.0)), 0.02)
    total = np.zeros(np.broadcast_shapes(grid.x.shape, grid.y.shape), dtype=np.float32)
    for rib in range(10):
        height = 0.105 + 0.066 * rib
        posterior = height - 0.10 * side + (0.16 + 0.016 * rib) * side**2
        anterior = height + 0.30 - 0.36 * side**1.5
        for arc, half_width, density, extent in (
            (posterior, 0.0145, 0.075, _soft(0.06 - side, 0.03)),
            (anterior, 0.013, 0.035, _soft(0.30 - side, 0.12)),
        ):
            low, high = np.searchsorted(grid.y[:, 0], (arc.min() - 0.03, arc.max() + 0.03))
            total[low:high] += density * _tube(grid.y[low:high] - arc, half_width) * cage[low:high] * extent
    clavicle = 0.175 - 0.10 * side + 0.03 * np.sin(side * 6.0)
    total += 0.10 * _tube(grid.y - clavicle, 0.015) * _soft(0.07 - side, 0.02) * _soft(side - 0.78, 0.03)
    disc = 0.5 + 0.5 * np.cos(grid.y * (2.0 * math.pi * 17.0))
    spine = _soft(side - 0.075 - 0.02 * grid.y, 0.025) * (1.0 - 0.40 * disc**4)
    return np.asarray(total + 0.11 * spine)


def _tube(distance: "Plane", half_width: float) -> "Plane":
    """A hollow bone across its axis: dense cortex at both edges, lighter marrow between."""
    relative = distance / half_width
    return np.asarray(_soft(np.abs(relative) - 1.0, 0.35) * (0.62 + 0.38 * np.clip(relative**2, 0.0, 1.0)))


def _heart(grid: _Grid) -> "Plane":
    """The heart's shadow, two thirds of it on the patient's left."""
    ventricle_x, ventricle_y = grid.x - 0.17, grid.y - 0.645
    tilted = ventricle_x * 0.94 + ventricle_y * 0.55, ventricle_y * 0.98 - ventricle_x * 0.16
    ventricle = np.hypot(tilted[0] / 0.36, tilted[1] / 0.155)
    atrium = np.hypot((grid.x + 0.08) / 0.19, (grid.y - 0.63) / 0.14)
    return np.asarray(np.maximum(_soft(ventricle - 1.0, 0.10), _soft(atrium - 1.0, 0.14)))


def _mediastinum(grid: _Grid) -> "Plane":
    """Great vessels with the aortic knob, less the air in the trachea."""
    trunk = _soft(np.abs(grid.x - 0.01) - 0.125 - 0.05 * grid.y, 0.06) * _soft(0.06 - grid.y, 0.05)
    knob = _soft(np.hypot((grid.x - 0.13) / 0.10, (grid.y - 0.345) / 0.062) - 1.0, 0.30)
    trachea = _soft(np.abs(grid.x + 0.015) - 0.038, 0.022) * _soft(grid.y - 0.365, 0.025)
    return np.asarray(np.maximum(trunk, knob) - 0.65 * trachea)


def _vessels(grid: _Grid, rng: np.random.Generator) -> "Plane":
    """Pulmonary vessels: tapering lines that leave each hilum, and the hilum itself."""
    side = np.abs(grid.x)
    total = np.asarray(0.10 * np.exp(-(((side - 0.20) / 0.09) ** 2) - ((grid.y - 0.455) / 0.085) ** 2))
    down = 2.0 * (grid.y - 0.455)
    middle = int(np.searchsorted(grid.x[0], 0.0))
    for half, outwards in ((slice(0, middle), -grid.x - 0.16), (slice(middle, None), grid.x - 0.16)):
        out = outwards[:, half]
        for angle in np.linspace(-1.25, 1.35, 7).tolist():
            bend, turn = (rng.random(2) - 0.5).tolist()
            cosine, sine = math.cos(angle + 0.2 * turn), math.sin(angle + 0.2 * turn)
            along = cosine * out + sine * down
            across = cosine * down - sine * out - 0.5 * bend * along**2
            thinning = np.clip(1.0 - along / 0.62, 0.0, 1.0)
            width = 0.012 + 0.016 * thinning
            total[:, half] += 0.06 * thinning * _soft(-along, 0.03) * np.exp(-((across / width) ** 2))
    return total


def _consolidation(grid: _Grid, rng: np.random.Generator) -> "Plane":
    """Overlapping clouds in the right lower zone."""
    clear = np.ones(np.broadcast_shapes(grid.x.shape, grid.y.shape), dtype=np.float32)
    for _ in range(14):
        dx, dy, size, density = rng.random(4).tolist()
        distance = ((grid.x + 0.40 - 0.34 * (dx - 0.5)) / (0.07 + 0.09 * size)) ** 2
        distance = distance + ((grid.y - 0.60 - 0.20 * (dy - 0.5)) / (0.04 + 0.05 * size)) ** 2
        clear *= 1.0 - (0.25 + 0.35 * density) * np.exp(-distance)
    return 0.34 * (1.0 - clear)


def _uid(name: str) -> str:
    """A UUID-derived UID, PS3.5 B.2."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, name).int}"


def _code(value: str, scheme: str, meaning: str) -> "Dataset":
    """One item of a code sequence, PS3.3 8.8."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _describe_patient_and_study(dataset: "Dataset", seed: int) -> None:
    """Modules Patient, General Study, Patient Study, General Series and General Equipment (PS3.3 C.7)."""
    dataset.PatientName, dataset.PatientID = "PHANTOM^SYNTHETIC", f"PHANTOM-{seed}"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "", "O", "004Y"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid(f"study:{seed}"), _uid(f"series:{seed}")
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = "20260101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = "120000"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.StudyDescription = "Synthetic chest phantom"
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "DX", 1, "Synthetic chest phantom AP"
    dataset.Manufacturer, dataset.ManufacturerModelName = "cxr-edge", "synthetic phantom"
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = "1", "0"


def _describe_acquisition(dataset: "Dataset") -> None:
    """Modules DX Series, Anatomy Imaged, Positioning, Detector and Acquisition Context (PS3.3 C.8.11, C.7.6.14)."""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.BodyPartExamined, dataset.ImageLaterality, dataset.ViewPosition = "CHEST", "U", "AP"
    dataset.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    dataset.ViewCodeSequence = [_code("399348003", "SCT", "antero-posterior")]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.PatientOrientation, dataset.PositionerType = ["L", "F"], ""
    dataset.DetectorType, dataset.DetectorID, dataset.ImagerPixelSpacing = "DIRECT", "0", [0.3, 0.3]
    dataset.AcquisitionContextSequence = []


def _describe_image(dataset: "Dataset", instance: str, seed: int) -> None:
    """Modules General Image, DX Image, VOI LUT and SOP Common (PS3.3 C.7.6.1, C.8.11.3, C.11.2, C.12.1)."""
    from pydicom.uid import DigitalXRayImageStorageForPresentation

    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, _uid(instance)
    dataset.InstanceNumber, dataset.ImageType = 1, ["DERIVED", "PRIMARY"]
    dataset.ImageComments = "Synthetic phantom drawn by formula; depicts no person"
    dataset.DerivationDescription = f"Synthetic chest phantom, seed {seed}"
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (BITS_STORED - 1), 2**BITS_STORED
    dataset.WindowCenterWidthExplanation = "WHOLE RANGE"


def _put_pixels(dataset: "Dataset", stored: "NDArray[np.uint16]") -> None:
    """Module Image Pixel (PS3.3 C.7.6.3)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS_STORED, BITS_STORED - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.astype("<u2").tobytes()


def _file_meta(dataset: "Dataset") -> "FileMetaDataset":
    """The File Meta Information (PS3.10 7.1); an implementation UID of its own keeps the bytes reproducible."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(_uid("implementation")), "CXR-EDGE-PHANTOM"
    return meta
