"""Radiographs in memory, prepared by the runtime's own road, and the batches of an epoch made of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.contract import Member
from cxr_edge.errors import UsageError
from cxr_edge.preprocess.contrast import apply_contrast
from cxr_edge.processors import available_threads
from cxr_edge_export.clusters import look
from cxr_edge_export.dataset import LabelledImage, all_damaged_named, decoded, rule_of, tensors
from cxr_edge_export.recipe import Augmentation, Recipe
from cxr_edge_export.training.augment import augment, rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOGETHER = 64  # images that one thread prepares before it reports
HEAVY = 10.0  # times an image weighs on average: above it few of them steer the training
FEWEST = 10  # images of each class, with a border and without: what fewer show would be learnt by heart
EPOCH, IMAGE = 1, 2  # which kind of draw a generator is for
BY_BORDER = "class-and-border-weights"


class BalanceImpossible(UsageError):  # noqa: N818 - named after what cannot be
    """The images cannot be balanced as the recipe asks."""


@dataclass(frozen=True, slots=True)
class Images:
    """One set, ready for training.

    Attributes:
        gray: (N, rows, columns), uint8; float32 for kernels that give fractions. Channels are all equal.
        labels: int64 (N,).
        untrimmed: as `gray`, of images that keep the edges which the contract trims; None where not asked for.
        bordered: bool (N,), those with a border, as `clusters.look` sees it; None where not asked for.
        finer: int64 (N,), the auxiliary classes; None without any, or where they were not asked for.
    """

    gray: "NDArray[Any]"
    labels: "NDArray[np.int64]"
    finer: "NDArray[np.int64] | None"
    untrimmed: "NDArray[Any] | None" = None
    bordered: "NDArray[np.bool_] | None" = None


def load_images(
    images: Sequence[LabelledImage],
    recipe: Recipe,
    side: int | None,
    told: Callable[[int], None] = lambda _done: None,
    *,
    finer: bool = False,
    untrimmed: bool = False,
) -> Images:
    """Decode and resize, as the runtime would for a model of that input size; the contrast is left to `normalized`.

    Args:
        images: of one set.
        recipe: rendering, resize and classes.
        side: height and width; None: the recipe's.
        told: is told how many are done.
        finer: with their auxiliary classes, if the recipe has any: to train on.
        untrimmed: also with the edges that the contract trims: to train on.

    Raises:
        ModelError: an image cannot be decoded.
        UsageError: an image is of no auxiliary class.
    """
    classes = _finer(images, recipe) if finer else None  # before the long work
    member = replace(member_of_size(recipe, side), contrast=None)  # augmentation comes before it
    return Images(
        gray=_all_gray(images, recipe, member, told),
        labels=np.array([image.label for image in images], np.int64),
        finer=classes,
        untrimmed=_all_gray(images, recipe, _untrimmed(member), told) if untrimmed else None,
    )


def with_border(
    images: Sequence[LabelledImage], recipe: Recipe, told: Callable[[int], None] = lambda _done: None
) -> "NDArray[np.bool_]":
    """Which images have a border as the file holds them, before `trim`: bool (N,).

    Args:
        images: of the training set.
        recipe: rendering and labels.
        told: is told how many were looked at.

    Raises:
        ModelError: an image cannot be decoded.
        BalanceImpossible: too few of some class have one, or have none, to be balanced in both groups.
    """

    def has_border(place: int) -> bool:
        return look(decoded(images[place], place, recipe.rendering)).bordered

    with all_damaged_named(images, recipe.rendering), ThreadPoolExecutor(available_threads()) as threads:
        found = np.zeros(len(images), np.bool_)
        for place, one in enumerate(threads.map(has_border, range(len(images)))):
            found[place] = one
            told(place + 1)
    for label, name in enumerate(recipe.labels):
        some = found[[image.label == label for image in images]]
        for count, word in ((int(some.sum()), "with"), (int((~some).sum()), "without")):
            if count < FEWEST:
                message = (
                    f"training images of {name} {word} a border: {count}; training.balance = "
                    f'"{BY_BORDER}" needs {FEWEST} of each class with one and as many without'
                )
                raise BalanceImpossible(message)
    return found


def _untrimmed(member: Member) -> Member:
    return replace(member, resize=replace(member.resize, trim=None))


def _all_gray(
    images: Sequence[LabelledImage], recipe: Recipe, member: Member, told: Callable[[int], None]
) -> "NDArray[Any]":
    parts = [range(len(images))[start : start + TOGETHER] for start in range(0, len(images), TOGETHER)]
    gray: list[NDArray[Any]] = []
    with all_damaged_named(images, recipe.rendering), ThreadPoolExecutor(available_threads()) as threads:
        for part in threads.map(lambda places: _gray(images, places, recipe, member), parts):
            gray.append(part)
            told(sum(map(len, gray)))
    return np.concatenate(gray)


def member_of_size(recipe: Recipe, side: int | None) -> Member:
    """The recipe's member, for images of another size."""
    member = recipe.member
    if side is None:
        return member
    return replace(member, input=replace(member.input, height=side, width=side))


def normalized(gray: "NDArray[Any]", member: Member) -> "NDArray[np.float32]":
    """What the network sees: float32 (N, rows, columns, channels), as the contract's contrast and normalization say."""
    if member.contrast is not None:
        gray = np.stack([apply_contrast(image, member.contrast) for image in gray])
    mean, scale = (np.asarray(v, np.float32) for v in (member.normalization.mean, member.normalization.scale))
    return (gray[..., np.newaxis].astype(np.float32) - mean) / scale


def epoch_order(images: Images, balance: str, seed: int, epoch: int) -> "NDArray[np.int64]":
    """Indices of the images of one epoch in their order, a function of seed and epoch alone.

    Args:
        images: of the training set.
        balance: of the recipe; `undersample` draws as many images of each class as the rarest has.
        seed: of the recipe.
        epoch: counted over all stages.
    """
    generator = _generator(seed, EPOCH, 0 if balance == "undersample-once" else epoch)
    order = generator.permutation(images.labels.size)
    if balance.startswith("undersample"):
        counts = np.bincount(images.labels)
        taken = [order[images.labels[order] == label][: counts.min()] for label in range(counts.size)]
        order = _generator(seed, EPOCH, epoch).permutation(np.concatenate(taken))
    return order


def class_weights(labels: "NDArray[np.int64]") -> "NDArray[np.float32]":
    """Weight of each class, such that all weigh the same in sum and an image weighs 1 on average."""
    counts = np.bincount(labels)
    return (labels.size / (counts.size * counts)).astype(np.float32)


def image_weights(images: Images, balance: str) -> "NDArray[np.float32] | None":
    """Weight of each image in the loss, float32 (N,), 1 on average; None where all weigh the same.

    Args:
        images: of the training set; with `bordered` for `class-and-border-weights`, which balances the classes within
            each group (Idrissi et al., CLeaR 2022, have all groups weigh the same, too).
        balance: of the recipe.
    """
    if balance == "class-weights":
        return class_weights(images.labels)[images.labels]
    if balance != BY_BORDER:
        return None
    if images.bordered is None:
        raise AssertionError  # `train` looks at them before
    return weights_by_border(images.labels, images.bordered)


def weights_by_border(labels: "NDArray[np.int64]", bordered: "NDArray[np.bool_]") -> "NDArray[np.float32]":
    """Weight of each image, float32 (N,), such that the classes weigh the same with a border, and without one.

    Args:
        labels: int64 (N,); each class is in both groups.
        bordered: bool (N,).
    """
    weights = np.empty(labels.size, np.float32)
    for part in (bordered, ~bordered):
        weights[part] = class_weights(labels[part])[labels[part]]
    return weights


def describe_heaviest(labels: "NDArray[np.int64]", bordered: "NDArray[np.bool_]", recipe: Recipe) -> str:
    """In words, for a person, which images weigh far more than others by class and border; empty where none do.

    Args:
        labels: int64 (N,); each class is in both groups.
        bordered: bool (N,).
        recipe: the labels' names.
    """
    weights = weights_by_border(labels, bordered)
    first = int(weights.argmax())
    if weights[first] <= HEAVY:
        return ""
    count = int((weights == weights[first]).sum())
    group = f"{recipe.labels[labels[first]]} {'with' if bordered[first] else 'without'} a border"
    return f"few images decide much: each of {count} of {group} weighs as {weights[first]:.1f} images do on average"


def augmented(
    images: Images, indices: "NDArray[np.int64]", plan: Augmentation, seed: int, epoch: int
) -> "NDArray[Any]":
    """Gray images (n, rows, columns) of these indices, each changed by its own draw for this epoch."""
    if plan == Augmentation():
        return images.gray[indices]
    # whole gray levels, as a table of them is looked up: kernels of fractions lose those, in training alone
    return np.stack([_augmented(images, i, plan, _generator(seed, IMAGE, epoch, int(i))) for i in indices])


def _augmented(images: Images, index: np.int64, plan: Augmentation, generator: np.random.Generator) -> "NDArray[Any]":
    gray = images.gray
    if plan.untrimmed and images.untrimmed is not None and generator.random() < plan.untrimmed:
        gray = images.untrimmed
    return augment(rounded(gray[index]), plan, generator)


def batches(order: "NDArray[np.int64]", size: int) -> Iterator["NDArray[np.int64]"]:
    """Parts of an epoch's order, all of one size: a smaller last one would unsettle batch normalization."""
    for number in range(steps(order.size, size)):
        yield order[number * size : (number + 1) * size]


def steps(images: int, size: int) -> int:
    """How many batches an epoch has."""
    return max(1, math.floor(images / size))


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(numbers)))


def _gray(images: Sequence[LabelledImage], places: range, recipe: Recipe, member: Member) -> "NDArray[Any]":
    return np.concatenate([batch[..., 0] for batch in tensors(images, recipe.rendering, member, places=places)])


def _finer(images: Sequence[LabelledImage], recipe: Recipe) -> "NDArray[np.int64] | None":
    auxiliary = recipe.training.auxiliary if recipe.training is not None else None
    if auxiliary is None:
        return None
    names = list(dict.fromkeys(rule.label for rule in auxiliary.classes))
    rules = [(image, rule_of(image.path, auxiliary.classes)) for image in images]
    strange = next((image for image, rule in rules if rule is None), None)
    if strange is not None:
        message = f"an image in the folder {strange.path.parent.name!r} is of none of training.auxiliary.classes"
        raise UsageError(message)
    return np.array([names.index(rule.label) for _, rule in rules if rule is not None], np.int64)
