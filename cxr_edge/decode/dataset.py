"""Bytes -> pydicom Dataset, with the checks that pydicom leaves out: caps, truncation, deflate bombs, directories."""

import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from cxr_edge.decode.limits import DecodeLimits
from cxr_edge.decode.sniff import FileFormat
from cxr_edge.decode.tags import is_uid
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Note

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_PREAMBLE_AND_MAGIC: Final = 132
_META_GROUP: Final = 0x0002
_MEDIA_STORAGE_SOP_CLASS: Final = 0x00020002
_TRANSFER_SYNTAX: Final = 0x00020010
_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_STUDY: Final = 0x0020000D
_DIRECTORY_GROUP: Final = 0x0004
_PIXEL_DATA: Final = 0x7FE00010
_PIXEL_DATA_TAGS: Final = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # as they stand, little and big endian
_SHARED: Final = 1 << 20  # bytes
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_ELEMENT_HEADER: Final = 8
_DELIMITER: Final = 8  # bytes of a Sequence Delimitation Item: tag and length (PS3.5 7.5)
_CHARACTER_SET: Final = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")  # (0008,0005), little and big endian
_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
_INFLATE_CHUNK: Final = 2**20
_DEFLATE_RATIO: Final = 1032  # the most that deflate can do: 258 bytes of two bits
_EXECUTABLES: Final = (b"MZ", b"\x7fELF", b"#!", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe")
_TIFF: Final = (b"II*\0", b"MM\0*")


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A data set up to and including Pixel Data, its transfer syntax UID, and what was odd about the file."""

    dataset: "Dataset"
    transfer_syntax: str
    notes: tuple[Note, ...]


class _CountedReader(io.BytesIO):
    """A file that refuses the read after the last one allowed: millions of empty elements are an attack."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self._data = data
        self._left = reads
        self._header = b""
        self.too_many = InputError(Reason.TOO_LARGE, "the data set has more elements than are read")

    @property
    def is_exhausted(self) -> bool:
        return self._left < 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if size and self._header.startswith(_CHARACTER_SET):
            self._left -= size // 2  # pydicom converts its values while parsing, 10 microseconds for each unknown one
        if self.is_exhausted:
            raise self.too_many
        if size and size >= _SHARED and self._header.startswith(_PIXEL_DATA_TAGS):
            return self._share(size)
        found = super().read(size)
        if size == _ELEMENT_HEADER:
            self._header = found
        return found

    def _share(self, size: int) -> bytes:
        """Uncompressed pixels where they lie, as a memoryview: a copy of 10 MB costs a millisecond."""
        start = self.tell()
        found = memoryview(self._data)[start : start + size]
        self.seek(start + len(found))
        return cast("bytes", found)


def parse_file(data: bytes, file_format: FileFormat, limits: DecodeLimits) -> ParsedFile:
    """Parse a DICOM file up to its Pixel Data (PS3.10 chapter 7).

    Raises:
        InputError: `truncated`, `malformed`, `dicomdir`, `unknown_format`, `too_large` or `unsupported`.
    """
    notes: list[Note] = []
    start = 0
    if file_format is FileFormat.DICOM:
        start = _PREAMBLE_AND_MAGIC
        notes += _preamble_notes(data)
    else:
        notes.append(Note("no_preamble", "the file has neither the DICOM preamble nor its prefix"))
    meta, start = _read_meta(data, start, limits)
    if _text(meta, _MEDIA_STORAGE_SOP_CLASS) == _MEDIA_STORAGE_DIRECTORY:
        raise InputError(Reason.DICOMDIR, "the file is a DICOMDIR, an index; need one of the images it lists")
    transfer_syntax = _text(meta, _TRANSFER_SYNTAX)
    if transfer_syntax == _DEFLATED:
        data, start = inflate(data[start:], limits), 0
    explicit, little = _encoding(data[start : start + 6])
    if not transfer_syntax:
        transfer_syntax = _EXPLICIT_BIG if not little else _EXPLICIT_LITTLE if explicit else _IMPLICIT_LITTLE
        message = "(0002,0010) Transfer Syntax UID is absent; the encoding was taken from the data"
        notes.append(Note("transfer_syntax_guessed", message))
    else:
        little = transfer_syntax != _EXPLICIT_BIG
    elements: dict[BaseTag, RawDataElement | DataElement] = {}
    try:
        _read_elements(data, start, limits, elements, explicit=explicit, little=little)
    except InputError as error:  # what is cut short in its pixels still belongs to its study
        error.sop_instance_uid, error.study_instance_uid = _raw_uid(elements, _SOP_INSTANCE), _raw_uid(elements, _STUDY)
        raise
    if any(tag >> 16 == _DIRECTORY_GROUP for tag in elements):
        raise InputError(Reason.DICOMDIR, "the file is a DICOMDIR, an index; need one of the images it lists")
    if file_format is FileFormat.DICOM_WITHOUT_PREAMBLE and _SOP_CLASS not in elements:
        raise InputError(Reason.UNKNOWN_FORMAT, "no DICOM prefix and no SOP Class UID (0008,0016); need DICOM")
    return ParsedFile(_as_dataset(elements, explicit=explicit, little=little), transfer_syntax, tuple(notes))


def _as_dataset(elements: "dict[BaseTag, RawDataElement | DataElement]", *, explicit: bool, little: bool) -> "Dataset":
    from pydicom.dataset import Dataset

    dataset = Dataset(elements)
    dataset.set_original_encoding(not explicit, little)
    return dataset


def _preamble_notes(data: bytes) -> list[Note]:
    if data.startswith(_EXECUTABLES):
        return [Note("preamble_executable", "the preamble is the header of a program: the file may be an attack")]
    if data.startswith(_TIFF):
        return [Note("preamble_tiff", "the preamble is a TIFF header: another reader may show another image")]
    return []


def _read_meta(data: bytes, start: int, limits: DecodeLimits) -> "tuple[dict[int, RawDataElement], int]":
    """Read group 0002, always explicit VR little endian (PS3.10 7.1). Return it and the offset behind it."""
    from pydicom.dataelem import RawDataElement
    from pydicom.filereader import data_element_generator

    stream = _CountedReader(data, limits.reads)
    stream.seek(start)
    meta: dict[int, RawDataElement] = {}
    elements = data_element_generator(stream, False, True, lambda tag, _vr, _length: tag >> 16 != _META_GROUP)  # noqa: FBT003
    for element in elements:
        if isinstance(element, RawDataElement):
            _refuse_cut_element(element, len(data))
            meta[int(element.tag)] = element
    if 0 < len(data) - stream.tell() < _ELEMENT_HEADER or (meta and stream.tell() == len(data)):
        raise InputError(Reason.TRUNCATED, f"the file ends inside its header, after {len(data)} bytes")
    return meta, stream.tell()


def _text(meta: "dict[int, RawDataElement]", tag: int) -> str:
    element = meta.get(tag)
    return (element.value or b"").decode("ascii", "replace").strip("\0 ") if element else ""


def inflate(deflated: bytes, limits: DecodeLimits) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5), never beyond the cap.

    Raises:
        InputError: `too_large`, `truncated` or `malformed`.
    """
    if (whole := _inflate_at_once(deflated, limits)) is not None:
        return whole
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    pending = deflated
    try:
        while pending and not inflater.eof:
            inflated += inflater.decompress(pending, _INFLATE_CHUNK)
            pending = inflater.unconsumed_tail
            if len(inflated) > limits.inflated_bytes:
                raise _too_inflated(limits)
    except zlib.error:
        raise InputError(Reason.MALFORMED, "the deflated data set is broken") from None
    if not inflater.eof:
        raise InputError(Reason.TRUNCATED, "the deflated data set ends early")
    return bytes(inflated)


def _inflate_at_once(deflated: bytes, limits: DecodeLimits) -> bytes | None:
    """Inflate by libdeflate; None where it cannot, and zlib shall do it piece by piece or say why.

    Raises:
        InputError: `too_large`.
    """
    import imagecodecs
    import numpy as np

    most = min(limits.inflated_bytes, _DEFLATE_RATIO * len(deflated))
    try:  # unwritten pages take no memory, yet count under a limit on the address space and as commit on Windows
        buffer: Any = np.empty(most, np.uint8)
    except MemoryError:
        return None
    try:
        inflated = imagecodecs.deflate_decode(deflated, raw=True, out=memoryview(buffer))
    except Exception as error:  # noqa: BLE001 - whatever is wrong
        if "INSUFFICIENT_SPACE" in str(error) and most == limits.inflated_bytes:
            raise _too_inflated(limits) from None
        return None
    return bytes(inflated)


def _too_inflated(limits: DecodeLimits) -> InputError:
    return InputError(Reason.TOO_LARGE, f"the deflated data set inflates beyond {limits.inflated_bytes} bytes")


def _encoding(head: bytes) -> tuple[bool, bool]:
    """Return (explicit VR, little endian) as the first element of a data set shows them."""
    vr = head[4:6]
    explicit = vr.isalpha() and vr.isupper()
    little = int.from_bytes(head[:2], "little") <= int.from_bytes(head[:2], "big")
    return explicit, little


def _read_elements(
    data: bytes,
    start: int,
    limits: DecodeLimits,
    elements: "dict[BaseTag, RawDataElement | DataElement]",
    *,
    explicit: bool,
    little: bool,
) -> None:
    """Read into `elements`, which holds what was read even when the file turns out to be cut."""
    from pydicom.filereader import data_element_generator

    stream = _CountedReader(data, limits.reads)
    stream.seek(start)
    generator = data_element_generator(stream, not explicit, little, lambda tag, _vr, _length: tag > _PIXEL_DATA)
    end = start
    try:
        for element in generator:
            _refuse_cut_element(element, len(data))
            elements[element.tag] = element
            end = stream.tell()
            if element.tag == _PIXEL_DATA:
                return
    except EOFError:
        raise InputError(Reason.TRUNCATED, f"the file ends inside an element, after {len(data)} bytes") from None
    except OSError:  # pydicom wraps what its file raises inside a sequence
        if stream.is_exhausted:
            raise stream.too_many from None
        if stream.tell() >= len(data):
            raise InputError(Reason.TRUNCATED, f"the file ends inside a sequence, after {len(data)} bytes") from None
        raise InputError(Reason.MALFORMED, "a sequence is broken, or nested too deeply") from None
    if 0 < len(data) - end < _ELEMENT_HEADER and any(data[end:]):
        raise InputError(Reason.TRUNCATED, f"the file ends inside an element's header, after {len(data)} bytes")


def _raw_uid(elements: "dict[BaseTag, RawDataElement | DataElement]", tag: int) -> str | None:
    from pydicom.tag import Tag

    element = elements.get(Tag(tag))
    value = element.value if element is not None else None
    text = value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else ""
    return text if is_uid(text) else None


def _refuse_cut_element(element: "RawDataElement | DataElement", size: int) -> None:
    """Refuse what the end of the file, after `size` bytes, cut: a value, or the delimiter behind fragments."""
    from pydicom.dataelem import RawDataElement

    if not isinstance(element, RawDataElement):
        return
    held = len(element.value or b"")
    name = f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})"
    if element.length == _UNDEFINED_LENGTH:
        left = size - element.value_tell - held  # pydicom takes a delimiter without its length for a whole one
        if left < _DELIMITER:
            message = f"the (FFFE,E0DD) Sequence Delimitation Item of {name} has {left} bytes; need {_DELIMITER}"
            raise InputError(Reason.TRUNCATED, message)
    elif held < element.length:
        raise InputError(Reason.TRUNCATED, f"{name} says {element.length} bytes; {held} are there")
