"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxr_edge.modelfile import DEFAULT_MODEL
from cxr_edge.types import GateMode

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "directml", "coreml"]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help=f"A packaged model, as `cxr-edge doctor` lists them, or an .onnx file [{DEFAULT_MODEL}].",
        show_default=False,
    ),
]
ProviderOption = Annotated[
    Provider, typer.Option("--provider", help="Execution provider; anything but auto is that one or exit code 5.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=256, help="Inference threads (default: this process's CPUs, at most 4)."),
]
OperatingPointOption = Annotated[
    str | None,
    typer.Option(
        "--operating-point",
        metavar="NAME|FILE",
        help="A name from `cxr-edge info`, or a site's own from evaluate --overlay.",
        show_default=False,
    ),
]
GateOption = Annotated[GateMode, typer.Option("--gate", help="What to do with images outside the intended use.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
ReportJsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON; - for standard output.")
]
