"""A bounded search for hyper-parameters: each trial is a training run, the best one's recipe is written."""

import hashlib
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import write_atomically
from cxr_edge_export.dataset import order_sha256
from cxr_edge_export.image_files import refuse_inside
from cxr_edge_export.recipe import parse_recipe, read_recipe
from cxr_edge_export.selection import select
from cxr_edge_export.training.backend import keras_module
from cxr_edge_export.training.changed_recipe import as_searched, changed_recipe
from cxr_edge_export.training.images import BalanceImpossible
from cxr_edge_export.training.network import NetworkImpossible
from cxr_edge_export.training.run_folder import CHECKPOINT, Row, RunFolder
from cxr_edge_export.training.space import Space, read_space
from cxr_edge_export.training.train import TrainRequest, build_each_side, train, with_weights
from cxr_edge_export.training.trainer import Told, TrainingDiverged

if TYPE_CHECKING:
    from collections.abc import Callable

    import optuna
    from optuna.storages.journal import JournalFileOpenLock

JOURNAL, TRIALS, TUNED = "study.journal", "trials.json", "recipe.toml"
BEGUN_WITH = "begun with"


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
    folder, text = request.base.output, read_recipe(request.base.recipe).text
    _refuse_contradictions(request.base, text, space)
    refuse_inside(folder, request.base.data)
    refuse_existing_result(folder)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with RunFolder(folder).held():
        return _searched(request, space, text, told)


def _searched(request: TuneRequest, space: Space, text: str, told: Told) -> list[TrialRow]:
    """The search itself; nobody else searches in its folder."""
    folder = request.base.output
    refuse_existing_result(folder)  # which another one may have written before the folder was ours
    study = _study(space, folder, prune=not _keeps_a_share(text))
    _refuse_another(study, _begun_with(request.base, space, text), folder)
    while (left := space.trials - len(_finished(study))) > 0:
        study.optimize(_objective(request.base, space, text, told), n_trials=1)
        told.progress("trials", space.trials - left + 1, space.trials)
    rows = [trial_row(trial) for trial in _finished(study)]
    if all(row.figure is None for row in rows):
        message = (
            f"of {space.trials} trials none came to its end: they diverged, or their recipes contradict themselves"
        )
        raise UsageError(message)
    write_atomically(folder / TRIALS, msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n", overwrite=True)
    best = changed_recipe(text, study.best_params)
    best = changed_recipe(best, as_searched(folder, request.base, best), new=True)
    write_atomically(folder / TUNED, best.encode(), overwrite=False)
    return rows


def _refuse_contradictions(base: TrainRequest, text: str, space: Space) -> None:
    """Refuse at once what a trial hours from now would be refused for: each end and each choice, one at a time."""
    keras_module(base.backend)
    for parameter in space.parameters:
        for value in parameter.choices or (parameter.low, parameter.high):
            changed = changed_recipe(text, {parameter.path: value})
            if parameter.path.startswith(("network.", "input.")) or parameter.path.endswith(".side"):
                build_each_side(with_weights(parse_recipe(tomllib.loads(changed)), "random"), base.recipe.parent)


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
    if (folder / TUNED).exists():
        message = (
            f"the search in {folder} is done: {folder / TUNED} exists already; take another folder for another one"
        )
        raise OutputError(message)


def _keeps_a_share(text: str) -> bool:
    """Whether what a trial is judged by is another network than that of its epochs, which pruning looks at."""
    return "initial_share" in tomllib.loads(text).get("training", {})


def _study(space: Space, folder: Path, *, prune: bool) -> "optuna.Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    journal = folder / JOURNAL
    lock = JournalFileOpenLock(str(journal))  # the other kind is a symbolic link, which Windows lets few users make
    _drop_torn_line(journal, lock)
    direction = "minimize" if space.monitor == "cross_entropy" else "maximize"
    try:
        study = optuna.create_study(
            study_name="tune",
            storage=JournalStorage(JournalFileBackend(str(journal), lock_obj=lock)),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
            if prune
            else optuna.pruners.NopPruner(),
            direction=direction,
            load_if_exists=True,
        )
    except (ValueError, LookupError) as error:  # what its reader raises, of a line that is no JSON or not the next one
        message = f"{journal} is damaged ({type(error).__name__}); search in another folder"
        raise UsageError(message) from None
    # a search that goes on would else draw what it drew at its start
    study.sampler = optuna.samplers.TPESampler(seed=space.seed + len(study.trials))
    return study


def _drop_torn_line(journal: Path, lock: "JournalFileOpenLock") -> None:
    """Take away what a power cut left of a last line, which Optuna would stumble over for ever."""
    if not journal.exists():
        return
    lock.acquire()
    try:
        with journal.open("rb+") as stream:
            content = stream.read()
            stream.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


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
    } | {f"{name} images": order_sha256(images) for name, images in sets.items()}


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

    notes = set[str]()

    def run(trial: "optuna.Trial") -> float:
        folder = base.output / f"trial-{trial.number:04}"
        drawn = {p.path: p.draw(trial) for p in space.parameters}
        try:
            changed = changed_recipe(text, drawn)
        except UsageError as error:  # values that go alone, and not with one another
            raise optuna.TrialPruned from error
        file = folder.with_suffix(".toml")
        write_atomically(file, changed.encode(), overwrite=True)
        weights = base.weights_folder or base.recipe.resolve().parent
        request = replace(base, recipe=file, output=folder, resume=False, weights_folder=weights)
        try:
            found = train(request, _Pruning(trial, space, told, notes))
        except (TrainingDiverged, NetworkImpossible, BalanceImpossible) as error:  # other values may go
            raise optuna.TrialPruned from error
        finally:
            keras_module().utils.clear_session()
            (folder / CHECKPOINT).unlink(missing_ok=True)  # of one that was given up: several models' size
        figure = getattr(found.validation, space.monitor)
        if figure is None:
            raise optuna.TrialPruned
        return float(figure)

    return run


class _Pruning:
    """Passes on what happens, and gives a trial up that stays below the median of the others."""

    def __init__(self, trial: "optuna.Trial", space: Space, told: Told, notes: set[str]) -> None:
        """`notes` were said of earlier trials."""
        self._notes = notes
        self._trial, self._monitor, self._told, self._epochs = trial, space.monitor, told, 0
        self._before, self._trials = len(_finished(trial.study)), space.trials

    def progress(self, stage: str, done: int, total: int) -> None:
        self._told.progress(f"trial {self._trial.number}, {stage}", done, total)

    def whole(self, share: float) -> None:
        self._told.whole((self._before + share) / self._trials)

    def note(self, text: str) -> None:
        if text not in self._notes:  # most are the same of all trials
            self._notes.add(text)
            self._told.note(text)

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
