"""DICOM files built in code, for tests to vary. No patient ever had this name."""

import io
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from cxr_edge.contract import Rendering

RENDERING = Rendering(dicom="ps3.3-c11-floor8", colour="pillow-l", exif_orientation="ignore")
PATIENT = "Nobody^Has^This^Name"
SOP_INSTANCE = "1.2.826.0.1.3680043.8.498.1"
STUDY_INSTANCE = "1.2.826.0.1.3680043.8.498.2"
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
Samples = NDArray[Any]


def gradient(rows: int = 40, columns: int = 56, bits: int = 12, *, signed: bool = False) -> Samples:
    """Stored values that use the whole range of `bits`, in a smooth pattern with some texture."""
    row, column = np.mgrid[0:rows, 0:columns]
    share = (row / (rows - 1) + column / (columns - 1)) / 2
    values = np.rint(share * ((1 << bits) - 1)).astype(np.int64)
    values[::3, ::5] = (values[::3, ::5] * 7) % (1 << bits)
    low = 1 << (bits - 1) if signed else 0
    samples: Samples = (values - low).astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    return samples


def make_dataset(samples: Samples, bits_stored: int = 12, **attributes: Any) -> FileDataset:
    """A chest CR in explicit VR little endian; an attribute given as None is left out."""
    values: dict[str, Any] = {
        "SOPClassUID": CR_STORAGE,
        "SOPInstanceUID": SOP_INSTANCE,
        "StudyInstanceUID": STUDY_INSTANCE,
        "PatientName": PATIENT,
        "Modality": "CR",
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
        "SamplesPerPixel": 1 if samples.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if samples.ndim == 2 else "RGB",
        "Rows": samples.shape[0],
        "Columns": samples.shape[1],
        "BitsAllocated": 8 * samples.dtype.itemsize,
        "BitsStored": bits_stored,
        "HighBit": bits_stored - 1,
        "PixelRepresentation": int(samples.dtype.kind == "i"),
        "PixelData": samples.astype(samples.dtype.newbyteorder("<")).tobytes(),
    }
    if samples.ndim == 3:
        values["PlanarConfiguration"] = 0
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CR_STORAGE)
    meta.MediaStorageSOPInstanceUID = UID(SOP_INSTANCE)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(io.BytesIO(), {}, file_meta=meta, preamble=bytes(128))
    for keyword, value in {**values, **attributes}.items():
        if value is not None:
            dataset.add(DataElement(keyword, dictionary_VR(keyword), value, validation_mode=IGNORE))
    if len(dataset.get("PixelData", b"")) % 2:
        dataset.PixelData += b"\0"
    return dataset


def to_bytes(dataset: FileDataset, transfer_syntax: str | None = None) -> bytes:
    """The file's bytes, in an uncompressed transfer syntax or in the data set's own."""
    if transfer_syntax is not None:
        dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    uid = dataset.file_meta.TransferSyntaxUID
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if uid.is_encapsulated or dataset.get("BitsAllocated", 16) <= 8 else "OW"
        dataset["PixelData"].is_undefined_length = uid.is_encapsulated
    dataset.set_original_encoding(uid.is_implicit_VR, uid.is_little_endian)
    if not uid.is_little_endian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    stream = io.BytesIO()
    dataset.save_as(
        stream, enforce_file_format=True, little_endian=uid.is_little_endian, implicit_vr=uid.is_implicit_VR
    )
    return stream.getvalue()


def make_file(samples: Samples | None = None, bits_stored: int = 12, **attributes: Any) -> bytes:
    """`to_bytes(make_dataset(...))`, with a gradient where no samples are given."""
    return to_bytes(make_dataset(gradient(bits=bits_stored) if samples is None else samples, bits_stored, **attributes))


def compressed(
    samples: Samples, transfer_syntax: str, frame: bytes, bits_stored: int = 12, **attributes: Any
) -> FileDataset:
    """A data set whose pixel data are one compressed frame."""
    dataset = make_dataset(samples, bits_stored, **attributes)
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    dataset.PixelData = encapsulate([frame])
    return dataset


def with_raw_element(dataset: FileDataset, keyword: str, value: bytes) -> bytes:
    """A file in Implicit VR Little Endian with one element put in as raw bytes, whatever its VR allows."""
    tag = Tag(keyword)
    if tag in dataset:
        del dataset[tag]
    data = to_bytes(dataset, ImplicitVRLittleEndian)
    at = data.index(b"\x08\x00\x16\x00")
    while True:
        group, element, length = struct.unpack_from("<HHI", data, at)
        if (group, element) > (tag.group, tag.element):
            return data[:at] + struct.pack("<HHI", tag.group, tag.element, len(value)) + value + data[at:]
        at += 8 + length


def make_lut(first: int, entries: list[int], bits: int = 16) -> Sequence:
    """A Modality or VOI LUT Sequence of one item."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "OW", struct.pack(f"<{len(entries)}H", *entries))
    return Sequence([item])


def rle_frame(samples: Samples) -> bytes:
    """One frame in RLE Lossless, by pydicom's own encoder."""
    from pydicom.pixels.encoders.base import get_encoder

    bits = 8 * samples.dtype.itemsize
    encoded: bytes = get_encoder(RLELossless).encode(
        samples.tobytes(),
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples_per_pixel=1 if samples.ndim == 2 else 3,
        bits_allocated=bits,
        bits_stored=bits,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2" if samples.ndim == 2 else "RGB",
        number_of_frames=1,
        planar_configuration=0,
        encoding_plugin="pydicom",
    )
    return encoded


def _jpeg_lossless(predictor: int) -> Callable[[Samples], bytes]:
    return lambda samples: bytes(
        imagecodecs.jpeg8_encode(samples, lossless=True, predictor=predictor, bitspersample=12)
    )


# Transfer syntax UID -> encoder of one 12-bit unsigned frame, each without loss
LOSSLESS_ENCODERS: dict[str, Callable[[Samples], bytes]] = {
    "1.2.840.10008.1.2.5": rle_frame,
    "1.2.840.10008.1.2.4.57": _jpeg_lossless(6),
    "1.2.840.10008.1.2.4.70": _jpeg_lossless(1),
    "1.2.840.10008.1.2.4.80": lambda samples: bytes(imagecodecs.jpegls_encode(samples)),
    "1.2.840.10008.1.2.4.81": lambda samples: bytes(imagecodecs.jpegls_encode(samples, level=0)),
    "1.2.840.10008.1.2.4.90": lambda samples: bytes(
        imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, bitspersample=12)
    ),
    "1.2.840.10008.1.2.4.91": lambda samples: bytes(
        imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, bitspersample=12)
    ),
    "1.2.840.10008.1.2.4.201": lambda samples: bytes(imagecodecs.htj2k_encode(samples, reversible=True)),
    "1.2.840.10008.1.2.4.202": lambda samples: bytes(imagecodecs.htj2k_encode(samples, reversible=True)),
    "1.2.840.10008.1.2.4.203": lambda samples: bytes(imagecodecs.htj2k_encode(samples, reversible=True)),
}
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
