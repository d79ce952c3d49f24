"""A bounded search for hyper-parameters: each trial is a training run, the best one's recipe is written."""

import hashlib
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import tomlkit
from msgspec import Meta

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import refuse_existing, write_atomically
from cxr_edge_export.dataset import set_sha256
from cxr_edge_export.recipe import parse_recipe
from cxr_edge_export.recipe.tables import Seed
from cxr_edge_export.selection import select
from cxr_edge_export.training.backend import keras_module
from cxr_edge_export.training.run_folder import Row
from cxr_edge_export.training.train import TrainRequest, train
from cxr_edge_export.training.trainer import Told, TrainingDiverged

if TYPE_CHECKING:
    from collections.abc import Callable

    import optuna

JOURNAL, TRIALS, TUNED = "study.journal", "trials.json", "recipe.toml"
BEGUN_WITH = "begun with"
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


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """One trial: its values, and the figure that it was judged by; None where it was given up early."""

    number: int
    values: dict[str, Any]
    figure: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """What to tune.

    Attributes:
        base: the training, `output` being the folder of the search; begun before, it is gone on with.
        space: TOML file.
    """

    base: TrainRequest
    space: Path


def read_space(path: Path) -> Space:
    """Read and check a space file.

    Raises:
        UsageError: unreadable, an unknown key, or a parameter with neither a range nor choices.
    """
    try:
        space = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Space)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        message = f"the space {path} cannot be used: {error}"
        raise UsageError(message) from None
    for parameter in space.parameters:
        ranged = parameter.low is not None and parameter.high is not None and parameter.low < parameter.high
        if ranged == bool(parameter.choices) or (parameter.log and (parameter.low or 0) <= 0):
            message = f"{path}: {parameter.path} needs choices, or low below high (above 0 with log)"
            raise UsageError(message)
    return space


def tune(request: TuneRequest, told: Told) -> list[TrialRow]:
    """Run the trials that are still to be run, and write `recipe.toml`, the best trial's, and `trials.json`.

    Only validation images decide. The test images are the same in all trials; their figures stand in each trial's
    `metrics.json`, and are looked at by nothing here.

    Raises:
        UsageError: recipe, space or a set is unusable, the space names a key that the recipe does not have, the search
            in the folder was begun otherwise, or every trial was given up.
        OutputError: the folder cannot be written, or a tuned recipe stands there already.
    """
    import optuna

    space = read_space(request.space)
    folder = request.base.output
    refuse_existing_result(folder)
    text = _text(request.base.recipe)
    changed_recipe(text, {p.path: p.choices[0] if p.choices else p.low for p in space.parameters})  # refuses at once
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _study(space, folder)
    _refuse_another(study, _begun_with(request.base, space, text), folder)
    while (left := space.trials - len(_finished(study))) > 0:
        study.optimize(_objective(request.base, space, text, told), n_trials=1)
        told.progress("trials", space.trials - left + 1, space.trials)
    rows = [trial_row(trial) for trial in _finished(study)]
    if all(row.figure is None for row in rows):
        message = f"of {space.trials} trials none came to its end: the space leads to trainings that diverge"
        raise UsageError(message)
    write_atomically(folder / TRIALS, msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n", overwrite=True)
    write_atomically(folder / TUNED, changed_recipe(text, study.best_params).encode(), overwrite=False)
    return rows


def refuse_existing_result(folder: Path) -> None:
    """Make the folder, or say that its search is done.

    Raises:
        OutputError: so.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the folder {folder}: {error.strerror}"
        raise OutputError(message) from None
    refuse_existing(folder / TUNED, overwrite=False)


def changed_recipe(text: str, values: dict[str, Any]) -> str:
    """The recipe's text with other values at some paths; everything else, comments too, stays as it is.

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
            place[last]
            place[last] = value
        except (LookupError, TypeError):
            message = f"the recipe has no key {path}"
            raise UsageError(message) from None
    changed = tomlkit.dumps(document)
    parse_recipe(tomllib.loads(changed))
    return changed


def _text(recipe: Path) -> str:
    try:
        return recipe.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"the recipe {recipe} cannot be read: {error}"
        raise UsageError(message) from None


def _study(space: Space, folder: Path) -> "optuna.Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    journal = str(folder / JOURNAL)
    direction = "minimize" if space.monitor == "cross_entropy" else "maximize"
    study = optuna.create_study(
        study_name="tune",
        # its other lock is a symbolic link, which Windows lets few users make
        storage=JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        direction=direction,
        load_if_exists=True,
    )
    # a search that goes on would else draw what it drew at its start
    study.sampler = optuna.samplers.TPESampler(seed=space.seed + len(study.trials))
    return study


def _begun_with(base: TrainRequest, space: Space, text: str) -> dict[str, str]:
    """What every trial of a search has to share, by its SHA-256 where it is long; the number of trials may grow."""
    split = select(parse_recipe(tomllib.loads(text)), base.data, base.validation, base.test)
    sets = {"training": split.training, "validation": split.validation, "test": split.test}
    searched = msgspec.json.encode((space.parameters, space.seed))
    return {
        "recipe": hashlib.sha256(text.encode()).hexdigest(),
        "space": hashlib.sha256(searched).hexdigest(),
        "monitor": space.monitor,
        "seed": str(base.seed),
        "weights": str(base.weights),
        "backend": str(base.backend),
    } | {f"{name} images": set_sha256(images) for name, images in sets.items()}


def _refuse_another(study: "optuna.Study", begun_with: dict[str, str], folder: Path) -> None:
    """Optuna would go on with any search: figures of another monitor, the other way round, beside these."""
    if not study.trials:
        study.set_user_attr(BEGUN_WITH, begun_with)  # all at once: a kill leaves the whole record or none
    before = study.user_attrs.get(BEGUN_WITH, {})
    if fields := [name for name, value in begun_with.items() if before.get(name) != value]:
        message = f"the search in {folder} was begun with another {', '.join(fields)}; it cannot be gone on with"
        raise UsageError(message)


def _finished(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """Those that came to an end or were given up; one that Ctrl-C failed is run again."""
    import optuna

    states = optuna.trial.TrialState
    return study.get_trials(states=(states.COMPLETE, states.PRUNED))  # type: ignore[no-any-return]


def trial_row(trial: "optuna.trial.FrozenTrial") -> TrialRow:
    """What is told of a trial that is over."""
    import optuna

    ended = trial.state == optuna.trial.TrialState.COMPLETE  # of others Optuna keeps the last epoch's figure
    return TrialRow(number=trial.number, values=trial.params, figure=trial.value if ended else None)


def _objective(base: TrainRequest, space: Space, text: str, told: Told) -> "Callable[[optuna.Trial], float]":
    import optuna

    def run(trial: "optuna.Trial") -> float:
        folder = base.output / f"trial-{trial.number:04}"
        changed = changed_recipe(text, {p.path: p.draw(trial) for p in space.parameters})
        file = folder.with_suffix(".toml")
        write_atomically(file, changed.encode(), overwrite=True)
        weights = base.weights_folder or base.recipe.resolve().parent
        request = replace(base, recipe=file, output=folder, resume=False, weights_folder=weights)
        try:
            found = train(request, _Pruning(trial, space.monitor, told))
        except TrainingDiverged as error:
            raise optuna.TrialPruned from error
        finally:
            keras_module().utils.clear_session()
        figure = getattr(found.validation, space.monitor)
        if figure is None:
            raise optuna.TrialPruned
        return float(figure)

    return run


class _Pruning:
    """Passes on what happens, and gives a trial up that stays below the median of the others."""

    def __init__(self, trial: "optuna.Trial", monitor: Monitor, told: Told) -> None:
        self._trial, self._monitor, self._told, self._epochs = trial, monitor, told, 0

    def progress(self, stage: str, done: int, total: int) -> None:
        self._told.progress(f"trial {self._trial.number}, {stage}", done, total)

    def epoch(self, row: Row) -> None:
        import optuna

        self._told.epoch(row)
        figure = row.validation_loss if self._monitor == "cross_entropy" else getattr(row, self._monitor)
        if figure is None:
            return
        self._trial.report(figure, self._epochs)
        self._epochs += 1
        if self._trial.should_prune():
            raise optuna.TrialPruned
