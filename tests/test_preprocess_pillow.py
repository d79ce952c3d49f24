"""Pillow's kernels: the own arithmetic against Pillow, pass orders, and a Pillow that is not to be trusted."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.contract import Resize
from cxr_edge.contract.schema import PassOrder
from cxr_edge.preprocess import fixed_point, pillow_arithmetic_matches, pillow_kernels, resize
from cxr_edge.preprocess.aspect import Box
from cxr_edge.preprocess.pillow_kernels import RESAMPLING, resample

KERNELS = st.sampled_from(sorted(RESAMPLING))
SIDES = st.integers(1, 160)
SHAPES = st.tuples(SIDES, SIDES)
INSTALLED_ORDER: PassOrder = "pillow-13" if int(PIL.__version__.split(".")[0]) >= 13 else "horizontal-first"
SQUASH = Resize(kernel="pillow-bilinear", pass_order="horizontal-first", aspect="squash")


@pytest.fixture
def fresh_probe() -> Iterator[None]:
    """The probe's verdict forgotten before and after."""
    pillow_arithmetic_matches.cache_clear()
    yield
    pillow_arithmetic_matches.cache_clear()


def noise(rows: int, columns: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)


def two_steps(
    pixels: NDArray[np.uint8], kernel: str, size: tuple[int, int], *, horizontal_first: bool
) -> NDArray[np.uint8]:
    """Pillow alone, one axis after the other."""
    image, resampling = Image.fromarray(pixels), Image.Resampling(RESAMPLING[kernel])
    between = (size[1], image.height) if horizontal_first else (image.width, size[0])
    return np.asarray(image.resize(between, resampling).resize(size[::-1], resampling))


def test_the_installed_pillow_is_used() -> None:
    assert pillow_arithmetic_matches()


@settings(max_examples=400, deadline=None)
@given(SHAPES, SIDES, KERNELS, st.sampled_from([0, 1]), st.data())
def test_own_arithmetic_is_pillows(
    shape: tuple[int, int], outputs: int, kernel: str, axis: int, data: st.DataObject
) -> None:
    pixels = noise(*shape, data.draw(st.integers(0, 9)))
    start = data.draw(st.integers(0, shape[axis] - 1))
    stop = data.draw(st.integers(start, shape[axis]))
    own = fixed_point.resample_axis(pixels, kernel, axis, (start, stop), outputs)
    size, box = (shape[1], outputs), (0, start, shape[1], stop)
    if axis == 1:
        size, box = (outputs, shape[0]), (start, 0, stop, shape[0])
    resized = Image.fromarray(pixels).resize(size, Image.Resampling(RESAMPLING[kernel]), box)
    assert np.array_equal(own, np.asarray(resized))


@pytest.mark.parametrize("kernel", RESAMPLING)
@pytest.mark.parametrize("shape", [(2890, 399), (1317, 1857), (2000, 1500), (224, 1000), (1000, 224), (60, 50)])
@pytest.mark.parametrize("own", [False, True])
def test_either_pass_order_at_the_size_of_radiographs(
    kernel: str, shape: tuple[int, int], *, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(*shape)
    if own:
        monkeypatch.setattr(pillow_kernels, "pillow_arithmetic_matches", lambda: False)
    for order in ("horizontal-first", "vertical-first"):
        recipe = Resize(kernel=kernel, pass_order=order, aspect="squash")  # type: ignore[arg-type]
        expected = two_steps(pixels, kernel, (224, 224), horizontal_first=order == "horizontal-first")
        assert np.array_equal(resize(pixels, recipe, 224, 224), expected)


def test_the_pass_order_decides_and_is_obeyed() -> None:
    pixels = noise(400, 300)
    horizontal, vertical = (
        resize(pixels, replace(SQUASH, pass_order=order), 224, 224) for order in ("horizontal-first", "vertical-first")
    )
    assert not np.array_equal(horizontal, vertical)
    assert np.abs(horizontal.astype(int) - vertical).max() <= 2


@pytest.mark.parametrize("own", [False, True])
@settings(max_examples=300, deadline=None)
@given(shape=SHAPES, size=SHAPES, kernel=KERNELS, boxed=st.booleans(), data=st.data())
def test_one_call_of_the_installed_pillow(
    *, own: bool, shape: tuple[int, int], size: tuple[int, int], kernel: str, boxed: bool, data: st.DataObject
) -> None:
    pixels, box = noise(*shape), Box(0, 0, *shape)
    if boxed:
        top, left = data.draw(st.integers(0, shape[0] - 1)), data.draw(st.integers(0, shape[1] - 1))
        box = Box(top, left, data.draw(st.integers(top, shape[0])), data.draw(st.integers(left, shape[1])))
    with pytest.MonkeyPatch.context() as patch:
        if own:
            patch.setattr(pillow_kernels, "pillow_arithmetic_matches", lambda: False)
        ours = resample(pixels, kernel, INSTALLED_ORDER, box, size)
    corners = (box.left, box.top, box.right, box.bottom)
    resized = Image.fromarray(pixels).resize(size[::-1], Image.Resampling(RESAMPLING[kernel]), corners)
    assert np.array_equal(ours, np.asarray(resized))


@pytest.mark.parametrize(
    ("shape", "vertical_first"),
    [
        ((400, 300), True),  # 176 rows to remove, 76 columns
        ((2000, 1500), False),  # 1776 and 1276
        ((377, 300), True),  # 153 and 76
        ((376, 300), False),  # 152 and 76: exactly twice is not more
        ((225, 100), True),  # columns grow
        ((220, 100), False),  # rows grow too
        ((1500, 2000), False),
    ],
)
def test_the_rule_of_pillow_13(shape: tuple[int, int], *, vertical_first: bool) -> None:
    pixels = noise(*shape)
    ruled = resize(pixels, replace(SQUASH, pass_order="pillow-13"), 224, 224)
    assert np.array_equal(ruled, two_steps(pixels, "pillow-bilinear", (224, 224), horizontal_first=not vertical_first))
    assert not np.array_equal(ruled, two_steps(pixels, "pillow-bilinear", (224, 224), horizontal_first=vertical_first))


@pytest.mark.usefixtures("fresh_probe")
@pytest.mark.parametrize("kernel", RESAMPLING)
def test_a_pillow_that_computes_otherwise_is_not_used(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(500, 300)
    expected = two_steps(pixels, kernel, (224, 224), horizontal_first=True)
    honest = Image.Image.resize

    def off_by_one_level(
        self: Image.Image, size: tuple[int, int], resample: Image.Resampling, box: tuple[int, int, int, int]
    ) -> Image.Image:
        resized = np.array(honest(self, size, resample, box))
        resized[0, 0] ^= 1
        return Image.fromarray(resized)

    monkeypatch.setattr(Image.Image, "resize", off_by_one_level)
    assert not pillow_arithmetic_matches()
    assert np.array_equal(resize(pixels, replace(SQUASH, kernel=kernel), 224, 224), expected)  # type: ignore[arg-type]


@pytest.mark.usefixtures("fresh_probe")
def test_the_probe_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pillow_arithmetic_matches()
    monkeypatch.setattr(fixed_point, "resample_axis", None)
    assert pillow_arithmetic_matches()


@settings(deadline=None)
@given(shape=SHAPES, size=SHAPES, kernel=KERNELS, level=st.integers(0, 255), own=st.booleans())
def test_an_even_image_stays_even(
    *, shape: tuple[int, int], size: tuple[int, int], kernel: str, level: int, own: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if own:
            patch.setattr(pillow_kernels, "pillow_arithmetic_matches", lambda: False)
        resized = resample(np.full(shape, level, np.uint8), kernel, "horizontal-first", Box(0, 0, *shape), size)
    assert resized.shape == size
    assert (resized == level).all()


def test_nothing_to_do_returns_the_image_itself() -> None:
    pixels = noise(224, 224)
    assert resize(pixels, SQUASH, 224, 224) is pixels
