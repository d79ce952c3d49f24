"""What is said of sets that are too small to judge by, and of networks that may tell nothing."""

from pathlib import Path

import pytest

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from recipes import recipe_of

from cxr_edge.types import Interval
from cxr_edge_export.dataset import LabelledImage, Sets
from cxr_edge_export.doubts import describe_chance, describe_few, doubts

LABELS = ("NORMAL", "PNEUMONIA")


def images_of(normal: int, sick: int, patients: int = 1000) -> tuple[LabelledImage, ...]:
    labels = [0] * normal + [1] * sick
    return tuple(LabelledImage(Path(f"{n}.png"), label, f"P{n % patients}", f"{n}") for n, label in enumerate(labels))


def test_too_few_images_of_a_class() -> None:
    assert describe_few("test", images_of(10, 10), LABELS, 10) == ""
    assert describe_few("test", images_of(10, 9), LABELS, 10) == (
        "small sample: 9 of PNEUMONIA in the test images; figures on them say little"
    )
    assert "0 of NORMAL, 3 of PNEUMONIA" in describe_few("test", images_of(0, 3), LABELS, 10)


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (images_of(50, 50), []),
        (images_of(50, 49), ["small sample: 49 of PNEUMONIA"]),
        (images_of(50, 50, patients=5), ["one patient has 20 of the 100 images"]),
        (images_of(50, 50) + images_of(1, 0), ["1 of the 101 validation images repeat"]),
    ],
)
def test_conversion_says_what_thresholds_are_chosen_on(validation: tuple[LabelledImage, ...], words: list[str]) -> None:
    said = [text for text in doubts(Sets((), (), validation, ()), recipe_of()) if text]
    assert len(said) == len(words)
    assert all(text.startswith(word) for text, word in zip(said, words, strict=True))


def test_no_better_than_a_coin() -> None:
    assert describe_chance(None) == ""
    assert describe_chance(Interval(0.7, 0.51, 0.8)) == ""
    assert "AUC on the validation images is 0.370 [0.100, 0.600]" in describe_chance(Interval(0.37, 0.1, 0.6))
