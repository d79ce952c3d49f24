"""What whoever trains or converts has to know of the sets, in words for a person."""

from collections import Counter
from collections.abc import Iterator, Sequence

from cxr_edge.evaluate.doubts import ENOUGH_IMAGES
from cxr_edge.types import Interval
from cxr_edge_export.dataset import LabelledImage, Sets, distinct
from cxr_edge_export.patients import describe_shared
from cxr_edge_export.recipe import Recipe

CHANCE = 0.5  # AUC


def doubts(sets: Sets, recipe: Recipe) -> Iterator[str]:
    """One sentence each, about the images that thresholds are chosen on; empty where there is nothing to say."""
    images = sets.validation
    if doubles := len(images) - len(distinct(images)):
        yield f"{doubles} of the {len(images)} validation images repeat the bytes of another; they count twice"
    yield describe_few("validation", images, recipe.labels, ENOUGH_IMAGES)
    yield describe_shared([image.patient for image in images])


def describe_few(name: str, images: Sequence[LabelledImage], labels: Sequence[str], enough: int) -> str:
    """Of which classes a set has fewer than `enough` images; empty where of none."""
    counts = Counter(image.label for image in images)
    few = [f"{counts[index]} of {label}" for index, label in enumerate(labels) if counts[index] < enough]
    return f"small sample: {', '.join(few)} in the {name} images; figures on them say little" if few else ""


def describe_chance(auc: Interval | None) -> str:
    """That a network may be no better than chance, by its AUC on the validation images; empty where it is."""
    if auc is None or auc.low > CHANCE:
        return ""
    return (
        f"the network's AUC on the validation images is {auc.estimate:.3f} [{auc.low:.3f}, {auc.high:.3f}]: that "
        "it tells more than a coin does (0.5) is not shown"
    )
