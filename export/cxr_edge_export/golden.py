"""Golden cases: synthetic images with the tensors and outputs of both pipelines, to be replayed on unknown CPUs."""

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.contract import GoldenCase, Member
from cxr_edge.phantom import chest_phantom
from cxr_edge.preprocess import preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray


CASES = 6
BARRED = "barred"  # has edges for `trim` to cut, and is always among the cases


@dataclass(frozen=True, slots=True)
class Drawing:
    """A synthetic image: uint8 (rows, columns)."""

    name: str
    pixels: "NDArray[np.uint8]"


def drawings(exact: tuple[int, int]) -> list[Drawing]:
    """Phantoms and test patterns, of sizes that need both passes of the resize, upwards and downwards, and of none.

    `exact`: rows and columns that need none.

    Phantoms alone would all be decided alike: a broken kernel that always gives that answer would pass.
    """
    phantoms = {
        "clear-landscape": chest_phantom(190, 250, seed=1),
        "opacity-portrait": chest_phantom(260, 170, seed=2, opacity=0.5),
        "exact-size": chest_phantom(*exact, seed=3, opacity=0.3),
        "small": chest_phantom(97, 83, seed=4, opacity=0.7),
        BARRED: np.pad(chest_phantom(200, 180, seed=6, opacity=0.4), ((0, 20), (30, 25))),
    }
    turned = {
        "inverted": 255 - chest_phantom(260, 200, seed=0),
        "inverted-landscape": 255 - chest_phantom(200, 300, seed=2),
        "upside-down": chest_phantom(260, 200, seed=1)[::-1],
    }
    rows, columns = np.mgrid[0:240, 0:200]
    patterns = {
        f"checkerboard-{side}": ((rows // side + columns // side) % 2 * 200).astype(np.uint8) for side in (8, 16, 32)
    }
    ramps = {"ramp-down": (rows * 255 // 239).astype(np.uint8), "ramp-across": (columns * 255 // 199).astype(np.uint8)}
    noise = {"noise": np.random.Generator(np.random.PCG64(0)).integers(0, 256, (150, 210)).astype(np.uint8)}
    named = {**phantoms, **turned, **patterns, **ramps, **noise}
    return [Drawing(name, np.ascontiguousarray(pixels)) for name, pixels in named.items()]


def golden_tensors(members: Sequence[Member]) -> "list[tuple[Drawing, dict[str, NDArray[Any]]]]":
    """The drawings with their input tensors, by input name, in the members' order, each [H, W, C]."""
    drawn = drawings((members[0].input.height, members[0].input.width))
    return [(drawing, {m.input.name: preprocess(drawing.pixels, m) for m in members}) for drawing in drawn]


def spread(candidates: list[GoldenCase], positive_columns: list[int]) -> tuple[GoldenCase, ...]:
    """Some of the cases, evenly by rank of the Keras original's score, both ends included, and the barred one."""
    barred = [case for case in candidates if case.name == BARRED]
    others = [case for case in candidates if case.name != BARRED]
    ordered = sorted(others, key=lambda case: sum(case.reference[column] for column in positive_columns))
    places = np.linspace(0, len(ordered) - 1, min(CASES - len(barred), len(ordered))).round().astype(int)
    return (*(ordered[place] for place in places), *barred)


def golden_case(
    drawn: "tuple[Drawing, dict[str, NDArray[Any]]]",
    reference: "NDArray[np.float32]",
    exported: "NDArray[np.float32]",
) -> GoldenCase:
    """One case from its tensors and what Keras and the exported file gave, each float32 [labels]."""
    drawing, tensors = drawn
    return GoldenCase(
        name=drawing.name,
        png=base64.b64encode(_png(drawing.pixels)).decode(),
        tensor_sha256=tuple(hashlib.sha256(tensor.tobytes()).hexdigest() for tensor in tensors.values()),
        reference=tuple(float(p) for p in reference),
        exported=tuple(float(p) for p in exported),
    )


def _png(pixels: "NDArray[np.uint8]") -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()
