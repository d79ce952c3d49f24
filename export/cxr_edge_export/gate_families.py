"""What the image gate lets pass and what it refuses, family by family."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx

from cxr_edge.contract import GatePolicy, RefusedFamily
from cxr_edge.decode import decode
from cxr_edge.engine import Engine
from cxr_edge.errors import InputError, UsageError
from cxr_edge.image_gate import ImageGate
from cxr_edge.metrics import wilson_interval
from cxr_edge.preprocess import preprocess
from cxr_edge.types import Gate
from cxr_edge_export import dataset
from cxr_edge_export.features import FEATURES
from cxr_edge_export.recipe import Recipe
from cxr_edge_export.strangers import synthetic_families

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRANSFORMED = 60  # radiographs that each transformed family is made from
FOLDERS: dict[str, Literal["in_distribution", "tested_on"]] = {"pass": "in_distribution", "refuse": "tested_on"}


@dataclass(frozen=True, slots=True)
class Family:
    """Images of one kind, uint8 (rows, columns), drawn or read one by one."""

    name: str
    role: Literal["chosen_on", "tested_on", "in_distribution"]
    images: "Iterable[NDArray[np.uint8]]"


def check_families(folder: Path | None, recipe: Recipe) -> None:
    """Refuse, before the long work, a folder that `read_families` could not use.

    Raises:
        UsageError: the recipe has no image gate to test, or the folder has other sub-folders.
    """
    if folder is None:
        return
    if recipe.image_gate is None:
        message = (
            f"the recipe {recipe.model.name} has no image_gate; nothing could be tested on the families in {folder}"
        )
        raise UsageError(message)
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if not found or not set(found) <= set(FOLDERS):
        message = f"{folder} holds {found}; need the sub-folders pass and refuse"
        raise UsageError(message)


def read_families(folder: Path | None, sets: dataset.Sets, recipe: Recipe) -> list[Family]:
    """The validation images, the synthetic families, and those of a folder; none where the recipe has no image gate.

    Args:
        folder: with the sub-folders `pass` and `refuse`, in each a sub-folder per family, named as it is to be called.
        sets: `validation` should pass; radiographs of `calibration` are what synthetic families are made from.
        recipe: says how files are rendered.

    Raises:
        UsageError: the folder has other sub-folders, or one without files.
    """
    if recipe.image_gate is None:
        return []
    drawn = list(_gray([image.path for image in _of_every_class(sets.calibration)], recipe))
    validation = _gray([image.path for image in sets.validation], recipe)
    families = [Family("validation images", "in_distribution", validation)]
    families += [Family(name, "chosen_on", images) for name, images in synthetic_families(drawn)]
    if folder is None:
        return families
    check_families(folder, recipe)
    for name in sorted(entry.name for entry in folder.iterdir()):
        for family in sorted(entry for entry in (folder / name).iterdir() if entry.is_dir()):
            files = sorted(file for file in family.rglob("*") if file.is_file())
            if not files:
                message = f"the family {family} holds no files"
                raise UsageError(message)
            families.append(Family(family.name, FOLDERS[name], _gray(files, recipe)))
    return families


def _of_every_class(images: tuple[dataset.LabelledImage, ...]) -> list[dataset.LabelledImage]:
    """As many of each class as possible, in the order given."""
    ranked = [
        (sum(other.label == image.label for other in images[:place]), image) for place, image in enumerate(images)
    ]
    return [image for _, image in sorted(ranked, key=lambda pair: pair[0])[:TRANSFORMED]]


def with_families(
    policy: GatePolicy, network: onnx.ModelProto, recipe: Recipe, families: list[Family], progress: dataset.Progress
) -> GatePolicy:
    """The policy with what the whole image gate refuses of each family, its files taken as if they carried no tags."""
    limit = policy.out_of_distribution
    if limit is None:
        return policy
    engine = Engine(network.SerializeToString(), provider="cpu")
    gate = ImageGate(policy, "strict")
    measured = []
    for place, family in enumerate(families):
        refused = [_is_refused(gate, engine, pixels, recipe) for pixels in family.images]
        share = wilson_interval(sum(refused), len(refused))
        measured.append(RefusedFamily(name=family.name, role=family.role, images=len(refused), refused=share))
        progress("families", place + 1, len(families))
    return replace(policy, out_of_distribution=replace(limit, families=tuple(measured)))


def _is_refused(gate: ImageGate, engine: Engine, pixels: "NDArray[np.uint8]", recipe: Recipe) -> bool:
    tensor = preprocess(pixels, recipe.member)
    found = engine.run({recipe.member.input.name: tensor[np.newaxis]}, (FEATURES,))[0][0]
    return gate.judge(Gate("unknown"), None, tensor[:, :, 0], found).status == "refused"


def _gray(files: Iterable[Path], recipe: Recipe) -> "Iterator[NDArray[np.uint8]]":
    for file in files:
        try:
            yield decode(file.read_bytes(), recipe.rendering).pixels
        except (InputError, OSError) as error:
            message = f"{file} cannot be read as an image of a family: {error}"
            raise UsageError(message) from error
