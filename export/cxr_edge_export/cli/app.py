"""The command line of the workbench: parse, call, print, exit code. The only part of this package that prints."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn, Self

import typer
from typer.exceptions import TyperException

from cxr_edge._version import __version__
from cxr_edge.errors import CxrEdgeError

USAGE, UNUSABLE, INTERRUPTED = 2, 5, 130

app = typer.Typer(
    name="cxr-edge-export",
    help="Turn a trained Keras chest-X-ray classifier into one ONNX file that carries its contract.",
    epilog="Exit codes: 0 done, 2 usage, 5 model or environment unusable, 6 output unwritable or existing, "
    "7 a limit of the recipe is broken, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
ValidationOption = Annotated[Path, typer.Option(help="Folder or list: operating points and parity.")]
FamiliesOption = Annotated[
    Path | None,
    typer.Option(help="Folder with pass/ and refuse/, a sub-folder per family: the image gate is tested on them."),
]
RecipeOption = Annotated[Path, typer.Option("--recipe", help="TOML file: how the model is read, and its limits.")]


@app.command("convert")
def convert_command(  # noqa: PLR0913 - one parameter per option
    model: Annotated[Path, typer.Argument(help="A .keras or .h5 file, or a SavedModel folder.")],
    *,
    recipe: RecipeOption,
    calibration: Annotated[
        Path, typer.Option(help="Folder, one sub-folder per class: quantization-calibration images.")
    ],
    validation: ValidationOption,
    agreement: Annotated[
        Path | None, typer.Option(help="Folder or list; else validation and further calibration-folder images.")
    ] = None,
    families: FamiliesOption = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .onnx file; .sha256 is written beside it.")],
    as_float: Annotated[bool, typer.Option("--float", help="Leave the graph in float32.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert a Keras model, quantize it, prove parity and write it. A broken limit leaves no file behind."""
    from cxr_edge_export.convert import Request, convert

    request = Request(
        model=model,
        recipe=recipe,
        calibration=calibration,
        validation=validation,
        agreement=agreement,
        families=families,
        output=output,
        as_float=as_float,
        overwrite=overwrite,
    )
    with _Bar() as bar:
        contract = convert(request, bar.show)
    from cxr_edge_export.card import figures

    _out(f"{output}\n" + "".join(f"  {name}: {value}\n" for name, value in figures(contract)))


@app.command("restamp")
def restamp_command(
    model: Annotated[Path, typer.Argument(help="A file made by convert.")],
    *,
    recipe: RecipeOption,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: the file itself.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the recipe's words into an existing file's contract, without quantizing again."""
    from cxr_edge_export.restamp import restamp

    target = output or model
    restamp(model, recipe, target, overwrite=overwrite or output is None)
    _out(f"{target}\n")


@app.command("gate")
def gate_command(  # noqa: PLR0913 - one parameter per option
    model: Annotated[Path, typer.Argument(help="A file made by convert.")],
    *,
    recipe: RecipeOption,
    calibration: Annotated[Path, typer.Option(help="Folder, one sub-folder per class: the training images.")],
    validation: ValidationOption,
    families: FamiliesOption = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: the file itself.")] = None,
    overwrite: Overwrite = False,
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
    with _Bar() as bar:
        refit(request, bar.show)
    _out(f"{target}\n")


@app.command("card")
def card_command(
    model: Annotated[Path, typer.Argument(help="A file made by convert.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Usually MODEL_CARD.md.")],
    overwrite: Overwrite = False,
) -> None:
    """Write the model card that the contract inside a file amounts to."""
    from cxr_edge_export.card import write_card

    write_card(model, output, overwrite=overwrite)
    _out(f"{output}\n")


@app.callback()
def common(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=lambda v: _version(wanted=v))
    ] = False,
) -> None:
    """Turn a trained Keras chest-X-ray classifier into one ONNX file that carries its contract."""


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported; its banner is no result
    try:
        code = app(args=arguments, prog_name="cxr-edge-export", standalone_mode=False)
    except CxrEdgeError as error:
        return _failed(str(error), error.exit_code)
    except TyperException as error:
        return _failed(error.format_message(), USAGE)
    except OSError as error:
        return _failed(f"{error.strerror or error}", UNUSABLE)
    except ImportError as error:
        return _failed(f"{error}; install the workbench: pip install ./export", UNUSABLE)
    if code == INTERRUPTED:  # typer turned the KeyboardInterrupt into this code
        return _failed("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


class _Bar:
    """A progress line on standard error, on a terminal only."""

    def __init__(self) -> None:
        self._stage = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stage:
            sys.stderr.write("\n")

    def show(self, stage: str, done: int, total: int) -> None:
        """Say how far a stage has come."""
        if sys.stderr.isatty():
            end = "\n" if self._stage not in ("", stage) else ""
            sys.stderr.write(f"{end}\r{stage}: {done} of {total}")
            sys.stderr.flush()
            self._stage = stage


def _version(*, wanted: bool) -> None:
    if wanted:
        _out(f"cxr-edge-export {__version__}\n")
        raise typer.Exit


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"cxr-edge-export: {message}\n")
    return code


def _out(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()
