"""Synthetic images that are no radiograph, or no longer one: on them the layer of the image gate was chosen.

Real images of other kinds, on which the gate is tested, come from a folder. Everything is drawn from a fixed seed.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Gray = NDArray[np.uint8]
    Random = np.random.Generator

SEED = 11
SIDE = 256
NOISES, SHAPES = 60, 60
BLOCKS = 4  # a shuffled radiograph: as many blocks a side


def synthetic_families(radiographs: "Sequence[Gray]") -> "Iterator[tuple[str, Iterator[Gray]]]":
    """(name, images) of each family.

    Args:
        radiographs: uint8 (rows, columns), what the transformed families are made from.
    """
    yield "synthetic: noise, white and coloured", _noises(_random("noise"))
    yield "synthetic: gradients, gratings, checks, shapes", _shapes(_random("shapes"))
    for name, transform in _TRANSFORMS.items():
        yield f"synthetic: {name}", _transformed(radiographs, transform, _random(name))


def _transformed(
    radiographs: "Sequence[Gray]", transform: "Callable[[Gray, Random], Gray]", random: "Random"
) -> "Iterator[Gray]":
    for image in radiographs:
        yield np.ascontiguousarray(transform(image, random))


def _random(name: str) -> "Random":
    return np.random.Generator(np.random.PCG64([SEED, *name.encode()]))


def _inverted(image: "Gray", _: "Random") -> "Gray":
    return 255 - image


def _sideways(image: "Gray", random: "Random") -> "Gray":
    return np.rot90(image, int(random.choice([1, 3])))


def _upside_down(image: "Gray", _: "Random") -> "Gray":
    return np.rot90(image, 2)


def _corner(image: "Gray", _: "Random") -> "Gray":
    rows, columns = image.shape
    return image[: rows * 2 // 5, : columns * 2 // 5]


def _shuffled(image: "Gray", random: "Random") -> "Gray":
    rows, columns = (size // BLOCKS for size in image.shape)
    tiles = [
        image[r * rows : (r + 1) * rows, c * columns : (c + 1) * columns] for r in range(BLOCKS) for c in range(BLOCKS)
    ]
    order = random.permutation(len(tiles))
    return np.block([[tiles[order[BLOCKS * r + c]] for c in range(BLOCKS)] for r in range(BLOCKS)])


_TRANSFORMS: "Mapping[str, Callable[[Gray, Random], Gray]]" = {
    "training radiographs, inverted": _inverted,
    "training radiographs, turned sideways": _sideways,
    "training radiographs, upside down": _upside_down,
    "training radiographs, a corner of them": _corner,
    "training radiographs, shuffled in 16 blocks": _shuffled,
}


def _noises(random: "Random") -> "Iterator[Gray]":
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequency[0, 0] = 1
    for _ in range(NOISES // 3):
        yield random.integers(0, 256, (SIDE, SIDE), np.uint8)
        yield np.clip(random.normal(128, random.uniform(5, 60), (SIDE, SIDE)), 0, 255).astype(np.uint8)
        spectrum = np.fft.fft2(random.normal(size=(SIDE, SIDE))) / frequency ** random.uniform(0.7, 2)
        yield _stretched(np.fft.ifft2(spectrum).real)


def _shapes(random: "Random") -> "Iterator[Gray]":
    from PIL import Image, ImageDraw

    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    for number in range(SHAPES // 5):
        angle = random.uniform(0, np.pi)
        ramp = np.cos(angle) * x + np.sin(angle) * y
        yield np.full((SIDE, SIDE), number * 255 * 5 // SHAPES, np.uint8)
        yield _stretched(ramp)
        yield _stretched(np.sin(ramp / random.uniform(3, 40)))
        size = int(random.integers(4, 60))
        yield ((x // size + y // size) % 2 * 255).astype(np.uint8)
        canvas = Image.new("L", (SIDE, SIDE), int(random.integers(0, 256)))
        pen = ImageDraw.Draw(canvas)
        for _ in range(int(random.integers(1, 12))):
            left, right = sorted(int(v) for v in random.integers(0, SIDE, 2))
            top, bottom = sorted(int(v) for v in random.integers(0, SIDE, 2))
            draw = pen.ellipse if random.random() < 0.5 else pen.rectangle  # noqa: PLR2004 - a coin
            draw((left, top, right, bottom), fill=int(random.integers(0, 256)))
        yield np.asarray(canvas)


def _stretched(values: "NDArray[np.float64]") -> "Gray":
    low, high = float(values.min()), float(values.max())
    return ((values - low) / (high - low) * 255).astype(np.uint8)
