"""The commands that make and judge a Keras network: train, tune, evaluate, compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxr_edge.errors import UsageError
from cxr_edge.files import refuse_existing, write_atomically
from cxr_edge_export.cli.app import JsonOption, OverwriteOption, app, say, write_out
from cxr_edge_export.cli.progress import Bar

if TYPE_CHECKING:
    from cxr_edge_export.training.metrics_file import Metrics
    from cxr_edge_export.training.run_folder import Row
    from cxr_edge_export.training.train import TrainRequest

DataOption = Annotated[Path, typer.Option(help="Folder of labelled images, one sub-folder per class.")]
HeldBackOption = Annotated[Path | None, typer.Option(help="Folder or list of images held back; else drawn by patient.")]
TestOption = Annotated[Path | None, typer.Option(help="The same for the test.")]
BackendOption = Annotated[str | None, typer.Option(help="tensorflow, torch or jax; default: $KERAS_BACKEND.")]
SeedOption = Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=0, max=(1 << 32) - 1)]
WeightsOption = Annotated[
    str | None, typer.Option(metavar="random|imagenet|FILE", help="Initial weights, instead of the recipe's.")
]
RecipeArgument = Annotated[Path, typer.Argument(help="A recipe.toml with [network] and [training].")]


@app.command("train")
def train_command(  # noqa: PLR0913 - one parameter per option
    recipe: RecipeArgument,
    *,
    data: DataOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    validation: HeldBackOption = None,
    test: TestOption = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
    weights: WeightsOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
) -> None:
    """Train a recipe's network. Killed at any moment, --resume goes on from the last finished epoch."""
    from cxr_edge_export.training.train import train

    sets = (validation, test)
    with _Watcher() as watcher:
        found = train(
            _request(recipe, data, sets, output, backend=backend, seed=seed, weights=weights, resume=resume), watcher
        )
    write_out(f"{output}\n" + "".join(f"  {name}: {value}\n" for name, value in _lines(found)))


@app.command("folds")
def folds_command(
    recipe: RecipeArgument,
    *,
    data: DataOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the lists.")],
    test: Annotated[Path | None, typer.Option(help="Folder or list of images that are in no fold.")] = None,
    by_patient: Annotated[
        int | None, typer.Option(metavar="K", help="K folds, each with other patients, instead of clusters.", min=2)
    ] = None,
) -> None:
    """Write validation lists for train --validation.

    Each leaves a whole cluster of source out of training, or, for cross-validation, one K-th of the patients.
    """
    from cxr_edge_export.folds import FoldsRequest, write_folds

    with Bar() as bar:
        folds = write_folds(
            FoldsRequest(recipe=recipe, data=data, test=test, output=output, by_patient=by_patient),
            bar.show,
            lambda text: say(f"note: {text}"),
        )
    for fold in folds:
        filled = f", {' and '.join(fold.filled)} from elsewhere" if fold.filled else ""
        write_out(f"{fold.file}: {fold.images} images, {fold.cluster}{filled}\n")


@app.command("tune")
def tune_command(  # noqa: PLR0913 - one parameter per option
    recipe: RecipeArgument,
    *,
    space: Annotated[Path, typer.Option(help="TOML file: which keys of the recipe may be what, and how many trials.")],
    data: DataOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the search; begun before, it goes on.")],
    validation: HeldBackOption = None,
    test: TestOption = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
    weights: WeightsOption = None,
) -> None:
    """Search for better hyper-parameters, judged on validation images, and write the tuned recipe."""
    from cxr_edge_export.training.space import read_space
    from cxr_edge_export.training.tune import TUNED, TuneRequest, tune

    base = _request(recipe, data, (validation, test), output, backend=backend, seed=seed, weights=weights, resume=False)
    with _Watcher() as watcher:
        rows = tune(TuneRequest(base=base, space=space), watcher)
    monitor = read_space(space).monitor
    for row in rows:
        values = ", ".join(f"{path} = {value}" for path, value in row.values.items())
        figure = "given up" if row.figure is None else f"{monitor} {row.figure:.4f}"
        write_out(f"trial {row.number}: {figure}; {values}\n")
    write_out(f"{output / TUNED}\n")


@app.command("evaluate")
def evaluate_command(  # noqa: PLR0913 - one parameter per option
    run: Annotated[Path, typer.Argument(help="Folder of a finished training run.")],
    *,
    data: Annotated[Path, typer.Option(help="The data folder of the run, which its lists are relative to.")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder or list of other images; default: the run's test images, else its validation images."
        ),
    ] = None,
    operating_point: Annotated[str | None, typer.Option(help="Name in the recipe; default: the recipe's.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a self-contained HTML report.")
    ] = None,
    json_file: JsonOption = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE.csv", help="Write which images these are, for cxr-edge evaluate."),
    ] = None,
    backend: BackendOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure a trained network as cxr-edge evaluate measures a model file, before there is one."""
    from cxr_edge.evaluate import report_to_html, report_to_json, report_to_text
    from cxr_edge_export.training.backend import backend_named
    from cxr_edge_export.training.judge import JudgeRequest, images_as_csv, judge

    on = None if backend is None else backend_named(backend)
    targets = [target for target in (report, json_file, csv_file) if target is not None]
    for target in targets:
        refuse_existing(target, overwrite=overwrite)
    if len({target.resolve() for target in targets}) != len(targets):
        message = "--report, --json and --csv name the same file twice"
        raise UsageError(message)
    request = JudgeRequest(run=run, data=data, images=images, operating_point=operating_point, backend=on)
    with Bar() as bar:
        found = judge(request, bar.show)
    if report is not None:
        write_atomically(report, report_to_html(found), overwrite=overwrite)
    if json_file is not None:
        write_atomically(json_file, report_to_json(found), overwrite=overwrite)
    if csv_file is not None:
        write_atomically(csv_file, images_as_csv(request, csv_file), overwrite=overwrite)
    write_out(report_to_text(found))
    for warning in found.warnings:
        say(f"warning: {warning}")


@app.command("compare")
def compare_command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished training runs.")],
    *,
    on: Annotated[
        Literal["test", "validation"] | None, typer.Option(help="Which images; default: test, where a run has them.")
    ] = None,
    json_file: JsonOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """One table over several runs: figures, parameters, seconds an epoch, and size and latency of model.onnx."""
    from cxr_edge_export.training.compare import compare, means, to_json, to_table, unlike

    if json_file is not None:
        refuse_existing(json_file, overwrite=overwrite)
    rows = compare(runs, on)
    if json_file is not None:
        write_atomically(json_file, to_json(rows), overwrite=overwrite)
    lines = to_table(rows)
    cells = [list(lines[0]), *(list(line.values()) for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        write_out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
    if (line := means(rows)) is not None:
        write_out(f"{line}\n")
    for note in unlike(rows):
        say(f"note: {note}")


def _request(  # noqa: PLR0913 - the options that train and tune share
    recipe: Path,
    data: Path,
    sets: tuple[Path | None, Path | None],
    output: Path,
    *,
    backend: str | None,
    seed: int | None,
    weights: str | None,
    resume: bool,
) -> "TrainRequest":
    from cxr_edge_export.training.backend import backend_named
    from cxr_edge_export.training.train import TrainRequest

    return TrainRequest(
        recipe=recipe,
        data=data,
        validation=sets[0],
        test=sets[1],
        output=output,
        backend=None if backend is None else backend_named(backend),
        seed=seed,
        weights=weights,
        resume=resume,
    )


class _Watcher(Bar):
    """The bar, one for the whole, and a line for each epoch."""

    def progress(self, stage: str, done: int, total: int) -> None:
        self.show(stage, done, total)

    def whole(self, share: float) -> None:
        self.show_whole(share)

    def say_or_log(self, line: str) -> None:
        """Above the bar; without one, as in a log of days, on standard error."""
        if self.is_shown:
            self.say(line)
        else:
            say(line)

    def note(self, text: str) -> None:
        say(f"note: {text}")

    def epoch(self, row: "Row") -> None:
        auc = "" if row.auc is None else f", AUC {row.auc:.4f}"
        self.say_or_log(
            f"stage {row.stage}, epoch {row.epoch}: loss {row.loss:.4f}, validation loss {row.validation_loss:.4f}, "
            f"balanced accuracy {row.balanced_accuracy:.4f}{auc}"
        )


def _lines(found: "Metrics") -> list[tuple[str, str]]:
    from cxr_edge_export.training.metrics_file import in_words

    rows = [
        ("epochs", f"{found.epochs}, seconds each {', '.join(f'{s:.1f}' for s in found.seconds_per_epoch)}"),
        ("parameters", f"{found.parameters:,}, {found.trainable_parameters:,} of them trained"),
        ("validation", in_words(found.validation)),
    ]
    return rows if found.test is None else [*rows, ("test", in_words(found.test))]
