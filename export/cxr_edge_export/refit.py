"""A new image gate for an old file: fitted and measured again, the network and its certificate as they are."""

from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge.contract import Contract
from cxr_edge.errors import UsageError
from cxr_edge.files import refuse_existing
from cxr_edge.modelfile import read_model
from cxr_edge_export import dataset, features
from cxr_edge_export.convert import gather_sets
from cxr_edge_export.gate_families import read_families, with_families
from cxr_edge_export.image_gate import fit_image_gate
from cxr_edge_export.parity import check_limits
from cxr_edge_export.recipe import read_recipe
from cxr_edge_export.restamp import refuse_measured_changes, with_words_of
from cxr_edge_export.stamp import load_onnx, publish, read_contract, stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What to fit anew.

    Attributes:
        model: a file made by `convert`.
        recipe: TOML file, of the same model; its `image_gate` is what is wanted.
        calibration, validation, families: as for `convert`; the gate is fitted on all of the first but the second.
        agreement: unused.
        output: may be `model` itself.
        overwrite: whether `output` is replaced.
    """

    model: Path
    recipe: Path
    calibration: Path
    validation: Path
    families: Path | None
    output: Path
    overwrite: bool
    agreement: Path | None = None


def refit(request: GateRequest, progress: dataset.Progress = lambda *_: None) -> Contract:
    """Fit the image gate of a file again, without quantizing it again.

    Raises:
        UsageError: the recipe has no image gate, or differs from the file in more than that and words.
        LimitBroken: the file's figures break the recipe's limits.
        ModelError: `model` is no certified file, or its graph has no such layer.
        OutputError: `output` exists or cannot be written.
    """
    refuse_existing(request.output, overwrite=request.overwrite)
    recipe_file = read_recipe(request.recipe)
    recipe = recipe_file.recipe
    if recipe.image_gate is None:
        message = f"the recipe {request.recipe} has no image_gate"
        raise UsageError(message)
    network = load_onnx(read_model(request.model).content)
    old = read_contract(network)
    refuse_measured_changes(network, recipe, but_the_gate=True)
    sets = gather_sets(request, recipe, (request.model,))  # which may lie in the run that it was made from
    families = read_families(request.families, sets, recipe)
    features.remove_features(network)
    policy = fit_image_gate(network, recipe, sets.training, old.parity.reference, progress)
    policy = with_families(policy, network, recipe, families, progress)
    outputs = replace(old.outputs, features=features.FEATURES)
    new = replace(with_words_of(recipe_file, old), gate=policy, outputs=outputs)
    check_limits(new.parity.validation, new.parity.agreement, new.parity.limits)
    publish(stamp(network, new), request.output, overwrite=request.overwrite)
    return new
