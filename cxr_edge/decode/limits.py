"""Caps that are checked before anything is decoded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """How large a file may be, and how large it may become.

    The largest flat-panel detectors give 4300 x 4300 pixels and film scanners about 6000 x 7000, so the defaults leave
    room above every real radiograph.

    Attributes:
        file_bytes: size of the file itself.
        pixels: rows x columns of the image.
        inflated_bytes: size of a deflated data set after inflation.
        reads: reads that parsing may take, at least one per element and sequence item, at every nesting level.
    """

    file_bytes: int = 512 * 2**20
    pixels: int = 64 * 2**20
    inflated_bytes: int = 192 * 2**20
    reads: int = 100_000
