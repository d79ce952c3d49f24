"""Hostile files for `fuzz.py`: small valid files of every kind that is read, and ways to break them.

`Mutator(...).make(index)` depends on the seed, the index and the seed files alone, so each case can be made again.
"""

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

UNDEFINED: Final = 0xFFFFFFFF
LONG_FORM: Final = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT")
EXPLICIT: Final = b"1.2.840.10008.1.2.1"
DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
ENCAPSULATED: Final = (b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5")
LARGEST_REAL: Final = 700_000  # bytes: larger files make a slow run and no other code runs
MOST_INFLATED: Final = 2**22
EDGES: Final = (
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff",
    bytes(4),
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
)
ANY: Final = (0, 1, 2, 3, 4, 5)  # ways to change a byte: the first three keep the length
REPLACING: Final = (0, 1, 2)
TEXTS: Final = (
    b"", b" ", b"\0", b"-1", b"0", b"1e400", b"nan", b"-inf", b"1\\2\\3\\4", b"\\" * 500, b"999999999999",
    b"A" * 70_000, b"MONOCHROME1", b"MONOCHROME2", b"PALETTE COLOR", b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"YBR_RCT",
    b"INVERSE", b"SIGMOID", b"LINEAR_EXACT", b"FOR PROCESSING", b"ISO 2022 IR 87", b"\x1b$B\xff\xff",
    b"../../etc/passwd", b"\xff\xfe", b"1.2.840.10008.1.2", EXPLICIT, b"1.2.840.10008.1.2.2", DEFLATED,
    b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.90",
    b"1.2.840.10008.1.2.4.201", b"1.2.840.10008.1.2.5",
)  # fmt: skip
NUMBERS: Final = (0, 1, 2, 3, 7, 8, 9, 12, 15, 16, 17, 31, 32, 64, 255, 256, 4096, 32767, 32768, 65534, 65535)
VRS: Final = (
    b"US",
    b"SS",
    b"UL",
    b"OB",
    b"OW",
    b"UN",
    b"SQ",
    b"LO",
    b"DS",
    b"IS",
    b"CS",
    b"UI",
    b"AT",
    b"FD",
    b"ZZ",
    b"PN",
)
# What decoding reads: half of all changes of elements hit one of these
TARGETS: Final = (
    0x00020010, 0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00080068, 0x00101010, 0x00102202, 0x00180015,
    0x00185101, 0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280034, 0x00280100,
    0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00280121, 0x00281040, 0x00281050, 0x00281051, 0x00281052,
    0x00281053, 0x00281056, 0x00281101, 0x00281201, 0x00283000, 0x00283010, 0x20500020, 0x60000010, 0x7FE00010,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Element:
    """One top-level element in explicit VR little endian, as it stands in the file."""

    tag: int
    vr: bytes
    value: bytes
    length: int  # what the file says; UNDEFINED: the value runs to the end of the file

    def to_bytes(self) -> bytes:
        """The element again, its length as it says, be that a lie."""
        head = struct.pack("<HH2s", self.tag >> 16, self.tag & 0xFFFF, self.vr)
        if self.vr in LONG_FORM:
            return head + struct.pack("<HI", 0, self.length) + self.value
        return head + struct.pack("<H", self.length & 0xFFFF) + self.value


def split(data: bytes) -> list[Element] | None:
    """The elements of a file in explicit VR little endian behind its prefix; None where it is of another encoding."""
    elements, at = [], 132
    try:
        while at < len(data):
            group, element, vr = struct.unpack_from("<HH2s", data, at)
            if not (vr.isalpha() and vr.isupper()):
                return None
            short = vr not in LONG_FORM
            length = struct.unpack_from("<H" if short else "<I", data, at + (6 if short else 8))[0]
            start = at + (8 if short else 12)
            end = len(data) if length == UNDEFINED else start + length
            elements.append(Element(group << 16 | element, vr, data[start:end], length))
            at = end
    except struct.error:
        return None
    return elements


class Mutator:
    """Makes case after case from one seed and a list of valid files."""

    def __init__(self, seed: int, files: Sequence[bytes], real: Sequence[bytes] = ()) -> None:
        """Keep the seed files; one case in eight begins with a real one where there are any."""
        self._seed, self._files, self._real = seed, files, real

    def rng(self, index: int) -> random.Random:
        """The random numbers of one case."""
        return random.Random(f"{self._seed}:{index}")  # noqa: S311 - a seed makes every case repeatable

    def make(self, index: int) -> bytes:
        """The bytes of one case."""
        rng = self.rng(index)
        pool = self._real if self._real and rng.random() < 1 / 8 else self._files
        data = rng.choice(pool)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data = rng.choice(MUTATIONS)(data, rng)
            if rng.random() < 1 / 30:
                data = splice(data, rng.choice(self._files), rng)
        return data


def splice(first: bytes, second: bytes, rng: random.Random) -> bytes:
    """The head of one file and the tail of another."""
    return first[: rng.randrange(len(first) + 1)] + second[rng.randrange(len(second) + 1) :]


def bytes_anywhere(data: bytes, rng: random.Random) -> bytes:
    """A few bytes set, flipped, removed, inserted or doubled, anywhere."""
    return _change(data, rng, 0, len(data))


def bytes_of_the_header(data: bytes, rng: random.Random) -> bytes:
    """The same within the first kilobyte, behind the preamble of a DICOM file."""
    first = 128 if data[128:132] == b"DICM" else 0
    return _change(data, rng, first, min(len(data), first + 1024))


def bytes_of_the_image(data: bytes, rng: random.Random) -> bytes:
    """The same in what follows the Pixel Data tag, or in the second half."""
    at = data.rfind(b"\xe0\x7f\x10\x00")
    return _change(data, rng, at if at >= 0 else len(data) // 2, len(data))


def bytes_of_the_codestream(data: bytes, rng: random.Random) -> bytes:
    """Bytes replaced in the image, none moved: lengths stay right, so decoders see them."""
    at = data.rfind(b"\xe0\x7f\x10\x00")
    return _change(data, rng, at + 28 if at >= 0 else min(40, len(data) // 2), len(data), REPLACING)


def bytes_of_the_codestream_header(data: bytes, rng: random.Random) -> bytes:
    """The same in the first bytes of a JPEG, JPEG-LS, JPEG 2000 or RLE frame."""
    at = data.rfind(b"\xe0\x7f\x10\x00")
    at = data.find(b"\xfe\xff\x00\xe0", at + 28) if at >= 0 else 0
    return _change(data, rng, max(at, 0), min(len(data), max(at, 0) + 200), rng.choice((REPLACING, ANY)))


def truncated(data: bytes, rng: random.Random) -> bytes:
    """The file ends early; or its middle is missing."""
    at = rng.randrange(len(data) + 1)
    return data[:at] if rng.random() < 0.7 else data[:at] + data[at + rng.randrange(len(data) + 1) :]


def elements_changed(data: bytes, rng: random.Random) -> bytes:
    """Elements of a DICOM file with hostile values, lengths, VRs; removed, doubled, moved. Deflated ones, too."""
    elements = split(_inflated(data)) if data[128:132] == b"DICM" else None
    if not elements:
        return bytes_of_the_header(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        wanted = rng.choice(TARGETS) if rng.random() < 0.5 else None
        found = [i for i, e in enumerate(elements) if e.tag == wanted] or range(len(elements))
        at = rng.choice(list(found))
        match rng.randrange(8):
            case 0:
                del elements[at]
            case 1:
                elements.insert(rng.randrange(len(elements) + 1), elements[at])
            case 2:
                elements.insert(rng.randrange(len(elements)), elements.pop(at))
            case 3:
                elements[at] = replace(elements[at], length=rng.choice((*NUMBERS, UNDEFINED, UNDEFINED // 2)))
            case 4:
                elements[at] = replace(elements[at], vr=rng.choice(VRS))
            case 5 if wanted:
                elements.append(_hostile(Element(wanted, rng.choice(VRS), b"", 0), rng))
                elements.sort(key=lambda element: element.tag)
            case _:
                elements[at] = _hostile(elements[at], rng)
        if not elements:
            break
    return _joined(data, elements)


def deeply_nested(data: bytes, rng: random.Random) -> bytes:
    """A sequence within a sequence, some hundred times, of undefined lengths."""
    elements = split(_inflated(data)) if data[128:132] == b"DICM" else None
    if not elements:
        return truncated(data, rng)
    opened = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x28\x00\x10\x30SQ\0\0\xff\xff\xff\xff" * rng.choice((3, 40, 300, 2000))
    elements.append(Element(rng.choice((0x00283000, 0x00283010, 0x00102202)), b"SQ", opened, UNDEFINED))
    elements.sort(key=lambda element: element.tag)
    return _joined(data, elements)


MUTATIONS: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (
    bytes_anywhere,
    bytes_of_the_header,
    bytes_of_the_header,
    bytes_of_the_image,
    bytes_of_the_codestream,
    bytes_of_the_codestream,
    bytes_of_the_codestream_header,
    truncated,
    elements_changed,
    elements_changed,
    elements_changed,
    deeply_nested,
)


def _change(data: bytes, rng: random.Random, low: int, high: int, ways: Sequence[int] = ANY) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(low, max(low + 1, min(high, len(changed))))
        match rng.choice(ways):
            case 0:
                changed[at : at + 1] = bytes((rng.randrange(256),))
            case 1:
                changed[at : at + 1] = bytes((changed[at] ^ 1 << rng.randrange(8),)) if at < len(changed) else b""
            case 2:
                edge = rng.choice(EDGES)
                changed[at : at + len(edge)] = edge
            case 3:
                del changed[at : at + rng.randrange(1, 9)]
            case 4:
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case _:
                changed[at:at] = changed[at : at + rng.choice((2, 8, 64, 1024))]
    return bytes(changed)


def _hostile(element: Element, rng: random.Random) -> Element:
    if rng.random() < 0.5:
        value = b"".join(struct.pack("<H", rng.choice(NUMBERS)) for _ in range(rng.choice((1, 1, 2, 3))))
    else:
        value = rng.choice(TEXTS)
    if element.vr not in LONG_FORM:
        value = value[:65_534]
    return replace(element, value=value, length=len(value))


def _transfer_syntax(elements: Sequence[Element]) -> bytes:
    return next((e.value.strip(b"\0 ") for e in elements if e.tag == 0x00020010), b"")


def _meta_end(data: bytes) -> int:
    return 144 + int.from_bytes(data[140:144], "little")


def _inflated(data: bytes) -> bytes:
    """A deflated file as if it were not; others as they are."""
    end = _meta_end(data)
    if DEFLATED not in data[132:end]:
        return data
    try:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflated = inflater.decompress(data[end:], MOST_INFLATED)
    except zlib.error:
        return data
    return data[:end] + inflated if inflater.eof else data  # a bomb stays one


def _joined(data: bytes, elements: Sequence[Element]) -> bytes:
    if _transfer_syntax(elements) != DEFLATED:
        return data[:132] + b"".join(element.to_bytes() for element in elements)
    meta = b"".join(e.to_bytes() for e in elements if e.tag >> 16 == 2)
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    rest = b"".join(e.to_bytes() for e in elements if e.tag >> 16 != 2)
    return data[:132] + meta + compressor.compress(rest) + compressor.flush()


def real_files(data_folder: Path) -> list[bytes]:
    """The small real files under `dicom/`, in the order of their names; none where the folder is absent."""
    files = sorted(file for file in (data_folder / "dicom").rglob("*") if file.is_file())
    return [file.read_bytes() for file in files if 0 < file.stat().st_size <= LARGEST_REAL]
