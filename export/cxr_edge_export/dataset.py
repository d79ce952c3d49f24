"""Labelled folders of radiographs: which images, whose they are, and their tensors by the runtime's own road."""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge import labelled
from cxr_edge.contract import Member, Rendering
from cxr_edge.decode import decode
from cxr_edge.errors import CxrEdgeError, ModelError, UsageError
from cxr_edge.preprocess import preprocess
from cxr_edge_export.image_files import images_in, images_listed, reason_of
from cxr_edge_export.patients import patient_of_file
from cxr_edge_export.recipe import ClassRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[str, int, int], None]
NAMED = 10  # damaged images in one message


class DamagedImageError(ModelError):
    """An image of a set cannot be decoded."""

    def __init__(self, image: "LabelledImage", place: int, reason: str) -> None:
        """`place` in the set, from 0."""
        self.place = place
        super().__init__(f"image {place + 1} of a labelled set (SHA-256 {image.sha256[:16]}) cannot be used: {reason}")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One file with its class and what tells it apart from others.

    Attributes:
        path: the file.
        label: index into the contract's labels.
        patient: an identifier within its data set (`patients`).
        sha256: of the file's bytes.
    """

    path: Path
    label: int
    patient: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Sets:
    """`calibration` and `training` are disjoint by patient and by content from `validation`.

    `calibration` is disjoint from `agreement`, too, which may hold `validation`; `training` may overlap with both.
    """

    training: tuple[LabelledImage, ...]
    calibration: tuple[LabelledImage, ...]
    validation: tuple[LabelledImage, ...]
    agreement: tuple[LabelledImage, ...]


def read_images(
    source: Path,
    labels: Sequence[str],
    *,
    classes: Sequence[ClassRule] = (),
    root: Path | None = None,
    left_out: Counter[str] | None = None,
) -> tuple[LabelledImage, ...]:
    """The images of a folder with one sub-folder per class, or of a list file.

    Args:
        source: the folder; or a text file with one path a line, relative to the list's own folder or to any folder
            above `root`; the nearest folder of a class above a file tells its class.
        labels: names of the classes, in order.
        classes: which files are of which class, where that is not one sub-folder per label. Sub-folders that no rule
            names are refused; files in the others that no rule takes are left out of a folder, and refused in a list.
        root: usually the folder of the quantization-calibration images.
        left_out: counts the files of a folder that are not taken: why -> how many.

    Raises:
        UsageError: the source is unreadable, empty, of an unknown class, or lists a file that is not there.
        ModelError: an image cannot be read; the message holds its place among the images, from 1, not its name.
    """
    rules = tuple(classes) or tuple(ClassRule(label=label) for label in labels)
    paths = images_listed(source, root) if source.is_file() else images_in(source, rules, left_out)
    found = [(path, rule_of(path, rules)) for path in paths]
    if source.is_file():
        strange = next((path for path, rule in found if rule is None), None)
        if strange is not None:
            message = f"a listed file in the folder {strange.parent.name!r} is of no class; need one of {list(labels)}"
            raise UsageError(message)
    images = tuple(_labelled(found, labels, source))
    if left_out is not None and len(images) < len(found):
        left_out["that selection.classes does not take"] += len(found) - len(images)
    if not images:
        message = f"{source} holds no images"
        raise UsageError(message)
    return images


def label_files(
    paths: Iterable[Path], labels: Sequence[str], rules: Sequence[ClassRule], source: Path
) -> tuple[LabelledImage, ...]:
    """Those of the files that a rule takes, read for their SHA-256.

    Raises:
        ModelError: one cannot be read; the message holds its place, and `source`, where the files are named.
    """
    return tuple(_labelled([(path, rule_of(path, rules)) for path in paths], labels, source))


def rule_of(path: Path, rules: Sequence[ClassRule]) -> ClassRule | None:
    """The rule that takes a file: the first that fits, of those that name the nearest folder above it; None: none."""
    for parent in path.parents:
        named = [rule for rule in rules if _lies_in(parent, rule)]
        if named:
            name = labelled.composed(path.name)
            return next((rule for rule in named if labelled.composed(rule.name_contains) in name), None)
    return None


def _lies_in(folder: Path, rule: ClassRule) -> bool:
    return labelled.composed(folder.name) == labelled.composed(rule.folder or rule.label)


def without(images: Iterable[LabelledImage], excluded: Iterable[LabelledImage]) -> tuple[LabelledImage, ...]:
    """The images that share neither a patient nor their bytes with any of `excluded`."""
    excluded = tuple(excluded)
    patients = {image.patient for image in excluded}
    contents = {image.sha256 for image in excluded}
    return tuple(i for i in images if i.patient not in patients and i.sha256 not in contents)


def distinct(images: Iterable[LabelledImage]) -> tuple[LabelledImage, ...]:
    """The first of those with the same bytes."""
    first: dict[str, LabelledImage] = {}
    for image in images:
        first.setdefault(image.sha256, image)
    return tuple(first.values())


def draw_balanced(images: Sequence[LabelledImage], count: int, seed: int) -> tuple[LabelledImage, ...]:
    """`count` images, as many of each class as possible, no patient and no bytes twice; the same seed, the same images.

    Raises:
        UsageError: there are fewer than `count` such images.
    """
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(images))
    waiting: dict[int, list[LabelledImage]] = {}
    patients: set[str] = set()
    contents: set[str] = set()
    for index in order:
        image = images[index]
        if image.patient not in patients and image.sha256 not in contents:
            waiting.setdefault(image.label, []).append(image)
            patients.add(image.patient)
            contents.add(image.sha256)
    drawn: list[LabelledImage] = []
    while len(drawn) < count and waiting:
        for label in sorted(waiting):
            if len(drawn) < count:
                drawn.append(waiting[label].pop())
            if not waiting[label]:
                del waiting[label]
    if len(drawn) < count:
        message = f"quantization.images asks for {count} images, of different patients; there are {len(drawn)}"
        raise UsageError(message)
    return tuple(sorted(drawn, key=lambda image: image.path.as_posix()))


def set_sha256(images: Iterable[LabelledImage]) -> str:
    """SHA-256 over the sorted SHA-256 of the files: which images, whatever their names and order."""
    return labelled.set_sha256(image.sha256 for image in images)


def order_sha256(images: Iterable[LabelledImage], finer: Sequence[ClassRule] = ()) -> str:
    """SHA-256 over bytes, label and name of each file, in order: all that draws by place in the set depend on.

    Args:
        images: the set.
        finer: rules of classes within the labels; which one an image falls under counts, too.
    """
    lines = (f"{image.sha256} {image.label} {image.path.name}{_place_among(finer, image)}\n" for image in images)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _place_among(finer: Sequence[ClassRule], image: LabelledImage) -> str:
    rule = rule_of(image.path, finer) if finer else None
    return "" if rule is None else f" {finer.index(rule)}"


def patient_groups(images: Sequence[LabelledImage]) -> "NDArray[np.int64]":
    """int64 [N] in 0..G-1, the same number for images of the same patient: what intervals are drawn by."""
    return np.unique([image.patient for image in images], return_inverse=True)[1].astype(np.int64)


def tensors(
    images: Sequence[LabelledImage],
    rendering: Rendering,
    member: Member,
    batch: int = 16,
    places: range | None = None,
) -> "Iterator[NDArray[Any]]":
    """Batches of one network's input tensors [n, H, W, C], decoded and preprocessed exactly as the runtime does it.

    Args:
        images: the set.
        rendering: what is read of a file.
        member: size, resize, contrast and normalization.
        batch: images in each, fewer in the last.
        places: which of the set, one after another; None: all.

    Raises:
        ModelError: images cannot be decoded; the message holds their places in the set, from 1, not their names.
        DamagedImageError: with `places`: one of these.
    """
    for part in tensors_by_input(images, rendering, (member,), batch, places):
        yield part[member.input.name]


def tensors_by_input(
    images: Sequence[LabelledImage],
    rendering: Rendering,
    members: Sequence[Member],
    batch: int = 16,
    places: range | None = None,
) -> "Iterator[dict[str, NDArray[Any]]]":
    """As `tensors`, for several networks: input name -> [n, H, W, C]. Each image is decoded once.

    Raises:
        ModelError: as `tensors`.
    """
    whole = places is None
    places = range(len(images)) if places is None else places
    for start in range(0, len(places), batch):
        with all_damaged_named(images, rendering) if whole else contextlib.nullcontext():
            rows = [_tensors(images[place], place, rendering, members) for place in places[start : start + batch]]
        yield {m.input.name: np.stack([row[m.input.name] for row in rows]) for m in members}


def decoded(image: LabelledImage, place: int, rendering: Rendering) -> "NDArray[np.uint8]":
    """An image as gray levels, uint8 (rows, columns), as the runtime decodes it.

    Raises:
        DamagedImageError: it cannot be; the message holds its place in the set, not its name.
    """
    try:
        return decode(image.path.read_bytes(), rendering).pixels
    except (CxrEdgeError, OSError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise DamagedImageError(image, place, reason) from error


@contextlib.contextmanager
def all_damaged_named(images: Sequence[LabelledImage], rendering: Rendering) -> "Iterator[None]":
    """Where an image turns out damaged, look at those after it, too: whoever mends the set wants to do it once.

    Raises:
        ModelError: names the first `NAMED`, and says how many there are.
    """
    try:
        yield
    except DamagedImageError as first:
        found = [str(first)]
        for place in range(first.place + 1, len(images)):
            try:
                decoded(images[place], place, rendering)
            except DamagedImageError as error:
                found.append(str(error))
        if len(found) == 1:
            raise
        more = [f"and {len(found) - NAMED} more"] if len(found) > NAMED else []
        message = f"{len(found)} images cannot be used: " + "; ".join(found[:NAMED] + more)
        raise ModelError(message) from None


def _tensors(
    image: LabelledImage, place: int, rendering: Rendering, members: Sequence[Member]
) -> "dict[str, NDArray[Any]]":
    pixels = decoded(image, place, rendering)
    return {member.input.name: preprocess(pixels, member) for member in members}


def _labelled(
    found: Iterable[tuple[Path, ClassRule | None]], labels: Sequence[str], source: Path
) -> Iterator[LabelledImage]:
    taken = [(path, rule) for path, rule in found if rule is not None]
    for place, (path, rule) in enumerate(taken, start=1):
        folder = next(parent for parent in path.parents if _lies_in(parent, rule))
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            message = f"image {place} of {source}, in the folder {folder.name!r}, cannot be read: {reason_of(error)}"
            raise ModelError(message) from None
        patient = patient_of_file(path, folder, sha256)
        yield LabelledImage(path=path, label=labels.index(rule.label), patient=patient, sha256=sha256)
