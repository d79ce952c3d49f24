"""Small valid files of every kind that is read, made in code, for `mutations.py` to break."""

import io
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from dicom_files import (
    LOSSLESS_ENCODERS,
    NATIVE,
    compressed,
    gradient,
    make_dataset,
    make_file,
    make_lut,
    rle_frame,
    to_bytes,
)

Samples = NDArray[Any]


def seed_files() -> list[bytes]:
    """About fifty files of at most some kilobytes."""
    return [*_gray_dicom(), *_colour_dicom(), *_rasters()]


def _gray_dicom() -> list[bytes]:
    samples = gradient(20, 24)
    windowed: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096, "PixelIntensityRelationship": "LIN"}
    files = [to_bytes(make_dataset(samples, **windowed), uid) for uid in NATIVE]
    files += [
        to_bytes(compressed(samples, uid, encode(samples), **windowed)) for uid, encode in LOSSLESS_ENCODERS.items()
    ]
    eight = gradient(20, 24, 8)
    files.append(to_bytes(compressed(eight, "1.2.840.10008.1.2.4.50", bytes(imagecodecs.jpeg8_encode(eight)), 8)))
    twelve = bytes(imagecodecs.jpeg8_encode(samples, level=90, bitspersample=12))
    files.append(to_bytes(compressed(samples, "1.2.840.10008.1.2.4.51", twelve)))
    files += [
        make_file(gradient(20, 24, signed=True), RescaleSlope=2, RescaleIntercept=-1024, PixelPaddingValue=-2048),
        make_file(samples, ModalityLUTSequence=make_lut(0, list(range(4096)))),
        make_file(
            samples, VOILUTSequence=make_lut(0, [i // 2 for i in range(4096)], 12), PresentationLUTShape="INVERSE"
        ),
        make_file(
            samples,
            PixelPaddingValue=0,
            PixelPaddingRangeLimit=9,
            PatientAge="004Y",
            PhotometricInterpretation="MONOCHROME1",
        ),
    ]
    return [*files, files[0][132:], files[1][132:], b"MZ" + files[1][2:]]


def _colour_dicom() -> list[bytes]:
    rgb = _rgb()
    jpeg = bytes(imagecodecs.jpeg8_encode(rgb, level=90, subsampling="422"))
    j2k = bytes(imagecodecs.jpeg2k_encode(rgb, codecformat="j2k", reversible=True))
    palette = make_dataset(gradient(20, 24, 8), 8, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        palette.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        palette.add_new(f"{colour}PaletteColorLookupTableData", "OW", np.arange(256, dtype="<u2").tobytes())
    return [
        make_file(rgb, 8),
        make_file(rgb, 8, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=1),
        make_file(rgb, 8, PhotometricInterpretation="YBR_FULL_422"),
        to_bytes(palette),
        to_bytes(compressed(rgb, "1.2.840.10008.1.2.4.50", jpeg, 8, PhotometricInterpretation="YBR_FULL_422")),
        to_bytes(compressed(rgb, "1.2.840.10008.1.2.4.90", j2k, 8, PhotometricInterpretation="YBR_RCT")),
        to_bytes(compressed(rgb, "1.2.840.10008.1.2.4.201", bytes(imagecodecs.htj2k_encode(rgb, reversible=True)), 8)),
        to_bytes(compressed(rgb, "1.2.840.10008.1.2.5", rle_frame(rgb), 8)),
    ]


def _rasters() -> list[bytes]:
    gray, colour = Image.fromarray(gradient(20, 24, 8)), Image.fromarray(_rgb())
    one, palette, alpha = gray.convert("1"), colour.quantize(16), colour.convert("RGBA")
    return [
        _saved(gray, "JPEG"),
        _saved(colour, "JPEG", progressive=True),
        _saved(colour.convert("CMYK"), "JPEG"),
        _saved(gray, "JPEG", exif=_turned()),
        *(_saved(image, "PNG") for image in (gray, colour, one, palette, alpha, gray.convert("LA"))),
        _saved(Image.fromarray(gradient(20, 24, 16)), "PNG"),
        _saved(palette, "PNG", transparency=3),
        _saved(colour, "WEBP"),
        _saved(alpha, "WEBP", lossless=True),
        _saved(colour, "WEBP", save_all=True, append_images=[colour.rotate(90)]),
        *(
            _saved(gray, "TIFF", compression=kind)
            for kind in (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd")
        ),
        _saved(colour, "TIFF", compression="tiff_lzw"),
        _saved(one, "TIFF", compression="group4"),
        _saved(one, "TIFF", compression="group3"),
        _saved(palette, "TIFF"),
        *(_saved(image, "BMP") for image in (gray, colour, one, palette)),
    ]


def _saved(image: Image.Image, file_format: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def _rgb() -> Samples:
    gray = gradient(20, 24, 8)
    return np.stack((gray, gray // 2, 255 - gray), axis=-1)
