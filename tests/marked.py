"""Images that are full of marks, as patient data would stand in them; for tests that search for the marks elsewhere."""

import io
import struct
from collections.abc import Iterator

from dicom_files import gradient, make_dataset, to_bytes, with_raw_element
from PIL import Image, PngImagePlugin
from pydicom._dicom_dict import DicomDictionary
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from cxr_edge.phantom import chest_phantom

TEXT = "ZQ7CANARY"  # fits each VR of text, CS and AE too
CYRILLIC = "Кэнэрейка"
IN_PATHS = "Zq8Canary"
UIDS = "1.2.826.0.1.3680043.8.498.7757575"
TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
NUMBER_VRS = ("DS", "IS", "DA", "TM", "DT", "AS")
# what has to say something else in a file that is to be classified
SPOKEN_FOR = frozenset(
    {
        "BodyPartExamined",
        "Modality",
        "PatientOrientation",
        "PatientSpeciesDescription",
        "PhotometricInterpretation",
        "PixelPresentation",
        "PresentationIntentType",
        "PresentationLUTShape",
        "SpecificCharacterSet",
        "VOILUTFunction",
        "ViewPosition",
    }
)
CRASHES = "CRASHTHEDECODER"


def marked(number: int, *, instance: int | None = None) -> FileDataset:
    """A chest radiograph with a mark in every element of text that the standard knows, and in private ones."""
    dataset = make_dataset(gradient(rows=41 + number))
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in TEXT_VRS and keyword and keyword not in SPOKEN_FOR and tag >> 16 > 4 and keyword not in dataset:
            dataset.add(DataElement(tag, vr, f"{TEXT}^{TEXT}" if vr == "PN" else TEXT, validation_mode=IGNORE))
        elif vr == "UI" and keyword and tag >> 16 > 4 and keyword != "SOPClassUID":
            dataset.add(DataElement(tag, vr, f"{UIDS}.9.{tag}", validation_mode=IGNORE))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = f"{TEXT}^{CYRILLIC}"
    dataset.OtherPatientNames = f"{CYRILLIC}^{TEXT}"
    dataset.SOPInstanceUID = UID(f"{UIDS}.1.{number if instance is None else instance}")
    dataset.StudyInstanceUID = UID(f"{UIDS}.2")
    item = Dataset()
    item.RequestedProcedureDescription = item.ReasonForTheRequestedProcedure = TEXT
    dataset.RequestAttributesSequence = Sequence([item])
    block = dataset.private_block(0x0009, f"{TEXT} PRIVATE", create=True)
    for offset, vr in enumerate(("LO", "UT", "PN", "UI")):
        block.add_new(offset, vr, f"{UIDS}.3" if vr == "UI" else TEXT)
    meta = dataset.file_meta
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.SourceApplicationEntityTitle = meta.SendingApplicationEntityTitle = TEXT
    meta.ImplementationVersionName = TEXT
    meta.ImplementationClassUID = UID(f"{UIDS}.4")
    return dataset


def hostile() -> Iterator[tuple[str, bytes]]:
    """Files that cannot be classified because of a marked value, one each, and files that are broken."""
    for number, keyword in enumerate(sorted(SPOKEN_FOR - {"SpecificCharacterSet"}), start=100):
        yield keyword, _with(keyword, TEXT, number)
    yield "character set", to_bytes(marked(119)).replace(b"ISO_IR 192", TEXT.ljust(10).encode(), 1)
    for number, (keyword, value) in enumerate(
        {
            "SOPClassUID": f"{UIDS}.5",
            "Manufacturer": CRASHES,
            "PixelIntensityRelationship": TEXT,
            "ImageType": TEXT,
        }.items(),
        start=120,
    ):
        yield keyword, _with(keyword, value, number)
    for number, keyword in enumerate(
        ("Rows", "WindowCenter", "RescaleSlope", "NumberOfFrames", "BitsStored"), start=140
    ):
        yield f"raw {keyword}", with_raw_element(marked(number), keyword, f"{TEXT}{number}".ljust(12).encode())
    yield "transfer syntax", _with_transfer_syntax()
    whole = to_bytes(marked(150))
    yield "pixels missing", whole[: whole.rindex(b"\xe0\x7f\x10\x00")]
    yield "text", f"{TEXT} {CYRILLIC} {UIDS} this is a letter about a patient ".encode() * 20
    jpeg = marked_picture("JPEG", 151)
    yield "broken jpeg", jpeg[:300] + bytes(255 - byte for byte in jpeg[300:-2]) + jpeg[-2:]


def _with(keyword: str, value: str, number: int) -> bytes:
    dataset = marked(number)
    vr = next(vr for vr, _, _, _, known in DicomDictionary.values() if known == keyword)
    dataset.add(DataElement(keyword, vr, value, validation_mode=IGNORE))
    return to_bytes(dataset)


def _with_transfer_syntax() -> bytes:
    content = to_bytes(marked(149))
    head, known, unknown = b"\x02\x00\x10\x00UI", b"1.2.840.10008.1.2.1\0", f"{UIDS}.60".encode()
    (length,) = struct.unpack_from("<I", content, 140)  # of group 2
    content = content[:140] + struct.pack("<I", length + len(unknown) - len(known)) + content[144:]
    element = head + struct.pack("<H", len(known)) + known
    assert element in content
    return content.replace(element, head + struct.pack("<H", len(unknown)) + unknown, 1)


def marked_picture(kind: str, number: int) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(chest_phantom(64, 48, seed=number))
    if kind == "PNG":
        told = PngImagePlugin.PngInfo()
        told.add_text("Comment", f"{TEXT} {UIDS}")
        image.save(stream, kind, pnginfo=told)
    else:
        exif = Image.Exif()
        exif[0x010E] = f"{TEXT} {UIDS}"  # ImageDescription
        image.save(stream, kind, exif=exif, comment=TEXT.encode())
    return stream.getvalue()
