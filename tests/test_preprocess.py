"""The input tensor: what the protocol promises, on made-up pixels and on real radiographs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contracts import MEMBER
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.contract import Input, Normalization, Resize
from cxr_edge.errors import InputError, Reason, UsageError
from cxr_edge.preprocess import preprocess, resize

SQUASH = Resize(kernel="pillow-bilinear", pass_order="horizontal-first", aspect="squash")


def noise(rows: int, columns: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)


def training_tensor(gray: Image.Image) -> NDArray[np.uint8]:
    """What Pillow up to 12 gives for `gray.resize((224, 224), BILINEAR)`, in three equal channels, by Pillow alone."""
    resized = gray.resize((224, gray.height), Image.Resampling.BILINEAR).resize((224, 224), Image.Resampling.BILINEAR)
    return np.asarray(Image.merge("RGB", (resized, resized, resized)))


def test_every_original_becomes_the_tensor_of_training(data_folder: Path) -> None:
    originals = sorted((data_folder / "kermany_original").rglob("*.jpeg"))
    assert len(originals) == 126
    for path in originals:
        with Image.open(path) as image:
            gray = image.convert("L")
        tensor = preprocess(np.asarray(gray), MEMBER)
        assert tensor.tobytes() == training_tensor(gray).tobytes(), path.name


def test_folded_uint8_is_the_resized_gray_in_equal_channels() -> None:
    pixels = noise(301, 277)
    tensor = preprocess(pixels, MEMBER)
    assert tensor.shape == (224, 224, 3)
    assert tensor.dtype == np.uint8
    assert tensor.flags.c_contiguous
    assert np.array_equal(tensor, training_tensor(Image.fromarray(pixels)))


def test_one_channel_and_a_size_that_is_not_square() -> None:
    member = replace(
        MEMBER,
        input=Input(name="image", dtype="uint8", height=48, width=64, channels=1),
        normalization=Normalization(channel_order="gray", mean=(0.0,), scale=(255.0,), folded=True),
    )
    tensor = preprocess(noise(100, 90), member)
    assert tensor.shape == (48, 64, 1)
    assert tensor.dtype == np.uint8
    assert tensor.flags.c_contiguous


def test_folded_float_input_keeps_gray_levels() -> None:
    member = replace(MEMBER, input=replace(MEMBER.input, dtype="float32"))
    pixels = noise(224, 224)
    tensor = preprocess(pixels, member)
    assert tensor.dtype == np.float32
    assert np.array_equal(tensor, np.repeat(pixels[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize("kernel", ["pillow-bilinear", "tf-bilinear"])
def test_normalization_left_to_the_runtime_is_float32_per_channel(kernel: str) -> None:
    mean, scale = (103.939, 116.779, 123.68), (58.395, 57.12, 57.375)
    recipe = replace(SQUASH, kernel=kernel)  # type: ignore[arg-type]
    member = replace(
        MEMBER,
        input=replace(MEMBER.input, dtype="float32"),
        resize=recipe,
        normalization=Normalization(channel_order="bgr", mean=mean, scale=scale, folded=False),
    )
    pixels = noise(150, 140)
    tensor = preprocess(pixels, member)
    gray = resize(pixels, recipe, 224, 224).astype(np.float32)
    assert tensor.shape == (224, 224, 3)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    for channel in range(3):
        expected = (gray - np.float32(mean[channel])) / np.float32(scale[channel])
        assert np.array_equal(tensor[..., channel], expected)


def test_the_pixels_are_left_as_they_were() -> None:
    pixels = noise(224, 224)
    before = pixels.copy()
    pixels.flags.writeable = False
    for kernel in ("pillow-lanczos", "tf-bilinear", "tf-nearest"):
        resize(pixels, replace(SQUASH, kernel=kernel), 100, 300)
    assert np.array_equal(pixels, before)


def test_a_view_gives_what_its_copy_gives() -> None:
    view = noise(300, 400)[10:290:2, ::-1]
    for kernel in ("pillow-nearest", "pillow-bilinear", "tf-bilinear", "tf-nearest"):
        recipe = replace(SQUASH, kernel=kernel)
        assert np.array_equal(resize(view, recipe, 64, 64), resize(view.copy(), recipe, 64, 64))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8), np.zeros((4, 4))],
)
def test_anything_but_8_bit_gray_is_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match="need uint8"):
        preprocess(pixels, MEMBER)


def test_padding_a_strip_does_not_fill_the_memory() -> None:
    pad = replace(SQUASH, aspect="pad")
    with pytest.raises(InputError, match="when padded") as refusal:
        resize(np.zeros((1, 60_000), np.uint8), pad, 224, 224)
    assert refusal.value.reason is Reason.TOO_LARGE


def test_importing_loads_no_imaging_library() -> None:
    code = "import sys, cxr_edge.preprocess; print([m for m in ('PIL', 'cv2', 'pydicom') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
