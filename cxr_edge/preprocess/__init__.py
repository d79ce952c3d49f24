"""From 8-bit gray to the network's input tensor, byte-equal to what training made of the same pixels."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cxr_edge.contract.schema import Member, Normalization, Resize
from cxr_edge.errors import UsageError
from cxr_edge.preprocess import tf_kernels
from cxr_edge.preprocess.aspect import Box, frame
from cxr_edge.preprocess.contrast import apply_contrast
from cxr_edge.preprocess.pillow_kernels import pillow_arithmetic_matches, resample
from cxr_edge.preprocess.trim import part_seen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensor = NDArray[Any]  # uint8 or float32

__all__ = ["pillow_arithmetic_matches", "preprocess", "resize"]

GRAY_DIMENSIONS = 2


def preprocess(pixels: "NDArray[np.uint8]", member: Member, part: Box | None = None) -> "Tensor":
    """The input tensor of one member of the model.

    Args:
        pixels: uint8 (rows, columns), 0 black .. 255 white.
        member: the contract's part about this network.
        part: what `part_seen` gives for both, where it is known already.

    Returns:
        (height, width, channels) of `member.input.dtype`, C-contiguous. It may share memory with `pixels`.

    Raises:
        UsageError: `pixels` is not uint8 (rows, columns), or is empty.
        InputError: padding to the network's aspect ratio would make the image too large.
    """
    resized = resize(pixels, member.resize, member.input.height, member.input.width, part)
    if member.contrast is not None:
        resized = apply_contrast(resized, member.contrast)
    channels = to_channels(resized, member.input.channels)
    return normalize(channels, member.normalization, member.input.dtype)


def resize(pixels: "NDArray[np.uint8]", resize: Resize, height: int, width: int, part: Box | None = None) -> "Tensor":
    """Brings the image to `height` x `width` with the exact arithmetic of the implementation that training used.

    Args:
        pixels: uint8 (rows, columns), 0 black .. 255 white.
        resize: trim, kernel, pass order and aspect policy. Crop under a Pillow kernel follows `keras.utils.load_img`
            (`keep_aspect_ratio`), crop under a tf kernel and every pad follow `keras.layers.Resizing`: see `aspect`.
        height: rows of the result.
        width: columns of the result.
        part: what `part_seen` gives for both, where it is known already.

    Returns:
        (height, width), 0 .. 255; uint8, or float32 for `tf-bilinear`. It may share memory with `pixels`.

    Raises:
        UsageError: `pixels` is not uint8 (rows, columns), or is empty.
        InputError: padding to the network's aspect ratio would make the image too large.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != GRAY_DIMENSIONS or pixels.size == 0:
        message = f"pixels are {pixels.dtype} of shape {pixels.shape}; need uint8 (rows, columns), not empty"
        raise UsageError(message)
    part = part_seen(pixels, resize) if part is None else part
    framed, box = frame(part.of(pixels), resize, height, width)
    match resize.kernel:
        case "tf-bilinear":
            return tf_kernels.bilinear(box.of(framed), height, width)
        case "tf-nearest":
            return tf_kernels.nearest(box.of(framed), height, width)
        case pillow_kernel:
            return resample(framed, pillow_kernel, resize.pass_order, box, (height, width))


def to_channels(gray: "Tensor", channels: int) -> "Tensor":
    """(height, width) -> (height, width, channels): gray repeated, a view."""
    return np.broadcast_to(gray[:, :, np.newaxis], (*gray.shape, channels))


def normalize(tensor: "Tensor", normalization: Normalization, dtype: Literal["uint8", "float32"]) -> "Tensor":
    """(x - mean) / scale per channel, float32; where the graph does that itself, only the input's dtype. C-contiguous.

    Channels are equal gray, so `channel_order` decides nothing beyond the order of `mean` and `scale`.
    """
    if normalization.folded:
        return np.ascontiguousarray(tensor, dtype=np.uint8 if dtype == "uint8" else np.float32)
    mean = np.asarray(normalization.mean, dtype=np.float32)
    scale = np.asarray(normalization.scale, dtype=np.float32)
    centred = np.subtract(tensor, mean, dtype=np.float32, order="C")
    return np.divide(centred, scale, out=centred)
