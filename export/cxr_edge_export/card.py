"""The model card, made from files that vouch for one another: nothing in it is written by hand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cxr_edge.contract import Comparison, Contract
from cxr_edge.files import write_atomically
from cxr_edge.info import describe
from cxr_edge.modelfile import read_model
from cxr_edge.types import Interval
from cxr_edge_export.card_sources import Training, shifts_of, trainings_of
from cxr_edge_export.recipe import TrainingPlan
from cxr_edge_export.recipe.training import MetadataColumns, Selection
from cxr_edge_export.shifts import Shifts, more_columns
from cxr_edge_export.stamp import load_onnx, read_contract
from cxr_edge_export.training.metrics_file import in_words
from cxr_edge_export.training.run_folder import RECIPE
from cxr_edge_export.training.weights import name_of_weights


@dataclass(frozen=True, slots=True)
class Beside:
    """What else is known of a model; each has to be about that very file.

    Attributes:
        trainings: of its networks, in the contract's order; empty where no run was given.
        shifts: measured on the file.
    """

    trainings: tuple[Training, ...] = ()
    shifts: Shifts | None = None


def write_card(
    model: Path,
    output: Path,
    *,
    overwrite: bool,
    recipe: Path | None = None,
    runs: Sequence[Path] = (),
    shifts: Path | None = None,
) -> None:
    """Write the card of a file made by `convert`.

    How the networks were trained is told with `runs` alone: only a run says that a recipe's training is the one that
    took place.

    Args:
        model: the file.
        output: usually MODEL_CARD.md.
        overwrite: whether it is replaced.
        recipe: that the model was made by, which its contract names; None: `recipe.toml` beside the model.
        runs: folders of the training runs, one for each of the contract's members, in order; or none.
        shifts: JSON file of `cxr-edge-export shifts`.

    Raises:
        ModelError: the file cannot be read or holds no contract.
        UsageError: runs or shifts are those of another model, or a run had another training than the recipe.
        OutputError: the card exists or cannot be written.
    """
    file = read_model(model)
    contract = read_contract(load_onnx(file.content))
    beside = Beside(
        trainings=trainings_of(runs, contract, recipe or model.parent / RECIPE) if runs else (),
        shifts=None if shifts is None else shifts_of(shifts, file.sha256),
    )
    write_atomically(output, card(contract, file.sha256, beside).encode(), overwrite=overwrite)


def card(contract: Contract, sha256: str, beside: Beside = Beside()) -> str:
    """The model card in Markdown.

    Args:
        contract: of the file.
        sha256: of the file.
        beside: what else is known.
    """
    identity = contract.identity
    lines = [
        f"# {_cell(identity.name)} {_cell(identity.version)}",
        "",
        "Generated from the contract inside the model file by `cxr-edge-export card`; do not edit.",
        "",
        f"**{_cell(contract.intended_use.statement)}**",
    ]
    for title, rows in describe(contract, sha256):
        lines += ["", f"## {_cell(title[:1].upper() + title[1:])}", "", "| | |", "|---|---|"]
        lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    for training in beside.trainings:
        title = "Training" if len(beside.trainings) == 1 else f"Training of {training.member}"
        lines += _training(training, contract, title)
    lines += _shifted(beside.shifts)
    return "\n".join(lines) + "\n"


def _training(training: Training, contract: Contract, title: str) -> Iterator[str]:
    plan, network = training.recipe.training, training.recipe.network
    if plan is None or network is None:
        return
    weights = name_of_weights(network.weights)  # where a file lay tells of a machine
    rows = [("Network", f"{network.backbone or 'plain'}, weights {weights}, output {network.output}")]
    rows += [("Layer behind it" if network.backbone else "Layer", _values(layer)) for layer in network.layers]
    rows += _stages(plan)
    if plan.auxiliary is not None:
        finer = ", ".join(dict.fromkeys(rule.label for rule in plan.auxiliary.classes))
        rows += [("Second output, in training only", f"{finer}, weight {plan.auxiliary.weight} in the loss")]
    if plan.early_stopping is not None:
        stopping = plan.early_stopping
        rows += [("Early stopping", f"monitor {stopping.monitor}, patience {stopping.patience}")]
    shown = ("stages", "augmentation", "auxiliary", "early_stopping")
    settings = {k: v for k, v in _plain(plan).items() if k not in shown}
    rows += [("Settings", ", ".join(f"{name} {value}" for name, value in settings.items()))]
    found = training.metrics
    rows += [
        ("Selection of images", _selection(training.recipe.selection)),
        ("Trained by", f"{found.software}, seed {found.seed}, initial weights {found.weights}"),
        ("Training images", f"{found.training_images:,}, {found.epochs} epochs"),
        ("Parameters", f"{found.parameters:,}, {found.trainable_parameters:,} of them trained in the last stage"),
    ]
    if found.test is not None:
        other = training.positive_labels != contract.positive_labels
        of = f"; its AUC is that of {' and '.join(training.positive_labels)}" if other else ""
        rows += [("Keras on the run's test images", f"{in_words(found.test)}; not by an operating point{of}")]
    yield from ["", f"## {_cell(title)}", "", "| | |", "|---|---|"]
    yield from (f"| {_cell(name)} | {_cell(value)} |" for name, value in rows)


def _selection(plan: Selection) -> str:
    """Which images of the data folder, in the recipe's words; its classes are told by the labels."""
    given = _plain(msgspec.structs.replace(plan, classes=(), metadata_columns=MetadataColumns()))
    told = (f"{name} {', '.join(value) if isinstance(value, tuple) else value}" for name, value in given.items())
    return ", ".join(told) or "all, by patient disjoint"


def _stages(plan: TrainingPlan) -> Iterator[tuple[str, str]]:
    for number, stage in enumerate(plan.stages, 1):
        yield f"Stage {number}", _values(msgspec.structs.replace(stage, augmentation=None))
        if stage.augmentation is not None:
            yield f"Augmentation in stage {number}", _values(stage.augmentation) or "none"
    yield "Augmentation", _values(plan.augmentation) or "none"


def _plain(table: msgspec.Struct) -> dict[str, object]:
    """The keys whose values are not the default."""
    given, kind = msgspec.structs.asdict(table), type(table)
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    return {name: value for name, value in given.items() if value != defaults[name] and value is not None}


def _values(table: msgspec.Struct) -> str:
    tag = table.__struct_config__.tag
    values = ", ".join(f"{name} {value}" for name, value in _plain(table).items())
    return f"{tag} {values}".strip() if tag else values


def _shifted(shifts: Shifts | None) -> Iterator[str]:
    if shifts is None:
        return
    yield from ["", "## Shifted images", ""]
    yield (
        f"The same {shifts.data}, changed one way at a time, and parts of them, at operating point "
        f"{shifts.operating_point} (threshold {shifts.threshold:.4f}), with 95 % intervals. "
        f"Worst: {shifts.worst.images}."
    )
    heads = ["images", "positive + negative", "AUC", "sensitivity", "specificity", "decided as unchanged"]
    heads += more_columns(shifts)
    yield from ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in shifts.rows:
        parts = [f"{row.positives} + {row.negatives}", *map(_known, (row.auc, row.sensitivity, row.specificity))]
        more = [] if row.same_label is None else [_known(row.accuracy), f"{row.same_label:.3f}"]
        yield f"| {' | '.join([_cell(row.images), *parts, f'{row.same_decision:.3f}', *more])} |"


def _known(figure: Interval | None) -> str:
    return "" if figure is None else _interval(figure)


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
    for given in part.labels:
        words = f"accuracy of this file {_interval(given.accuracy)}; same decision, another label: {given.changed}"
        yield f"{name}, labels at {given.operating_point}", words


def _interval(figure: Interval) -> str:
    return f"{figure.estimate:.4f} [{figure.low:.4f}, {figure.high:.4f}]"


def _cell(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
