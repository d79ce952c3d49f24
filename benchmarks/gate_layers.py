"""Which layer and how many components tell synthetic strangers from radiographs: what the image gate was chosen on.

    python benchmarks/gate_layers.py --training FOLDER --validation LIST [--images 1500] [--model NAME]
        [--layers NAME...] [--json]

For each layer and number of components: the share of each synthetic family that the distance alone refuses, at a false
alarm rate of 0.5 % on training images of other patients, and of the validation images. No real stranger takes part.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from machine import print_table, write_result

from cxr_edge.decode import decode
from cxr_edge.engine import Engine
from cxr_edge.modelfile import read_model
from cxr_edge.preprocess import preprocess
from cxr_edge_export import dataset, features
from cxr_edge_export.recipe import read_recipe
from cxr_edge_export.selection import read_selected
from cxr_edge_export.stamp import load_onnx, read_contract
from cxr_edge_export.strangers import synthetic_families

if TYPE_CHECKING:
    from cxr_edge.contract import Contract
    from cxr_edge_export.recipe import Recipe

MODELS = Path(__file__).resolve().parent.parent / "models"  # where a model's recipe says how its classes are found
# of conv3_block4_out every second pixel is computed, of the others all
LAYERS = ("conv2_block2_out", "conv3_block3_out", "conv3_block4_out", "conv4_block3_out", "conv5_block3_out")
COMPONENTS = (32, 64, 128, 192)
FALSE_ALARM_RATE = 0.005
TRANSFORMED = 60


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--model", help="name or file; default: the packaged one")
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = read_model(options.model)
    content, contract = model.content, read_contract(load_onnx(model.content))
    recipe = read_recipe(MODELS / contract.identity.name / "recipe.toml").recipe
    groups = _groups(options.training, options.validation, options.images, recipe, contract)
    rows = []
    for layer in options.layers:
        network = load_onnx(content)
        features.remove_features(network)
        features.add_pooled_layer(network, layer, contract.parity.reference)
        engine = Engine(network.SerializeToString(), provider="cpu")
        found = {name: _run(engine, tensors, contract) for name, tensors in groups.items()}
        for components in COMPONENTS:
            space = features.fit(found["fit"], components)
            distance = {name: np.linalg.norm(space.project(values), axis=1) for name, values in found.items()}
            limit = np.quantile(distance["limit"], 1 - FALSE_ALARM_RATE, method="higher")
            shares = {name: float((distance[name] > limit).mean()) for name in distance if name not in ("fit", "limit")}
            rows.append({"layer": layer, "components": components, **{n: round(s, 3) for n, s in shares.items()}})
    print_table([{key.removeprefix("synthetic: "): value for key, value in row.items()} for row in rows])
    if options.json:
        write_result("gate_layers", {"model": model.sha256, "images": options.images, "rows": rows})


def _groups(
    training: Path, validation: Path, count: int, recipe: "Recipe", contract: "Contract"
) -> "dict[str, list[np.ndarray]]":
    """Tensors by name: for the fit, for the limit, and those that are measured."""
    held_out = read_selected(recipe, validation, training)
    pool = dataset.without(read_selected(recipe, training, training), held_out)
    order = np.random.Generator(np.random.PCG64(1)).permutation(len(pool))[:count]
    drawn = [pool[index] for index in order]
    patients = sorted({image.patient for image in drawn})
    for_limit = set(patients[::3])

    def gray(image: dataset.LabelledImage) -> "np.ndarray":
        return decode(image.path.read_bytes(), contract.rendering).pixels

    member = contract.members[0]
    sources = {
        "fit": [gray(image) for image in drawn if image.patient not in for_limit],
        "limit": [gray(image) for image in drawn if image.patient in for_limit],
        "validation": [gray(image) for image in held_out],
    }
    sources |= {name: list(images) for name, images in synthetic_families(sources["fit"][:TRANSFORMED])}
    return {name: [preprocess(pixels, member) for pixels in images] for name, images in sources.items()}


def _run(engine: Engine, tensors: "list[np.ndarray]", contract: "Contract") -> "np.ndarray":
    name = contract.members[0].input.name
    batches = [np.stack(tensors[start : start + 16]) for start in range(0, len(tensors), 16)]
    return np.concatenate([engine.run({name: batch}, (features.FEATURES,))[0] for batch in batches]).astype(np.float64)


if __name__ == "__main__":
    main()
