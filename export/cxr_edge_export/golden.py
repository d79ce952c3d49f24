"""Golden cases: phantoms with the tensors and outputs of both pipelines, replayed by the self-test on unknown CPUs."""

import base64
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cxr_edge.contract import GoldenCase, Member
from cxr_edge.phantom import chest_phantom
from cxr_edge.preprocess import preprocess

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class _Phantom:
    """Sizes that need both passes of the resize, upwards and downwards, and one that needs none."""

    name: str
    rows: int
    columns: int
    seed: int
    opacity: float


PHANTOMS = (
    _Phantom("clear-landscape", 190, 250, 1, 0.0),
    _Phantom("opacity-landscape", 190, 250, 1, 0.9),
    _Phantom("clear-portrait", 260, 170, 2, 0.0),
    _Phantom("opacity-portrait", 260, 170, 2, 0.5),
    _Phantom("exact-size", 224, 224, 3, 0.3),
    _Phantom("small", 97, 83, 4, 0.7),
)


def golden_tensors(member: Member) -> "list[tuple[_Phantom, NDArray[np.uint8], NDArray[Any]]]":
    """The phantoms with their pixels, uint8 (rows, columns), and input tensors, [H, W, C]."""
    drawn = [(phantom, _draw(phantom)) for phantom in PHANTOMS]
    return [(phantom, pixels, preprocess(pixels, member)) for phantom, pixels in drawn]


def golden_case(
    drawn: "tuple[_Phantom, NDArray[np.uint8], NDArray[Any]]",
    reference: "NDArray[np.float32]",
    exported: "NDArray[np.float32]",
) -> GoldenCase:
    """One case from its pixels and what Keras and the exported file gave, each float32 [labels]."""
    phantom, pixels, tensor = drawn
    return GoldenCase(
        name=phantom.name,
        png=base64.b64encode(_png(pixels)).decode(),
        tensor_sha256=(hashlib.sha256(tensor.tobytes()).hexdigest(),),
        reference=tuple(float(p) for p in reference),
        exported=tuple(float(p) for p in exported),
    )


def _draw(phantom: _Phantom) -> "NDArray[np.uint8]":
    return chest_phantom(phantom.rows, phantom.columns, seed=phantom.seed, opacity=phantom.opacity)


def _png(pixels: "NDArray[np.uint8]") -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()
