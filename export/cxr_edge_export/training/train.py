"""One training run from a recipe and a folder of labelled images: begun, gone on with, finished."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cxr_edge.errors import UsageError
from cxr_edge_export.dataset import LabelledImage, order_sha256, set_sha256
from cxr_edge_export.doubts import describe_few
from cxr_edge_export.held_back import refuse_trained_on, trained_with
from cxr_edge_export.image_files import refuse_inside
from cxr_edge_export.patients import describe_shared, describe_unknown, relative_to
from cxr_edge_export.recipe import ClassRule, Recipe, RecipeFile, read_recipe
from cxr_edge_export.selection import Split, describe_left_out, select
from cxr_edge_export.training import images as data
from cxr_edge_export.training.backend import Backend, describe_backend, keras_module, make_repeatable
from cxr_edge_export.training.curves import draw_curves
from cxr_edge_export.training.metrics_file import Metrics, SetFigures
from cxr_edge_export.training.network import Built, NetworkImpossible, build, deployed
from cxr_edge_export.training.run_folder import CURVES, SEEN, Beginning, RunFolder, State
from cxr_edge_export.training.set_figures import set_figures
from cxr_edge_export.training.sixteen_bits import describe_slow_16_bits
from cxr_edge_export.training.trainee import seed_stage, training_of
from cxr_edge_export.training.trainer import Told, Training, train_stages
from cxr_edge_export.training.weights import NAMED, describe_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOGETHER = 32  # images
FEW = 10  # images of a class in a set; with fewer, hardly anything is learnt or told


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train.

    Attributes:
        recipe: TOML file with `network` and `training`.
        data: folder of labelled images.
        validation: folder or list of images held back; None: drawn by the recipe.
        test: the same for the test.
        output: folder of the run; it must not exist, or be empty, or hold a run that is to be gone on with.
        backend: of Keras; None: the environment's, else TensorFlow.
        seed: None: the recipe's.
        resume: go on with the run in `output`.
        weights: `random`, `imagenet` or a file, instead of the recipe's.
        weights_folder: what a file of weights in the recipe is relative to; None: the recipe's own folder.
    """

    recipe: Path
    data: Path
    validation: Path | None
    test: Path | None
    output: Path
    backend: Backend | None
    seed: int | None
    resume: bool
    weights: str | None = None
    weights_folder: Path | None = None


def train(request: TrainRequest, told: Told) -> Metrics:
    """Train, or go on training, and write the model, its history, learning curves and figures.

    Raises:
        UsageError: the recipe or a set is unusable, the folder holds another run, or another process trains in it.
        ModelError: weights or a checkpoint cannot be read.
        EnvironmentUnusable: a backend or ImageNet weights are not to be had.
        OutputError: the folder holds a run already, or cannot be written.
    """
    refuse_inside(request.output, request.data)
    file = read_recipe(request.recipe)
    recipe, plan = with_weights(file.recipe, request.weights), file.recipe.training
    if recipe.network is None or plan is None:
        message = f"the recipe {request.recipe} has no [network] and [training]: its network was trained elsewhere"
        raise UsageError(message)
    if plan.initial_share and recipe.network.weights == "random":
        message = (
            f"the recipe {request.recipe} has training.initial_share, but begins with random weights: nothing to keep"
        )
        raise UsageError(message)
    keras_module(request.backend)
    folder = request.weights_folder or request.recipe.resolve().parent
    weights = describe_weights(recipe.network.weights, folder)  # of a file that is there
    build_each_side(recipe, folder)
    seed = plan.seed if request.seed is None else request.seed
    make_repeatable(seed)
    split = select(file.recipe, request.data, request.validation, request.test)
    _refuse_seen_before(recipe, folder, split, request.data)
    _note_selection(split, recipe.labels, told)
    run = RunFolder(request.output)
    beginning = _beginning(file, split, seed, weights)
    with run.held():
        checkpoint = run.begin(beginning, file.text, resume=request.resume)
        if checkpoint is None and (words := describe_slow_16_bits(plan.precision)):  # later it cannot be changed
            told.note(words)
        training = Training(recipe, folder, split, seed, run, told)
        try:
            write_split(run, request.data, split)
            _write_seen(run, recipe, folder, split)
            if split.test:
                data.load_images(split.test, recipe, None)  # a damaged one is found now, not after hours of training
            built, state = train_stages(_with_borders(training), checkpoint)
        except Exception:
            run.withdraw()  # where no epoch came to its end: a mended recipe may take the folder
            raise
        return _finish(training, built, state, beginning)


def _with_borders(training: Training) -> Training:
    """With which images have a border, where the recipe weighs them by it; looked at once, not in every stage."""
    if training.plan.balance != data.BY_BORDER:
        return training
    images, told = training.split.training, training.told
    found = data.with_border(
        images, training.recipe, lambda done: told.progress("borders of training images", done, len(images))
    )
    if words := data.describe_heaviest(np.array([image.label for image in images], np.int64), found, training.recipe):
        told.note(words)
    return replace(training, bordered=found)


def _refuse_seen_before(recipe: Recipe, folder: Path, split: Split, data: Path) -> None:
    """Initial weights out of another run: what that trained on is no validation or test of this one."""
    if recipe.network is None or recipe.network.weights in NAMED:
        return
    known = (*split.training, *split.validation, *split.test)
    for name, part in (("validation", split.validation), ("test", split.test)):
        refuse_trained_on([folder / recipe.network.weights], part, known, recipe, data, name)


def _write_seen(run: RunFolder, recipe: Recipe, folder: Path, split: Split) -> None:
    """By their bytes, what trained this network and its initial weights: paths are those of one data folder."""
    digests = {image.sha256 for image in split.training}
    if recipe.network is not None and recipe.network.weights not in NAMED:
        digests |= trained_with(folder / recipe.network.weights)
    run.write(SEEN, "".join(f"{digest}\n" for digest in sorted(digests)).encode())


def build_each_side(recipe: Recipe, folder: Path) -> None:
    """Refuse now what would be refused hours from now: a network that cannot be, at some stage's size, or its weights.

    Raises:
        NetworkImpossible: naming the stage.
        CxrEdgeError: as `build`.
    """
    stages = training_of(recipe).stages
    for side in dict.fromkeys(stage.side for stage in stages):
        number = next(number for number, stage in enumerate(stages, 1) if stage.side == side)
        try:
            # ImageNet weights are fetched, and a file of weights is read, once
            build(recipe if number == 1 else with_weights(recipe, "random"), folder, side)
        except NetworkImpossible as error:
            message = f"stage {number}, of {side or recipe.member.input.height} pixels: {error}"
            raise NetworkImpossible(message) from None


def with_weights(recipe: Recipe, weights: str | None) -> Recipe:
    """The recipe with other initial weights; a file of them is relative to the working folder.

    Raises:
        UsageError: ImageNet's, of a network without a backbone.
    """
    if weights is None or recipe.network is None:
        return recipe
    if weights == "imagenet" and recipe.network.backbone is None:
        message = f"the network of {recipe.model.name} has no backbone, so there are no ImageNet weights for it"
        raise UsageError(message)
    place = weights if weights in NAMED else str(Path(weights).resolve())
    return msgspec.structs.replace(recipe, network=msgspec.structs.replace(recipe.network, weights=place))


def _beginning(file: RecipeFile, split: Split, seed: int, weights: str) -> Beginning:
    return Beginning(
        recipe_sha256=file.sha256,
        seed=seed,
        weights=weights,
        training_sha256=order_sha256(split.training, finer_classes(file.recipe)),
        validation_sha256=order_sha256(split.validation),
        test_sha256=order_sha256(split.test),
        software=describe_backend(),
    )


def finer_classes(recipe: Recipe) -> tuple[ClassRule, ...]:
    """What a second output of the network tells apart, in training only."""
    plan = recipe.training
    return () if plan is None or plan.auxiliary is None else plan.auxiliary.classes


def _note_selection(split: Split, labels: Sequence[str], told: Told) -> None:
    """Say what was left out, what is not known of the patients, and which sets are too small to judge by."""
    sets = {"training": split.training, "validation": split.validation, "test": split.test}
    patients = [image.patient for images in sets.values() for image in images]
    few = [describe_few(name, images, labels, FEW) for name, images in sets.items() if images]
    for words in (describe_left_out(split), describe_unknown(patients), describe_shared(patients), *few):
        if words:
            told.note(words)


def write_split(run: RunFolder, root: Path, split: Split) -> None:
    """Lists of the three sets, relative to the data folder where they lie in it: what `--validation` takes."""
    for name, images in (("training", split.training), ("validation", split.validation), ("test", split.test)):
        if images:
            entries = (relative_to(image.path, root) for image in images)
            # a line that begins with # is a comment
            lines = "".join(f"{'./' if entry.startswith('#') else ''}{entry}\n" for entry in entries)
            run.write(f"{name}.txt", lines.encode())


def _finish(training: Training, built: Built, state: State, beginning: Beginning) -> Metrics:
    model = deployed(built.model if training.plan.precision == "float32" else _in_float32(training, built))
    if training.plan.initial_share:
        _take_back(training, model)
    training.run.write_model(model)
    if state.rows:
        training.run.write(CURVES, draw_curves(training.recipe.model.name, state.rows))
    found = _metrics(training, model, state, beginning)
    training.run.finish(found)
    return found


def _take_back(training: Training, model: Any) -> None:  # noqa: ANN401 - a keras.Model
    """Mix the initial weights in, moving averages of batch normalization included."""
    share = training.plan.initial_share
    seed_stage(training.seed, 0)  # what no file of weights covers is drawn as it was
    initial = deployed(build(training.recipe, training.folder).model)
    both = zip(model.get_weights(), initial.get_weights(), strict=True)
    model.set_weights([trained * (1 - share) + before * share for trained, before in both])


def _in_float32(training: Training, built: Built) -> Any:  # noqa: ANN401 - a keras.Model
    """The same weights in layers that compute in 32 bits: 16 are for training, not for what is deployed."""
    fresh = build(training.recipe, training.folder)
    fresh.train_last(training.plan.stages[-1].backbone_layers)
    for variable, trained in zip(fresh.model.variables, built.model.variables, strict=True):
        variable.assign(trained)
    return fresh.model


def _metrics(
    training: Training,
    model: Any,  # noqa: ANN401 - a keras.Model
    state: State,
    beginning: Beginning,
) -> Metrics:
    split, stages = training.split, sorted({row.stage for row in state.rows})
    seconds = [
        [s for s, row in zip(state.seconds, state.rows, strict=True) if row.stage == number] for number in stages
    ]
    return Metrics(
        model=training.recipe.model.name,
        seed=training.seed,
        weights=beginning.weights,
        software=beginning.software,
        training_images=len(split.training),
        epochs=len(state.rows),
        seconds_per_epoch=tuple(round(statistics.median(some), 3) for some in seconds),
        parameters=int(model.count_params()),
        trainable_parameters=sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        validation=_figures(training.recipe, model, split.validation),
        test=_figures(training.recipe, model, split.test) if split.test else None,
    )


def _figures(recipe: Recipe, model: Any, images: tuple[LabelledImage, ...]) -> SetFigures:  # noqa: ANN401 - as above
    loaded = data.load_images(images, recipe, None)
    found: list[NDArray[np.float64]] = []
    for start in range(0, len(images), TOGETHER):
        inputs = data.normalized(loaded.gray[start : start + TOGETHER], recipe.member)
        part = np.asarray(model.predict_on_batch(inputs), np.float64)
        found.append(np.concatenate([1 - part, part], axis=1) if part.shape[1] == 1 else part)
    return SetFigures(
        images=len(images),
        patients=len({image.patient for image in images}),
        sha256=set_sha256(images),
        **set_figures(np.concatenate(found), loaded.labels, recipe),
    )
