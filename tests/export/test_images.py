"""What an epoch is made of: which images, in which order, how they weigh, and what their finer classes are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from recipes import LAYERS, recipe_of

from cxr_edge.decode import decode
from cxr_edge.errors import ModelError, UsageError
from cxr_edge.phantom import chest_phantom
from cxr_edge.preprocess import preprocess
from cxr_edge_export.dataset import LabelledImage, read_images, tensors
from cxr_edge_export.recipe import Augmentation
from cxr_edge_export.training.images import (
    FEWEST,
    TOGETHER,
    Images,
    augmented,
    describe_heaviest,
    epoch_order,
    image_weights,
    load_images,
    normalized,
    with_border,
)

LABELS = np.array([0] * 9 + [1] * 30 + [2] * 21)
KINDS = [
    {"label": "healthy", "folder": "NORMAL"},
    {"label": "bacterial", "folder": "PNEUMONIA", "name_contains": "_bacteria_"},
    {"label": "viral", "folder": "PNEUMONIA", "name_contains": "_virus_"},
]


def images(gray: Any = None) -> Images:
    return Images(np.zeros((60, 4, 4), np.uint8) if gray is None else gray, LABELS, None)


def drawn(balance: str, epoch: int, seed: int = 3) -> list[int]:
    return [int(index) for index in epoch_order(images(), balance, seed, epoch)]


@pytest.mark.parametrize("balance", ["none", "class-weights", "class-and-border-weights"])
def test_every_image_once_in_another_order_each_epoch(balance: str) -> None:
    assert sorted(drawn(balance, 0)) == list(range(60))
    assert drawn(balance, 0) == drawn(balance, 0) != drawn(balance, 1)
    assert drawn(balance, 0) != drawn(balance, 0, seed=4)


@pytest.mark.parametrize("balance", ["undersample", "undersample-once"])
def test_as_many_of_each_class_as_the_rarest_has(balance: str) -> None:
    epochs = [drawn(balance, epoch) for epoch in range(4)]
    for order in epochs:
        assert len(set(order)) == len(order) == 27
        assert np.bincount(LABELS[order]).tolist() == [9, 9, 9]
        assert order != sorted(order, key=lambda index: LABELS[index]), "classes are mixed"
    chosen = {frozenset(order) for order in epochs}
    assert len(chosen) == (1 if balance == "undersample-once" else 4)
    assert len(set(map(tuple, epochs))) == 4


def test_classes_weigh_the_same_and_images_one_on_average() -> None:
    weights = image_weights(images(), "class-weights")
    assert weights is not None
    np.testing.assert_allclose(np.bincount(LABELS, weights), 20, rtol=1e-6)
    assert len(set(weights.tolist())) == 3
    assert image_weights(images(), "none") is None


def test_classes_weigh_the_same_with_a_border_and_without_one() -> None:
    some = np.arange(60) % 5 < 2
    some[40:] = True
    weights = image_weights(replace(images(), bordered=some), "class-and-border-weights")
    assert weights is not None
    for part in (some, ~some):
        np.testing.assert_allclose(np.bincount(LABELS[part], weights[part]), part.sum() / 3, rtol=1e-6)
    assert len(set(weights.tolist())) == 6


@pytest.mark.parametrize(
    ("cells", "said"),
    [  # (healthy, sick) with a border, then without
        ((10, 210, 50, 50), "each of 10 of NORMAL with a border weighs as 11.0 images do on average"),
        ((20, 20, 5000, 100), "each of 100 of PNEUMONIA without a border weighs as 25.5 images do on average"),
        ((10, 190, 50, 50), ""),
    ],
)
def test_the_heaviest_images_are_named(cells: tuple[int, int, int, int], said: str) -> None:
    labels = np.repeat([0, 1, 0, 1], cells)
    bordered = np.repeat([True, True, False, False], cells)
    words = describe_heaviest(labels, bordered, recipe_of())
    assert words == (f"few images decide much: {said}" if said else "")


def with_borders(folder: Path, counts: dict[str, tuple[int, int]]) -> tuple[LabelledImage, ...]:
    """Noise of each class, so many with a border and so many without."""
    from PIL import Image

    generator = np.random.Generator(np.random.PCG64(5))
    for label, (bars, none) in counts.items():
        (folder / label).mkdir()
        for number in range(bars + none):
            pixels = generator.integers(20, 230, (24, 24), np.uint8)
            if number < bars:
                pixels[-4:] = 0
            Image.fromarray(pixels).save(folder / label / f"{number:02}.png")
    return read_images(folder, recipe_of().labels)


def test_borders_are_seen_in_the_order_of_the_images(tmp_path: Path) -> None:
    listed = with_borders(tmp_path, {"NORMAL": (FEWEST, FEWEST + 2), "PNEUMONIA": (FEWEST + 1, FEWEST)})
    expected = [int(image.path.stem) < FEWEST + image.label for image in listed]
    assert with_border(listed, recipe_of()).tolist() == expected


@pytest.mark.parametrize(
    ("healthy", "said"),
    [((9, 10), "NORMAL with a border: 9;"), ((12, 9), "NORMAL without a border: 9;"), ((0, 30), "with a border: 0;")],
)
def test_too_few_with_a_border_or_without_are_refused(tmp_path: Path, healthy: tuple[int, int], said: str) -> None:
    listed = with_borders(tmp_path, {"NORMAL": healthy, "PNEUMONIA": (FEWEST, FEWEST)})
    with pytest.raises(UsageError, match=f"{said}.* needs 10 of each class"):
        with_border(listed, recipe_of())


def test_kernels_that_give_fractions_are_augmented_too() -> None:
    gray = np.random.Generator(np.random.PCG64(1)).uniform(0, 255, (60, 12, 12)).astype(np.float32)
    plan = Augmentation(contrast=0.2, jpeg=60, noise=2.0, blur=1.0)
    changed = augmented(images(gray), np.arange(5), plan, 0, 0)
    assert changed.shape == (5, 12, 12)
    assert changed.dtype == np.uint8
    assert augmented(images(gray), np.arange(5), Augmentation(), 0, 0).dtype == np.float32


def with_damage(folder: Path, places: Iterable[int]) -> tuple[LabelledImage, ...]:
    """Seventy images, of which those at these places hold only their first bytes."""
    from PIL import Image

    for number in range(TOGETHER + 6):
        label = ("NORMAL", "PNEUMONIA")[number % 2]
        (folder / label).mkdir(exist_ok=True)
        Image.new("L", (8, 8), number).save(folder / label / f"patient{number}.png")
    listed = read_images(folder, recipe_of().labels)
    for place in places:
        listed[place].path.write_bytes(listed[place].path.read_bytes()[:40])
    return listed


def test_an_unreadable_image_is_told_by_its_place_in_the_whole_set(tmp_path: Path) -> None:
    listed = with_damage(tmp_path, [TOGETHER + 3])
    with pytest.raises(ModelError, match=f"^image {TOGETHER + 4} of"):
        load_images(listed, recipe_of(), None)


def in_training(listed: Sequence[LabelledImage]) -> None:
    load_images(listed, recipe_of(), None)


def in_conversion(listed: Sequence[LabelledImage]) -> None:
    recipe = recipe_of()
    for _ in tensors(listed, recipe.rendering, recipe.member):
        pass


@pytest.mark.parametrize("read", [in_training, in_conversion])
def test_all_unreadable_images_are_told_at_once(
    tmp_path: Path, read: Callable[[Sequence[LabelledImage]], None]
) -> None:
    listed = with_damage(tmp_path, [2, TOGETHER + 1, TOGETHER + 3])
    with pytest.raises(ModelError) as told:
        read(listed)
    said = str(told.value)
    assert said.startswith("3 images cannot be used: image 3 of a labelled set (SHA-256 ")
    assert [f"image {number} of" in said for number in (TOGETHER + 1, TOGETHER + 2, TOGETHER + 4)] == [
        False,
        True,
        True,
    ]
    assert "patient" not in said


def test_of_many_unreadable_images_ten_are_told(tmp_path: Path) -> None:
    listed = with_damage(tmp_path, range(5, 30))
    with pytest.raises(ModelError, match=r"^25 images cannot be used: image 6 of .*; image 15 of [^;]*; and 15 more$"):
        load_images(listed, recipe_of(), None)


def test_what_training_shows_is_what_the_runtime_shows(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "NORMAL").mkdir()
    (tmp_path / "PNEUMONIA").mkdir()
    for seed, label in enumerate(("NORMAL", "PNEUMONIA")):
        Image.fromarray(chest_phantom(90, 100, seed=seed)).save(tmp_path / label / f"patient{seed}.png")
    contrast = {"percentiles": [2, 50, 98], "levels": [79, 155, 195], "margin": 25}
    recipe = recipe_of(contrast=contrast)
    listed = read_images(tmp_path, recipe.labels)
    loaded = load_images(listed, recipe, None)
    shown = normalized(augmented(loaded, np.arange(2), Augmentation(), 0, 0), recipe.member)
    mean, scale = (np.asarray(row, np.float32) for row in ([103.939, 116.779, 123.68], [64.0] * 3))
    for image, tensor in zip(listed, shown, strict=True):
        pixels = decode(image.path.read_bytes(), recipe.rendering).pixels
        np.testing.assert_array_equal(tensor, (preprocess(pixels, recipe.member).astype(np.float32) - mean) / scale)
        assert not np.array_equal(tensor, (preprocess(pixels, recipe_of().member).astype(np.float32) - mean) / scale)


def test_contrast_comes_after_augmentation() -> None:
    gray = np.random.default_rng(0).integers(60, 160, (60, 40, 40), dtype=np.uint8)
    recipe = recipe_of(contrast={"percentiles": [2, 50, 98], "levels": [79, 155, 195]})
    plan = Augmentation(gamma=0.5, brightness=0.05)
    changed = augmented(images(gray), np.arange(20), plan, 0, 0)
    assert changed.mean(axis=(1, 2)).std() > 10
    shown = normalized(changed, recipe.member)[..., 0] * 64 + 103.939
    np.testing.assert_allclose(np.median(shown, axis=(1, 2)), 155, atol=3)


def test_some_images_keep_their_edges_in_training(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / label).mkdir()
        barred = np.pad(chest_phantom(90, 100, seed=3), ((0, 0), (20, 20)))
        Image.fromarray(barred).save(tmp_path / label / f"{label}.png")
    resize = {"kernel": "pillow-bilinear", "pass_order": "horizontal-first", "aspect": "squash", "trim": 12}
    recipe = recipe_of(resize=resize)
    listed = read_images(tmp_path, recipe.labels)
    loaded = load_images(listed, recipe, None, untrimmed=True)
    untrimmed = loaded.untrimmed
    assert untrimmed is not None
    assert np.array_equal(loaded.gray, load_images(listed, recipe, None).gray)
    assert np.array_equal(untrimmed, load_images(listed, recipe_of(), None).gray)
    assert not np.array_equal(loaded.gray, untrimmed)

    def kept(share: float) -> int:
        plan = Augmentation(untrimmed=share)
        shown = [augmented(loaded, np.array([0]), plan, 0, epoch)[0] for epoch in range(100)]
        assert all(np.array_equal(one, loaded.gray[0]) or np.array_equal(one, untrimmed[0]) for one in shown)
        return sum(np.array_equal(one, untrimmed[0]) for one in shown)

    assert (kept(0.0), kept(1.0)) == (0, 100)
    assert 35 < kept(0.5) < 65
    without = Augmentation(shift=0.1)
    assert np.array_equal(
        augmented(loaded, np.arange(2), without, 0, 0),
        augmented(load_images(listed, recipe, None), np.arange(2), without, 0, 0),
    )


def finer(folder: Path) -> Any:
    stages = [{"epochs": 1, "batch": 1, "learning_rate": 0.1}]
    training = {"stages": stages, "auxiliary": {"weight": 1.0, "classes": KINDS}}
    recipe = recipe_of(network={"layers": LAYERS}, training=training)
    return load_images(read_images(folder, recipe.labels), recipe, None, finer=True).finer


def test_finer_classes_by_the_nearest_folder_and_the_name(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "NORMAL"  # whatever the data folder lies in
    names = ("NORMAL/IM-0001-0001.png", "PNEUMONIA/person1_virus_1.png", "PNEUMONIA/person2_bacteria_1.png")
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(folder / name)
    assert finer(folder).tolist() == [0, 2, 1]
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(folder / "PNEUMONIA" / "person3_fungus_1.png")
    with pytest.raises(UsageError, match=r"none of training\.auxiliary\.classes"):
        finer(folder)
