"""Random changes of training images: repeatable, of the same size, and each kind does something."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from cxr_edge.phantom import chest_phantom
from cxr_edge_export.recipe import Augmentation
from cxr_edge_export.training.augment import augment

PHANTOM = chest_phantom(60, 52, seed=1)
KINDS: list[dict[str, Any]] = [
    {"rotation": 10.0},
    {"zoom": 0.2},
    {"aspect": 0.3},
    {"shift": 0.08},
    {"flip": True},
    {"brightness": 0.2},
    {"contrast": 0.3},
    {"gamma": 0.5},
    {"noise": 8.0},
    {"blur": 2.0},
    {"sharpen": 1.0},
    {"jpeg": 20},
    {"erase": 0.3},
    {"border": 0.2},
]


def drawn(plan: Augmentation, seed: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return augment(PHANTOM, plan, np.random.Generator(np.random.PCG64(seed)))


def test_nothing_asked_for_changes_nothing() -> None:
    assert np.array_equal(drawn(Augmentation(), 0), PHANTOM)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: next(iter(kind)))
def test_each_kind_changes_the_image_and_repeats_itself(kind: dict[str, Any]) -> None:
    plan = Augmentation(**kind)
    before = PHANTOM.copy()
    changed = [drawn(plan, seed) for seed in range(12)]
    assert any(not np.array_equal(image, PHANTOM) for image in changed)
    assert len({image.tobytes() for image in changed}) > 1
    assert all(np.array_equal(image, drawn(plan, seed)) for seed, image in enumerate(changed))
    assert np.array_equal(PHANTOM, before)  # the image in memory serves the next epoch too
    # a change that leaves no chest would teach nothing
    assert all(np.corrcoef(image.ravel(), PHANTOM.ravel())[0, 1] > 0.3 for image in changed)


def test_rotation_is_about_the_centre_and_shift_by_a_share_of_the_size() -> None:
    dot = np.zeros((61, 61), np.uint8)
    dot[29:32, 29:32] = 255
    turned = augment(dot, Augmentation(rotation=90.0), np.random.Generator(np.random.PCG64(3)))
    rows, columns = np.nonzero(turned > 64)
    assert abs(rows.mean() - 30) < 0.5
    assert abs(columns.mean() - 30) < 0.5
    for seed in range(8):
        shifted = augment(dot, Augmentation(shift=0.25), np.random.Generator(np.random.PCG64(seed)))
        rows, columns = np.nonzero(shifted > 64)
        assert abs(rows.mean() - 30) <= 0.25 * 61 + 1
        assert abs(columns.mean() - 30) <= 0.25 * 61 + 1


def test_aspect_changes_width_against_height_and_leaves_the_area() -> None:
    square = np.zeros((81, 81), np.uint8)
    square[25:56, 25:56] = 255
    ratios = []
    for seed in range(40):
        changed = augment(square, Augmentation(aspect=0.3), np.random.Generator(np.random.PCG64(seed)))
        rows, columns = np.nonzero(changed > 127)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert abs(height * width / 31**2 - 1) < 0.1
        ratios.append(width / height)
    assert 1 / 1.4 < min(ratios) < 0.87
    assert 1.15 < max(ratios) < 1.4


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Augmentation,
        rotation=st.floats(0, 180),
        zoom=st.floats(0, 0.9),
        aspect=st.floats(0, 0.9),
        shift=st.floats(0, 0.9),
        flip=st.booleans(),
        brightness=st.floats(0, 1),
        contrast=st.floats(0, 0.99),
        gamma=st.floats(0, 2),
        noise=st.floats(0, 100),
        blur=st.floats(0, 10),
        sharpen=st.floats(0, 5),
        jpeg=st.none() | st.integers(1, 95),
        erase=st.floats(0, 0.99),
        border=st.floats(0, 0.39),
    ),
    st.integers(0, 1000),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_whatever_is_asked_for_comes_out_as_an_image(plan: Augmentation, seed: int, size: tuple[int, int]) -> None:
    pixels = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, size).astype(np.uint8)
    changed = augment(pixels, plan, np.random.Generator(np.random.PCG64(seed)))
    assert changed.dtype == np.uint8
    assert changed.shape == size
    assert changed.flags.c_contiguous
