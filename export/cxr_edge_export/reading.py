"""Whether a recipe reads images as its networks' training did: parity cannot tell, Keras is fed the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_edge.errors import UsageError
from cxr_edge_export.recipe import Recipe, read_recipe
from cxr_edge_export.training.run_folder import RECIPE, RUN

if TYPE_CHECKING:
    from cxr_edge.contract import Member


def refuse_another_reading(models: Sequence[Path], recipe: Recipe) -> None:
    """Hold a recipe against those of the runs that the networks lie in; a network without a run says nothing.

    Args:
        models: a file per member, in the recipe's order.
        recipe: of the file that is to be made.

    Raises:
        UsageError: naming what differs.
    """
    for model, member in zip(models, recipe.contract_members, strict=False):  # how many there are, others check
        run = model.resolve().parent
        if (run / RUN).is_file() and (run / RECIPE).is_file():
            refuse_another_reading_than(run, recipe, member)


def refuse_another_reading_than(run: Path, recipe: Recipe, member: "Member") -> None:
    """Hold one member of a recipe against the recipe of a run.

    Raises:
        UsageError: naming what differs.
    """
    trained = read_recipe(run / RECIPE).recipe
    one, other = trained.member, member
    compared = {
        "labels": (trained.labels, recipe.labels),
        "rendering": (trained.rendering, recipe.rendering),
        "input": (_size(one), _size(other)),
        "resize": (one.resize, other.resize),
        "normalization": (one.normalization, other.normalization),
        "contrast": (one.contrast, other.contrast),
        "selection.classes": (_folders(trained), _folders(recipe)),
    }
    if changed := [name for name, (before, now) in compared.items() if before != now]:
        message = f"the recipe has another {', '.join(changed)} than the training run in {run}"
        raise UsageError(message)


def _folders(recipe: Recipe) -> set[tuple[str, str]]:
    """Which folders are of which label; kinds within a folder may be told apart in one recipe and not in the other."""
    return {(rule.label, rule.folder or rule.label) for rule in recipe.classes}


def _size(member: "Member") -> tuple[int, int, int]:
    return member.input.height, member.input.width, member.input.channels
