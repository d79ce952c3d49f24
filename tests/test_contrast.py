"""Gray levels brought to those of the training images: the curve, where it is measured, and what it undoes."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import numpy as np
import pytest
from contracts import DIGEST, MEMBER, make_contract
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr_edge.contract import Contract, Contrast, from_json, to_json
from cxr_edge.errors import ContractError
from cxr_edge.info import describe
from cxr_edge.phantom import chest_phantom
from cxr_edge.preprocess import preprocess, resize
from cxr_edge.preprocess.contrast import STEEPEST, apply_contrast, curve, measured

CONTRAST = Contrast(percentiles=(2, 50, 98), levels=(79, 155, 195), margin=25)
LEVELS = st.integers(0, 255)


def with_contrast(contrast: Contrast, kernel: str = "pillow-bilinear", aspect: str = "squash") -> Contract:
    resize = replace(MEMBER.resize, kernel=kernel, aspect=aspect)  # type: ignore[arg-type]
    dtype = "float32" if kernel == "tf-bilinear" else "uint8"
    member = replace(MEMBER, contrast=contrast, resize=resize, input=replace(MEMBER.input, dtype=dtype))  # type: ignore[arg-type]
    return replace(make_contract(), members=(member,))


def slow(level: int, found: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """The rule in fractions, one level at a time."""
    points = [(found[0], wanted[0])]
    for x, y in zip(found[1:], wanted[1:], strict=True):
        before, below = points[-1]
        points.append((max(x, before + ceil(Fraction(y - below, STEEPEST))), y))
    if len(points) == 1:
        return min(255, max(0, level + points[0][1] - points[0][0]))
    pieces = list(pairwise(points))
    (start, low), (stop, high) = next((p for p in reversed(pieces) if p[0][0] <= level), pieces[0])
    exact = low + Fraction((level - start) * (high - low), stop - start)
    return min(255, max(0, floor(exact + Fraction(1, 2))))


@given(
    st.lists(LEVELS, min_size=1, max_size=5).map(sorted),
    st.lists(st.integers(1, 254), min_size=5, max_size=5, unique=True).map(sorted),
)
def test_the_curve_is_the_rule_in_fractions(found: list[int], wanted: list[int]) -> None:
    levels = tuple(wanted[: len(found)])
    table = curve(tuple(found), levels)
    assert table.tolist() == [slow(level, tuple(found), levels) for level in range(256)]
    assert np.all(np.diff(table.astype(int)) >= 0), "darker stays darker"


@pytest.mark.parametrize(
    ("found", "at"),
    [
        ((10, 100, 200), {0: 71, 10: 79, 55: 117, 100: 155, 200: 195, 255: 217}),
        ((100, 120, 200), {0: 0, 79: 0, 90: 41, 100: 79, 120: 155, 255: 223}),
        ((100, 101, 200), {99: 75, 100: 79, 101: 83, 119: 155, 200: 195}),  # 76 levels for one would be too steep
        ((90, 90, 90), {70: 0, 89: 75, 90: 79, 91: 83, 109: 155, 119: 195, 134: 255, 255: 255}),
        ((0, 255, 255), {0: 79, 255: 155}),
    ],
)
def test_levels_that_occur_become_those_that_are_wanted(found: tuple[int, ...], at: dict[int, int]) -> None:
    table = curve(found, CONTRAST.levels)
    assert {level: int(table[level]) for level in at} == at


def test_only_the_central_part_is_measured() -> None:
    image = np.random.default_rng(1).integers(40, 200, (40, 80), dtype=np.uint8)
    inner = image[10:30, 20:60]
    assert measured(image, CONTRAST) == tuple(np.sort(inner.ravel())[[15, 399, 783]])
    framed = image.copy()
    framed[:10], framed[:, 60:] = 0, 255
    assert measured(framed, CONTRAST) == measured(image, CONTRAST)
    assert measured(framed, replace(CONTRAST, margin=0)) != measured(image, replace(CONTRAST, margin=0))


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (3, 7)])
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_small_and_flat_images_have_a_curve_too(shape: tuple[int, int], level: int) -> None:
    image = np.full(shape, level, np.uint8)
    for margin in (0, 25, 45):
        changed = apply_contrast(image, replace(CONTRAST, margin=margin))
        assert changed.shape == shape
        assert changed.dtype == np.uint8
        assert np.unique(changed).tolist() == [CONTRAST.levels[0]]


def test_a_blank_film_stays_nearly_blank() -> None:
    noise = np.random.default_rng(2).normal(128, 1, (112, 112))
    film = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    assert apply_contrast(film, CONTRAST).std() < (STEEPEST + 0.5) * film.std()


def exposures() -> dict[str, NDArray[np.uint8]]:
    levels = np.arange(256) / 255
    changes = {
        "darker": levels**1.6,
        "brighter": levels**0.6,
        "flatter": 0.2 + 0.5 * levels,
        "steeper": 1.2 * levels - 0.1,
    }
    return {name: np.clip(np.rint(change * 255), 0, 255).astype(np.uint8) for name, change in changes.items()}


@pytest.mark.parametrize("change", exposures())
def test_another_exposure_gives_nearly_the_same_image(change: str) -> None:
    image = chest_phantom(400, 380, seed=3)
    other = exposures()[change][image]
    plain, changed = (resize(pixels, MEMBER.resize, 112, 112) for pixels in (image, other))
    before = np.abs(plain.astype(int) - changed).mean()
    after = np.abs(apply_contrast(plain, CONTRAST).astype(int) - apply_contrast(changed, CONTRAST)).mean()
    assert after < before / 3


def test_the_tensor_is_the_resized_image_through_its_curve() -> None:
    pixels = chest_phantom(300, 320, seed=5)
    before = pixels.copy()
    member = replace(MEMBER, contrast=CONTRAST)
    gray = resize(pixels, member.resize, 224, 224)
    tensor = preprocess(pixels, member)
    assert tensor.dtype == np.uint8
    assert np.array_equal(
        tensor, np.repeat(curve(measured(gray, CONTRAST), CONTRAST.levels)[gray][..., None], 3, axis=2)
    )
    assert not np.array_equal(tensor, preprocess(pixels, MEMBER))
    assert np.array_equal(pixels, before)


def test_the_contract_carries_it_and_info_says_so() -> None:
    contract = with_contrast(CONTRAST)
    assert from_json(to_json(contract)) == contract
    told = dict(next(rows for title, rows in describe(contract, DIGEST) if title.startswith("preprocessing")))
    assert told["gray levels"] == "by the central part, 25 % left out on each side: 2 % to 79, 50 % to 155, 98 % to 195"
    plain = dict(next(rows for title, rows in describe(make_contract(), DIGEST) if title.startswith("preprocessing")))
    assert plain["gray levels"] == "as they are"


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (with_contrast(replace(CONTRAST, levels=(79, 155))), "differ in number"),
        (with_contrast(replace(CONTRAST, levels=(79, 79, 195))), "levels .* do not ascend"),
        (with_contrast(replace(CONTRAST, percentiles=(50, 2, 98))), "percentiles .* do not ascend"),
        (with_contrast(replace(CONTRAST, percentiles=(2, 50, 101))), "percentiles"),
        (with_contrast(replace(CONTRAST, levels=(0, 155, 195))), "levels"),
        (with_contrast(replace(CONTRAST, levels=(), percentiles=())), "percentiles"),
        (with_contrast(replace(CONTRAST, margin=50)), "margin"),
        (with_contrast(CONTRAST, "tf-bilinear"), "fractions"),
        (with_contrast(CONTRAST, aspect="pad"), "padding"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses(contract: Contract, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        from_json(to_json(contract))
