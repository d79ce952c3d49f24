"""What a search may change in a recipe, for how long, and what it is judged by: a TOML file."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from cxr_edge.errors import UsageError
from cxr_edge_export.recipe.tables import Seed

if TYPE_CHECKING:
    import optuna

# another table says which images are compared, or nothing that is learned
TABLES: Final = ("contrast", "input", "network", "normalization", "rendering", "resize", "training")
FARTHEST: Final = 1e300  # of a number; a whole one may have any length in TOML
Monitor = Literal["cross_entropy", "balanced_accuracy", "auc"]


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key of the recipe and what it may be.

    Attributes:
        path: where it stands, by dots; numbers count from 0: `training.stages.0.learning_rate`.
        low, high: of a number, both included; whole numbers where both are whole.
        log: draw evenly over the number's logarithm.
        choices: instead of `low` and `high`.
    """

    path: Annotated[str, Meta(pattern=r"^[a-z_0-9]+(\.[a-z_0-9]+)*$")]
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[int | float | str | bool, ...] = ()

    def draw(self, trial: "optuna.Trial") -> int | float | str | bool:
        """A value for this trial."""
        if self.choices:
            return trial.suggest_categorical(self.path, self.choices)  # type: ignore[no-any-return]
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.path, self.low, self.high, log=self.log)  # type: ignore[no-any-return]
        return trial.suggest_float(self.path, self.low or 0.0, self.high or 0.0, log=self.log)  # type: ignore[no-any-return]


class Space(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is searched, for how long, and by which figure of the validation images."""

    parameters: Annotated[tuple[Parameter, ...], Meta(min_length=1)]
    trials: Annotated[int, Meta(ge=1, le=10_000)]
    monitor: Monitor = "cross_entropy"
    seed: Seed = 0


def read_space(path: Path) -> Space:
    """Read and check a space file.

    Raises:
        UsageError: unreadable, an unknown key, a parameter with neither a range nor choices, one named twice, or one
            of a table that trials must not differ in.
    """
    try:
        space = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8-sig")), Space)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        message = f"the space {path} cannot be used: {error}"
        raise UsageError(message) from None
    for parameter in space.parameters:
        ends = [end for end in (parameter.low, parameter.high) if end is not None and abs(end) < FARTHEST]
        ranged = len(ends) == len(("low", "high")) and ends[0] < ends[1]
        if ranged == bool(parameter.choices) or (parameter.log and (parameter.low or 0) <= 0):
            message = f"{path}: {parameter.path} needs choices, or low below high (above 0 with log)"
            raise UsageError(message)
        if (table := parameter.path.partition(".")[0]) not in TABLES:
            message = (
                f"{path}: {parameter.path} cannot be searched; only keys of {', '.join(TABLES)} can, not of {table}"
            )
            raise UsageError(message)
    paths = [parameter.path for parameter in space.parameters]
    if twice := sorted({name for name in paths if paths.count(name) > 1}):
        message = f"{path} names {', '.join(twice)} twice"
        raise UsageError(message)
    return space
