"""A recipe's text with other values, for the trials of a search and for what comes of it."""

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

from cxr_edge.errors import UsageError
from cxr_edge_export.recipe import parse_recipe
from cxr_edge_export.training.weights import NAMED

if TYPE_CHECKING:
    from cxr_edge_export.training.train import TrainRequest


def changed_recipe(text: str, values: dict[str, Any], *, new: bool = False) -> str:
    """The recipe's text with other values at some paths; everything else, comments too, stays as it is.

    Args:
        text: of the recipe.
        values: by path.
        new: keys that the recipe leaves to their defaults may be among them.

    Raises:
        UsageError: a path leads nowhere, or the recipe that comes out is not valid.
    """
    document = tomlkit.parse(text)
    for path, value in values.items():
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        place: Any = document
        try:
            for part in parents:
                place = place[part]
            if not new:
                place[last]
            place[last] = value
        except (LookupError, TypeError):
            message = (
                f"the recipe does not hold {path}; write it there, with its default or another value, to search over it"
            )
            raise UsageError(message) from None
    changed = tomlkit.dumps(document)
    parse_recipe(tomllib.loads(changed))
    return changed


def as_searched(folder: Path, base: "TrainRequest", text: str) -> dict[str, Any]:
    """Seed and initial weights of the search, where it was not begun with the recipe's own."""
    seed = {} if base.seed is None else {"training.seed": base.seed}
    return seed | _weights_seen_from(folder, base, text)


def _weights_seen_from(folder: Path, base: "TrainRequest", text: str) -> dict[str, str]:
    """Those that were given to the search; a file that the recipe names relative to itself, as seen from `folder`."""
    if base.weights in NAMED:
        return {"network.weights": str(base.weights)}
    weights = tomllib.loads(text).get("network", {}).get("weights", "random")
    if base.weights is None and (weights in NAMED or Path(weights).is_absolute()):
        return {}
    file = (base.weights_folder or base.recipe.resolve().parent) / weights
    if base.weights is not None:
        file = Path(base.weights).resolve()
    try:
        return {"network.weights": Path(os.path.relpath(file, folder.resolve())).as_posix()}
    except ValueError:  # another drive
        return {"network.weights": file.as_posix()}
