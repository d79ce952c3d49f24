"""The commands that make, mend and describe a model file: convert, restamp, gate, card."""

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge_export.cli.app import JsonOption, OverwriteOption, app, say, write_out
from cxr_edge_export.cli.progress import Bar

CalibrationOption = Annotated[
    Path, typer.Option(help="Folder, one sub-folder per class: the training images, which calibrate quantization too.")
]
ValidationOption = Annotated[Path, typer.Option(help="Folder or list: operating points and parity.")]
FamiliesOption = Annotated[
    Path | None,
    typer.Option(help="Folder with pass/ and refuse/, a sub-folder per family: the image gate is tested on them."),
]
RecipeOption = Annotated[Path, typer.Option("--recipe", help="TOML file: how the model is read, and its limits.")]


@app.command("convert")
def convert_command(  # noqa: PLR0913 - one parameter per option
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="A .keras or .h5 file, or a SavedModel folder; of an ensemble one per member, in the recipe's order.",
        ),
    ],
    *,
    recipe: RecipeOption,
    calibration: CalibrationOption,
    validation: ValidationOption,
    agreement: Annotated[
        Path | None, typer.Option(help="Folder or list; else validation and further calibration-folder images.")
    ] = None,
    families: FamiliesOption = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .onnx file; .sha256 is written beside it.")],
    as_float: Annotated[bool, typer.Option("--float", help="Leave the graph in float32.")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert a Keras model, or several into an ensemble.

    Quantizes, proves parity, and writes one file. A broken limit leaves none behind.
    """
    from cxr_edge_export.convert import Request, convert

    request = Request(
        models=tuple(models),
        recipe=recipe,
        calibration=calibration,
        validation=validation,
        agreement=agreement,
        families=families,
        output=output,
        as_float=as_float,
        overwrite=overwrite,
    )
    with Bar() as bar:
        contract = convert(request, bar.show, lambda text: say(f"note: {text}"))
    from cxr_edge_export.card import figures

    write_out(f"{output}\n" + "".join(f"  {name}: {value}\n" for name, value in figures(contract)))


@app.command("restamp")
def restamp_command(
    model: Annotated[Path, typer.Argument(help="A file made by convert.")],
    *,
    recipe: RecipeOption,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: the file itself.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the recipe's words into an existing file's contract, without quantizing again."""
    from cxr_edge_export.restamp import restamp

    target = output or model
    restamp(model, recipe, target, overwrite=overwrite or output is None)
    write_out(f"{target}\n")


@app.command("gate")
def gate_command(  # noqa: PLR0913 - one parameter per option
    model: Annotated[Path, typer.Argument(help="A file made by convert.")],
    *,
    recipe: RecipeOption,
    calibration: Annotated[Path, typer.Option(help="Folder, one sub-folder per class: the training images.")],
    validation: Annotated[Path, typer.Option(help="Folder or list: images of other patients, which should pass.")],
    families: FamiliesOption = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: the file itself.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Fit the image gate of an existing file anew, without quantizing again."""
    from cxr_edge_export.refit import GateRequest, refit

    target = output or model
    request = GateRequest(
        model=model,
        recipe=recipe,
        calibration=calibration,
        validation=validation,
        families=families,
        output=target,
        overwrite=overwrite or output is None,
    )
    with Bar() as bar:
        refit(request, bar.show)
    write_out(f"{target}\n")


@app.command("card")
def card_command(
    model: Annotated[Path, typer.Argument(help="A file made by convert.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Usually MODEL_CARD.md.")],
    recipe: Annotated[
        Path | None, typer.Option(help="The recipe that it was made by; default: recipe.toml beside the model.")
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of the training run that it was made from; of an ensemble again for each member, in order."
        ),
    ] = None,
    shifts: Annotated[Path | None, typer.Option(help="JSON file of the command shifts.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the model card: the contract inside the file, how it was trained, what it does on shifted images."""
    from cxr_edge_export.card import write_card

    write_card(model, output, overwrite=overwrite, recipe=recipe, runs=run or (), shifts=shifts)
    write_out(f"{output}\n")


@app.command("shifts")
def shifts_command(  # noqa: PLR0913 - one parameter per option
    model: Annotated[str, typer.Argument(help="A file made by convert, or a packaged model's name.")],
    *,
    images: Annotated[Path, typer.Option(help="Folder or list of labelled images that never trained the model.")],
    data: Annotated[Path | None, typer.Option(help="Folder that the list's entries are found from.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="TOML file: where the classes lie, if not in one folder per label.")
    ] = None,
    operating_point: Annotated[str | None, typer.Option(help="Name; default: the model's.")] = None,
    json_file: JsonOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure what a model does on other exposures, crops, borders, sharpness and compression than usual."""
    import msgspec

    from cxr_edge.files import write_atomically
    from cxr_edge_export.shifts import ShiftRequest, measure_shifts, to_table

    request = ShiftRequest(
        model=model,
        images=images,
        data=data,
        recipe=recipe,
        operating_point=operating_point,
        output=json_file,
        overwrite=overwrite,
    )
    with Bar() as bar:
        found = measure_shifts(request, bar.show)
    if json_file is not None:
        content = msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"
        write_atomically(json_file, content, overwrite=overwrite)
    write_out(to_table(found))
