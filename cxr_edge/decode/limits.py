"""Caps that are checked before anything is decoded."""

from dataclasses import dataclass

from cxr_edge.errors import InputError, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """How large a file may be, and how large it may become.

    The largest flat-panel detectors give 4300 x 4300 pixels and film scanners about 6000 x 7000, so the defaults leave
    room above every real radiograph.

    Attributes:
        file_bytes: size of the file itself.
        pixels: rows x columns of the image.
        side: rows, and columns: resizing a line of 1 x 8,000,000 pixels would take gigabytes.
        inflated_bytes: size of a deflated data set after inflation.
        reads: reads that parsing may take, at least one per element and sequence item, at every nesting level.
    """

    file_bytes: int = 512 * 2**20
    pixels: int = 64 * 2**20
    side: int = 32_768
    inflated_bytes: int = 192 * 2**20
    reads: int = 100_000

    def check_size(self, rows: int, columns: int, what: str = "image") -> None:
        """Refuse more pixels, or a longer side, than are read.

        Raises:
            InputError: `too_large`.
        """
        if rows * columns > self.pixels:
            message = f"the {what} is {rows} x {columns}; at most {self.pixels:,} pixels are read"
            raise InputError(Reason.TOO_LARGE, message)
        if max(rows, columns) > self.side:
            message = f"the {what} is {rows} x {columns}; at most {self.side:,} rows and columns are read"
            raise InputError(Reason.TOO_LARGE, message)
