"""The model card, made from the contract alone: nothing in it is written by hand, so nothing can disagree."""

from collections.abc import Iterator
from pathlib import Path

from cxr_edge.contract import Comparison, Contract
from cxr_edge.files import write_atomically
from cxr_edge.info import describe
from cxr_edge.modelfile import read_model
from cxr_edge.types import Interval
from cxr_edge_export.stamp import load_onnx, read_contract


def write_card(model: Path, output: Path, *, overwrite: bool) -> None:
    """Write the card of a file made by `convert`.

    Raises:
        ModelError: the file cannot be read or holds no contract.
        OutputError: the card exists or cannot be written.
    """
    file = read_model(model)
    text = card(read_contract(load_onnx(file.content)), file.sha256)
    write_atomically(output, text.encode(), overwrite=overwrite)


def card(contract: Contract, sha256: str) -> str:
    """The model card in Markdown.

    Args:
        contract: of the file.
        sha256: of the file.
    """
    identity = contract.identity
    lines = [
        f"# {identity.name} {identity.version}",
        "",
        "Generated from the contract inside the model file by `cxr-edge-export card`; do not edit.",
        "",
        f"**{contract.intended_use.statement}**",
    ]
    for title, rows in describe(contract, sha256):
        lines += ["", f"## {title[:1].upper()}{title[1:]}", "", "| | |", "|---|---|"]
        lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join(lines) + "\n"


def figures(contract: Contract) -> Iterator[tuple[str, str]]:
    """The certificate in a few lines, (name, value), for the end of a conversion."""
    for point in contract.operating_points:
        words = f"sensitivity {_interval(point.sensitivity)}, specificity {_interval(point.specificity)}"
        yield f"operating point {point.name}", f"threshold {point.threshold:.6f}, {words}"
    yield from _comparison("validation", contract.parity.validation)
    yield from _comparison("agreement", contract.parity.agreement)


def _comparison(name: str, part: Comparison) -> Iterator[tuple[str, str]]:
    delta = f"p50 {part.abs_delta_p50:.5f}, p99 {part.abs_delta_p99:.5f}, max {part.abs_delta_max:.5f}"
    yield f"{name}, |delta p| on {part.images} images", delta
    for flips in part.flips:
        counts = f"{flips.positive_to_negative} to negative, {flips.negative_to_positive} to positive"
        yield f"{name}, flips at {flips.operating_point}", counts
    if part.auc_reference and part.auc_exported:
        yield f"{name}, AUC", f"Keras {_interval(part.auc_reference)}, this file {_interval(part.auc_exported)}"
    yield f"{name}, accuracy", f"Keras {part.accuracy_reference:.4f}, this file {part.accuracy_exported:.4f}"


def _interval(figure: Interval) -> str:
    return f"{figure.estimate:.4f} [{figure.low:.4f}, {figure.high:.4f}]"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
