"""One compressed frame -> samples, by imagecodecs called directly: pydicom's plugins would copy every sample twice."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cxr_edge.decode.codecs import CODECS, JPEG_DCT, RLE
from cxr_edge.decode.image_pixel import ImagePixel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOS: Final = b"\xff\xda"
_COLOUR_MARKERS: Final = (b"JFIF\0", b"Adobe")
_YBR_SAMPLES: Final = ("YBR_FULL", "YBR_FULL_422")  # JPEG 2000 decoders undo YBR_ICT and YBR_RCT themselves


def decode_frame(frame: bytes, image: ImagePixel) -> "NDArray[Any]":
    """Return (rows, columns) or, in RGB, (rows, columns, 3) integers in the container that Bits Allocated says.

    Args:
        frame: the whole compressed frame.
        image: the Image Pixel module; its Pixel Representation decides about the sign.

    Raises:
        Exception: whatever the decoder makes of a broken frame; ValueError where it gives another number of samples.
    """
    if image.transfer_syntax in JPEG_DCT and image.samples_per_pixel > 1:
        return _shaped(_colour_jpeg(frame, image.photometric_interpretation), image)
    if image.transfer_syntax == RLE:
        samples = _rle(frame, image)
    else:
        import imagecodecs

        samples = getattr(imagecodecs, f"{CODECS[image.transfer_syntax]}_decode")(frame)
    samples = _in_container(_shaped(samples, image), image)
    if image.photometric_interpretation in _YBR_SAMPLES:
        from pydicom.pixels.processing import convert_color_space

        return convert_color_space(samples, "YBR_FULL", "RGB")
    return samples


def _colour_jpeg(frame: bytes, photometric_interpretation: str) -> "NDArray[Any]":
    """Decode to RGB. What the components are, the stream's markers say; where it has none, the data set may.

    libjpeg (jdapimin.c) takes JFIF, then Adobe, then the component identifiers, and guesses YCbCr for most of those;
    Photometric Interpretation RGB (PS3.3 C.7.6.3.1.2) is better than that guess.
    """
    import imagecodecs

    head = frame[: frame.find(_SOS)]
    is_marked = any(marker in head for marker in _COLOUR_MARKERS)
    stored = "RGB" if photometric_interpretation == "RGB" and not is_marked else None
    decoded: NDArray[Any] = imagecodecs.jpeg8_decode(frame, colorspace=stored, outcolorspace="RGB")
    return decoded


def _rle(frame: bytes, image: ImagePixel) -> "NDArray[Any]":
    """Decode PS3.5 annex G, whose segments are planes. The output is bounded by what Rows x Columns need."""
    import imagecodecs

    dtype = np.dtype(f"<u{image.bits_allocated // 8}")
    needed = image.rows * image.columns * image.samples_per_pixel
    decoded = imagecodecs.dicomrle_decode(frame, dtype=dtype, out=needed * dtype.itemsize)
    planes: NDArray[Any] = np.frombuffer(decoded, dtype).reshape(image.samples_per_pixel, image.rows, image.columns)
    return planes[0] if image.samples_per_pixel == 1 else planes.transpose(1, 2, 0)


def _shaped(samples: "NDArray[Any]", image: ImagePixel) -> "NDArray[Any]":
    expected = (image.rows, image.columns) + (() if image.samples_per_pixel == 1 else (image.samples_per_pixel,))
    if samples.shape != expected:
        message = f"decoded to {samples.shape}; need {expected}"
        raise ValueError(message)
    return samples


def _in_container(samples: "NDArray[Any]", image: ImagePixel) -> "NDArray[Any]":
    """Read the bit patterns with the data set's sign: JPEG-LS has none, and some writers of JPEG 2000 leave it out."""
    kind = "i" if image.pixel_representation else "u"
    signed = samples.view(f"{kind}{samples.dtype.itemsize}")
    return signed.astype(f"{kind}{image.bits_allocated // 8}", copy=False)
