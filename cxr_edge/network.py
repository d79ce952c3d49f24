"""A contract and an engine that fit each other: named, checked outputs instead of a list of arrays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Contract
from cxr_edge.engine import Engine, TensorInfo
from cxr_edge.errors import ContractError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MAP_DIMENSIONS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the graph gave for one image.

    Attributes:
        probabilities: float32 (labels,).
        activation_map: float32 (h, w, labels); None where the model has none.
        features: float32 (components,); None where they were not asked for.
    """

    probabilities: "NDArray[np.float32]"
    activation_map: "NDArray[np.float32] | None"
    features: "NDArray[np.float32] | None"


class Network:
    """The graph as its contract describes it. Safe to call from several threads."""

    def __init__(self, contract: Contract, engine: Engine) -> None:
        """Check the graph's inputs and outputs against the contract.

        Raises:
            ContractError: they do not fit.
        """
        _check_graph(contract, engine)
        self._contract = contract
        self._engine = engine

    def answer(self, tensors: "Mapping[str, NDArray[np.generic]]", *, features: bool) -> Answer:
        """Run one image.

        Args:
            tensors: by input name, each [1, H, W, C].
            features: whether the features are wanted.

        Raises:
            ModelError: inference failed, or gave something else than the contract promises.
        """
        names = self._contract.outputs
        wanted = [names.probabilities]
        wanted += [names.activation_map] if names.activation_map is not None else []
        wanted += [names.features] if features and names.features is not None else []
        found = dict(zip(wanted, self._engine.run(tensors, tuple(wanted)), strict=True))
        probabilities = found[names.probabilities]
        activation_map = found.get(names.activation_map or "")
        given_features = found.get(names.features or "")
        _check_outputs(probabilities, activation_map, given_features, len(self._contract.labels))
        return Answer(
            probabilities=probabilities[0],
            activation_map=None if activation_map is None else activation_map[0],
            features=None if given_features is None else given_features[0],
        )


def _check_graph(contract: Contract, engine: Engine) -> None:
    for member in contract.members:
        spec = member.input
        dtype = "tensor(float)" if spec.dtype == "float32" else f"tensor({spec.dtype})"
        _check_tensor(spec.name, engine.inputs.get(spec.name), dtype, (spec.height, spec.width, spec.channels))
    unknown = set(engine.inputs) - {member.input.name for member in contract.members}
    if unknown:
        message = f"the graph has inputs {sorted(unknown)} that the contract does not know"
        raise ContractError(message)
    names, labels = contract.outputs, len(contract.labels)
    shapes: dict[str | None, tuple[int | None, ...]] = {
        names.probabilities: (labels,),
        names.activation_map: (None, None, labels),
    }
    if contract.gate.out_of_distribution is not None:
        shapes[names.features] = (contract.gate.out_of_distribution.components,)
    for name, shape in shapes.items():
        if name is not None:
            _check_tensor(name, engine.outputs.get(name), "tensor(float)", shape)


def _check_tensor(name: str, found: TensorInfo | None, dtype: str, shape: tuple[int | None, ...]) -> None:
    """Type and shape after the free batch axis; None stands for any size."""
    if (
        found is None
        or found[0] != dtype
        or len(found[1]) != len(shape) + 1
        or isinstance(found[1][0], int)
        or any(wanted not in (None, size) for wanted, size in zip(shape, found[1][1:], strict=True))
    ):
        message = f"the graph's tensor {name} is {found}; the contract says {dtype} [N, *{shape}]"
        raise ContractError(message)


def _check_outputs(
    probabilities: "NDArray[np.float32]",
    activation_map: "NDArray[np.float32] | None",
    features: "NDArray[np.float32] | None",
    labels: int,
) -> None:
    """A graph may declare one shape and give another."""
    fits = probabilities.shape == (1, labels)
    if activation_map is not None:
        shape = activation_map.shape
        fits = fits and len(shape) == MAP_DIMENSIONS and (shape[0], shape[3]) == (1, labels)
        fits = fits and bool(np.isfinite(activation_map).all())
    if features is not None:
        fits = fits and features.shape[:1] == (1,)
    if not fits:
        given = [output.shape for output in (probabilities, activation_map, features) if output is not None]
        message = f"the model gave outputs of shape {given}, or numbers that are none"
        raise ModelError(message)
