"""The folder of one training run: what it was begun with, its checkpoint, and what came out of it."""

import contextlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np
from msgspec import Meta

from cxr_edge.errors import ModelError, OutputError, UsageError
from cxr_edge.files import atomic_writer, write_atomically
from cxr_edge_export.recipe import RecipeFile, read_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Arrays = list[NDArray[Any]]

Record = TypeVar("Record")

RECIPE, RUN, HISTORY, METRICS, CURVES, MODEL = (
    "recipe.toml",
    "run.json",
    "history.json",
    "metrics.json",
    "curves.png",
    "model.keras",
)
SEEN: Final = "trained-on.sha256"
LISTS: Final = ("training.txt", "validation.txt", "test.txt", SEEN)
CHECKPOINT: Final = "checkpoint.npz"
LOCK: Final = ".lock"
IN_WORDS: Final = {  # fields of `Beginning` that are not words themselves
    "recipe_sha256": "recipe",
    "weights": "file or kind of initial weights",
    "training_sha256": "training set",
    "validation_sha256": "validation set",
    "test_sha256": "test set",
    "software": "Keras or backend",
}
PART: Final = ".part"  # of files that a kill left half written


class Beginning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes two runs the same run.

    Attributes:
        recipe_sha256: of its text.
        seed: of everything that is drawn.
        training_sha256: of the training images, their labels, names and order; `validation_sha256`, `test_sha256`
            likewise.
        weights: initial ones: `random`, `imagenet`, or `sha256:` and the hash of a file.
        software: versions of Keras and of its backend.
    """

    recipe_sha256: str
    seed: int
    weights: str
    training_sha256: str
    validation_sha256: str
    test_sha256: str
    software: str


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One epoch: `loss`, the mean over its steps, with augmentation; everything else of the validation images.

    `auc` is None where the recipe's positive labels leave no two sides among them.
    """

    stage: int
    epoch: int
    side: int
    learning_rate: float
    loss: float
    validation_loss: float
    accuracy: float
    balanced_accuracy: float
    auc: float | None


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a run has come: `epoch` of `stage` is the next one; both count from 0.

    Attributes:
        rows: of all epochs so far.
        seconds: that each took.
        best: figure of the best epoch of this stage, where early stopping watches.
        waited: epochs since then.
    """

    stage: Annotated[int, Meta(ge=0)] = 0
    epoch: Annotated[int, Meta(ge=0)] = 0
    rows: tuple[Row, ...] = ()
    seconds: tuple[float, ...] = ()
    best: float | None = None
    waited: Annotated[int, Meta(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything needed to go on as if nothing had happened.

    Attributes:
        state: how far.
        model: the network's state.
        optimizer: its state; empty at the start of a stage.
        best: the network's state at the best epoch; empty where early stopping does not watch.
    """

    state: State
    model: "Arrays"
    optimizer: "Arrays"
    best: "Arrays"


class RunFolder:
    """One run's files."""

    def __init__(self, path: Path) -> None:
        """`path` need not exist yet."""
        self.path = path

    @contextlib.contextmanager
    def held(self) -> "Iterator[None]":
        """Make the folder, and keep other processes from training in it: two would write one checkpoint in turns.

        Raises:
            UsageError: another one does.
            OutputError: it cannot be made or written.
        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK, timeout=0, fallback_to_soft=False)
            lock.acquire()
        except Timeout:
            message = f"another process works in {self.path}"
            raise UsageError(message) from None
        except OSError as error:
            message = f"cannot use the folder {self.path}: {error.strerror}"
            raise OutputError(message) from None
        try:
            yield
        finally:
            lock.release()

    def begin(self, beginning: Beginning, recipe_text: str, *, resume: bool) -> Checkpoint | None:
        """Begin a run in an empty folder, or find the checkpoint of one that was begun alike.

        Raises:
            OutputError: the folder holds a run already and `resume` is not asked for, or cannot be written.
            UsageError: there is none to go on with, or the run in it was begun otherwise, or is done.
        """
        record = self.path / RUN
        if record.exists():
            if not resume:
                message = f"{self.path} holds a run already; --resume goes on with it"
                raise OutputError(message)
            self._compare(beginning)
            self.write(RECIPE, recipe_text.encode())  # the kill may have come between the two
            if (self.path / METRICS).exists():
                message = f"the run in {self.path} is done"
                raise UsageError(message)
            found = self.checkpoint()
            if found is None and (self.path / HISTORY).exists():  # which is written after it
                message = f"{self.path} holds a history, but no {CHECKPOINT}: the run cannot be gone on with"
                raise UsageError(message)
            return found
        for left in self.path.glob(f".*{PART}"):
            left.unlink(missing_ok=True)
        if any(path.name != LOCK for path in self.path.iterdir()):
            message = f"{self.path} is not empty, and holds no run"
            raise OutputError(message)
        if resume:
            message = f"{self.path} holds no run to go on with; begin one without --resume"
            raise UsageError(message)
        write_atomically(record, _pretty(beginning), overwrite=False)
        self.write(RECIPE, recipe_text.encode())
        return None

    def withdraw(self) -> None:
        """Take the record back of a run that failed before an epoch came to its end; of any other, nothing."""
        if (self.path / CHECKPOINT).exists() or (self.path / METRICS).exists():
            return
        for name in (RUN, RECIPE, HISTORY, *LISTS):
            with contextlib.suppress(OSError):
                (self.path / name).unlink()

    def checkpoint(self) -> Checkpoint | None:
        """What `save` wrote last; None before the end of the first epoch.

        Raises:
            ModelError: it is damaged.
        """
        file = self.path / CHECKPOINT
        if not file.exists():
            return None
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                groups: dict[str, Arrays] = {"model": [], "optimizer": [], "best": []}
                for name in stored.files:
                    group = name.partition("/")[0]
                    if group in groups:
                        groups[group].append(stored[name])
                state = msgspec.json.decode(stored["state"].tobytes(), type=State)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, msgspec.MsgspecError) as error:
            message = f"the checkpoint {file} is damaged: {error}"
            raise ModelError(message) from None
        return Checkpoint(state, groups["model"], groups["optimizer"], groups["best"])

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint, whole or not at all; then the history.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {"state": np.frombuffer(msgspec.json.encode(checkpoint.state), np.uint8)}
        for group in ("model", "optimizer", "best"):
            arrays |= {f"{group}/{n:05}": value for n, value in enumerate(getattr(checkpoint, group))}
        temporary = self.path / f".{CHECKPOINT}.part"  # a fixed name: what a kill left goes with the next writing
        with contextlib.suppress(OSError):
            temporary.unlink()
        with atomic_writer(self.path / CHECKPOINT, overwrite=True, temporary=temporary) as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type] # its stub knows only one keyword
        self.write(HISTORY, _pretty(checkpoint.state.rows))

    def write(self, name: str, content: bytes) -> None:
        """Write or replace one of the folder's files.

        Raises:
            OutputError: it cannot be written.
        """
        write_atomically(self.path / name, content, overwrite=True)

    def write_model(self, model: Any) -> None:  # noqa: ANN401 - a keras.Model
        """Write `model.keras`, whole or not at all.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        temporary = self.path / ".part.keras"  # Keras goes by the suffix
        try:
            model.save(temporary)
            self.write(MODEL, temporary.read_bytes())
        except OSError as error:
            message = f"cannot write {self.path / MODEL}: {error.strerror or error}"
            raise OutputError(message) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def finish(self, metrics: object) -> None:
        """Write the figures: the run is done, and its checkpoint (several times the model's size) is not needed.

        Raises:
            OutputError: the figures cannot be written.
        """
        self.write(METRICS, _pretty(metrics))
        with contextlib.suppress(OSError):
            (self.path / CHECKPOINT).unlink()

    def _compare(self, beginning: Beginning) -> None:
        before = read_record(self.path / RUN, Beginning)
        fields = [name for name in Beginning.__struct_fields__ if getattr(before, name) != getattr(beginning, name)]
        if fields:
            others = ", ".join(IN_WORDS.get(name, name) for name in fields)
            own = f"; {self.path / RECIPE} is the one" if fields == ["recipe_sha256"] else ""
            message = f"the run in {self.path} was begun with another {others}; it cannot be gone on with{own}"
            raise UsageError(message)


def read_record(file: Path, kind: type[Record]) -> Record:
    """One of a run's JSON files.

    Raises:
        UsageError: it cannot be read, or is another one.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        message = f"{file} cannot be read: {error}"
        raise UsageError(message) from None


def read_own_recipe(run: Path) -> RecipeFile:
    """The recipe that a run was begun with.

    Raises:
        UsageError: it cannot be read, or was changed since.
    """
    own = read_recipe(run / RECIPE)
    if own.sha256 != read_record(run / RUN, Beginning).recipe_sha256:
        message = f"the recipe in {run} is not the one that the run was begun with"
        raise UsageError(message)
    return own


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
