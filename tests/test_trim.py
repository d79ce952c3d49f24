"""Edges of one gray level: what is cut, what stays, and that everything else sees the same part."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contracts import MEMBER, make_contract, make_prediction
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_models import tiny_model

import cxr_edge
from cxr_edge.contract import Resize
from cxr_edge.heatmap import FULL_SCALE_LOGITS, heat_map, spread
from cxr_edge.phantom import chest_phantom
from cxr_edge.preprocess import preprocess, resize
from cxr_edge.preprocess.aspect import Box
from cxr_edge.preprocess.trim import part_seen
from cxr_edge.types import Part, Radiograph

TRIMMED = Resize(kernel="pillow-bilinear", pass_order="horizontal-first", aspect="squash", trim=12)
KEPT = replace(TRIMMED, trim=None)


def textured(rows: int, columns: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)


def framed(inner: NDArray[np.uint8], widths: tuple[int, int, int, int], level: int) -> NDArray[np.uint8]:
    """`inner` with top, left, bottom and right bars of one level."""
    top, left, bottom, right = widths
    return np.pad(inner, ((top, bottom), (left, right)), constant_values=level)


@pytest.mark.parametrize("level", [0, 255, 128])
@pytest.mark.parametrize("widths", [(0, 20, 0, 20), (10, 0, 0, 0), (0, 0, 0, 30), (9, 8, 7, 6)])
@pytest.mark.parametrize("kernel", ["pillow-bilinear", "pillow-lanczos", "tf-bilinear", "tf-nearest"])
def test_bars_make_no_difference(level: int, widths: tuple[int, int, int, int], kernel: str) -> None:
    inner, recipe = textured(100, 90), replace(TRIMMED, kernel=kernel)  # type: ignore[arg-type]
    expected = resize(inner, replace(recipe, trim=None), 48, 48)
    assert np.array_equal(resize(framed(inner, widths, level), recipe, 48, 48), expected)


def test_without_trim_every_pixel_is_resized() -> None:
    image = framed(textured(100, 90), (9, 8, 7, 6), 0)
    assert part_seen(image, KEPT) == Box(0, 0, *image.shape)
    assert not np.array_equal(resize(image, KEPT, 48, 48), resize(image, TRIMMED, 48, 48))


def test_noise_within_the_levels_is_an_edge_and_more_is_not() -> None:
    def edge(levels: int) -> NDArray[np.uint8]:
        image = framed(textured(100, 100), (0, 20, 0, 0), 0)
        image[:, :20] = np.random.default_rng(1).integers(40, 41 + levels, (100, 20))
        image[[10, 90], :20] = [[40], [40 + levels]]  # both ends are there
        return image

    assert part_seen(edge(12), TRIMMED).left == 20
    assert part_seen(edge(40), TRIMMED).left == 0


def test_a_few_specks_do_not_keep_a_line_and_a_letter_does() -> None:
    image = framed(textured(100, 200), (10, 0, 0, 0), 0)
    image[3:7, 50:54] = 255  # 2 % of a line of 200
    assert part_seen(image, TRIMMED).top == 10
    image[3:7, 50:55] = 255
    assert part_seen(image, TRIMMED).top == 3


def test_a_side_that_is_flat_too_far_inwards_stays_whole() -> None:
    image = framed(textured(70, 100), (30, 0, 0, 0), 0)
    assert part_seen(image, TRIMMED).top == 30
    image = framed(textured(69, 100), (31, 0, 0, 0), 0)
    assert part_seen(image, TRIMMED).top == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (300, 200)])
def test_an_empty_image_stays_whole(shape: tuple[int, int]) -> None:
    assert part_seen(np.full(shape, 7, np.uint8), TRIMMED) == Box(0, 0, *shape)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_it_is_the_rule_that_is_documented(data: st.DataObject) -> None:
    """Against a slow reading of the rule, line by line, with the standard library's sort."""
    rows, columns = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    image = framed(textured(rows, columns, seed=data.draw(st.integers(0, 9))), (3, 2, 0, 5), 9) // data.draw(
        st.integers(1, 30)
    )

    def run(lines: list[list[int]]) -> int:
        count = 0
        for line in lines:
            ordered = sorted(line)
            cut = len(ordered) * 2 // 100
            if ordered[len(ordered) - 1 - cut] - ordered[cut] > 12:
                break
            count += 1
        return 0 if count > len(lines) * 30 // 100 else count

    lines = image.tolist()
    top, bottom = run(lines), len(lines) - run(lines[::-1])
    across = [list(column) for column in zip(*lines[top:bottom], strict=True)]
    left, right = run(across), len(across) - run(across[::-1])
    box = part_seen(image, TRIMMED)
    assert box == Box(top, left, bottom, right)
    assert box.of(image).size > 0


def test_the_tensor_comes_of_the_part_that_stays() -> None:
    member, inner = replace(MEMBER, resize=TRIMMED), textured(150, 130)
    bars = preprocess(framed(inner, (0, 25, 0, 25), 0), member)
    assert np.array_equal(bars, preprocess(inner, MEMBER))
    assert bars.flags.c_contiguous


@pytest.mark.parametrize("isolation", [None, cxr_edge.IsolationLimits()], ids=["here", "isolated"])
def test_a_result_tells_which_part_was_seen(isolation: cxr_edge.IsolationLimits | None, tmp_path: Path) -> None:
    contract = make_contract(members=(replace(MEMBER, resize=TRIMMED),))
    model, inner = tiny_model(tmp_path, contract), chest_phantom(200, 180)
    image = framed(inner, (0, 20, 50, 0), 0)
    with cxr_edge.load(model, provider="cpu", isolation=isolation) as classifier:
        whole, bare = classifier.classify(image, keep_radiograph=True), classifier.classify(image)
        same = classifier.classify(inner)
    box = part_seen(image, TRIMMED)
    assert box.left >= 20
    assert box.bottom <= 200
    assert whole.seen == Part(box.top / 250, box.left / 200, box.bottom / 250, box.right / 200)
    assert bare.seen == whole.seen
    assert whole.score == bare.score == same.score


def test_the_heat_map_lies_over_the_part_that_was_seen() -> None:
    maps = np.zeros((4, 4, 2), np.float32)
    maps[..., 1] = FULL_SCALE_LOGITS
    gray = np.full((100, 200), 100, np.uint8)
    prediction = make_prediction(
        activation_map=maps, radiograph=Radiograph(gray, "array/gray"), seen=Part(0.1, 0.25, 1.0, 0.75)
    )
    changed = (heat_map(prediction, make_contract()) != gray[..., None]).any(axis=2)
    expected = np.zeros_like(changed)
    expected[10:, 50:150] = True
    assert np.array_equal(changed, expected)


def test_evidence_covers_a_smaller_picture_alike() -> None:
    strength = spread(np.full((4, 4), FULL_SCALE_LOGITS, np.float32), Part(0.5, 0.0, 1.0, 0.5), (10, 20))
    assert (strength[5:, :10] == 1).all()
    assert strength[:5].max() == strength[:, 10:].max() == 0
    assert spread(np.ones((4, 4), np.float32), Part(0.4, 0.4, 0.6, 0.6), (1, 1)).shape == (1, 1)
