"""What is told of a model beside its contract, each held against it: how it was trained, and how it fares on shifts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cxr_edge.contract import Contract, Member
from cxr_edge.errors import UsageError
from cxr_edge_export.original import joint_sha256
from cxr_edge_export.reading import refuse_another_reading_than
from cxr_edge_export.recipe import Recipe, read_recipe
from cxr_edge_export.shifts import Shifts, read_shifts
from cxr_edge_export.training.metrics_file import Metrics, read_metrics
from cxr_edge_export.training.run_folder import MODEL, RECIPE, read_own_recipe
from cxr_edge_export.training.weights import NAMED, describe_weights, name_of_weights


@dataclass(frozen=True, slots=True)
class Training:
    """How one network of the model was trained.

    Attributes:
        member: its name in the contract.
        recipe: its `network` and `training`.
        metrics: of the run that it came out of.
        positive_labels: of the run: whose summed probability the AUC in `metrics` is of.
    """

    member: str
    recipe: Recipe
    metrics: Metrics
    positive_labels: tuple[str, ...]


def trainings_of(runs: Sequence[Path], contract: Contract, path: Path) -> tuple[Training, ...]:
    """What the runs tell of the contract's members, each held against its own.

    Raises:
        UsageError: they are not the runs of these members, in order, or had another training than the recipe.
    """
    names = [member.name for member in contract.members]
    if len(runs) != len(names):
        message = f"runs given: {len(runs)}; the model needs {len(names)}: {', '.join(names)}"
        raise UsageError(message)
    found = [read_metrics(run) for run in runs]
    _refuse_other_networks(runs, contract)
    recipe = _recipe(path, contract)
    if len(runs) == 1:
        _refuse_another_training(runs[0], recipe)
        _refuse_other_weights(path.parent, recipe, found[0])
        if (told := recipe.training_data.images) != (count := found[0].training_images):
            message = f"{path} says training_data.images = {told}; the run in {runs[0]} had {count}"
            raise UsageError(message)
        return (Training(names[0], recipe, found[0], read_recipe(runs[0] / RECIPE).recipe.positive_labels),)
    owns = [_members_own(run, recipe, member) for run, member in zip(runs, recipe.contract_members, strict=True)]
    return tuple(Training(*one, one[1].positive_labels) for one in zip(names, owns, found, strict=True))


def _refuse_other_networks(runs: Sequence[Path], contract: Contract) -> None:
    digests = []
    for run in runs:
        try:
            digests.append(hashlib.sha256((run / MODEL).read_bytes()).hexdigest())
        except OSError as error:
            message = f"{run} holds no finished training run: {error}"
            raise UsageError(message) from None
    if joint_sha256(digests) == contract.identity.source_model_sha256:
        return
    message = f"the network in {runs[0]} is not the one that this file was made from"
    if len(runs) > 1:
        names = ", ".join(member.name for member in contract.members)
        folders = ", ".join(map(str, runs))
        message = f"the networks in {folders} are not, in this order, those that this file was made from: {names}"
    raise UsageError(message)


def _recipe(path: Path, contract: Contract) -> Recipe:
    found = read_recipe(path) if path.is_file() else None
    if found is None or found.sha256 != contract.identity.recipe_sha256:
        message = (
            f"training runs are held against the recipe that the model was made by; {path} is not that one: "
            "give it as --recipe"
        )
        raise UsageError(message)
    return found.recipe


def _refuse_another_training(run: Path, after: Recipe) -> None:
    before, after = (_without_place_of_weights(recipe) for recipe in (read_recipe(run / RECIPE).recipe, after))
    refuse_another_reading_than(run, after, after.member)
    named = ("network", "training", "selection")
    if changed := [name for name in named if getattr(before, name) != getattr(after, name)]:
        message = f"the recipe beside the model tells another {', '.join(changed)} than the run in {run} had"
        raise UsageError(message)


def _without_place_of_weights(recipe: Recipe) -> Recipe:
    """Where the file of initial weights lies tells of a machine, and nothing of the file."""
    if recipe.network is None or recipe.network.weights in NAMED:
        return recipe
    name = f"file {name_of_weights(recipe.network.weights)}"  # `random` is no file of that name
    return msgspec.structs.replace(recipe, network=msgspec.structs.replace(recipe.network, weights=name))


def _refuse_other_weights(folder: Path, recipe: Recipe, metrics: Metrics) -> None:
    """Hold the file of initial weights, where it is there, against the one that the run began with."""
    weights = "random" if recipe.network is None else recipe.network.weights
    if weights in NAMED or not (folder / weights).is_file():
        return
    if (found := describe_weights(weights, folder)) != metrics.weights:
        message = f"the weights {folder / weights} are {found}; the run began with {metrics.weights}"
        raise UsageError(message)


def _members_own(run: Path, ensemble: Recipe, member: Member) -> Recipe:
    """The recipe of an ensemble's member: its run's, as the ensemble's tells nothing of training.

    Raises:
        UsageError: images are read otherwise, or the recipe is no longer the one that the run was begun with.
    """
    refuse_another_reading_than(run, ensemble, member)
    return read_own_recipe(run).recipe


def shifts_of(path: Path, sha256: str) -> Shifts:
    """The measurements in a file of `cxr-edge-export shifts`.

    Raises:
        UsageError: it cannot be read, or was measured on another file than that of this SHA-256.
    """
    found = read_shifts(path)
    if found.model_sha256 != sha256:
        message = f"{path} was measured on another file, of SHA-256 {found.model_sha256[:16]}"
        raise UsageError(message)
    return found
